//! The event thread, one for each machine: it serves host files and sockets, and ticks when somebody
//! has a deadline.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use event_manager::{EventManager, MutEventSubscriber, RemoteEndpoint, SubscriberOps};

use crate::host::sandbox::{Confinement, Role};

pub(crate) type Subscriber = Box<dyn MutEventSubscriber + Send>;

/// Called before each wait with the time; returns when it must be called again at the latest.
pub(crate) type Tick = Box<dyn FnMut(Instant) -> Option<Instant> + Send>;

/// The thread; it ends when this is dropped.
pub(crate) struct EventThread {
    endpoint: RemoteEndpoint<Subscriber>,
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl EventThread {
    /// Starts the thread over the given subscribers.
    ///
    /// # Errors
    /// When the host has no thread or descriptor left.
    pub fn start(name: &str, subscribers: Vec<Subscriber>, mut tick: Tick) -> io::Result<Self> {
        let mut manager = EventManager::<Subscriber>::new().map_err(host_error)?;
        let endpoint = manager.remote_endpoint();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name(name.into()).spawn({
            let stop = stop.clone();
            move || {
                for subscriber in subscribers {
                    manager.add_subscriber(subscriber);
                }
                while !stop.load(Ordering::SeqCst) {
                    let now = Instant::now();
                    let timeout = tick(now).map_or(-1, |at| milliseconds(at, now));
                    if let Err(error) = manager.run_with_timeout(timeout) {
                        tracing::error!("the event thread ends: {error}");
                        return;
                    }
                }
            }
        })?;
        Ok(EventThread {
            endpoint,
            thread: Some(thread),
            stop,
        })
    }

    /// Has the thread serve a subscriber from now on, until the machine ends.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn add(&self, subscriber: Subscriber) -> io::Result<()> {
        let added = self.endpoint.call_blocking(|manager| {
            Ok::<_, event_manager::Error>(manager.add_subscriber(subscriber))
        });
        added.map(drop).map_err(io::Error::other)
    }

    /// Has the thread give up what it does not need, once all that it serves is known.
    ///
    /// # Errors
    /// When the thread is gone, or as [`Confinement::confine`] does.
    pub fn confine(&self, confinement: &Confinement) -> io::Result<()> {
        let confinement = confinement.clone();
        let confined = self.endpoint.call_blocking(move |_| {
            Ok::<_, event_manager::Error>(confinement.confine(Role::Events))
        });
        let confined = confined.map_err(io::Error::other)?;
        confined.map(drop).map_err(io::Error::other)
    }

    /// Makes the thread tick now.
    pub fn kick(&self) {
        // Fails only when the thread is gone, and then nobody waits for a tick.
        let _ = self.endpoint.kick();
    }

    /// What makes the thread tick, for somebody who does not have the thread.
    pub fn kicker(&self) -> impl Fn() + Send + Sync + 'static {
        let endpoint = self.endpoint.clone();
        move || {
            let _ = endpoint.kick();
        }
    }
}

/// What the host said, where it said something.
fn host_error(error: event_manager::Error) -> io::Error {
    match error {
        event_manager::Error::EventFd(error) | event_manager::Error::Epoll(error) => {
            io::Error::from_raw_os_error(error.errno())
        }
        other => io::Error::other(other),
    }
}

/// The time until `at`, rounded up, so that it has come when the wait is over.
fn milliseconds(at: Instant, now: Instant) -> i32 {
    let left = at.saturating_duration_since(now).as_millis();
    left.saturating_add(1).try_into().unwrap_or(i32::MAX)
}

impl Drop for EventThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.kick();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the event thread panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn the_thread_ticks_when_it_said_and_when_it_is_kicked() {
        let (told, ticks) = mpsc::channel();
        let mut left = 3;
        let tick = move |now: Instant| {
            let _ = told.send(());
            left -= 1;
            (left > 0).then(|| now + Duration::from_millis(1))
        };
        let events = EventThread::start("events", Vec::new(), Box::new(tick)).unwrap();
        for _ in 0..3 {
            ticks.recv().unwrap();
        }
        events.kick();
        ticks.recv().unwrap();
        events.kicker()();
        ticks.recv().unwrap();
        drop(events);
        assert!(ticks.iter().count() <= 1);
    }

    #[test]
    fn a_wait_is_over_after_the_deadline_and_never_negative() {
        let now = Instant::now();
        let later = |time| milliseconds(now + time, now);
        assert_eq!(later(Duration::from_micros(1500)), 2);
        assert_eq!(later(Duration::ZERO), 1);
        assert_eq!(milliseconds(now, now + Duration::from_secs(1)), 1);
        assert_eq!(later(Duration::from_secs(1 << 40)), i32::MAX);
    }
}
