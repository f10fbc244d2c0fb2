//! The threads of one disk, which do its requests.
//!
//! The vcpu never waits for the host: it leaves a token, and a thread that finds one looks for
//! requests until there are none. One that finds more than it can do at once wakes another, so that
//! what waits for the host's disk waits together.
//!
//! A reset of the device, and the end of the machine, wait for what the threads are at, but not for
//! ever: a host whose disk hangs (a dead network file system, a failing drive) is left with it. What
//! it brings later does not reach the guest.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ppckvm_devices::virtio::blk::{Serve, Workers};

use crate::host::lock::lock;
use crate::host::sandbox::{Confinement, Role};

/// Threads for each disk: how many requests wait for the host at a time.
const COUNT: usize = 4;

/// How long a stop waits for requests that the host has. A disk that is well answers in less, and
/// a guest's own patience is 30 s.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Job {
    /// What is served, while the device is active.
    server: Option<Arc<dyn Serve>>,
    /// How many threads are still to look for requests.
    tokens: usize,
    /// Threads that wait for a token.
    idle: usize,
    /// Threads that have the server.
    busy: usize,
    /// The machine ends.
    quit: bool,
}

#[derive(Default)]
struct Shared {
    job: Mutex<Job>,
    token: Condvar,
    /// The last busy thread let go.
    idle: Condvar,
}

/// The threads; they end when this is dropped.
pub(crate) struct Threads {
    name: String,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    patience: Duration,
    /// A stop has waited in vain, and the host has not answered since.
    left_behind: bool,
}

impl Threads {
    /// Starts them, idle and confined.
    pub fn new(name: &str, confinement: &Confinement) -> io::Result<Self> {
        let mut all = Threads {
            name: name.into(),
            shared: Arc::default(),
            threads: Vec::with_capacity(COUNT),
            patience: PATIENCE,
            left_behind: false,
        };
        for _ in 0..COUNT {
            let shared = all.shared.clone();
            let thread = std::thread::Builder::new().name(name.into());
            let thread = confinement.spawn(thread, Role::Disk, move || shared.work())?;
            all.threads.push(thread);
        }
        Ok(all)
    }
}

impl Workers for Threads {
    fn start(&mut self, server: Arc<dyn Serve>) {
        let mut job = lock(&self.shared.job);
        if job.busy > 0 {
            // What they do for the driver before could come after what this one wants.
            drop(job);
            return server.give_up("the host has not finished requests from before the reset");
        }
        job.server = Some(server);
        self.left_behind = false;
    }

    fn wake(&self) {
        let mut job = lock(&self.shared.job);
        // One is enough: the thread that takes it sees all requests.
        if job.tokens == 0 && job.server.is_some() {
            job.tokens = 1;
            self.shared.token.notify_one();
        }
    }

    fn stop(&mut self) {
        let mut job = lock(&self.shared.job);
        let server = job.server.take();
        job.tokens = 0;
        let since = Instant::now();
        while job.busy > 0 {
            if self.left_behind {
                // A second wait would be as long for nothing.
                return;
            }
            let Some(left) = self.patience.checked_sub(since.elapsed()) else {
                let (name, busy) = (&self.name, job.busy);
                let patience = self.patience.as_secs();
                drop(job);
                self.left_behind = true;
                if let Some(server) = server {
                    server.abandon();
                }
                return tracing::error!(
                    "{name}: the host has not finished {busy} requests for {patience} s, and they \
                     are left behind"
                );
            };
            let waited = self.shared.idle.wait_timeout(job, left);
            job = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn work(&self) {
        let mut job = lock(&self.job);
        while !job.quit {
            match job.server.clone().filter(|_| job.tokens > 0) {
                Some(server) => {
                    job.tokens -= 1;
                    job.busy += 1;
                    drop(job);
                    self.serve(&*server);
                    drop(server);
                    job = lock(&self.job);
                    job.busy -= 1;
                    if job.busy == 0 {
                        self.idle.notify_all();
                    }
                }
                None => {
                    job.idle += 1;
                    job = wait(&self.token, job);
                    job.idle -= 1;
                }
            }
        }
    }

    /// Does requests until there are none, or the device is stopped.
    fn serve(&self, server: &dyn Serve) {
        let more = || self.wake_another();
        // A panic would leave the guest waiting for ever; it is a bug, here or in what reads qcow2.
        let served = catch_unwind(AssertUnwindSafe(|| {
            while server.serve_next(&more) {
                if lock(&self.job).server.is_none() {
                    break;
                }
            }
        }));
        if served.is_err() {
            server.give_up("a request made the launcher panic");
        }
    }

    fn wake_another(&self) {
        let mut job = lock(&self.job);
        if job.tokens < job.idle {
            job.tokens += 1;
            self.token.notify_one();
        }
    }
}

fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition
        .wait(guard)
        .unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
        let mut job = lock(&self.shared.job);
        job.quit = true;
        self.shared.token.notify_all();
        if job.busy > 0 {
            // Its thread ends when the host lets go of it.
            return;
        }
        drop(job);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a disk's thread panicked");
            }
        }
    }
}

/// Does requests where they are made, in the vcpu's thread: under the virtual clock, what the guest
/// sees of its disk is the same in each run.
#[derive(Default)]
pub(crate) struct InPlace(Option<Arc<dyn Serve>>);

impl Workers for InPlace {
    fn start(&mut self, server: Arc<dyn Serve>) {
        self.0 = Some(server);
    }

    fn wake(&self) {
        if let Some(server) = &self.0 {
            while server.serve_next(&|| ()) {}
        }
    }

    fn stop(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use ppckvm_api::GuestMemory;
    use ppckvm_devices::IrqLine;
    use ppckvm_devices::test_support::driver::Driver;
    use ppckvm_devices::virtio::blk::{Blk, Lease, Medium};
    use ppckvm_devices::virtio::{Activation, ByteOrder, Interrupt, VirtioDevice};
    use vm_memory::bitmap::BitmapSlice;
    use vm_memory::{Bytes, GuestAddress, VolatileSlice};

    use super::super::buffers::Buffers;
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Sender, channel};

    /// Has `left` requests; each says that it is done.
    struct Fake {
        left: AtomicUsize,
        done: Mutex<Sender<()>>,
        panics: bool,
    }

    impl Serve for Fake {
        fn serve_next(&self, more: &dyn Fn()) -> bool {
            let take = |left: usize| left.checked_sub(1);
            let Ok(before) = self
                .left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
            else {
                return false;
            };
            assert!(!self.panics, "as it was asked to");
            if before > 1 {
                more();
            }
            lock(&self.done).send(()).unwrap();
            true
        }

        fn give_up(&self, _why: &str) {
            lock(&self.done).send(()).unwrap();
        }

        fn abandon(&self) {}
    }

    fn fake(left: usize, panics: bool) -> (Arc<Fake>, std::sync::mpsc::Receiver<()>) {
        let (done, all) = channel();
        let fake = Fake {
            left: left.into(),
            done: Mutex::new(done),
            panics,
        };
        (Arc::new(fake), all)
    }

    #[test]
    fn every_request_is_done_and_stopping_waits_for_the_last() {
        let mut threads = Threads::new("test", &Confinement::default()).unwrap();
        // A machine that stands still for some seconds is no host that hangs.
        threads.patience = Duration::from_secs(3600);
        for round in 0..100 {
            let (server, done) = fake(50, false);
            threads.start(server.clone());
            threads.wake();
            if round % 2 == 0 {
                done.iter().take(50).count();
            }
            threads.stop();
            // The threads have let go of it.
            assert_eq!(Arc::strong_count(&server), 1);
        }
    }

    /// Has requests without end, each of which says that it began and waits for the host.
    struct Slow {
        begun: Mutex<Sender<()>>,
        host: Mutex<()>,
    }

    impl Serve for Slow {
        fn serve_next(&self, _more: &dyn Fn()) -> bool {
            lock(&self.begun).send(()).unwrap();
            drop(lock(&self.host));
            true
        }

        fn give_up(&self, _why: &str) {}

        fn abandon(&self) {}
    }

    fn slow() -> (Arc<Slow>, std::sync::mpsc::Receiver<()>) {
        let (begun, all) = channel();
        let slow = Slow {
            begun: Mutex::new(begun),
            host: Mutex::default(),
        };
        (Arc::new(slow), all)
    }

    #[test]
    fn a_notification_does_not_wait_for_the_host() {
        let mut threads = Threads::new("test", &Confinement::default()).unwrap();
        let (slow, all) = slow();
        let busy = lock(&slow.host);
        threads.start(slow.clone());
        for _ in 0..COUNT {
            threads.wake();
            all.recv().unwrap();
        }
        // All threads wait, and this one does not.
        (0..1000).for_each(|_| threads.wake());
        drop(busy);
        threads.stop();
    }

    #[test]
    fn a_host_that_hangs_is_left_and_serves_no_other_driver() {
        let mut threads = Threads::new("test", &Confinement::default()).unwrap();
        threads.patience = Duration::from_millis(10);
        let (slow, all) = slow();
        let hangs = lock(&slow.host);
        threads.start(slow.clone());
        threads.wake();
        all.recv().unwrap();
        threads.stop();
        // Who comes now is told that nobody serves it.
        let (next, told) = fake(1, false);
        threads.start(next.clone());
        told.recv().unwrap();
        threads.wake();
        assert!(threads.shared.job.lock().unwrap().server.is_none());
        // Once the host has answered, the disk works again.
        drop(hangs);
        while lock(&threads.shared.job).busy > 0 {
            std::thread::yield_now();
        }
        threads.start(next);
        threads.wake();
        told.recv().unwrap();
    }

    #[test]
    fn the_end_does_not_wait_for_a_host_that_hangs() {
        let mut threads = Threads::new("test", &Confinement::default()).unwrap();
        threads.patience = Duration::from_millis(10);
        let (slow, all) = slow();
        let hangs = lock(&slow.host);
        threads.start(slow.clone());
        threads.wake();
        all.recv().unwrap();
        drop(threads);
        drop(hangs);
    }

    #[test]
    fn a_panic_is_said_to_the_driver() {
        let mut threads = Threads::new("test", &Confinement::default()).unwrap();
        let (server, given_up) = fake(1, true);
        threads.start(server);
        threads.wake();
        given_up.recv().unwrap();
        threads.stop();
    }

    /// A disk whose host says that it is asked, and answers when it is let.
    struct Hung {
        asked: Mutex<Sender<()>>,
        host: Arc<Mutex<()>>,
    }

    impl Hung {
        fn wait(&self) {
            lock(&self.asked).send(()).unwrap();
            drop(lock(&self.host));
        }
    }

    impl Medium for Hung {
        fn sectors(&self) -> u64 {
            1 << 20
        }

        fn readonly(&self) -> bool {
            false
        }

        fn serial(&self) -> &str {
            ""
        }

        fn read<B: BitmapSlice>(
            &self,
            offset: u64,
            to: &[VolatileSlice<'_, B>],
            lease: &Lease,
        ) -> io::Result<()> {
            Buffers::new(to, lease).read_from(offset, |_, piece| {
                self.wait();
                piece.fill(0xEE);
                Ok(())
            })
        }

        fn write<B: BitmapSlice>(
            &self,
            offset: u64,
            from: &[VolatileSlice<'_, B>],
            lease: &Lease,
        ) -> io::Result<()> {
            Buffers::new(from, lease).write_to(offset, |_, _| {
                self.wait();
                Ok(())
            })
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }

        fn discard(&self, _offset: u64, _bytes: u64) -> io::Result<()> {
            Ok(())
        }

        fn write_zeroes(&self, _offset: u64, _bytes: u64, _unmap: bool) -> io::Result<()> {
            Ok(())
        }
    }

    /// Leaves a request behind, lets the host answer it, and says how often the host was asked. No
    /// byte of the guest's may change once the reset is done.
    fn left_behind(request: impl Fn(&mut Driver, &GuestMemory)) -> usize {
        const RAM: usize = 4 << 20;
        let (sender, asked) = channel();
        let host = Arc::<Mutex<()>>::default();
        let medium = Hung {
            asked: Mutex::new(sender),
            host: host.clone(),
        };
        let mut threads = Threads::new("test", &Confinement::default()).unwrap();
        threads.patience = Duration::from_millis(10);
        let shared = threads.shared.clone();
        let mut device = Blk::new(medium, threads, 1);
        let memory = GuestMemory::from_ranges(&[(GuestAddress(0), RAM)]).unwrap();
        let mut driver = Driver::new(ByteOrder::Big, 0x1000, 16, true);
        let features = VirtioDevice::<GuestMemory>::features(&device);
        device.activate(Activation {
            memory: memory.clone(),
            queues: vec![driver.queue(&memory).unwrap()],
            features,
            order: ByteOrder::Big,
            interrupt: Interrupt::new("test", IrqLine::detached()),
        });
        request(&mut driver, &memory);
        let hangs = lock(&host);
        VirtioDevice::<GuestMemory>::notify(&mut device, 0);
        asked.recv().unwrap();
        VirtioDevice::<GuestMemory>::reset(&mut device);
        let contents = || {
            let mut all = vec![0; RAM];
            memory.read_slice(&mut all, GuestAddress(0)).unwrap();
            all
        };
        let before = contents();
        drop(hangs);
        while lock(&shared.job).busy > 0 {
            std::thread::yield_now();
        }
        assert!(contents() == before, "the guest's memory changed");
        1 + asked.try_iter().count()
    }

    #[test]
    fn what_a_host_brings_after_it_was_left_does_not_reach_the_guest() {
        let header = |kind| [&[0, 0, 0, kind][..], &[0; 12]].concat();
        let asked = left_behind(|driver, memory| {
            driver.offer(memory, &[&header(0)], &[512 << 10, 1]);
        });
        assert_eq!(asked, 1, "reads that nobody waits for");
        // Nor does what the guest has there by then reach the disk.
        let asked = left_behind(|driver, memory| {
            driver.offer(memory, &[&header(1), &[5; 512 << 10]], &[1]);
        });
        assert_eq!(asked, 1, "writes of what is no longer meant for the disk");
    }
}
