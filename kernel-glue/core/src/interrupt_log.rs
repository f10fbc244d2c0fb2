//! The interrupts that the guest took first and last: for whoever asks what happened before the end.
//!
//! A fault in a guest that has no handler raises the next, and so on without end: what it began with is
//! among the first, and what it ends in is one entry with a count.

use crate::state::Interrupt;

/// How many of the first interrupts are kept.
pub const FIRST: usize = 8;
/// How many of the last are kept besides.
pub const LAST: usize = 32;

/// One interrupt that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Which one.
    pub kind: Interrupt,
    /// What went into the save register: the address to return to.
    pub address: u32,
    /// The MSR before; of a row, before the first.
    pub msr: u32,
    /// ESR as the handler finds it.
    pub esr: u32,
    /// DEAR as the handler finds it; data storage, alignment and data TLB interrupts set it.
    pub dear: u32,
    /// How often it was taken in a row, with the same address, ESR and DEAR; at least 1.
    pub times: u32,
}

impl Taken {
    #[inline]
    fn is_again(&self, other: &Taken) -> bool {
        self.address == other.address
            && self.kind == other.kind
            && self.esr == other.esr
            && self.dear == other.dear
    }
}

/// Interrupts that were taken since the CPU's reset: the first 8, and the last 32. Interrupts in a row
/// that do not differ are one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterruptLog {
    first: [Taken; FIRST],
    last: [Taken; LAST],
    /// Entries so far. Beyond `u32::MAX` it stays between what both hold and that.
    entries: u32,
}

impl Default for InterruptLog {
    fn default() -> Self {
        let none = Taken {
            kind: Interrupt::CriticalInput,
            address: 0,
            msr: 0,
            esr: 0,
            dear: 0,
            times: 0,
        };
        InterruptLog {
            first: [none; FIRST],
            last: [none; LAST],
            entries: 0,
        }
    }
}

impl InterruptLog {
    /// Notes an interrupt, whose `times` is 1.
    #[inline]
    pub(crate) fn push(&mut self, taken: Taken) {
        let entries = self.entries as usize;
        if entries != 0 && self.newest().is_again(&taken) {
            let newest = self.newest();
            newest.times = newest.times.saturating_add(1);
            return;
        }
        match self.first.get_mut(entries) {
            Some(first) => *first = taken,
            None => self.last[(entries - FIRST) % LAST] = taken,
        }
        // When it wraps, it goes on where the ring is full and its next place is the same.
        const FULL: u32 = (FIRST + LAST) as u32 + (u32::MAX - FIRST as u32) % LAST as u32;
        self.entries = self.entries.checked_add(1).unwrap_or(FULL + 1);
    }

    /// The entry of the latest interrupt, of which there is one.
    #[inline]
    fn newest(&mut self) -> &mut Taken {
        let at = self.entries as usize - 1;
        match at.checked_sub(FIRST) {
            Some(at) => &mut self.last[at % LAST],
            None => &mut self.first[at],
        }
    }

    /// The interrupts taken first, the earliest first: at most 8 entries.
    pub fn first(&self) -> &[Taken] {
        &self.first[..FIRST.min(self.entries as usize)]
    }

    /// The interrupts taken last that are none of the first, the latest last: at most 32 entries.
    pub fn last(&self) -> impl ExactSizeIterator<Item = &Taken> + DoubleEndedIterator {
        let later = (self.entries as usize).saturating_sub(FIRST);
        let kept = later.min(LAST);
        (later - kept..later).map(|at| &self.last[at % LAST])
    }

    /// Entries between the first and the last that were not kept.
    pub fn omitted(&self) -> usize {
        (self.entries as usize).saturating_sub(FIRST + LAST)
    }

    /// All entries that are kept, in the order in which they were taken.
    pub fn iter(&self) -> impl Iterator<Item = &Taken> {
        self.first().iter().chain(self.last())
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn taken(address: u32) -> Taken {
        Taken {
            kind: Interrupt::Program,
            address,
            msr: 0,
            esr: 0,
            dear: 0,
            times: 1,
        }
    }

    /// The addresses and counts of the first, and of the last.
    fn kept(log: &InterruptLog) -> [Vec<(u32, u32)>; 2] {
        let pair = |taken: &Taken| (taken.address, taken.times);
        [
            log.first().iter().map(pair).collect(),
            log.last().map(pair).collect(),
        ]
    }

    #[test]
    fn the_first_and_the_last_are_kept_in_order() {
        let mut log = InterruptLog::default();
        assert_eq!(log.iter().count(), 0);
        for address in 0..100u32 {
            log.push(taken(address));
            let all = address + 1;
            let first: Vec<_> = (0..all.min(8)).map(|at| (at, 1)).collect();
            let last: Vec<_> = (all.saturating_sub(32).max(8)..all)
                .map(|at| (at, 1))
                .collect();
            assert_eq!(kept(&log), [first, last]);
            assert_eq!(log.omitted(), all.saturating_sub(40) as usize);
        }
    }

    #[test]
    fn a_row_of_the_same_is_one_entry() {
        let mut log = InterruptLog::default();
        let differ = [
            Taken {
                kind: Interrupt::SystemCall,
                ..taken(0x20)
            },
            taken(0),
            Taken {
                dear: 4,
                ..taken(0)
            },
            Taken { esr: 8, ..taken(0) },
        ];
        for different in differ {
            for times in 1..=1000 {
                // What else the MSR was before the second of them says nothing new.
                log.push(Taken {
                    msr: times,
                    ..different
                });
            }
        }
        let expected = differ.map(|different| Taken {
            msr: 1,
            times: 1000,
            ..different
        });
        assert!(log.iter().eq(&expected));
        // In the ring as well, and however often.
        for address in 100..200 {
            log.push(taken(address));
        }
        log.newest().times = u32::MAX;
        log.push(taken(199));
        assert_eq!(
            log.last().next_back().map(|last| last.times),
            Some(u32::MAX)
        );
        assert_eq!(log.last().len(), LAST);
    }

    #[test]
    fn a_count_that_wraps_keeps_order_and_place() {
        let mut log = InterruptLog::default();
        for address in 0..40 {
            log.push(taken(address));
        }
        // As many more as bring the count to its end: the ring is at the place that it would be at.
        log.entries = u32::MAX - 3;
        for address in 1000..1100 {
            log.push(taken(address));
            let newest: Vec<_> = log
                .last()
                .rev()
                .take_while(|last| last.address >= 1000)
                .collect();
            let expected = (1000..=address).rev().take(LAST);
            assert!(
                newest.iter().map(|last| last.address).eq(expected),
                "{address}"
            );
        }
        assert_eq!(log.first(), (0..8).map(taken).collect::<Vec<_>>());
    }
}
