//! A network that is two queues of frames: the other end is a test's, or a program's.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use ppckvm_devices::virtio::net::{LARGEST_FRAME, Offload, SMALLEST_FRAME, Wire};
use rustix::event::{EventfdFlags, eventfd};

use super::{Backend, NetError};
use crate::host::lock::lock;

/// Frames that wait in each direction.
const CAPACITY: usize = 1024;

/// Both queues.
#[derive(Debug)]
struct Queues {
    to_guest: Mutex<VecDeque<Vec<u8>>>,
    from_guest: Mutex<VecDeque<Vec<u8>>>,
    /// A frame came from the guest.
    arrived: Condvar,
    /// A frame is there for the guest, or there is room for one of its.
    wake: OwnedFd,
    taken: Mutex<bool>,
}

/// The program's end of two queues of frames; clones are the same end.
#[derive(Clone, Debug)]
pub struct FramePort(Arc<Queues>);

/// The network device's end of two queues of frames; clones are the same end.
#[derive(Clone, Debug)]
pub struct FrameEnd(Arc<Queues>);

impl PartialEq for FrameEnd {
    /// Whether both are the same end.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for FrameEnd {}

/// The frame was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The guest is 1024 frames behind.
    #[error("the guest has 1024 frames to take already")]
    Full,
    /// The frame is shorter or longer than an Ethernet frame can be.
    #[error("a frame has 14 to 65549 bytes, not {0}")]
    Length(usize),
}

/// Makes two queues of frames, one for each direction, and returns their two ends: one for the
/// program, one for [`super::Network::Frames`].
///
/// # Errors
/// When the host has no event descriptor left.
pub fn frame_queues() -> Result<(FramePort, FrameEnd), NetError> {
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|error| {
        NetError::Host {
            what: "event descriptor",
            error: error.into(),
        }
    })?;
    let queues = Arc::new(Queues {
        to_guest: Mutex::default(),
        from_guest: Mutex::default(),
        arrived: Condvar::new(),
        wake,
        taken: Mutex::new(false),
    });
    Ok((FramePort(queues.clone()), FrameEnd(queues)))
}

impl Queues {
    fn wake(&self) {
        // Full only when it is awake already.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

impl FramePort {
    /// Sends a frame to the guest, from the Ethernet header to the last byte of data.
    ///
    /// # Errors
    /// When the guest is far behind, or the frame is none.
    pub fn send(&self, frame: impl Into<Vec<u8>>) -> Result<(), SendError> {
        let frame = frame.into();
        if !(SMALLEST_FRAME..=LARGEST_FRAME).contains(&frame.len()) {
            return Err(SendError::Length(frame.len()));
        }
        {
            let mut queue = lock(&self.0.to_guest);
            if queue.len() >= CAPACITY {
                return Err(SendError::Full);
            }
            queue.push_back(frame);
        }
        self.0.wake();
        Ok(())
    }

    /// Returns the next frame from the guest, or `None` if there is none now.
    pub fn try_receive(&self) -> Option<Vec<u8>> {
        let frame = lock(&self.0.from_guest).pop_front();
        if frame.is_some() {
            self.0.wake();
        }
        frame
    }

    /// Returns the next frame from the guest, or `None` if it does not come within `patience`.
    pub fn receive(&self, patience: Duration) -> Option<Vec<u8>> {
        let queue = lock(&self.0.from_guest);
        let (mut queue, _) = self
            .0
            .arrived
            .wait_timeout_while(queue, patience, |queue| queue.is_empty())
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let frame = queue.pop_front();
        drop(queue);
        if frame.is_some() {
            self.0.wake();
        }
        frame
    }
}

/// A device's hold of its end.
pub(super) struct Frames {
    queues: Arc<Queues>,
    next: Option<Vec<u8>>,
}

impl Frames {
    /// Takes the end, which one device at a time can.
    pub fn new(end: &FrameEnd) -> Result<Self, NetError> {
        if std::mem::replace(&mut *lock(&end.0.taken), true) {
            return Err(NetError::FramesTaken);
        }
        Ok(Frames {
            queues: end.0.clone(),
            next: None,
        })
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        *lock(&self.queues.taken) = false;
    }
}

impl Wire for Frames {
    fn is_ready(&mut self) -> bool {
        lock(&self.queues.from_guest).len() < CAPACITY
    }

    fn send(&mut self, frame: &[u8], _offload: Offload) {
        lock(&self.queues.from_guest).push_back(frame.to_vec());
        self.queues.arrived.notify_one();
    }

    fn receive(&mut self) -> Option<(&[u8], Offload)> {
        if self.next.is_none() {
            self.next = lock(&self.queues.to_guest).pop_front();
        }
        let frame = self.next.as_deref()?;
        Some((frame, Offload::default()))
    }

    fn received(&mut self) {
        self.next = None;
    }
}

impl Backend for Frames {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.queues.wake.as_fd())
    }

    fn poll(&mut self, _now: Instant) {
        // Empty when something else woke the thread.
        let _ = rustix::io::read(&self.queues.wake, &mut [0; 8]);
    }
}
