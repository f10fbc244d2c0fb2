//! The thread of one share, which answers the guest's messages one after the other.
//!
//! The vcpu leaves word that there are some and goes on; only a reset of the device waits, for the
//! message at hand. A host that does not come back with it, as a dead network file system does not,
//! is left to itself after a while: the thread serves again once it comes back, and nothing that it
//! brings reaches a guest that has not waited for it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ppckvm_devices::virtio::p9::{Exchange, Serve, Worker};

use super::server::{MOST_MSIZE, Server};
use super::set_id;
use crate::host::lock::lock;
use crate::host::sandbox::{Confinement, Role, Tree};

/// How long a host may take for one message before a reset of the device goes on without it. The
/// vcpu stands still meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

/// What answers messages, and has a session with the guest.
pub(crate) trait Session: Send + 'static {
    /// Answers `request` with a `reply` of at most `room` bytes.
    fn answer(&mut self, request: &[u8], room: usize, reply: &mut Vec<u8>);

    /// Ends the session.
    fn reset(&mut self);
}

impl Session for Server {
    fn answer(&mut self, request: &[u8], room: usize, reply: &mut Vec<u8>) {
        self.handle(request, room, reply);
    }

    fn reset(&mut self) {
        Server::reset(self);
    }
}

#[derive(Default)]
struct Job {
    /// What is served, while the device is active and the thread does not have it.
    requests: Option<Box<dyn Serve>>,
    /// There may be messages.
    woken: bool,
    /// The device was stopped, and the thread has not ended the session yet.
    stopping: bool,
    /// The thread is with the host, and may not come back.
    away: bool,
    /// Nobody waits for what the thread, which is away, has at hand.
    given_up: bool,
    /// The machine ends.
    quit: bool,
    /// The thread ends.
    ended: bool,
}

#[derive(Default)]
struct Shared {
    job: Mutex<Job>,
    /// Something changed for the thread.
    call: Condvar,
    /// The thread ended the session, or itself.
    stopped: Condvar,
}

/// The thread; it ends when this is dropped, or when the host lets it.
pub(crate) struct ShareThread {
    shared: Arc<Shared>,
    tag: String,
    patience: Duration,
    thread: Option<JoinHandle<()>>,
}

impl ShareThread {
    /// Starts the thread of the share `tag`, idle and confined to the folder.
    ///
    /// # Errors
    /// When the host has no more threads.
    pub fn new(
        tag: &str,
        session: impl Session,
        confinement: &Confinement,
        tree: Tree,
    ) -> io::Result<Self> {
        ShareThread::with_patience(tag, session, confinement, Some(tree), PATIENCE)
    }

    /// Makes one as [`new`](Self::new) does, for a host that may take so long.
    pub fn with_patience(
        tag: &str,
        session: impl Session,
        confinement: &Confinement,
        tree: Option<Tree>,
        patience: Duration,
    ) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let work = {
            let shared = shared.clone();
            move || {
                if let Err(error) = set_id::give_up_exception() {
                    tracing::error!("a share keeps CAP_FSETID: {error}");
                }
                shared.work(session);
                lock(&shared.job).ended = true;
                shared.stopped.notify_all();
            }
        };
        let thread = std::thread::Builder::new().name("share".into());
        let thread = confinement.spawn_with(thread, Role::Share, tree, work)?;
        Ok(ShareThread {
            shared,
            tag: tag.into(),
            patience,
            thread: Some(thread),
        })
    }

    /// Waits until `done`, but not for a host that does not answer; whether it is done.
    fn wait_for(&self, done: impl Fn(&Job) -> bool) -> bool {
        let end = Instant::now() + self.patience;
        let mut job = lock(&self.shared.job);
        while !done(&job) {
            let left = end.saturating_duration_since(Instant::now());
            // Without the host, the thread is done soon.
            if job.given_up || left.is_zero() && job.away {
                if !std::mem::replace(&mut job.given_up, true) {
                    tracing::warn!(
                        "share {}: the host has not answered for {:?}; the guest goes on without \
                         it, and the folder is served again when it answers",
                        self.tag,
                        self.patience
                    );
                }
                job.stopping = false;
                job.requests = None;
                job.woken = false;
                return false;
            }
            let left = left.max(Duration::from_millis(10));
            let waited = self.shared.stopped.wait_timeout(job, left);
            job = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Worker for ShareThread {
    fn start(&mut self, requests: Box<dyn Serve>) {
        lock(&self.shared.job).requests = Some(requests);
    }

    fn wake(&self) {
        lock(&self.shared.job).woken = true;
        self.shared.call.notify_one();
    }

    fn stop(&mut self) {
        lock(&self.shared.job).stopping = true;
        self.shared.call.notify_one();
        self.wait_for(|job| !job.stopping);
    }
}

fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition
        .wait(guard)
        .unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn work(&self, mut session: impl Session) {
        let mut job = lock(&self.job);
        while !job.quit {
            if job.stopping || job.given_up {
                let over = match job.given_up {
                    true => None,
                    false => job.requests.take(),
                };
                // The guest's files are closed when it has reset the device.
                job.away = true;
                drop(job);
                drop(over);
                session.reset();
                job = lock(&self.job);
                job.away = false;
                // Given up for this reset, the thread has done what it was asked for; what was
                // started since is served.
                if !std::mem::take(&mut job.given_up) {
                    job.woken = false;
                    job.stopping = false;
                }
                self.stopped.notify_all();
                continue;
            }
            let woken = job.woken;
            match job.requests.take_if(|_| woken) {
                Some(mut requests) => {
                    job.woken = false;
                    drop(job);
                    self.serve(&mut *requests, &mut session);
                    job = lock(&self.job);
                    if !job.given_up {
                        job.requests = Some(requests);
                    }
                }
                None => job = wait(&self.call, job),
            }
        }
    }

    /// Answers messages until there are none, or the device is stopped.
    fn serve(&self, requests: &mut dyn Serve, session: &mut impl Session) {
        let mut exchange = Answers {
            shared: self,
            session,
        };
        // A panic would leave the guest waiting for ever; it is a bug, and not the guest's.
        let served = catch_unwind(AssertUnwindSafe(|| {
            while requests.serve_next(&mut exchange) {
                let job = lock(&self.job);
                if job.stopping || job.quit {
                    break;
                }
            }
        }));
        if served.is_err() && self.is_back() {
            requests.give_up("a message made the launcher panic");
        }
    }

    /// The thread comes back from the host; whether somebody waited for it.
    fn is_back(&self) -> bool {
        let mut job = lock(&self.job);
        job.away = job.given_up;
        !job.given_up
    }
}

/// Answers to a guest that may stop waiting for them.
struct Answers<'a, S> {
    shared: &'a Shared,
    session: &'a mut S,
}

impl<S: Session> Exchange for Answers<'_, S> {
    fn longest(&self) -> usize {
        MOST_MSIZE as usize
    }

    fn answer(&mut self, request: &[u8], room: usize, reply: &mut Vec<u8>) -> bool {
        lock(&self.shared.job).away = true;
        self.session.answer(request, room, reply);
        // From here on a reset waits, however long the reply takes.
        self.shared.is_back()
    }
}

impl Drop for ShareThread {
    fn drop(&mut self) {
        lock(&self.shared.job).quit = true;
        self.shared.call.notify_one();
        // One that is away ends by itself when it comes back.
        if self.wait_for(|job| job.ended)
            && let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a share's thread panicked");
        }
    }
}
