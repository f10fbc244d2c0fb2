//! The time base: the host's monotonic clock, or the instructions that the guest completed.

use std::time::{Duration, Instant};

/// The clock that drives the time base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The host's monotonic clock.
    Host,
    /// One tick per completed instruction; waiting skips to the next deadline. Two runs of the
    /// same guest with the same input are the same.
    Virtual,
}

/// Instructions between two looks at the host's clock. At four hundred million instructions a second,
/// which the interpreter comes near, this is 100 µs, well below the guest's tick; to come back, look
/// and enter again costs the translator as much as a thousand instructions.
const HOST_SLICE: u32 = 40_000;

/// A free-running counter at the timer clock's rate.
#[derive(Debug)]
pub(crate) struct TimeBase {
    clock: Clock,
    hz: u64,
    start: Instant,
    skipped: u64,
}

impl TimeBase {
    pub fn new(clock: Clock, hz: u64) -> Self {
        TimeBase {
            clock,
            hz,
            start: Instant::now(),
            skipped: 0,
        }
    }

    /// Whether time passes by itself.
    #[inline]
    pub fn is_host(&self) -> bool {
        self.clock == Clock::Host
    }

    /// Ticks now, given the instructions completed so far.
    pub fn ticks(&self, retired: u64) -> u64 {
        match self.clock {
            // 128 bits: nanoseconds times hertz overflows 64 after half a minute.
            Clock::Host => {
                (self.start.elapsed().as_nanos() * u128::from(self.hz) / 1_000_000_000) as u64
            }
            Clock::Virtual => retired + self.skipped,
        }
    }

    /// Instructions that may run before the deadline can have passed, at least 1.
    pub fn budget(&self, retired: u64, deadline: Option<u64>) -> u32 {
        match self.clock {
            Clock::Host => HOST_SLICE,
            Clock::Virtual => deadline.map_or(u32::MAX, |deadline| {
                deadline
                    .saturating_sub(self.ticks(retired))
                    .clamp(1, u64::from(u32::MAX)) as u32
            }),
        }
    }

    /// Host time until the tick `deadline`; `None` when time does not pass by itself.
    pub fn until(&self, deadline: u64) -> Option<Duration> {
        match self.clock {
            Clock::Host => {
                let ticks = deadline.saturating_sub(self.ticks(0));
                // Rounded up: waking a tick early would only mean going back to sleep.
                let nanos = (u128::from(ticks) * 1_000_000_000).div_ceil(u128::from(self.hz));
                Some(Duration::from_nanos(nanos.min(u128::from(u64::MAX)) as u64))
            }
            Clock::Virtual => None,
        }
    }

    /// Lets idle time pass up to `deadline`; the host's clock passes by itself.
    pub fn skip_to(&mut self, retired: u64, deadline: u64) {
        if self.clock == Clock::Virtual {
            self.skipped += deadline.saturating_sub(self.ticks(retired));
        }
    }

    /// Nanoseconds of host time since the start.
    pub fn stopwatch(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_tick_is_an_instruction() {
        let mut time = TimeBase::new(Clock::Virtual, 533_333_328);
        assert_eq!(time.ticks(100), 100);
        assert_eq!(time.budget(100, Some(150)), 50);
        assert_eq!(time.budget(100, Some(90)), 1);
        time.skip_to(100, 1_000);
        assert_eq!(time.ticks(101), 1_001);
        time.skip_to(101, 5);
        assert_eq!(time.ticks(101), 1_001);
    }

    #[test]
    fn the_host_clock_never_wakes_before_the_deadline() {
        let time = TimeBase::new(Clock::Host, 3);
        let deadline = time.ticks(0) + 300;
        let wait = time.until(deadline).expect("the host's clock passes");
        assert!(wait > Duration::from_secs(99) && wait <= Duration::from_secs(100));
    }
}
