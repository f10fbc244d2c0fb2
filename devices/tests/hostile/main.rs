//! Drivers that keep no rule: no device of this crate panics, hangs, or stays broken.
//!
//! `PPCKVM_SEED` chooses the first driver. With `PPCKVM_LONG` set, each device gets a million
//! requests over each interface.

mod ends;

use std::collections::VecDeque;
use std::sync::Arc;

use ppckvm_devices::IrqLine;
use ppckvm_devices::bus::MmioDevice;
use ppckvm_devices::pci_config::{PciFunction, regs as pci_regs};
use ppckvm_devices::test_support::{Dice, Hostile, cases, seed};
use ppckvm_devices::virtio::balloon::Balloon;
use ppckvm_devices::virtio::console::{Console, Turns};
use ppckvm_devices::virtio::mmio::{Mmio, regs};
use ppckvm_devices::virtio::net::{Net, Offloads};
use ppckvm_devices::virtio::p9::{P9, Serve};
use ppckvm_devices::virtio::pci::{Pci, Shows};
use ppckvm_devices::virtio::rng::Rng;
use ppckvm_devices::virtio::transport::Interface;
use ppckvm_devices::virtio::vsock::{Packets, Vsock};
use ppckvm_devices::virtio::{Interrupt, VirtioDevice};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use ends::{Echo, Handed, Outside};

const RAM: u64 = 0x8_0000;
type Device = Box<dyn VirtioDevice<GuestMemoryMmap>>;

/// How many requests each device gets over each interface.
fn requests() -> u64 {
    cases(20_000, 1_000_000)
}

/// A device's name, the device, and what the host does meanwhile.
type Case = (&'static str, Device, Box<dyn FnMut()>);

fn devices(outside: &Outside) -> Vec<Case> {
    let idle = Box::new(|| ());
    let mut bytes = Dice::new(9);
    let counter = outside.clone();
    let entropy = move |buffer: &mut [u8]| {
        counter.count(1);
        buffer.fill_with(|| bytes.roll() as u8);
    };

    let console = Console::new(Arc::new(outside.clone()), Turns::default());
    let feeder = console.clone();
    let mut dice = Dice::new(7);
    let feed = move || {
        let mut left = dice.below(3);
        feeder.fill(&mut |room| {
            assert!(room > 0);
            left = left.saturating_sub(1);
            vec![b'x'; if left > 0 { room.min(100) } else { 0 }]
        });
    };

    let (net, mut port) = Net::new([2, 0, 0, 0, 0, 1], Offloads::ALL, Box::new(|| ()));
    let mut echo = Echo {
        outside: outside.clone(),
        frames: VecDeque::new(),
    };
    let requests = Handed::<dyn Serve>::default();
    let packets = Handed::<dyn Packets>::default();
    let (files, streams) = (outside.clone(), outside.clone());
    vec![
        ("rng", Box::new(Rng::new(Box::new(entropy))), idle.clone()),
        ("console", Box::new(console), Box::new(feed)),
        (
            "balloon",
            Box::new(Balloon::new(Box::new(outside.clone()))),
            idle,
        ),
        (
            "net",
            Box::new(net),
            Box::new(move || {
                // There is a next time.
                let _ = port.serve(&mut echo);
            }),
        ),
        (
            "9p",
            Box::new(P9::new("tag", requests.clone())),
            Box::new(move || requests.serve(&files)),
        ),
        (
            "vsock",
            Box::new(Vsock::new(3, packets.clone())),
            Box::new(move || packets.serve(&streams)),
        ),
    ]
}

fn memory() -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM as usize)]).expect("half a mebibyte")
}

#[test]
fn devices_survive_any_driver() {
    for interface in [Interface::Modern, Interface::Legacy] {
        let outside = Outside::default();
        for (name, device, mut settle) in devices(&outside) {
            let memory = memory();
            let irq = IrqLine::detached();
            let interrupt = Interrupt::new(name, irq.clone());
            let mut mmio = Mmio::new(device, memory.clone(), interrupt, interface);
            // Numbers of pages that exist, a console's control message, or the header of an empty
            // packet.
            let contents = move |dice: &mut Dice, _: usize, bytes: &mut [u8]| match dice.below(8) {
                0 | 1 => {
                    for page in bytes.chunks_exact_mut(4) {
                        page.copy_from_slice(&(dice.below(RAM / 4096) as u32).to_le_bytes());
                    }
                }
                2 if bytes.len() >= 8 => {
                    let (event, value) = (dice.below(8) as u8, dice.below(2) as u8);
                    bytes[..4].fill(0);
                    bytes[4..8].copy_from_slice(&match interface {
                        Interface::Modern => [event, 0, value, 0],
                        Interface::Legacy => [0, event, 0, value],
                    });
                }
                3..6 => bytes.fill(0),
                _ => {}
            };
            let before = outside.counted();
            let mut driver = Hostile::new(memory, RAM, seed(1), Box::new(contents));
            while driver.chains() < requests() {
                driver.round(&mut mmio, interface, &mut *settle);
            }
            let reached = outside.counted() - before;
            // What is too short for its device breaks the queue, and what is behind it waits in vain.
            assert!(
                reached > requests() / 200,
                "{name}: only {reached} requests"
            );
            mmio.reset();
            assert!(!irq.is_asserted(), "{name}");
            let mut status = [0xFF; 4];
            mmio.read(regs::STATUS, &mut status).expect("a register");
            assert_eq!(status, [0; 4], "{name}");
        }
    }
}

#[test]
fn pci_functions_survive_any_access() {
    for shows in [Shows::Transitional, Shows::Legacy] {
        for (name, device, mut settle) in devices(&Outside::default()) {
            let memory = memory();
            let interrupt = Interrupt::new(name, IrqLine::detached());
            let Ok(mut function) = Pci::new(device, memory.clone(), interrupt, shows) else {
                assert_eq!((name, shows), ("vsock", Shows::Legacy));
                continue;
            };
            let dice = &mut Dice::new(seed(1));
            for access in 0..requests() {
                if access % 512 == 0 {
                    // Memory of any contents, and the BARs where they were lost.
                    let mut bytes = vec![0; RAM as usize];
                    bytes.fill_with(|| dice.one_of(&[0, 0, 1, 2, 8, 0x10, 0xFF]));
                    memory
                        .write_slice(&bytes, GuestAddress(0))
                        .expect("all of ram");
                    function.config_write(pci_regs::BAR0, 0x1000, u32::MAX);
                    function.config_write(pci_regs::BAR1, 0xA000_0000, u32::MAX);
                    function.config_write(pci_regs::COMMAND, 7, u32::MAX);
                }
                let mut data = match dice.below(3) {
                    0 => dice.roll(),
                    1 => dice.below(RAM / 4096),
                    _ => dice.below(256),
                }
                .to_le_bytes();
                let width = 1 << dice.below(4);
                let data = &mut data[..width];
                let word = u32::from_le_bytes([data[0], data[width / 2], data[width - 1], 0]);
                let memory_at = 0xA000_0000 + dice.one_of(&[0, 0, 0x1000, 0x2000, 0x3000]);
                let memory_at = memory_at + dice.below(0x40);
                let port = 0x1000 + dice.below(0x20) as u32;
                match dice.below(32) {
                    0 => function.config_write(dice.roll() as u8, word, u32::MAX),
                    1 => drop(function.config_read(dice.roll() as u8)),
                    2..14 => drop(function.memory_write(memory_at, data)),
                    14..18 => drop(function.memory_read(memory_at, data)),
                    18..28 => drop(function.io_write(port, data)),
                    28..31 => drop(function.io_read(port, data)),
                    _ => settle(),
                }
            }
            function.reset();
        }
    }
}
