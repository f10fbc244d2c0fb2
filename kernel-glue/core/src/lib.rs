//! The KVM core for the PowerPC 440.
//!
//! A [`Vcpu`] runs a guest on a 440 that is given as [`Hw`]: silicon, or a software CPU. Guest
//! kernel and guest user code both run in problem state; what traps comes here and is emulated,
//! reflected to the guest as an interrupt, or leaves [`Vcpu::run`] as an [`Exit`].
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod access;
mod debug;
mod debugger;
mod delay;
mod emulate;
mod hang;
mod hw;
mod interrupt;
mod interrupt_log;
mod memory;
mod mmio;
mod spr;
mod sprs;
mod state;
mod stats;
mod stops;
mod system;
mod timer;
mod tlb;
mod trap;
mod uapi;
mod vcpu;

pub use hw::{Hw, Mapping, Pins, SPACES, SpaceId, Spaces};
pub use interrupt_log::{InterruptLog, Taken};
pub use memory::{SLOT_ALIGN, SLOTS, Slot, SlotError};
pub use sprs::{PVR_440EP, Sprs};
pub use state::{InFlight, Inject, Interrupt, Pending, State, Transfer};
pub use stats::{CAUSES, Cause, Charge, Stats, Timing};
pub use stops::{Stop, StopRefused, WatchFor, Where};
pub use timer::TimerState;
pub use uapi::{Exit, ExitData, ResetKind, RunPage, SYSTEM_EVENT_RESET, Stuck, exit_reason};
pub use vcpu::{Translation, Vcpu};
