//! The keys of every virtio device: where the guest has it.

use super::{Choice, Key, KeyList, OptionError, Takes};
use crate::machine::spec::place::{Bus, Place};

pub(super) const BUS: Key = Key::new(
    "bus",
    Takes::Choice(&[
        Choice {
            word: "mmio",
            help: "Registers of its own, which the generated device tree describes.",
        },
        Choice {
            word: "pci",
            help: "A slot of the PCI bus.",
        },
    ]),
    "where the guest has it; mmio without this",
);

pub(super) const LEGACY: Key = Key::new(
    "legacy",
    Takes::Nothing,
    "only the interface before virtio 1.0, for kernels before 4.0",
);

/// What the keys say.
pub(super) fn read(list: &KeyList) -> Result<Place, OptionError> {
    Ok(Place {
        bus: list.parsed("bus")?.unwrap_or_default(),
        legacy: list.has("legacy"),
    })
}

/// Adds the keys that say `place`.
pub(super) fn write(list: KeyList, place: Place) -> KeyList {
    let bus = (place.bus != Bus::default()).then_some(place.bus);
    list.with_some("bus", bus).with_flag("legacy", place.legacy)
}
