//! Virtio devices as a user attaches them: to which bus, in which order, with which host side.
//!
//! An [`Attachment`] is a device to be. When the machine is built, each gets the next free slot of
//! its bus in the order of attachment, its host side is made, and `wiring` puts it behind its
//! transport.

mod console;
pub(crate) mod wiring;

pub use console::ConsoleOption;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use ppckvm_api::{Clock, GuestMemory};
use ppckvm_devices::virtio::VirtioDevice;
use ppckvm_devices::virtio::balloon::{Balloon, Target};
use ppckvm_devices::virtio::console::Turns;
use ppckvm_devices::virtio::rng::Rng;
use ppckvm_fdt::{Board, UserTree};

use crate::host::console::Console;
use crate::host::entropy;
use crate::host::events::EventThread;
use crate::host::serial::Line;
use crate::machine::assemble::Ram;
use crate::machine::keys::{Key, OptionError, Options};
use crate::machine::{BuildError, Machine};

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

/// Why a device cannot be attached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// All virtio-mmio slots are taken.
    #[error(
        "no virtio-mmio slot is left for {name}: the board has {slots}; attach a device with bus=pci, \
         or leave one out (--no-rng)"
    )]
    NoMmioSlot {
        /// The device.
        name: String,
        /// How many slots there are.
        slots: usize,
    },
    /// All PCI slots are taken.
    #[error(
        "no PCI slot is left for {name}: the board has {slots}; attach a device with bus=mmio, or \
         leave one out"
    )]
    NoPciSlot {
        /// The device.
        name: String,
        /// How many slots there are.
        slots: usize,
    },
    /// A device on MMIO that the user's or the kernel's device tree does not describe.
    #[error(
        "{name} is on mmio, and the device tree {} describes {described} virtio,mmio devices, so the \
         guest would not find it; attach it with bus=pci, or describe it in the tree as \
         `ppckvm dtb` does without --dtb", .file.display()
    )]
    NotInTree {
        /// The first device that is not found.
        name: String,
        /// The tree.
        file: PathBuf,
        /// How many it describes.
        described: usize,
    },
    /// A legacy interface that does not exist.
    #[error("{name}: {error}")]
    NoLegacy {
        /// The device.
        name: String,
        /// Why.
        error: ppckvm_devices::virtio::pci::NoLegacy,
    },
}

/// A device without its transport.
pub(crate) type Device = Box<dyn VirtioDevice<GuestMemory>>;

/// What a device's host side can be made with.
pub(crate) struct Host<'a> {
    /// The machine's event thread.
    pub events: &'a EventThread,
    /// What drives the guest's time: under the virtual clock, runs are to be the same.
    pub clock: Clock,
    /// Guest RAM.
    pub ram: &'a Ram,
    /// The virtio consoles' far ends.
    pub consoles: &'a [Line],
    /// Which of them is set up when.
    pub console_turns: &'a Turns<GuestMemory>,
    /// Where a balloon leaves the host's side of it.
    pub balloon: &'a Cell<Option<Target>>,
}

type Make = Box<dyn FnOnce(&Host<'_>) -> Result<Device, BuildError> + Send>;

/// A device to be.
pub(crate) struct Attachment {
    /// What messages call it, for example `disk0`.
    pub name: String,
    pub place: Place,
    /// Opens what the device has on the host. It runs while the machine is built, so that nothing
    /// starts when it fails.
    pub make: Make,
}

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

impl Machine {
    /// A virtio device of the embedder's; `name` is for messages. Devices get their slots in the
    /// order in which they are attached: on MMIO, the generated tree describes them.
    pub fn virtio_device(
        mut self,
        name: impl Into<String>,
        place: Place,
        device: Box<dyn VirtioDevice<GuestMemory>>,
    ) -> Self {
        self.attach(name, place, move |_| Ok(device));
        self
    }

    /// Whether the guest has an entropy device, and where; by default it has one over MMIO, behind
    /// all other devices. Under the virtual clock its bytes are the same in each run.
    pub fn rng(mut self, place: Option<Place>) -> Self {
        self.config.rng = place;
        self
    }

    /// A virtio console, `hvc0` and so on in Linux, and what its bytes come from and go to;
    /// [`crate::Vm::virtio_console_output`] has them too.
    pub fn virtio_console(mut self, console: Console, place: Place) -> Self {
        let number = self.virtio_consoles.len();
        self.virtio_consoles.push(console);
        self.attach(format!("console{number}"), place, move |host| {
            let line = host.consoles.get(number);
            let line = line.expect("each console has a line");
            Ok(console::device(&line.hub, host.console_turns))
        });
        self
    }

    /// A balloon, through which the guest gives memory back to the host: pages that it does not use
    /// by itself, and others as [`crate::Vm::balloon`] asks for. A second one replaces the first's
    /// host side.
    pub fn balloon(mut self, place: Place) -> Self {
        self.attach("balloon", place, |host| {
            let balloon = Balloon::new(Box::new(host.ram.holes()));
            host.balloon.set(Some(balloon.target()));
            Ok(Box::new(balloon))
        });
        self
    }

    /// Adds a device whose host side is made when the machine is built.
    pub(crate) fn attach(
        &mut self,
        name: impl Into<String>,
        place: Place,
        make: impl FnOnce(&Host<'_>) -> Result<Device, BuildError> + Send + 'static,
    ) {
        self.virtio.push(Attachment {
            name: name.into(),
            place,
            make: Box::new(make),
        });
    }

    /// How many devices there are whose names begin so: the next one's number.
    pub(crate) fn count_attached(&self, kind: &str) -> usize {
        let of_kind = |attachment: &&Attachment| attachment.name.starts_with(kind);
        self.virtio.iter().filter(of_kind).count()
    }

    /// How many devices have this name.
    pub(crate) fn count_attached_as(&self, name: &str) -> usize {
        let named = |attachment: &&Attachment| attachment.name == name;
        self.virtio.iter().filter(named).count()
    }

    /// The devices on MMIO, for the tree.
    pub(crate) fn on_mmio(&self) -> Result<OnMmio, AttachError> {
        let attached = self.virtio.iter().map(|a| (a.name.as_str(), a.place));
        let devices = attached.chain(self.config.rng.map(|place| (RNG, place)));
        let mmio = |slot| match slot {
            Slot::Mmio(slot) => Some(slot),
            Slot::Pci(_) => None,
        };
        let slots = slots(&Board::bamboo(), devices)?;
        let asked = self.virtio.iter().filter(|a| a.place.bus == Bus::Mmio);
        Ok(OnMmio {
            slots: slots.into_iter().filter_map(mmio).collect(),
            asked: asked.map(|a| a.name.clone()).collect(),
        })
    }

    /// All devices in their order.
    pub(crate) fn take_attachments(&mut self) -> Vec<Attachment> {
        if let Some(place) = self.config.rng.take() {
            self.attach(RNG, place, |host| {
                Ok(Box::new(Rng::new(entropy::source(host.clock))))
            });
        }
        std::mem::take(&mut self.virtio)
    }
}

/// The entropy device's name.
const RNG: &str = "rng";

/// Stops devices, in the order in which they were attached, when asked or dropped: buffers are
/// flushed, threads end.
#[derive(Default)]
pub(crate) struct Running(Vec<Box<dyn FnMut() + Send>>);

impl Running {
    /// Stops all devices; once.
    pub fn stop(&mut self) {
        for mut stop in std::mem::take(&mut self.0) {
            stop();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A device's transport, shared between its bus and [`Running`].
type Shared<T> = Arc<std::sync::Mutex<T>>;

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

    #[test]
    fn a_place_is_read() {
        let place = "bus=pci,legacy".parse::<Place>().unwrap();
        assert!(place.bus == Bus::Pci && place.legacy);
        assert_eq!("".parse::<Place>().unwrap(), Place::default());
        let error = "bus=isa".parse::<Place>().unwrap_err().to_string();
        assert_eq!(error, "bus=isa: use mmio or pci");
    }
}
