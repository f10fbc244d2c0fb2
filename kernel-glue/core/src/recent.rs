//! The interrupts that the guest took last: for whoever asks what happened before the end.

use crate::interrupt::Interrupt;

/// How many interrupts are kept; a power of two.
pub const RECENT: usize = 32;

/// One interrupt that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Which one.
    pub kind: Interrupt,
    /// What went into the save register: the address to return to.
    pub address: u32,
    /// The MSR before.
    pub msr: u32,
    /// ESR as the handler finds it.
    pub esr: u32,
    /// DEAR as the handler finds it; data storage, alignment and data TLB interrupts set it.
    pub dear: u32,
}

/// The last interrupts, in a ring.
#[derive(Clone, Debug)]
pub(crate) struct Recent {
    ring: [Taken; RECENT],
    /// Interrupts so far; wraps.
    count: u32,
}

impl Default for Recent {
    fn default() -> Self {
        let none = Taken {
            kind: Interrupt::CriticalInput,
            address: 0,
            msr: 0,
            esr: 0,
            dear: 0,
        };
        Recent {
            ring: [none; RECENT],
            count: 0,
        }
    }
}

impl Recent {
    #[inline]
    pub fn push(&mut self, taken: Taken) {
        self.ring[self.count as usize % RECENT] = taken;
        // Once the ring is full it stays so: the count keeps its place above the length.
        self.count = self.count.checked_add(1).unwrap_or(RECENT as u32);
    }

    /// The latest last.
    pub fn iter(&self) -> impl Iterator<Item = &Taken> {
        let count = self.count as usize;
        let kept = count.min(RECENT);
        (count - kept..count).map(|at| &self.ring[at % RECENT])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_kept_in_order() {
        let mut recent = Recent::default();
        assert_eq!(recent.iter().count(), 0);
        let push = |recent: &mut Recent, address| {
            let taken = Taken {
                address,
                ..recent.ring[0]
            };
            recent.push(taken);
        };
        push(&mut recent, 0);
        push(&mut recent, 1);
        assert!(recent.iter().map(|taken| taken.address).eq(0..2));
        for address in 2..100 {
            push(&mut recent, address);
        }
        assert!(recent.iter().map(|taken| taken.address).eq(68..100));
        recent.count = u32::MAX;
        push(&mut recent, 7);
        assert_eq!(recent.iter().count(), RECENT);
    }
}
