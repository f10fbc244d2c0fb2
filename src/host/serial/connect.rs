//! Far ends that are there already: who listens at a socket, and descriptors that the process was
//! started with.

use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::sockopt::socket_acceptconn;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::host::listener::Listener;

/// Connects to who listens at a path; reads and writes do not wait.
pub(super) fn unix(path: &Path) -> io::Result<OwnedFd> {
    let socket = UnixStream::connect(path)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Connects to who listens at `HOST:PORT`; reads and writes do not wait.
pub(super) fn tcp(address: &str) -> io::Result<OwnedFd> {
    let socket = TcpStream::connect(address)?;
    socket.set_nonblocking(true)?;
    // Keys and prompts are short, and somebody waits for each.
    socket.set_nodelay(true)?;
    Ok(socket.into())
}

/// What a descriptor that the process was started with is.
pub(super) enum Inherited {
    /// A socket that waits for clients.
    Listens(Listener),
    /// A socket with a peer; its reads and writes do not wait.
    Connected(OwnedFd),
    /// Anything else that is open.
    File(OwnedFd),
}

/// A duplicate of a descriptor that the process was started with.
pub(super) fn inherited(number: u32) -> io::Result<Inherited> {
    let number = i32::try_from(number).map_err(|_| Errno::BADF)?;
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    let file = pidfd_getfd(this, number, PidfdGetfdFlags::empty())?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    if kind != FileType::Socket {
        return Ok(Inherited::File(file));
    }
    // The socket's own state, which whoever passed it on has given away.
    rustix::io::ioctl_fionbio(&file, true)?;
    Ok(match socket_acceptconn(&file)? {
        true => Inherited::Listens(Listener::inherited(file)),
        false => Inherited::Connected(file),
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn an_inherited_descriptor_is_known_by_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let (socket, _peer) = UnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        let number = |fd: i32| inherited(u32::try_from(fd).unwrap()).unwrap();
        assert!(matches!(
            number(listener.as_raw_fd()),
            Inherited::Listens(_)
        ));
        assert!(matches!(
            number(socket.as_raw_fd()),
            Inherited::Connected(_)
        ));
        assert!(matches!(number(file.as_raw_fd()), Inherited::File(_)));
    }

    #[test]
    fn a_number_that_is_no_descriptor_is_refused() {
        for number in [1 << 20, u32::MAX] {
            let error = inherited(number).err().unwrap();
            assert_eq!(Errno::from_io_error(&error), Some(Errno::BADF));
        }
    }
}
