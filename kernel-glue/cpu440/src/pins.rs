//! The core's interrupt inputs, as other threads see them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The 440's external and critical inputs, and the request to stop running; clones are the same
/// pins, and any thread may drive them.
#[derive(Clone, Debug, Default)]
pub struct Pins(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Set with every change below, read at each block: the one word the running CPU looks at.
    attention: AtomicBool,
    external: AtomicBool,
    critical: AtomicBool,
    kick: AtomicBool,
    /// Held while a change is published, so that a waiter cannot miss it between look and sleep.
    gate: Mutex<()>,
    changed: Condvar,
}

impl Pins {
    /// Pins with both inputs low and no request pending.
    pub fn new() -> Self {
        Self::default()
    }

    /// Drives the non-critical external input.
    pub fn set_external(&self, level: bool) {
        if self.0.external.swap(level, Ordering::SeqCst) != level {
            self.publish();
        }
    }

    /// Drives the critical input.
    pub fn set_critical(&self, level: bool) {
        if self.0.critical.swap(level, Ordering::SeqCst) != level {
            self.publish();
        }
    }

    /// Asks that the vcpu returns to its caller; stays pending until it is taken.
    pub fn kick(&self) {
        self.0.kick.store(true, Ordering::SeqCst);
        self.publish();
    }

    /// Level of the non-critical external input.
    pub fn external(&self) -> bool {
        self.0.external.load(Ordering::SeqCst)
    }

    /// Level of the critical input.
    pub fn critical(&self) -> bool {
        self.0.critical.load(Ordering::SeqCst)
    }

    /// Whether a kick was pending; it no longer is.
    pub fn take_kick(&self) -> bool {
        // Looked at far more often than it is set; a load leaves the line shared.
        self.0.kick.load(Ordering::SeqCst) && self.0.kick.swap(false, Ordering::SeqCst)
    }

    /// Blocks until something changed since the pins were last looked at, or the time is over.
    ///
    /// A change that comes between the caller's last look and this call ends the wait at once, so
    /// none is missed; a level that merely stays high does not.
    pub fn wait(&self, time: Option<Duration>) {
        let asleep = |(): &mut ()| !self.take_attention();
        // A poisoned gate guards no data: the wait is over either way.
        let gate = self.0.gate.lock().unwrap_or_else(PoisonError::into_inner);
        match time {
            Some(time) => drop(self.0.changed.wait_timeout_while(gate, time, asleep)),
            None => drop(self.0.changed.wait_while(gate, asleep)),
        }
    }

    /// Whether anything changed since the last time this said so.
    #[inline(always)]
    pub(crate) fn take_attention(&self) -> bool {
        self.0.attention.load(Ordering::Relaxed) && self.0.attention.swap(false, Ordering::SeqCst)
    }

    /// Makes the running CPU stop at its next block.
    pub(crate) fn publish(&self) {
        self.0.attention.store(true, Ordering::SeqCst);
        drop(self.0.gate.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kick_is_taken_once() {
        let pins = Pins::new();
        pins.clone().kick();
        pins.wait(None);
        assert!(pins.take_kick());
        assert!(!pins.take_attention() && !pins.take_kick());
    }

    #[test]
    fn only_a_change_of_level_asks_for_attention() {
        let pins = Pins::new();
        pins.set_external(false);
        assert!(!pins.take_attention());
        pins.set_external(true);
        assert!(pins.take_attention() && pins.external());
        pins.set_external(true);
        assert!(!pins.take_attention());
    }

    #[test]
    fn a_waiter_wakes_for_an_input_from_another_thread() {
        let pins = Pins::new();
        let waiter = std::thread::spawn({
            let pins = pins.clone();
            move || pins.wait(None)
        });
        pins.set_critical(true);
        waiter.join().expect("the waiter returns");
        // The level stays high, and that alone does not end another wait.
        pins.wait(Some(Duration::from_millis(1)));
        assert!(!pins.take_attention() && pins.critical());
    }
}
