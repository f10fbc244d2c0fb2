//! What we have written into the 64 entries, of which the host takes back any at any moment.
//!
//! The table is never short of an entry that the hardware holds for a guest: it may only hold too
//! much. So a miss is looked up here first, and found again where the host took it; and what is
//! dropped here before a write leaves no two entries that match, which no 440 defines.
//!
//! An entry is found by its space and page number, in one chain for each size in use.

use ppc440_isa::tlb::{ENTRIES, TlbWord0, TlbWord1, TlbWord2};
use ppc440_isa::{Access, SpaceId};

use crate::frames::{Page, shift};

/// Marks the end of a chain, and an entry of nobody.
const NONE: u8 = 0xFF;

/// SIZE fields, most of which exist.
const SIZES: usize = 10;

/// What one entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub space: SpaceId,
    /// First effective address.
    pub ea: u32,
    /// SIZE field.
    pub size: u8,
    /// RAM offset of `ea`.
    pub ram: u32,
    /// The entry's words.
    pub words: [u32; 3],
}

impl Held {
    /// An entry that matches nothing.
    const NOTHING: Held = Held {
        space: NONE,
        ea: 0,
        size: 0,
        ram: 0,
        words: [0; 3],
    };

    /// Bytes less one.
    fn below(&self) -> u32 {
        (1 << shift(self.size)) - 1
    }

    fn meets(&self, first: u32, last: u32) -> bool {
        self.ea <= last && self.ea | self.below() >= first
    }

    /// Whether problem state may do this with the page.
    pub fn allows(&self, access: Access) -> bool {
        let word2 = TlbWord2::from(self.words[2]);
        match access {
            Access::Load => word2.ur(),
            Access::Store => word2.uw(),
            Access::Fetch => word2.ux(),
        }
    }

    /// The RAM offset of an address in the page.
    pub fn ram_of(&self, ea: u32) -> u32 {
        self.ram.wrapping_add(ea & self.below())
    }

    /// The entry with these rights; the supervisor's reading is for the host, which fetches the
    /// instruction that was interrupted.
    pub fn new(space: SpaceId, page: Page, rights: Rights) -> Held {
        let word0 = TlbWord0::new()
            .with_epn(page.ea >> 10)
            .with_v(true)
            .with_ts(true)
            .with_size(page.size);
        let word1 = TlbWord1::new()
            .with_rpn(page.real << 2 & 0x3F_FFFF)
            .with_erpn((page.real >> 20) as u8 & 15);
        let word2 = TlbWord2::new()
            .with_w(!rights.cached)
            .with_ur(rights.read)
            .with_uw(rights.write)
            .with_ux(rights.execute)
            .with_sr(true);
        Held {
            space,
            ea: page.ea,
            size: page.size,
            ram: page.ram,
            words: [word0.into(), word1.into(), word2.into()],
        }
    }
}

/// What a guest may do with a page, and how it is cached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rights {
    pub read: bool,
    pub write: bool,
    pub execute: bool,
    /// Otherwise it is write-through, so that `dcbz` is an Alignment interrupt.
    pub cached: bool,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Shadow {
    held: [Held; ENTRIES],
    /// First entry of each chain.
    heads: [u8; ENTRIES],
    /// The entry behind each in its chain.
    next: [u8; ENTRIES],
    /// Entries of each size.
    counts: [u8; SIZES],
    /// The range of indices that are ours.
    first: u8,
    last: u8,
    /// The entry that is replaced next.
    victim: u8,
    /// Entries of the range that hold nothing.
    free: u8,
}

fn chain(space: SpaceId, ea: u32, size: u8) -> usize {
    let page = ea >> shift(size);
    (page ^ page >> 6 ^ u32::from(space) << 1 ^ u32::from(size)) as usize % ENTRIES
}

impl Shadow {
    /// A table that uses the entries from `first` to `last`.
    pub const fn new(first: u8, last: u8) -> Shadow {
        Shadow {
            held: [Held::NOTHING; ENTRIES],
            heads: [NONE; ENTRIES],
            next: [NONE; ENTRIES],
            counts: [0; SIZES],
            first,
            last,
            victim: first,
            free: last - first + 1,
        }
    }

    /// The entry at an index, if it holds something.
    pub fn held(&self, index: u8) -> Option<&Held> {
        let held = self.held.get(usize::from(index))?;
        (held.space != NONE).then_some(held)
    }

    /// The entries that hold something.
    pub fn all(&self) -> impl Iterator<Item = (u8, &Held)> {
        (self.first..=self.last).filter_map(|index| Some((index, self.held(index)?)))
    }

    /// The entry of `space` that translates `ea`.
    #[inline]
    pub fn find(&self, space: SpaceId, ea: u32) -> Option<u8> {
        for size in (1..SIZES as u8).filter(|&size| self.counts[usize::from(size)] != 0) {
            let page = ea >> shift(size) << shift(size);
            let mut at = self.heads[chain(space, page, size)];
            while at != NONE {
                let held = &self.held[usize::from(at)];
                if held.ea == page && held.space == space && held.size == size {
                    return Some(at);
                }
                at = self.next[usize::from(at)];
            }
        }
        None
    }

    /// An entry of `space` that meets any address from `first` to `last`.
    pub fn meeting(&self, space: SpaceId, first: u32, last: u32) -> Option<u8> {
        if first >> 12 == last >> 12 {
            return self.find(space, first);
        }
        let mut all = self.all();
        all.find(|(_, held)| held.space == space && held.meets(first, last))
            .map(|(index, _)| index)
    }

    /// The entry to write next, which may hold something.
    pub fn next_victim(&mut self) -> u8 {
        let mut index = self.victim;
        if self.free != 0 {
            while self.held[usize::from(index)].space != NONE {
                index = self.behind(index);
            }
        }
        self.victim = self.behind(index);
        index
    }

    fn behind(&self, index: u8) -> u8 {
        if index >= self.last {
            self.first
        } else {
            index + 1
        }
    }

    /// Forgets the entry at an index, and says what it held.
    pub fn remove(&mut self, index: u8) -> Option<Held> {
        let old = *self.held(index)?;
        let behind = core::mem::replace(&mut self.next[usize::from(index)], NONE);
        let mut at = &mut self.heads[chain(old.space, old.ea, old.size)];
        while *at != index && *at != NONE {
            at = &mut self.next[usize::from(*at)];
        }
        *at = behind;
        self.counts[usize::from(old.size)] -= 1;
        self.held[usize::from(index)] = Held::NOTHING;
        self.free += 1;
        Some(old)
    }

    /// Notes what an entry, which holds nothing, is given.
    pub fn set(&mut self, index: u8, held: Held) {
        let head = &mut self.heads[chain(held.space, held.ea, held.size)];
        self.next[usize::from(index)] = core::mem::replace(head, index);
        self.counts[usize::from(held.size)] += 1;
        self.held[usize::from(index)] = held;
        self.free -= 1;
    }
}

#[cfg(test)]
mod tests {
    use ppc440_isa::tlb::Tlbe;

    use super::*;

    const ALL: Rights = Rights {
        read: true,
        write: true,
        execute: true,
        cached: true,
    };

    fn held(space: SpaceId, ea: u32, size: u8) -> Held {
        let page = Page {
            ea,
            size,
            ram: 0x5000_0000,
            real: 0x12_3456,
        };
        Held::new(space, page, ALL)
    }

    #[test]
    fn words_are_those_of_a_guest() {
        let page = Page {
            ea: 0xC010_0000,
            size: 5,
            ram: 0,
            real: 0xA1_2300,
        };
        let rights = Rights {
            write: false,
            cached: false,
            ..ALL
        };
        let words = Held::new(3, page, rights).words;
        // V, TS, 1 MB; ERPN in the low bits; W, UX, UR and SR.
        assert_eq!(words, [0xC010_0350, 0x1230_000A, 0x0829]);
        let entry = Tlbe {
            tid: 0xE3,
            word0: words[0].into(),
            word1: words[1].into(),
            word2: words[2].into(),
        };
        assert!(entry.matches(0xC01F_FFFF, 0xE3, true));
        assert!(
            !entry.matches(0xC01F_FFFF, 0xE2, true) && !entry.matches(0xC01F_FFFF, 0xE3, false)
        );
        assert_eq!(entry.real(0xC01F_FFFF), 0xA_123F_FFFF);
    }

    #[test]
    fn entries_of_all_sizes_are_found_by_space_and_address() {
        let mut shadow = Shadow::new(0, 62);
        for (index, size) in [1u8, 2, 3, 4, 5, 7, 9].into_iter().enumerate() {
            for space in 0..2 {
                let ea = (index as u32) << 28;
                shadow.set(2 * index as u8 + space, held(space, ea, size));
            }
        }
        for (index, size) in [1u8, 2, 3, 4, 5, 7, 9].into_iter().enumerate() {
            let (first, last) = (
                (index as u32) << 28,
                ((index as u32) << 28) + (1 << shift(size)),
            );
            for ea in [first, first + 0xFFF, last - 1] {
                assert_eq!(
                    shadow.find(1, ea),
                    Some(2 * index as u8 + 1),
                    "{size} {ea:x}"
                );
                assert_eq!(shadow.find(2, ea), None);
            }
            if size != 9 {
                assert_eq!(shadow.find(1, last), None, "{size}");
            }
        }
        assert_eq!(shadow.remove(3).map(|held| held.size), Some(2));
        assert_eq!(shadow.remove(3), None);
        assert_eq!(shadow.find(1, 0x1000_0000), None);
        assert_eq!(shadow.find(0, 0x1000_0000), Some(2));
    }

    #[test]
    fn a_chain_keeps_the_others_when_one_goes() {
        let mut shadow = Shadow::new(0, 63);
        let same: std::vec::Vec<u32> = (0..0x10_0000u32)
            .map(|page| page << 12)
            .filter(|&ea| chain(0, ea, 1) == 7)
            .take(5)
            .collect();
        for (index, &ea) in same.iter().enumerate() {
            shadow.set(index as u8, held(0, ea, 1));
        }
        for gone in [2u8, 0, 4] {
            shadow.remove(gone);
        }
        let found = same.iter().map(|&ea| shadow.find(0, ea));
        assert!(found.eq([None, Some(1), None, Some(3), None]));
    }

    #[test]
    fn what_meets_a_range_is_found_in_both_directions() {
        let mut shadow = Shadow::new(0, 62);
        shadow.set(1, held(0, 0xC000_0000, 9));
        shadow.set(2, held(0, 0x1000_3000, 1));
        let meets = |first, last| shadow.meeting(0, first, last);
        assert_eq!(meets(0xC123_4000, 0xC123_4FFF), Some(1));
        assert_eq!(meets(0xCFFF_F000, 0xD000_0FFF), Some(1));
        assert_eq!(meets(0x1000_0000, 0x1000_FFFF), Some(2));
        assert_eq!(meets(0x1000_4000, 0x1000_FFFF), None);
        assert!(meets(0, u32::MAX).is_some());
        assert_eq!(shadow.meeting(1, 0, u32::MAX), None);
    }

    #[test]
    fn victims_are_the_empty_ones_first_and_then_go_round_in_our_range() {
        let mut shadow = Shadow::new(2, 9);
        for expected in 2..=9 {
            let index = shadow.next_victim();
            assert_eq!(index, expected);
            shadow.set(index, held(0, u32::from(index) << 12, 1));
        }
        shadow.remove(5);
        assert_eq!(shadow.next_victim(), 5);
        shadow.set(5, held(0, 5 << 12, 1));
        let next: std::vec::Vec<u8> = (0..6).map(|_| shadow.next_victim()).collect();
        assert_eq!(next, [6, 7, 8, 9, 2, 3]);
    }
}
