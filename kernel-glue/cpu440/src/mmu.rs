//! Effective to RAM, the way running code needs it: one look-up, no search.
//!
//! Each translation space has a flat table of one word per 4 KiB page for data and one for
//! fetches, filled on demand by the KVM core, and one pinned range for a mapping so large that a
//! compare serves it better than a table, or several that are one in effect: the guest kernel's own.
//! Selecting a space swaps pointers. What is not in the tables traps, and the core decides.

use std::io;

use ppc440_isa::{Mapping, Mode, SPACES, SpaceId};

use crate::fast::Fast;
use crate::ram::{Ram, Unit};
use crate::table::Table;

const PAGE: u32 = 4096;

/// What a slot of a data table allows; the upper 20 bits are the RAM page.
const READ: u32 = 1;
const WRITE: u32 = 2;
/// `dcbz` need not ask.
const CACHED: u32 = 4;
/// In a fetch table: the slot is filled.
const EXECUTE: u32 = 8;

/// The smallest mapping worth the pinned range.
const PIN_BYTES: u32 = 1 << 20;

/// The longest single access; the pinned range's limits are this much short, so that one compare
/// covers the whole access.
const LONGEST: u32 = 8;

/// Mappings served by comparing: effective addresses `base..base + limit`.
#[derive(Clone, Copy, Debug, Default)]
struct Pin {
    base: u32,
    ram: u32,
    bytes: u32,
    /// Offsets below these may be accessed by up to [`LONGEST`] bytes; 0 where not allowed.
    read: u32,
    write: u32,
    execute: u32,
}

impl Pin {
    fn new(base: u32, ram: u32, bytes: u32, allowed: [bool; 3]) -> Self {
        let limit = |allowed: bool| if allowed { bytes - (LONGEST - 1) } else { 0 };
        let [read, write, execute] = allowed.map(limit);
        Pin {
            base,
            ram,
            bytes,
            read,
            write,
            execute,
        }
    }

    fn allowed(&self) -> [bool; 3] {
        [self.read, self.write, self.execute].map(|limit| limit != 0)
    }

    /// Whether `next` begins where this ends, in RAM too, and allows the same: a kernel maps more
    /// than 256 MiB with several entries.
    fn goes_on_in(&self, next: &Pin) -> bool {
        self.base.wrapping_add(self.bytes) == next.base
            && self.ram.wrapping_add(self.bytes) == next.ram
            && self.allowed() == next.allowed()
    }

    /// The range when another mapping is added: both, if they are one in effect, or else the larger;
    /// of equal ones the first stays, for translated code knows where it begins.
    fn with(self, new: Pin) -> Self {
        let (first, second) = match new.goes_on_in(&self) {
            true => (new, self),
            false => (self, new),
        };
        if self.bytes != 0
            && first.goes_on_in(&second)
            && let Some(bytes) = first.bytes.checked_add(second.bytes)
        {
            Pin::new(first.base, first.ram, bytes, first.allowed())
        } else if new.bytes > self.bytes {
            new
        } else {
            self
        }
    }
}

/// The translations for loads and stores of one space.
#[derive(Debug)]
struct Data {
    table: Table,
    pin: Pin,
}

#[derive(Debug)]
struct Space {
    /// `Mmu::data` holds this one's while the space is selected for data.
    data: Data,
    fetch: Table,
    /// Which runs of 1024 slots, 4 MiB of effective addresses, were ever written: what a removal
    /// must visit, and what it must not make the host allocate.
    touched: [u32; 32],
}

/// Where loads need no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PinnedLoads {
    /// The first effective address.
    pub start: u32,
    /// Loads of up to [`LONGEST`] bytes at offsets below this are allowed; 0 when there are none.
    pub bytes: u32,
    /// Host address of the first byte.
    pub host: u64,
}

/// The outcome of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Done.
    Done,
    /// Done, into a page that holds decoded code, at this RAM offset.
    OverCode(u32),
    /// Not done: no translation allows it.
    No,
}

/// The translation spaces and the RAM behind them.
#[derive(Debug)]
pub(crate) struct Mmu {
    pub ram: Ram,
    /// The tables of translated code, where there is any.
    pub fast: Option<Fast>,
    data: Data,
    data_space: SpaceId,
    fetch_space: SpaceId,
    spaces: Vec<Space>,
    /// The spaces of fetches and of data that a mode has, as far as they were selected before.
    modes: Box<[Option<(SpaceId, SpaceId)>; Mode::COUNT]>,
}

impl Mmu {
    /// Address space of the tables, in bytes: two for each space, and one to swap with.
    pub const TABLE_BYTES: u64 = (2 * SPACES as u64 + 1) * Table::BYTES as u64;

    /// # Errors
    /// When the host has no address space left.
    pub fn new(ram: Ram) -> io::Result<Self> {
        let empty = |table| Data {
            table,
            pin: Pin::default(),
        };
        let fetch = Table::several(SPACES)?;
        let data = Table::several(SPACES)?.into_iter().map(empty);
        let spaces = data.zip(fetch).map(|(data, fetch)| Space {
            data,
            fetch,
            touched: [0; 32],
        });
        let spaces = spaces.collect();
        let mut mmu = Mmu {
            ram,
            fast: None,
            data: empty(Table::new()?),
            data_space: 0,
            fetch_space: 0,
            spaces,
            modes: Box::new([None; Mode::COUNT]),
        };
        // The spare table now sits where space 0's was, and stays with whichever is selected.
        std::mem::swap(&mut mmu.data, &mut mmu.spaces[0].data);
        Ok(mmu)
    }

    /// Makes these the spaces of fetches and of loads and stores, and those of `mode` until one of
    /// them is cleared.
    #[inline]
    pub fn select(&mut self, mode: Mode, fetch: SpaceId, data: SpaceId) {
        self.modes[mode.index()] = Some((fetch, data));
        self.switch(fetch, data);
    }

    /// Selects the spaces of a mode, if they are known.
    #[inline]
    pub fn enter(&mut self, mode: Mode) -> bool {
        let spaces = self.modes[mode.index()];
        if let Some((fetch, data)) = spaces {
            self.switch(fetch, data);
        }
        spaces.is_some()
    }

    #[inline]
    fn switch(&mut self, fetch: SpaceId, data: SpaceId) {
        self.fetch_space = fetch % SPACES as SpaceId;
        let data = data % SPACES as SpaceId;
        if data != self.data_space {
            std::mem::swap(
                &mut self.data,
                &mut self.spaces[usize::from(self.data_space)].data,
            );
            std::mem::swap(&mut self.data, &mut self.spaces[usize::from(data)].data);
            self.data_space = data;
        }
    }

    /// Adds a translation; one that leaves RAM is clipped to it.
    pub fn map(&mut self, space: SpaceId, ea_wanted: u32, mapping: &Mapping) {
        let ram_bytes = u32::try_from(self.ram.bytes()).unwrap_or(u32::MAX) & !(PAGE - 1);
        let bytes = mapping.bytes.min(ram_bytes.saturating_sub(mapping.ram));
        let offset = ea_wanted.wrapping_sub(mapping.ea) & !(PAGE - 1);
        if offset >= bytes {
            return;
        }
        let selected = space == self.data_space;
        let Some(space) = self.spaces.get_mut(usize::from(space)) else {
            return;
        };
        let data = if selected {
            &mut self.data
        } else {
            &mut space.data
        };

        if bytes >= PIN_BYTES && mapping.cached {
            let allowed = [mapping.read, mapping.write, mapping.execute];
            let new = Pin::new(mapping.ea, mapping.ram, bytes, allowed);
            data.pin = data.pin.with(new);
        }
        // The wanted page goes into the tables as well: the pinned range leaves out its last
        // bytes, and a later, larger mapping may take its place.
        let slot = (ea_wanted >> 12) as usize;
        let page = (mapping.ram + offset) & !(PAGE - 1);
        let flag = |on: bool, flag: u32| if on { flag } else { 0 };
        let allowed = flag(mapping.read, READ) | flag(mapping.write, WRITE);
        data.table.slots_mut()[slot] = if allowed == 0 {
            0
        } else {
            page | allowed | flag(mapping.cached, CACHED)
        };
        space.fetch.slots_mut()[slot] = if mapping.execute { page | EXECUTE } else { 0 };
        space.touched[slot >> 15] |= 1 << (slot >> 10 & 31);
    }

    /// Removes everything that translates a byte of the range.
    pub fn unmap(&mut self, space: SpaceId, ea: u32, bytes: u32) {
        if let Some(fast) = &mut self.fast {
            fast.unmap(space, ea, bytes);
        }
        let selected = space == self.data_space;
        let Some(space) = self.spaces.get_mut(usize::from(space)) else {
            return;
        };
        let data = if selected {
            &mut self.data
        } else {
            &mut space.data
        };

        let pin = &mut data.pin;
        let apart = |a: u32, b: u32, bytes_b: u32| a.wrapping_sub(b) >= bytes_b;
        if bytes != 0 && !(apart(ea, pin.base, pin.bytes) && apart(pin.base, ea, bytes)) {
            *pin = Pin::default();
        }
        let first = (ea >> 12) as usize;
        let end = (first + (bytes >> 12) as usize).min(1 << 20);
        let mut at = first;
        while at < end {
            let next = ((at | 1023) + 1).min(end);
            if space.touched[at >> 15] & 1 << (at >> 10 & 31) != 0 {
                data.table.slots_mut()[at..next].fill(0);
                space.fetch.slots_mut()[at..next].fill(0);
                if next - at == 1024 {
                    space.touched[at >> 15] &= !(1 << (at >> 10 & 31));
                }
            }
            at = next;
        }
    }

    /// Removes every translation of a space.
    pub fn clear(&mut self, space: SpaceId) {
        for mode in self.modes.iter_mut() {
            mode.take_if(|(fetch, data)| *fetch == space || *data == space);
        }
        for quarter in 0..4u32 {
            self.unmap(space, quarter << 30, 1 << 30);
        }
    }

    /// RAM offset of the page that `pc` is fetched from, if a fetch is allowed.
    #[inline]
    pub fn fetch_page(&self, pc: u32) -> Option<u32> {
        let space = &self.spaces[usize::from(self.fetch_space)];
        let pin = if self.fetch_space == self.data_space {
            &self.data.pin
        } else {
            &space.data.pin
        };
        let offset = pc.wrapping_sub(pin.base);
        if offset < pin.execute {
            return Some(pin.ram.wrapping_add(offset) & !(PAGE - 1));
        }
        let slot = space.fetch.slots()[(pc >> 12) as usize];
        (slot & EXECUTE != 0).then_some(slot & !(PAGE - 1))
    }

    /// RAM offset of an access of at most [`LONGEST`] bytes that one translation covers.
    #[inline(always)]
    fn locate(&self, ea: u32, bytes: u32, need: u32) -> Option<u32> {
        let pin = &self.data.pin;
        let offset = ea.wrapping_sub(pin.base);
        if offset < if need == WRITE { pin.write } else { pin.read } {
            return Some(pin.ram.wrapping_add(offset));
        }
        let slot = self.data.table.slots()[(ea >> 12) as usize];
        if slot & need != 0 && (ea & (PAGE - 1)) + bytes <= PAGE {
            Some(slot & !(PAGE - 1) | ea & (PAGE - 1))
        } else {
            None
        }
    }

    /// Loads one unit of any alignment within a page.
    #[inline(always)]
    pub fn load<T: Unit>(&self, ea: u32) -> Option<T> {
        self.ram.load(self.locate(ea, size_of::<T>() as u32, READ)?)
    }

    /// Stores one unit of any alignment within a page.
    #[inline(always)]
    pub fn store<T: Unit>(&self, ea: u32, value: T) -> Stored {
        match self.locate(ea, size_of::<T>() as u32, WRITE) {
            Some(ram) if self.ram.store(ram, value) => {
                // A pinned range goes on across pages, so the last byte may lie in another one.
                let last = ram + size_of::<T>() as u32 - 1;
                let crosses = (ram ^ last) & !(PAGE - 1) != 0;
                if self.ram.watch().watched(ram) || crosses && self.ram.watch().watched(last) {
                    Stored::OverCode(ram)
                } else {
                    Stored::Done
                }
            }
            _ => Stored::No,
        }
    }

    /// The spaces of fetches and of loads and stores.
    #[inline]
    pub fn selected(&self) -> (SpaceId, SpaceId) {
        (self.fetch_space, self.data_space)
    }

    /// The tables of translated code for loads and stores and for fetches, of the spaces that are
    /// selected.
    pub fn fast_tables(&self) -> Option<(*const u8, *const u32)> {
        let fast = self.fast.as_ref()?;
        let ((data, _), (_, fetch)) = (fast.tables(self.data_space), fast.tables(self.fetch_space));
        Some((data, fetch))
    }

    /// The pinned range of the space of loads, for translated code.
    pub fn pinned_loads(&self) -> PinnedLoads {
        let pin = &self.data.pin;
        PinnedLoads {
            start: pin.base,
            bytes: pin.read,
            host: self.ram.host_address().wrapping_add(u64::from(pin.ram)),
        }
    }

    /// Gives translated code the page at `ea` for loads or for stores, if that is allowed; not for
    /// stores to a page that somebody watches.
    pub fn fill_fast(&mut self, ea: u32, store: bool) {
        let need = if store { WRITE } else { READ };
        let Some(ram) = self.locate(ea, 1, need) else {
            return;
        };
        let uncached = store && self.zeroable(ea & !31).is_none();
        if let Some(fast) = &mut self.fast
            && !(store && self.ram.watch().watched(ram))
        {
            fast.uncached |= uncached;
            fast.fill(self.data_space, ea, ram & !(PAGE - 1), store);
        }
    }

    /// Whether translated code can have windows.
    pub fn has_windows(&self) -> bool {
        self.fast.as_ref().is_some_and(Fast::has_windows)
    }

    /// Whether a window shows what it must not, so that translated code may not run.
    #[inline]
    pub fn has_lost_windows(&self) -> bool {
        self.fast.as_ref().is_some_and(Fast::has_lost_windows)
    }

    /// Does without windows from now on; no translated code accesses any.
    pub fn give_up_windows(&mut self) {
        if let Some(fast) = &mut self.fast {
            fast.give_up_windows();
        }
    }

    /// Whether all code but the supervisor's is made for windows.
    pub fn shows_at_once(&self) -> bool {
        let fast = self.fast.as_ref();
        fast.is_some_and(|fast| fast.has_windows() && fast.windows.at_once)
    }

    /// Shows the page at `ea` in its window, with all rights that it has.
    pub fn show(&mut self, ea: u32) {
        self.fill_fast(ea, false);
        self.fill_fast(ea, true);
        if let Some(fast) = &mut self.fast {
            fast.show(self.data_space, ea);
        }
    }

    /// Whether translated code was ever given an uncached page for stores.
    pub fn has_uncached(&self) -> bool {
        self.fast.as_ref().is_some_and(|fast| fast.uncached)
    }

    /// Sends stores of translated code to the RAM page at offset `ram` through the slow path from
    /// now on; to be called before somebody starts to watch it.
    pub fn forbid_fast_stores(&mut self, ram: u32) {
        if let Some(fast) = &mut self.fast {
            fast.forbid_stores(ram);
        }
    }

    /// RAM offset of `bytes` bytes within one page that may be loaded.
    #[inline]
    pub fn readable(&self, ea: u32, bytes: u32) -> Option<u32> {
        self.within_page(ea, bytes, READ)
    }

    /// RAM offset of `bytes` bytes within one page that may be stored to.
    #[inline]
    pub fn writable(&self, ea: u32, bytes: u32) -> Option<u32> {
        self.within_page(ea, bytes, WRITE)
    }

    /// RAM offset of the cache line at `ea`, if `dcbz` may zero it without asking.
    #[inline]
    pub fn zeroable(&self, ea: u32) -> Option<u32> {
        let ram = self.writable(ea, 32)?;
        let pinned = ea.wrapping_sub(self.data.pin.base) < self.data.pin.write;
        (pinned || self.data.table.slots()[(ea >> 12) as usize] & CACHED != 0).then_some(ram)
    }

    #[inline]
    fn within_page(&self, ea: u32, bytes: u32, need: u32) -> Option<u32> {
        // An access that ends in the page begins there too, so one byte's translation is enough.
        ((ea & (PAGE - 1)) + bytes <= PAGE)
            .then(|| self.locate(ea, 1, need))
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ram::Region;

    fn mmu() -> Mmu {
        let region = Arc::new(Region::new(4 << 20).expect("anonymous memory"));
        Mmu::new(Ram::new(region).expect("RAM")).expect("tables")
    }

    fn page(ea: u32, bytes: u32, ram: u32) -> Mapping {
        Mapping {
            bytes,
            ..Mapping::page(ea, ram)
        }
    }

    #[test]
    fn a_mapping_serves_its_space_alone() {
        let mut mmu = mmu();
        mmu.map(3, 0x1000_0123, &page(0x1000_0000, 4096, 0x5000));
        assert_eq!(mmu.load::<u32>(0x1000_0000), None);
        mmu.switch(3, 3);
        assert_eq!(mmu.store(0x1000_0004, 0xABCD_EF01u32), Stored::Done);
        assert_eq!(mmu.ram.load::<u32>(0x5004), Some(0xABCD_EF01));
        assert_eq!(mmu.fetch_page(0x1000_0FFC), Some(0x5000));
        mmu.switch(0, 3);
        assert_eq!(mmu.fetch_page(0x1000_0FFC), None);
        assert_eq!(mmu.load::<u16>(0x1000_0004), Some(0xABCD));
        mmu.switch(3, 0);
        assert_eq!(mmu.fetch_page(0x1000_0FFC), Some(0x5000));
        assert_eq!(mmu.load::<u16>(0x1000_0004), None);
    }

    #[test]
    fn permissions_are_separate() {
        let mut mmu = mmu();
        mmu.map(
            0,
            0x2000,
            &Mapping {
                write: false,
                execute: false,
                ..page(0x2000, 4096, 0)
            },
        );
        assert!(mmu.load::<u8>(0x2000).is_some());
        assert_eq!(mmu.store(0x2000, 1u8), Stored::No);
        assert_eq!(mmu.fetch_page(0x2000), None);
        mmu.map(
            0,
            0x3000,
            &Mapping {
                read: false,
                ..page(0x3000, 4096, 0)
            },
        );
        assert!(mmu.load::<u8>(0x3000).is_none());
        assert_eq!(mmu.store(0x3000, 1u8), Stored::Done);
    }

    #[test]
    fn an_access_across_pages_traps_unless_pinned() {
        let mut mmu = mmu();
        mmu.map(0, 0x2000, &page(0x2000, 8192, 0));
        mmu.map(0, 0x3000, &page(0x2000, 8192, 0));
        assert!(mmu.load::<u32>(0x2FFE).is_none());
        mmu.map(0, 0xC000_0000, &page(0xC000_0000, 2 << 20, 0));
        assert!(mmu.load::<u32>(0xC000_0FFE).is_some());
    }

    #[test]
    fn the_end_of_a_pinned_range_is_reached_through_the_table() {
        let mut mmu = mmu();
        let pin = page(0xC000_0000, 2 << 20, 0);
        mmu.map(0, 0xC000_0000, &pin);
        assert!(mmu.load::<u8>(0xC01F_FFFF).is_none());
        mmu.map(0, 0xC01F_FFFF, &pin);
        assert!(mmu.load::<u8>(0xC01F_FFFF).is_some());
        assert!(mmu.load::<u16>(0xC01F_FFFF).is_none());
    }

    #[test]
    fn neighbours_are_one_pinned_range() {
        let mut mmu = mmu();
        let (low, high) = (
            page(0xC000_0000, 1 << 20, 1 << 20),
            page(0xC010_0000, 2 << 20, 2 << 20),
        );
        for [first, second] in [[low, high], [high, low]] {
            mmu.clear(0);
            mmu.map(0, first.ea, &first);
            mmu.map(0, second.ea, &second);
            // Both again, as for pages that are not in the pinned range's reach.
            mmu.map(0, low.ea, &low);
            mmu.map(0, high.ea, &high);
            let loads = mmu.pinned_loads();
            assert_eq!((loads.start, loads.bytes), (0xC000_0000, (3 << 20) - 7));
            mmu.ram.store((2 << 20) - 2, 0x0123_4567u32);
            assert_eq!(mmu.load::<u32>(0xC00F_FFFE), Some(0x0123_4567));
            assert_eq!(mmu.fetch_page(0xC028_0000), Some(0x38_0000));
        }
        mmu.unmap(0, 0xC010_0000, 2 << 20);
        assert!(mmu.load::<u8>(0xC008_0000).is_none());
        assert!(mmu.load::<u8>(0xC018_0000).is_none());
    }

    #[test]
    fn what_is_beside_a_pinned_range_joins_it_only_if_it_is_alike() {
        let high = page(0xC010_0000, 1 << 20, 1 << 20);
        for other in [
            page(0xC020_0000, 1 << 20, 1 << 20),
            page(0xC010_0000, 1 << 20, 2 << 20),
            Mapping {
                write: false,
                ..high
            },
            Mapping {
                cached: false,
                ..high
            },
        ] {
            let mut mmu = mmu();
            mmu.map(0, 0xC000_0000, &page(0xC000_0000, 1 << 20, 0));
            mmu.map(0, other.ea, &other);
            let loads = mmu.pinned_loads();
            assert_eq!((loads.start, loads.bytes), (0xC000_0000, (1 << 20) - 7));
            assert!(mmu.load::<u8>(other.ea).is_some());
            assert!(mmu.load::<u8>(other.ea + 0x1000).is_none());
        }
    }

    #[test]
    fn unmapping_removes_exactly_the_range() {
        let mut mmu = mmu();
        for n in 0..4 {
            mmu.map(
                0,
                0x8000 + n * 4096,
                &page(0x8000 + n * 4096, 4096, n * 4096),
            );
        }
        mmu.unmap(0, 0x9000, 0x2000);
        let left: Vec<bool> = (0..4)
            .map(|n| mmu.load::<u8>(0x8000 + n * 4096).is_some())
            .collect();
        assert_eq!(left, [true, false, false, true]);
        mmu.map(0, 0xC000_0000, &page(0xC000_0000, 2 << 20, 0));
        mmu.unmap(0, 0xC010_0000, 4096);
        assert!(mmu.load::<u8>(0xC000_8000).is_none());
        assert!(
            mmu.load::<u8>(0xC000_0000).is_some(),
            "the wanted page has a slot of its own"
        );
        mmu.clear(0);
        assert!(mmu.load::<u8>(0x8000).is_none() && mmu.load::<u8>(0xC000_0000).is_none());
    }

    #[test]
    fn the_last_page_of_the_address_space_can_be_mapped_and_removed() {
        let mut mmu = mmu();
        mmu.map(0, 0xFFFF_F000, &page(0xFFFF_F000, 4096, 0x1000));
        assert!(mmu.load::<u32>(0xFFFF_FFFC).is_some());
        mmu.unmap(0, 0xF000_0000, 0x1000_0000);
        assert!(mmu.load::<u32>(0xFFFF_FFFC).is_none());
    }

    #[test]
    fn a_mapping_beyond_ram_is_clipped() {
        let mut mmu = mmu();
        let beyond = page(0, 256 << 20, 0);
        mmu.map(0, 8 << 20, &beyond);
        assert!(mmu.load::<u8>(8 << 20).is_none());
        mmu.map(0, 0, &beyond);
        assert!(mmu.load::<u8>((4 << 20) - 4096).is_some());
        assert!(mmu.load::<u8>(4 << 20).is_none());
    }
}
