//! The PCI host bridge: configuration accesses, the windows between the PLB and PCI, and the bridge
//! itself as device 0 of bus 0.
//!
//! The bridge shows itself to the PLB in three places, which the board puts at three addresses:
//! [`ConfigPort`], [`LocalRegs`] and [`Ack`]. All are little-endian.
//!
//! A configuration access that no function answers is a master abort: it reads all ones.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bus::{AccessError, MmioDevice};
use crate::lanes::{self, Order, merge};
use crate::pci_config::{ConfigSpace, PciFunction, regs};

/// CONFIG port: the address register; the data register follows at 4.
pub const CFGADDR: u32 = 0;
/// CONFIG port: the data register, with the byte lanes of the addressed register.
pub const CFGDATA: u32 = 4;

/// CFGADDR: configuration accesses are enabled.
pub const CFGADDR_ENABLE: u32 = 0x8000_0000;
const CFGADDR_MASK: u32 = 0x80FF_FFFF;

/// PMM0's registers: local address, mask, PCI address low, high; PMM1 and PMM2 follow.
pub const PMM0LA: u32 = 0x00;
/// PTM1's registers: size mask, local address; PTM2 follows.
pub const PTM1MS: u32 = 0x30;

/// PMMnMA and PTMnMS: the window is enabled.
pub const WINDOW_ENABLE: u32 = 0x0000_0001;
/// PMMnMA: the window is prefetchable.
pub const WINDOW_PREFETCH: u32 = 0x0000_0002;
/// Addresses and masks of windows, in steps of 4 KiB.
const PAGES: u32 = 0xFFFF_F000;

/// How many windows lead from the PLB to PCI memory.
pub const PMMS: usize = 3;
/// How many windows lead from PCI memory to the PLB.
pub const PTMS: usize = 2;

const VENDOR_IBM: u16 = 0x1014;
const DEVICE_440EP: u16 = 0x027F;
const CLASS_OTHER_BRIDGE: u16 = 0x0680;

/// A window from the PLB to PCI memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pmm {
    /// Local address: where the window is on the PLB.
    pub la: u32,
    /// Mask: the size's complement, and the enable and prefetch bits.
    pub ma: u32,
    /// PCI address, low word.
    pub pcila: u32,
    /// PCI address, high word.
    pub pciha: u32,
}

/// A window from PCI memory to the PLB; where it is on PCI is in the bridge's BAR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ptm {
    /// Size mask, and the enable bit.
    pub ms: u32,
    /// Local address.
    pub la: u32,
}

/// What a snapshot of the bridge must hold; the functions behind it keep their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// CFGADDR.
    pub cfgaddr: u32,
    /// The windows to PCI.
    pub pmm: [Pmm; PMMS],
    /// The windows from PCI.
    pub ptm: [Ptm; PTMS],
    /// The bridge's own configuration space.
    pub config: ConfigSpace,
}

impl Default for State {
    fn default() -> Self {
        State {
            cfgaddr: 0,
            pmm: [Pmm::default(); PMMS],
            ptm: [Ptm::default(); PTMS],
            config: ConfigSpace::new(VENDOR_IBM, DEVICE_440EP, CLASS_OTHER_BRIDGE, 0),
        }
    }
}

/// The bridge and the functions on its bus.
#[derive(Default)]
pub struct Bridge {
    state: State,
    /// Functions of bus 0 by device and function number as CFGADDR holds them.
    functions: Vec<(u8, Box<dyn PciFunction>)>,
}

/// A device and function number that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PCI device {} function {} is there already; take another slot", devfn >> 3, devfn & 7)]
pub struct SlotTaken {
    /// Device number << 3 | function number.
    pub devfn: u8,
}

impl Bridge {
    /// A bridge after a reset, with an empty bus.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a function on bus 0; `devfn` is device number << 3 | function number.
    ///
    /// # Errors
    /// When there is one already, or it is the bridge's own number 0.
    pub fn attach(&mut self, devfn: u8, function: Box<dyn PciFunction>) -> Result<(), SlotTaken> {
        if devfn == 0 || self.functions.iter().any(|(taken, _)| *taken == devfn) {
            return Err(SlotTaken { devfn });
        }
        self.functions.push((devfn, function));
        Ok(())
    }

    /// What a snapshot must hold.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes up a state that [`Bridge::state`] gave.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
    }

    /// Resets the bridge and every function behind it.
    pub fn reset(&mut self) {
        self.state = State::default();
        for (_, function) in &mut self.functions {
            function.reset();
        }
    }

    /// Where an address on the PLB is in PCI memory, if a window leads there.
    pub fn outbound(&self, plb: u32) -> Option<u64> {
        let pmm = self.state.pmm.iter().find(|pmm| {
            let mask = pmm.ma & PAGES;
            pmm.ma & WINDOW_ENABLE != 0 && plb & mask == pmm.la & mask
        })?;
        let mask = pmm.ma & PAGES;
        let low = (pmm.pcila & mask) | (plb & !mask);
        Some((u64::from(pmm.pciha) << 32) | u64::from(low))
    }

    /// Where an address in PCI memory is on the PLB, if a window leads there and the bridge answers
    /// memory accesses.
    pub fn inbound(&self, pci: u32) -> Option<u32> {
        if self.state.config.command() & regs::COMMAND_MEMORY == 0 {
            return None;
        }
        let bars = [regs::BAR1, regs::BAR2].map(|bar| self.state.config.get(bar));
        let (ptm, _) = self.state.ptm.iter().zip(bars).find(|(ptm, bar)| {
            let mask = ptm.ms & PAGES;
            ptm.ms & WINDOW_ENABLE != 0 && pci & mask == bar & mask
        })?;
        let mask = ptm.ms & PAGES;
        Some((ptm.la & mask) | (pci & !mask))
    }

    /// The register that CFGADDR names: device and function on bus 0, and its offset.
    fn target(&self) -> Option<(u8, u8)> {
        let [enable, bus, devfn, register] = self.state.cfgaddr.to_be_bytes();
        // No bridge to another bus is behind this one.
        (enable & 0x80 != 0 && bus == 0).then_some((devfn, register & 0xFC))
    }

    fn function(&mut self, devfn: u8) -> Option<&mut Box<dyn PciFunction>> {
        self.functions
            .iter_mut()
            .find(|(there, _)| *there == devfn)
            .map(|(_, function)| function)
    }

    fn config_read(&mut self) -> u32 {
        match self.target() {
            Some((0, register)) => self.state.config.get(register),
            Some((devfn, register)) => self
                .function(devfn)
                .map_or(u32::MAX, |function| function.config_read(register)),
            None => u32::MAX,
        }
    }

    fn config_write(&mut self, value: u32, mask: u32) {
        match self.target() {
            Some((0, register)) => self.state.config.write(register, value, mask),
            Some((devfn, register)) => {
                if let Some(function) = self.function(devfn) {
                    function.config_write(register, value, mask);
                }
            }
            None => {}
        }
    }

    fn port_read(&mut self, offset: u32) -> Result<u32, AccessError> {
        match offset {
            CFGADDR => Ok(self.state.cfgaddr),
            CFGDATA => Ok(self.config_read()),
            _ => Err(AccessError::NoRegister { offset }),
        }
    }

    fn port_write(&mut self, offset: u32, value: u32, mask: u32) -> Result<(), AccessError> {
        match offset {
            CFGADDR => {
                self.state.cfgaddr = merge(self.state.cfgaddr, value, mask) & CFGADDR_MASK;
            }
            CFGDATA => self.config_write(value, mask),
            _ => return Err(AccessError::NoRegister { offset }),
        }
        Ok(())
    }

    /// A local register, with the bits of it that exist.
    fn local(state: &mut State, offset: u32) -> Option<(&mut u32, u32)> {
        if let Some(distance) = offset.checked_sub(PTM1MS) {
            let ptm = state.ptm.get_mut((distance / 8) as usize)?;
            return Some(if distance % 8 == 0 {
                (&mut ptm.ms, PAGES | WINDOW_ENABLE)
            } else {
                (&mut ptm.la, PAGES)
            });
        }
        let pmm = state.pmm.get_mut((offset / 0x10) as usize)?;
        Some(match offset % 0x10 {
            0x0 => (&mut pmm.la, PAGES),
            0x4 => (&mut pmm.ma, PAGES | WINDOW_ENABLE | WINDOW_PREFETCH),
            0x8 => (&mut pmm.pcila, PAGES),
            _ => (&mut pmm.pciha, u32::MAX),
        })
    }

    fn local_write(&mut self, offset: u32, value: u32, mask: u32) -> Result<(), AccessError> {
        let (register, bits) =
            Self::local(&mut self.state, offset).ok_or(AccessError::NoRegister { offset })?;
        *register = merge(*register, value, mask) & bits;
        // A window's size is what its base address register can be told.
        let state = &mut self.state;
        for (ptm, bar) in state.ptm.iter().zip([regs::BAR1, regs::BAR2]) {
            let size = if ptm.ms & WINDOW_ENABLE != 0 {
                ptm.ms & PAGES
            } else {
                0
            };
            state.config.set_writable(bar, size);
            state.config.set(bar, state.config.get(bar) & size);
        }
        Ok(())
    }
}

/// A bridge that its three windows share.
pub type SharedBridge = Arc<Mutex<Bridge>>;

fn lock(bridge: &SharedBridge) -> MutexGuard<'_, Bridge> {
    bridge.lock().unwrap_or_else(PoisonError::into_inner)
}

/// CFGADDR and CFGDATA, 8 bytes.
pub struct ConfigPort(pub SharedBridge);

impl MmioDevice for ConfigPort {
    fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        let mut bridge = lock(&self.0);
        lanes::read(Order::Little, offset, data, |at| bridge.port_read(at))
    }

    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError> {
        let mut bridge = lock(&self.0);
        lanes::write(Order::Little, offset, data, |at, value, mask| {
            bridge.port_write(at, value, mask)
        })
    }

    fn reset(&mut self) {
        lock(&self.0).reset();
    }
}

/// The PMM and PTM registers, 0x40 bytes.
pub struct LocalRegs(pub SharedBridge);

impl MmioDevice for LocalRegs {
    fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        let mut bridge = lock(&self.0);
        lanes::read(Order::Little, offset, data, |at| {
            Bridge::local(&mut bridge.state, at)
                .map(|(register, _)| *register)
                .ok_or(AccessError::NoRegister { offset: at })
        })
    }

    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError> {
        let mut bridge = lock(&self.0);
        lanes::write(Order::Little, offset, data, |at, value, mask| {
            bridge.local_write(at, value, mask)
        })
    }
}

/// The interrupt acknowledge and special cycle register, 4 bytes.
///
/// No interrupt controller sits on this board's PCI bus, so an acknowledge is answered by nobody and
/// reads all ones; special cycles have no listener.
pub struct Ack;

impl MmioDevice for Ack {
    fn read(&mut self, _offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        data.fill(0xFF);
        Ok(())
    }

    fn write(&mut self, _offset: u32, _data: &[u8]) -> Result<(), AccessError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge() -> (SharedBridge, ConfigPort, LocalRegs) {
        let shared = Arc::new(Mutex::new(Bridge::new()));
        (
            shared.clone(),
            ConfigPort(shared.clone()),
            LocalRegs(shared),
        )
    }

    /// A configuration read as Linux's indirect method does it, of 1, 2 or 4 bytes.
    fn linux_read(port: &mut ConfigPort, bus: u8, devfn: u8, offset: u8, width: usize) -> u32 {
        let address = 0x8000_0000
            | (u32::from(bus) << 16)
            | (u32::from(devfn) << 8)
            | u32::from(offset & 0xFC);
        port.write(CFGADDR, &address.to_le_bytes()).unwrap();
        let mut data = [0; 4];
        let lane = u32::from(offset & 3);
        port.read(CFGDATA + lane, &mut data[..width]).unwrap();
        u32::from_le_bytes(data)
    }

    fn linux_write(port: &mut ConfigPort, devfn: u8, offset: u8, value: &[u8]) {
        let address = 0x8000_0000 | (u32::from(devfn) << 8) | u32::from(offset & 0xFC);
        port.write(CFGADDR, &address.to_le_bytes()).unwrap();
        port.write(CFGDATA + u32::from(offset & 3), value).unwrap();
    }

    fn local_read(regs: &mut LocalRegs, offset: u32) -> u32 {
        let mut data = [0; 4];
        regs.read(offset, &mut data).unwrap();
        u32::from_le_bytes(data)
    }

    #[test]
    fn linux_finds_the_bridge_and_an_empty_bus() {
        let (_, mut port, _) = bridge();
        for devfn in 1..=255 {
            assert_eq!(linux_read(&mut port, 0, devfn, 0, 4), 0xFFFF_FFFF);
            assert_eq!(linux_read(&mut port, 0, devfn, 0, 2), 0x0000_FFFF);
            assert_eq!(linux_read(&mut port, 0, devfn, 0x0E, 1), 0x0000_00FF);
        }
        assert_eq!(linux_read(&mut port, 0, 0, 0x00, 4), 0x027F_1014);
        assert_eq!(linux_read(&mut port, 0, 0, 0x02, 2), 0x027F);
        assert_eq!(linux_read(&mut port, 0, 0, 0x0A, 2), 0x0680);
        assert_eq!(linux_read(&mut port, 0, 0, 0x0B, 1), 0x06);
        assert_eq!(linux_read(&mut port, 0, 0, 0x0E, 1), 0x00, "type 0 header");
        assert_eq!(
            linux_read(&mut port, 1, 0, 0x00, 4),
            0xFFFF_FFFF,
            "no bus 1"
        );
    }

    #[test]
    fn a_disabled_config_address_reads_ones_and_writes_nothing() {
        let (shared, mut port, _) = bridge();
        port.write(CFGADDR, &4u32.to_le_bytes()).unwrap();
        port.write(CFGDATA, &[7, 0]).unwrap();
        let mut data = [0; 4];
        port.read(CFGDATA, &mut data).unwrap();
        assert_eq!(data, [0xFF; 4]);
        assert_eq!(lock(&shared).state().config.command(), 0);
    }

    #[test]
    fn the_config_address_has_byte_lanes_too() {
        let (_, mut port, _) = bridge();
        port.write(CFGADDR + 3, &[0xFF]).unwrap();
        port.write(CFGADDR, &[0x08]).unwrap();
        let mut data = [0; 8];
        port.read(CFGADDR, &mut data).unwrap();
        assert_eq!(data, [0x08, 0, 0, 0x80, 0x00, 0x00, 0x80, 0x06]);
    }

    #[test]
    fn linux_sets_the_bridge_up() {
        let (shared, mut port, mut regs) = bridge();
        // Everything off first.
        for offset in [0x04, 0x14, 0x24, 0x30, 0x38] {
            regs.write(offset, &[0; 4]).unwrap();
        }
        // 512 MiB of PCI memory at 0xA0000000.
        for (offset, value) in [
            (0x00, 0xA000_0000u32),
            (0x08, 0xA000_0000),
            (0x0C, 0),
            (0x04, 0xE000_0001),
            (0x34, 0),
            (0x30, 0x8000_0001),
        ] {
            regs.write(offset, &value.to_le_bytes()).unwrap();
            assert_eq!(local_read(&mut regs, offset), value);
        }
        linux_write(&mut port, 0, 0x14, &[0; 4]);
        linux_write(&mut port, 0, 0x18, &[0; 4]);
        linux_write(&mut port, 0, 0x04, &[6, 0]);
        assert_eq!(linux_read(&mut port, 0, 0, 0x04, 2), 6);

        let bridge = lock(&shared);
        assert_eq!(bridge.outbound(0xA000_0000), Some(0xA000_0000));
        assert_eq!(bridge.outbound(0xBFFF_FFFF), Some(0xBFFF_FFFF));
        assert_eq!(bridge.outbound(0xC000_0000), None);
        assert_eq!(bridge.inbound(0x7FFF_FFFF), Some(0x7FFF_FFFF));
        assert_eq!(bridge.inbound(0x8000_0000), None);
    }

    #[test]
    fn windows_translate_and_the_bar_shows_the_windows_size() {
        let (shared, mut port, mut regs) = bridge();
        for (offset, value) in [
            (0x10, 0x9000_0000u32),
            (0x18, 0x0010_0000),
            (0x1C, 1),
            (0x14, 0xFFF0_0003),
            (0x3C, 0x0200_0000),
            (0x38, 0xFF00_0001),
        ] {
            regs.write(offset, &value.to_le_bytes()).unwrap();
        }
        assert_eq!(lock(&shared).outbound(0x9000_1234), Some(0x1_0010_1234));

        linux_write(&mut port, 0, 0x18, &[0xFF; 4]);
        assert_eq!(linux_read(&mut port, 0, 0, 0x18, 4), 0xFF00_0000);
        linux_write(&mut port, 0, 0x18, &0x4000_0000u32.to_le_bytes());
        assert_eq!(lock(&shared).inbound(0x4000_0010), None, "memory is off");
        linux_write(&mut port, 0, 0x04, &[2]);
        assert_eq!(lock(&shared).inbound(0x4000_0010), Some(0x0200_0010));
        regs.write(0x38, &[0]).unwrap();
        assert_eq!(linux_read(&mut port, 0, 0, 0x18, 4), 0, "no window, no BAR");
    }

    #[test]
    fn local_registers_are_little_endian_and_keep_the_bits_that_exist() {
        let (_, mut port, mut regs) = bridge();
        for offset in (0x00..0x40).step_by(4) {
            regs.write(offset, &[0xFF; 4]).unwrap();
            let expected = match offset {
                0x0C | 0x1C | 0x2C => 0xFFFF_FFFF,
                0x04 | 0x14 | 0x24 => 0xFFFF_F003,
                0x30 | 0x38 => 0xFFFF_F001,
                _ => 0xFFFF_F000,
            };
            assert_eq!(local_read(&mut regs, offset), expected, "{offset:#x}");
        }
        regs.write(0x00, &[0, 0, 0, 0xA0]).unwrap();
        assert_eq!(local_read(&mut regs, 0), 0xA000_0000);
        regs.write(0x01, &[0x50]).unwrap();
        assert_eq!(local_read(&mut regs, 0), 0xA000_5000);
        assert_eq!(
            regs.read(0x40, &mut [0; 4]),
            Err(AccessError::NoRegister { offset: 0x40 })
        );
        port.reset();
        assert_eq!(local_read(&mut regs, 0), 0);
    }

    #[test]
    fn a_function_in_a_slot_answers_there() {
        struct Card(ConfigSpace);
        impl PciFunction for Card {
            fn config_read(&mut self, register: u8) -> u32 {
                self.0.get(register)
            }
            fn config_write(&mut self, register: u8, value: u32, mask: u32) {
                self.0.write(register, value, mask);
            }
            fn reset(&mut self) {
                self.0.write(regs::COMMAND, 0, u32::MAX);
            }
        }
        let (shared, mut port, _) = bridge();
        let card = || Box::new(Card(ConfigSpace::new(0x1AF4, 0x1042, 0x0100, 1)));
        lock(&shared).attach(1 << 3, card()).unwrap();
        assert_eq!(
            lock(&shared)
                .attach(1 << 3, card())
                .unwrap_err()
                .to_string(),
            "PCI device 1 function 0 is there already; take another slot"
        );
        assert_eq!(lock(&shared).attach(0, card()), Err(SlotTaken { devfn: 0 }));
        assert_eq!(linux_read(&mut port, 0, 8, 0, 4), 0x1042_1AF4);
        linux_write(&mut port, 8, 4, &[7, 0]);
        assert_eq!(linux_read(&mut port, 0, 8, 4, 2), 7);
        assert_eq!(linux_read(&mut port, 0, 9, 0, 4), 0xFFFF_FFFF);
        lock(&shared).reset();
        assert_eq!(linux_read(&mut port, 0, 8, 4, 2), 0);
    }

    #[test]
    fn nobody_acknowledges_an_interrupt() {
        let mut data = [0; 4];
        Ack.read(0, &mut data).unwrap();
        assert_eq!(data, [0xFF; 4]);
        assert_eq!(Ack.write(0, &data), Ok(()));
    }
}
