//! Where a device is attached.

use std::fmt;
use std::str::FromStr;

/// The bus that a virtio device is attached to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bus {
    /// Memory-mapped registers of its own, which the generated device tree describes.
    #[default]
    Mmio,
    /// A slot of the PCI bus, where a kernel finds it by itself.
    Pci,
}

/// The text does not name a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use mmio or pci")]
pub struct ParseBusError;

impl FromStr for Bus {
    type Err = ParseBusError;

    fn from_str(text: &str) -> Result<Self, ParseBusError> {
        match text {
            "mmio" => Ok(Bus::Mmio),
            "pci" => Ok(Bus::Pci),
            _ => Err(ParseBusError),
        }
    }
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bus::Mmio => "mmio",
            Bus::Pci => "pci",
        })
    }
}

/// The bus and the interface that a virtio device is attached with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The bus.
    pub bus: Bus,
    /// Whether it speaks only the interface before virtio 1.0, for kernels before 4.0. On PCI, a
    /// device speaks both without this, if it had a legacy interface at all.
    pub legacy: bool,
}

impl Place {
    /// Memory-mapped registers of its own, with the interface of virtio 1.0.
    pub const MMIO: Place = Place {
        bus: Bus::Mmio,
        legacy: false,
    };

    /// A slot of the PCI bus, with both interfaces.
    pub const PCI: Place = Place {
        bus: Bus::Pci,
        legacy: false,
    };

    /// Keeps the bus, and speaks only the interface before virtio 1.0.
    pub const fn legacy(self) -> Self {
        Place {
            legacy: true,
            ..self
        }
    }
}
