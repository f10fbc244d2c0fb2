//! The PCI host bridge: configuration accesses, the windows between the PLB and PCI, and the bridge
//! itself as device 0 of bus 0.
//!
//! The bridge shows itself to the PLB in several places, which the board puts at their addresses:
//! [`ConfigPort`], [`LocalRegs`] and [`Ack`], whose registers are little-endian, and the ranges that
//! lead to PCI memory ([`MemoryWindow`]) and I/O ports ([`IoWindow`]). In these, bytes keep their
//! addresses.
//!
//! An access that no function answers is a master abort: it reads all ones.
//!
//! # Locks
//! The bridge's lock is released before a function is called, so that a function which is a bus
//! master can ask for translations through [`BusMaster`] at any time.

#[cfg(test)]
mod tests;
mod windows;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::access_width::{self, Order, merge};
use crate::bus::{AccessError, MmioDevice, Reset};
use crate::pci_config::{ConfigSpace, PciFunction, regs};
pub use windows::{IoWindow, MemoryWindow};

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

/// The values that a snapshot of the bridge must hold; the functions behind it keep their own.
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
    functions: Vec<(u8, SharedFunction)>,
}

/// A function that the bridge shares with whoever attached it.
pub type SharedFunction = Arc<Mutex<dyn PciFunction>>;

/// What a configuration access is for.
enum Target {
    /// A register of the bridge.
    Bridge(u8),
    /// A register of a function.
    Function(SharedFunction, u8),
    /// Nobody.
    Nobody,
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
    pub fn attach(&mut self, devfn: u8, function: SharedFunction) -> Result<(), SlotTaken> {
        if devfn == 0 || self.functions.iter().any(|(taken, _)| *taken == devfn) {
            return Err(SlotTaken { devfn });
        }
        self.functions.push((devfn, function));
        Ok(())
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes up a state that [`Bridge::state`] returned.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
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

    /// What CFGADDR names.
    fn target(&self) -> Target {
        let [enable, bus, devfn, register] = self.state.cfgaddr.to_be_bytes();
        let register = register & 0xFC;
        // No bridge to another bus is behind this one.
        if enable & 0x80 == 0 || bus != 0 {
            return Target::Nobody;
        }
        if devfn == 0 {
            return Target::Bridge(register);
        }
        let function = self.functions.iter().find(|(there, _)| *there == devfn);
        function.map_or(Target::Nobody, |(_, function)| {
            Target::Function(function.clone(), register)
        })
    }

    /// A cycle on PCI ended because nobody claimed its address.
    fn master_abort(&mut self) {
        let config = &mut self.state.config;
        let status = config.get(regs::STATUS) | (u32::from(regs::STATUS_MASTER_ABORT) << 16);
        config.set(regs::STATUS, status);
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

/// A bridge that its places on the PLB share.
pub type SharedBridge = Arc<Mutex<Bridge>>;

/// Registers stay true when another thread panics, so a poisoned lock is as good as any.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls functions in turn, without the bridge's lock, until one says true; says whether one did.
fn any_function(
    bridge: &Mutex<Bridge>,
    mut call: impl FnMut(&mut dyn PciFunction) -> bool,
) -> bool {
    for index in 0.. {
        let function = lock(bridge)
            .functions
            .get(index)
            .map(|(_, function)| function.clone());
        match function {
            Some(function) if call(&mut *lock(&function)) => return true,
            Some(_) => {}
            None => break,
        }
    }
    false
}

/// A function's way to memory, when it is a bus master: from PCI addresses to the PLB's.
///
/// It does not keep the bridge alive, because the bridge keeps the function.
#[derive(Clone)]
pub struct BusMaster(Weak<Mutex<Bridge>>);

impl BusMaster {
    /// Returns the way through a bridge.
    pub fn new(bridge: &SharedBridge) -> Self {
        BusMaster(Arc::downgrade(bridge))
    }

    /// Where `length` bytes (at least 1) from a PCI memory address are on the PLB; `None` when no
    /// single window holds all of them, which ends the master's cycle with a master abort.
    pub fn translate(&self, pci: u32, length: u32) -> Option<u32> {
        let bridge = self.0.upgrade()?;
        let bridge = lock(&bridge);
        let last = length.checked_sub(1)?;
        let first = bridge.inbound(pci)?;
        let end = bridge.inbound(pci.checked_add(last)?)?;
        (first.checked_add(last) == Some(end)).then_some(first)
    }
}

/// CFGADDR and CFGDATA, 8 bytes.
pub struct ConfigPort(pub SharedBridge);

impl ConfigPort {
    fn get(&self, offset: u32) -> Result<u32, AccessError> {
        let target = match offset {
            CFGADDR => return Ok(lock(&self.0).state.cfgaddr),
            CFGDATA => lock(&self.0).target(),
            _ => return Err(AccessError::NoRegister { offset }),
        };
        Ok(match target {
            Target::Bridge(register) => lock(&self.0).state.config.get(register),
            Target::Function(function, register) => lock(&function).config_read(register),
            Target::Nobody => u32::MAX,
        })
    }

    fn put(&self, offset: u32, value: u32, mask: u32) -> Result<(), AccessError> {
        let target = match offset {
            CFGADDR => {
                let cfgaddr = &mut lock(&self.0).state.cfgaddr;
                *cfgaddr = merge(*cfgaddr, value, mask) & CFGADDR_MASK;
                return Ok(());
            }
            CFGDATA => lock(&self.0).target(),
            _ => return Err(AccessError::NoRegister { offset }),
        };
        match target {
            Target::Bridge(register) => lock(&self.0).state.config.write(register, value, mask),
            Target::Function(function, register) => {
                lock(&function).config_write(register, value, mask);
            }
            Target::Nobody => {}
        }
        Ok(())
    }
}

impl MmioDevice for ConfigPort {
    fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        access_width::read(Order::Little, offset, data, |at| self.get(at))
    }

    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError> {
        access_width::write(Order::Little, offset, data, |at, value, mask| {
            self.put(at, value, mask)
        })
    }

    /// Resets the bridge and, as its RST# output does, every function behind it.
    fn reset(&mut self) {
        lock(&self.0).state = State::default();
        any_function(&self.0, |function| {
            function.reset();
            false
        });
    }

    /// A reset of the core as well: whoever loads the kernel into memory after it does not want a
    /// function that writes there.
    fn reset_by(&mut self, _reset: Reset) {
        self.reset();
    }
}

/// The PMM and PTM registers, 0x40 bytes.
pub struct LocalRegs(pub SharedBridge);

impl MmioDevice for LocalRegs {
    fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        let mut bridge = lock(&self.0);
        access_width::read(Order::Little, offset, data, |at| {
            Bridge::local(&mut bridge.state, at)
                .map(|(register, _)| *register)
                .ok_or(AccessError::NoRegister { offset: at })
        })
    }

    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError> {
        let mut bridge = lock(&self.0);
        access_width::write(Order::Little, offset, data, |at, value, mask| {
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
