//! Streams between the guest and the host: a virtio socket device whose other end is Unix sockets.
//!
//! Who connects on the host goes to the socket at `uds`, says `CONNECT PORT` and a line feed, and
//! gets `OK` and a port of the host's back when something in the guest listens on that port. What
//! the guest connects to, port P of the host, is a socket at `uds` with `_P` behind. It is the
//! convention of Firecracker.
//!
//! What waits is bounded: 64 KiB from the guest for each of at most 1024 streams; for the guest,
//! packets without data, of which no more than 256 wait before nothing of its is read, and what
//! clients of the host's ask for, one packet each. Data for the guest waits in the host's sockets.

mod connection;
mod switch;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use ppckvm_api::GuestMemory;
use ppckvm_devices::virtio::VirtioDevice;
use ppckvm_devices::virtio::vsock::{Host, Packets, Vsock as Device};

use crate::host::events::EventThread;
use crate::host::lock::lock;

use switch::{Switch, path_of_port};

/// Longest path of a socket in bytes, which the host's calls have a fixed field for.
const LONGEST_PATH: usize = 107;

/// A virtio socket device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vsock {
    /// The guest's context identifier: 3 to 4294967294; the host's is 2.
    pub cid: u32,
    /// The path of the Unix socket where the host connects to the guest, which does not exist yet.
    pub uds: PathBuf,
}

/// A socket device that cannot be made; nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VsockError {
    /// The context identifier is not one that a guest can have.
    #[error("the vsock device with cid {0}: {CID}")]
    Cid(u32),
    /// The path is too long for a socket.
    #[error(
        "the vsock device at {}: with a port behind it, the path has more than 107 bytes, which no socket \
         can have; name a shorter one", .0.display()
    )]
    Path(PathBuf),
    /// No socket can be made at the path.
    #[error("the vsock device at {}: {error}{}", .path.display(), remedy(.error))]
    Listen {
        /// The path.
        path: PathBuf,
        /// The host's error.
        error: io::Error,
    },
    /// A machine has one socket device, and this is a second.
    #[error("a guest has one vsock device; leave the others out")]
    Second,
    /// The host has no event descriptor left.
    #[error("the host gives no event descriptor: {0}")]
    Events(io::Error),
}

/// What identifiers a guest can have.
pub(crate) const CID: &str = "0, 1, 2 and 4294967295 are reserved; use 3 or more";

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; stop what uses it, remove a path that is left over, or name another"
        }
        _ => "",
    }
}

/// Whether a guest can have an identifier.
pub(crate) fn is_valid(cid: u32) -> bool {
    (3..u32::MAX).contains(&cid)
}

/// Listens at the device's path, makes the device, and has `events` serve it.
///
/// # Errors
/// A context identifier or a path that cannot be.
pub(crate) fn open(
    vsock: Vsock,
    events: &EventThread,
) -> Result<Box<dyn VirtioDevice<GuestMemory>>, VsockError> {
    let Vsock { cid, uds } = vsock;
    let switch = listen(cid, uds)?;
    let end = HostEnd {
        wake: switch.waker().map_err(VsockError::Events)?,
        switch: Arc::new(Mutex::new(switch)),
    };
    let served = Served {
        events: lock(&end.switch).events(),
        switch: end.switch.clone(),
    };
    events.add(Box::new(served)).map_err(VsockError::Events)?;
    Ok(Box::new(Device::new(cid.into(), end)))
}

fn listen(cid: u32, path: PathBuf) -> Result<Switch, VsockError> {
    if !is_valid(cid) {
        return Err(VsockError::Cid(cid));
    }
    if path_of_port(&path, u32::MAX).as_os_str().len() > LONGEST_PATH {
        return Err(VsockError::Path(path));
    }
    Switch::new(cid.into(), &path).map_err(|error| VsockError::Listen { path, error })
}

/// What the device knows of the switch.
struct HostEnd {
    switch: Arc<Mutex<Switch>>,
    wake: OwnedFd,
}

impl Host for HostEnd {
    fn start(&mut self, packets: Box<dyn Packets>) {
        lock(&self.switch).start(packets);
    }

    fn wake(&self) {
        ring(&self.wake);
    }

    fn stop(&mut self) {
        lock(&self.switch).stop();
    }
}

/// Makes the switch's set of sockets have an event.
fn ring(wake: &OwnedFd) {
    // It fails only when it was rung 2⁶⁴ times without an answer.
    let _ = rustix::io::write(wake, &1_u64.to_ne_bytes());
}

/// What the event thread knows of it.
struct Served {
    switch: Arc<Mutex<Switch>>,
    events: RawFd,
}

impl AsRawFd for Served {
    fn as_raw_fd(&self) -> RawFd {
        self.events
    }
}

impl MutEventSubscriber for Served {
    fn process(&mut self, _events: Events, _ops: &mut EventOps) {
        lock(&self.switch).process();
    }

    fn init(&mut self, ops: &mut EventOps) {
        if let Err(error) = ops.add(Events::new(self, EventSet::IN)) {
            tracing::error!("vsock: the event thread takes no socket: {error}");
        }
    }
}
