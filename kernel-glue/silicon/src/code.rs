//! When the instruction cache must forget: it knows addresses and TIDs, and not where they lead.
//!
//! A line stays right as long as its address leads to the same frame. It may be wrong once a
//! translation that could be fetched through is removed, be it still in the TLB or long replaced there.

use ppc440_isa::{SPACES, SpaceId};

/// Addresses that an instruction apart from its page may be put at: one in each 256 MB.
pub(crate) const SEATS: u32 = 16;

/// The address with a number, of which the last four bits count. Guests rarely have anything there.
pub(crate) const fn seat(number: u32) -> u32 {
    (number % SEATS) << 28 | 0x0BAD_0000
}

/// What may be in the instruction cache, and whether some of it is wrong.
#[derive(Debug)]
pub(crate) struct Code {
    /// For each space: bit n is set when pages whose number ends in n may be cached, and are not
    /// in the TLB to say so.
    pages: [u32; SPACES],
    /// Instructions apart from their page may be cached, in any space.
    seats: bool,
    stale: bool,
}

/// The bits of the pages from `first` to `last`.
fn bits(first: u32, last: u32) -> u32 {
    let (first, last) = (first >> 12, last >> 12);
    if last - first >= 31 {
        return u32::MAX;
    }
    let run = (2u32 << (last - first)) - 1;
    run.rotate_left(first & 31)
}

impl Code {
    pub const fn new() -> Code {
        Code {
            pages: [0; SPACES],
            seats: false,
            stale: false,
        }
    }

    /// An entry through which code could be fetched is no more in the TLB, and may come back.
    pub fn replaced(&mut self, space: SpaceId, first: u32, last: u32) {
        if let Some(pages) = self.pages.get_mut(usize::from(space)) {
            *pages |= bits(first, last);
        }
    }

    /// The translations of these addresses are removed; those in the TLB are another matter.
    pub fn removed(&mut self, space: SpaceId, first: u32, last: u32) {
        let pages = self.pages.get(usize::from(space)).copied().unwrap_or(0);
        self.stale |= pages & bits(first, last) != 0;
    }

    /// An instruction apart from its page was fetched, at a [`seat`].
    pub fn seated(&mut self) {
        self.seats = true;
    }

    /// Code can be fetched from these addresses now.
    pub fn mapped(&mut self, first: u32, last: u32) {
        let seat = first & 0xF000_0000 | seat(0);
        self.stale |= self.seats && first >> 12 <= seat >> 12 && seat <= last;
    }

    /// Something in the cache is wrong.
    pub fn spoil(&mut self) {
        self.stale = true;
    }

    /// Whether the cache must be invalidated before the guest goes on; it is taken to be.
    pub fn take_stale(&mut self) -> bool {
        if self.stale {
            *self = Code::new();
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_told_apart_as_far_as_32_bits_can() {
        assert_eq!(bits(0x5000, 0x5FFF), 1 << 5);
        assert_eq!(bits(0x1F000, 0x2_0FFF), 1 << 31 | 1);
        assert_eq!(bits(0x1000, 0x2_0FFF), u32::MAX);
        assert_eq!(bits(0x1000, 0x1_FFFF), u32::MAX << 1);
        assert_eq!(bits(0, u32::MAX), u32::MAX);
    }

    #[test]
    fn code_where_single_instructions_were_is_not_taken_from_the_cache() {
        let seat = seat(12);
        let ranges = [
            (seat, seat | 0xFFF, true),
            (seat & !0xFFF_FFFF, seat | 0xFFF_FFFF, true),
            (seat + 0x1000, seat + 0x1FFF, false),
            (seat - 0x1000, seat - 1, false),
        ];
        for (first, last, stale) in ranges {
            let mut code = Code::new();
            code.mapped(first, last);
            assert!(!code.take_stale());
            code.seated();
            code.mapped(first, last);
            assert_eq!(code.take_stale(), stale, "{first:x}");
        }
    }

    #[test]
    fn only_what_could_be_fetched_spoils_the_cache() {
        let mut code = Code::new();
        code.replaced(3, 0x5000, 0x5FFF);
        code.removed(3, 0x6000, 0x6FFF);
        code.removed(4, 0x5000, 0x5FFF);
        assert!(!code.take_stale());
        code.removed(3, 0x4000, 0x5FFF);
        assert!(code.take_stale() && !code.take_stale());
        code.removed(3, 0x5000, 0x5FFF);
        assert!(!code.take_stale(), "it is not there any more");
    }
}
