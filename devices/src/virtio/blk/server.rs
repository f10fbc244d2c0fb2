//! The requests of an active device, done by whichever thread calls.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use virtio_bindings::virtio_blk as spec;
use vm_memory::GuestMemory;

use super::request::{NoStatus, Status, answer, perform, status_address};
use super::{Lease, Medium};
use crate::virtio::chain::Chain;
use crate::virtio::{Activation, ByteOrder, Interrupt, Queue, QueueError};

/// Requests that wait to be done.
pub trait Serve: Send + Sync {
    /// Does one request from start to end, waiting for the host; `false` when there is none.
    ///
    /// When there are more after it, `more` is called before it is done, so that another thread
    /// can begin with them.
    fn serve_next(&self, more: &dyn Fn()) -> bool;

    /// Nobody can serve any more: the driver must reset the device.
    fn give_up(&self, why: &str);

    /// The driver waits no longer for requests that the host has: once this returns, they touch
    /// nothing of the guest's.
    fn abandon(&self);
}

/// An active device's queues and all that their requests need.
pub struct Server<M, D> {
    medium: Arc<D>,
    writeback: Arc<AtomicBool>,
    lease: Arc<Lease>,
    memory: M,
    queues: Vec<Mutex<Queue>>,
    /// Where to look first, so that no queue starves.
    turn: AtomicUsize,
    order: ByteOrder,
    /// The driver knows of flushes.
    can_flush: bool,
    interrupt: Interrupt,
}

impl<M, D> Server<M, D> {
    pub(super) fn new(
        medium: Arc<D>,
        writeback: Arc<AtomicBool>,
        lease: Arc<Lease>,
        activation: Activation<M>,
    ) -> Self {
        Server {
            medium,
            writeback,
            lease,
            memory: activation.memory,
            queues: activation.queues.into_iter().map(Mutex::new).collect(),
            turn: AtomicUsize::new(0),
            order: activation.order,
            can_flush: activation.features & 1 << spec::VIRTIO_BLK_F_FLUSH != 0,
            interrupt: activation.interrupt,
        }
    }

    fn queue(&self, number: usize) -> MutexGuard<'_, Queue> {
        let queue = &self.queues[number];
        // A queue is whole after each of its methods, whoever panicked between them.
        queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: GuestMemory, D: Medium> Server<M, D> {
    /// The next request of a queue, and whether there are more. Without more, the driver is asked
    /// for a notification.
    fn take(&self, number: usize) -> Result<Option<(Chain, bool)>, QueueError> {
        let mut queue = self.queue(number);
        loop {
            let chain = queue.pop(&self.memory)?;
            let more = queue.enable_notification(&self.memory)?;
            if more {
                queue.disable_notification(&self.memory)?;
            }
            match chain {
                Some(chain) => return Ok(Some((chain, more))),
                None if more => {}
                None => return Ok(None),
            }
        }
    }

    fn serve(&self, chain: &Chain) -> Result<(), NoStatus> {
        let status_at = status_address(chain)?;
        // A driver that cannot flush takes a write that was answered for durable (5.2.6.2).
        let durable = !(self.can_flush && self.writeback.load(Ordering::SeqCst));
        let done = perform(
            &*self.medium,
            &self.memory,
            self.order,
            chain,
            durable,
            &self.lease,
        );
        let status = done.err().unwrap_or(Status::Ok);
        let answered = self
            .lease
            .during(|| answer(&self.memory, status_at, status));
        if let Err(error) = answered {
            tracing::debug!("a request of an earlier driver ended: {error}");
        }
        Ok(())
    }

    /// Says that a request is done, or why it gets no answer.
    fn finish(&self, number: usize, chain: &Chain, served: Result<(), NoStatus>) {
        match served {
            Ok(()) => {
                if let Err(error) = self.give_back(number, chain) {
                    self.interrupt.queue_broken(number as u16, &error);
                }
            }
            Err(error) => {
                self.queue(number).give_up();
                self.interrupt.needs_reset(error);
            }
        }
    }

    fn give_back(&self, number: usize, chain: &Chain) -> Result<(), QueueError> {
        let mut queue = self.queue(number);
        // The status is the last byte, so all of the part counts as written.
        queue.push(&self.memory, chain.head, chain.writable_len() as u32)?;
        let wanted = queue.needs_interrupt(&self.memory);
        drop(queue);
        if wanted {
            self.interrupt.used();
        }
        Ok(())
    }
}

impl<M: GuestMemory + Send + Sync, D: Medium> Serve for Server<M, D> {
    fn serve_next(&self, more: &dyn Fn()) -> bool {
        let count = self.queues.len();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        for number in (0..count).map(|queue| (first.wrapping_add(queue)) % count) {
            let Ok(taken) = self.lease.during(|| self.take(number)) else {
                return false;
            };
            match taken {
                Ok(None) => {}
                Ok(Some((chain, others))) => {
                    if others {
                        more();
                    }
                    let served = self.serve(&chain);
                    // A driver that did not wait is not told.
                    let _ = self.lease.during(|| self.finish(number, &chain, served));
                    return true;
                }
                Err(error) => self.interrupt.queue_broken(number as u16, &error),
            }
        }
        false
    }

    fn give_up(&self, why: &str) {
        self.interrupt.needs_reset(why);
    }

    fn abandon(&self) {
        self.lease.end();
    }
}
