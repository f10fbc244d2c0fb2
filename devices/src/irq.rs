//! Interrupt wires, from a device to an input of an interrupt controller or of the core.
//!
//! A wire knows its own level and tells its sink only of changes. Several wires may meet at one
//! input, which is then asserted while any of them is. A wire that is dropped stops asserting.
//!
//! # Locks
//! A device releases its own lock before it drives a wire. The wire holds a lock of its own while
//! it tells the sink, so that two threads' changes arrive in the order in which they took effect.
//! Wires run from devices through controllers to the core and never back, so these locks nest in
//! that one order.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The end of a wire: an interrupt controller, or the core.
pub trait IrqSink: Send + Sync {
    /// The electrical level of an input changed; `input` counts as the sink's manual does.
    fn set(&self, input: u32, level: bool);
}

/// One input of a sink, with all the wires that meet there.
struct Input {
    sink: Arc<dyn IrqSink>,
    input: u32,
    active_low: bool,
    /// How many wires assert. The lock is held while the sink is told.
    asserting: Mutex<u32>,
}

impl Input {
    /// One more wire asserts, or one fewer.
    fn change(&self, asserted: bool) {
        let mut count = lock(&self.asserting);
        let before = *count > 0;
        *count = if asserted {
            count.saturating_add(1)
        } else {
            count.saturating_sub(1)
        };
        let now = *count > 0;
        if now != before {
            self.sink.set(self.input, now != self.active_low);
        }
    }
}

struct Wire {
    /// None: the other end hangs free.
    input: Option<Arc<Input>>,
    asserted: Mutex<bool>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        let asserted = *self
            .asserted
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(input) = self.input.as_ref().filter(|_| asserted) {
            input.change(false);
        }
    }
}

/// A wire that a device owns; clones are the same wire.
#[derive(Clone)]
pub struct IrqLine(Arc<Wire>);

impl IrqLine {
    /// A wire that ends nowhere, for tests and for outputs that a board leaves open.
    pub fn detached() -> Self {
        Self::new(None)
    }

    /// A wire to an active-high input: asserting it raises the input.
    ///
    /// Further wires to the same input come from [`IrqLine::another`]; two wires made here do not
    /// know of each other.
    pub fn to(sink: Arc<dyn IrqSink>, input: u32) -> Self {
        Self::new(Some(Arc::new(Input {
            sink,
            input,
            active_low: false,
            asserting: Mutex::new(0),
        })))
    }

    /// A wire to an active-low input, as PCI's INTx are: asserting it pulls the input down.
    ///
    /// The input is pulled up at once, as the resistor on the board does.
    pub fn to_active_low(sink: Arc<dyn IrqSink>, input: u32) -> Self {
        sink.set(input, true);
        Self::new(Some(Arc::new(Input {
            sink,
            input,
            active_low: true,
            asserting: Mutex::new(0),
        })))
    }

    /// A new wire to the same input, deasserted.
    pub fn another(&self) -> Self {
        Self::new(self.0.input.clone())
    }

    fn new(input: Option<Arc<Input>>) -> Self {
        IrqLine(Arc::new(Wire {
            input,
            asserted: Mutex::new(false),
        }))
    }

    /// Asserts the wire, or stops asserting it.
    pub fn set(&self, asserted: bool) {
        self.follow(|| asserted);
    }

    /// Drives the wire to what `level` says.
    ///
    /// `level` is asked while the wire's lock is held. A device whose lock `level` takes, and which
    /// calls this after each change, thus never leaves a stale level behind: whichever thread comes
    /// last sees both changes. Computing the level first and calling [`IrqLine::set`] later would
    /// let an older level overwrite a newer one.
    pub fn follow(&self, level: impl FnOnce() -> bool) {
        let mut asserted = lock(&self.0.asserted);
        let now = level();
        if now != *asserted {
            *asserted = now;
            if let Some(input) = &self.0.input {
                input.change(now);
            }
        }
    }

    /// Whether this wire asserts; another wire to the same input may assert when this one does not.
    pub fn is_asserted(&self) -> bool {
        *lock(&self.0.asserted)
    }
}

impl fmt::Debug for IrqLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IrqLine")
            .field("input", &self.0.input.as_ref().map(|i| i.input))
            .field("asserted", &self.is_asserted())
            .finish()
    }
}

/// Levels stay true when another thread panics, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Recorder(Mutex<Vec<(u32, bool)>>);

    impl Recorder {
        fn take(&self) -> Vec<(u32, bool)> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    impl IrqSink for Recorder {
        fn set(&self, input: u32, level: bool) {
            self.0.lock().unwrap().push((input, level));
        }
    }

    #[test]
    fn a_sink_hears_only_of_changes() {
        let sink = Arc::new(Recorder::default());
        let line = IrqLine::to(sink.clone(), 5);
        line.set(false);
        line.set(true);
        line.clone().set(true);
        assert!(line.is_asserted());
        line.set(false);
        assert_eq!(sink.take(), [(5, true), (5, false)]);
    }

    #[test]
    fn wires_to_one_input_are_ored() {
        let sink = Arc::new(Recorder::default());
        let a = IrqLine::to(sink.clone(), 1);
        let b = a.another();
        a.set(true);
        b.set(true);
        a.set(false);
        assert_eq!(sink.take(), [(1, true)]);
        b.set(false);
        assert_eq!(sink.take(), [(1, false)]);
    }

    #[test]
    fn dropping_the_last_clone_of_a_wire_lowers_it() {
        let sink = Arc::new(Recorder::default());
        let a = IrqLine::to(sink.clone(), 1);
        let b = a.another();
        b.set(true);
        let clone = b.clone();
        drop(b);
        assert_eq!(sink.take(), [(1, true)]);
        drop(clone);
        assert_eq!(sink.take(), [(1, false)]);
        drop(a);
        assert_eq!(sink.take(), []);
    }

    #[test]
    fn an_active_low_input_rests_high_and_is_pulled_down() {
        let sink = Arc::new(Recorder::default());
        let a = IrqLine::to_active_low(sink.clone(), 28);
        let b = a.another();
        assert_eq!(sink.take(), [(28, true)]);
        a.set(true);
        b.set(true);
        drop(a);
        assert_eq!(sink.take(), [(28, false)]);
        b.set(false);
        assert_eq!(sink.take(), [(28, true)]);
    }

    #[test]
    fn a_detached_wire_still_knows_its_level() {
        let line = IrqLine::detached();
        line.set(true);
        assert!(line.is_asserted());
        assert!(!line.another().is_asserted());
    }

    #[test]
    fn a_wire_that_follows_ends_at_the_latest_level() {
        let sink = Arc::new(Recorder::default());
        let line = IrqLine::to(sink.clone(), 0);
        let level = Arc::new(Mutex::new(0u32));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (line, level) = (line.clone(), level.clone());
                std::thread::spawn(move || {
                    for _ in 0..250 {
                        *level.lock().unwrap() += 1;
                        line.follow(|| *level.lock().unwrap() % 2 == 1);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(!line.is_asserted());
        assert!(sink.take().last().is_none_or(|last| *last == (0, false)));
    }
}
