//! The registers that problem-state code can reach: what a world switch loads and saves.

/// Condition register as eight fields, so that a compare writes one byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cr(pub [u8; 8]);

impl Cr {
    /// Less than, within a field.
    pub const LT: u8 = 8;
    /// Greater than, within a field.
    pub const GT: u8 = 4;
    /// Equal, within a field.
    pub const EQ: u8 = 2;
    /// Summary overflow, within a field.
    pub const SO: u8 = 1;

    /// The register from its 32-bit value; field 0 is the most significant nibble.
    #[inline]
    pub fn from_word(word: u32) -> Self {
        Cr(core::array::from_fn(|field| {
            (word >> (28 - 4 * field)) as u8 & 15
        }))
    }

    /// The 32-bit value.
    #[inline]
    pub fn word(self) -> u32 {
        self.0
            .iter()
            .fold(0, |word, &field| word << 4 | u32::from(field))
    }

    /// Bit `index` counted from the most significant end; only the low five bits of `index` count.
    #[inline]
    pub fn bit(&self, index: u32) -> bool {
        self.0[(index >> 2 & 7) as usize] & (8 >> (index & 3)) != 0
    }

    /// Sets or clears bit `index`, counted as in [`Cr::bit`].
    #[inline]
    pub fn set_bit(&mut self, index: u32, value: bool) {
        let mask = 8u8 >> (index & 3);
        let field = &mut self.0[(index >> 2 & 7) as usize];
        *field = if value { *field | mask } else { *field & !mask };
    }
}

/// Fixed-point exception register, its flags kept apart because most code writes only CA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Xer {
    /// Summary overflow; only `mtspr` and `mcrxr` clear it.
    pub so: bool,
    /// Overflow of the last instruction that records it.
    pub ov: bool,
    /// Carry.
    pub ca: bool,
    /// Byte count of `lswx` and `stswx`, seven bits.
    pub count: u8,
}

impl Xer {
    /// The register from its 32-bit value; bits that do not exist are dropped.
    #[inline]
    pub fn from_word(word: u32) -> Self {
        Xer {
            so: word & 0x8000_0000 != 0,
            ov: word & 0x4000_0000 != 0,
            ca: word & 0x2000_0000 != 0,
            count: word as u8 & 0x7F,
        }
    }

    /// The 32-bit value.
    #[inline]
    pub fn word(self) -> u32 {
        u32::from(self.so) << 31
            | u32::from(self.ov) << 30
            | u32::from(self.ca) << 29
            | u32::from(self.count)
    }
}

/// The guest's registers while the hardware runs it.
///
/// The hardware owns them between entry and trap; the KVM core owns them otherwise. `msr` is the
/// guest's own, as `mfmsr` shows it: the hardware reads PR, FP, FE0 and FE1 from it and never
/// writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Regs {
    /// General purpose registers.
    pub gpr: [u32; 32],
    /// Address of the next instruction; a trap leaves it at the instruction that trapped, except
    /// where [`crate::Trap`] says otherwise.
    pub pc: u32,
    /// The guest's machine state register.
    pub msr: u32,
    /// Link register.
    pub lr: u32,
    /// Count register.
    pub ctr: u32,
    /// Condition register.
    pub cr: Cr,
    /// Fixed-point exception register.
    pub xer: Xer,
    /// User SPR general 0, the one SPRG that problem state may write.
    pub usprg0: u32,
    /// SPRG0-7; problem state may read 4-7.
    pub sprg: [u32; 8],
    /// The reservation bit of `lwarx` and `stwcx.`. The 440's is one bit without an address
    /// (PPC440x5 user's manual, `stwcx.`).
    pub reservation: bool,
    /// Floating-point status and control register.
    pub fpscr: u32,
    /// Floating-point registers, as the bits of a double.
    pub fpr: [u64; 32],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cr_and_xer_words_round_trip() {
        for word in [0, 0x8421_1248, 0xFFFF_FFFF, 0x0F0F_1234] {
            assert_eq!(Cr::from_word(word).word(), word);
        }
        assert_eq!(Xer::from_word(0xFFFF_FFFF).word(), 0xE000_007F);
    }

    #[test]
    fn cr_bits_count_from_the_most_significant_end() {
        let mut cr = Cr::default();
        cr.set_bit(0, true);
        cr.set_bit(31, true);
        assert_eq!(cr.word(), 0x8000_0001);
        assert!(cr.bit(0) && cr.bit(31) && !cr.bit(1));
        cr.set_bit(0, false);
        assert_eq!(cr.word(), 1);
    }
}
