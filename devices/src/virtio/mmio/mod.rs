//! Virtio over memory-mapped registers (virtio 1.2, 4.2): version 2, and the legacy version 1
//! (4.2.4).
//!
//! The registers are 32 bits wide and little-endian, whatever the guest is. The configuration
//! fields behind them have any width and the driver's order.

use vm_memory::GuestMemory;

use super::device::VirtioDevice;
use super::interrupt::Interrupt;
use super::transport::{Interface, Transport};
use crate::bus::{AccessError, MmioDevice, Reset};

/// Register offsets, in bytes.
pub mod regs {
    /// "virt".
    pub const MAGIC: u32 = 0x000;
    /// 2, or 1 for legacy.
    pub const VERSION: u32 = 0x004;
    /// The virtio device ID.
    pub const DEVICE_ID: u32 = 0x008;
    /// Who made it.
    pub const VENDOR_ID: u32 = 0x00C;
    /// The selected half of the device's features.
    pub const DEVICE_FEATURES: u32 = 0x010;
    /// Selects a half of the device's features.
    pub const DEVICE_FEATURES_SEL: u32 = 0x014;
    /// The selected half of the driver's features.
    pub const DRIVER_FEATURES: u32 = 0x020;
    /// Selects a half of the driver's features.
    pub const DRIVER_FEATURES_SEL: u32 = 0x024;
    /// Legacy: bytes of a page.
    pub const GUEST_PAGE_SIZE: u32 = 0x028;
    /// Selects a queue.
    pub const QUEUE_SEL: u32 = 0x030;
    /// The selected queue's largest size, 0 when there is no such queue.
    pub const QUEUE_NUM_MAX: u32 = 0x034;
    /// The selected queue's size.
    pub const QUEUE_NUM: u32 = 0x038;
    /// Legacy: alignment of the selected queue's used ring.
    pub const QUEUE_ALIGN: u32 = 0x03C;
    /// Legacy: first page of the selected queue.
    pub const QUEUE_PFN: u32 = 0x040;
    /// Whether the selected queue is in use.
    pub const QUEUE_READY: u32 = 0x044;
    /// Notifies a queue.
    pub const QUEUE_NOTIFY: u32 = 0x050;
    /// Why the device interrupts.
    pub const INTERRUPT_STATUS: u32 = 0x060;
    /// Clears bits of the interrupt status.
    pub const INTERRUPT_ACK: u32 = 0x064;
    /// The device's status.
    pub const STATUS: u32 = 0x070;
    /// The selected queue's descriptor table, low word; the high one follows.
    pub const QUEUE_DESC_LOW: u32 = 0x080;
    /// The descriptor table, high word.
    pub const QUEUE_DESC_HIGH: u32 = 0x084;
    /// The selected queue's available ring, low word.
    pub const QUEUE_DRIVER_LOW: u32 = 0x090;
    /// The available ring, high word.
    pub const QUEUE_DRIVER_HIGH: u32 = 0x094;
    /// The selected queue's used ring, low word.
    pub const QUEUE_DEVICE_LOW: u32 = 0x0A0;
    /// The used ring, high word.
    pub const QUEUE_DEVICE_HIGH: u32 = 0x0A4;
    /// Selects a region of shared memory; none of the devices has one.
    pub const SHM_SEL: u32 = 0x0AC;
    /// Length of the selected region, low word; all ones when there is none.
    pub const SHM_LEN_LOW: u32 = 0x0B0;
    /// Base of the selected region, high word.
    pub const SHM_BASE_HIGH: u32 = 0x0BC;
    /// Counts changes of the configuration fields.
    pub const CONFIG_GENERATION: u32 = 0x0FC;
    /// The first configuration field.
    pub const CONFIG: u32 = 0x100;
}

const MAGIC: u32 = u32::from_le_bytes(*b"virt");
const VENDOR: u32 = u32::from_le_bytes(*b"ppck");

/// A device behind memory-mapped registers.
pub struct Mmio<M> {
    transport: Transport<M>,
    interface: Interface,
}

impl<M: GuestMemory + Clone> Mmio<M> {
    /// A device that shows the registers of one interface.
    pub fn new(
        device: Box<dyn VirtioDevice<M>>,
        memory: M,
        interrupt: Interrupt,
        interface: Interface,
    ) -> Self {
        Mmio {
            transport: Transport::new(device, memory, interrupt),
            interface,
        }
    }

    /// The device and what the registers hold.
    pub fn transport(&mut self) -> &mut Transport<M> {
        &mut self.transport
    }

    fn get(&self, offset: u32) -> Result<u32, AccessError> {
        let transport = &self.transport;
        let queue = transport.queue();
        Ok(match (self.interface, offset) {
            (_, regs::MAGIC) => MAGIC,
            (Interface::Legacy, regs::VERSION) => 1,
            (Interface::Modern, regs::VERSION) => 2,
            (_, regs::DEVICE_ID) => transport.device_id().into(),
            (_, regs::VENDOR_ID) => VENDOR,
            (interface, regs::DEVICE_FEATURES) => transport.device_features(interface),
            (_, regs::QUEUE_NUM_MAX) => queue.map_or(0, |queue| queue.max.into()),
            (Interface::Legacy, regs::QUEUE_PFN) => queue.map_or(0, |queue| queue.pfn),
            (Interface::Modern, regs::QUEUE_READY) => queue.map_or(0, |queue| queue.ready.into()),
            (_, regs::INTERRUPT_STATUS) => transport.interrupt().status().into(),
            (_, regs::STATUS) => transport.status().into(),
            (Interface::Modern, regs::SHM_LEN_LOW..=regs::SHM_BASE_HIGH) => u32::MAX,
            (Interface::Modern, regs::CONFIG_GENERATION) => transport.interrupt().generation(),
            _ => return Err(AccessError::NoRegister { offset }),
        })
    }

    fn put(&mut self, offset: u32, value: u32) -> Result<(), AccessError> {
        let transport = &mut self.transport;
        match (self.interface, offset) {
            (_, regs::DEVICE_FEATURES_SEL) => transport.state_mut().device_feature_select = value,
            (_, regs::DRIVER_FEATURES) => transport.set_driver_features(value),
            (_, regs::DRIVER_FEATURES_SEL) => transport.state_mut().driver_feature_select = value,
            (_, regs::QUEUE_SEL) => transport.state_mut().queue_select = value,
            (interface, regs::QUEUE_NOTIFY) => transport.notify(interface, value),
            (_, regs::INTERRUPT_ACK) => {
                transport.interrupt().acknowledge(value as u8);
            }
            (interface, regs::STATUS) => transport.set_status(interface, value as u8),
            (Interface::Modern, regs::SHM_SEL) => {}
            (Interface::Legacy, regs::GUEST_PAGE_SIZE) => transport.state_mut().page_size = value,
            (Interface::Legacy, regs::QUEUE_PFN) => transport.set_pfn(value),
            _ => return self.put_queue(offset, value),
        }
        Ok(())
    }

    /// The registers of the selected queue.
    fn put_queue(&mut self, offset: u32, value: u32) -> Result<(), AccessError> {
        if !is_queue_register(self.interface, offset) {
            return Err(AccessError::NoRegister { offset });
        }
        let Some(queue) = self.transport.queue_mut() else {
            return Ok(());
        };
        let ring = &mut queue.ring;
        match offset {
            // What is too large is refused when the device starts.
            regs::QUEUE_NUM => ring.size = u16::try_from(value).unwrap_or(u16::MAX),
            regs::QUEUE_ALIGN => queue.align = value,
            regs::QUEUE_READY => queue.ready = value & 1 != 0,
            regs::QUEUE_DESC_LOW => set_low(&mut ring.table, value),
            regs::QUEUE_DESC_HIGH => set_high(&mut ring.table, value),
            regs::QUEUE_DRIVER_LOW => set_low(&mut ring.avail, value),
            regs::QUEUE_DRIVER_HIGH => set_high(&mut ring.avail, value),
            regs::QUEUE_DEVICE_LOW => set_low(&mut ring.used, value),
            _ => set_high(&mut ring.used, value),
        }
        Ok(())
    }
}

fn is_queue_register(interface: Interface, offset: u32) -> bool {
    match offset {
        regs::QUEUE_NUM => true,
        regs::QUEUE_ALIGN => interface == Interface::Legacy,
        regs::QUEUE_READY
        | regs::QUEUE_DESC_LOW
        | regs::QUEUE_DESC_HIGH
        | regs::QUEUE_DRIVER_LOW
        | regs::QUEUE_DRIVER_HIGH
        | regs::QUEUE_DEVICE_LOW
        | regs::QUEUE_DEVICE_HIGH => interface == Interface::Modern,
        _ => false,
    }
}

/// Replaces an address's low word.
pub(super) fn set_low(address: &mut u64, value: u32) {
    *address = *address & !u64::from(u32::MAX) | u64::from(value);
}

/// Replaces an address's high word.
pub(super) fn set_high(address: &mut u64, value: u32) {
    *address = *address & u64::from(u32::MAX) | u64::from(value) << 32;
}

impl<M: GuestMemory + Clone + Send> MmioDevice for Mmio<M> {
    fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        if let Some(field) = offset.checked_sub(regs::CONFIG) {
            self.transport.config_read(self.interface, field, data);
            return Ok(());
        }
        let width = data.len();
        let data: &mut [u8; 4] = data
            .try_into()
            .map_err(|_| AccessError::Width { offset, width })?;
        *data = self.get(offset)?.to_le_bytes();
        Ok(())
    }

    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError> {
        if let Some(field) = offset.checked_sub(regs::CONFIG) {
            self.transport.config_write(self.interface, field, data);
            return Ok(());
        }
        let width = data.len();
        let data: [u8; 4] = data
            .try_into()
            .map_err(|_| AccessError::Width { offset, width })?;
        self.put(offset, u32::from_le_bytes(data))
    }

    fn reset(&mut self) {
        self.transport.reset();
    }

    /// A reset of the core as well: whoever loads the kernel into memory after it does not want a
    /// device that writes there.
    fn reset_by(&mut self, _reset: Reset) {
        self.reset();
    }
}

#[cfg(test)]
mod tests;
