#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod blob;
pub mod board;
mod dts;
pub mod patch;
pub mod tree;
mod writer;

pub use blob::Tree;
pub use board::Board;
pub use patch::{Patch, UserTree};
pub use tree::{TreeOptions, generate};
pub use writer::TooLarge;
