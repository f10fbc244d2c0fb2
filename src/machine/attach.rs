//! The builder's devices: each call attaches one, in the order of the slots.

use ppckvm_api::GuestMemory;
use ppckvm_devices::virtio::VirtioDevice;

use crate::host::block::Disk;
use crate::host::net::Net;
use crate::host::serial::Console;
use crate::host::share::Share;
use crate::host::vsock::Vsock;
use crate::machine::Machine;
use crate::machine::custom::CustomVirtio;
use crate::machine::spec::device::{Device, DeviceSpec};
use crate::machine::spec::place::Place;

impl Machine {
    /// Attaches a virtio device; devices get their slots in the order in which they are attached,
    /// and the generated tree describes those on MMIO.
    pub fn device(mut self, device: impl Into<DeviceSpec>) -> Self {
        self.spec.devices.push(device.into());
        self
    }

    /// Attaches a virtio device of the embedder's; `name` is for messages. Devices get their slots
    /// in the order in which they are attached: on MMIO, the generated tree describes them.
    pub fn virtio_device(
        mut self,
        name: impl Into<String>,
        place: Place,
        device: Box<dyn VirtioDevice<GuestMemory>>,
    ) -> Self {
        self.additions.virtio.push(CustomVirtio {
            after: self.spec.devices.len(),
            name: name.into(),
            place,
            device,
        });
        self
    }

    /// Sets where the guest has an entropy device, or that it has none; by default it has one over
    /// MMIO, behind all other devices. Under the virtual clock its bytes are the same in each run.
    pub fn rng(mut self, place: Option<Place>) -> Self {
        self.spec.rng = place;
        self
    }

    /// Attaches a virtio console, `hvc0` and so on in Linux, and what its bytes come from and go
    /// to; [`crate::Vm::virtio_console_output`] has them too.
    pub fn virtio_console(mut self, console: Console, place: Place) -> Self {
        let is_console = |device: &&DeviceSpec| matches!(device.device, Device::Console(_));
        let number = self.spec.devices.iter().filter(is_console).count();
        let device = Device::Console(console.destination());
        self.additions.virtio_consoles.keep(number, console);
        self.device(device.at(place))
    }

    /// Attaches a balloon, through which the guest returns memory to the host: pages that it does
    /// not use by itself, and others as [`crate::Vm::balloon`] asks for. A second one replaces the
    /// first's host side.
    pub fn balloon(self, place: Place) -> Self {
        self.device(Device::Balloon.at(place))
    }

    /// Attaches a disk; the first one is `/dev/vda` in the guest. It is opened, checked and locked
    /// when the machine is built.
    pub fn disk(self, disk: Disk) -> Self {
        self.device(disk)
    }

    /// Attaches a network device. Devices get their slots in the order in which they are attached.
    ///
    /// ```
    /// use ppckvm::{Machine, Net, Network, frame_queues};
    ///
    /// // A wire whose other end is this program's.
    /// let (port, end) = frame_queues()?;
    /// let machine = Machine::new().net(Net::new(Network::Frames(end)));
    /// // What a guest sends: `port.receive(..)`; what it gets: `port.send(..)`.
    /// # Ok::<(), ppckvm::NetError>(())
    /// ```
    pub fn net(self, net: Net) -> Self {
        self.device(net)
    }

    /// Shares a folder, which the guest can mount with `mount -t 9p -o
    /// trans=virtio,version=9p2000.L TAG DIRECTORY`.
    ///
    /// It is confined to the folder: it follows no link out of it, and opens no device, pipe or
    /// socket of the host's. What it creates has this process's owner, or the guest's when this
    /// process is root's; device nodes it cannot create. Extended attributes are not supported, and
    /// locks hold among the guest's own processes.
    pub fn share(self, share: Share) -> Self {
        self.device(share)
    }

    /// Attaches a device for streams between the guest and Unix sockets of the host's.
    ///
    /// Who connects to `uds` says `CONNECT PORT\n` and gets `OK PORT\n` back when something listens
    /// on that port in the guest; otherwise the connection ends. A connection of the guest's to
    /// port P of the host, context identifier 2, goes to the socket at `uds` with `_P` behind.
    pub fn vsock(self, vsock: Vsock) -> Self {
        self.device(vsock)
    }
}
