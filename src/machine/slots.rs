//! Which device gets which slot, and whether the guest would find it there.

use std::path::Path;

use ppckvm_fdt::{Board, Node, UserTree};

use crate::machine::error::AttachError;
use crate::machine::spec::place::Bus;
use crate::machine::virtio::{AGENT, Named, RNG};

/// Which slot a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Mmio(u8),
    /// Index in the board's list.
    Pci(usize),
}

/// Devices that a kernel finds only where its device tree describes them: those on MMIO.
pub(crate) struct OnMmio {
    /// The MMIO slots that they have.
    pub slots: Vec<u8>,
    /// The names of those that the user attached: all but the entropy device and the agent's port,
    /// which are there anyway.
    asked: Vec<String>,
    /// Nodes of the embedder's for the generated tree.
    pub nodes: Vec<Node>,
}

impl OnMmio {
    /// The devices on MMIO among all of a machine's.
    pub fn new(board: &Board, devices: &[Named], nodes: &[Node]) -> Result<Self, AttachError> {
        let mmio = |slot| match slot {
            Slot::Mmio(slot) => Some(slot),
            Slot::Pci(_) => None,
        };
        let slots = slots(board, devices)?;
        let is_asked = |device: &&Named| {
            device.place.bus == Bus::Mmio && ![RNG, AGENT].contains(&device.name.as_str())
        };
        let asked = devices.iter().filter(is_asked);
        Ok(OnMmio {
            slots: slots.into_iter().filter_map(mmio).collect(),
            asked: asked.map(|device| device.name.clone()).collect(),
            nodes: nodes.to_vec(),
        })
    }

    /// Checks that a tree which is not ours describes as many as the user attached, and has the nodes
    /// that were added.
    pub fn check(&self, tree: &UserTree, file: &Path) -> Result<(), AttachError> {
        let path = |node: &Node| format!("/plb/opb/{}", node.name);
        let mut paths = self.nodes.iter().map(path);
        if let Some(node) = paths.find(|path| tree.tree().node(path).is_none()) {
            let file = file.into();
            return Err(AttachError::NodeNotInTree { node, file });
        }
        let described = tree.count("virtio,mmio");
        match self.asked.get(described) {
            None => Ok(()),
            Some(name) => Err(AttachError::NotInTree {
                name: name.clone(),
                file: file.into(),
                described,
            }),
        }
    }

    /// An image that starts with a tree which nobody can see may know of them.
    pub fn warn_of_hidden_tree(&self) {
        if let Some(name) = self.asked.first() {
            tracing::warn!(
                "{name} is on mmio, and the kernel image has a device tree of its own: unless that \
                 describes a virtio,mmio device, the guest does not find it; take bus=pci"
            );
        }
        if let Some(node) = self.nodes.first() {
            tracing::warn!(
                "the kernel image has a device tree of its own: unless that has the node {}, the guest \
                 does not find its device",
                node.name
            );
        }
    }
}

/// Gives each device the next free slot of its bus.
pub(crate) fn slots(board: &Board, devices: &[Named]) -> Result<Vec<Slot>, AttachError> {
    let (mut mmio, mut pci) = (0..board.virtio.count, 0..board.pci.slots.len());
    let slot = |device: &Named| match device.place.bus {
        Bus::Mmio => mmio.next().map(Slot::Mmio).ok_or(AttachError::NoMmioSlot {
            name: device.name.clone(),
            slots: board.virtio.count.into(),
        }),
        Bus::Pci => pci.next().map(Slot::Pci).ok_or(AttachError::NoPciSlot {
            name: device.name.clone(),
            slots: board.pci.slots.len(),
        }),
    };
    devices.iter().map(slot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::spec::place::Place;

    fn devices(count: usize, place: Place) -> Vec<Named> {
        let name = "x".to_owned();
        vec![Named { name, place }; count]
    }

    #[test]
    fn slots_go_in_order_and_end() {
        let board = Board::bamboo();
        let mixed = [Place::PCI, Place::MMIO, Place::PCI];
        let mixed: Vec<Named> = mixed.into_iter().flat_map(|at| devices(1, at)).collect();
        assert_eq!(
            slots(&board, &mixed).unwrap(),
            [Slot::Pci(0), Slot::Mmio(0), Slot::Pci(1)]
        );
        for (count, place, part) in [
            (5, Place::PCI, "the board has 4"),
            (11, Place::MMIO, "the board has 10"),
        ] {
            let error = slots(&board, &devices(count, place)).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
