//! Virtio devices behind their transports.

use std::sync::{Arc, Mutex};

use ppckvm_api::GuestMemory;
use ppckvm_devices::MmioBus;
use ppckvm_devices::pci_bridge::SharedBridge;
use ppckvm_devices::virtio::Interrupt;
use ppckvm_devices::virtio::mmio::Mmio;
use ppckvm_devices::virtio::pci::{Pci, Shows};
use ppckvm_devices::virtio::transport::Interface;
use ppckvm_fdt::Board;

use super::{Maker, Named, VirtioBox, named, sources};
use crate::host::lock::lock;
use crate::machine::custom::Additions;
use crate::machine::error::{AttachError, BuildError};
use crate::machine::slots::{Slot, slots};
use crate::machine::spec::Spec;
use crate::machine::spec::place::Place;
use crate::machine::wires::{Wires, range};
use crate::vm::buses::Buses;
use crate::vm::live_devices::LiveDevices;

/// What devices are wired to.
pub(crate) struct Frame<'a> {
    pub board: &'a Board,
    pub wires: &'a Wires,
    pub bridge: &'a SharedBridge,
    pub memory: &'a GuestMemory,
}

/// Makes each device and puts it into its slot.
pub(crate) fn add_virtio(
    buses: &mut Buses,
    frame: &Frame<'_>,
    maker: &mut Maker<'_>,
    spec: Spec,
    additions: Additions,
) -> Result<LiveDevices, BuildError> {
    let devices = named(&spec, &additions);
    let slots = slots(frame.board, &devices)?;
    let sources = sources(spec, additions.virtio, additions.agent);
    let mut live = LiveDevices::default();
    for ((Named { name, place }, slot), source) in devices.into_iter().zip(slots).zip(sources) {
        let device = maker.make(&name, source)?;
        match slot {
            Slot::Mmio(slot) => {
                frame.add_on_mmio(&mut buses.mmio, slot, place, name, device, &mut live)?;
            }
            Slot::Pci(slot) => frame.add_on_pci(slot, place, name, device, &mut live)?,
        }
    }
    Ok(live)
}

impl Frame<'_> {
    fn add_on_mmio(
        &self,
        bus: &mut MmioBus,
        slot: u8,
        place: Place,
        name: String,
        device: VirtioBox,
        live: &mut LiveDevices,
    ) -> Result<(), BuildError> {
        let desc = self.board.virtio.slot(slot);
        let desc = desc.expect("slots come from the board");
        let interrupt = Interrupt::new(name.clone(), self.wires.to(desc.interrupt));
        let interface = match place.legacy {
            true => Interface::Legacy,
            false => Interface::Modern,
        };
        let mut mmio = Mmio::new(device, self.memory.clone(), interrupt, interface);
        mmio.transport().set_backlog(live.backlog.clone());
        // Shared between its bus and who stops it.
        let mmio = Arc::new(Mutex::new(mmio));
        bus.register(range(desc.mmio), name, Box::new(mmio.clone()))?;
        live.add(mmio);
        Ok(())
    }

    fn add_on_pci(
        &self,
        slot: usize,
        place: Place,
        name: String,
        device: VirtioBox,
        live: &mut LiveDevices,
    ) -> Result<(), BuildError> {
        let desc = self.board.pci.slots.get(slot);
        let desc = desc.expect("slots come from the board");
        let interrupt = Interrupt::new(name.clone(), self.wires.to(desc.interrupt));
        let shows = match place.legacy {
            true => Shows::Legacy,
            false => Shows::Transitional,
        };
        let pci = Pci::new(device, self.memory.clone(), interrupt, shows);
        let mut pci = pci.map_err(|error| AttachError::NoLegacy { name, error })?;
        pci.transport().set_backlog(live.backlog.clone());
        let pci = Arc::new(Mutex::new(pci));
        lock(self.bridge)
            .attach(desc.device << 3, pci.clone())
            .expect("each slot is given away once");
        live.add(pci);
        Ok(())
    }
}
