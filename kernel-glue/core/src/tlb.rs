//! The guest's TLB, and the spaces through which the hardware holds what it translates.
//!
//! The 64 entries stand here exactly as `tlbwe` wrote them. The hardware under the core holds
//! translations derived from them, in up to [`SPACES`] spaces side by side: one for each
//! (PID, AS, PR) in use, so that a change of PID or MSR flushes nothing. For each entry a mask
//! says which spaces may hold translations of it; `tlbwe` removes exactly those
//! (PPC440x5 user's manual, chapter 5).
//!
//! Where several entries match, the lowest index wins. Silicon leaves that undefined; QEMU and
//! the first KVM for the 440 chose the same.

use ppc440_isa::tlb::{ENTRIES, TlbWord0, TlbWord1, TlbWord2, Tlbe};
use ppc440_isa::{Access, Mapping, SPACES, SpaceId, TlbWrite};

use crate::hw::{HW_PAGE, Spaces};
use crate::memory::Slots;
use crate::stops::Stops;

/// Marks an unused slot of the space tables.
const NO_SPACE: u8 = 0xFF;
const NO_OWNER: u16 = 0xFFFF;

/// What a space stands for: PID, address space and privilege.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub pid: u8,
    /// MSR\[IS\] for fetches, MSR\[DS\] for data.
    pub ts: bool,
    /// MSR\[PR\].
    pub user: bool,
}

impl Context {
    fn key(self) -> u16 {
        u16::from(self.pid) | u16::from(self.ts) << 8 | u16::from(self.user) << 9
    }

    fn from_key(key: u16) -> Self {
        Context {
            pid: key as u8,
            ts: key & 0x100 != 0,
            user: key & 0x200 != 0,
        }
    }
}

/// What the entries cover, laid out so that one pass compares them all.
///
/// A page is a naturally aligned power of two: two pages overlap when their addresses are equal in
/// the bits that count for both.
#[derive(Debug)]
struct Ranges {
    first: [u32; ENTRIES],
    /// The address bits that count: those above the page size.
    mask: [u32; ENTRIES],
    tid: [u8; ENTRIES],
    /// Bit n: entry n is valid, of a supported size, and of this TS.
    valid: [u64; 2],
}

/// Entries compared in one go; the compiler makes vectors of it.
const LANES: usize = 8;

impl Ranges {
    fn new() -> Self {
        Ranges {
            first: [0; ENTRIES],
            mask: [0; ENTRIES],
            tid: [0; ENTRIES],
            valid: [0; 2],
        }
    }

    fn set(&mut self, index: usize, entry: &Tlbe) {
        let bit = 1u64 << index;
        self.valid = self.valid.map(|valid| valid & !bit);
        if let Some(shift) = entry.page_shift().filter(|_| entry.word0.v()) {
            self.first[index] = entry.ea();
            self.mask[index] = u32::MAX << shift;
            self.tid[index] = entry.tid;
            self.valid[usize::from(entry.word0.ts())] |= bit;
        }
    }

    /// First address, and length in bytes less one.
    fn span(&self, index: usize) -> (u32, u32) {
        (self.first[index], !self.mask[index])
    }

    /// Bit n: entry n of space `ts` overlaps the page at `first` whose counting bits are `mask`.
    #[inline]
    fn meeting(&self, first: u32, mask: u32, ts: bool) -> u64 {
        let mut met = 0;
        for chunk in (0..ENTRIES).step_by(LANES) {
            let mut bits = 0;
            for lane in 0..LANES {
                let differ = (self.first[chunk + lane] ^ first) & self.mask[chunk + lane] & mask;
                bits |= u32::from(differ == 0) << lane;
            }
            met |= u64::from(bits) << chunk;
        }
        met & self.valid[usize::from(ts)]
    }

    fn sees(&self, index: usize, pid: u8) -> bool {
        self.tid[index] == 0 || self.tid[index] == pid
    }
}

/// What became of the wish to give the hardware a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// The hardware holds the translation now.
    Mapped,
    /// The page is one that the hardware cannot hold exactly: little-endian, smaller than 4 KB,
    /// or hidden in part behind another entry; or a debugger watches for the access.
    Apart,
    /// There is no RAM behind the page.
    NotRam,
}

/// The guest TLB and the spaces of the hardware.
#[derive(Debug)]
pub(crate) struct Mmu {
    entries: [Tlbe; ENTRIES],
    ranges: Ranges,
    /// Bit n: space n may hold translations of the entry.
    filled: [u32; ENTRIES],
    /// Space of each context, by its key.
    index: [u8; 1024],
    /// Key of the context that owns each space.
    owner: [u16; SPACES],
    /// Bit n: space n has an owner.
    live: u32,
    /// The space to take next.
    next: u8,
    /// Where a debugger wants the guest to stop: pages of these stay with the core.
    pub stops: Stops,
}

impl Mmu {
    pub fn new() -> Self {
        Mmu {
            entries: [Tlbe::default(); ENTRIES],
            ranges: Ranges::new(),
            filled: [0; ENTRIES],
            index: [NO_SPACE; 1024],
            owner: [NO_OWNER; SPACES],
            live: 0,
            next: 0,
            stops: Stops::default(),
        }
    }

    pub fn entries(&self) -> &[Tlbe; ENTRIES] {
        &self.entries
    }

    /// Replaces an entry without telling the hardware; [`Mmu::drop_spaces`] must follow before
    /// the guest runs.
    pub fn replace(&mut self, index: usize, entry: Tlbe) {
        self.entries[index] = entry;
        self.ranges.set(index, &entry);
    }

    /// Empties every space and forgets its owner.
    pub fn drop_spaces(&mut self, hw: &mut dyn Spaces) {
        for space in spaces(self.live) {
            hw.clear(space);
        }
        self.filled = [0; ENTRIES];
        self.index = [NO_SPACE; 1024];
        self.owner = [NO_OWNER; SPACES];
        self.live = 0;
    }

    /// The space of `context`, taking one from another context when all are in use; never `keep`.
    pub fn space(
        &mut self,
        hw: &mut dyn Spaces,
        context: Context,
        keep: Option<SpaceId>,
    ) -> SpaceId {
        let key = context.key();
        let found = self.index[usize::from(key)];
        if found != NO_SPACE {
            return found;
        }
        let mut space = self.next;
        if Some(space) == keep {
            space = (space + 1) % SPACES as u8;
        }
        self.next = (space + 1) % SPACES as u8;
        let bit = 1u32 << space;
        let owner = self.owner[usize::from(space)];
        if owner != NO_OWNER {
            self.index[usize::from(owner)] = NO_SPACE;
            hw.clear(space);
            for filled in &mut self.filled {
                *filled &= !bit;
            }
        }
        self.live |= bit;
        self.owner[usize::from(space)] = key;
        self.index[usize::from(key)] = space;
        space
    }

    /// The entry that translates `ea`: the lowest index of those that match.
    #[inline]
    pub fn lookup(&self, ea: u32, pid: u8, ts: bool) -> Option<usize> {
        // One address is a page of which every bit counts.
        bits(self.ranges.meeting(ea, u32::MAX, ts)).find(|&index| self.ranges.sees(index, pid))
    }

    pub fn entry(&self, index: usize) -> &Tlbe {
        &self.entries[index & (ENTRIES - 1)]
    }

    /// One word of an entry, 0 to 2, as `tlbre` shows it.
    pub fn word(&self, index: usize, ws: u32) -> u32 {
        let entry = self.entry(index);
        match ws {
            0 => u32::from(entry.word0) & TlbWord0::IMPLEMENTED,
            1 => u32::from(entry.word1) & TlbWord1::IMPLEMENTED,
            _ => u32::from(entry.word2) & TlbWord2::IMPLEMENTED,
        }
    }

    /// Writes one word of an entry, as `tlbwe` does.
    ///
    /// What the entry translated before no longer does, and where it now hides an entry of a
    /// higher index, neither does that.
    pub fn write(&mut self, hw: &mut dyn Spaces, write: TlbWrite) {
        let index = usize::from(write.index) & (ENTRIES - 1);
        self.remove(hw, index);
        let (entry, value) = (&mut self.entries[index], write.value);
        match write.word {
            0 => {
                entry.word0 = TlbWord0::from(value & TlbWord0::IMPLEMENTED);
                entry.tid = write.tid;
                self.ranges.set(index, entry);
                self.hide(hw, index);
            }
            1 => entry.word1 = TlbWord1::from(value & TlbWord1::IMPLEMENTED),
            _ => entry.word2 = TlbWord2::from(value & TlbWord2::IMPLEMENTED),
        }
    }

    fn remove(&mut self, hw: &mut dyn Spaces, index: usize) {
        let filled = core::mem::take(&mut self.filled[index]);
        if filled != 0 {
            let (first, span) = self.ranges.span(index);
            for space in spaces(filled) {
                unmap(hw, space, first, span);
            }
        }
    }

    /// Removes from the hardware what the entry at `index`, just written, hides.
    fn hide(&mut self, hw: &mut dyn Spaces, index: usize) {
        let entry = &self.entries[index];
        let ts = entry.word0.ts();
        if self.ranges.valid[usize::from(ts)] & 1 << index == 0 {
            return;
        }
        let (first, span) = self.ranges.span(index);
        let higher = u64::MAX << index & !(1 << index);
        for other in bits(self.ranges.meeting(first, !span, ts) & higher) {
            // Of two pages that overlap, one contains the other.
            let (first, span) = smaller((first, span), self.ranges.span(other));
            for space in spaces(self.filled[other]) {
                let context = Context::from_key(self.owner[usize::from(space)]);
                if self.ranges.sees(index, context.pid) {
                    unmap(hw, space, first, span);
                }
            }
        }
    }

    /// Gives the hardware what entry `index` translates around `ea` in `space`.
    pub fn fill(
        &mut self,
        hw: &mut dyn Spaces,
        slots: &Slots,
        space: SpaceId,
        index: usize,
        ea: u32,
        access: Access,
    ) -> Fill {
        let entry = self.entries[index];
        let (first, span) = self.ranges.span(index);
        let Some(slot) = slots.find(entry.real(ea)) else {
            return Fill::NotRam;
        };
        if entry.word2.e() || span < HW_PAGE - 1 {
            return Fill::Apart;
        }
        let context = Context::from_key(self.owner[usize::from(space)]);
        let page = ea & !(HW_PAGE - 1);
        let mut alone = true;
        let lower = self.ranges.meeting(first, !span, context.ts) & ((1 << index) - 1);
        for hiding in bits(lower).filter(|&hiding| self.ranges.sees(hiding, context.pid)) {
            let (hidden, bytes) = self.ranges.span(hiding);
            if (hidden ^ page) & !bytes & !(HW_PAGE - 1) == 0 {
                return Fill::Apart;
            }
            alone = false;
        }
        let (ea, bytes, gpa) = if alone {
            // Clip the page to the slot; both ends stay multiples of 4 KB.
            let real = entry.real(first);
            let start = real.max(slot.gpa);
            let end = (real + u64::from(span) + 1).min(slot.gpa + slot.bytes);
            (first + (start - real) as u32, (end - start) as u32, start)
        } else {
            (page, HW_PAGE, entry.real(page))
        };
        let mut mapping = Mapping {
            ea,
            bytes,
            ram: slot.ram + (gpa - slot.gpa) as u32,
            read: permits(&entry, Access::Load, context.user),
            write: permits(&entry, Access::Store, context.user),
            execute: permits(&entry, Access::Fetch, context.user),
            cached: !entry.word2.w() && !entry.word2.i(),
        };
        if !self.stops.is_empty() {
            self.stops.restrict(&mut mapping, gpa, page);
            let permitted = match access {
                Access::Fetch => mapping.execute,
                Access::Load => mapping.read,
                Access::Store => mapping.write,
            };
            if !permitted {
                return Fill::Apart;
            }
        }
        self.filled[index] |= 1 << space;
        hw.map(space, page, &mapping);
        Fill::Mapped
    }
}

/// Whether the entry's permissions allow the access.
pub(crate) fn permits(entry: &Tlbe, access: Access, user: bool) -> bool {
    let word2 = entry.word2;
    match (access, user) {
        (Access::Fetch, true) => word2.ux(),
        (Access::Fetch, false) => word2.sx(),
        (Access::Load, true) => word2.ur(),
        (Access::Load, false) => word2.sr(),
        (Access::Store, true) => word2.uw(),
        (Access::Store, false) => word2.sw(),
    }
}

fn unmap(hw: &mut dyn Spaces, space: SpaceId, first: u32, span: u32) {
    hw.unmap(space, first & !(HW_PAGE - 1), span.max(HW_PAGE - 1) + 1);
}

/// The smaller of two stretches.
fn smaller(a: (u32, u32), b: (u32, u32)) -> (u32, u32) {
    if a.1 <= b.1 { a } else { b }
}

/// The numbers of the bits that are set.
fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        (mask != 0).then(|| {
            let bit = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            bit
        })
    })
}

/// The spaces whose bits are set.
fn spaces(mask: u32) -> impl Iterator<Item = SpaceId> {
    bits(u64::from(mask)).map(|space| space as SpaceId)
}
