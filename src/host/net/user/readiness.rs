//! Which of the host's sockets have something to do: one epoll set, whose descriptor is the
//! network's only one to wait for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

/// Names a socket for as long as the network lives; none is given twice.
pub type Id = u64;

/// Events that are taken at once.
const BATCH: usize = 128;

/// The set.
pub struct Readiness {
    epoll: OwnedFd,
    next: Id,
}

impl Readiness {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        Ok(Readiness {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            next: 0,
        })
    }

    /// Adds a socket.
    pub fn add(&mut self, socket: impl AsFd, wanted: EventFlags) -> io::Result<Id> {
        let id = self.next;
        epoll::add(&self.epoll, socket, EventData::new_u64(id), wanted)?;
        self.next += 1;
        Ok(id)
    }

    /// Adds a socket in the place of one that was removed, to be read.
    pub fn add_again(&mut self, id: Id, socket: impl AsFd) -> io::Result<()> {
        let event = EventData::new_u64(id);
        Ok(epoll::add(&self.epoll, socket, event, EventFlags::IN)?)
    }

    /// Removes a socket.
    pub fn remove(&mut self, id: Id, socket: impl AsFd) {
        if let Err(error) = epoll::delete(&self.epoll, socket) {
            tracing::error!("socket {id} of the user network cannot be left alone: {error}");
        }
    }

    /// What happened since.
    pub fn take(&mut self) -> Vec<(Id, EventFlags)> {
        // An event holds a pointer, if only in name, so a buffer of them stays on its thread.
        let mut events: Vec<Event> = Vec::with_capacity(BATCH);
        let now = Timespec::default();
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&now)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => tracing::error!("a network cannot wait for its sockets: {error}"),
        }
        events
            .iter()
            .map(|event| (event.data.u64(), event.flags))
            .collect()
    }

    /// Readable when something has happened.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
