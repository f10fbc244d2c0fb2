//! Which device gets which slot, and whether the guest would find it there.

use std::path::Path;

use ppckvm_fdt::{Board, UserTree};

use crate::host::place::{Bus, Place};
use crate::machine::error::AttachError;
use crate::machine::virtio::{Attachment, RNG};

/// Which slot a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Mmio(u8),
    /// Index in the board's list.
    Pci(usize),
}

/// The devices on MMIO, which a kernel finds only where its device tree describes them.
pub(crate) struct OnMmio {
    /// Their slots.
    pub slots: Vec<u8>,
    /// The names of those that the user attached: all but the entropy device that is there anyway.
    asked: Vec<String>,
}

impl OnMmio {
    /// The devices on MMIO among those that were attached, and the entropy device.
    pub fn new(
        board: &Board,
        attached: &[Attachment],
        rng: Option<Place>,
    ) -> Result<Self, AttachError> {
        let places = attached.iter().map(|a| (a.name.as_str(), a.place));
        let slots = slots(board, places.chain(rng.map(|place| (RNG, place))))?;
        let mmio = |slot| match slot {
            Slot::Mmio(slot) => Some(slot),
            Slot::Pci(_) => None,
        };
        let asked = attached.iter().filter(|a| a.place.bus == Bus::Mmio);
        Ok(OnMmio {
            slots: slots.into_iter().filter_map(mmio).collect(),
            asked: asked.map(|a| a.name.clone()).collect(),
        })
    }

    /// Checks that a tree which is not ours describes as many as the user attached.
    pub fn check(&self, tree: &UserTree, file: &Path) -> Result<(), AttachError> {
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
    }
}

/// Gives each device the next free slot of its bus.
pub(crate) fn slots<'a>(
    board: &Board,
    devices: impl Iterator<Item = (&'a str, Place)>,
) -> Result<Vec<Slot>, AttachError> {
    let (mut mmio, mut pci) = (0..board.virtio.count, 0..board.pci.slots.len());
    let slot = |(name, place): (&str, Place)| match place.bus {
        Bus::Mmio => mmio.next().map(Slot::Mmio).ok_or(AttachError::NoMmioSlot {
            name: name.into(),
            slots: board.virtio.count.into(),
        }),
        Bus::Pci => pci.next().map(Slot::Pci).ok_or(AttachError::NoPciSlot {
            name: name.into(),
            slots: board.pci.slots.len(),
        }),
    };
    devices.map(slot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_go_in_order_and_end() {
        let board = Board::bamboo();
        let pci = Place {
            bus: Bus::Pci,
            legacy: false,
        };
        let mixed = [("a", pci), ("b", Place::default()), ("c", pci)];
        assert_eq!(
            slots(&board, mixed.into_iter()).unwrap(),
            [Slot::Pci(0), Slot::Mmio(0), Slot::Pci(1)]
        );
        let five = std::iter::repeat_n(("x", pci), 5);
        let error = slots(&board, five).unwrap_err().to_string();
        assert!(error.contains("the board has 4"), "{error}");
        let eleven = std::iter::repeat_n(("x", Place::default()), 11);
        let error = slots(&board, eleven).unwrap_err().to_string();
        assert!(error.contains("the board has 10"), "{error}");
    }
}
