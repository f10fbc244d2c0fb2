//! One virtio device of a machine, as plain data.

use crate::host::block::Disk;
use crate::host::net::Net;
use crate::host::serial::Serial;
use crate::host::share::Share;
use crate::host::vsock::Vsock;
use crate::machine::spec::place::Place;

/// A virtio device and where the guest has it.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceSpec {
    /// The bus and interface that it is attached to.
    pub place: Place,
    /// The device, and what it has on the host.
    pub device: Device,
}

/// A virtio device, by what it has on the host.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Device {
    /// A disk; the first is `/dev/vda` in Linux.
    Disk(Disk),
    /// A network device.
    Net(Net),
    /// A folder that the guest mounts over 9P.
    Share(Share),
    /// Streams between the guest and Unix sockets.
    Vsock(Vsock),
    /// A console, `hvc0` and so on in Linux, and where it leads.
    Console(Serial),
    /// A balloon, through which the guest returns memory.
    Balloon,
}

impl Device {
    /// Puts the device at a place.
    pub fn at(self, place: Place) -> DeviceSpec {
        DeviceSpec {
            place,
            device: self,
        }
    }
}

impl<D: Into<Device>> From<D> for DeviceSpec {
    /// Attaches the device over MMIO.
    fn from(device: D) -> Self {
        device.into().at(Place::default())
    }
}

/// Lets a device's options stand for the device.
macro_rules! device {
    ($($name:ident),*) => {$(
        impl From<$name> for Device {
            fn from(device: $name) -> Self {
                Device::$name(device)
            }
        }

        impl $name {
            /// Puts the device at a place.
            pub fn at(self, place: Place) -> DeviceSpec {
                Device::from(self).at(place)
            }
        }
    )*};
}

device!(Disk, Net, Share, Vsock);
