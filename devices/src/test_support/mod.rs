//! The other side of the devices, for tests: drivers, and what random tests have in common.
//!
//! It is there for this crate's tests, and with the feature `test-support` for those of others.

mod dice;
pub mod driver;
mod hostile;

pub use dice::{Dice, cases, seed};
pub use hostile::{Contents, Hostile};
