//! The time base: the host's monotonic clock, or the instructions that the guest completed.

use std::time::{Duration, Instant};

/// The clock that drives the time base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The host's monotonic clock, but for delays: where the guest does nothing but read the time base
    /// until enough has passed, its time runs ahead by up to a quarter of a second, and an eighth slower
    /// while it waits for an interrupt, until the host's clock has caught up.
    Host,
    /// The host's monotonic clock, always.
    HostStrict,
    /// One tick per completed instruction; waiting skips to the next deadline. Two runs of the
    /// same guest with the same input are the same.
    Virtual,
}

/// Instructions between two looks at the host's clock. At four hundred million instructions a second,
/// which the interpreter comes near, this is 100 µs, well below the guest's tick; to come back, look
/// and enter again costs the translator as much as a thousand instructions.
const HOST_SLICE: u32 = 40_000;

/// Time may be ahead of the host's by a second over this.
const AHEAD: u64 = 4;
/// While the guest waits, time that is ahead is slower by this part.
const SLOWER: u64 = 8;

/// A free-running counter at the timer clock's rate.
#[derive(Debug)]
pub(crate) struct TimeBase {
    clock: Clock,
    hz: u64,
    start: Instant,
    /// Ticks that passed besides those of the host's clock, or of completed instructions.
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
        self.clock != Clock::Virtual
    }

    /// Ticks now, given the instructions completed so far.
    pub fn ticks(&self, retired: u64) -> u64 {
        match self.clock {
            Clock::Host | Clock::HostStrict => self.in_ticks(self.start.elapsed()) + self.skipped,
            Clock::Virtual => retired + self.skipped,
        }
    }

    fn in_ticks(&self, time: Duration) -> u64 {
        // 128 bits: nanoseconds times hertz overflows 64 after half a minute.
        (time.as_nanos() * u128::from(self.hz) / 1_000_000_000) as u64
    }

    /// Instructions that may run before the deadline can have passed, at least 1.
    pub fn budget(&self, retired: u64, deadline: Option<u64>) -> u32 {
        match self.clock {
            Clock::Host | Clock::HostStrict => HOST_SLICE,
            Clock::Virtual => deadline.map_or(u32::MAX, |deadline| {
                deadline
                    .saturating_sub(self.ticks(retired))
                    .clamp(1, u64::from(u32::MAX)) as u32
            }),
        }
    }

    /// Host time until the tick `deadline` if the guest waits for it; `None` when time does not pass by
    /// itself.
    pub fn until(&self, deadline: u64) -> Option<Duration> {
        match self.clock {
            Clock::Host | Clock::HostStrict => {
                let ticks = deadline.saturating_sub(self.ticks(0));
                // What `waited` takes off comes on top.
                let ticks = ticks.saturating_add(self.skipped.min(ticks / (SLOWER - 1)));
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

    /// Lets time run ahead of the host's clock, at the most by these ticks; no further than is allowed.
    pub fn run_ahead(&mut self, ticks: u64) {
        if self.clock == Clock::Host {
            let most = (self.hz / AHEAD).saturating_sub(self.skipped);
            self.skipped += ticks.min(most);
        }
    }

    /// The guest has waited for so much of the host's time, in which time that is ahead was slower.
    pub fn waited(&mut self, time: Duration) {
        if self.clock == Clock::Host {
            self.skipped -= self.skipped.min(self.in_ticks(time) / SLOWER);
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
    fn time_runs_ahead_no_further_than_is_allowed_and_waits_for_the_host_while_the_guest_waits() {
        let mut time = TimeBase::new(Clock::Host, 1_000);
        time.run_ahead(200);
        assert!(time.ticks(0) >= 200);
        time.run_ahead(200);
        assert_eq!(time.skipped, 250);
        // 700 ticks of the guest's are 800 of the host's.
        let deadline = time.ticks(0) + 700;
        let wait = time.until(deadline).expect("the host's clock passes");
        let wait = wait.as_millis();
        assert!((700..=800).contains(&wait), "{wait}");
        let before = time.ticks(0);
        time.waited(Duration::from_millis(800));
        assert_eq!(time.skipped, 150);
        // In a test, the 800 have not passed.
        time.start -= Duration::from_millis(800);
        let passed = time.ticks(0) - before;
        assert!((700..720).contains(&passed), "{passed}");
        // Where little is ahead, little comes on top.
        time.waited(Duration::from_millis(1192));
        assert_eq!(time.skipped, 1);
        let wait = time.until(time.ticks(0) + 700);
        assert!(wait.is_some_and(|wait| wait <= Duration::from_millis(701)));
    }

    #[test]
    fn a_strict_clock_is_the_hosts() {
        let mut time = TimeBase::new(Clock::HostStrict, 1_000);
        time.run_ahead(200);
        assert_eq!(time.skipped, 0);
        let mut time = TimeBase::new(Clock::Virtual, 1_000);
        time.run_ahead(200);
        assert_eq!(time.ticks(7), 7);
    }

    #[test]
    fn the_host_clock_never_wakes_before_the_deadline() {
        let time = TimeBase::new(Clock::Host, 3);
        let deadline = time.ticks(0) + 300;
        let wait = time.until(deadline).expect("the host's clock passes");
        assert!(wait > Duration::from_secs(99) && wait <= Duration::from_secs(100));
    }
}
