//! Networks: what is at the far end of a virtio-net device's wire.
//!
//! | module | |
//! |---|---|
//! | [`user`] | a network in this process, which needs no privileges |
//! | [`tap`] | a TAP interface of the host |
//! | [`stream`] | a Unix socket in the framing of passt and of QEMU's `-netdev stream` |
//! | [`frames`] | queues of frames, for tests and programs around the library |
//! | [`pcap`] | a file of what passed, for any of them |
//! | [`worker`] | the thread that serves a device and its network |
//!
//! What waits is bounded: the user network's queues by what [`user`] lists; a socket's by 512 KiB and
//! one frame to the peer, after which the guest waits, and 256 KiB and one frame from it; a program's
//! by 1024 frames each way; a TAP's by one frame, for it drops what the host's queue does not take; a
//! capture's by 256 KiB, then the file takes them or ends.

mod frames;
mod pcap;
mod stream;
mod tap;
mod user;
mod worker;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

use ppckvm_api::GuestMemory;
use ppckvm_devices::virtio::VirtioDevice;
use ppckvm_devices::virtio::net::Wire;

use crate::host::sandbox::Confinement;
use frames::Frames;
use pcap::Captured;
use stream::Stream;
use tap::Tap;
use user::User;
use worker::NetDevice;

pub use frames::{FrameEnd, FramePort, SendError, frame_queues};
pub(crate) use user::LiveForwards;
pub use user::{ForwardError, HostForward, ParseForwardError, Protocol, UserNet};

/// The host's side of a network.
pub(crate) trait Backend: Wire {
    /// Readable when [`Backend::poll`] has something to do; none for what never has.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;

    /// Takes what the host has. Called whenever the descriptor is readable, a deadline has passed
    /// or the guest has sent; `now` is the time until the next call.
    fn poll(&mut self, now: Instant);

    /// When to call `poll` at the latest. Called when nothing else is left to do.
    fn deadline(&mut self) -> Option<Instant> {
        None
    }
}

/// A network device without its transport.
type Device = Box<dyn VirtioDevice<GuestMemory>>;

/// The network that a device is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// A network in this process, with QEMU's addresses: the guest is 10.0.2.15, the gateway
    /// 10.0.2.2 and the name server 10.0.2.3.
    User(UserNet),
    /// A TAP interface of the host, by its name.
    Tap(String),
    /// A Unix stream socket that listens at a path, as passt's does.
    Unix(PathBuf),
    /// The queues of a [`FramePort`], which the embedder reads and writes.
    Frames(FrameEnd),
}

/// A port of the host that leads into a running guest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForwardedPort {
    /// The network device's name: `net0` and so on.
    pub network: String,
    /// The forward as it was asked for.
    pub forward: HostForward,
    /// The address and port where the host listens; a port that was left to the host to choose is
    /// filled in.
    pub host: SocketAddr,
}

impl fmt::Display for ForwardedPort {
    /// Writes the address that a client connects to and where it leads:
    /// `tcp:127.0.0.1:2222-10.0.2.15:22`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host;
        HostForward {
            host,
            ..self.forward
        }
        .fmt(f)
    }
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    /// The network that it is connected to.
    pub network: Network,
    /// The device's Ethernet address; by default 52:54:00:12:34:56, the last byte counted up for
    /// each further device.
    pub mac: Option<Mac>,
    /// A capture file in pcap format that gets every frame.
    pub pcap: Option<PathBuf>,
}

impl Net {
    /// Makes a device on a network, with the default address and without a capture.
    pub fn new(network: Network) -> Self {
        Net {
            network,
            mac: None,
            pcap: None,
        }
    }
}

/// An Ethernet address of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub(crate) [u8; 6]);

impl Mac {
    /// The address of the `index`th device that names none.
    pub(crate) fn default_of(index: usize) -> Self {
        let [.., last] = DEFAULT_MAC;
        let mut mac = DEFAULT_MAC;
        mac[5] = last.wrapping_add(index as u8);
        Mac(mac)
    }

    /// The address's six bytes, in the order in which they are sent.
    pub const fn bytes(self) -> [u8; 6] {
        self.0
    }
}

const DEFAULT_MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];

/// The text is not the Ethernet address of a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseMacError {
    /// The text does not have six bytes.
    #[error("`{0}` is no mac address; write six bytes, for example mac=52:54:00:12:34:56")]
    Form(String),
    /// The address is one of several devices.
    #[error("`{0}` is a multicast address, no device's; make its first byte even")]
    Multicast(String),
    /// The address is 0.
    #[error("`{0}` is no device's mac address; take for example mac=52:54:00:12:34:56")]
    Zero(String),
}

impl FromStr for Mac {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let form = || ParseMacError::Form(text.into());
        let mut mac = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut mac {
            let part = parts.next().filter(|part| matches!(part.len(), 1 | 2));
            let digits = part.filter(|part| part.bytes().all(|digit| digit.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(digits.ok_or_else(form)?, 16).map_err(|_| form())?;
        }
        if parts.next().is_some() {
            return Err(form());
        }
        match mac {
            [0, 0, 0, 0, 0, 0] => Err(ParseMacError::Zero(text.into())),
            _ if mac[0] & 1 != 0 => Err(ParseMacError::Multicast(text.into())),
            _ => Ok(Mac(mac)),
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A network that cannot be used; nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// A port of the host cannot be forwarded.
    #[error("hostfwd={forward}: {error}{}", remedy(.error))]
    Forward {
        /// The port.
        forward: HostForward,
        /// The host's error.
        error: io::Error,
    },
    /// A TAP interface cannot be used.
    #[error("tap={name}: {reason}")]
    Tap {
        /// The interface's name.
        name: String,
        /// The host's error, and the remedy.
        reason: String,
    },
    /// Nobody listens on the Unix socket.
    #[error("unix={}: {error}{}", .path.display(), remedy(.error))]
    Unix {
        /// The socket's path.
        path: PathBuf,
        /// The host's error.
        error: io::Error,
    },
    /// A capture cannot be written.
    #[error("pcap={}: {error}", .path.display())]
    Pcap {
        /// The capture's path.
        path: PathBuf,
        /// The host's error.
        error: io::Error,
    },
    /// Another device has the queues of this [`FramePort`].
    #[error("these frame queues are another device's already; make a pair for each")]
    FramesTaken,
    /// The host refused something that a network needs.
    #[error("{what} for a network: {error}")]
    Host {
        /// The thing that was refused.
        what: &'static str,
        /// The host's error.
        error: io::Error,
    },
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; stop what listens there, or name another port",
        io::ErrorKind::AddrNotAvailable => "; name an address of this host",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 and other users' files are not yours"
        }
        io::ErrorKind::NotFound => "; start passt first, with this path as its socket",
        io::ErrorKind::ConnectionRefused => "; nobody listens there any more, start passt again",
        _ => "",
    }
}

/// Opens what a network device has on the host, and starts its thread.
///
/// # Errors
/// What the host does not give.
pub(crate) fn open(
    name: &str,
    net: Net,
    mac: Mac,
    confinement: &Confinement,
) -> Result<(Device, Option<LiveForwards>), NetError> {
    let mut forwards = None;
    let mut network: Box<dyn Backend> = match &net.network {
        Network::User(options) => {
            let (user, listening) = User::new(options)?;
            let ports = options.forwards.iter().zip(listening);
            let ports = ports.map(|(forward, host)| ForwardedPort {
                network: name.into(),
                forward: *forward,
                host,
            });
            forwards = Some(user.live_forwards(name, ports.collect()));
            Box::new(user)
        }
        Network::Tap(tap) => Box::new(Tap::open(tap)?),
        Network::Unix(path) => Box::new(Stream::connect(path)?),
        Network::Frames(end) => Box::new(Frames::new(end)?),
    };
    if let Some(path) = &net.pcap {
        network = Box::new(Captured::new(path, network)?);
    }
    let device = NetDevice::start(name, net.mac.unwrap_or(mac), network, confinement)?;
    Ok((Box::new(device), forwards))
}
