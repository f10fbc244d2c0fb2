//! Guest memory for as long as the driver lends it to the requests of an active device.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

/// What the requests of one activation may do with guest memory, and until when.
///
/// A driver that resets the device wants its memory back. It waits for the requests under way, but
/// not for a host that does not answer them: what such a host brings later finds the lease ended.
#[derive(Debug, Default)]
pub struct Lease {
    recalled: AtomicBool,
    ended: RwLock<bool>,
}

impl Lease {
    /// The driver waits for its requests to end.
    pub fn recall(&self) {
        self.recalled.store(true, Ordering::Relaxed);
    }

    /// Returns whether a request should end early.
    pub fn is_recalled(&self) -> bool {
        self.recalled.load(Ordering::Relaxed)
    }

    /// Ends the lease, once the accesses under way are done.
    pub fn end(&self) {
        *self.ended.write().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Does `access`, which touches guest memory and does not wait for the host; the lease does not
    /// end meanwhile.
    ///
    /// # Errors
    /// The lease has ended, and nothing was done.
    pub fn during<T>(&self, access: impl FnOnce() -> T) -> io::Result<T> {
        let ended = self.ended.read().unwrap_or_else(PoisonError::into_inner);
        match *ended {
            false => Ok(access()),
            true => Err(io::Error::other("the driver has taken its memory back")),
        }
    }
}
