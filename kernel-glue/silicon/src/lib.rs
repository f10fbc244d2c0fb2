#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod branch;
mod code;
mod counts;
mod frames;
mod port;
#[cfg(test)]
mod scripted;
mod shadow;
mod silicon;
mod single;
#[cfg(test)]
mod tests;
mod trap;

pub use counts::Counts;
pub use frames::orders;
pub use port::{Frame, Port, Reservation, Stop, Turn};
pub use silicon::{Refused, Silicon, Window};
