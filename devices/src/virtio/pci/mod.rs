//! Virtio over PCI (virtio 1.2, 4.1) with INTA: modern, legacy, or both (transitional).
//!
//! The modern structures are in a memory BAR, each on a page of its own, and capabilities say where.
//! The legacy interface is an I/O BAR. All registers are little-endian, as PCI's are; only the
//! device's configuration fields have the driver's order.
//!
//! Addresses in rings and descriptors are guest physical ones (VIRTIO_F_ACCESS_PLATFORM is not
//! offered), so neither the bridge's windows nor the bus master bit stand between a device and RAM.

pub mod regs;

use vm_memory::GuestMemory;

use self::regs::{common, legacy};
use super::device::VirtioDevice;
use super::interrupt::Interrupt;
use super::mmio::{set_high, set_low};
use super::transport::{Interface, Transport};
use crate::access_width::{self, Order, merge};
use crate::pci_config::{ConfigSpace, PciFunction, regs as pci};

/// Which interfaces a function shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// Virtio 1.0, and the legacy interface for the kinds of device that had one.
    Transitional,
    /// The legacy interface only.
    Legacy,
}

/// A kind of device for which there was no legacy interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a virtio device of type {device} has no legacy PCI interface; leave out legacy")]
pub struct NoLegacy {
    /// The kind (virtio 1.2, chapter 5).
    pub device: u16,
}

/// Where the capabilities are in configuration space; each names the next.
const CAPABILITIES: [(u8, u8, u32); 4] = [
    (0x40, regs::CAP_COMMON, regs::COMMON),
    (0x50, regs::CAP_ISR, regs::ISR),
    (0x60, regs::CAP_DEVICE, regs::DEVICE),
    (0x70, regs::CAP_NOTIFY, regs::NOTIFY),
];
/// Where the capability is through which the BAR is reached.
const PCI_CAP: u8 = 0x84;
/// Register of the access capability: the BAR.
const PCI_CAP_BAR: u8 = PCI_CAP + 4;
/// Register of the access capability: the offset in the BAR.
const PCI_CAP_OFFSET: u8 = PCI_CAP + 8;
/// Register of the access capability: bytes of the access.
const PCI_CAP_LENGTH: u8 = PCI_CAP + 12;
/// Register of the access capability: the bytes that are read or written.
const PCI_CAP_DATA: u8 = PCI_CAP + 16;

/// STATUS: a list of capabilities is there.
const STATUS_CAPABILITIES: u32 = 0x0010_0000;
/// STATUS: the function interrupts, whether its wire is held down or not.
const STATUS_INTERRUPT: u32 = 0x0008_0000;
/// COMMAND: the wire is held down.
const COMMAND_NO_INTX: u16 = 0x0400;
/// Subsystem vendor and device identity.
const SUBSYSTEM: u8 = 0x2C;
/// Where the first capability is.
const CAPABILITY_POINTER: u8 = 0x34;
/// A base address register is for I/O.
const BAR_IO: u32 = 1;

/// A device as a PCI function.
pub struct Pci<M> {
    transport: Transport<M>,
    config: ConfigSpace,
    fresh: ConfigSpace,
}

impl<M: GuestMemory + Clone> Pci<M> {
    /// A device as a function that shows these interfaces.
    ///
    /// # Errors
    /// When only the legacy interface is to be shown and the kind of device has none.
    pub fn new(
        device: Box<dyn VirtioDevice<M>>,
        memory: M,
        interrupt: Interrupt,
        shows: Shows,
    ) -> Result<Self, NoLegacy> {
        let id = device.device_id();
        let has_legacy = regs::transitional_id(id).is_some();
        if shows == Shows::Legacy && !has_legacy {
            return Err(NoLegacy { device: id });
        }
        let config = config_space(id, shows == Shows::Transitional, has_legacy);
        Ok(Pci {
            transport: Transport::new(device, memory, interrupt),
            config,
            fresh: config,
        })
    }

    /// The device and what its registers hold.
    pub fn transport(&mut self) -> &mut Transport<M> {
        &mut self.transport
    }

    /// Configuration space, which a snapshot must hold beside the transport's state.
    pub fn config_space(&self) -> ConfigSpace {
        self.config
    }

    /// The offset in a BAR of `length` bytes, when all of them are there and the function answers.
    fn offset(&self, bar: u8, size: u32, enable: u16, address: u64, length: usize) -> Option<u32> {
        if self.config.command() & enable == 0 || !self.has_bar(bar) {
            return None;
        }
        let base = u64::from(self.config.get(bar) & !(size - 1));
        let offset = u32::try_from(address.checked_sub(base)?).ok()?;
        let end = offset.checked_add(u32::try_from(length).ok()?)?;
        (end <= size).then_some(offset)
    }

    fn has_bar(&self, bar: u8) -> bool {
        self.fresh.is_writable(bar)
    }

    fn read_structure(&mut self, offset: u32, data: &mut [u8]) {
        let (structure, at) = (offset & !(regs::STRUCTURE - 1), offset % regs::STRUCTURE);
        match structure {
            regs::COMMON => {
                let read =
                    access_width::read(Order::Little, at, data, |word| Ok(self.common(word)));
                debug_assert!(read.is_ok());
            }
            regs::ISR => {
                data.fill(0);
                if let Some(first) = data.first_mut().filter(|_| at == 0) {
                    *first = self.transport.interrupt().acknowledge(u8::MAX);
                }
            }
            regs::DEVICE => self.transport.config_read(Interface::Modern, at, data),
            _ => data.fill(0),
        }
    }

    fn write_structure(&mut self, offset: u32, data: &[u8]) {
        let (structure, at) = (offset & !(regs::STRUCTURE - 1), offset % regs::STRUCTURE);
        match structure {
            regs::COMMON => {
                let written = access_width::write(Order::Little, at, data, |word, value, mask| {
                    self.set_common(word, value, mask);
                    Ok(())
                });
                debug_assert!(written.is_ok());
            }
            regs::DEVICE => self.transport.config_write(Interface::Modern, at, data),
            regs::NOTIFY => {
                let queue = at / regs::NOTIFY_MULTIPLIER;
                self.transport.notify(Interface::Modern, queue);
            }
            _ => {}
        }
    }

    /// A word of the common configuration.
    fn common(&self, word: u32) -> u32 {
        let transport = &self.transport;
        let state = transport.state();
        let queue = transport.queue();
        let address = |which: fn(&super::queue::SplitRing) -> u64| {
            let address = queue.map_or(0, |queue| which(&queue.ring));
            if word & 4 == 0 {
                address as u32
            } else {
                (address >> 32) as u32
            }
        };
        let no_vector = u32::from(regs::NO_VECTOR);
        match word {
            common::DEVICE_FEATURE_SELECT => state.device_feature_select,
            common::DEVICE_FEATURE => transport.device_features(Interface::Modern),
            common::DRIVER_FEATURE_SELECT => state.driver_feature_select,
            common::DRIVER_FEATURE => transport.driver_features(),
            common::MSIX_NUM_QUEUES => no_vector | (state.queues.len() as u32) << 16,
            common::STATUS_GENERATION_SELECT => {
                let generation = transport.interrupt().generation() & 0xFF;
                u32::from(transport.status()) | generation << 8 | state.queue_select << 16
            }
            common::QUEUE_SIZE_MSIX => {
                queue.map_or(0, |queue| u32::from(queue.ring.size)) | no_vector << 16
            }
            common::QUEUE_ENABLE_NOTIFY => {
                let ready = queue.is_some_and(|queue| queue.ready);
                u32::from(ready) | state.queue_select << 16
            }
            common::QUEUE_DESC..common::QUEUE_DRIVER => address(|ring| ring.table),
            common::QUEUE_DRIVER..common::QUEUE_DEVICE => address(|ring| ring.avail),
            common::QUEUE_DEVICE..common::SIZE => address(|ring| ring.used),
            _ => 0,
        }
    }

    /// The driver writes the bits in `mask` of a word of the common configuration.
    fn set_common(&mut self, word: u32, value: u32, mask: u32) {
        let merged = |old: u32| merge(old, value, mask);
        let transport = &mut self.transport;
        match word {
            common::DEVICE_FEATURE_SELECT => {
                let select = &mut transport.state_mut().device_feature_select;
                *select = merged(*select);
            }
            common::DRIVER_FEATURE_SELECT => {
                let select = &mut transport.state_mut().driver_feature_select;
                *select = merged(*select);
            }
            common::DRIVER_FEATURE => {
                transport.set_driver_features(merged(transport.driver_features()));
            }
            common::STATUS_GENERATION_SELECT => {
                if mask & 0xFFFF_0000 != 0 {
                    let select = &mut transport.state_mut().queue_select;
                    *select = merged(*select << 16) >> 16;
                }
                if mask & 0xFF != 0 {
                    transport.set_status(Interface::Modern, value as u8);
                }
            }
            common::QUEUE_SIZE_MSIX => {
                if let Some(queue) = transport.queue_mut() {
                    queue.ring.size = merged(queue.ring.size.into()) as u16;
                }
            }
            common::QUEUE_ENABLE_NOTIFY => {
                // A queue is taken out of use by a reset only.
                if let Some(queue) = transport.queue_mut() {
                    queue.ready |= value & mask & 1 != 0;
                }
            }
            common::QUEUE_DESC..common::SIZE => {
                let Some(queue) = transport.queue_mut() else {
                    return;
                };
                let address = match word & !7 {
                    common::QUEUE_DESC => &mut queue.ring.table,
                    common::QUEUE_DRIVER => &mut queue.ring.avail,
                    _ => &mut queue.ring.used,
                };
                match word & 4 {
                    0 => set_low(address, merged(*address as u32)),
                    _ => set_high(address, merged((*address >> 32) as u32)),
                }
            }
            _ => {}
        }
    }

    fn read_legacy(&mut self, offset: u32, data: &mut [u8]) {
        if let Some(field) = offset.checked_sub(legacy::CONFIG) {
            return self.transport.config_read(Interface::Legacy, field, data);
        }
        let end = offset.saturating_add(data.len() as u32);
        let isr = match (offset..end).contains(&legacy::ISR) {
            true => self.transport.interrupt().acknowledge(u8::MAX),
            false => 0,
        };
        let read = access_width::read(Order::Little, offset, data, |word| {
            Ok(self.legacy(word, isr))
        });
        debug_assert!(read.is_ok());
    }

    /// A word of the legacy header.
    fn legacy(&self, word: u32, isr: u8) -> u32 {
        let transport = &self.transport;
        let queue = transport.queue();
        match word {
            legacy::DEVICE_FEATURES => transport.device_features(Interface::Legacy),
            legacy::DRIVER_FEATURES => transport.driver_features(),
            legacy::QUEUE_ADDRESS => queue.map_or(0, |queue| queue.pfn),
            legacy::QUEUE_SIZE_SELECT => {
                let size = queue.map_or(0, |queue| u32::from(queue.max));
                size | transport.state().queue_select << 16
            }
            legacy::NOTIFY_STATUS_ISR => u32::from(transport.status()) << 16 | u32::from(isr) << 24,
            // An access across the header's end reads no fields.
            _ => 0,
        }
    }

    fn write_legacy(&mut self, offset: u32, data: &[u8]) {
        if let Some(field) = offset.checked_sub(legacy::CONFIG) {
            return self.transport.config_write(Interface::Legacy, field, data);
        }
        let written = access_width::write(Order::Little, offset, data, |word, value, mask| {
            self.set_legacy(word, value, mask);
            Ok(())
        });
        debug_assert!(written.is_ok());
    }

    /// The driver writes the bits in `mask` of a word of the legacy header.
    fn set_legacy(&mut self, word: u32, value: u32, mask: u32) {
        let transport = &mut self.transport;
        match word {
            legacy::DRIVER_FEATURES => {
                transport.set_driver_features(merge(transport.driver_features(), value, mask));
            }
            legacy::QUEUE_ADDRESS => {
                let pfn = transport.queue().map_or(0, |queue| queue.pfn);
                transport.set_pfn(merge(pfn, value, mask));
            }
            legacy::QUEUE_SIZE_SELECT if mask & 0xFFFF_0000 != 0 => {
                let select = &mut transport.state_mut().queue_select;
                *select = merge(*select << 16, value, mask) >> 16;
            }
            legacy::NOTIFY_STATUS_ISR => {
                if mask & 0x00FF_0000 != 0 {
                    transport.set_status(Interface::Legacy, (value >> 16) as u8);
                }
                if mask & 0x0000_FFFF != 0 {
                    transport.notify(Interface::Legacy, value & 0xFFFF);
                }
            }
            _ => {}
        }
    }

    /// The access that the PCI capability describes: where in the memory BAR, and how many bytes.
    fn pci_access(&self) -> Option<(u32, usize)> {
        let bar = self.config.get(PCI_CAP_BAR) as u8;
        let offset = self.config.get(PCI_CAP_OFFSET);
        let length = self.config.get(PCI_CAP_LENGTH);
        let fits = matches!(length, 1 | 2 | 4)
            && offset.is_multiple_of(length)
            && offset < regs::MEMORY_SIZE;
        (bar == regs::MEMORY_BAR && fits).then_some((offset, length as usize))
    }

    fn has_capabilities(&self) -> bool {
        self.fresh.get(CAPABILITY_POINTER) != 0
    }

    fn follow_command(&mut self) {
        let masked = self.config.command() & COMMAND_NO_INTX != 0;
        self.transport.interrupt().set_masked(masked);
    }
}

fn config_space(device: u16, modern: bool, legacy: bool) -> ConfigSpace {
    let id = match regs::transitional_id(device) {
        Some(id) if legacy => id,
        _ => regs::MODERN_DEVICE_ID + device,
    };
    // A revision of 0 is how a legacy driver knows its devices.
    let revision = u8::from(!legacy);
    let mut config = ConfigSpace::new(regs::VENDOR_ID, id, regs::class(device), revision);
    config.set(
        SUBSYSTEM,
        u32::from(regs::VENDOR_ID) | u32::from(device) << 16,
    );
    // INTA.
    config.set(pci::INTERRUPT_LINE, 0x0100);
    if legacy {
        config.set(pci::BAR0, BAR_IO);
        config.set_writable(pci::BAR0, !(regs::IO_SIZE - 1));
    }
    if modern {
        config.set_writable(pci::BAR1, !(regs::MEMORY_SIZE - 1));
        add_capabilities(&mut config);
    }
    config
}

fn add_capabilities(config: &mut ConfigSpace) {
    config.set(pci::COMMAND, STATUS_CAPABILITIES);
    config.set(CAPABILITY_POINTER, CAPABILITIES[0].0.into());
    let followers = CAPABILITIES.iter().skip(1).map(|(next, _, _)| *next);
    let followers = followers.chain([PCI_CAP]);
    for ((at, kind, offset), next) in CAPABILITIES.into_iter().zip(followers) {
        let bytes = if kind == regs::CAP_NOTIFY { 20 } else { 16 };
        config.set(
            at,
            u32::from_le_bytes([regs::CAP_VENDOR, next, bytes, kind]),
        );
        config.set(at + 4, regs::MEMORY_BAR.into());
        config.set(at + 8, offset);
        let length = match kind {
            regs::CAP_COMMON => common::SIZE,
            regs::CAP_ISR => 1,
            _ => regs::STRUCTURE,
        };
        config.set(at + 12, length);
        if kind == regs::CAP_NOTIFY {
            config.set(at + 16, regs::NOTIFY_MULTIPLIER);
        }
    }
    config.set(
        PCI_CAP,
        u32::from_le_bytes([regs::CAP_VENDOR, 0, 20, regs::CAP_PCI]),
    );
    config.set_writable(PCI_CAP_BAR, 0xFF);
    config.set_writable(PCI_CAP_OFFSET, u32::MAX);
    config.set_writable(PCI_CAP_LENGTH, u32::MAX);
}

impl<M: GuestMemory + Clone + Send> PciFunction for Pci<M> {
    fn config_read(&mut self, register: u8) -> u32 {
        match register & !3 {
            pci::COMMAND => {
                let pending = self.transport.interrupt().status() != 0;
                let status = if pending { STATUS_INTERRUPT } else { 0 };
                self.config.get(pci::COMMAND) | status
            }
            PCI_CAP_DATA if self.has_capabilities() => {
                let mut data = [0; 4];
                if let Some((offset, length)) = self.pci_access() {
                    self.read_structure(offset, &mut data[..length]);
                }
                u32::from_le_bytes(data)
            }
            register => self.config.get(register),
        }
    }

    fn config_write(&mut self, register: u8, value: u32, mask: u32) {
        if register & !3 == PCI_CAP_DATA && self.has_capabilities() {
            if let Some((offset, length)) = self.pci_access() {
                self.write_structure(offset, &value.to_le_bytes()[..length]);
            }
            return;
        }
        self.config.write(register, value, mask);
        self.follow_command();
    }

    fn memory_read(&mut self, address: u64, data: &mut [u8]) -> bool {
        let size = regs::MEMORY_SIZE;
        let offset = self.offset(pci::BAR1, size, pci::COMMAND_MEMORY, address, data.len());
        offset
            .map(|offset| self.read_structure(offset, data))
            .is_some()
    }

    fn memory_write(&mut self, address: u64, data: &[u8]) -> bool {
        let size = regs::MEMORY_SIZE;
        let offset = self.offset(pci::BAR1, size, pci::COMMAND_MEMORY, address, data.len());
        offset
            .map(|offset| self.write_structure(offset, data))
            .is_some()
    }

    fn io_read(&mut self, port: u32, data: &mut [u8]) -> bool {
        let size = regs::IO_SIZE;
        let offset = self.offset(pci::BAR0, size, pci::COMMAND_IO, port.into(), data.len());
        offset
            .map(|offset| self.read_legacy(offset, data))
            .is_some()
    }

    fn io_write(&mut self, port: u32, data: &[u8]) -> bool {
        let size = regs::IO_SIZE;
        let offset = self.offset(pci::BAR0, size, pci::COMMAND_IO, port.into(), data.len());
        offset
            .map(|offset| self.write_legacy(offset, data))
            .is_some()
    }

    fn reset(&mut self) {
        self.config = self.fresh;
        self.transport.reset();
        self.follow_command();
    }
}

#[cfg(test)]
mod tests;
