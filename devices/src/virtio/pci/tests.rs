use std::sync::{Arc, Mutex};

use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::*;
use crate::irq::IrqLine;
use crate::test_support::driver::Driver;
use crate::virtio::probe::{Calls, Probe};
use crate::virtio::{ByteOrder, transport};

const MEMORY: u64 = 0xA000_0000;
const PORTS: u32 = 0x1000;

struct Card {
    pci: Pci<GuestMemoryMmap>,
    memory: GuestMemoryMmap,
    calls: Arc<Mutex<Calls<GuestMemoryMmap>>>,
    irq: IrqLine,
}

fn card(device: u16, shows: Shows) -> Card {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10_0000)]).unwrap();
    let irq = IrqLine::detached();
    let (probe, calls) = Probe::new(device);
    let interrupt = Interrupt::new("probe", irq.clone());
    let pci = Pci::new(Box::new(probe), memory.clone(), interrupt, shows).unwrap();
    Card {
        pci,
        memory,
        calls,
        irq,
    }
}

impl Card {
    /// Gives the BARs their places, as Linux does after it asked for their sizes.
    fn place(&mut self) {
        self.pci.config_write(pci::BAR0, PORTS, u32::MAX);
        self.pci.config_write(pci::BAR1, MEMORY as u32, u32::MAX);
        self.pci.config_write(pci::COMMAND, 7, 0xFFFF);
    }

    fn read(&mut self, offset: u32, width: usize) -> u32 {
        let mut data = [0; 4];
        let address = MEMORY + u64::from(offset);
        assert!(self.pci.memory_read(address, &mut data[..width]));
        u32::from_le_bytes(data)
    }

    fn write(&mut self, offset: u32, value: u32, width: usize) {
        let address = MEMORY + u64::from(offset);
        assert!(
            self.pci
                .memory_write(address, &value.to_le_bytes()[..width])
        );
    }

    fn port(&mut self, offset: u32, width: usize) -> u32 {
        let mut data = [0; 4];
        assert!(self.pci.io_read(PORTS + offset, &mut data[..width]));
        u32::from_le_bytes(data)
    }

    fn set_port(&mut self, offset: u32, value: u32, width: usize) {
        assert!(
            self.pci
                .io_write(PORTS + offset, &value.to_le_bytes()[..width])
        );
    }

    fn status(&mut self, status: u32) -> u32 {
        self.write(common::STATUS_GENERATION_SELECT, status, 1);
        self.read(common::STATUS_GENERATION_SELECT, 1)
    }

    /// Queue 0 of the modern interface, from features to DRIVER_OK.
    fn start(&mut self, driver: &Driver) {
        self.status(1);
        self.status(3);
        self.write(common::DRIVER_FEATURE_SELECT, 1, 4);
        self.write(common::DRIVER_FEATURE, 1, 4);
        assert_eq!(self.status(11), 11);
        let place = driver.place();
        self.write(common::STATUS_GENERATION_SELECT + 2, 0, 2);
        self.write(common::QUEUE_SIZE_MSIX, place.size.into(), 2);
        self.write(common::QUEUE_DESC, place.table as u32, 4);
        self.write(common::QUEUE_DRIVER, place.avail as u32, 4);
        self.write(common::QUEUE_DEVICE, place.used as u32, 4);
        self.write(common::QUEUE_ENABLE_NOTIFY, 1, 2);
        assert_eq!(self.status(15), 15);
    }
}

#[test]
fn a_transitional_function_shows_what_linux_looks_for() {
    let mut card = card(4, Shows::Transitional);
    assert_eq!(card.pci.config_read(0x00), 0x1005_1AF4);
    assert_eq!(card.pci.config_read(0x08), 0x00FF_0000, "revision 0");
    assert_eq!(card.pci.config_read(0x2C), 0x0004_1AF4);
    assert_eq!(card.pci.config_read(0x3C) >> 8, 1, "INTA");
    assert_eq!(card.pci.config_read(0x04) >> 16, 0x0010);
    for (bar, size) in [
        (0x10, 0xFFFF_FF01),
        (0x14, 0xFFFF_C000),
        (0x18, 0),
        (0x30, 0),
    ] {
        card.pci.config_write(bar, u32::MAX, u32::MAX);
        assert_eq!(card.pci.config_read(bar), size, "{bar:#x}");
    }
    let mut found = Vec::new();
    let mut at = card.pci.config_read(0x34) as u8;
    while at != 0 {
        let [vendor, next, length, kind] = card.pci.config_read(at).to_le_bytes();
        assert_eq!(vendor, 9);
        let rest = [4, 8, 12].map(|offset| card.pci.config_read(at + offset));
        found.push((kind, length, rest));
        at = next;
    }
    assert_eq!(
        found,
        [
            (1, 16, [1, 0x0000, 0x38]),
            (3, 16, [1, 0x1000, 1]),
            (4, 16, [1, 0x2000, 0x1000]),
            (2, 20, [1, 0x3000, 0x1000]),
            (5, 20, [0, 0, 0]),
        ]
    );
}

#[test]
fn each_kind_shows_the_interfaces_that_it_has() {
    let mut modern = card(19, Shows::Transitional);
    assert_eq!(modern.pci.config_read(0x00), 0x1053_1AF4);
    assert_eq!(modern.pci.config_read(0x08) & 0xFF, 1);
    modern.pci.config_write(pci::BAR0, u32::MAX, u32::MAX);
    assert_eq!(modern.pci.config_read(pci::BAR0), 0);
    modern.place();
    assert!(!modern.pci.io_read(PORTS, &mut [0]));

    let mut legacy = card(4, Shows::Legacy);
    assert_eq!(legacy.pci.config_read(0x34), 0);
    assert_eq!(legacy.pci.config_read(0x04) >> 16, 0);
    legacy.place();
    assert!(!legacy.pci.memory_read(0, &mut [0]));
    assert!(legacy.pci.io_read(PORTS, &mut [0]));

    let (probe, _) = Probe::new(19);
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
    let interrupt = Interrupt::new("probe", IrqLine::detached());
    let Err(error) = Pci::new(Box::new(probe), memory, interrupt, Shows::Legacy) else {
        panic!("vsock has no legacy interface");
    };
    assert_eq!(error, NoLegacy { device: 19 });
}

#[test]
fn a_modern_driver_starts_the_device() {
    let mut card = card(4, Shows::Transitional);
    assert!(!card.pci.memory_read(MEMORY, &mut [0; 4]), "not placed");
    card.place();
    assert_eq!(card.read(common::MSIX_NUM_QUEUES, 4), 0x0002_FFFF);
    card.write(common::DEVICE_FEATURE_SELECT, 0, 4);
    assert_eq!(card.read(common::DEVICE_FEATURE, 4), 0x3000_0001);
    card.write(common::DEVICE_FEATURE_SELECT, 1, 4);
    assert_eq!(card.read(common::DEVICE_FEATURE, 4), 1);
    card.write(common::DEVICE_FEATURE_SELECT, 2, 4);
    assert_eq!(card.read(common::DEVICE_FEATURE, 4), 0);
    card.write(common::STATUS_GENERATION_SELECT + 2, 7, 2);
    assert_eq!(card.read(common::QUEUE_SIZE_MSIX, 2), 0, "no queue 7");
    card.write(common::STATUS_GENERATION_SELECT + 2, 1, 2);
    assert_eq!(card.read(common::QUEUE_SIZE_MSIX, 4), 0xFFFF_0020);
    assert_eq!(card.read(common::QUEUE_ENABLE_NOTIFY, 4), 0x0001_0000);

    let mut driver = Driver::new(ByteOrder::Little, 0x2000, 8, false);
    card.start(&driver);
    card.write(regs::NOTIFY + 4, 1, 2);
    assert_eq!(card.calls.lock().unwrap().notified, [0, 1]);
    let memory = card.memory.clone();
    driver.offer(&memory, &[b"x"], &[]);
    {
        let mut calls = card.calls.lock().unwrap();
        let activation = calls.activation.as_mut().unwrap();
        assert_eq!(activation.order, ByteOrder::Little);
        assert_eq!(activation.features, transport::VERSION_1);
        assert!(activation.queues[0].pop(&memory).unwrap().is_some());
        assert!(!activation.queues[1].is_ready());
        activation.interrupt.used();
    }
    assert!(card.irq.is_asserted());
    assert_eq!(
        card.pci.config_read(pci::COMMAND) & 0x0008_0000,
        0x0008_0000
    );
    card.pci.config_write(pci::COMMAND, 0x0407, 0xFFFF);
    assert!(!card.irq.is_asserted(), "INTx is disabled");
    card.pci.config_write(pci::COMMAND, 0x0007, 0xFFFF);
    assert!(card.irq.is_asserted());
    assert_eq!(card.read(regs::ISR, 1), 1);
    assert!(!card.irq.is_asserted());
    assert_eq!(card.read(regs::ISR, 1), 0);

    assert_eq!(card.status(0), 0);
    assert!(card.calls.lock().unwrap().activation.is_none());
    assert_eq!(card.read(common::QUEUE_DESC, 4), 0);
}

#[test]
fn device_fields_have_the_order_of_their_interface() {
    let mut card = card(4, Shows::Transitional);
    card.place();
    assert_eq!(card.read(regs::DEVICE, 4), 0x0102_0304);
    let mut data = [0; 4];
    assert!(card.pci.io_read(PORTS + legacy::CONFIG, &mut data));
    assert_eq!(data, [1, 2, 3, 4]);
    card.write(regs::DEVICE + 2, 0xBBAA, 2);
    let written = card.calls.lock().unwrap().written.clone();
    assert_eq!(written, [(2, vec![0xAA, 0xBB], ByteOrder::Little)]);
}

#[test]
fn a_legacy_driver_starts_the_device_also_by_a_notification() {
    let mut card = card(4, Shows::Legacy);
    card.place();
    let driver = Driver::new(ByteOrder::Big, 0x3000, 32, true);
    assert_eq!(card.port(legacy::DEVICE_FEATURES, 4), 0x3800_0001);
    card.set_port(0x12, 3, 1);
    card.set_port(legacy::DRIVER_FEATURES, 0x2000_0000, 4);
    assert_eq!(card.port(legacy::DRIVER_FEATURES, 4), 0x2000_0000);
    card.set_port(0x0E, 0, 2);
    assert_eq!(card.port(0x0C, 2), 32);
    assert_eq!(card.port(legacy::QUEUE_ADDRESS, 4), 0);
    card.set_port(0x10, 0, 2);
    assert!(
        card.calls.lock().unwrap().activation.is_none(),
        "no ring yet"
    );
    card.set_port(legacy::QUEUE_ADDRESS, 3, 4);
    assert_eq!(card.port(legacy::QUEUE_ADDRESS, 4), 3);

    card.set_port(0x10, 0, 2);
    card.set_port(0x10, 0, 2);
    card.set_port(0x12, 7, 1);
    assert_eq!(card.port(0x12, 1), 7);
    {
        let mut calls = card.calls.lock().unwrap();
        assert_eq!(
            (calls.activations, calls.notified.as_slice()),
            (1, &[0, 0][..])
        );
        let activation = calls.activation.as_mut().unwrap();
        assert_eq!(
            (activation.order, activation.features),
            (ByteOrder::Big, 0x2000_0000)
        );
        assert_eq!(driver.place().size, 32);
        assert!(activation.queues[0].is_ready());
        activation.interrupt.config_changed();
    }
    assert_eq!(card.port(0x12, 1), 7, "reading the status leaves the ISR");
    assert!(card.irq.is_asserted());
    assert_eq!(card.port(0x13, 1), 2);
    assert!(!card.irq.is_asserted());
    card.set_port(legacy::QUEUE_ADDRESS, 0, 4);
    assert!(
        card.calls.lock().unwrap().activation.is_none(),
        "page 0 resets"
    );
    assert_eq!(card.port(0x12, 1), 0);
}

#[test]
fn the_bar_is_reached_through_configuration_space() {
    let mut card = card(4, Shows::Transitional);
    let set = |card: &mut Card, bar: u32, offset: u32, length: u32| {
        card.pci.config_write(PCI_CAP_BAR, bar, 0xFF);
        card.pci.config_write(PCI_CAP_OFFSET, offset, u32::MAX);
        card.pci.config_write(PCI_CAP_LENGTH, length, u32::MAX);
    };
    set(&mut card, 1, common::MSIX_NUM_QUEUES + 2, 2);
    assert_eq!(card.pci.config_read(PCI_CAP_DATA), 2);
    set(&mut card, 1, common::STATUS_GENERATION_SELECT, 1);
    card.pci.config_write(PCI_CAP_DATA, 3, 0xFF);
    assert_eq!(card.pci.config_read(PCI_CAP_DATA), 3);
    for (bar, offset, length) in [
        (0, 0, 4),
        (1, 2, 4),
        (1, 0, 3),
        (1, regs::MEMORY_SIZE, 4),
        (1, u32::MAX, 1),
    ] {
        set(&mut card, bar, offset, length);
        assert_eq!(card.pci.config_read(PCI_CAP_DATA), 0);
        card.pci.config_write(PCI_CAP_DATA, u32::MAX, u32::MAX);
    }
}

#[test]
fn a_bus_reset_forgets_everything() {
    let mut card = card(4, Shows::Transitional);
    card.place();
    card.start(&Driver::new(ByteOrder::Little, 0x2000, 8, false));
    card.calls
        .lock()
        .unwrap()
        .activation
        .as_ref()
        .unwrap()
        .interrupt
        .used();
    card.pci.reset();
    assert!(!card.irq.is_asserted());
    assert!(card.calls.lock().unwrap().activation.is_none());
    assert_eq!(card.pci.config_read(pci::BAR1), 0);
    assert_eq!(card.pci.config_read(pci::COMMAND), 0x0010_0000);
}
