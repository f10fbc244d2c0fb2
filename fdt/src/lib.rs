#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod blob;
pub mod board;
mod dts;
pub mod extra;
mod free;
pub mod overlay;
pub mod patch;
mod phandle;
pub mod reserved;
pub mod tree;
mod writer;

pub use blob::{Node, Property, Tree};
pub use board::Board;
pub use extra::device_node;
pub use patch::{Patch, UserTree};
pub use tree::{TreeError, TreeOptions, generate};
pub use writer::TooLarge;
