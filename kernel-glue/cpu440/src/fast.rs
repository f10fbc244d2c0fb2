//! The tables that translated code looks addresses up in: one load tells where a page is.
//!
//! For each space there is a number for each effective page and direction. Added to an effective
//! address in the page it gives the host address; 0 stands for a page that is not there. A second
//! table has, for fetches, the RAM page's number plus 1. All are filled on demand from
//! [`crate::mmu::Mmu`], whose tables say what is allowed; this is a cache in front of it, and a
//! removal there is a removal here.
//!
//! A store needs no look at the code watch: a page that holds code has no entry for stores.
#![allow(unsafe_code)]

use std::io;

use ppc440_isa::{SPACES, SpaceId};

use crate::ram::Ram;
use crate::table::Reservation;

/// Effective pages.
const PAGES: usize = 1 << 20;
/// Bytes of a space's tables: loads, stores, fetches.
const BYTES: usize = PAGES * (8 + 8 + 4);
/// Pages that one bit of `touched` stands for.
const GROUP: usize = 64;

/// Bytes from a page's entry for loads to its entry for stores.
pub(crate) const STORES: i32 = (PAGES * 8) as i32;

/// The tables of one space.
#[derive(Debug)]
struct Space {
    memory: Reservation,
    /// Which groups of pages have an entry, one bit each.
    touched: Box<[u64; PAGES / GROUP / 64]>,
}

impl Space {
    fn new(memory: Reservation) -> Self {
        Space {
            memory,
            touched: Box::new([0; PAGES / GROUP / 64]),
        }
    }

    fn data(&self, page: usize, store: bool) -> *mut u64 {
        assert!(page < PAGES, "an effective page has 20 bits");
        let index = page + if store { PAGES } else { 0 };
        // SAFETY: both tables of `PAGES` words lie at the start of the mapping.
        unsafe { self.memory.base().as_ptr().cast::<u64>().add(index) }
    }

    fn fetch(&self, page: usize) -> *mut u32 {
        assert!(page < PAGES, "an effective page has 20 bits");
        // SAFETY: the table of `PAGES` half as long words lies behind the other two.
        unsafe {
            self.memory
                .base()
                .as_ptr()
                .cast::<u32>()
                .add(4 * PAGES + page)
        }
    }

    fn touch(&mut self, page: usize) {
        self.touched[page / GROUP / 64] |= 1 << (page / GROUP % 64);
    }

    /// Zeroes the entries of pages `from..to`.
    fn clear(&mut self, from: usize, to: usize) {
        let mut page = from;
        while page < to {
            let (word, bit) = (page / GROUP / 64, page / GROUP % 64);
            let rest = self.touched[word] >> bit;
            if rest == 0 {
                page = (word + 1) * GROUP * 64;
                continue;
            }
            let group = page / GROUP + rest.trailing_zeros() as usize;
            let first = page.max(group * GROUP);
            let end = to.min((group + 1) * GROUP);
            if first >= end {
                return;
            }
            // SAFETY: `first..end` are pages, and `data` and `fetch` point to their entries, which
            // are adjacent; nobody else reads or writes them now: translated code runs only while
            // `enter` borrows the CPU.
            unsafe {
                self.data(first, false).write_bytes(0, end - first);
                self.data(first, true).write_bytes(0, end - first);
                self.fetch(first).write_bytes(0, end - first);
            }
            if end - first == GROUP {
                self.touched[group / 64] &= !(1 << (group % 64));
            }
            page = end;
        }
    }
}

/// The tables of all spaces.
#[derive(Debug)]
pub(crate) struct Fast {
    spaces: Vec<Space>,
    /// Host address of guest RAM.
    ram: u64,
    /// An uncached page was entered for stores, once: `dcbz` must look at the page from then on.
    pub uncached: bool,
    /// For each RAM page, up to two entries for stores that lead to it: space and page plus 1.
    writers: Box<[[u32; 2]]>,
}

impl Fast {
    /// # Errors
    /// When the host has no address space left: 20 MiB a space.
    pub fn new(ram: &Ram) -> io::Result<Self> {
        let memory = Reservation::several(SPACES, BYTES)?;
        Ok(Fast {
            spaces: memory.into_iter().map(Space::new).collect(),
            ram: ram.host_address(),
            uncached: false,
            writers: vec![[0; 2]; ram.bytes() >> 12].into_boxed_slice(),
        })
    }

    /// Where translated code finds the entries for loads and stores of a space, and those for its
    /// fetches.
    pub fn tables(&self, space: SpaceId) -> (*const u64, *const u32) {
        let space = &self.spaces[usize::from(space) % SPACES];
        (space.data(0, false), space.fetch(0))
    }

    /// Enters the RAM page at offset `ram`.
    pub fn fill(&mut self, space: SpaceId, ea: u32, ram: u32, store: bool) {
        let page = (ea >> 12) as usize;
        let entry = self
            .ram
            .wrapping_add(u64::from(ram))
            .wrapping_sub(u64::from(ea & !0xFFF));
        if store {
            self.remember(space, page, ram);
        }
        let tables = &mut self.spaces[usize::from(space) % SPACES];
        tables.touch(page);
        // SAFETY: `data` points to the page's entry, and nobody else reads it meanwhile: it is
        // called by translated code or while none runs.
        unsafe { tables.data(page, store).write(entry) };
    }

    /// Enters a RAM page's number for fetches.
    pub fn fill_fetch(&mut self, space: SpaceId, ea: u32, ram_page: u32) {
        let page = (ea >> 12) as usize;
        let tables = &mut self.spaces[usize::from(space) % SPACES];
        tables.touch(page);
        // SAFETY: as in `fill`.
        unsafe { tables.fetch(page).write(ram_page + 1) };
    }

    /// Notes that a space's page leads to a RAM page for stores; an older entry that finds no room
    /// is removed, which costs it a slow access.
    fn remember(&mut self, space: SpaceId, page: usize, ram: u32) {
        let new = (u32::from(space) << 20 | page as u32) + 1;
        let Some(known) = self.writers.get_mut((ram >> 12) as usize) else {
            return;
        };
        let [first, second] = *known;
        if first != new {
            *known = [new, first];
            if second != new {
                self.remove_writer(second, ram);
            }
        }
    }

    /// Removes an entry for stores, if it still leads to the RAM page.
    fn remove_writer(&mut self, writer: u32, ram: u32) {
        let Some(writer) = writer.checked_sub(1) else {
            return;
        };
        let (space, page) = ((writer >> 20) as usize, (writer & 0xF_FFFF) as usize);
        let leads = self
            .ram
            .wrapping_add(u64::from(ram & !0xFFF))
            .wrapping_sub((page as u64) << 12);
        let entry = self.spaces[space].data(page, true);
        // SAFETY: as in `fill`.
        unsafe {
            if entry.read() == leads {
                entry.write(0);
            }
        }
    }

    /// Removes every entry for stores to the RAM page at offset `ram`.
    pub fn forbid_stores(&mut self, ram: u32) {
        if let Some(known) = self.writers.get_mut((ram >> 12) as usize) {
            for writer in std::mem::take(known) {
                self.remove_writer(writer, ram);
            }
        }
    }

    /// Removes the entries of `bytes` bytes at `ea`, both multiples of 4096.
    pub fn unmap(&mut self, space: SpaceId, ea: u32, bytes: u32) {
        let first = (ea >> 12) as usize;
        let end = (first + (bytes >> 12) as usize).min(PAGES);
        self.spaces[usize::from(space) % SPACES].clear(first, end);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ram::Region;

    fn fast() -> Fast {
        let region = Arc::new(Region::new(1 << 20).expect("anonymous memory"));
        Fast::new(&Ram::new(region).expect("RAM")).expect("tables")
    }

    /// The entries of a page: loads, stores, fetches.
    fn entries(fast: &Fast, space: usize, page: usize) -> (bool, bool, u32) {
        let space = &fast.spaces[space];
        // SAFETY: the pointers are to entries of a mapping that `fast` owns.
        unsafe {
            (
                space.data(page, false).read() != 0,
                space.data(page, true).read() != 0,
                space.fetch(page).read(),
            )
        }
    }

    #[test]
    fn a_removal_takes_exactly_its_pages() {
        let mut fast = fast();
        for page in [0u32, 63, 64, 65, 1000, 0xF_FFFF] {
            fast.fill(3, page << 12, 0x1000, false);
            fast.fill_fetch(3, page << 12, 1);
        }
        fast.unmap(3, 63 << 12, 2 << 12);
        let left = |fast: &Fast| {
            [0, 63, 64, 65, 1000, 0xF_FFFF].map(|page| entries(fast, 3, page) == (true, false, 2))
        };
        assert_eq!(left(&fast), [true, false, false, true, true, true]);
        fast.unmap(3, 0x8000_0000, 0x8000_0000);
        assert_eq!(left(&fast), [true, false, false, true, true, false]);
        fast.unmap(3, 0, 0x4000_0000);
        assert_eq!(left(&fast), [false; 6]);
    }

    #[test]
    fn no_entry_for_stores_survives_the_watch() {
        let mut fast = fast();
        // Four ways to one page, of which two can be remembered, and one to another.
        for (space, page) in [(0, 5u32), (1, 5), (1, 6), (2, 7)] {
            fast.fill(space, page << 12, 0x3000, true);
        }
        fast.fill(2, 8 << 12, 0x4000, true);
        assert!(entries(&fast, 2, 7).1 && entries(&fast, 1, 6).1);
        fast.forbid_stores(0x3123);
        for (space, page) in [(0, 5), (1, 5), (1, 6), (2, 7)] {
            assert!(!entries(&fast, space, page).1, "{space} {page}");
        }
        assert!(entries(&fast, 2, 8).1);
    }

    #[test]
    fn an_entry_that_leads_elsewhere_now_stays() {
        let mut fast = fast();
        fast.fill(0, 0x5000, 0x3000, true);
        fast.unmap(0, 0x5000, 0x1000);
        fast.fill(0, 0x5000, 0x4000, true);
        fast.forbid_stores(0x3000);
        assert!(entries(&fast, 0, 5).1);
    }
}
