//! What all transports have in common: status, feature negotiation, the queues' places, and when the
//! device starts and stops (virtio 1.2, chapter 3).
//!
//! A transport is spoken to through one of two [`Interface`]s. Over the legacy one a driver may use
//! the device before it says DRIVER_OK, as Linux did while it read partition tables before 3.x: so
//! there the device starts with the first notification at the latest.

use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET,
    VIRTIO_F_ANY_LAYOUT, VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vm_memory::GuestMemory;

use super::backlog::Backlog;
use super::byte_order::ByteOrder;
use super::device::{Activation, VirtioDevice};
use super::interrupt::Interrupt;
use super::queue::{Queue, SplitRing};
use super::queue_error::QueueError;

/// The feature bits that every device offers for its queues.
pub const RING_FEATURES: u64 = 1 << VIRTIO_RING_F_INDIRECT_DESC | 1 << VIRTIO_RING_F_EVENT_IDX;
/// The feature bit of virtio 1.0 and later.
pub const VERSION_1: u64 = 1 << VIRTIO_F_VERSION_1;
/// A legacy device's: requests may be cut into descriptors anyhow. All devices here read and write
/// chains as streams.
pub const ANY_LAYOUT: u64 = 1 << VIRTIO_F_ANY_LAYOUT;

/// The driver is ready.
pub const DRIVER_OK: u8 = VIRTIO_CONFIG_S_DRIVER_OK as u8;
/// The driver has chosen its features, and the device accepts them.
pub const FEATURES_OK: u8 = VIRTIO_CONFIG_S_FEATURES_OK as u8;
/// The device cannot go on.
pub const NEEDS_RESET: u8 = VIRTIO_CONFIG_S_NEEDS_RESET as u8;

/// Which registers a driver speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// Virtio 1.0 and later: little-endian.
    Modern,
    /// Virtio before 1.0: in the guest's byte order.
    Legacy,
}

impl Interface {
    /// The byte order of configuration fields and request headers.
    pub fn order(self) -> ByteOrder {
        match self {
            Interface::Modern => ByteOrder::Little,
            Interface::Legacy => ByteOrder::Big,
        }
    }
}

/// One queue's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueRegs {
    /// The largest size.
    pub max: u16,
    /// Where the driver put it; of a legacy ring, only the size is used.
    pub ring: SplitRing,
    /// Whether it is in use.
    pub ready: bool,
    /// A legacy ring's first page; 0 when it is not in use.
    pub pfn: u32,
    /// Alignment of a legacy ring's used ring, in bytes.
    pub align: u32,
}

/// The values that a snapshot of a transport must hold, beside the device's own state and its queues'
/// positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The status register, without NEEDS_RESET.
    pub status: u8,
    /// Which half of the device's features is read.
    pub device_feature_select: u32,
    /// Which half of the driver's features is written.
    pub driver_feature_select: u32,
    /// The features that the driver chose.
    pub driver_features: u64,
    /// Which queue the queue registers are about.
    pub queue_select: u32,
    /// The queues.
    pub queues: Vec<QueueRegs>,
    /// Bytes of a legacy ring's page.
    pub page_size: u32,
}

/// The legacy interface's page size where it has no register for it, and the used ring's alignment.
pub const LEGACY_PAGE: u32 = 4096;

/// A device and its registers, without their addresses.
pub struct Transport<M> {
    device: Box<dyn VirtioDevice<M>>,
    memory: M,
    interrupt: Interrupt,
    state: State,
    active: bool,
    backlog: Option<Backlog>,
}

impl<M: GuestMemory + Clone> Transport<M> {
    /// A device after power-on.
    pub fn new(device: Box<dyn VirtioDevice<M>>, memory: M, interrupt: Interrupt) -> Self {
        let state = fresh(&*device);
        Transport {
            device,
            memory,
            interrupt,
            state,
            active: false,
            backlog: None,
        }
    }

    /// Has the device do requests in bounded parts: `backlog` is raised when some are left, and
    /// then somebody calls [`Transport::work_off`]. Without this, a notification takes as long as
    /// its requests do.
    pub fn set_backlog(&mut self, backlog: Backlog) {
        self.backlog = Some(backlog);
    }

    /// Does a bounded part of the requests that are left, if there are any.
    pub fn work_off(&mut self) {
        if self.device.has_backlog() {
            self.device.work_off();
            self.follow_backlog();
        }
    }

    fn follow_backlog(&mut self) {
        while self.device.has_backlog() {
            if let Some(backlog) = &self.backlog {
                return backlog.raise();
            }
            self.device.work_off();
        }
    }

    /// The virtio device ID.
    pub fn device_id(&self) -> u16 {
        self.device.device_id()
    }

    /// The device's way to its driver.
    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The registers that have no effect of their own.
    pub fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    /// Whether the device runs.
    pub fn is_active(&self) -> bool {
        self.active
    }

    fn offered(&self, interface: Interface) -> u64 {
        let features = self.device.features() | RING_FEATURES;
        match interface {
            Interface::Modern => features | VERSION_1,
            Interface::Legacy => (features | ANY_LAYOUT) & u64::from(u32::MAX),
        }
    }

    /// The selected half of the device's features.
    pub fn device_features(&self, interface: Interface) -> u32 {
        half(self.offered(interface), self.state.device_feature_select)
    }

    /// The selected half of the driver's features.
    pub fn driver_features(&self) -> u32 {
        half(self.state.driver_features, self.state.driver_feature_select)
    }

    /// The driver chooses the selected half of its features; too late, and it has no effect.
    pub fn set_driver_features(&mut self, value: u32) {
        if self.active || self.state.status & FEATURES_OK != 0 {
            return;
        }
        let shift = match self.state.driver_feature_select {
            0 => 0,
            1 => 32,
            _ => return,
        };
        let kept = self.state.driver_features & !(u64::from(u32::MAX) << shift);
        self.state.driver_features = kept | u64::from(value) << shift;
    }

    /// The selected queue's registers.
    pub fn queue(&self) -> Option<&QueueRegs> {
        self.state.queues.get(self.state.queue_select as usize)
    }

    /// The selected queue's registers, to change them; none while the device uses its queues.
    pub fn queue_mut(&mut self) -> Option<&mut QueueRegs> {
        let selected = self.state.queue_select as usize;
        self.state.queues.get_mut(selected).filter(|_| !self.active)
    }

    /// The driver puts a legacy ring somewhere. Page 0 is how it takes it back, and with it the
    /// device.
    pub fn set_pfn(&mut self, pfn: u32) {
        if pfn == 0 {
            self.reset();
        } else if let Some(queue) = self.queue_mut() {
            queue.pfn = pfn;
        }
    }

    /// The status register.
    pub fn status(&self) -> u8 {
        match self.interrupt.is_reset_needed() {
            true => self.state.status | NEEDS_RESET,
            false => self.state.status,
        }
    }

    /// The driver writes the status register: 0 resets, and other bits are only added.
    pub fn set_status(&mut self, interface: Interface, value: u8) {
        if value == 0 {
            return self.reset();
        }
        let mut added = value & !self.state.status & !NEEDS_RESET;
        if interface == Interface::Modern {
            let chosen = self.state.driver_features;
            if chosen & !self.offered(interface) != 0 || chosen & VERSION_1 == 0 {
                added &= !FEATURES_OK;
            }
            // A driver that goes on all the same gets no device.
            if (self.state.status | added) & FEATURES_OK == 0 {
                added &= !DRIVER_OK;
            }
        }
        self.state.status |= added;
        if added & DRIVER_OK != 0 {
            self.activate(interface);
        }
    }

    fn activate(&mut self, interface: Interface) {
        if self.active {
            return;
        }
        self.active = true;
        let features = self.state.driver_features & self.offered(interface);
        let event_idx = features & 1 << VIRTIO_RING_F_EVENT_IDX != 0;
        let mut queues = Vec::new();
        for (index, regs) in (0..).zip(&self.state.queues) {
            let queue = self.make_queue(interface, regs, event_idx);
            queues.push(queue.unwrap_or_else(|error| {
                self.interrupt.queue_broken(index, &error);
                Queue::unused()
            }));
        }
        let ready: Vec<bool> = queues.iter().map(Queue::is_ready).collect();
        self.say_active(interface, features, &ready);
        self.device.activate(Activation {
            memory: self.memory.clone(),
            queues,
            features,
            order: interface.order(),
            interrupt: self.interrupt.clone(),
        });
        // What the driver made available, and perhaps told, before.
        for (index, _) in (0..).zip(ready).filter(|(_, ready)| *ready) {
            self.device.notify(index);
        }
        self.follow_backlog();
    }

    /// Logs what the driver and the device agreed on.
    fn say_active(&self, interface: Interface, features: u64, ready: &[bool]) {
        let used = self.state.queues.iter().zip(ready);
        let sizes = used.map(|(regs, ready)| if *ready { regs.ring.size } else { 0 });
        tracing::debug!(
            "{}: a driver is there: features {features:#x} of {:#x}, {interface:?} interface, \
             queues of {:?}",
            self.interrupt.name(),
            self.offered(interface),
            sizes.collect::<Vec<u16>>()
        );
    }

    fn make_queue(
        &self,
        interface: Interface,
        regs: &QueueRegs,
        event_idx: bool,
    ) -> Result<Queue, QueueError> {
        let memory = &self.memory;
        match interface {
            Interface::Modern if !regs.ready => Ok(Queue::unused()),
            Interface::Legacy if regs.pfn == 0 => Ok(Queue::unused()),
            _ if regs.ring.size > regs.max => Err(QueueError::Layout),
            Interface::Modern => Queue::split(memory, regs.ring, event_idx),
            Interface::Legacy => {
                let base = u64::from(regs.pfn) * u64::from(self.state.page_size);
                let order = interface.order();
                Queue::legacy(memory, regs.ring.size, base, regs.align, order, event_idx)
            }
        }
    }

    /// The driver says that a queue has buffers.
    pub fn notify(&mut self, interface: Interface, queue: u32) {
        let Some(regs) = self.state.queues.get(queue as usize) else {
            return;
        };
        if !self.active {
            if interface == Interface::Modern || regs.pfn == 0 {
                return;
            }
            return self.activate(interface);
        }
        // There are fewer than 65536 queues.
        self.device.notify(queue as u16);
        self.follow_backlog();
    }

    /// Reads configuration fields.
    pub fn config_read(&mut self, interface: Interface, offset: u32, data: &mut [u8]) {
        self.device.config_read(offset, data, interface.order());
    }

    /// Writes configuration fields.
    pub fn config_write(&mut self, interface: Interface, offset: u32, data: &[u8]) {
        self.device.config_write(offset, data, interface.order());
    }

    /// Stops the device: when this returns, nothing touches guest memory, and what the guest may
    /// count on is with the host. The registers keep what they hold.
    pub fn stop(&mut self) {
        self.active = false;
        self.device.reset();
    }

    /// Puts the device and its registers back to the state after power-on.
    pub fn reset(&mut self) {
        if self.active {
            tracing::debug!("{}: is reset", self.interrupt.name());
        }
        self.stop();
        self.interrupt.clear();
        self.state = fresh(&*self.device);
    }
}

fn half(features: u64, select: u32) -> u32 {
    match select {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}

fn fresh<M>(device: &dyn VirtioDevice<M>) -> State {
    let queue = |max: &u16| QueueRegs {
        max: *max,
        ring: SplitRing {
            size: *max,
            ..SplitRing::default()
        },
        ready: false,
        pfn: 0,
        align: LEGACY_PAGE,
    };
    State {
        status: 0,
        device_feature_select: 0,
        driver_feature_select: 0,
        driver_features: 0,
        queue_select: 0,
        queues: device.queue_sizes().iter().map(queue).collect(),
        page_size: LEGACY_PAGE,
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    use super::*;
    use crate::irq::IrqLine;
    use crate::test_support::driver::Driver;
    use crate::virtio::rng::Rng;

    /// An entropy device with 40 requests waiting, and what says how many came back.
    fn waiting(backlog: Option<Backlog>) -> (Transport<GuestMemoryMmap>, impl FnMut() -> usize) {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10_0000)]).unwrap();
        let mut driver = Driver::new(ByteOrder::Little, 0x1000, 64, false);
        for _ in 0..40 {
            driver.offer(&memory, &[], &[8]);
        }
        let rng = Rng::new(Box::new(|bytes: &mut [u8]| bytes.fill(7)));
        let interrupt = Interrupt::new("rng", IrqLine::detached());
        let mut transport = Transport::new(Box::new(rng), memory.clone(), interrupt);
        if let Some(backlog) = backlog {
            transport.set_backlog(backlog);
        }
        let regs = transport.queue_mut().unwrap();
        regs.ring = driver.place();
        regs.ready = true;
        transport.state_mut().driver_features = VERSION_1;
        transport.set_status(Interface::Modern, FEATURES_OK);
        transport.set_status(Interface::Modern, DRIVER_OK);
        let used = move || std::iter::from_fn(|| driver.used(&memory)).count();
        (transport, used)
    }

    #[test]
    fn who_drives_the_vcpu_has_its_turn_between_parts_of_the_work() {
        let backlog = Backlog::default();
        let (mut transport, mut used) = waiting(Some(backlog.clone()));
        let mut parts = vec![used()];
        while backlog.take() {
            transport.work_off();
            parts.push(used());
        }
        assert_eq!(parts, [16, 16, 8]);
        transport.work_off();
        assert!(!backlog.take() && used() == 0);
    }

    #[test]
    fn a_reset_ends_the_work_that_is_left() {
        let backlog = Backlog::default();
        let (mut transport, mut used) = waiting(Some(backlog.clone()));
        assert_eq!(used(), 16);
        transport.reset();
        assert!(backlog.take());
        transport.work_off();
        assert!(!backlog.take() && used() == 0);
    }

    #[test]
    fn without_a_backlog_all_is_done_at_once() {
        let (_transport, mut used) = waiting(None);
        assert_eq!(used(), 40);
    }
}
