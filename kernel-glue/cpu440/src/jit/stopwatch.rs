//! A clock for stretches of a few microseconds, which the system's would take a good part of.
// UNSAFE BECAUSE: the time stamp counter is an instruction.
#![allow(unsafe_code)]

use std::arch::x86_64::_rdtsc;
use std::time::Instant;

/// What the host's time stamp counter shows.
#[inline(always)]
pub(super) fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the counter, and no system keeps it from its programs.
    unsafe { _rdtsc() }
}

/// A point in time on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    ticks: u64,
    time: Instant,
}

impl Start {
    pub fn now() -> Self {
        Start {
            ticks: ticks(),
            time: Instant::now(),
        }
    }

    /// How long a tick was since then, on average.
    pub fn nanoseconds_per_tick(&self) -> f64 {
        let ticks = ticks().wrapping_sub(self.ticks).max(1);
        self.time.elapsed().as_nanos() as f64 / ticks as f64
    }
}
