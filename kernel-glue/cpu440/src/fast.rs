//! The tables that translated code looks addresses up in.
//!
//! For each space, effective page and direction there is a number that, added to an effective address in
//! the page, gives the host address; 0 stands for a page that is not there. A further table has, for
//! fetches, the RAM page's number plus 1. All are filled on demand from [`crate::mmu::Mmu`], whose
//! tables say what is allowed; this is a cache in front of it, and a removal there is a removal
//! here.
//!
//! Code that is known to run much looks at a byte for each page instead, which says whether the space's
//! window (`window.rs`) shows the page. If it does, the access goes there. If not, it goes by the
//! page's number, and is counted: a page that has had many goes into the window.
//!
//! A store needs no look at the code watch: a page that holds code has no entry for stores.
//!
//! An index is the address shifted right by 12, after it was *rotated* right by as many bits as the
//! access's address has zeros at its end. An address that is not aligned gives an index behind all
//! pages, where there is always nothing: one look answers for the page and for the alignment.
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;

use ppc440_isa::{SPACES, SpaceId};

use crate::ram::Ram;
use crate::window::{Shown, Window};

/// Effective pages.
const PAGES: usize = 1 << 20;
/// Pages that one bit of a [`Groups`] stands for.
const GROUP: usize = 64;

/// Indices of the longest access, aligned or not.
const INDICES: usize = PAGES * 8;

/// The window shows the page, and it may be loaded from.
pub(crate) const LOAD_SHOWN: u8 = 1;
/// The window shows the page, and it may be stored to.
pub(crate) const STORE_SHOWN: u8 = 2;
/// Added for an access that goes by the page's number all the same; a carry out of the byte asks for
/// [`Fast::warm`].
pub(crate) const COUNT: u8 = 4;
/// As many accesses make a carry.
const COUNTED: u32 = 256 / COUNT as u32;

/// Bytes from the bytes to the numbers for loads.
pub(crate) const LOADS: i32 = INDICES as i32;
/// Bytes from the bytes to the numbers for stores.
pub(crate) const STORES: i32 = LOADS + (8 * INDICES) as i32;
const FETCHES: i32 = STORES + (8 * INDICES) as i32;
/// What the window shows: the number of the RAM page plus 1.
const SHOWN: i32 = FETCHES + (4 * PAGES) as i32;
/// How often a page was found warm.
const HEAT: i32 = SHOWN + (4 * PAGES) as i32;
/// Bytes from the bytes to the window.
pub(crate) const WINDOW: i32 = HEAT + PAGES as i32;

/// Pages that wait to be shown at the most; others ask again.
const MOST_WANTED: usize = 64;

/// What of the tables is ever written; the rest reads as zeros.
const WRITTEN: [Range<usize>; 4] = [
    0..PAGES,
    LOADS as usize..LOADS as usize + 8 * PAGES,
    STORES as usize..STORES as usize + 8 * PAGES,
    FETCHES as usize..WINDOW as usize,
];

/// When the translator shows pages of guest RAM in windows (`window.rs`), to code that runs much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Accesses that a page has had by then; 0: at once, and to all code but the supervisor's.
    pub after: u32,
    /// Pages that are shown at the same time, in all spaces. Each is a mapping of the process, of which
    /// Linux allows 65,530, unless its neighbours are its neighbours in RAM too.
    pub most: usize,
}

impl Default for Windows {
    fn default() -> Self {
        // Showing a page costs as much as some hundred accesses lose; what is worth it has many
        // more, and most pages of a short program do not come to them.
        Windows {
            after: 4096,
            most: 8192,
        }
    }
}

/// A set of pages, kept as the groups of [`GROUP`] pages that they are in.
#[derive(Debug)]
struct Groups(Box<[u64; PAGES / GROUP / 64]>);

impl Groups {
    fn new() -> Self {
        Groups(Box::new([0; PAGES / GROUP / 64]))
    }

    fn insert(&mut self, page: usize) {
        self.0[page / GROUP / 64] |= 1 << (page / GROUP % 64);
    }

    /// Removes the pages of a run, if they are all of a group.
    fn remove(&mut self, run: Run) {
        if run.count == GROUP {
            let group = run.first / GROUP;
            self.0[group / 64] &= !(1 << (group % 64));
        }
    }

    /// The next pages in `from..to` among which members are.
    fn next(&self, from: usize, to: usize) -> Option<Run> {
        let mut page = from;
        while page < to {
            let (word, bit) = (page / GROUP / 64, page / GROUP % 64);
            let rest = self.0[word] >> bit;
            if rest == 0 {
                page = (word + 1) * GROUP * 64;
                continue;
            }
            let group = page / GROUP + rest.trailing_zeros() as usize;
            let first = page.max(group * GROUP);
            let end = to.min((group + 1) * GROUP);
            return (first < end).then(|| Run {
                first,
                count: end - first,
            });
        }
        None
    }
}

/// Pages of one group.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: usize,
    count: usize,
}

impl Run {
    fn end(self) -> usize {
        self.first + self.count
    }
}

/// The tables of one space.
#[derive(Debug)]
struct Space {
    memory: Window,
    /// Pages that have an entry.
    touched: Groups,
    /// Pages that are shown.
    showing: Groups,
}

impl Space {
    fn new(memory: Window) -> Self {
        Space {
            memory,
            touched: Groups::new(),
            showing: Groups::new(),
        }
    }

    /// A page's element in the table at `table`.
    fn at<T>(&self, table: i32, page: usize) -> *mut T {
        assert!(page < PAGES, "an effective page has 20 bits");
        let at = table as usize + page * size_of::<T>();
        // SAFETY: every table has room for `PAGES` elements in front of the window.
        unsafe { self.memory.base().as_ptr().add(at).cast() }
    }

    fn state(&self, page: usize) -> *mut u8 {
        self.at(0, page)
    }

    fn data(&self, page: usize, store: bool) -> *mut u64 {
        self.at(if store { STORES } else { LOADS }, page)
    }

    fn fetch(&self, page: usize) -> *mut u32 {
        self.at(FETCHES, page)
    }

    fn shown(&self, page: usize) -> *mut u32 {
        self.at(SHOWN, page)
    }

    fn heat(&self, page: usize) -> *mut u8 {
        self.at(HEAT, page)
    }

    /// Zeroes the entries of pages `from..to`. What the window shows stays there.
    fn clear(&mut self, mut from: usize, to: usize) {
        while let Some(run) = self.touched.next(from, to) {
            let Run { first, count } = run;
            // SAFETY: these are pages, and the pointers are to their elements, which are adjacent;
            // nobody else reads or writes them now: translated code runs only while `enter` borrows
            // the CPU, and not while it has called here.
            unsafe {
                self.state(first).write_bytes(0, count);
                self.data(first, false).write_bytes(0, count);
                self.data(first, true).write_bytes(0, count);
                self.fetch(first).write_bytes(0, count);
            }
            self.touched.remove(run);
            from = run.end();
        }
    }

    /// Takes bits from the bytes of all pages.
    fn revoke(&mut self, bits: u8) {
        let mut from = 0;
        while let Some(run) = self.touched.next(from, PAGES) {
            for page in run.first..run.end() {
                // SAFETY: as in `clear`.
                unsafe { *self.state(page) &= !bits };
            }
            from = run.end();
        }
    }

    /// Shows nothing any more.
    fn hide_all(&mut self) {
        self.revoke(LOAD_SHOWN | STORE_SHOWN);
        let mut from = 0;
        while let Some(run) = self.showing.next(from, PAGES) {
            // SAFETY: as in `clear`.
            unsafe { self.shown(run.first).write_bytes(0, run.count) };
            self.showing.remove(run);
            from = run.end();
        }
        if from != 0 {
            self.memory.hide_all();
        }
    }
}

/// The tables of all spaces.
#[derive(Debug)]
pub(crate) struct Fast {
    spaces: Vec<Space>,
    /// Host address of guest RAM.
    ram: u64,
    /// What windows show; `None` when they cannot.
    source: Option<Shown>,
    pub windows: Windows,
    /// Pages to be shown.
    wanted: Vec<(SpaceId, usize)>,
    /// Pages that are shown.
    shown: usize,
    /// An uncached page was entered for stores, once: `dcbz` must look at the page from then on.
    pub uncached: bool,
    /// For each RAM page, up to two entries for stores that lead to it: space and page plus 1.
    writers: Box<[[u32; 2]]>,
}

impl Fast {
    /// # Errors
    /// When the host has no address space left: 145 MiB a space. Windows need 4 GiB more.
    pub fn new(ram: &Ram) -> io::Result<Self> {
        let source = Shown::new(ram);
        let memory = match source {
            Some(_) => Window::several(SPACES, WINDOW as usize, &WRITTEN)?,
            None => Window::none(SPACES, WINDOW as usize, &WRITTEN)?,
        };
        Ok(Fast {
            source: source.filter(|_| memory.iter().all(Window::is_there)),
            spaces: memory.into_iter().map(Space::new).collect(),
            ram: ram.host_address(),
            windows: Windows::default(),
            wanted: Vec::new(),
            shown: 0,
            uncached: false,
            writers: vec![[0; 2]; ram.bytes() >> 12].into_boxed_slice(),
        })
    }

    /// Where translated code finds the tables for loads and stores of a space, and the one for its
    /// fetches.
    pub fn tables(&self, space: SpaceId) -> (*const u8, *const u32) {
        let space = &self.spaces[usize::from(space) % SPACES];
        (space.state(0), space.fetch(0))
    }

    /// Whether pages can be shown in windows.
    pub fn has_windows(&self) -> bool {
        self.source.is_some()
    }

    /// Pages that are shown in windows.
    pub fn shown(&self) -> usize {
        self.shown
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
        tables.touched.insert(page);
        // SAFETY: the pointers are to the page's elements, and nobody else reads them meanwhile: it
        // is called by translated code or while none runs.
        unsafe {
            tables.data(page, store).write(entry);
            if tables.shown(page).read() == (ram >> 12) + 1 {
                *tables.state(page) |= if store { STORE_SHOWN } else { LOAD_SHOWN };
            }
        }
        if self.windows.after == 0 {
            self.ask_for(space, page);
        }
    }

    fn ask_for(&mut self, space: SpaceId, page: usize) {
        if self.source.is_some() && self.wanted.len() < MOST_WANTED {
            self.wanted.push((space, page));
        }
    }

    /// Shows the pages that were asked for. Translated code must not run meanwhile: it may still
    /// know where in a window a page is.
    #[inline]
    pub fn show_wanted(&mut self) {
        while let Some((space, page)) = self.wanted.pop() {
            self.show(space, page);
        }
    }

    /// Accesses to the page at `ea` were counted, and go on being slower than need be: asks for it to be
    /// shown, if it is worth it by now.
    #[cold]
    pub fn warm(&mut self, space: SpaceId, ea: u32) {
        let page = (ea >> 12) as usize;
        let tables = &mut self.spaces[usize::from(space) % SPACES];
        // SAFETY: as in `fill`.
        let heat = unsafe { &mut *tables.heat(page) };
        *heat = heat.saturating_add(1);
        if u32::from(*heat) * COUNTED >= self.windows.after {
            *heat = 0;
            self.ask_for(space, page);
        }
    }

    /// Shows a page in its window, if it has an entry.
    fn show(&mut self, space: SpaceId, page: usize) {
        let Some(source) = &self.source else {
            return;
        };
        let index = usize::from(space) % SPACES;
        let tables = &self.spaces[index];
        // SAFETY: as in `fill`.
        let entries = unsafe {
            [
                (tables.data(page, false).read(), LOAD_SHOWN),
                (tables.data(page, true).read(), STORE_SHOWN),
            ]
        };
        let entries = entries.into_iter().filter(|(entry, _)| *entry != 0);
        let Some((entry, _)) = entries.clone().next() else {
            return;
        };
        let ram = entry
            .wrapping_add((page as u64) << 12)
            .wrapping_sub(self.ram) as u32;
        // SAFETY: as in `fill`.
        if unsafe { tables.shown(page).read() } != (ram >> 12) + 1 {
            if self.shown >= self.windows.most {
                self.spaces.iter_mut().for_each(Space::hide_all);
                self.shown = 0;
            }
            let tables = &mut self.spaces[index];
            // SAFETY: as in `fill`.
            unsafe {
                *tables.state(page) &= !(LOAD_SHOWN | STORE_SHOWN);
                self.shown -= usize::from(tables.shown(page).replace(0) != 0);
            }
            if !tables.memory.show(page, source, ram) {
                return;
            }
            // SAFETY: as in `fill`.
            unsafe { tables.shown(page).write((ram >> 12) + 1) };
            tables.showing.insert(page);
            self.shown += 1;
        }
        let bits = entries.fold(0, |bits, (_, bit)| bits | bit);
        // SAFETY: as in `fill`.
        unsafe { *self.spaces[index].state(page) |= bits };
    }

    /// Enters a RAM page's number for fetches; says whether it was not there.
    pub fn fill_fetch(&mut self, space: SpaceId, ea: u32, ram_page: u32) -> bool {
        let page = (ea >> 12) as usize;
        let tables = &mut self.spaces[usize::from(space) % SPACES];
        tables.touched.insert(page);
        // SAFETY: as in `fill`.
        unsafe { tables.fetch(page).replace(ram_page + 1) != ram_page + 1 }
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
        let space = &self.spaces[space];
        // SAFETY: as in `fill`.
        unsafe {
            if space.data(page, true).read() == leads {
                space.data(page, true).write(0);
                *space.state(page) &= !STORE_SHOWN;
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
    use crate::ram::{Region, memory_file};

    const BYTES: usize = 1 << 20;

    fn fast() -> Fast {
        let region = Arc::new(Region::new(BYTES).expect("anonymous memory"));
        Fast::new(&Ram::new(region).expect("RAM")).expect("tables")
    }

    /// Tables with windows, and the RAM that they show.
    fn windows(after: u32, most: usize) -> (Fast, Ram) {
        let region = memory_file(BYTES).expect("a memory file");
        let ram = Ram::new(Arc::new(region)).expect("RAM");
        let mut fast = Fast::new(&ram).expect("tables");
        fast.windows = Windows { after, most };
        (fast, ram)
    }

    /// How a page's accesses may go on.
    fn state(fast: &Fast, space: usize, page: usize) -> u8 {
        // SAFETY: the pointer is to an element of a table that `fast` owns.
        unsafe { fast.spaces[space].state(page).read() }
    }

    /// What the window has at an effective address that it shows.
    fn seen(fast: &Fast, space: usize, ea: u32) -> u8 {
        assert_ne!(state(fast, space, ea as usize >> 12) & LOAD_SHOWN, 0);
        let at = WINDOW as usize + ea as usize;
        // SAFETY: the page is mapped there.
        unsafe { fast.spaces[space].memory.base().as_ptr().add(at).read() }
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

    #[test]
    fn a_page_is_shown_when_it_has_had_its_accesses() {
        let (mut fast, ram) = windows(3 * COUNTED, 100);
        ram.store(0x3123, 77u8);
        fast.fill(4, 0xFFFF_F000, 0x3000, false);
        for shown in [false, false, true] {
            fast.warm(4, 0xFFFF_F123);
            assert_eq!(state(&fast, 4, 0xF_FFFF), 0, "not while code runs");
            fast.show_wanted();
            assert_eq!(state(&fast, 4, 0xF_FFFF), u8::from(shown) * LOAD_SHOWN);
        }
        assert_eq!((seen(&fast, 4, 0xFFFF_F123), fast.shown()), (77, 1));
        ram.store(0x3123, 78u8);
        assert_eq!(seen(&fast, 4, 0xFFFF_F123), 78);
        // What has no entry is not worth anything.
        for _ in 0..10 {
            fast.warm(4, 0x5000);
            fast.show_wanted();
        }
        assert_eq!((state(&fast, 4, 5), fast.shown()), (0, 1));
    }

    #[test]
    fn what_a_window_shows_counts_only_while_it_is_allowed_and_the_same_page() {
        let (mut fast, ram) = windows(0, 100);
        for page in 0..8u8 {
            ram.store(u32::from(page) << 12, page);
        }
        fast.fill(1, 0x5000, 0x3000, false);
        fast.show_wanted();
        assert_eq!(
            (state(&fast, 1, 5), seen(&fast, 1, 0x5000)),
            (LOAD_SHOWN, 3)
        );
        fast.fill(1, 0x5000, 0x3000, true);
        fast.show_wanted();
        assert_eq!(state(&fast, 1, 5), LOAD_SHOWN | STORE_SHOWN);
        // Code comes into the page, and goes again.
        fast.forbid_stores(0x3000);
        assert_eq!(state(&fast, 1, 5), LOAD_SHOWN);
        fast.fill(1, 0x5000, 0x3000, true);
        fast.show_wanted();
        assert_eq!(state(&fast, 1, 5), LOAD_SHOWN | STORE_SHOWN);
        // It is mapped elsewhere, back, and elsewhere again.
        for (ram, page) in [(0x4000, 4), (0x3000, 3), (0x6000, 6)] {
            fast.unmap(1, 0x5000, 0x1000);
            assert_eq!(state(&fast, 1, 5), 0);
            fast.fill(1, 0x5000, ram, false);
            fast.show_wanted();
            assert_eq!((seen(&fast, 1, 0x5000), fast.shown()), (page, 1));
        }
        // As before, without being shown anew.
        fast.unmap(1, 0x5000, 0x1000);
        fast.windows.after = 1000;
        fast.fill(1, 0x5000, 0x6000, true);
        fast.show_wanted();
        assert_eq!(state(&fast, 1, 5), STORE_SHOWN);
        fast.unmap(1, 0x5000, 0x1000);
        fast.fill(1, 0x5000, 0x7000, true);
        fast.show_wanted();
        assert_eq!(state(&fast, 1, 5), 0);
    }

    #[test]
    fn only_so_many_pages_are_shown() {
        let (mut fast, ram) = windows(0, 10);
        ram.store(0x9000, 99u8);
        for page in 0..25u32 {
            fast.fill(page as SpaceId % 3, page << 12, 0x9000, false);
            fast.show_wanted();
            assert_eq!(seen(&fast, page as usize % 3, page << 12), 99);
        }
        let shown = (0..25).filter(|page| state(&fast, page % 3, *page) != 0);
        assert_eq!((shown.count(), fast.shown()), (5, 5));
    }

    #[test]
    fn memory_that_cannot_be_mapped_twice_is_not_shown() {
        let mut fast = fast();
        fast.windows.after = 0;
        fast.fill(1, 0x5000, 0x3000, false);
        fast.warm(1, 0x5000);
        fast.show_wanted();
        assert_eq!((state(&fast, 1, 5), fast.shown()), (0, 0));
    }
}
