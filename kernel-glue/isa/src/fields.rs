//! The fields of an instruction word, under the manual's names.

/// An instruction word as fetched from a big-endian page: the primary opcode is the top six bits.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Hash)]
pub struct Word(pub u32);

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $shift:literal, $mask:literal;)*) => {
        impl Word {
            $(
                $(#[$doc])*
                #[inline(always)]
                pub const fn $name(self) -> $type {
                    (self.0 >> $shift & $mask) as $type
                }
            )*
        }
    };
}

fields! {
    /// Target GPR, 0-31.
    rt: usize = 21, 0x1F;
    /// Source GPR, 0-31.
    rs: usize = 21, 0x1F;
    /// GPR RA, 0-31; in many instructions 0 stands for the value 0.
    ra: usize = 16, 0x1F;
    /// GPR RB, 0-31.
    rb: usize = 11, 0x1F;
    /// Target FPR, 0-31.
    frt: usize = 21, 0x1F;
    /// Source FPR of a store, 0-31.
    frs: usize = 21, 0x1F;
    /// First source FPR, 0-31.
    fra: usize = 16, 0x1F;
    /// Second source FPR, 0-31.
    frb: usize = 11, 0x1F;
    /// Multiplicand or selected FPR, 0-31.
    frc: usize = 6, 0x1F;
    /// Unsigned immediate, 16 bits.
    ui: u32 = 0, 0xFFFF;
    /// Shift amount, 0-31.
    sh: u32 = 11, 0x1F;
    /// First bit of a rotate's mask, counted from the most significant.
    mb: u32 = 6, 0x1F;
    /// Last bit of a rotate's mask, counted from the most significant.
    me: u32 = 1, 0x1F;
    /// Branch options, five bits.
    bo: u32 = 21, 0x1F;
    /// CR bit that a branch tests, 0-31 from the most significant.
    bi: u32 = 16, 0x1F;
    /// Trap conditions, five bits: signed less 16, greater 8, equal 4, unsigned less 2, greater 1.
    to: u32 = 21, 0x1F;
    /// String length field as encoded, 0-31; 0 stands for 32 bytes.
    nb: u32 = 11, 0x1F;
    /// CR fields of `mtcrf`, eight bits; the top one is field 0.
    crm: u32 = 12, 0xFF;
    /// FPSCR fields of `mtfsf`, eight bits; the top one is field 0.
    fm: u32 = 17, 0xFF;
    /// Immediate of `mtfsfi`, four bits.
    imm4: u32 = 12, 0xF;
    /// TLB word select, five bits; only 0-2 are valid.
    ws: u32 = 11, 0x1F;
    /// Target CR or FPSCR bit, 0-31 from the most significant.
    bt: u32 = 21, 0x1F;
    /// First source CR bit, 0-31 from the most significant.
    ba: u32 = 16, 0x1F;
    /// Second source CR bit, 0-31 from the most significant.
    bb: u32 = 11, 0x1F;
    /// CR bit that `isel` tests, 0-31 from the most significant.
    bc: u32 = 6, 0x1F;
    /// Target CR or FPSCR field, 0-7.
    crfd: usize = 23, 0x7;
    /// Source CR or FPSCR field, 0-7.
    crfs: usize = 18, 0x7;
    /// Operand size of a compare, which a 32-bit implementation ignores.
    l: u32 = 21, 0x1;
    /// The cache that a touch is for; the 440 ignores it.
    ct: u32 = 21, 0x1F;
    /// Which storage accesses `mbar` orders.
    mo: u32 = 21, 0x1F;
    /// The six bits that select the instruction or its group.
    primary: u32 = 26, 0x3F;
    /// The ten extended opcode bits of an X form; the top one is OE where OE exists.
    xo: u32 = 1, 0x3FF;
}

impl Word {
    /// Signed 16-bit displacement or immediate (D, SI), sign-extended.
    #[inline(always)]
    pub const fn d(self) -> i32 {
        self.0 as i16 as i32
    }

    /// Conditional branch displacement in bytes, sign-extended; a multiple of 4.
    #[inline(always)]
    pub const fn bd(self) -> i32 {
        (self.0 & 0xFFFC) as i16 as i32
    }

    /// Branch displacement in bytes, 26 bits sign-extended; a multiple of 4.
    #[inline(always)]
    pub const fn li(self) -> i32 {
        ((self.0 & 0x03FF_FFFC) << 6) as i32 >> 6
    }

    /// Absolute address: the displacement is the branch target.
    #[inline(always)]
    pub const fn aa(self) -> bool {
        self.0 & 2 != 0
    }

    /// Link: the branch sets LR.
    #[inline(always)]
    pub const fn lk(self) -> bool {
        self.0 & 1 != 0
    }

    /// Record: the instruction sets CR0, or CR1 if it is floating-point.
    #[inline(always)]
    pub const fn rc(self) -> bool {
        self.0 & 1 != 0
    }

    /// Overflow enable: the instruction sets XER\[OV\] and XER\[SO\].
    #[inline(always)]
    pub const fn oe(self) -> bool {
        self.0 & 0x400 != 0
    }

    /// The value that `wrteei` gives MSR\[EE\].
    #[inline(always)]
    pub const fn e(self) -> bool {
        self.0 & 0x8000 != 0
    }

    /// Special purpose or time base register number, ten bits, its halves already swapped.
    #[inline(always)]
    pub const fn spr(self) -> u32 {
        self.0 >> 16 & 0x1F | self.0 >> 6 & 0x3E0
    }

    /// Device control register number, ten bits, its halves already swapped.
    #[inline(always)]
    pub const fn dcr(self) -> u32 {
        self.spr()
    }
}

#[cfg(test)]
mod tests {
    use super::Word;

    #[test]
    fn displacements_are_signed_bytes_without_the_aa_and_lk_bits() {
        assert_eq!(
            (
                Word(0x4BFF_FFFF).li(),
                Word(0x4A00_0003).li(),
                Word(0x49FF_FFFD).li()
            ),
            (-4, -0x200_0000, 0x1FF_FFFC)
        );
        assert_eq!(
            (
                Word(0x4182_FFFF).bd(),
                Word(0x4182_8002).bd(),
                Word(0x4182_7FFD).bd()
            ),
            (-4, -0x8000, 0x7FFC)
        );
        assert_eq!(
            (
                Word(0x3860_FFFF).d(),
                Word(0x3860_7FFF).d(),
                Word(0x3860_FFFF).ui()
            ),
            (-1, 0x7FFF, 0xFFFF)
        );
    }

    #[test]
    fn register_numbers_have_their_halves_swapped() {
        // mfspr r3, 26 (SRR0) and mtspr 0x13F, r3 (DVC2), as the assembler encodes them.
        assert_eq!(
            (Word(0x7C7A_02A6).spr(), Word(0x7C7F_4BA6).spr()),
            (26, 0x13F)
        );
    }

    #[test]
    fn fields_read_their_own_bits_only() {
        // rlwinm. r7, r29, 17, 21, 30
        let word = Word(21 << 26 | 29 << 21 | 7 << 16 | 17 << 11 | 21 << 6 | 30 << 1 | 1);
        assert_eq!((word.primary(), word.rs(), word.ra()), (21, 29, 7));
        assert_eq!(
            (word.sh(), word.mb(), word.me(), word.rc()),
            (17, 21, 30, true)
        );
    }
}
