//! The Bamboo board's devices, each alone over its registers.
//!
//! A device here knows offsets, bytes and wires. It knows no address of the board, no CPU, no
//! thread and no terminal; whoever assembles a machine puts it on a [`bus`] and ties its
//! [wires](irq) and sinks.
#![forbid(unsafe_code)]
// A test that unwraps what must be there fails at the right line.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod bus;
pub mod irq;
mod lanes;
pub mod uart16550;
pub mod uic;

pub use bus::{AccessError, AccessKind, DcrBus, DcrDevice, MmioBus, MmioDevice, Unanswered};
pub use irq::{IrqLine, IrqSink};
