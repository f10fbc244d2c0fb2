//! The time of day that the board's clock chip counts with: the host's, or the virtual clock's.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ppckvm_api::Clock;
use ppckvm_devices::ds1307::Source;

use crate::host::lock::lock;

/// When the virtual clock starts: 2026-01-01 00:00:00 UTC, always, so that runs are the same.
const VIRTUAL_START: Duration = Duration::from_secs(1_767_225_600);

/// The virtual clock's time base as it was when the guest last came back from running.
///
/// A device cannot ask the CPU, so the vcpu's loop leaves the time here. The guest's accesses to
/// the clock chip come a few hundred instructions apart, which is how old the time can be.
#[derive(Debug, Default)]
pub(crate) struct VirtualTime(Mutex<u64>);

impl VirtualTime {
    pub fn set(&self, ticks: u64) {
        *lock(&self.0) = ticks;
    }
}

/// Where the time comes from, and for the virtual clock, where the vcpu's loop leaves it.
pub(crate) fn source(clock: Clock, timer_hz: u32) -> (Source, Option<Arc<VirtualTime>>) {
    match clock {
        Clock::Host | Clock::HostStrict => (Box::new(host), None),
        Clock::Virtual => {
            let time = Arc::new(VirtualTime::default());
            let source = time.clone();
            let now = move || VIRTUAL_START + elapsed(*lock(&source.0), timer_hz.into());
            (Box::new(now), Some(time))
        }
    }
}

/// A host whose clock stands before 1970 has no time worth passing on.
fn host() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

fn elapsed(ticks: u64, hz: u64) -> Duration {
    let nanoseconds = (ticks % hz) * 1_000_000_000 / hz;
    Duration::from_secs(ticks / hz) + Duration::from_nanos(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_time_starts_at_a_fixed_date_and_follows_the_ticks() {
        let (source, time) = source(Clock::Virtual, 533_333_328);
        let time = time.unwrap();
        assert_eq!(source(), VIRTUAL_START);
        time.set(533_333_328 * 3 + 266_666_664);
        assert_eq!(source(), VIRTUAL_START + Duration::from_millis(3500));
        time.set(u64::MAX);
        assert!(source() > VIRTUAL_START);
    }

    #[test]
    fn host_time_is_the_hosts() {
        let (source, time) = source(Clock::Host, 1);
        assert!(time.is_none());
        let before = host();
        let now = source();
        assert!(before <= now && now <= host());
    }
}
