//! Sockets that listen for clients.

use std::io::{self, Read};
use std::net::{Shutdown, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, connect, socket_with,
};

/// How long a socket that refuses is given to become one that listens.
const SETTLING: Duration = Duration::from_millis(20);

/// A socket that listens; a path that it made goes when this is dropped.
pub(crate) enum Listener {
    Unix {
        socket: UnixListener,
        path: PathBuf,
        /// The path's device and inode, to know it again.
        made: (u64, u64),
    },
    Tcp(TcpListener),
    /// One that the process was started with, of either family; its path is not ours to remove.
    Inherited(UnixListener),
}

impl Listener {
    /// Listens at a path that does not exist, or that a process which was killed left over.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let socket = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && remove_stale(path) => {
                UnixListener::bind(path)?
            }
            bound => bound?,
        };
        socket.set_nonblocking(true)?;
        let made = identity(path)?;
        Ok(Listener::Unix {
            socket,
            path: path.to_owned(),
            made,
        })
    }

    /// Listens at `HOST:PORT`.
    pub fn tcp(address: &str) -> io::Result<Self> {
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        Ok(Listener::Tcp(socket))
    }

    /// A socket that listens already, and whose accepting does not wait.
    pub fn inherited(socket: OwnedFd) -> Self {
        Listener::Inherited(socket.into())
    }

    /// What a client connects to.
    pub fn name(&self) -> String {
        match self {
            Listener::Unix { path, .. } => format!("unix={}", path.display()),
            Listener::Tcp(socket) => match socket.local_addr() {
                Ok(address) => format!("tcp={address}"),
                Err(_) => "tcp".into(),
            },
            Listener::Inherited(socket) => format!("fd={}", socket.as_raw_fd()),
        }
    }

    /// The next client; its reads and writes do not wait.
    pub fn accept(&self) -> io::Result<OwnedFd> {
        Ok(match self {
            Listener::Unix { socket, .. } => {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(true)?;
                stream.into()
            }
            Listener::Tcp(socket) => {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(true)?;
                // Keys and prompts are short, and somebody waits for each.
                stream.set_nodelay(true)?;
                stream.into()
            }
            Listener::Inherited(socket) => {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                let client = accept_with(socket, flags)?;
                // Of a Unix socket, this is no option.
                let _ = set_tcp_nodelay(&client, true);
                client
            }
        })
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Listener::Unix { socket, .. } | Listener::Inherited(socket) => socket.as_raw_fd(),
            Listener::Tcp(socket) => socket.as_raw_fd(),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Unix { socket, .. } | Listener::Inherited(socket) => socket.as_fd(),
            Listener::Tcp(socket) => socket.as_fd(),
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let meta = std::fs::symlink_metadata(path)?;
    if !meta.file_type().is_socket() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok((meta.dev(), meta.ino()))
}

/// Removes a socket at which nobody listens any more; whether the path is free now. What is no
/// socket, or has a listener, stays.
fn remove_stale(path: &Path) -> bool {
    let Ok(found) = identity(path) else {
        return false;
    };
    if !refuses(path) {
        return false;
    }
    // One that is being made refuses too, for the moment between its two calls.
    std::thread::sleep(SETTLING);
    let is_same = || identity(path).is_ok_and(|now| now == found);
    refuses(path) && is_same() && std::fs::remove_file(path).is_ok()
}

/// Whether a stream socket is there and nobody listens.
fn refuses(path: &Path) -> bool {
    // It must not wait for a listener whose queue is full.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let address = SocketAddrUnix::new(path);
    matches!((socket, address), (Ok(socket), Ok(address))
        if connect(&socket, &address) == Err(Errno::CONNREFUSED))
}

impl Drop for Listener {
    fn drop(&mut self) {
        match self {
            Listener::Unix { path, made, .. } => {
                if identity(path).is_ok_and(|now| now == *made) {
                    let _ = std::fs::remove_file(path);
                }
            }
            Listener::Tcp(socket) => stop_listening(socket),
            // Whoever passed it on may go on with it.
            Listener::Inherited(_) => {}
        }
    }
}

/// Frees a socket's port now. Closing does so only with the last copy of the descriptor, and a process
/// that another thread forks has one until it executes its program.
pub(crate) fn stop_listening(socket: &TcpListener) {
    // One that is not listening has nothing to free.
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
}

/// Ends a connection in order: the client gets all that was written, and then the end.
pub(crate) fn close(stream: OwnedFd) {
    // The type's family does not matter to what is called here.
    let mut stream = UnixStream::from(stream);
    let _ = stream.shutdown(Shutdown::Write);
    // A socket that is closed with bytes unread takes back what the client has not read yet.
    let mut bytes = [0; 4096];
    while matches!(stream.read(&mut bytes), Ok(1..)) {}
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn a_socket_that_a_killed_process_left_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        // Dropping it leaves the path, as a kill does.
        drop(UnixListener::bind(&path).unwrap());
        let listener = Listener::unix(&path).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        assert!(listener.accept().is_ok());
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_port_is_free_although_a_forked_child_has_a_copy() {
        let listener = Listener::tcp("127.0.0.1:0").unwrap();
        let address = listener.name().strip_prefix("tcp=").unwrap().to_owned();
        // As after a fork.
        let _copy = rustix::io::fcntl_dupfd_cloexec(&listener, 0).unwrap();
        assert!(Listener::tcp(&address).is_err());
        drop(listener);
        Listener::tcp(&address).unwrap();
    }

    #[test]
    fn what_somebody_listens_at_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let _other = UnixListener::bind(&path).unwrap();
        let error = Listener::unix(&path).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn what_is_no_socket_or_has_an_owner_stays() {
        let folder = tempfile::tempdir().unwrap();
        let stale = folder.path().join("stale");
        drop(UnixListener::bind(&stale).unwrap());
        let file = folder.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&stale, &link).unwrap();
        let datagrams = folder.path().join("datagrams");
        let _owner = UnixDatagram::bind(&datagrams).unwrap();
        for path in [&file, &link, &datagrams] {
            let error = Listener::unix(path).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{}", path.display());
            assert!(std::fs::symlink_metadata(path).is_ok());
        }
        assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    }
}
