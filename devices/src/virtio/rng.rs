//! The entropy device (virtio 1.2, 5.4): the driver offers buffers, and gets them full of random
//! bytes.

use std::io::Write;

use vm_memory::GuestMemory;

use super::device::{ByteOrder, Link, VirtioDevice};
use super::queue::QueueError;

/// Which kind of device it is.
pub const DEVICE_ID: u16 = 4;

/// The one queue, of buffers to fill.
const QUEUE_SIZES: [u16; 1] = [64];

/// How much of a buffer is filled, in bytes: what a request costs is bounded, and a driver takes
/// less than it asked for.
const MOST: usize = 4096;

/// Where random bytes come from.
pub trait Entropy: Send {
    /// Fills all of `bytes`, without waiting.
    fn fill(&mut self, bytes: &mut [u8]);
}

impl<F: FnMut(&mut [u8]) + Send> Entropy for F {
    fn fill(&mut self, bytes: &mut [u8]) {
        self(bytes);
    }
}

/// The device. It has no state: requests are answered while the driver notifies.
pub struct Rng<M> {
    entropy: Box<dyn Entropy>,
    link: Option<Link<M>>,
}

impl<M> Rng<M> {
    /// A device over a source of random bytes.
    pub fn new(entropy: Box<dyn Entropy>) -> Self {
        Rng {
            entropy,
            link: None,
        }
    }
}

/// Fills every buffer that waits; whether the driver is to be told.
fn serve<M: GuestMemory>(
    entropy: &mut dyn Entropy,
    link: &mut Link<M>,
) -> Result<bool, QueueError> {
    let Some(queue) = link.queues.first_mut() else {
        return Ok(false);
    };
    // The guest does not run meanwhile, so this ends with the ring.
    while let Some(chain) = queue.pop(&link.memory)? {
        let mut bytes = [0; MOST];
        let mut writer = chain.writer(&link.memory);
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
        queue.push(&link.memory, head, writer.written())?;
    }
    Ok(queue.needs_interrupt(&link.memory))
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

    fn activate(&mut self, link: Link<M>) {
        self.link = Some(link);
    }

    fn notify(&mut self, queue: u16) {
        let Some(link) = &mut self.link else {
            return;
        };
        match serve(&mut *self.entropy, link) {
            Ok(true) => link.interrupt.used(),
            Ok(false) => {}
            Err(error) => link.break_queue(queue, &error),
        }
    }

    fn reset(&mut self) {
        self.link = None;
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    use super::*;
    use crate::irq::IrqLine;
    use crate::virtio::{Interrupt, driver::Driver};

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
        rng.activate(Link {
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
