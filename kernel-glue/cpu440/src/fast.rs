//! The tables that translated code looks addresses up in.
//!
//! For each space, effective page and direction there is a number that, added to an effective address in
//! the page, gives the host address; 0 stands for a page that is not there. A further table has, for
//! fetches, the RAM page's number plus 1. All are filled on demand from [`crate::mmu::Mmu`], whose
//! tables say what is allowed; this is a cache in front of it, and a removal there is a removal
//! here.
//!
//! Code that is known to run much looks nothing up: it accesses the space's window (`window.rs`), which
//! shows pages that have entries, to load from, and to store to if they have entries for stores. Where
//! the window shows nothing, the host's MMU sends the access here, and the page is shown.
//!
//! A store needs no look at the code watch: a page that holds code has no entry for stores.
//!
//! An index is the address shifted right by 12, after it was *rotated* right by as many bits as the
//! access's address has zeros at its end. An address that is not aligned gives an index behind all
//! pages, where there is always nothing: one look answers for the page and for the alignment.
// UNSAFE BECAUSE: translated code reads these tables by address, while Rust fills them.
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;

use ppc440_isa::{SPACES, SpaceId};

use crate::budget::PageBudget;
use crate::ram::Ram;
use crate::window::{GUARD, Shown, Window};

/// Effective pages.
const PAGES: usize = 1 << 20;
/// Pages that one bit of a [`Groups`] stands for.
const GROUP: usize = 64;

/// Indices of the longest access, aligned or not.
const INDICES: usize = PAGES * 8;

/// Bytes from the tables' start to the numbers for loads.
pub(crate) const LOADS: i32 = 0;
/// Bytes from there to the numbers for stores.
pub(crate) const STORES: i32 = LOADS + (8 * INDICES) as i32;
const FETCHES: i32 = STORES + (8 * INDICES) as i32;
/// What the window shows: the number of the RAM page plus 1, and [`WRITABLE`].
const SHOWN: i32 = FETCHES + (4 * PAGES) as i32;
const END: i32 = SHOWN + (4 * PAGES) as i32;
/// Bytes from there to the window.
pub(crate) const WINDOW: i32 = END + GUARD as i32;

/// The window lets the page be stored to.
const WRITABLE: u32 = 1 << 31;

/// What of the tables is ever written; the rest reads as zeros.
const WRITTEN: [Range<usize>; 3] = [
    LOADS as usize..LOADS as usize + 8 * PAGES,
    STORES as usize..STORES as usize + 8 * PAGES,
    FETCHES as usize..END as usize,
];

/// When the translator shows pages of guest RAM in windows (`window.rs`), to code that runs much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// All code but the supervisor's is taken to run much, from its first execution on, and most pages
    /// that it accesses to be worth showing: for tests.
    pub at_once: bool,
    /// Pages that are shown at the same time, in all spaces of a machine; fewer when several machines
    /// of this process share what it may show, which is 16,382 pages: each takes two of the 65,530
    /// mappings that Linux allows a process (`vm.max_map_count`), unless its neighbours are its
    /// neighbours in RAM too.
    pub most: usize,
}

impl Default for Windows {
    fn default() -> Self {
        Windows {
            at_once: false,
            // A quarter of the mappings that Linux allows a process; chosen, not measured.
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
    /// The host would not hide pages: the window is given up, and shows what it likes.
    lost: bool,
}

impl Space {
    fn new(memory: Window) -> Self {
        Space {
            memory,
            touched: Groups::new(),
            showing: Groups::new(),
            lost: false,
        }
    }

    /// A page's element in the table at `table`.
    fn at<T>(&self, table: i32, page: usize) -> *mut T {
        assert!(page < PAGES, "an effective page has 20 bits");
        let at = table as usize + page * size_of::<T>();
        // SAFETY: every table has room for `PAGES` elements in front of the window.
        unsafe { self.memory.base().as_ptr().add(at).cast() }
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

    /// Zeroes the entries of pages `from..to`, and hides them; gives how many were shown.
    fn clear(&mut self, mut from: usize, to: usize) -> usize {
        let hidden = match self.showing.next(from, to) {
            Some(_) => self.hide(from, to),
            None => 0,
        };
        while let Some(run) = self.touched.next(from, to) {
            let Run { first, count } = run;
            // SAFETY: these are pages, and the pointers are to their elements, which are adjacent;
            // nobody else reads or writes them now: translated code runs only while `enter` borrows
            // the CPU, and not while it has called here.
            unsafe {
                self.data(first, false).write_bytes(0, count);
                self.data(first, true).write_bytes(0, count);
                self.fetch(first).write_bytes(0, count);
            }
            self.touched.remove(run);
            from = run.end();
        }
        hidden
    }

    /// Hides pages `from..to`; gives how many were shown.
    #[cold]
    fn hide(&mut self, from: usize, to: usize) -> usize {
        let (hidden, span) = self.forget_shown(from, to);
        if hidden != 0 && !self.memory.hide(span) {
            return hidden + self.hide_all();
        }
        hidden
    }

    /// Shows nothing any more; gives how many pages were shown.
    #[cold]
    fn hide_all(&mut self) -> usize {
        let (hidden, _) = self.forget_shown(0, PAGES);
        self.lost |= !self.memory.hide_all();
        hidden
    }

    /// Notes that none of pages `from..to` is shown; gives how many were, and between which.
    fn forget_shown(&mut self, from: usize, to: usize) -> (usize, Range<usize>) {
        let (mut count, mut span) = (0, to..from);
        let mut next = from;
        while let Some(run) = self.showing.next(next, to) {
            for page in run.first..run.end() {
                // SAFETY: as in `clear`.
                if unsafe { self.shown(page).replace(0) } != 0 {
                    count += 1;
                    span = span.start.min(page)..page + 1;
                }
            }
            self.showing.remove(run);
            next = run.end();
        }
        (count, span)
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
    /// Pages that are shown.
    budget: PageBudget,
    /// A window was lost, and code may still access it, see [`Fast::give_up_windows`].
    lost: bool,
    /// An uncached page was entered for stores, once: `dcbz` must look at the page from then on.
    pub uncached: bool,
    /// For each RAM page, up to two entries for stores that lead to it: space and page plus 1.
    writers: Box<[[u32; 2]]>,
}

impl Fast {
    /// Address space of the tables, in bytes.
    pub const TABLE_BYTES: u64 = SPACES as u64 * END as u64;

    /// Tables, with windows if those are wanted, and the host has 4 GiB more for each space.
    ///
    /// # Errors
    /// When the host has no address space left: 145 MiB a space.
    pub fn new(ram: &Ram, windows: bool) -> io::Result<Self> {
        let source = Shown::new(ram).filter(|_| windows);
        let memory = match source {
            Some(_) => Window::several(SPACES, END as usize, &WRITTEN)?,
            None => Window::none(SPACES, END as usize, &WRITTEN)?,
        };
        let source = source.filter(|_| memory.iter().all(Window::is_there));
        Ok(Fast {
            budget: PageBudget::new(source.is_some()),
            source,
            spaces: memory.into_iter().map(Space::new).collect(),
            ram: ram.host_address(),
            windows: Windows::default(),
            lost: false,
            uncached: false,
            writers: vec![[0; 2]; ram.bytes() >> 12].into_boxed_slice(),
        })
    }

    /// Where translated code finds the tables for loads and stores of a space, and the one for its
    /// fetches.
    pub fn tables(&self, space: SpaceId) -> (*const u8, *const u32) {
        let space = &self.spaces[usize::from(space) % SPACES];
        (space.memory.base().as_ptr(), space.fetch(0))
    }

    /// Whether pages can be shown in windows.
    pub fn has_windows(&self) -> bool {
        self.source.is_some()
    }

    /// Pages that are shown in windows.
    pub fn shown(&self) -> usize {
        self.budget.pages()
    }

    /// Whether the host would not hide what a window shows: translated code that accesses windows must
    /// not run any more.
    #[inline]
    pub fn has_lost_windows(&self) -> bool {
        self.lost
    }

    /// Has the host refuse to hide anything from now on.
    #[cfg(test)]
    pub fn refuse_to_hide(&mut self) {
        for space in &mut self.spaces {
            space.memory.refuses = true;
        }
    }

    /// Does without windows from now on; no translated code accesses any.
    pub fn give_up_windows(&mut self) {
        self.source = None;
        self.lost = false;
        let hidden = self
            .spaces
            .iter_mut()
            .map(|space| space.hide(0, PAGES))
            .sum();
        self.budget.give_back(hidden);
    }

    /// Takes note that a space shows `hidden` pages less.
    fn note_hidden(&mut self, space: usize, hidden: usize) {
        self.budget.give_back(hidden);
        self.lost |= std::mem::take(&mut self.spaces[space].lost);
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
        // SAFETY: the pointer is to the page's element, and nobody else reads it meanwhile: it is
        // called by translated code or while none runs.
        unsafe { tables.data(page, store).write(entry) };
    }

    /// Shows the page at `ea` in its window, as far as it has entries.
    #[cold]
    pub fn show(&mut self, space: SpaceId, ea: u32) {
        let page = (ea >> 12) as usize;
        if self.source.is_none() {
            return;
        }
        let tables = &mut self.spaces[usize::from(space) % SPACES];
        // SAFETY: as in `fill`.
        let (load, store, shown) = unsafe {
            let [load, store] = [false, true].map(|store| tables.data(page, store).read());
            (load, store, tables.shown(page).read())
        };
        if load == 0 {
            // The host knows no pages that can only be stored to.
            return;
        }
        let ram = load
            .wrapping_add((page as u64) << 12)
            .wrapping_sub(self.ram) as u32;
        let writable = store == load;
        let wanted = ((ram >> 12) + 1) | if writable { WRITABLE } else { 0 };
        if shown == wanted {
            return;
        }
        if shown == 0 && self.budget.is_spent(self.windows.most) {
            for space in 0..SPACES {
                let hidden = self.spaces[space].hide(0, PAGES);
                self.note_hidden(space, hidden);
            }
        }
        let index = usize::from(space) % SPACES;
        let (Some(source), tables) = (&self.source, &mut self.spaces[index]) else {
            return;
        };
        if self.lost || shown == 0 && !self.budget.take() {
            return;
        }
        // SAFETY: as in `fill`.
        unsafe { tables.shown(page).write(wanted) };
        tables.showing.insert(page);
        if !tables.memory.show(page, source, ram, writable) {
            let hidden = tables.hide_all();
            self.note_hidden(index, hidden);
        }
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
        let (index, page) = ((writer >> 20) as usize, (writer & 0xF_FFFF) as usize);
        let leads = self
            .ram
            .wrapping_add(u64::from(ram & !0xFFF))
            .wrapping_sub((page as u64) << 12);
        let space = &mut self.spaces[index];
        // SAFETY: as in `fill`.
        let shown = unsafe {
            if space.data(page, true).read() != leads {
                return;
            }
            space.data(page, true).write(0);
            &mut *space.shown(page)
        };
        if *shown & WRITABLE != 0 {
            *shown &= !WRITABLE;
            if !space.memory.protect(page) {
                let hidden = space.hide_all();
                self.note_hidden(index, hidden);
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
        let index = usize::from(space) % SPACES;
        let hidden = self.spaces[index].clear(first, end);
        self.note_hidden(index, hidden);
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
        Fast::new(&Ram::new(region).expect("RAM"), true).expect("tables")
    }

    /// Tables with windows, and the RAM that they show.
    fn windows(most: usize) -> (Fast, Ram) {
        let region = memory_file(BYTES).expect("a memory file");
        let ram = Ram::new(Arc::new(region)).expect("RAM");
        let mut fast = Fast::new(&ram, true).expect("tables");
        fast.windows.most = most;
        (fast, ram)
    }

    /// Enters a page and shows it.
    fn enter(fast: &mut Fast, space: SpaceId, ea: u32, ram: u32, store: bool) {
        fast.fill(space, ea, ram, false);
        if store {
            fast.fill(space, ea, ram, true);
        }
        fast.show(space, ea);
    }

    /// What a window allows at an effective address, by the host's account.
    fn rights(fast: &Fast, space: usize, ea: i64) -> &'static str {
        let window = fast.spaces[space].memory.base().as_ptr().addr() + WINDOW as usize;
        let at = window.wrapping_add_signed(ea as isize);
        let maps = std::fs::read_to_string("/proc/self/maps").expect("a process has maps");
        let rights = maps.lines().find_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (from, to) = range.split_once('-')?;
            let parse = |number| usize::from_str_radix(number, 16).ok();
            (parse(from)? <= at && at < parse(to)?).then(|| rest[..3].to_owned())
        });
        match rights.as_deref() {
            Some("rw-") => "rw",
            Some("r--") => "r",
            Some("---") => "",
            other => panic!("{other:?}"),
        }
    }

    /// What the window has at an effective address that it shows.
    fn seen(fast: &Fast, space: usize, ea: u32) -> u8 {
        assert_ne!(rights(fast, space, ea.into()), "");
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
    fn a_window_shows_what_has_entries_and_no_more() {
        let (mut fast, ram) = windows(100);
        ram.store(0x3123, 77u8);
        assert_eq!(rights(&fast, 4, 0xFFFF_F123), "");
        fast.show(4, 0xFFFF_F123);
        assert_eq!((rights(&fast, 4, 0xFFFF_F123), fast.shown()), ("", 0));
        enter(&mut fast, 4, 0xFFFF_F000, 0x3000, false);
        assert_eq!((rights(&fast, 4, 0xFFFF_F123), fast.shown()), ("r", 1));
        assert_eq!(seen(&fast, 4, 0xFFFF_F123), 77);
        ram.store(0x3123, 78u8);
        assert_eq!(seen(&fast, 4, 0xFFFF_F123), 78);
        // The host shows nothing to be stored to alone.
        fast.fill(4, 0x7000, 0x3000, true);
        fast.show(4, 0x7000);
        assert_eq!((rights(&fast, 4, 0x7000), fast.shown()), ("", 1));
        // Neither its neighbours, nor what displacements lead to, nor other spaces.
        let guard = GUARD as i64;
        for (space, ea) in [
            (4, 0xFFFF_E000),
            (4, 0),
            (4, -1),
            (4, -guard),
            (4, 1 << 32),
            (4, (1 << 32) + guard - 1),
            (3, 0xFFFF_F000),
        ] {
            assert_eq!(rights(&fast, space, ea), "", "{space} {ea:x}");
        }
        assert_eq!(rights(&fast, 4, -guard - 1), "rw", "the tables");
    }

    #[test]
    fn what_has_no_entry_any_more_is_hidden() {
        let (mut fast, ram) = windows(100);
        for page in 0..8u8 {
            ram.store(u32::from(page) << 12, page);
        }
        enter(&mut fast, 1, 0x5000, 0x3000, false);
        enter(&mut fast, 1, 0x5000, 0x3000, true);
        assert_eq!((rights(&fast, 1, 0x5000), fast.shown()), ("rw", 1));
        // Code comes into the page, and goes again.
        fast.forbid_stores(0x3000);
        assert_eq!((rights(&fast, 1, 0x5000), fast.shown()), ("r", 1));
        fast.show(1, 0x5000);
        assert_eq!(rights(&fast, 1, 0x5000), "r");
        enter(&mut fast, 1, 0x5000, 0x3000, true);
        assert_eq!(rights(&fast, 1, 0x5000), "rw");
        // It is mapped elsewhere.
        enter(&mut fast, 1, 0x4000, 0x7000, true);
        for (ram, page) in [(0x4000, 4), (0x3000, 3), (0x6000, 6)] {
            fast.unmap(1, 0x5000, 0x1000);
            assert_eq!((rights(&fast, 1, 0x5000), fast.shown()), ("", 1));
            enter(&mut fast, 1, 0x5000, ram, false);
            assert_eq!((seen(&fast, 1, 0x5000), fast.shown()), (page, 2));
        }
        assert_eq!(seen(&fast, 1, 0x4000), 7);
        // Other spaces keep theirs when one is cleared.
        enter(&mut fast, 2, 0x5000, 0x3000, false);
        fast.unmap(1, 0, !0xFFF);
        assert_eq!(fast.shown(), 1);
        assert_eq!(
            (rights(&fast, 1, 0x4000), rights(&fast, 2, 0x5000)),
            ("", "r")
        );
    }

    #[test]
    fn only_so_many_pages_are_shown() {
        let (mut fast, ram) = windows(10);
        ram.store(0x9000, 99u8);
        for page in 0..25u32 {
            enter(&mut fast, page as SpaceId % 3, page << 12, 0x9000, false);
            assert_eq!(seen(&fast, page as usize % 3, page << 12), 99);
        }
        let shown = (0..25)
            .filter(|page| !rights(&fast, *page as usize % 3, (page << 12).into()).is_empty());
        assert_eq!((shown.count(), fast.shown()), (5, 5));
    }

    #[test]
    fn a_page_that_is_hidden_takes_no_mapping() {
        let (mut fast, _) = windows(100);
        let window = fast.spaces[5].memory.base().as_ptr().addr() + WINDOW as usize;
        let mappings = || {
            let maps = std::fs::read_to_string("/proc/self/maps").expect("a process has maps");
            let starts = maps.lines().filter_map(|line| line.split_once('-'));
            let starts = starts.filter_map(|(start, _)| usize::from_str_radix(start, 16).ok());
            starts
                .filter(|start| (window..window + (1 << 32)).contains(start))
                .count()
        };
        for n in 1..=10u32 {
            enter(&mut fast, 5, n << 16, 0x3000, false);
        }
        assert_eq!(mappings(), 20, "each, and what is behind it");
        for n in 1..=10u32 {
            fast.unmap(5, n << 16, 0x1000);
        }
        assert_eq!((mappings(), fast.shown()), (0, 0));
    }

    #[test]
    fn memory_that_cannot_be_mapped_twice_is_not_shown() {
        let mut fast = fast();
        enter(&mut fast, 1, 0x5000, 0x3000, false);
        assert!(!fast.has_windows());
        assert_eq!(fast.shown(), 0);
    }
}
