//! What a machine is made of, as the commands list it.

use crate::host::net::Network;
use crate::machine::spec::Spec;
use crate::machine::spec::device::Device;

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DiskEntry {
    pub name: String,
    /// Where its image is; none for one in memory.
    pub file: Option<String>,
    pub format: Option<String>,
    pub is_read_only: bool,
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NetEntry {
    pub name: String,
    pub mac: String,
    /// What is at its other end.
    pub end: String,
}

/// What a machine is made of, as its monitors tell it.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    pub(super) disks: Vec<DiskEntry>,
    pub(super) nets: Vec<NetEntry>,
    /// Labels of character devices, and where they lead.
    pub(super) chardevs: Vec<(String, String)>,
    /// The caller's names of user networks, for ours.
    pub(super) network_names: Vec<(String, String)>,
    /// The machine's name.
    pub(super) name: Option<String>,
}

impl Inventory {
    /// Lists what the options of a machine ask for.
    pub fn of(spec: &Spec) -> Self {
        let mut inventory = Inventory::default();
        for (number, serial) in spec.serial.iter().enumerate() {
            let label = format!("serial{number}");
            inventory.chardevs.push((label, serial.to_string()));
        }
        let mut consoles = 0;
        for device in &spec.devices {
            match &device.device {
                Device::Disk(disk) => {
                    let name = format!("disk{}", inventory.disks.len());
                    inventory.disks.push(DiskEntry {
                        name,
                        file: disk.path().map(|path| path.display().to_string()),
                        format: disk.named_format().map(|format| format.to_string()),
                        is_read_only: disk.is_read_only(),
                    });
                }
                Device::Net(net) => {
                    let number = inventory.nets.len();
                    let mac = net.mac.unwrap_or(crate::host::net::Mac::default_of(number));
                    let end = match &net.network {
                        Network::User(user) => {
                            let restrict = match user.restrict {
                                true => "on",
                                false => "off",
                            };
                            format!("type=user,net=10.0.2.0,restrict={restrict}")
                        }
                        Network::Tap(name) => format!("type=tap,ifname={name}"),
                        Network::Unix(path) => format!("type=stream,addr.path={}", path.display()),
                        Network::Frames(_) => "type=frames".into(),
                    };
                    inventory.nets.push(NetEntry {
                        name: format!("net{number}"),
                        mac: mac.to_string(),
                        end,
                    });
                }
                Device::Console(serial) => {
                    let label = format!("console{consoles}");
                    consoles += 1;
                    inventory.chardevs.push((label, serial.to_string()));
                }
                Device::Share(_) | Device::Vsock(_) | Device::Balloon => {}
            }
        }
        inventory
    }

    /// Has commands know a user network by its caller's name too.
    pub fn add_network_name(&mut self, given: impl Into<String>, ours: impl Into<String>) {
        self.network_names.push((given.into(), ours.into()));
    }

    /// Adds a character device to the list.
    pub fn add_chardev(&mut self, label: impl Into<String>, leads_to: impl Into<String>) {
        self.chardevs.push((label.into(), leads_to.into()));
    }

    /// Names the machine.
    pub fn set_name(&mut self, name: impl Into<String>) {
        self.name = Some(name.into());
    }
}
