//! Requests that are done on the vcpu's thread, a bounded part of them at a time.
//!
//! Some devices answer from within the guest's store to QueueNotify, and a driver may ask for
//! seconds of work with one. Such a device does a part of it, and says that it has more with
//! [`super::VirtioDevice::has_backlog`]. Its transport then raises the [`Backlog`] of the machine.
//! Whoever drives the vcpu looks at that before the guest goes on: it is the place to see whether
//! the run is to end, and then calls [`super::transport::Transport::work_off`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How many requests a device does before it lets others have a look.
///
/// The most expensive ones are the entropy device's: 4 KiB from the host's generator took 16 µs
/// where this was measured, so 0.25 ms in all.
pub(super) const REQUESTS_AT_ONCE: usize = 16;

/// Whether any device of a machine has requests left; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Backlog(Arc<AtomicBool>);

impl Backlog {
    /// Says that a device has requests left.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a device had requests left since this was last called.
    pub fn take(&self) -> bool {
        // Looked at before each entry into the guest, so without a locked instruction.
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}
