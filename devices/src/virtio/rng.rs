//! The entropy device (virtio 1.2, 5.4): the driver offers buffers, and gets them full of random
//! bytes.

use std::io::Write;

use vm_memory::GuestMemory;

use super::backlog::REQUESTS_AT_ONCE;
use super::byte_order::ByteOrder;
use super::device::{Activation, VirtioDevice};
use super::queue_error::QueueError;

/// The virtio device ID.
pub const DEVICE_ID: u16 = 4;

/// The one queue, of buffers to fill.
const QUEUE_SIZES: [u16; 1] = [64];

/// How much of a buffer is filled, in bytes: what a request costs is bounded, and a driver takes
/// less than it asked for.
const MOST: usize = 4096;

/// A source of random bytes.
pub trait Entropy: Send {
    /// Fills all of `bytes`, without waiting.
    fn fill(&mut self, bytes: &mut [u8]);
}

impl<F: FnMut(&mut [u8]) + Send> Entropy for F {
    fn fill(&mut self, bytes: &mut [u8]) {
        self(bytes);
    }
}

/// The entropy device. It has no state: requests are answered before the guest goes on.
pub struct Rng<M> {
    entropy: Box<dyn Entropy>,
    activation: Option<Activation<M>>,
    /// There may be more requests than were done.
    more: bool,
}

impl<M> Rng<M> {
    /// A device over a source of random bytes.
    pub fn new(entropy: Box<dyn Entropy>) -> Self {
        Rng {
            entropy,
            activation: None,
            more: false,
        }
    }
}

/// Fills buffers that wait; returns whether there may be more.
fn serve<M: GuestMemory>(
    entropy: &mut dyn Entropy,
    activation: &mut Activation<M>,
) -> Result<bool, QueueError> {
    let Some(queue) = activation.queues.first_mut() else {
        return Ok(false);
    };
    let mut filled = 0;
    while filled < REQUESTS_AT_ONCE
        && let Some(chain) = queue.pop(&activation.memory)?
    {
        let mut bytes = [0; MOST];
        let mut writer = chain.writer(&activation.memory);
        let count = writer.remaining().min(MOST);
        let head = chain.head;
        if count == 0 {
            let why = "no buffer to fill";
            return Err(QueueError::Request { head, why });
        }
        entropy.fill(&mut bytes[..count]);
        writer
            .write_all(&bytes[..count])
            .map_err(|_| QueueError::Request {
                head,
                why: "its buffer cannot be written",
            })?;
        queue.push(&activation.memory, head, writer.written())?;
        filled += 1;
    }
    if filled > 0 && queue.needs_interrupt(&activation.memory) {
        activation.interrupt.used();
    }
    Ok(filled == REQUESTS_AT_ONCE)
}

impl<M: GuestMemory + Send> VirtioDevice<M> for Rng<M> {
    fn device_id(&self) -> u16 {
        DEVICE_ID
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn config_read(&mut self, _offset: u32, data: &mut [u8], _order: ByteOrder) {
        data.fill(0);
    }

    fn activate(&mut self, activation: Activation<M>) {
        self.activation = Some(activation);
    }

    fn notify(&mut self, _queue: u16) {
        VirtioDevice::work_off(self);
    }

    fn has_backlog(&self) -> bool {
        self.more
    }

    fn work_off(&mut self) {
        self.more = false;
        let Some(activation) = &mut self.activation else {
            return;
        };
        match serve(&mut *self.entropy, activation) {
            Ok(more) => self.more = more,
            Err(error) => activation.break_queue(0, &error),
        }
    }

    fn reset(&mut self) {
        self.activation = None;
        self.more = false;
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    use super::*;
    use crate::irq::IrqLine;
    use crate::test_support::driver::Driver;
    use crate::virtio::Interrupt;

    fn active(order: ByteOrder) -> (Rng<GuestMemoryMmap>, Driver, GuestMemoryMmap, Interrupt) {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10_0000)]).unwrap();
        let driver = Driver::new(order, 0x1000, 64, false);
        let mut next = 0u8;
        let mut rng = Rng::new(Box::new(move |bytes: &mut [u8]| {
            bytes.fill_with(|| {
                next = next.wrapping_add(1);
                next
            });
        }));
        let interrupt = Interrupt::new("rng", IrqLine::detached());
        rng.activate(Activation {
            memory: memory.clone(),
            queues: vec![driver.queue(&memory).unwrap()],
            features: 0,
            order,
            interrupt: interrupt.clone(),
        });
        (rng, driver, memory, interrupt)
    }

    #[test]
    fn buffers_come_back_full_up_to_a_page() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let (mut rng, mut driver, memory, interrupt) = active(order);
            let small = driver.offer(&memory, &[], &[3, 2]);
            let large = driver.offer(&memory, &[], &[5000]);
            rng.notify(0);
            assert_eq!(driver.used(&memory), Some((small.head, 5)));
            assert_eq!(small.written(&memory, 5), [1, 2, 3, 4, 5]);
            assert_eq!(driver.used(&memory), Some((large.head, 4096)));
            assert_eq!(interrupt.status(), 1);
        }
    }

    #[test]
    fn a_notification_does_a_bounded_part_of_the_requests() {
        let (mut rng, mut driver, memory, _) = active(ByteOrder::Little);
        for _ in 0..40 {
            driver.offer(&memory, &[], &[8]);
        }
        let mut used = || std::iter::from_fn(|| driver.used(&memory)).count();
        rng.notify(0);
        assert_eq!((used(), rng.has_backlog()), (16, true));
        rng.work_off();
        assert_eq!((used(), rng.has_backlog()), (16, true));
        rng.work_off();
        assert_eq!((used(), rng.has_backlog()), (8, false));
        rng.notify(0);
        rng.reset();
        assert!(!rng.has_backlog());
    }

    #[test]
    fn a_request_without_a_buffer_breaks_the_queue_and_a_reset_silences_it() {
        let (mut rng, mut driver, memory, interrupt) = active(ByteOrder::Little);
        driver.offer(&memory, &[b"x"], &[]);
        rng.notify(0);
        assert!(interrupt.is_reset_needed());
        rng.reset();
        rng.notify(0);
        assert_eq!(driver.used(&memory), None);
    }
}
