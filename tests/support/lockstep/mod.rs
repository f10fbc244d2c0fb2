//! Two CPUs in lockstep: random guests under the core, compared after every stop.
//!
//! [`generate::guest`] makes a guest, [`run::difference`] runs it on two sides and says where they
//! part, [`shrink::smallest`] takes away all that the difference does not need; [`found::all`] keeps
//! guests that found mistakes.

pub mod found;
pub mod generate;
pub mod guest;
pub mod machine;
pub mod program;
pub mod run;
pub mod shrink;
