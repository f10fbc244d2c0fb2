//! SDRAM0, the memory controller: its registers, and which memory sizes its banks can express.
//!
//! Software reads the memory size from the bank registers. They describe memory here, they do not
//! move it: whoever builds the machine maps RAM at 0 and sizes the banks to match, so a guest that
//! reprograms a bank or disables the controller changes what it reads back and nothing else.

use crate::bus::{AccessError, DcrDevice};
use crate::indirect::{self, Indirect};

/// Bus error syndrome 0: write 1 to clear.
pub const BESR0: u32 = 0x00;
/// Bus error syndrome 1: write 1 to clear.
pub const BESR1: u32 = 0x08;
/// Bus error address, read only.
pub const BEAR: u32 = 0x10;
/// Configuration.
pub const CFG: u32 = 0x20;
/// Status, read only.
pub const STATUS: u32 = 0x24;
/// Refresh timer.
pub const RTR: u32 = 0x30;
/// Power management idle timer.
pub const PMIT: u32 = 0x34;
/// Bank 0's configuration; the others follow at distances of 4.
pub const B0CR: u32 = 0x40;
/// Timing.
pub const TR: u32 = 0x80;
/// ECC configuration.
pub const ECCCFG: u32 = 0x94;
/// ECC error status: write 1 to clear.
pub const ECCESR: u32 = 0x98;

/// CFG: the controller is enabled.
pub const CFG_DCEN: u32 = 0x8000_0000;
/// CFG: self-refresh is requested.
pub const CFG_SRE: u32 = 0x4000_0000;
const CFG_MASK: u32 = 0xFFE0_0000;
/// STATUS: the mode registers of the memory are set, so it is usable.
pub const STATUS_MRSCMP: u32 = 0x8000_0000;
/// STATUS: the memory refreshes itself.
pub const STATUS_SRSTATUS: u32 = 0x4000_0000;

/// BnCR: the bank is enabled.
pub const BCR_ENABLE: u32 = 0x0000_0001;
/// BnCR: the base address, in steps of 8 MiB.
pub const BCR_BASE: u32 = 0xFF80_0000;
/// BnCR: where the size's field begins; size is 4 MiB << field.
pub const BCR_SIZE_SHIFT: u32 = 17;
const BCR_MASK: u32 = 0xFFDE_E001;

const RTR_MASK: u32 = 0x3FF8_0000;
const RTR_RESET: u32 = 0x05F0_0000;
/// PMIT: the bits that software sets; those of `PMIT_RESET` below them read as 1.
const PMIT_MASK: u32 = 0xF800_0000;
const PMIT_RESET: u32 = 0x07C0_0000;
const TR_MASK: u32 = 0x018F_C01F;
const TR_RESET: u32 = 0x0085_4009;
const ECCCFG_MASK: u32 = 0x00F0_0000;

/// The number of banks.
pub const BANKS: usize = 4;
/// The smallest bank, in bytes.
const SMALLEST: u64 = 4 << 20;
/// The size field of the largest bank, 256 MiB.
const LARGEST_FIELD: u32 = 6;
/// What four of the largest banks hold, in bytes: 1 GiB.
pub const MAX_BYTES: u64 = BANKS as u64 * (SMALLEST << LARGEST_FIELD);

/// A memory size that the banks cannot express.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BankError {
    /// The size that was asked for, in bytes.
    pub bytes: u64,
    /// The largest size below it that the banks can express, in MiB.
    pub below: Option<u32>,
    /// The smallest size above it that the banks can express, in MiB.
    pub above: Option<u32>,
}

impl std::error::Error for BankError {}

impl std::fmt::Display for BankError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.bytes;
        f.write_str("the memory controller cannot hold ")?;
        if bytes != 0 && bytes.is_multiple_of(1 << 20) {
            write!(f, "{} MiB", bytes >> 20)?;
        } else {
            write!(f, "{bytes} bytes")?;
        }
        f.write_str(": it has four banks of 4, 8, 16, 32, 64, 128 or 256 MiB; take ")?;
        match (self.below, self.above) {
            (Some(below), Some(above)) => write!(f, "{below} MiB or {above} MiB"),
            (Some(size), None) | (None, Some(size)) => write!(f, "{size} MiB"),
            (None, None) => f.write_str("another size"),
        }
    }
}

/// The size fields of the banks for a memory size in bytes, largest first, if they suffice.
fn fields(bytes: u64) -> Option<[Option<u32>; BANKS]> {
    let mut left = bytes;
    let mut fields = [None; BANKS];
    for slot in &mut fields {
        *slot = (0..=LARGEST_FIELD)
            .rev()
            .find(|field| SMALLEST << field <= left);
        left -= slot.map_or(0, |field| SMALLEST << field);
    }
    (bytes > 0 && left == 0).then_some(fields)
}

/// B0CR to B3CR for a memory size in bytes: the largest banks first, from address 0 without gaps,
/// the rest disabled.
///
/// # Errors
/// When four banks of 4 to 256 MiB cannot express the size; the error names the nearest that they
/// can.
pub fn banks(bytes: u64) -> Result<[u32; BANKS], BankError> {
    let fields = fields(bytes).ok_or_else(|| nearest(bytes))?;
    let mut base = 0u64;
    Ok(fields.map(|field| {
        field.map_or(0, |field| {
            // At most 768 MiB, so it fits.
            let bank = (base as u32 & BCR_BASE) | (field << BCR_SIZE_SHIFT) | BCR_ENABLE;
            base += SMALLEST << field;
            bank
        })
    }))
}

fn nearest(bytes: u64) -> BankError {
    let steps = MAX_BYTES / SMALLEST;
    let expressible = |step: &u64| fields(step * SMALLEST).is_some();
    let mib = |step: u64| ((step * SMALLEST) >> 20) as u32;
    let up = bytes.div_ceil(SMALLEST);
    BankError {
        bytes,
        below: (1..=steps.min(bytes / SMALLEST))
            .rev()
            .find(expressible)
            .map(mib),
        above: (up.max(1)..=steps).find(expressible).map(mib),
    }
}

/// The values that a snapshot of the memory controller must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// CFGADDR.
    pub index: u32,
    /// Bus error syndromes.
    pub besr: [u32; 2],
    /// Bus error address.
    pub bear: u32,
    /// Configuration.
    pub cfg: u32,
    /// Refresh timer.
    pub rtr: u32,
    /// Power management idle timer.
    pub pmit: u32,
    /// Bank configurations.
    pub bcr: [u32; BANKS],
    /// Timing.
    pub tr: u32,
    /// ECC configuration.
    pub ecccfg: u32,
    /// ECC error status.
    pub eccesr: u32,
}

/// The memory controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sdram {
    state: State,
    /// The banks as firmware leaves them.
    banks: [u32; BANKS],
}

impl Sdram {
    /// A controller that firmware enabled, with banks as [`banks`] gives them.
    pub fn new(banks: [u32; BANKS]) -> Self {
        Sdram {
            state: State {
                index: 0,
                besr: [0; 2],
                bear: 0,
                cfg: CFG_DCEN,
                rtr: RTR_RESET,
                pmit: PMIT_RESET,
                bcr: banks.map(|bank| bank & BCR_MASK),
                tr: TR_RESET,
                ecccfg: 0,
                eccesr: 0,
            },
            banks,
        }
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes up a state that [`Sdram::state`] returned.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
    }

    /// Which bank an index names.
    fn bank(index: u32) -> Option<usize> {
        let distance = index.checked_sub(B0CR)?;
        let bank = (distance / 4) as usize;
        (distance.is_multiple_of(4) && bank < BANKS).then_some(bank)
    }
}

impl Indirect for Sdram {
    fn index(&mut self) -> &mut u32 {
        &mut self.state.index
    }

    fn get(&self, index: u32) -> Result<u32, AccessError> {
        let state = &self.state;
        if let Some(bcr) = Self::bank(index).and_then(|bank| state.bcr.get(bank)) {
            return Ok(*bcr);
        }
        Ok(match index {
            BESR0 => state.besr[0],
            BESR1 => state.besr[1],
            BEAR => state.bear,
            CFG => state.cfg,
            STATUS => {
                let ready = if state.cfg & CFG_DCEN != 0 {
                    STATUS_MRSCMP
                } else {
                    0
                };
                let refreshes = if state.cfg & CFG_SRE != 0 {
                    STATUS_SRSTATUS
                } else {
                    0
                };
                ready | refreshes
            }
            RTR => state.rtr,
            PMIT => state.pmit,
            TR => state.tr,
            ECCCFG => state.ecccfg,
            ECCESR => state.eccesr,
            _ => return Err(AccessError::NoIndex { index }),
        })
    }

    fn put(&mut self, index: u32, value: u32) -> Result<(), AccessError> {
        let state = &mut self.state;
        if let Some(bcr) = Self::bank(index).and_then(|bank| state.bcr.get_mut(bank)) {
            *bcr = value & BCR_MASK;
            return Ok(());
        }
        match index {
            BESR0 => state.besr[0] &= !value,
            BESR1 => state.besr[1] &= !value,
            BEAR | STATUS => {}
            CFG => state.cfg = value & CFG_MASK,
            RTR => state.rtr = value & RTR_MASK,
            PMIT => state.pmit = (value & PMIT_MASK) | PMIT_RESET,
            TR => state.tr = value & TR_MASK,
            ECCCFG => state.ecccfg = value & ECCCFG_MASK,
            ECCESR => state.eccesr &= !value,
            _ => return Err(AccessError::NoIndex { index }),
        }
        Ok(())
    }
}

impl DcrDevice for Sdram {
    fn read(&mut self, offset: u32) -> Result<u32, AccessError> {
        indirect::read(self, offset)
    }

    fn write(&mut self, offset: u32, value: u32) -> Result<(), AccessError> {
        indirect::write(self, offset, value)
    }

    fn reset(&mut self) {
        *self = Sdram::new(self.banks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indirect::{get, put};

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_banks_are_those_of_the_board() {
        for (mib, expected) in [
            (4, [0x0000_0001, 0, 0, 0]),
            (64, [0x0008_0001, 0, 0, 0]),
            (128, [0x000A_0001, 0, 0, 0]),
            (144, [0x000A_0001, 0x0804_0001, 0, 0]),
            (256, [0x000C_0001, 0, 0, 0]),
            (512, [0x000C_0001, 0x100C_0001, 0, 0]),
            (1024, [0x000C_0001, 0x100C_0001, 0x200C_0001, 0x300C_0001]),
        ] {
            assert_eq!(banks(mib * MIB), Ok(expected), "{mib} MiB");
        }
    }

    #[test]
    fn every_expressible_size_reads_back_as_linux_adds_it_up() {
        let mut count = 0;
        for step in 1..=256 {
            let bytes = step * 4 * MIB;
            let Ok(bcr) = banks(bytes) else { continue };
            count += 1;
            let unit = &mut Sdram::new(bcr);
            let mut sum = 0u64;
            for n in 0..4 {
                let value = get(unit, B0CR + 4 * n).unwrap();
                if value & BCR_ENABLE != 0 {
                    assert_eq!(u64::from(value & BCR_BASE), sum, "no gap");
                    sum += 0x0040_0000 << ((value >> 17) & 7);
                }
            }
            assert_eq!(sum, bytes);
        }
        // With k banks of 256 MiB, up to 4 - k of the six smaller sizes: 56 + 42 + 22 + 7 + 1.
        assert_eq!(count, 128);
    }

    #[test]
    fn a_size_that_the_banks_cannot_express_is_refused_with_the_nearest() {
        let error = banks(316 * MIB).unwrap_err();
        assert_eq!((error.below, error.above), (Some(312), Some(320)));
        assert_eq!(
            error.to_string(),
            "the memory controller cannot hold 316 MiB: it has four banks of 4, 8, 16, 32, 64, \
             128 or 256 MiB; take 312 MiB or 320 MiB"
        );
        assert_eq!(
            banks(2048 * MIB).unwrap_err().to_string(),
            "the memory controller cannot hold 2048 MiB: it has four banks of 4, 8, 16, 32, 64, \
             128 or 256 MiB; take 1024 MiB"
        );
        let error = banks(5_000_000).unwrap_err();
        assert_eq!((error.below, error.above), (Some(4), Some(8)));
        assert!(error.to_string().contains("5000000 bytes"));
        let error = banks(0).unwrap_err();
        assert_eq!((error.below, error.above), (None, Some(4)));
        let error = banks(u64::MAX).unwrap_err();
        assert_eq!((error.below, error.above), (Some(1024), None));
    }

    #[test]
    fn registers_keep_the_bits_that_exist() {
        let unit = &mut Sdram::new(banks(128 * MIB).unwrap());
        for (index, expected) in [
            (CFG, 0xFFE0_0000),
            (RTR, 0x3FF8_0000),
            (PMIT, 0xFFC0_0000),
            (B0CR, 0xFFDE_E001),
            (0x4C, 0xFFDE_E001),
            (TR, 0x018F_C01F),
            (ECCCFG, 0x00F0_0000),
            (BEAR, 0),
            (STATUS, STATUS_MRSCMP | STATUS_SRSTATUS),
        ] {
            put(unit, index, u32::MAX).unwrap();
            assert_eq!(get(unit, index), Ok(expected), "{index:#x}");
        }
        put(unit, CFG, 0).unwrap();
        assert_eq!(get(unit, STATUS), Ok(0));
        for index in [0x42, 0x50, 0xFFFF_FFFF] {
            assert_eq!(get(unit, index), Err(AccessError::NoIndex { index }));
            assert_eq!(put(unit, index, 0), Err(AccessError::NoIndex { index }));
        }
        unit.reset();
        assert_eq!(get(unit, B0CR), Ok(0x000A_0001));
        assert_eq!(get(unit, CFG), Ok(CFG_DCEN));
    }

    #[test]
    fn error_registers_are_cleared_by_writing_ones() {
        let unit = &mut Sdram::new([0; 4]);
        unit.set_state(State {
            besr: [0xF0, 0x0F],
            eccesr: 0xFF,
            ..unit.state()
        });
        for (index, left) in [(BESR0, 0xC0), (BESR1, 0x0C), (ECCESR, 0xCC)] {
            put(unit, index, 0x33).unwrap();
            assert_eq!(get(unit, index), Ok(left));
        }
    }
}
