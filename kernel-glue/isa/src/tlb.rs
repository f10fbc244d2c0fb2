//! TLB entries as `tlbwe` writes and `tlbre` reads them (PPC440x5 user's manual, chapter 5).

use bitfield_struct::bitfield;

/// Entries of the unified TLB.
pub const ENTRIES: usize = 64;

/// TLB word 0: what is translated. Bit 0 is the most significant.
#[bitfield(u32, order = Msb)]
#[derive(PartialEq, Eq)]
pub struct TlbWord0 {
    /// Effective page number; bits below the page size are not compared.
    #[bits(22)]
    pub epn: u32,
    /// Valid.
    pub v: bool,
    /// Translation space, compared with MSR[IS] or MSR[DS].
    pub ts: bool,
    /// Page size: 1024 << (2 * size) bytes.
    #[bits(4)]
    pub size: u8,
    #[bits(4)]
    __: u8,
}

/// TLB word 1: where it is translated to.
#[bitfield(u32, order = Msb)]
#[derive(PartialEq, Eq)]
pub struct TlbWord1 {
    /// Real page number; bits below the page size are not used.
    #[bits(22)]
    pub rpn: u32,
    #[bits(6)]
    __: u8,
    /// Extended real page number: real address bits above 4 GiB.
    #[bits(4)]
    pub erpn: u8,
}

/// TLB word 2: storage attributes and permissions.
#[bitfield(u32, order = Msb)]
#[derive(PartialEq, Eq)]
pub struct TlbWord2 {
    #[bits(16)]
    __: u16,
    /// User-defined attributes U0-U3; stored and returned only.
    #[bits(4)]
    pub u: u8,
    /// Write-through.
    pub w: bool,
    /// Caching inhibited.
    pub i: bool,
    /// Memory coherence required.
    pub m: bool,
    /// Guarded.
    pub g: bool,
    /// Little-endian page.
    pub e: bool,
    __: bool,
    /// Execute in problem state.
    pub ux: bool,
    /// Write in problem state.
    pub uw: bool,
    /// Read in problem state.
    pub ur: bool,
    /// Execute in supervisor state.
    pub sx: bool,
    /// Write in supervisor state.
    pub sw: bool,
    /// Read in supervisor state.
    pub sr: bool,
}

impl TlbWord0 {
    /// The bits that exist: EPN, V, TS, SIZE.
    pub const IMPLEMENTED: u32 = 0xFFFF_FFF0;
}

impl TlbWord1 {
    /// The bits that exist: RPN, ERPN.
    pub const IMPLEMENTED: u32 = 0xFFFF_FC0F;
}

impl TlbWord2 {
    /// The bits that exist: U0-3, WIMGE, permissions.
    pub const IMPLEMENTED: u32 = 0x0000_FFBF;
}

/// One TLB entry: three words and the TID that travels through MMUCR\[STID\].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tlbe {
    /// Process identifier; 0 matches every PID.
    pub tid: u8,
    /// Word 0.
    pub word0: TlbWord0,
    /// Word 1.
    pub word1: TlbWord1,
    /// Word 2.
    pub word2: TlbWord2,
}

impl Tlbe {
    /// log2 of the page size in bytes, or `None` for a SIZE that the 440 does not support
    /// (section 5.3: 6, 8 and 10-15).
    pub fn page_shift(&self) -> Option<u32> {
        match self.word0.size() {
            size @ (0..=5 | 7 | 9) => Some(10 + 2 * u32::from(size)),
            _ => None,
        }
    }

    /// First effective address of the page.
    pub fn ea(&self) -> u32 {
        let epn = self.word0.epn() << 10;
        self.page_shift().map_or(epn, |shift| epn >> shift << shift)
    }

    /// Whether the entry translates `ea` for `pid` in address space `ts` (section 5.4): valid, a
    /// supported size, the same space, TID 0 or equal, and equal above the page size.
    pub fn matches(&self, ea: u32, pid: u8, ts: bool) -> bool {
        let Some(shift) = self.page_shift() else {
            return false;
        };
        self.word0.v()
            && self.word0.ts() == ts
            && (self.tid == 0 || self.tid == pid)
            && ea >> shift == (self.word0.epn() << 10) >> shift
    }

    /// The 36-bit real address of `ea`, which must match.
    pub fn real(&self, ea: u32) -> u64 {
        let offset = (1u32 << self.page_shift().unwrap_or(10)) - 1;
        u64::from(self.word1.erpn()) << 32
            | u64::from(self.word1.rpn() << 10 & !offset)
            | u64::from(ea & offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_the_manuals_layout() {
        let word0 = TlbWord0::from(0xC000_0000 | 0x200 | 0x90);
        assert_eq!(
            (word0.epn(), word0.v(), word0.ts(), word0.size()),
            (0xC000_0000 >> 10, true, false, 9)
        );
        let word1 = TlbWord1::from(0x1234_0004);
        assert_eq!((word1.rpn(), word1.erpn()), (0x1234_0000 >> 10, 4));
        let word2 = TlbWord2::from(0x8000 | 0x0400 | 0x0080 | 0x20 | 0x01);
        assert!(
            word2.u() == 8 && word2.i() && word2.e() && word2.ux() && word2.sr() && !word2.sw()
        );
    }

    #[test]
    fn low_epn_and_rpn_bits_do_not_count() {
        let entry = Tlbe {
            tid: 0,
            word0: TlbWord0::from(0xC000_FC00 | 0x200 | 0x90),
            word1: TlbWord1::from(0x1000_FC01),
            word2: TlbWord2::default(),
        };
        assert!(entry.matches(0xC123_4567, 7, false));
        assert!(!entry.matches(0xD000_0000, 7, false));
        assert!(!entry.matches(0xC123_4567, 7, true));
        assert_eq!(entry.real(0xC123_4567), 0x1_1123_4567);
        assert_eq!(entry.ea(), 0xC000_0000);
    }

    #[test]
    fn an_unsupported_size_never_matches() {
        let mut entry = Tlbe {
            word0: TlbWord0::new().with_v(true).with_size(1),
            ..Tlbe::default()
        };
        assert!(entry.matches(0x10, 1, false));
        entry.word0.set_size(6);
        assert!(!entry.matches(0x10, 1, false));
    }
}
