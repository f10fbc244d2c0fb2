//! The thread of one share, which answers the guest's messages one after the other.
//!
//! The vcpu leaves word that there are some and goes on; only a reset of the device waits, for the
//! message at hand.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use ppckvm_devices::virtio::p9::{Exchange, Serve, Worker};

use super::server::{MOST_MSIZE, Server};
use super::set_id;
use crate::host::lock::lock;

impl Exchange for Server {
    fn longest(&self) -> usize {
        MOST_MSIZE as usize
    }

    fn answer(&mut self, request: &[u8], room: usize, reply: &mut Vec<u8>) {
        self.handle(request, room, reply);
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
    /// The machine ends.
    quit: bool,
}

#[derive(Default)]
struct Shared {
    job: Mutex<Job>,
    /// Something changed for the thread.
    call: Condvar,
    /// The thread ended the session.
    stopped: Condvar,
}

/// The thread; it ends when this is dropped.
pub(crate) struct ShareThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl ShareThread {
    /// Starts the thread, idle.
    ///
    /// # Errors
    /// When the host has no more threads.
    pub fn new(server: Server) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let thread = std::thread::Builder::new().name("share".into()).spawn({
            let shared = shared.clone();
            move || {
                if let Err(error) = set_id::give_up_exception() {
                    tracing::error!("a share keeps CAP_FSETID: {error}");
                }
                shared.work(server);
            }
        })?;
        Ok(ShareThread {
            shared,
            thread: Some(thread),
        })
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
        let mut job = lock(&self.shared.job);
        job.stopping = true;
        self.shared.call.notify_one();
        while job.stopping {
            job = wait(&self.shared.stopped, job);
        }
    }
}

fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition
        .wait(guard)
        .unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn work(&self, mut server: Server) {
        let mut job = lock(&self.job);
        while !job.quit {
            if job.stopping {
                job.requests = None;
                job.woken = false;
                // The guest's files are closed when it has reset the device.
                server.reset();
                job.stopping = false;
                self.stopped.notify_all();
                continue;
            }
            let woken = job.woken;
            match job.requests.take_if(|_| woken) {
                Some(mut requests) => {
                    job.woken = false;
                    drop(job);
                    self.serve(&mut *requests, &mut server);
                    job = lock(&self.job);
                    job.requests = Some(requests);
                }
                None => job = wait(&self.call, job),
            }
        }
    }

    /// Answers messages until there are none, or the device is stopped.
    fn serve(&self, requests: &mut dyn Serve, server: &mut Server) {
        // A panic would leave the guest waiting for ever; it is a bug, and not the guest's.
        let served = catch_unwind(AssertUnwindSafe(|| {
            while requests.serve_next(server) {
                let job = lock(&self.job);
                if job.stopping || job.quit {
                    break;
                }
            }
        }));
        if served.is_err() {
            requests.give_up("a message made the launcher panic");
        }
    }
}

impl Drop for ShareThread {
    fn drop(&mut self) {
        lock(&self.shared.job).quit = true;
        self.shared.call.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a share's thread panicked");
        }
    }
}
