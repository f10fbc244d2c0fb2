//! Sockets that listen for clients.

use std::io::{self, Read};
use std::net::{Shutdown, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A socket that listens; a path that it made goes when this is dropped.
pub(crate) enum Listener {
    Unix {
        socket: UnixListener,
        path: PathBuf,
        /// The path's device and inode, to know it again.
        made: (u64, u64),
    },
    Tcp(TcpListener),
}

impl Listener {
    /// Listens at a path that does not exist.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let socket = UnixListener::bind(path)?;
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

    /// What a client connects to.
    pub fn name(&self) -> String {
        match self {
            Listener::Unix { path, .. } => format!("unix={}", path.display()),
            Listener::Tcp(socket) => match socket.local_addr() {
                Ok(address) => format!("tcp={address}"),
                Err(_) => "tcp".into(),
            },
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
        })
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Listener::Unix { socket, .. } => socket.as_raw_fd(),
            Listener::Tcp(socket) => socket.as_raw_fd(),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Unix { socket, .. } => socket.as_fd(),
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

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix { path, made, .. } = self
            && identity(path).is_ok_and(|now| now == *made)
        {
            let _ = std::fs::remove_file(path);
        }
    }
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
