//! A machine's virtio devices: their order and names, and each made with what it has on the host.
//!
//! When the machine is built, each device gets the next free slot of its bus in the order of the
//! spec, its host side is opened, and `wiring` puts it behind its transport.

mod console;
pub(crate) mod needs;
pub(crate) mod wiring;

use std::slice;

use ppckvm_api::{Clock, GuestMemory};
use ppckvm_devices::virtio::VirtioDevice;
use ppckvm_devices::virtio::balloon::{Balloon, Target};
use ppckvm_devices::virtio::console::Turns;
use ppckvm_devices::virtio::rng::Rng;

use crate::host::events::EventThread;
use crate::host::net::{LiveForwards, Mac};
use crate::host::sandbox::{Confinement, Sockets};
use crate::host::serial::{Line, Serial};
use crate::host::share::ShareError;
use crate::host::vsock::VsockError;
use crate::host::{block, entropy, net, share, vsock};
use crate::machine::custom::{Additions, CustomVirtio};
use crate::machine::error::BuildError;
use crate::machine::spec::Spec;
use crate::machine::spec::device::Device;
use crate::machine::spec::place::Place;
use crate::vm::ram::Ram;

/// A device without its transport.
pub(crate) type VirtioBox = Box<dyn VirtioDevice<GuestMemory>>;

/// The entropy device's name.
pub(crate) const RNG: &str = "rng";

/// The name of the agent's port.
pub(crate) const AGENT: &str = "agent port";

/// A device's name for messages, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub name: String,
    pub place: Place,
}

/// Where a device in the order of slots comes from.
enum Source {
    Spec(Device),
    Custom(VirtioBox),
    Entropy,
    Agent,
}

/// Gives devices of one kind their numbers.
#[derive(Default)]
struct Names {
    disks: usize,
    nets: usize,
    consoles: usize,
}

impl Names {
    fn name(&mut self, device: &Device) -> String {
        let mut number = |kind: &str| {
            let count = match kind {
                "disk" => &mut self.disks,
                "net" => &mut self.nets,
                _ => &mut self.consoles,
            };
            *count += 1;
            format!("{kind}{}", *count - 1)
        };
        match device {
            Device::Disk(_) => number("disk"),
            Device::Net(_) => number("net"),
            Device::Console(_) => number("console"),
            Device::Share(share) => format!("share {}", share.tag),
            Device::Vsock(_) => "vsock".into(),
            Device::Balloon => "balloon".into(),
        }
    }
}

/// All devices in the order of their slots; the entropy device is the last but the agent's port.
pub(crate) fn named(spec: &Spec, additions: &Additions) -> Vec<Named> {
    let mut names = Names::default();
    let mut custom = additions.virtio.iter().peekable();
    let mut all = Vec::new();
    for (index, device) in spec.devices.iter().enumerate() {
        while let Some(custom) = custom.next_if(|custom| custom.after <= index) {
            all.push(custom.named());
        }
        all.push(Named {
            name: names.name(&device.device),
            place: device.place,
        });
    }
    all.extend(custom.map(CustomVirtio::named));
    all.extend(spec.rng.map(|place| Named {
        name: RNG.into(),
        place,
    }));
    all.extend(additions.agent.then(|| Named {
        name: AGENT.into(),
        place: Place::default(),
    }));
    all
}

impl CustomVirtio {
    fn named(&self) -> Named {
        Named {
            name: self.name.clone(),
            place: self.place,
        }
    }
}

/// The devices' sources, in the order of [`named`].
fn sources(spec: Spec, custom: Vec<CustomVirtio>, agent: bool) -> Vec<Source> {
    let mut custom = custom.into_iter().peekable();
    let mut all = Vec::new();
    for (index, device) in spec.devices.into_iter().enumerate() {
        while let Some(custom) = custom.next_if(|custom| custom.after <= index) {
            all.push(Source::Custom(custom.device));
        }
        all.push(Source::Spec(device.device));
    }
    all.extend(custom.map(|custom| Source::Custom(custom.device)));
    all.extend(spec.rng.map(|_| Source::Entropy));
    all.extend(agent.then_some(Source::Agent));
    all
}

/// Where the virtio consoles lead, in order.
pub(crate) fn console_destinations(spec: &Spec) -> Vec<Serial> {
    let console = |device: &Device| match device {
        Device::Console(serial) => Some(serial.clone()),
        _ => None,
    };
    let devices = spec.devices.iter();
    devices.filter_map(|spec| console(&spec.device)).collect()
}

/// The sockets that a machine makes and connects to by name.
pub(crate) fn sockets(spec: &Spec) -> Sockets {
    let mut sockets = Sockets::default();
    for serial in spec.serial.iter().chain(&console_destinations(spec)) {
        if let Serial::Unix(path) = serial {
            sockets.made_at(path);
        }
    }
    for device in &spec.devices {
        if let Device::Vsock(vsock) = &device.device {
            sockets.made_at(&vsock.uds);
            sockets.connects = true;
        }
    }
    sockets
}

/// Checks what devices exclude each other for.
///
/// # Errors
/// Two shares with one tag, or two socket devices.
pub(crate) fn check(spec: &Spec) -> Result<(), BuildError> {
    let mut tags = Vec::new();
    let mut vsocks = 0;
    for device in &spec.devices {
        match &device.device {
            Device::Share(share) if tags.contains(&&share.tag) => {
                return Err(ShareError::SameTag(share.tag.clone()).into());
            }
            Device::Share(share) => tags.push(&share.tag),
            Device::Vsock(_) if vsocks > 0 => return Err(VsockError::Second.into()),
            Device::Vsock(_) => vsocks += 1,
            _ => {}
        }
    }
    Ok(())
}

/// What devices' host sides are made with, and what they leave behind.
pub(crate) struct Maker<'a> {
    /// The machine's event thread.
    pub events: &'a EventThread,
    /// What the devices' threads give up.
    pub confinement: &'a Confinement,
    /// What drives the guest's time: under the virtual clock, runs are to be the same.
    pub clock: Clock,
    /// Guest RAM.
    pub ram: &'a Ram,
    /// The far ends of the virtio consoles that are still to be made.
    pub consoles: slice::Iter<'a, Line>,
    /// The far end of the agent's port.
    pub agent: Option<&'a Line>,
    /// Which console is set up when.
    pub turns: Turns<GuestMemory>,
    /// How many network devices were made.
    pub nets: usize,
    /// The host's side of the balloon that was made.
    pub balloon: Option<Target>,
    /// The user networks that were made, for their forwarded ports.
    pub networks: Vec<LiveForwards>,
}

impl Maker<'_> {
    /// Opens what a device has on the host.
    fn make(&mut self, name: &str, source: Source) -> Result<VirtioBox, BuildError> {
        let device = match source {
            Source::Custom(device) => return Ok(device),
            Source::Agent => {
                let line = self.agent.expect("the agent's port has a line");
                return Ok(console::agent_port(&line.hub));
            }
            Source::Entropy => return Ok(Box::new(Rng::new(entropy::source(self.clock)))),
            Source::Spec(device) => device,
        };
        Ok(match device {
            Device::Disk(disk) => block::open(&disk, name, self.clock, self.confinement)?,
            Device::Net(net) => {
                let mac = Mac::default_of(self.nets);
                self.nets += 1;
                let (device, forwards) = net::open(name, net, mac, self.confinement)?;
                self.networks.extend(forwards);
                device
            }
            Device::Share(share) => share::open(&share, self.confinement)?,
            Device::Vsock(vsock) => vsock::open(vsock, self.events)?,
            Device::Console(_) => {
                let line = self.consoles.next().expect("each console has a line");
                console::device(&line.hub, &self.turns)
            }
            Device::Balloon => {
                let balloon = Balloon::new(Box::new(self.ram.holes()));
                self.balloon = Some(balloon.target());
                Box::new(balloon)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::block::Disk;
    use crate::host::share::Share;
    use crate::host::vsock::Vsock;

    #[test]
    fn devices_are_numbered_by_kind_in_their_order() {
        let mut spec = Spec::default();
        let disk = || Disk::file("a").at(Place::PCI);
        spec.devices = vec![
            disk(),
            Device::Console(Serial::Null).at(Place::MMIO),
            disk(),
        ];
        let names = |spec: &Spec| -> Vec<String> {
            let all = named(spec, &Additions::default());
            all.into_iter().map(|named| named.name).collect()
        };
        assert_eq!(names(&spec), ["disk0", "console0", "disk1", "rng"]);
        spec.rng = None;
        assert_eq!(names(&spec), ["disk0", "console0", "disk1"]);
        assert_eq!(console_destinations(&spec), [Serial::Null]);
    }

    #[test]
    fn two_shares_with_a_tag_and_two_socket_devices_are_refused() {
        let share = |tag: &str| Share {
            path: "/".into(),
            tag: tag.into(),
            readonly: false,
            setid: false,
        };
        let vsock = || Vsock {
            cid: 3,
            uds: "/v".into(),
        };
        let mut spec = Spec {
            devices: vec![share("a").into(), share("b").into(), vsock().into()],
            ..Spec::default()
        };
        check(&spec).unwrap();
        let mut two = spec.clone();
        two.devices.push(share("a").into());
        let error = check(&two).unwrap_err().to_string();
        assert!(error.contains("two shares"), "{error}");
        spec.devices.push(vsock().into());
        let error = check(&spec).unwrap_err().to_string();
        assert!(error.contains("one vsock device"), "{error}");
    }
}
