//! The builder's devices: each call attaches one, in the order of the slots.

use ppckvm_api::GuestMemory;
use ppckvm_devices::virtio::VirtioDevice;
use ppckvm_devices::virtio::balloon::Balloon;

use crate::host::block::{self, Disk};
use crate::host::net::{self, Mac, Net};
use crate::host::place::Place;
use crate::host::serial::Console;
use crate::host::share::{self, Share, ShareError};
use crate::host::vsock::{self, Vsock, VsockError};
use crate::machine::Machine;
use crate::machine::error::BuildError;
use crate::machine::virtio::{Attachment, Device, Host, console};

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
        let number = self.additions.virtio_consoles.len();
        self.additions.virtio_consoles.push(console);
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

    /// A disk; the first one is `/dev/vda` in the guest. It is opened, checked and locked when the
    /// machine is built.
    pub fn disk(mut self, disk: Disk) -> Self {
        let name = format!("disk{}", self.count_attached("disk"));
        let thread = name.clone();
        self.attach(name, disk.its_place(), move |host| {
            Ok(block::open(&disk, &thread, host.clock)?)
        });
        self
    }

    /// A network device. Devices get their slots in the order in which they are attached.
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
    pub fn net(mut self, net: Net) -> Self {
        let number = self.count_attached("net");
        let name = format!("net{number}");
        let own = name.clone();
        self.attach(name, net.place, move |host| {
            let (device, forwarded) = net::open(&own, net, Mac::default_of(number))?;
            host.forwarded.borrow_mut().extend(forwarded);
            Ok(device)
        });
        self
    }

    /// A folder that the guest can mount with
    /// `mount -t 9p -o trans=virtio,version=9p2000.L TAG DIRECTORY`.
    ///
    /// It is confined to the folder: it follows no link out of it, and opens no device, pipe or
    /// socket of the host's. What it creates has this process's owner, or the guest's when this
    /// process is root's; device nodes it cannot create. Extended attributes are not supported, and
    /// locks hold among the guest's own processes.
    pub fn share(mut self, share: Share) -> Self {
        let name = format!("share {}", share.tag);
        let same = self.count_attached_as(&name) > 0;
        self.attach(name, share.place, move |_| {
            if same {
                return Err(ShareError::SameTag(share.tag).into());
            }
            Ok(share::open(&share)?)
        });
        self
    }

    /// Streams between the guest and Unix sockets of the host's.
    ///
    /// Who connects to `uds` says `CONNECT PORT\n` and gets `OK PORT\n` back when something listens
    /// on that port in the guest; otherwise the connection ends. A connection of the guest's to
    /// port P of the host, context identifier 2, goes to the socket at `uds` with `_P` behind.
    pub fn vsock(mut self, vsock: Vsock) -> Self {
        let second = self.count_attached_as("vsock") > 0;
        self.attach("vsock", vsock.place, move |host| {
            if second {
                return Err(VsockError::Second.into());
            }
            Ok(vsock::open(vsock, host.events)?)
        });
        self
    }

    /// Adds a device whose host side is made when the machine is built.
    fn attach(
        &mut self,
        name: impl Into<String>,
        place: Place,
        make: impl FnOnce(&Host<'_>) -> Result<Device, BuildError> + Send + 'static,
    ) {
        self.additions.virtio.push(Attachment {
            name: name.into(),
            place,
            make: Box::new(make),
        });
    }

    /// How many devices there are whose names begin so: the next one's number.
    fn count_attached(&self, kind: &str) -> usize {
        let of_kind = |attachment: &&Attachment| attachment.name.starts_with(kind);
        self.additions.virtio.iter().filter(of_kind).count()
    }

    /// How many devices have this name.
    fn count_attached_as(&self, name: &str) -> usize {
        let named = |attachment: &&Attachment| attachment.name == name;
        self.additions.virtio.iter().filter(named).count()
    }
}
