use std::sync::{Arc, Mutex};

use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::*;
use crate::irq::IrqLine;
use crate::test_support::driver::Driver;
use crate::virtio::ByteOrder;
use crate::virtio::probe::{Calls, Probe};
use crate::virtio::transport;

struct Slot {
    mmio: Mmio<GuestMemoryMmap>,
    memory: GuestMemoryMmap,
    calls: Arc<Mutex<Calls<GuestMemoryMmap>>>,
    irq: IrqLine,
}

fn slot(interface: Interface) -> Slot {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10_0000)]).unwrap();
    let irq = IrqLine::detached();
    let (probe, calls) = Probe::new(4);
    let interrupt = Interrupt::new("probe", irq.clone());
    let mmio = Mmio::new(Box::new(probe), memory.clone(), interrupt, interface);
    Slot {
        mmio,
        memory,
        calls,
        irq,
    }
}

impl Slot {
    fn read(&mut self, offset: u32) -> u32 {
        let mut data = [0; 4];
        self.mmio.read(offset, &mut data).unwrap();
        u32::from_le_bytes(data)
    }

    fn write(&mut self, offset: u32, value: u32) {
        self.mmio.write(offset, &value.to_le_bytes()).unwrap();
    }

    fn features(&mut self, features: u64) {
        for (select, half) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.write(regs::DRIVER_FEATURES_SEL, select);
            self.write(regs::DRIVER_FEATURES, half);
        }
    }

    fn place(&mut self, driver: &Driver) {
        let place = driver.place();
        self.write(regs::QUEUE_SEL, 0);
        self.write(regs::QUEUE_NUM, place.size.into());
        self.write(regs::QUEUE_DESC_LOW, place.table as u32);
        self.write(regs::QUEUE_DRIVER_LOW, place.avail as u32);
        self.write(regs::QUEUE_DEVICE_LOW, place.used as u32);
        self.write(regs::QUEUE_READY, 1);
    }
}

#[test]
fn version_2_shows_what_linux_looks_for_and_starts() {
    let mut slot = slot(Interface::Modern);
    let identity = [0, 4, 8].map(|offset| slot.read(offset));
    assert_eq!(identity, [0x7472_6976, 2, 4]);
    slot.write(regs::DEVICE_FEATURES_SEL, 1);
    assert_eq!(slot.read(regs::DEVICE_FEATURES), 1);
    slot.write(regs::QUEUE_SEL, 2);
    assert_eq!(slot.read(regs::QUEUE_NUM_MAX), 0);
    slot.write(regs::QUEUE_SEL, 1);
    assert_eq!(slot.read(regs::QUEUE_NUM_MAX), 32);
    assert_eq!(slot.read(regs::SHM_LEN_LOW), u32::MAX);

    slot.write(regs::STATUS, 3);
    slot.features(transport::VERSION_1 | 1);
    slot.write(regs::STATUS, 11);
    assert_eq!(slot.read(regs::STATUS), 11);
    let mut driver = Driver::new(ByteOrder::Little, 0x2000, 16, false);
    slot.place(&driver);
    slot.write(regs::STATUS, 15);
    let memory = slot.memory.clone();
    driver.offer(&memory, &[b"x"], &[]);
    slot.write(regs::QUEUE_NOTIFY, 0);
    slot.write(regs::QUEUE_NOTIFY, 2);
    {
        let mut calls = slot.calls.lock().unwrap();
        // Once for what may have come before, once by the driver; never for what does not exist.
        assert_eq!(calls.notified, [0, 0]);
        let activation = calls.activation.as_mut().unwrap();
        assert!(activation.queues[0].pop(&memory).unwrap().is_some());
        activation.interrupt.used();
        activation.interrupt.config_changed();
    }
    assert_eq!(slot.read(regs::INTERRUPT_STATUS), 3);
    assert_eq!(slot.read(regs::CONFIG_GENERATION), 1);
    slot.write(regs::INTERRUPT_ACK, 1);
    assert!(slot.irq.is_asserted());
    slot.write(regs::INTERRUPT_ACK, 2);
    assert!(!slot.irq.is_asserted());

    // While the device runs, its queues stay where they are.
    slot.write(regs::QUEUE_READY, 0);
    assert_eq!(slot.read(regs::QUEUE_READY), 1);
    slot.write(regs::STATUS, 0);
    assert_eq!(slot.read(regs::QUEUE_READY), 0);
    assert!(slot.calls.lock().unwrap().activation.is_none());
}

#[test]
fn features_that_were_not_offered_or_lack_version_1_are_refused() {
    for features in [1, transport::VERSION_1 | 2] {
        let mut slot = slot(Interface::Modern);
        slot.write(regs::STATUS, 3);
        slot.features(features);
        slot.write(regs::STATUS, 11);
        assert_eq!(slot.read(regs::STATUS), 3);
        slot.write(regs::STATUS, 15);
        assert_eq!(slot.read(regs::STATUS), 3, "no device for who goes on");
        assert_eq!(slot.calls.lock().unwrap().activations, 0);
    }
    // Too late.
    let mut slot = slot(Interface::Modern);
    slot.features(transport::VERSION_1);
    slot.write(regs::STATUS, 11);
    slot.features(0);
    slot.write(regs::STATUS, 15);
    let calls = slot.calls.lock().unwrap();
    assert_eq!(
        calls.activation.as_ref().unwrap().features,
        transport::VERSION_1
    );
}

#[test]
fn a_ring_that_cannot_be_makes_the_device_need_a_reset() {
    let mut slot = slot(Interface::Modern);
    slot.features(transport::VERSION_1);
    slot.write(regs::STATUS, 11);
    let driver = Driver::new(ByteOrder::Little, 0x2000, 16, false);
    slot.place(&driver);
    slot.write(regs::QUEUE_DESC_HIGH, 1);
    slot.write(regs::STATUS, 15);
    assert_eq!(slot.read(regs::STATUS), 15 | 64);
    assert!(slot.irq.is_asserted());
    slot.write(regs::STATUS, 0);
    assert_eq!(slot.read(regs::STATUS), 0);
    assert!(!slot.irq.is_asserted());
    // Larger than the device takes.
    slot.features(transport::VERSION_1);
    slot.write(regs::STATUS, 11);
    slot.place(&Driver::new(ByteOrder::Little, 0x2000, 64, false));
    slot.write(regs::STATUS, 15);
    assert_eq!(slot.read(regs::STATUS), 15 | 64);
}

#[test]
fn version_1_places_rings_by_pages() {
    let mut slot = slot(Interface::Legacy);
    assert_eq!(slot.read(regs::VERSION), 1);
    slot.write(regs::DEVICE_FEATURES_SEL, 1);
    assert_eq!(slot.read(regs::DEVICE_FEATURES), 0, "no VERSION_1");
    slot.write(regs::STATUS, 3);
    slot.features(1);
    slot.write(regs::GUEST_PAGE_SIZE, 4096);
    slot.write(regs::QUEUE_SEL, 0);
    slot.write(regs::QUEUE_NUM, 8);
    slot.write(regs::QUEUE_ALIGN, 4096);
    slot.write(regs::QUEUE_PFN, 5);
    assert_eq!(slot.read(regs::QUEUE_PFN), 5);
    slot.write(regs::STATUS, 7);
    let memory = slot.memory.clone();
    let mut driver = Driver::new(ByteOrder::Big, 0x5000, 8, false);
    let offer = driver.offer(&memory, &[], &[4]);
    {
        let mut calls = slot.calls.lock().unwrap();
        let activation = calls.activation.as_mut().unwrap();
        assert_eq!(activation.order, ByteOrder::Big);
        let chain = activation.queues[0].pop(&memory).unwrap().unwrap();
        activation.queues[0].push(&memory, chain.head, 4).unwrap();
    }
    assert_eq!(driver.used(&memory), Some((offer.head, 4)));
    slot.write(regs::QUEUE_PFN, 0);
    assert!(slot.calls.lock().unwrap().activation.is_none());
}

#[test]
fn registers_are_words_and_fields_are_bytes() {
    let mut slot = slot(Interface::Modern);
    assert_eq!(
        slot.mmio.read(regs::STATUS, &mut [0]),
        Err(AccessError::Width {
            offset: regs::STATUS,
            width: 1
        })
    );
    assert_eq!(
        slot.mmio.write(regs::QUEUE_PFN, &[0; 4]),
        Err(AccessError::NoRegister {
            offset: regs::QUEUE_PFN
        })
    );
    let mut byte = [0];
    slot.mmio.read(regs::CONFIG + 1, &mut byte).unwrap();
    assert_eq!(byte, [3]);
    slot.mmio.write(regs::CONFIG + 3, &[9]).unwrap();
    let calls = slot.calls.lock().unwrap();
    assert_eq!(calls.written, [(3, vec![9], ByteOrder::Little)]);
}

#[test]
fn a_reset_of_any_reach_silences_a_device_that_writes_to_memory() {
    for reset in [Reset::Core, Reset::Chip, Reset::System] {
        let mut slot = slot(Interface::Modern);
        slot.write(regs::STATUS, 3);
        slot.features(transport::VERSION_1);
        slot.write(regs::STATUS, 11);
        slot.place(&Driver::new(ByteOrder::Little, 0x2000, 8, false));
        slot.write(regs::STATUS, 15);
        assert!(slot.calls.lock().unwrap().activation.is_some());
        slot.mmio.reset_by(reset);
        assert!(slot.calls.lock().unwrap().activation.is_none(), "{reset:?}");
        assert_eq!(slot.read(regs::STATUS), 0);
    }
}
