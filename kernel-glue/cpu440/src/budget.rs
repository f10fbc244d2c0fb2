//! How many pages the windows of all machines in this process may show together.
//!
//! A page that is shown is a mapping of the process, and cuts the one that it lies in, so alone it takes
//! two. Linux allows a process 65,530 unless `vm.max_map_count` says otherwise, and what else the
//! process does needs some: half of them are the windows'. Every machine may use an equal share.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Mappings that Linux allows a process where it does not say how many.
const MAPPINGS: usize = 65_530;
/// Mappings that a page takes that is shown alone.
const PER_PAGE: usize = 2;

/// What the windows of this process have.
static PROCESS: Pool = Pool::new();

/// Machines with windows, and the pages that they show.
#[derive(Debug)]
struct Pool {
    machines: AtomicUsize,
    pages: AtomicUsize,
    /// Pages that may be shown.
    limit: OnceLock<usize>,
}

impl Pool {
    const fn new() -> Self {
        Pool {
            machines: AtomicUsize::new(0),
            pages: AtomicUsize::new(0),
            limit: OnceLock::new(),
        }
    }

    fn limit(&self) -> usize {
        *self.limit.get_or_init(|| {
            let mappings = std::fs::read_to_string("/proc/sys/vm/max_map_count");
            let mappings = mappings.ok().and_then(|text| text.trim().parse().ok());
            mappings.unwrap_or(MAPPINGS) / 2 / PER_PAGE
        })
    }
}

/// The pages that one machine shows; they are given back with it.
#[derive(Debug)]
pub(crate) struct PageBudget {
    pool: &'static Pool,
    pages: usize,
    /// The machine has windows, and so a share.
    shares: bool,
}

impl PageBudget {
    /// The budget of one more machine; one without windows takes nobody's share.
    pub fn new(has_windows: bool) -> Self {
        Self::of(&PROCESS, has_windows)
    }

    fn of(pool: &'static Pool, has_windows: bool) -> Self {
        pool.machines
            .fetch_add(usize::from(has_windows), Ordering::Relaxed);
        PageBudget {
            pool,
            pages: 0,
            shares: has_windows,
        }
    }

    /// Pages that are shown.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Whether this machine has its share: `most` pages, or as many as all machines can have.
    pub fn is_spent(&self, most: usize) -> bool {
        let machines = self.pool.machines.load(Ordering::Relaxed).max(1);
        self.pages >= most.min(self.pool.limit() / machines)
    }

    /// Takes a page; `false` when the process has none left, because machines that had a larger
    /// share still show what it allowed.
    #[must_use]
    pub fn take(&mut self) -> bool {
        let limit = self.pool.limit();
        let pages = &self.pool.pages;
        let taken = pages.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |pages| {
            (pages < limit).then_some(pages + 1)
        });
        self.pages += usize::from(taken.is_ok());
        taken.is_ok()
    }

    /// Gives pages back, which are shown no more.
    pub fn give_back(&mut self, pages: usize) {
        self.pages -= pages;
        self.pool.pages.fetch_sub(pages, Ordering::Relaxed);
    }
}

impl Drop for PageBudget {
    fn drop(&mut self) {
        self.give_back(self.pages);
        let machines = usize::from(self.shares);
        self.pool.machines.fetch_sub(machines, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_share_what_the_process_may_show() {
        static POOL: Pool = Pool::new();
        POOL.limit.set(100).expect("nobody has looked");
        let mut first = PageBudget::of(&POOL, true);
        let without = PageBudget::of(&POOL, false);
        let take = |budget: &mut PageBudget, most| {
            let before = budget.pages();
            while !budget.is_spent(most) && budget.take() {}
            budget.pages() - before
        };
        assert_eq!(take(&mut first, 30), 30);
        assert_eq!(take(&mut first, usize::MAX), 70);
        // The second finds nothing left, until the first has come down to its share.
        let mut second = PageBudget::of(&POOL, true);
        assert_eq!(take(&mut second, usize::MAX), 0);
        assert!(first.is_spent(usize::MAX) && !second.is_spent(usize::MAX));
        first.give_back(100);
        assert_eq!(take(&mut first, usize::MAX), 50);
        assert_eq!(take(&mut second, usize::MAX), 50);
        drop((first, without));
        assert_eq!(take(&mut second, usize::MAX), 50);
    }
}
