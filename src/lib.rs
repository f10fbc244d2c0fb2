//! The launcher.

pub mod loader;
