//! What reading one file may cost.
//!
//! A small file can ask for much work: a name that is listed often, a stream that unpacks to
//! gigabytes, a search that starts again at every byte. So whatever is read, unpacked, hashed or
//! searched is counted, and a file that asks for more than any real one needs is refused.

use super::error::Fault;
use std::cell::Cell;

/// The budget in sizes of RAM. A FIT image whose initrd fills half of RAM and has four kinds of
/// hashes needs two and a half.
const RAM_SIZES: u64 = 4;

/// A guest with less RAM than this has the budget of one with so much, in bytes.
const LEAST_RAM: u64 = 64 << 20;

/// How many places in a program may look like a compressed kernel or a device tree and be none.
/// Three or four bytes make one look so, and real programs have one such place or none.
const GUESSES: u32 = 16;

/// The budget for reading one file; all its layers share it.
#[derive(Debug)]
pub(super) struct Budget {
    /// In bytes.
    limit: u64,
    spent: Cell<u64>,
    guesses: Cell<u32>,
}

impl Budget {
    /// The budget for a file of a guest with `ram` bytes of memory.
    pub(super) fn new(ram: u32) -> Budget {
        Budget {
            limit: RAM_SIZES * u64::from(ram).max(LEAST_RAM),
            spent: Cell::new(0),
            guesses: Cell::new(0),
        }
    }

    /// Counts bytes that are read, unpacked, hashed or searched.
    pub(super) fn spend(&self, bytes: u64) -> Result<(), Fault> {
        let spent = self.spent.get().saturating_add(bytes);
        self.spent.set(spent);
        match spent > self.limit {
            true => Err(Fault::Budget { limit: self.limit }),
            false => Ok(()),
        }
    }

    /// How many bytes may still be spent.
    pub(super) fn left(&self) -> u64 {
        self.limit.saturating_sub(self.spent.get())
    }

    /// How many bytes were spent.
    #[cfg(test)]
    pub(super) fn spent(&self) -> u64 {
        self.spent.get()
    }

    /// Counts a place that looks like something and must be looked at closely.
    pub(super) fn guess(&self, what: &'static str) -> Result<(), Fault> {
        let guesses = self.guesses.get() + 1;
        self.guesses.set(guesses);
        match guesses > GUESSES {
            true => Err(Fault::Guesses {
                what,
                limit: GUESSES,
            }),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_counts_up_to_the_limit() {
        let budget = Budget::new(1 << 20);
        assert_eq!(budget.left(), 256 << 20, "small guests have kernels too");
        assert!(budget.spend(256 << 20).is_ok());
        let error = budget.spend(1).expect_err("nothing is left").to_string();
        assert!(error.contains("more than 268435456 bytes"), "{error}");
        assert!(budget.spend(u64::MAX).is_err());
        assert_eq!((budget.left(), budget.spent()), (0, u64::MAX));
        assert_eq!(Budget::new(256 << 20).left(), 1 << 30);
    }
}
