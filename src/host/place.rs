//! Where a device is attached.

use std::str::FromStr;

use crate::host::keys::{Key, OptionError, Options};

/// What a virtio device is attached to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bus {
    /// Registers in a window of its own, which the generated device tree describes.
    #[default]
    Mmio,
    /// A slot of the PCI bus, where a kernel finds it by itself.
    Pci,
}

/// Why a text names no bus.
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

/// How a virtio device is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// To which bus.
    pub bus: Bus,
    /// Whether it speaks only the interface before virtio 1.0, for kernels before 4.0. On PCI, a
    /// device speaks both without this, if it had a legacy interface at all.
    pub legacy: bool,
}

impl Place {
    /// The keys of an option that say where a device goes.
    pub(crate) const KEYS: [Key; 2] = [Key::Value("bus"), Key::Flag("legacy")];

    /// What those keys say.
    pub(crate) fn from_options(options: &Options) -> Result<Self, OptionError> {
        Ok(Place {
            bus: options.parsed("bus")?.unwrap_or_default(),
            legacy: options.flag("legacy"),
        })
    }
}

impl FromStr for Place {
    type Err = OptionError;

    /// Reads `[bus=mmio|pci][,legacy]`.
    fn from_str(text: &str) -> Result<Self, OptionError> {
        Place::from_options(&Options::parse(text, &Place::KEYS)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read() {
        let place = "bus=pci,legacy".parse::<Place>().unwrap();
        assert!(place.bus == Bus::Pci && place.legacy);
        assert_eq!("".parse::<Place>().unwrap(), Place::default());
        let error = "bus=isa".parse::<Place>().unwrap_err().to_string();
        assert_eq!(error, "bus=isa: use mmio or pci");
    }
}
