//! The registers that problem-state code can reach: what a world switch loads and saves.

use crate::regs::msr;

/// The condition register, each field in a form that a compare makes in one subtraction.
///
/// LT, GT and EQ of a field are the sign of a number: of the difference that was compared, or of
/// the result that was recorded. A branch then tests that number, and four bits are made of it
/// only when somebody asks. Not every combination of three bits is a sign, so the number is read
/// as follows: EQ when its low 32 bits are zero, GT when it is above zero, LT when bit 62 (LSB 0)
/// is set, and SO when bit 61 is not as bit 62. A difference of two 32-bit numbers fits, with SO 0.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Cr {
    /// Each field, as above.
    pub signs: [i64; 8],
}

/// The number for each combination of LT, GT, EQ and SO, by the value of the field's four bits.
pub static SIGNS: [i64; 16] = {
    let mut signs = [0; 16];
    let mut field = 0;
    while field < 16 {
        let (lt, gt, eq) = (field & 8 != 0, field & 4 != 0, field & 2 != 0);
        let so = field & 1 != 0;
        signs[field] = (lt as i64) << 62
            | ((lt != so) as i64) << 61
            | (if gt { 0 } else { i64::MIN })
            | ((gt && eq) as i64) << 32
            | !eq as i64;
        field += 1;
    }
    signs
};

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
        let mut cr = Cr::default();
        for field in 0..8 {
            cr.set_field(field, (word >> (28 - 4 * field)) as u8);
        }
        cr
    }

    /// The 32-bit value.
    #[inline]
    pub fn word(&self) -> u32 {
        (0..8).fold(0, |word, field| word << 4 | u32::from(self.field(field)))
    }

    /// The four bits of a field; only the low three bits of `field` count.
    #[inline]
    pub fn field(&self, field: usize) -> u8 {
        let sign = self.signs[field & 7];
        ((sign >> 59) as u8 & Self::LT)
            | u8::from(sign > 0) << 2
            | u8::from(sign as u32 == 0) << 1
            | ((sign >> 61 ^ sign >> 62) as u8 & Self::SO)
    }

    /// Sets the four bits of a field from the low four of `value`.
    #[inline]
    pub fn set_field(&mut self, field: usize, value: u8) {
        self.signs[field & 7] = SIGNS[usize::from(value & 15)];
    }

    /// Sets a field from a difference of two 32-bit numbers, signed or unsigned, and SO.
    #[inline(always)]
    pub fn set_sign(&mut self, field: usize, difference: i64, so: bool) {
        self.signs[field & 7] = match difference {
            0 if so => SIGNS[usize::from(Self::EQ | Self::SO)],
            _ => difference ^ i64::from(so) << 61,
        };
    }

    /// Bit `index` counted from the most significant end; only the low five bits of `index` count.
    #[inline]
    pub fn bit(&self, index: u32) -> bool {
        let field = (index >> 2 & 7) as usize;
        let sign = self.signs[field];
        match index & 3 {
            0 => sign >> 62 & 1 != 0,
            1 => sign > 0,
            2 => sign as u32 == 0,
            _ => (sign >> 61 ^ sign >> 62) & 1 != 0,
        }
    }

    /// Sets or clears bit `index`, counted as in [`Cr::bit`].
    #[inline]
    pub fn set_bit(&mut self, index: u32, value: bool) {
        let mask = 8u8 >> (index & 3);
        let field = (index >> 2 & 7) as usize;
        let old = self.field(field);
        self.set_field(field, if value { old | mask } else { old & !mask });
    }
}

impl Default for Cr {
    /// All bits 0.
    fn default() -> Self {
        Cr {
            signs: [SIGNS[0]; 8],
        }
    }
}

impl PartialEq for Cr {
    fn eq(&self, other: &Self) -> bool {
        self.word() == other.word()
    }
}

impl Eq for Cr {}

impl core::fmt::Debug for Cr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Cr({:#010x})", self.word())
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

/// What one `tlbwe` writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TlbWrite {
    /// The word's new value.
    pub value: u32,
    /// The entry, 0 to 63.
    pub index: u8,
    /// The word of the entry, 0 to 2.
    pub word: u8,
    /// MMUCR\[STID\], which word 0 takes with it.
    pub tid: u8,
}

/// Writes to the guest's TLB that the hardware left for the core to make, the oldest first.
///
/// What `tlbwe` changes must be seen behind the next context-synchronising instruction, and may be
/// seen at any time before (PPC440x5 user's manual, `tlbwe`): until then the hardware may
/// collect writes, and needs to trap once for them all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TlbWrites {
    /// Writes that wait.
    pub count: u32,
    /// The writes that wait come first; the rest has no meaning.
    pub writes: [TlbWrite; TlbWrites::MOST],
}

impl TlbWrites {
    /// So many can wait: two entries, and one more word.
    pub const MOST: usize = 7;

    /// Whether none waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds one; `false` when there is no room.
    #[inline]
    pub fn push(&mut self, write: TlbWrite) -> bool {
        let free = self.writes.get_mut(self.count as usize);
        self.count += u32::from(free.is_some());
        free.map(|free| *free = write).is_some()
    }

    /// Takes them all.
    #[inline]
    pub fn take(&mut self) -> impl Iterator<Item = TlbWrite> + use<> {
        let TlbWrites { count, writes } = core::mem::take(self);
        writes.into_iter().take(count as usize)
    }
}

/// Room beside the registers that the hardware may use while it runs. What is in it means nothing to
/// anybody else, so all values are equal.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Scratch(pub [u64; 12]);

impl PartialEq for Scratch {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Scratch {}

/// The guest's registers while the hardware runs it.
///
/// The hardware owns them between entry and trap; the KVM core owns them otherwise. `msr` is the
/// guest's own, as `mfmsr` shows it: the hardware reads PR, FP, FE0 and FE1 from it. What the guest's
/// supervisor may move without any effect beyond the register is here too, and what hardware needs
/// that goes from one selected mode to another by itself ([`crate::Spaces::select`]): hardware that
/// can runs those instructions itself, other hardware traps for them.
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
    /// For the hardware.
    pub scratch: Scratch,
    /// User SPR general 0, the one SPRG that problem state may write.
    pub usprg0: u32,
    /// SPRG0-7; problem state may read 4-7.
    pub sprg: [u32; 8],
    /// Save and restore register 0 of the non-critical interrupts: the address to return to.
    pub srr0: u32,
    /// Save and restore register 1 of the non-critical interrupts: the MSR before.
    pub srr1: u32,
    /// Save and restore register 0 of the critical interrupts: the address to return to.
    pub csrr0: u32,
    /// Save and restore register 1 of the critical interrupts: the MSR before.
    pub csrr1: u32,
    /// Data exception address register.
    pub dear: u32,
    /// Exception syndrome register.
    pub esr: u32,
    /// MMU control register; only [`crate::regs::mmucr::IMPLEMENTED`] bits.
    pub mmucr: u32,
    /// Process ID.
    pub pid: u8,
    /// An interrupt waits that only MSR\[EE\] holds back: behind an instruction that sets EE, the
    /// hardware stops with [`crate::Trap::Attention`].
    pub masked: bool,
    /// Where a system call interrupt goes; 0: `sc` traps.
    pub system_call: u32,
    /// System call interrupts that the hardware took since the core last looked.
    pub system_calls: u32,
    /// `tlbwe`s that wait for the core.
    pub tlb_writes: TlbWrites,
    /// The reservation bit of `lwarx` and `stwcx.`. The 440's is one bit without an address
    /// (PPC440x5 user's manual, `stwcx.`).
    pub reservation: bool,
    /// Floating-point status and control register.
    pub fpscr: u32,
    /// Floating-point registers, as the bits of a double.
    pub fpr: [u64; 32],
}

impl Regs {
    /// What a non-critical interrupt that goes to `vector` and returns to `address` does to the
    /// registers (PPC440x5 user's manual, section 6.4.1).
    #[inline]
    pub fn interrupt(&mut self, address: u32, vector: u32) {
        (self.srr0, self.srr1) = (address, self.msr);
        self.msr &= msr::KEPT_NON_CRITICAL;
        self.pc = vector;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cr_and_xer_words_round_trip() {
        for word in [
            0,
            0x8421_1248,
            0xFFFF_FFFF,
            0x0F0F_1234,
            0x7654_3210,
            0xFEDC_BA98,
        ] {
            assert_eq!(Cr::from_word(word).word(), word);
        }
        assert_eq!(Cr::default().word(), 0);
        assert_eq!(Xer::from_word(0xFFFF_FFFF).word(), 0xE000_007F);
    }

    #[test]
    fn writes_wait_in_order_as_long_as_there_is_room() {
        let mut waiting = TlbWrites::default();
        let write = |value| TlbWrite {
            value,
            ..TlbWrite::default()
        };
        for n in 0..TlbWrites::MOST as u32 {
            assert!(waiting.push(write(n)));
        }
        assert!(!waiting.push(write(99)));
        let taken = waiting.take().map(|write| write.value);
        assert!(taken.eq(0..TlbWrites::MOST as u32));
        assert!(waiting.is_empty() && waiting.take().next().is_none());
    }

    #[test]
    fn a_difference_is_a_comparison() {
        let edges = [0, 1, 5, i32::MAX, i32::MIN, -1];
        for (a, b) in edges.iter().flat_map(|a| edges.map(|b| (*a, b))) {
            let bits = |less, more| match (less, more) {
                (true, _) => Cr::LT,
                (_, true) => Cr::GT,
                _ => Cr::EQ,
            };
            let mut cr = Cr::default();
            cr.set_sign(2, i64::from(a) - i64::from(b), false);
            assert_eq!(cr.field(2), bits(a < b, a > b), "{a} {b}");
            let (a, b) = (a as u32, b as u32);
            cr.set_sign(2, i64::from(a) - i64::from(b), true);
            assert_eq!(cr.field(2), bits(a < b, a > b) | Cr::SO, "{a} {b}");
        }
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
