//! What the tests of instructions share: the assembler, the cases and their world, the CPU tiers,
//! and `qemu-ppc` as an oracle.
// Each test file is a crate of its own and uses a part of this.
#![allow(dead_code)]

pub mod assembler;
pub mod cases;
pub mod probe;
pub mod random;
pub mod seeds;
pub mod tiers;
