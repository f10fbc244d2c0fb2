//! Which accesses of code that runs much go by the tables all the same, because the pages that they meet
//! are not shown for long: those of short programs, of a copy that goes through memory once, of a guest
//! whose TLB has fewer entries than its code uses pages.
//!
//! To be refused costs an access some five microseconds, and much of that again when its page is
//! taken away. So there is an allowance, which time fills and refusals empty. An access that is refused
//! when it is empty goes by the tables for a while; if it happens again, for twice as long.

use std::collections::BTreeMap;
use std::ops::Range;

/// Slices, of forty thousand instructions, that allow one refusal: two or three per cent of the time. With
/// 32, the benchmark `gzip` (`tests/bench`) was 10 % slower.
const EACH: u32 = 8;
/// Refusals that are allowed at once: all pages that a guest's TLB has entries for.
const AT_ONCE: u32 = 64;
/// Slices that an access goes by the tables for, the first time.
const WHILE: u32 = 64;
/// How often that doubles.
const DOUBLINGS: u8 = 12;
/// Accesses that are kept in mind; at more, all are forgotten.
const REMEMBERED: usize = 1 << 16;

/// An access that was refused too often.
#[derive(Clone, Copy, Debug)]
struct Refused {
    /// How often it was, but for the first time.
    again: u8,
    /// When it need not go by the tables any more, in slices.
    until: u32,
}

/// The accesses, by the RAM address of their instructions.
#[derive(Debug)]
pub(super) struct WindowBackoff {
    refused: BTreeMap<u32, Refused>,
    /// Slices so far.
    now: u32,
    /// Slices that were not used up by refusals.
    allowance: u32,
    /// Whatever time allows, one access in eight goes by the tables, and code is made again after one
    /// refusal in eight: all is to go both ways.
    pub both_ways: bool,
    refusals: u32,
    /// The instruction that was refused last.
    pub last: u32,
}

impl WindowBackoff {
    pub fn new() -> Self {
        WindowBackoff {
            refused: BTreeMap::new(),
            now: 0,
            allowance: AT_ONCE * EACH,
            both_ways: false,
            refusals: 0,
            last: 0,
        }
    }

    /// A slice ended.
    pub fn tick(&mut self) {
        self.now = self.now.wrapping_add(1);
        self.allowance = (self.allowance + 1).min(AT_ONCE * EACH);
    }

    /// The instruction at a RAM address was refused; says whether its code is to be made again.
    pub fn refuse(&mut self, ram: u32) -> bool {
        self.last = ram;
        self.refusals = self.refusals.wrapping_add(1);
        if self.both_ways {
            return self.refusals.is_multiple_of(8);
        }
        if let Some(left) = self.allowance.checked_sub(EACH) {
            self.allowance = left;
            return false;
        }
        if self.refused.len() >= REMEMBERED {
            self.refused.clear();
        }
        let again = self.refused.get(&ram);
        let again = again.map_or(0, |before| (before.again + 1).min(DOUBLINGS));
        let until = self.now.wrapping_add(WHILE << again);
        self.refused.insert(ram, Refused { again, until });
        true
    }

    /// Whether the instruction at a RAM address goes by the tables.
    pub fn is_by_tables(&self, ram: u32) -> bool {
        if self.both_ways {
            return (ram >> 2).wrapping_add(self.refusals).is_multiple_of(8);
        }
        let refused = self.refused.get(&ram);
        refused.is_some_and(|refused| refused.until.wrapping_sub(self.now) as i32 > 0)
    }

    /// Other instructions are in a range of RAM now.
    pub fn forget(&mut self, range: Range<u32>) {
        while let Some((&ram, _)) = self.refused.range(range.clone()).next() {
            self.refused.remove(&ram);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(backoff: &mut WindowBackoff, slices: u32) {
        (0..slices).for_each(|_| backoff.tick());
    }

    #[test]
    fn refusals_beyond_the_allowance_count_for_longer_and_longer() {
        let mut backoff = WindowBackoff::new();
        for ram in 0..AT_ONCE {
            assert!(!backoff.refuse(4 * ram));
        }
        for again in 0..4 {
            assert!(backoff.refuse(0x1000), "{again}");
            for slice in 1..=WHILE << again {
                assert!(backoff.is_by_tables(0x1000), "{again} {slice}");
                backoff.tick();
                // What time allows, somebody else uses up.
                if slice.is_multiple_of(EACH) {
                    assert!(!backoff.refuse(4));
                }
            }
            assert!(!backoff.is_by_tables(0x1000), "{again}");
        }
        assert!(!backoff.is_by_tables(4));
        // Other code does not inherit it.
        assert!(backoff.refuse(0x1000));
        backoff.forget(0x0FF0..0x1001);
        assert!(!backoff.is_by_tables(0x1000));
    }

    #[test]
    fn time_allows_so_many_refusals_and_no_more_at_once() {
        let mut backoff = WindowBackoff::new();
        ticks(&mut backoff, 1000 * EACH);
        let allowed = (0..100).filter(|_| !backoff.refuse(0)).count();
        assert_eq!(allowed as u32, AT_ONCE);
        ticks(&mut backoff, 3 * EACH);
        let allowed = (0..100).filter(|_| !backoff.refuse(0)).count();
        assert_eq!(allowed, 3);
        backoff.both_ways = true;
        let again = (0..800).filter(|_| backoff.refuse(0)).count();
        let by_tables = (0..800).filter(|word| backoff.is_by_tables(4 * word));
        assert_eq!((again, by_tables.count()), (100, 100));
    }
}
