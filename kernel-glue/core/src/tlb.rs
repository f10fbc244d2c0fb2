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
use ppc440_isa::{Access, Mapping, SPACES, SpaceId};

use crate::hw::Hw;
use crate::memory::Slots;

/// The smallest page that the hardware can be given.
pub(crate) const HW_PAGE: u32 = 4096;

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

/// What an entry covers, unpacked for the search.
#[derive(Clone, Copy, Debug)]
struct Range {
    first: u32,
    /// Length in bytes less one.
    span: u32,
    tid: u8,
    /// TS, or 2 for an entry that matches nothing.
    ts: u8,
}

const NOTHING: Range = Range {
    first: 0,
    span: 0,
    tid: 0,
    ts: 2,
};

impl Range {
    fn of(entry: &Tlbe) -> Self {
        match entry.page_shift() {
            Some(shift) if entry.word0.v() => Range {
                first: entry.ea(),
                span: (1 << shift) - 1,
                tid: entry.tid,
                ts: u8::from(entry.word0.ts()),
            },
            _ => NOTHING,
        }
    }

    fn applies(&self, pid: u8, ts: bool) -> bool {
        self.ts == u8::from(ts) && (self.tid == 0 || self.tid == pid)
    }

    fn covers(&self, ea: u32) -> bool {
        ea.wrapping_sub(self.first) <= self.span
    }

    /// The first address and span of what both cover. Pages are naturally aligned powers of two,
    /// so of two that overlap one contains the other.
    fn common(&self, other: &Range) -> Option<(u32, u32)> {
        let smaller = if self.span <= other.span { self } else { other };
        let larger = if self.span <= other.span { other } else { self };
        larger
            .covers(smaller.first)
            .then_some((smaller.first, smaller.span))
    }

    fn overlaps(&self, first: u32, span: u32) -> bool {
        first.wrapping_sub(self.first) <= self.span || self.first.wrapping_sub(first) <= span
    }
}

/// What became of the wish to give the hardware a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// It holds the translation now.
    Mapped,
    /// The page is one that the hardware cannot hold exactly: little-endian, smaller than 4 KB,
    /// or hidden in part behind another entry.
    Apart,
    /// There is no RAM behind the page.
    NotRam,
}

/// The guest TLB and the spaces of the hardware.
#[derive(Debug)]
pub(crate) struct Mmu {
    entries: [Tlbe; ENTRIES],
    ranges: [Range; ENTRIES],
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
}

impl Mmu {
    pub fn new() -> Self {
        Mmu {
            entries: [Tlbe::default(); ENTRIES],
            ranges: [NOTHING; ENTRIES],
            filled: [0; ENTRIES],
            index: [NO_SPACE; 1024],
            owner: [NO_OWNER; SPACES],
            live: 0,
            next: 0,
        }
    }

    pub fn entries(&self) -> &[Tlbe; ENTRIES] {
        &self.entries
    }

    /// Replaces an entry without telling the hardware; [`Mmu::drop_spaces`] must follow before
    /// the guest runs.
    pub fn replace(&mut self, index: usize, entry: Tlbe) {
        self.entries[index] = entry;
        self.ranges[index] = Range::of(&entry);
    }

    /// Empties every space and forgets its owner.
    pub fn drop_spaces<H: Hw>(&mut self, hw: &mut H) {
        for space in bits(self.live) {
            hw.clear(space);
        }
        self.filled = [0; ENTRIES];
        self.index = [NO_SPACE; 1024];
        self.owner = [NO_OWNER; SPACES];
        self.live = 0;
    }

    /// The space of `context`, taking one from another context when all are in use; never `keep`.
    pub fn space<H: Hw>(&mut self, hw: &mut H, context: Context, keep: Option<SpaceId>) -> SpaceId {
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
        self.ranges
            .iter()
            .position(|range| range.covers(ea) && range.applies(pid, ts))
    }

    pub fn entry(&self, index: usize) -> &Tlbe {
        &self.entries[index & (ENTRIES - 1)]
    }

    /// One word of an entry as `tlbre` shows it; `None` for a word that does not exist.
    pub fn word(&self, index: usize, ws: u32) -> Option<u32> {
        let entry = self.entry(index);
        match ws {
            0 => Some(u32::from(entry.word0) & TlbWord0::IMPLEMENTED),
            1 => Some(u32::from(entry.word1) & TlbWord1::IMPLEMENTED),
            2 => Some(u32::from(entry.word2) & TlbWord2::IMPLEMENTED),
            _ => None,
        }
    }

    /// Writes one word of an entry, word 0 with `tid`; `false` for a word that does not exist.
    ///
    /// What the entry translated before no longer does, and where it now hides an entry of a
    /// higher index, neither does that.
    pub fn write<H: Hw>(&mut self, hw: &mut H, index: usize, ws: u32, value: u32, tid: u8) -> bool {
        let index = index & (ENTRIES - 1);
        if ws > 2 {
            return false;
        }
        self.remove(hw, index);
        let entry = &mut self.entries[index];
        match ws {
            0 => {
                entry.word0 = TlbWord0::from(value & TlbWord0::IMPLEMENTED);
                entry.tid = tid;
                self.ranges[index] = Range::of(entry);
                self.hide(hw, index);
            }
            1 => entry.word1 = TlbWord1::from(value & TlbWord1::IMPLEMENTED),
            _ => entry.word2 = TlbWord2::from(value & TlbWord2::IMPLEMENTED),
        }
        true
    }

    fn remove<H: Hw>(&mut self, hw: &mut H, index: usize) {
        let filled = core::mem::take(&mut self.filled[index]);
        if filled != 0 {
            let Range { first, span, .. } = self.ranges[index];
            for space in bits(filled) {
                unmap(hw, space, first, span);
            }
        }
    }

    fn hide<H: Hw>(&mut self, hw: &mut H, index: usize) {
        let new = self.ranges[index];
        if new.ts > 1 {
            return;
        }
        for other in index + 1..ENTRIES {
            if self.filled[other] == 0 {
                continue;
            }
            let Some((first, span)) = new.common(&self.ranges[other]) else {
                continue;
            };
            for space in bits(self.filled[other]) {
                let context = Context::from_key(self.owner[usize::from(space)]);
                if new.applies(context.pid, context.ts) {
                    unmap(hw, space, first, span);
                }
            }
        }
    }

    /// Gives the hardware what entry `index` translates around `ea` in `space`.
    pub fn fill<H: Hw>(
        &mut self,
        hw: &mut H,
        slots: &Slots,
        space: SpaceId,
        index: usize,
        ea: u32,
    ) -> Fill {
        let entry = self.entries[index];
        let Range { first, span, .. } = self.ranges[index];
        let Some(slot) = slots.find(entry.real(ea)) else {
            return Fill::NotRam;
        };
        if entry.word2.e() || span < HW_PAGE - 1 {
            return Fill::Apart;
        }
        let context = Context::from_key(self.owner[usize::from(space)]);
        let page = ea & !(HW_PAGE - 1);
        let mut alone = true;
        for hiding in &self.ranges[..index] {
            if hiding.overlaps(first, span) && hiding.applies(context.pid, context.ts) {
                if hiding.overlaps(page, HW_PAGE - 1) {
                    return Fill::Apart;
                }
                alone = false;
            }
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
        let mapping = Mapping {
            ea,
            bytes,
            ram: slot.ram + (gpa - slot.gpa) as u32,
            read: permits(&entry, Access::Load, context.user),
            write: permits(&entry, Access::Store, context.user),
            execute: permits(&entry, Access::Fetch, context.user),
            cached: !entry.word2.w() && !entry.word2.i(),
        };
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

fn unmap<H: Hw>(hw: &mut H, space: SpaceId, first: u32, span: u32) {
    hw.unmap(space, first & !(HW_PAGE - 1), span.max(HW_PAGE - 1) + 1);
}

/// The numbers of the bits that are set.
fn bits(mut mask: u32) -> impl Iterator<Item = u8> {
    core::iter::from_fn(move || {
        (mask != 0).then(|| {
            let bit = mask.trailing_zeros() as u8;
            mask &= mask - 1;
            bit
        })
    })
}
