//! Which accesses of a block have one look-up in common: loads, or stores, at small offsets from a
//! base that does not change between them, such as the registers that a function saves on its stack.

use ppc440_isa::Insn;

use super::frontend::{Block, Item};

/// Groups that may be in use at once.
pub(super) const SLOTS: usize = 4;
/// Accesses for which a common look-up pays.
const FEWEST: usize = 3;
/// Bytes that a group may span: each access is then within a byte's reach of the first.
pub(super) const WIDEST: i32 = 128;

/// An access and what it shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// The group's number among those that are in use at the same time.
    pub slot: usize,
    /// The first of its group, which looks the page up.
    pub is_first: bool,
    /// The lowest displacement of the group.
    pub low: i16,
    /// Bytes from there to behind the last byte of the group, at most [`WIDEST`].
    pub span: u8,
    /// What the lowest address must be a multiple of; then every access is aligned.
    pub alignment: u8,
}

/// A group while it is found.
#[derive(Clone, Copy, Debug)]
struct Group {
    base: usize,
    store: bool,
    low: i32,
    end: i32,
    alignment: i32,
    first: usize,
    last: usize,
    count: usize,
}

/// Finds the groups of blocks; its buffers stay from one to the next.
#[derive(Debug, Default)]
pub(super) struct Groups {
    open: Vec<Group>,
    /// The GPRs that are the base of an open group, or were, one bit each.
    bases: u32,
    closed: Vec<Group>,
    /// For each access, the group that it belongs to, by its first access.
    of: Vec<usize>,
    /// For each instruction.
    members: Vec<Option<Member>>,
}

/// For an instruction that is in no group.
const NONE: usize = usize::MAX;

impl Groups {
    /// No groups.
    pub fn clear(&mut self) {
        self.open.clear();
        self.bases = 0;
        self.closed.clear();
        self.of.clear();
        self.members.clear();
    }

    /// Finds those of a block, in which branches lead to `inside`, offsets in the page.
    pub fn find(&mut self, block: &Block, inside: impl Fn(u32) -> bool) {
        self.clear();
        // Most blocks are short.
        let accesses = block.items.iter().filter(|item| kind(item) != 0);
        if accesses.count() < FEWEST {
            return;
        }
        for (n, item) in block.items.iter().enumerate() {
            if n > 0 && inside(item.offset) {
                self.closed.append(&mut self.open);
            }
            let group = access(item).map(|access| self.join(n, access));
            self.of.push(group.unwrap_or(NONE));
            if item.written & self.bases != 0 {
                self.close_written(item);
            }
        }
        self.closed.append(&mut self.open);
        self.closed.retain(|group| group.count >= FEWEST);
        self.members.resize(block.items.len(), None);
        self.closed.sort_by_key(|group| group.first);
        let mut free_from = [0; SLOTS];
        for group in &self.closed {
            let Some(slot) = free_from.iter().position(|from| *from <= group.first) else {
                continue;
            };
            free_from[slot] = group.last + 1;
            for n in group.first..=group.last {
                if self.of[n] == group.first {
                    self.members[n] = Some(Member {
                        slot,
                        is_first: n == group.first,
                        low: group.low as i16,
                        span: (group.end - group.low) as u8,
                        alignment: group.alignment as u8,
                    });
                }
            }
        }
    }

    /// What the block's instruction `n` shares.
    pub fn member(&self, n: usize) -> Option<Member> {
        self.members.get(n).copied().flatten()
    }

    /// Puts an access into the group that it fits in, or a new one; gives the group's first access.
    fn join(&mut self, n: usize, new: Group) -> usize {
        let position = self
            .open
            .iter()
            .position(|group| group.base == new.base && group.store == new.store);
        let Some(position) = position else {
            self.bases |= 1 << new.base;
            self.open.push(Group {
                first: n,
                last: n,
                ..new
            });
            return n;
        };
        let group = self.open[position];
        let (low, end) = (group.low.min(new.low), group.end.max(new.end));
        let alignment = group.alignment.max(new.alignment);
        // Distances from the lowest keep every access aligned, if the lowest address is.
        let aligned =
            (group.low - low) % group.alignment == 0 && (new.low - low) % new.alignment == 0;
        if end - low <= WIDEST && aligned {
            self.open[position] = Group {
                low,
                end,
                alignment,
                last: n,
                count: group.count + 1,
                ..group
            };
            return group.first;
        }
        self.closed.push(group);
        self.open[position] = Group {
            first: n,
            last: n,
            ..new
        };
        n
    }

    /// Ends the groups whose base an instruction writes.
    fn close_written(&mut self, item: &Item) {
        self.bases &= !item.written;
        let mut n = 0;
        while let Some(group) = self.open.get(n).copied() {
            if item.written >> group.base & 1 != 0 {
                self.closed.push(group);
                self.open.swap_remove(n);
            } else {
                n += 1;
            }
        }
    }
}

/// The flag in [`KINDS`] of a store.
const STORE: u8 = 0x80;

/// The bytes that each instruction which can share accesses, and [`STORE`]; 0 for all others.
const KINDS: [u8; Insn::ALL.len()] = {
    let mut kinds = [0; Insn::ALL.len()];
    let mut n = 0;
    while n < kinds.len() {
        kinds[n] = match Insn::ALL[n] {
            Insn::Lbz => 1,
            Insn::Lhz | Insn::Lha => 2,
            Insn::Lwz => 4,
            Insn::Stb => 1 | STORE,
            Insn::Sth => 2 | STORE,
            Insn::Stw => 4 | STORE,
            _ => 0,
        };
        n += 1;
    }
    kinds
};

/// What an item accesses, as in [`KINDS`].
fn kind(item: &Item) -> u8 {
    item.insn.map_or(0, |insn| KINDS[insn as usize])
}

/// A group of this access alone, if it is one that can share.
fn access(item: &Item) -> Option<Group> {
    let kind = kind(item);
    let (bytes, base) = (i32::from(kind & !STORE), item.word.ra());
    if kind == 0 || base == 0 {
        return None;
    }
    let low = item.word.d();
    Some(Group {
        base,
        store: kind & STORE != 0,
        low,
        end: low + bytes,
        alignment: bytes,
        first: 0,
        last: 0,
        count: 1,
    })
}

#[cfg(test)]
mod tests {
    use super::super::frontend::block;
    use super::*;

    /// Slot, whether it is the first, lowest displacement, span, alignment.
    type Found = (usize, bool, i16, u8, u8);

    fn found(words: &[u32], inside: &[u32]) -> Vec<Option<Found>> {
        let mut groups = Groups::default();
        groups.find(&block(words), |offset| inside.contains(&offset));
        let member = |n| groups.member(n);
        (0..words.len())
            .map(|n| {
                let m = member(n)?;
                Some((m.slot, m.is_first, m.low, m.span, m.alignment))
            })
            .collect()
    }

    #[test]
    fn saves_on_the_stack_share_and_loads_beside_them_do_too() {
        let words = [
            0x93C1_0008, // stw r30,8(r1)
            0x8061_0010, // lwz r3,16(r1)
            0x93E1_000C, // stw r31,12(r1)
            0x8861_0014, // lbz r3,20(r1)
            0x9081_0004, // stw r4,4(r1)
            0xA061_0012, // lhz r3,18(r1)
        ];
        let store = |first| Some((0, first, 4, 12, 4));
        let load = |first| Some((1, first, 16, 5, 4));
        assert_eq!(
            found(&words, &[]),
            [
                store(true),
                load(true),
                store(false),
                load(false),
                store(false),
                load(false)
            ]
        );
    }

    #[test]
    fn a_new_base_ends_a_group_and_so_does_a_branch_into_it() {
        let load = 0x8065_0000; // lwz r3,0(r5)
        for (written, shares) in [
            (0x6000_0000, true),  // nop
            (0x38A5_0004, false), // addi r5,r5,4
            (0x7CC5_3378, false), // mr r5,r6
            (0x7CA6_2B78, true),  // mr r6,r5
            (0x7C05_3000, true),  // cmpw r5,r6
            (0x84C5_0004, false), // lwzu r6,4(r5)
            (0x94C5_0004, false), // stwu r6,4(r5)
            (0x90A5_0004, true),  // stw r5,4(r5)
            (0xBBC1_0008, false), // lmw r30,8(r1)
            (0x7CA9_03A6, true),  // mtctr r5
            (0x7CA9_02A6, false), // mfctr r5
        ] {
            let words = [load, load, written, load];
            let all = found(&words, &[]);
            assert_eq!(all[0].is_some(), shares, "{written:08x}");
            assert_eq!(all[3].is_some(), shares, "{written:08x}");
        }
        assert!(found(&[load; 3], &[]).iter().all(Option::is_some));
        assert!(found(&[load; 3], &[0]).iter().all(Option::is_some));
        assert!(found(&[load; 3], &[8]).iter().all(Option::is_none));
        // A load over its own base is the last.
        let last = 0x80A5_0000; // lwz r5,0(r5)
        assert_eq!(found(&[load, load, last], &[]).iter().flatten().count(), 3);
        assert_eq!(found(&[load, last, load], &[]).iter().flatten().count(), 0);
    }

    #[test]
    fn accesses_that_cannot_all_be_aligned_do_not_share() {
        let word = |d: u32| 0x8065_0000 | d;
        let byte = |d: u32| 0x8865_0000 | d;
        let half = |d: u32| 0xA065_0000 | d;
        let alignment = |words: [u32; 3]| found(&words, &[])[0].map(|m| (m.2, m.4));
        assert_eq!(alignment([word(4), half(2), byte(3)]), None);
        assert_eq!(alignment([word(4), half(6), byte(11)]), Some((4, 4)));
        assert_eq!(alignment([byte(9), half(8), byte(11)]), Some((8, 2)));
        assert_eq!(alignment([word(4), word(6), word(8)]), None);
        // Aligned with each other, wherever the base is.
        assert_eq!(alignment([word(2), word(6), word(10)]), Some((2, 4)));
    }

    #[test]
    fn a_group_is_narrow_and_there_are_only_so_many() {
        let at = |d: u32| 0x8065_0000 | d;
        assert_eq!(
            found(&[at(0), at(124), at(4)], &[])[1],
            Some((0, false, 0, 128, 4))
        );
        assert!(
            found(&[at(0), at(4), at(128)], &[])
                .iter()
                .all(Option::is_none)
        );
        let bases = [5u32, 6, 7, 8, 9];
        let words: Vec<u32> = (0..15).map(|n| 0x8060_0000 | bases[n % 5] << 16).collect();
        let all = found(&words, &[]);
        let slots: Vec<_> = all[..5].iter().map(|m| m.map(|m| m.0)).collect();
        assert_eq!(slots, [Some(0), Some(1), Some(2), Some(3), None]);
    }
}
