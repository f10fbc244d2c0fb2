//! Counting what a guest can cause at will, so that it fills no log.

use std::sync::atomic::{AtomicU32, Ordering};

/// Counts one kind of event, and says when its number is worth a line.
///
/// A line is due for the first, the 10th, the 100th event and so on: at most ten lines in all.
#[derive(Debug, Default)]
pub struct Repeats(AtomicU32);

impl Repeats {
    /// Returns a count of no events.
    pub const fn new() -> Self {
        Repeats(AtomicU32::new(0))
    }

    /// Counts an event; returns how many there were when that is worth a line.
    pub fn count(&self) -> Option<u32> {
        // It stays at the largest number, so that it cannot begin again.
        let before = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |so_far| {
                so_far.checked_add(1)
            })
            .ok()?;
        let so_far = before + 1;
        so_far
            .checked_ilog10()
            .filter(|digits| 10u32.pow(*digits) == so_far)?;
        Some(so_far)
    }

    /// Returns how many events there were so far.
    pub fn so_far(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_rarer_as_the_events_go_on() {
        let repeats = Repeats::new();
        let lines: Vec<u32> = (0..12_345).filter_map(|_| repeats.count()).collect();
        assert_eq!(lines, [1, 10, 100, 1000, 10_000]);
        assert_eq!(repeats.so_far(), 12_345);
    }

    #[test]
    fn the_count_stays_at_its_largest_number() {
        let repeats = Repeats(AtomicU32::new(u32::MAX - 1));
        assert_eq!(repeats.count(), None);
        assert_eq!(repeats.count(), None);
        assert_eq!(repeats.so_far(), u32::MAX);
    }
}
