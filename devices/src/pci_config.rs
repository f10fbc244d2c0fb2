//! A PCI function's configuration space: 256 bytes, of which software may change some.

/// Register offsets of a type 0 header, in bytes.
pub mod regs {
    /// Vendor identity, 16 bits.
    pub const VENDOR_ID: u8 = 0x00;
    /// Device identity, 16 bits.
    pub const DEVICE_ID: u8 = 0x02;
    /// Command, 16 bits.
    pub const COMMAND: u8 = 0x04;
    /// Status, 16 bits; its error bits are cleared by writing 1.
    pub const STATUS: u8 = 0x06;
    /// Revision, 8 bits, below the class code.
    pub const REVISION: u8 = 0x08;
    /// Class and subclass, 16 bits.
    pub const CLASS: u8 = 0x0A;
    /// Cache line size, 8 bits.
    pub const CACHE_LINE_SIZE: u8 = 0x0C;
    /// Latency timer, 8 bits.
    pub const LATENCY_TIMER: u8 = 0x0D;
    /// The first of six base addresses, 32 bits each.
    pub const BAR0: u8 = 0x10;
    /// The second base address.
    pub const BAR1: u8 = 0x14;
    /// The third base address.
    pub const BAR2: u8 = 0x18;
    /// Interrupt line, 8 bits, for software's own use.
    pub const INTERRUPT_LINE: u8 = 0x3C;
    /// Interrupt pin, 8 bits: 0 none, 1 INTA.
    pub const INTERRUPT_PIN: u8 = 0x3D;

    /// COMMAND: answers I/O accesses.
    pub const COMMAND_IO: u16 = 0x0001;
    /// COMMAND: answers memory accesses.
    pub const COMMAND_MEMORY: u16 = 0x0002;
    /// COMMAND: may be a bus master.
    pub const COMMAND_MASTER: u16 = 0x0004;
    /// COMMAND: what a function without special cycles and snooping implements.
    pub const COMMAND_MASK: u16 = 0x0547;
    /// STATUS: nobody answered an access of this master's.
    pub const STATUS_MASTER_ABORT: u16 = 0x2000;
    /// STATUS: the error bits.
    pub const STATUS_ERRORS: u16 = 0xF900;
}

/// How many 32-bit registers the space has.
const WORDS: usize = 64;

/// Something that answers on a PCI bus.
///
/// In configuration space, `register` is the offset of a 32-bit register, a multiple of 4, and
/// values have the register's byte 0 in their low byte, as PCI's little-endian registers do.
///
/// Memory and I/O accesses are offered to the functions in turn. One whose base addresses hold all
/// bytes, and whose command register lets it, answers and says true. Data is in ascending address
/// order.
pub trait PciFunction: Send {
    /// Reads a register.
    fn config_read(&mut self, register: u8) -> u32;

    /// Writes the bits in `mask` of a register.
    fn config_write(&mut self, register: u8, value: u32, mask: u32);

    /// Answers a read of PCI memory by filling all of `data`, if it is for this function.
    fn memory_read(&mut self, _address: u64, _data: &mut [u8]) -> bool {
        false
    }

    /// Takes a write to PCI memory, if it is for this function.
    fn memory_write(&mut self, _address: u64, _data: &[u8]) -> bool {
        false
    }

    /// Answers a read of I/O ports by filling all of `data`, if it is for this function.
    fn io_read(&mut self, _port: u32, _data: &mut [u8]) -> bool {
        false
    }

    /// Takes a write to I/O ports, if it is for this function.
    fn io_write(&mut self, _port: u32, _data: &[u8]) -> bool {
        false
    }

    /// Puts the function back to what it is after the bus's RST#.
    fn reset(&mut self);
}

/// A configuration space whose registers have no effect of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigSpace {
    values: [u32; WORDS],
    /// Bits that software may set and clear.
    writable: [u32; WORDS],
    /// Bits that writing 1 clears.
    clearable: [u32; WORDS],
}

impl ConfigSpace {
    /// A type 0 header with its command, status, cache line, latency and interrupt line registers;
    /// no base address, no capability.
    pub fn new(vendor: u16, device: u16, class: u16, revision: u8) -> Self {
        let mut space = ConfigSpace {
            values: [0; WORDS],
            writable: [0; WORDS],
            clearable: [0; WORDS],
        };
        space.set(
            regs::VENDOR_ID,
            u32::from(vendor) | (u32::from(device) << 16),
        );
        space.set(
            regs::REVISION,
            u32::from(revision) | (u32::from(class) << 16),
        );
        space.set_writable(regs::COMMAND, u32::from(regs::COMMAND_MASK));
        space.set_writable(regs::CACHE_LINE_SIZE, 0x0000_FFFF);
        space.set_writable(regs::INTERRUPT_LINE, 0x0000_00FF);
        if let Some(bits) = space.clearable.get_mut(Self::word(regs::STATUS)) {
            *bits = u32::from(regs::STATUS_ERRORS) << 16;
        }
        space
    }

    fn word(register: u8) -> usize {
        usize::from(register / 4)
    }

    /// The 32-bit register that holds the byte at an offset.
    pub fn get(&self, register: u8) -> u32 {
        self.values.get(Self::word(register)).copied().unwrap_or(0)
    }

    /// Gives the 32-bit register that holds the byte at an offset a value, writable or not.
    pub fn set(&mut self, register: u8, value: u32) {
        if let Some(word) = self.values.get_mut(Self::word(register)) {
            *word = value;
        }
    }

    /// Says which bits of the 32-bit register that holds the byte at an offset software may change.
    pub fn set_writable(&mut self, register: u8, mask: u32) {
        if let Some(writable) = self.writable.get_mut(Self::word(register)) {
            *writable = mask;
        }
    }

    /// Whether software may change anything of the 32-bit register that holds the byte at an offset.
    pub fn is_writable(&self, register: u8) -> bool {
        let writable = self.writable.get(Self::word(register));
        writable.is_some_and(|writable| *writable != 0)
    }

    /// The command register.
    pub fn command(&self) -> u16 {
        // The low half.
        self.get(regs::COMMAND) as u16
    }

    /// Software writes the bits in `mask` of the 32-bit register that holds the byte at an offset.
    pub fn write(&mut self, register: u8, value: u32, mask: u32) {
        let index = Self::word(register);
        let (Some(old), Some(writable), Some(clearable)) = (
            self.values.get_mut(index),
            self.writable.get(index),
            self.clearable.get(index),
        ) else {
            return;
        };
        let settable = writable & mask;
        *old = (*old & !settable) | (value & settable);
        *old &= !(value & mask & clearable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_changes_only_what_is_writable() {
        let mut space = ConfigSpace::new(0x1014, 0x027F, 0x0680, 1);
        for register in (0..=252).step_by(4) {
            space.write(register, u32::MAX, u32::MAX);
        }
        assert_eq!(space.get(regs::VENDOR_ID), 0x027F_1014);
        assert_eq!(space.get(regs::REVISION), 0x0680_0001);
        assert_eq!(space.command(), regs::COMMAND_MASK);
        assert_eq!(space.get(regs::CACHE_LINE_SIZE), 0x0000_FFFF);
        assert_eq!(space.get(regs::INTERRUPT_LINE), 0x0000_00FF);
        for register in (0x10..0x3C).step_by(4).chain((0x40..=0xFC).step_by(4)) {
            assert_eq!(space.get(register), 0, "{register:#x}");
        }
    }

    #[test]
    fn a_base_address_shows_its_size_and_status_errors_are_cleared_by_ones() {
        let mut space = ConfigSpace::new(1, 2, 3, 4);
        space.set_writable(regs::BAR1, 0xFFFF_F000);
        space.write(regs::BAR1, u32::MAX, u32::MAX);
        assert_eq!(space.get(regs::BAR1), 0xFFFF_F000);
        space.write(regs::BAR1, 0x1234_5678, 0xFF00_0000);
        assert_eq!(space.get(regs::BAR1), 0x12FF_F000);

        space.set(regs::STATUS, 0x2210_0000);
        space.write(regs::STATUS, 0x0000_0006, 0x0000_FFFF);
        assert_eq!(space.get(regs::STATUS), 0x2210_0006);
        space.write(regs::STATUS, 0xFFFF_0000, 0xFFFF_0000);
        assert_eq!(space.get(regs::STATUS), 0x0210_0006);
    }
}
