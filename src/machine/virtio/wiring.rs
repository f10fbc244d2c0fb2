//! The PCI host bridge, and virtio devices behind their transports.

use std::sync::{Arc, Mutex};

use ppckvm_api::GuestMemory;
use ppckvm_devices::MmioBus;
use ppckvm_devices::pci_bridge::{
    Ack, Bridge, ConfigPort, IoWindow, LocalRegs, MemoryWindow, SharedBridge,
};
use ppckvm_devices::virtio::Interrupt;
use ppckvm_devices::virtio::mmio::Mmio;
use ppckvm_devices::virtio::pci::{Pci, Shows};
use ppckvm_devices::virtio::transport::Interface;
use ppckvm_fdt::Board;

use super::{AttachError, Attachment, Host, Running, Shared, Slot, slots};
use crate::host::lock::lock;
use crate::machine::BuildError;
use crate::machine::assemble::{Wires, range};

/// The PCI host bridge, its bus empty.
pub(crate) fn add_pci(bus: &mut MmioBus, board: &Board) -> Result<SharedBridge, BuildError> {
    let bridge = Arc::new(Mutex::new(Bridge::new()));
    let pci = &board.pci;
    bus.register(
        range(pci.config),
        "pci config",
        Box::new(ConfigPort(bridge.clone())),
    )?;
    bus.register(range(pci.iack_special), "pci iack", Box::new(Ack))?;
    bus.register(
        range(pci.regs),
        "pci local registers",
        Box::new(LocalRegs(bridge.clone())),
    )?;
    for (window, name) in [
        (pci.memory, "pci memory"),
        (pci.isa_memory, "pci isa memory"),
    ] {
        let memory = MemoryWindow::new(bridge.clone(), window.base);
        bus.register(range(window), name, Box::new(memory))?;
    }
    bus.register(range(pci.io), "pci i/o", Box::new(IoWindow(bridge.clone())))?;
    Ok(bridge)
}

/// Makes each device and puts it into its slot.
pub(crate) fn add_virtio(
    bus: &mut MmioBus,
    bridge: &SharedBridge,
    board: &Board,
    wires: &Wires,
    memory: &GuestMemory,
    host: &Host<'_>,
    attachments: Vec<Attachment>,
) -> Result<Running, BuildError> {
    let places = attachments.iter().map(|a| (a.name.as_str(), a.place));
    let slots = slots(board, places)?;
    let mut running = Running::default();
    for (attachment, slot) in attachments.into_iter().zip(slots) {
        let Attachment { name, place, make } = attachment;
        let device = make(host)?;
        let irq = match slot {
            Slot::Mmio(slot) => board.virtio.slot(slot).map(|desc| desc.interrupt),
            Slot::Pci(slot) => board.pci.slots.get(slot).map(|slot| slot.interrupt),
        };
        let interrupt = Interrupt::new(name.clone(), wires.optional(irq));
        let memory = memory.clone();
        match slot {
            Slot::Mmio(slot) => {
                let interface = match place.legacy {
                    true => Interface::Legacy,
                    false => Interface::Modern,
                };
                let mmio = Mmio::new(device, memory, interrupt, interface);
                let mmio: Shared<_> = Arc::new(Mutex::new(mmio));
                let desc = board.virtio.slot(slot);
                let desc = desc.expect("slots come from the board");
                bus.register(range(desc.window), name, Box::new(mmio.clone()))?;
                running
                    .0
                    .push(Box::new(move || lock(&mmio).transport().stop()));
            }
            Slot::Pci(slot) => {
                let shows = match place.legacy {
                    true => Shows::Legacy,
                    false => Shows::Transitional,
                };
                let pci = Pci::new(device, memory, interrupt, shows);
                let pci = pci.map_err(|error| AttachError::NoLegacy { name, error })?;
                let pci: Shared<_> = Arc::new(Mutex::new(pci));
                let device = board.pci.slots.get(slot).map(|slot| slot.device);
                let device = device.expect("slots come from the board");
                lock(bridge)
                    .attach(device << 3, pci.clone())
                    .expect("each slot is given away once");
                running
                    .0
                    .push(Box::new(move || lock(&pci).transport().stop()));
            }
        }
    }
    Ok(running)
}
