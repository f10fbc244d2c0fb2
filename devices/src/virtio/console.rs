//! The console device (virtio 1.2, 5.3): one port, whose bytes a feeder brings and a sink takes.
//!
//! Input is paced, never dropped, as with [`crate::uart16550`]: [`Console::fill`] asks for what the
//! guest has room for, and [`Sink::has_room`] tells the feeder that there may be more.

use std::fmt;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_memory::GuestMemory;

use super::chain::Chain;
use super::device::{ByteOrder, Link, VirtioDevice, read_fields};
use super::queue::QueueError;

/// Which kind of device it is.
pub const DEVICE_ID: u16 = 3;

/// The driver may write a character to the configuration fields, before it has any queue.
const F_EMERG_WRITE: u64 = 1 << 2;

/// Input, then output.
const QUEUE_SIZES: [u16; 2] = [64, 64];
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;

/// Bytes of one request: what it costs is bounded. Linux writes 16 bytes or a page.
const MOST: usize = 64 << 10;

/// Offset of the field that sends a character.
const EMERG_WR: u32 = 8;
/// The number of ports, at offset 4: without the feature for several, the field means nothing.
const FIELDS: [u8; 12] = [0; 12];

/// What is at the other end of a console.
pub trait Sink: Send + Sync {
    /// Takes bytes that the guest sent. It is called on the vcpu's thread, so it does not wait.
    fn send(&self, bytes: &[u8]);

    /// The guest has more room for input. It is called with no lock held, and may call
    /// [`Console::fill`].
    fn has_room(&self);
}

/// What a snapshot must hold, beside the queues' positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// A buffer for input that was taken from its queue while there was none.
    pub waiting: Option<Chain>,
}

struct Ports<M> {
    link: Option<Link<M>>,
    state: State,
}

impl<M> Default for Ports<M> {
    fn default() -> Self {
        Ports {
            link: None,
            state: State::default(),
        }
    }
}

impl<M: GuestMemory> Ports<M> {
    /// Moves input into the guest's buffers.
    fn fill(&mut self, source: &mut dyn FnMut(usize) -> Vec<u8>) -> Result<(), QueueError> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        let Some(queue) = link.queues.get_mut(RECEIVE) else {
            return Ok(());
        };
        let mut moved = false;
        loop {
            let chain = match self.state.waiting.take() {
                Some(chain) => chain,
                None => match queue.pop(&link.memory)? {
                    Some(chain) => chain,
                    None => break,
                },
            };
            let mut writer = chain.writer(&link.memory);
            let head = chain.head;
            if writer.remaining() == 0 {
                let why = "no room for input";
                return Err(QueueError::Request { head, why });
            }
            let bytes = source(writer.remaining().min(MOST));
            if bytes.is_empty() {
                self.state.waiting = Some(chain);
                break;
            }
            writer.write_all(&bytes).map_err(|_| QueueError::Request {
                head,
                why: "its buffer cannot be written",
            })?;
            queue.push(&link.memory, head, writer.written())?;
            moved = true;
        }
        if moved && queue.needs_interrupt(&link.memory) {
            link.interrupt.used();
        }
        Ok(())
    }

    /// Hands the guest's output to `send`.
    fn drain(&mut self, send: &mut dyn FnMut(&[u8])) -> Result<(), QueueError> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        let Some(queue) = link.queues.get_mut(TRANSMIT) else {
            return Ok(());
        };
        // The guest does not run meanwhile, so this ends with the ring.
        let mut moved = false;
        while let Some(chain) = queue.pop(&link.memory)? {
            let head = chain.head;
            if chain.readable_len() > MOST {
                let why = "more output than a driver has at once";
                return Err(QueueError::Request { head, why });
            }
            let mut bytes = Vec::new();
            chain
                .reader(&link.memory)
                .read_to_end(&mut bytes)
                .map_err(|_| QueueError::Request {
                    head,
                    why: "its buffer cannot be read",
                })?;
            send(&bytes);
            queue.push(&link.memory, head, 0)?;
            moved = true;
        }
        if moved && queue.needs_interrupt(&link.memory) {
            link.interrupt.used();
        }
        Ok(())
    }

    fn report(&self, queue: usize, result: Result<(), QueueError>) {
        if let (Some(link), Err(error)) = (&self.link, result) {
            link.interrupt.queue_broken(queue as u16, &error);
        }
    }
}

/// The device; clones are the same one, for the feeder and for the transport.
pub struct Console<M> {
    ports: Arc<Mutex<Ports<M>>>,
    sink: Arc<dyn Sink>,
}

impl<M> Clone for Console<M> {
    fn clone(&self) -> Self {
        Console {
            ports: self.ports.clone(),
            sink: self.sink.clone(),
        }
    }
}

impl<M> fmt::Debug for Console<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

impl<M: GuestMemory> Console<M> {
    /// A console with something at its other end.
    pub fn new(sink: Arc<dyn Sink>) -> Self {
        Console {
            ports: Arc::default(),
            sink,
        }
    }

    fn ports(&self) -> MutexGuard<'_, Ports<M>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a snapshot must hold.
    pub fn state(&self) -> State {
        self.ports().state.clone()
    }

    /// Asks `source` for as many bytes as the guest has room for, until it gives none or there is no
    /// room, under one lock, so that bytes cannot change their order on the way.
    ///
    /// `source` gives at most the number that it is asked for. From any thread.
    pub fn fill(&self, source: &mut dyn FnMut(usize) -> Vec<u8>) {
        let mut ports = self.ports();
        let filled = ports.fill(source);
        ports.report(RECEIVE, filled);
    }
}

impl<M: GuestMemory + Send> VirtioDevice<M> for Console<M> {
    fn device_id(&self) -> u16 {
        DEVICE_ID
    }

    fn features(&self) -> u64 {
        F_EMERG_WRITE
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn config_read(&mut self, offset: u32, data: &mut [u8], _order: ByteOrder) {
        read_fields(&FIELDS, offset, data);
    }

    fn config_write(&mut self, offset: u32, data: &[u8], order: ByteOrder) {
        if let (EMERG_WR, Ok(data)) = (offset, data.try_into()) {
            // The low byte is the character.
            self.sink.send(&[order.read_u32(data) as u8]);
        }
    }

    fn activate(&mut self, link: Link<M>) {
        self.ports().link = Some(link);
        self.sink.has_room();
    }

    fn notify(&mut self, queue: u16) {
        if usize::from(queue) == RECEIVE {
            return self.sink.has_room();
        }
        let sink = self.sink.clone();
        let mut ports = self.ports();
        let drained = ports.drain(&mut |bytes| sink.send(bytes));
        ports.report(TRANSMIT, drained);
    }

    fn reset(&mut self) {
        *self.ports() = Ports::default();
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    use super::*;
    use crate::irq::IrqLine;
    use crate::virtio::{Interrupt, driver::Driver};

    #[derive(Default)]
    struct Outside {
        sent: Mutex<Vec<u8>>,
        told: Mutex<u32>,
    }

    impl Sink for Outside {
        fn send(&self, bytes: &[u8]) {
            self.sent.lock().unwrap().extend(bytes);
        }

        fn has_room(&self) {
            *self.told.lock().unwrap() += 1;
        }
    }

    struct Bench {
        console: Console<GuestMemoryMmap>,
        outside: Arc<Outside>,
        memory: GuestMemoryMmap,
        input: Driver,
        output: Driver,
        interrupt: Interrupt,
    }

    fn bench() -> Bench {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10_0000)]).unwrap();
        let input = Driver::new(ByteOrder::Little, 0x1000, 64, false);
        let output = Driver::new(ByteOrder::Little, 0x8_0000, 64, false);
        let outside = Arc::new(Outside::default());
        let mut console = Console::new(outside.clone());
        let interrupt = Interrupt::new("console", IrqLine::detached());
        let queues = [&input, &output].map(|driver| driver.queue(&memory).unwrap());
        console.activate(Link {
            memory: memory.clone(),
            queues: queues.into(),
            features: 0,
            order: ByteOrder::Little,
            interrupt: interrupt.clone(),
        });
        Bench {
            console,
            outside,
            memory,
            input,
            output,
            interrupt,
        }
    }

    #[test]
    fn output_goes_out_in_order() {
        let mut bench = bench();
        bench.output.offer(&bench.memory, &[b"he", b"l"], &[]);
        bench.output.offer(&bench.memory, &[b"lo"], &[]);
        bench.console.notify(1);
        assert_eq!(*bench.outside.sent.lock().unwrap(), b"hello");
        assert_eq!(bench.output.used(&bench.memory), Some((0, 0)));
        assert_eq!(bench.output.used(&bench.memory), Some((2, 0)));
        assert_eq!(bench.interrupt.status(), 1);
        bench
            .console
            .config_write(8, &[b'!', 0, 0, 0], ByteOrder::Little);
        assert_eq!(*bench.outside.sent.lock().unwrap(), b"hello!");
    }

    #[test]
    fn input_waits_for_room_and_room_for_input() {
        let mut bench = bench();
        let mut left = b"abcdefg".to_vec();
        let mut source = |room: usize| {
            let count = room.min(left.len());
            left.drain(..count).collect()
        };
        bench.console.fill(&mut source);
        let first = bench.input.offer(&bench.memory, &[], &[4]);
        let second = bench.input.offer(&bench.memory, &[], &[2, 3]);
        let third = bench.input.offer(&bench.memory, &[], &[9]);
        bench.console.notify(0);
        assert_eq!(
            *bench.outside.told.lock().unwrap(),
            2,
            "at the start, and now"
        );
        bench.console.fill(&mut source);
        assert_eq!(bench.input.used(&bench.memory), Some((first.head, 4)));
        assert_eq!(bench.input.used(&bench.memory), Some((second.head, 3)));
        assert_eq!(first.written(&bench.memory, 4), b"abcd");
        assert_eq!(second.written(&bench.memory, 3), b"efg");
        assert_eq!(bench.input.used(&bench.memory), None);
        bench.console.fill(&mut |_| Vec::new());
        let waiting = bench.console.state().waiting.unwrap();
        assert_eq!(waiting.head, third.head);
        let mut once = vec![b"!".to_vec()];
        bench.console.fill(&mut |_| once.pop().unwrap_or_default());
        assert_eq!(bench.input.used(&bench.memory), Some((third.head, 1)));
    }

    #[test]
    fn requests_that_make_no_sense_break_their_queue() {
        let mut bench = bench();
        bench.output.offer(&bench.memory, &[&[0; 0x8000]], &[]);
        bench.output.offer(&bench.memory, &[&[0; MOST + 1]], &[]);
        bench.console.notify(1);
        assert_eq!(bench.outside.sent.lock().unwrap().len(), 0x8000);
        assert!(bench.interrupt.is_reset_needed());
        bench.console.reset();
        bench.console.notify(1);
        bench
            .console
            .fill(&mut |_| panic!("there is no room after a reset"));
    }
}
