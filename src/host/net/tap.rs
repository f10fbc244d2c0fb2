//! A TAP interface of the host: one that is there, or, for who may, a new one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use ppckvm_devices::virtio::net::{LARGEST_FRAME, Offload, Wire};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, netdevice};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::{Backend, NetError};

/// An open interface.
pub(super) struct Tap {
    name: String,
    device: SyncDevice,
    buffer: Vec<u8>,
    /// Bytes in the buffer that wait for the guest.
    length: usize,
    /// The interface is gone.
    is_gone: bool,
    said_down: bool,
}

/// Whether an interface of that name is there.
fn exists(name: &str) -> io::Result<bool> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    match netdevice::name_to_index(&socket, name) {
        Ok(_) => Ok(true),
        Err(Errno::NODEV) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Tap {
    /// Opens an interface; makes it, up but without an address, when there is none.
    pub fn open(name: &str) -> Result<Self, NetError> {
        let failed = |reason: String| NetError::Tap {
            name: name.into(),
            reason,
        };
        if name.is_empty() || name.len() > 15 || name.contains(['/', '%']) || !name.is_ascii() {
            let reason = "an interface's name has 1 to 15 letters, without `/` and `%`";
            return Err(failed(reason.into()));
        }
        let existed = exists(name).map_err(|error| failed(error.to_string()))?;
        let builder = DeviceBuilder::new().name(name).layer(Layer::L2);
        let builder = match existed {
            true => builder.inherit_enable_state(),
            false => builder.enable(true),
        };
        let opened = builder.build_sync().and_then(|device| {
            device.set_nonblocking(true)?;
            Ok(device)
        });
        let device = opened.map_err(|error| failed(explain(name, existed, &error)))?;
        Ok(Tap {
            name: name.into(),
            device,
            buffer: vec![0; LARGEST_FRAME],
            length: 0,
            is_gone: false,
            said_down: false,
        })
    }

    fn lost(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.is_gone, true) {
            tracing::error!(
                "tap={}: the interface is gone ({error}); the guest's network leads nowhere now",
                self.name
            );
        }
    }
}

fn explain(name: &str, existed: bool, error: &io::Error) -> String {
    match (Errno::from_io_error(error), existed) {
        (Some(Errno::PERM | Errno::ACCESS), false) => format!(
            "there is no such interface, and only root can make it; once, as root: \
             ip tuntap add {name} mode tap user $USER; ip link set {name} up"
        ),
        (Some(Errno::PERM | Errno::ACCESS), true) => format!(
            "the interface is another user's; as root: ip link del {name}; \
             ip tuntap add {name} mode tap user $USER; ip link set {name} up"
        ),
        (Some(Errno::BUSY), _) => {
            "another program has the interface; stop it or take another".into()
        }
        (Some(Errno::INVAL), true) => {
            format!("the interface is no tap; see `ip -d link show {name}`, and name another")
        }
        (Some(Errno::NOENT | Errno::NODEV | Errno::NXIO), _) => {
            format!("/dev/net/tun: {error}; the host's kernel has no tun module loaded")
        }
        _ => error.to_string(),
    }
}

impl Wire for Tap {
    fn send(&mut self, frame: &[u8], _offload: Offload) {
        if self.is_gone {
            return;
        }
        if let Err(error) = self.device.send(frame) {
            match Errno::from_io_error(&error) {
                // The host's queue is full: a wire loses what it cannot carry.
                Some(Errno::AGAIN | Errno::NOBUFS | Errno::INTR) => {}
                // Too short for the host, or too long.
                Some(Errno::INVAL | Errno::MSGSIZE) => {}
                Some(Errno::IO | Errno::NETDOWN) => {
                    if !std::mem::replace(&mut self.said_down, true) {
                        tracing::warn!(
                            "tap={}: the interface is down, so frames are lost; ip link set {} up",
                            self.name,
                            self.name
                        );
                    }
                }
                _ => self.lost(&error),
            }
        } else {
            self.said_down = false;
        }
    }

    fn receive(&mut self) -> Option<(&[u8], Offload)> {
        while self.length == 0 && !self.is_gone {
            match self.device.recv(&mut self.buffer) {
                Ok(0) => {}
                Ok(length) => self.length = length,
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::AGAIN) => break,
                    Some(Errno::INTR) => {}
                    _ => self.lost(&error),
                },
            }
        }
        (self.length > 0).then(|| (&self.buffer[..self.length], Offload::default()))
    }

    fn received(&mut self) {
        self.length = 0;
    }
}

impl Backend for Tap {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        // A descriptor whose interface is gone is readable for ever.
        (!self.is_gone).then(|| self.device.as_fd())
    }

    fn poll(&mut self, _now: Instant) {}
}
