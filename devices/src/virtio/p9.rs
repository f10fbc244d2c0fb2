//! The 9P device: a way for messages of a file protocol (virtio 1.2, 5.12 names it; the fields are
//! those of Linux's `virtio_9p.h`).
//!
//! [`P9`] is the chip. [`Requests`] takes messages out of the queue and puts replies in; it is
//! handed to a [`Worker`], who answers them on a thread of the host's. What the messages mean is
//! not known here.

use std::io::{Read, Write};

use vm_memory::GuestMemory;

use super::{Activation, ByteOrder, Chain, QueueError, VirtioDevice, read_fields};

/// The device ID (virtio 1.2, chapter 5).
pub const DEVICE_ID: u16 = 9;

/// VIRTIO_9P_MOUNT_TAG: the configuration fields have a tag.
const MOUNT_TAG: u64 = 1 << 0;

/// Entries of the queue, which is the most segments that Linux puts into a message.
const QUEUE_SIZE: u16 = 128;

/// Answers messages, and waits for the host while it does.
pub trait Exchange {
    /// The longest message that means anything, in bytes; the rest of a longer one is not read.
    fn longest(&self) -> usize;

    /// Answers `request`, which may hold anything, with a `reply` of at most `room` bytes. One that
    /// is longer is not given to the driver. Returns whether the driver still waits for it; when
    /// it does not, guest memory stays as it is.
    fn answer(&mut self, request: &[u8], room: usize, reply: &mut Vec<u8>) -> bool;
}

/// Messages that wait for answers.
pub trait Serve: Send {
    /// Has one message answered; `false` when there is none, or nobody waits for its answer.
    fn serve_next(&mut self, exchange: &mut dyn Exchange) -> bool;

    /// Nobody can answer any more: the driver must reset the device.
    fn give_up(&self, why: &str);
}

/// The thread of the host's that calls [`Serve::serve_next`].
pub trait Worker: Send {
    /// Starts to serve. It is called for one at a time.
    fn start(&mut self, requests: Box<dyn Serve>);

    /// The driver has messages. Does not wait.
    fn wake(&self);

    /// Returns when nobody serves any more and the requests are dropped, or when
    /// [`Exchange::answer`] will return `false` for the message at hand.
    fn stop(&mut self);
}

/// The queue of an active device.
pub struct Requests<M> {
    activation: Activation<M>,
    request: Vec<u8>,
    reply: Vec<u8>,
}

impl<M: GuestMemory> Requests<M> {
    fn new(activation: Activation<M>) -> Self {
        Requests {
            activation,
            request: Vec::new(),
            reply: Vec::new(),
        }
    }

    fn try_serve(&mut self, exchange: &mut dyn Exchange) -> Result<bool, QueueError> {
        let Activation { memory, queues, .. } = &mut self.activation;
        let Some(queue) = queues.first_mut() else {
            return Ok(false);
        };
        let chain = loop {
            if let Some(chain) = queue.pop(memory)? {
                break chain;
            }
            if !queue.enable_notification(memory)? {
                return Ok(false);
            }
            queue.disable_notification(memory)?;
        };
        let Some(written) = self.exchange(exchange, &chain)? else {
            return Ok(false);
        };
        let Activation { memory, queues, .. } = &mut self.activation;
        let queue = &mut queues[0];
        queue.push(memory, chain.head, written)?;
        if queue.needs_interrupt(memory) {
            self.activation.interrupt.used();
        }
        Ok(true)
    }

    /// Bytes of the reply; none when nobody waits for it.
    fn exchange(
        &mut self,
        exchange: &mut dyn Exchange,
        chain: &Chain,
    ) -> Result<Option<u32>, QueueError> {
        let failed = |why| QueueError::Request {
            head: chain.head,
            why,
        };
        let memory = &self.activation.memory;
        let length = chain.readable_len().min(exchange.longest());
        self.request.resize(length, 0);
        let read = chain.reader(memory).read_exact(&mut self.request);
        read.map_err(|_| failed("it cannot be read"))?;
        let room = chain.writable_len();
        if !exchange.answer(&self.request, room, &mut self.reply) {
            return Ok(None);
        }
        if self.reply.len() > room {
            return Err(failed("it has no room for a reply"));
        }
        let mut writer = chain.writer(memory);
        let written = writer.write_all(&self.reply);
        written.map_err(|_| failed("its reply cannot be written"))?;
        Ok(Some(writer.written()))
    }
}

impl<M: GuestMemory + Send> Serve for Requests<M> {
    fn serve_next(&mut self, exchange: &mut dyn Exchange) -> bool {
        match self.try_serve(exchange) {
            Ok(served) => served,
            Err(error) => {
                self.activation.break_queue(0, &error);
                false
            }
        }
    }

    fn give_up(&self, why: &str) {
        self.activation.interrupt.needs_reset(why);
    }
}

/// A 9P device. It has no state but that of its session, which the driver's reset ends.
pub struct P9<W> {
    tag: Vec<u8>,
    worker: W,
    active: bool,
}

impl<W: Worker> P9<W> {
    /// A device whose file system the driver finds by `tag`, at most 65535 bytes.
    pub fn new(tag: &str, worker: W) -> Self {
        let length = tag.len().min(u16::MAX.into());
        P9 {
            tag: tag.as_bytes()[..length].to_vec(),
            worker,
            active: false,
        }
    }
}

impl<M, W> VirtioDevice<M> for P9<W>
where
    M: GuestMemory + Send + 'static,
    W: Worker,
{
    fn device_id(&self) -> u16 {
        DEVICE_ID
    }

    fn features(&self) -> u64 {
        MOUNT_TAG
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn config_read(&mut self, offset: u32, data: &mut [u8], order: ByteOrder) {
        let length = self.tag.len() as u16;
        let image = [&order.put_u16(length)[..], &self.tag].concat();
        read_fields(&image, offset, data);
    }

    fn activate(&mut self, activation: Activation<M>) {
        self.worker.start(Box::new(Requests::new(activation)));
        self.active = true;
        // A driver may fill its queue before it is done with the device.
        self.worker.wake();
    }

    fn notify(&mut self, _queue: u16) {
        self.worker.wake();
    }

    fn reset(&mut self) {
        if std::mem::take(&mut self.active) {
            self.worker.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

    use super::*;
    use crate::irq::IrqLine;
    use crate::test_support::driver::Driver;
    use crate::test_support::{Dice, cases};
    use crate::virtio::Interrupt;

    type Memory = GuestMemoryMmap<()>;

    /// Answers with the request, backwards.
    struct Backwards {
        longest: usize,
        seen: Vec<Vec<u8>>,
        forgotten: bool,
    }

    impl Exchange for Backwards {
        fn longest(&self) -> usize {
            self.longest
        }

        fn answer(&mut self, request: &[u8], _room: usize, reply: &mut Vec<u8>) -> bool {
            assert!(request.len() <= self.longest);
            reply.clear();
            reply.extend(request.iter().rev());
            self.seen.push(request.to_vec());
            !self.forgotten
        }
    }

    fn backwards() -> Backwards {
        Backwards {
            longest: 1000,
            seen: Vec::new(),
            forgotten: false,
        }
    }

    #[derive(Default)]
    struct Kept {
        requests: Option<Box<dyn Serve>>,
        wakes: usize,
    }

    /// Keeps what it is given, and counts.
    #[derive(Clone, Default)]
    struct Idle(Arc<Mutex<Kept>>);

    impl Worker for Idle {
        fn start(&mut self, requests: Box<dyn Serve>) {
            self.0.lock().unwrap().requests = Some(requests);
        }

        fn wake(&self) {
            self.0.lock().unwrap().wakes += 1;
        }

        fn stop(&mut self) {
            self.0.lock().unwrap().requests = None;
        }
    }

    impl Idle {
        fn serve(&self, exchange: &mut dyn Exchange) -> bool {
            let mut kept = self.0.lock().unwrap();
            kept.requests.as_mut().unwrap().serve_next(exchange)
        }
    }

    fn memory() -> Memory {
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x20000)]).unwrap()
    }

    fn activation(
        memory: &Memory,
        driver: &Driver,
        order: ByteOrder,
        irq: &IrqLine,
    ) -> Activation<Memory> {
        Activation {
            memory: memory.clone(),
            queues: vec![driver.queue(memory).unwrap()],
            features: 0,
            order,
            interrupt: Interrupt::new("9p", irq.clone()),
        }
    }

    #[test]
    fn the_tag_is_found_in_the_drivers_order() {
        let mut device = P9::new("home", Idle::default());
        let device: &mut dyn VirtioDevice<Memory> = &mut device;
        let mut data = [0; 8];
        device.config_read(0, &mut data, ByteOrder::Little);
        assert_eq!(&data, b"\x04\0home\0\0");
        device.config_read(0, &mut data, ByteOrder::Big);
        assert_eq!(&data, b"\0\x04home\0\0");
        let mut one = [0];
        device.config_read(3, &mut one, ByteOrder::Big);
        assert_eq!(&one, b"o");
        assert_eq!((device.device_id(), device.features()), (9, 1));
    }

    #[test]
    fn a_message_is_answered_over_either_ring() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let (memory, irq) = (memory(), IrqLine::detached());
            let mut driver = Driver::new(order, 0x1000, 16, false);
            let worker = Idle::default();
            let mut device = P9::new("t", worker.clone());
            device.activate(activation(&memory, &driver, order, &irq));
            let mut exchange = backwards();
            assert!(!worker.serve(&mut exchange));

            // In pieces, as Linux's requests without a copy are.
            let offer = driver.offer(&memory, &[b"head", b"er", b"data"], &[3, 4, 100]);
            VirtioDevice::<Memory>::notify(&mut device, 0);
            assert!(worker.serve(&mut exchange) && !worker.serve(&mut exchange));
            assert_eq!(driver.used(&memory), Some((offer.head, 10)));
            assert_eq!(offer.written(&memory, 10), b"atadredaeh");
            assert!(irq.is_asserted());
            assert_eq!(worker.0.lock().unwrap().wakes, 2);

            VirtioDevice::<Memory>::reset(&mut device);
            assert!(worker.0.lock().unwrap().requests.is_none());
            // Nothing happens to one that is not active.
            VirtioDevice::<Memory>::reset(&mut device);
        }
    }

    #[test]
    fn a_reply_for_which_nobody_waits_leaves_memory_as_it_is() {
        let (memory, irq) = (memory(), IrqLine::detached());
        let mut driver = Driver::new(ByteOrder::Little, 0x1000, 16, false);
        let mut requests = Requests::new(activation(&memory, &driver, ByteOrder::Little, &irq));
        let offer = driver.offer(&memory, &[b"header"], &[20]);
        let before = offer.written(&memory, 20);
        let mut exchange = Backwards {
            forgotten: true,
            ..backwards()
        };
        assert!(!requests.serve_next(&mut exchange));
        assert_eq!(exchange.seen, [b"header"]);
        assert_eq!(driver.used(&memory), None);
        assert_eq!(offer.written(&memory, 20), before);
        assert!(!irq.is_asserted());
    }

    #[test]
    fn a_message_that_is_too_long_is_cut() {
        let (memory, irq) = (memory(), IrqLine::detached());
        let mut driver = Driver::new(ByteOrder::Little, 0x1000, 16, false);
        let mut requests = Requests::new(activation(&memory, &driver, ByteOrder::Little, &irq));
        let mut exchange = backwards();
        driver.offer(&memory, &[&[7; 900], &[8; 900]], &[1000]);
        assert!(requests.serve_next(&mut exchange));
        assert_eq!(exchange.seen[0], [&[7; 900][..], &[8; 100]].concat());
    }

    #[test]
    fn a_message_without_room_for_a_reply_breaks_the_device() {
        let (memory, irq) = (memory(), IrqLine::detached());
        let mut driver = Driver::new(ByteOrder::Little, 0x1000, 16, false);
        let activation = activation(&memory, &driver, ByteOrder::Little, &irq);
        let interrupt = activation.interrupt.clone();
        let mut requests = Requests::new(activation);
        driver.offer(&memory, &[b"12345"], &[4]);
        assert!(!requests.serve_next(&mut backwards()));
        assert!(interrupt.is_reset_needed());
        // And says so.
        assert!(irq.is_asserted());
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: cases(256, 1_000_000),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn arbitrary_rings_are_survived(
            seed in any::<u64>(),
            order in prop_oneof![Just(ByteOrder::Little), Just(ByteOrder::Big)],
            idx in any::<u16>(),
        ) {
            let (memory, irq) = (memory(), IrqLine::detached());
            let mut driver = Driver::new(order, 0x1000, 16, false);
            let mut requests = Requests::new(activation(&memory, &driver, order, &irq));
            // Byte by byte, proptest would take many times as long as the device.
            let mut dice = Dice::new(seed);
            let bytes = [(); 0x400].map(|()| dice.roll() as u8);
            memory.write_slice(&bytes, GuestAddress(0x1000)).unwrap();
            driver.set_avail_idx(&memory, idx % 20);
            let mut exchange = backwards();
            let served = (0..100).take_while(|_| requests.serve_next(&mut exchange)).count();
            prop_assert!(served < 100);
        }
    }
}
