//! Virtio devices as a user attaches them: to which bus, in which order, with which host side.
//!
//! An [`Attachment`] is a device to be. When the machine is built, each gets the next free slot of
//! its bus in the order of attachment, its host side is made, and `wiring` puts it behind its
//! transport.

pub(crate) mod console;
pub(crate) mod needs;
pub(crate) mod wiring;

use std::cell::{Cell, RefCell};

use ppckvm_api::{Clock, GuestMemory};
use ppckvm_devices::virtio::VirtioDevice;
use ppckvm_devices::virtio::balloon::Target;
use ppckvm_devices::virtio::console::Turns;
use ppckvm_devices::virtio::rng::Rng;

use crate::host::entropy;
use crate::host::events::EventThread;
use crate::host::net::ForwardedPort;
use crate::host::place::Place;
use crate::host::serial::Line;
use crate::machine::error::BuildError;
use crate::vm::ram::Ram;

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
    /// Where networks leave the ports that lead into the guest.
    pub forwarded: &'a RefCell<Vec<ForwardedPort>>,
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

/// The entropy device's name.
pub(crate) const RNG: &str = "rng";

/// The entropy device to be.
pub(crate) fn rng(place: Place) -> Attachment {
    Attachment {
        name: RNG.into(),
        place,
        make: Box::new(|host| Ok(Box::new(Rng::new(entropy::source(host.clock))))),
    }
}
