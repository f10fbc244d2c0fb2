//! What happened to the machine, for the thread that serves debuggers.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use crate::vm::control::RunEvent;

/// Events that wait; the last of more are kept.
const MOST: usize = 64;

/// Events, and what wakes the thread that waits for them.
pub struct Events {
    queue: Mutex<VecDeque<RunEvent>>,
    is_over: AtomicBool,
    /// Readable when there is something new.
    pub wake: OwnedFd,
}

impl Events {
    pub fn new() -> io::Result<Self> {
        Ok(Events {
            queue: Mutex::default(),
            is_over: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<RunEvent>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of an event, without waiting.
    pub fn add(&self, event: &RunEvent) {
        let mut queue = self.queue();
        if queue.len() == MOST {
            queue.pop_front();
        }
        queue.push_back(event.clone());
        drop(queue);
        self.wake_up();
    }

    fn wake_up(&self) {
        // It fails when it is readable already.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Whoever waits was woken, and looks.
    pub fn rest(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
    }

    /// The oldest event.
    pub fn take(&self) -> Option<RunEvent> {
        self.queue().pop_front()
    }

    /// Forgets all but the run's end.
    pub fn clear(&self) {
        self.queue()
            .retain(|event| matches!(event, RunEvent::Ended(_)));
    }

    /// Ends the thread that waits.
    pub fn close(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.wake_up();
    }

    /// Whether somebody ended it.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }
}
