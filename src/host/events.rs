//! The event thread: host files and deadlines, one thread for each machine.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use event_manager::{EventManager, MutEventSubscriber, RemoteEndpoint, SubscriberOps};

use crate::host::lock::lock;
use crate::vm::control::{Control, Request};
use crate::vm::outcome::Outcome;
use crate::vm::watch::Watch;

pub(crate) type Subscriber = Box<dyn MutEventSubscriber + Send>;

/// When the vcpu must be called back.
#[derive(Debug, Default)]
struct Deadlines {
    /// Of the current wait.
    wait: Option<Instant>,
    /// Of the whole run, and how long that is.
    run: Option<(Instant, Duration)>,
}

impl Deadlines {
    fn next(&self) -> Option<Instant> {
        let run = self.run.map(|(at, _)| at);
        self.wait.into_iter().chain(run).min()
    }
}

/// The thread; it ends when this is dropped.
pub(crate) struct EventThread {
    endpoint: RemoteEndpoint<Subscriber>,
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    deadlines: Arc<Mutex<Deadlines>>,
}

impl EventThread {
    /// Starts the thread over the given subscribers.
    pub fn start(
        name: &str,
        subscribers: Vec<Subscriber>,
        control: Arc<Control>,
        watch: Arc<Watch>,
    ) -> io::Result<Self> {
        let mut manager = EventManager::<Subscriber>::new().map_err(io::Error::other)?;
        let endpoint = manager.remote_endpoint();
        let waker = manager.remote_endpoint();
        watch.on_change(move || {
            let _ = waker.kick();
        });
        let stop = Arc::new(AtomicBool::new(false));
        let deadlines = Arc::new(Mutex::new(Deadlines::default()));
        let thread = std::thread::Builder::new().name(name.into()).spawn({
            let (stop, deadlines) = (stop.clone(), deadlines.clone());
            move || {
                for subscriber in subscribers {
                    manager.add_subscriber(subscriber);
                }
                while !stop.load(Ordering::SeqCst) {
                    let next = pass(&mut lock(&deadlines), &control);
                    let look = watch.pass(Instant::now());
                    let next = next.into_iter().chain(look).min();
                    let timeout = next.map_or(-1, |left| {
                        // Rounded up, so that the deadline has passed when the wait is over.
                        left.as_millis()
                            .saturating_add(1)
                            .try_into()
                            .unwrap_or(i32::MAX)
                    });
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
            deadlines,
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

    /// Calls the vcpu back at `deadline`, until the next call of this.
    pub fn set_wait(&self, deadline: Option<Instant>) {
        let mut deadlines = lock(&self.deadlines);
        if std::mem::replace(&mut deadlines.wait, deadline) != deadline && deadline.is_some() {
            drop(deadlines);
            self.kick();
        }
    }

    /// Ends the run after `limit` from now.
    pub fn set_run(&self, limit: Option<Duration>) {
        let end = limit.and_then(|limit| Some((Instant::now().checked_add(limit)?, limit)));
        lock(&self.deadlines).run = end;
        self.kick();
    }

    fn kick(&self) {
        // Fails only when the thread is gone, and then nobody waits for the deadline.
        let _ = self.endpoint.kick();
    }
}

/// Requests what is due, and says how long nothing else is.
fn pass(deadlines: &mut Deadlines, control: &Control) -> Option<Duration> {
    let now = Instant::now();
    if deadlines.wait.is_some_and(|at| at <= now) {
        deadlines.wait = None;
        control.request(Request::Deadline);
    }
    if let Some((_, limit)) = deadlines.run.take_if(|(at, _)| *at <= now) {
        control.request(Request::End(Outcome::TimedOut(limit)));
    }
    deadlines.next().map(|at| at.saturating_duration_since(now))
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

    #[test]
    fn what_is_due_is_requested_once_and_the_rest_waits() {
        let control = Control::default();
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        let mut deadlines = Deadlines {
            wait: Some(now),
            run: Some((now + hour, hour)),
        };
        let left = pass(&mut deadlines, &control).unwrap();
        assert!(left <= hour && left > hour / 2);
        assert!(matches!(control.take(), Some(Request::Deadline)));
        pass(&mut deadlines, &control);
        assert!(control.take().is_none());
        deadlines.run = Some((now, hour));
        assert_eq!(pass(&mut deadlines, &control), None);
        assert!(
            matches!(control.take(), Some(Request::End(Outcome::TimedOut(limit))) if limit == hour)
        );
    }
}
