//! The socket device (virtio 1.2, 5.10): streams between the guest and the host.
//!
//! [`Vsock`] is the chip. [`Rings`] takes packets from an active device's driver and gives it some;
//! it is handed to a [`Host`], who knows the sockets at the other end. `credit` counts what each end
//! of a connection may send.

mod credit;
mod packet;
#[cfg(test)]
mod tests;

use std::io::{Read, Write};

use vm_memory::GuestMemory;

use super::{Activation, ByteOrder, Chain, QueueError, VirtioDevice, read_fields};

pub use credit::{Credit, Overrun, ROOM};
pub use packet::{HEADER, HOST_CID, Header, NO_RECEIVE, NO_SEND, Op, STREAM};

/// The device ID (virtio 1.2, 5.10.1).
pub const DEVICE_ID: u16 = 19;

/// The most bytes of data in one packet, in either direction; Linux sends at most as many.
pub const MOST_DATA: usize = 64 << 10;

/// Queues (virtio 1.2, 5.10.2); nothing is ever sent on the third, the event queue.
const RX: usize = 0;
const TX: usize = 1;

/// Entries of each queue.
const QUEUE_SIZES: [u16; 3] = [256, 256, 16];

/// Why packets cannot go on; it was said to the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Packets of an active device.
pub trait Packets: Send {
    /// The next packet from the driver, its data in `data` in place of what that held; nothing when
    /// there is none, and then the driver says when there is one.
    ///
    /// # Errors
    /// When the driver broke its queues.
    fn receive(&mut self, data: &mut Vec<u8>) -> Result<Option<Header>, Broken>;

    /// How many bytes of data the next packet to the driver may have; nothing when the driver has
    /// no buffer for one, and then it says when there is.
    ///
    /// # Errors
    /// When the driver broke its queues.
    fn room(&mut self) -> Result<Option<usize>, Broken>;

    /// Gives the driver a packet, whose data fits what [`Packets::room`] said just before.
    ///
    /// # Errors
    /// When the driver broke its queues.
    fn send(&mut self, header: Header, data: &[u8]) -> Result<(), Broken>;

    /// Tells the driver of all packets that it was given, and that were taken from it.
    fn flush(&mut self);
}

/// What is at the other end: sockets of the host's.
pub trait Host: Send {
    /// Starts. It is called for one at a time.
    fn start(&mut self, packets: Box<dyn Packets>);

    /// The driver has packets, or buffers for some. Does not wait.
    fn wake(&self);

    /// Returns when nobody has the packets any more, and all connections are closed.
    fn stop(&mut self);
}

/// The queues of an active device.
pub struct Rings<M> {
    activation: Activation<M>,
    /// A buffer of the driver's for its next packet.
    next: Option<Chain>,
    /// Which queues need a look at whether the driver wants to know.
    used: [bool; 2],
}

impl<M: GuestMemory> Rings<M> {
    fn new(activation: Activation<M>) -> Self {
        Rings {
            activation,
            next: None,
            used: [false; 2],
        }
    }

    /// The next chain of a queue; without one, the driver says when there is one.
    fn pop(&mut self, number: usize) -> Result<Option<Chain>, QueueError> {
        let Activation { memory, queues, .. } = &mut self.activation;
        let Some(queue) = queues.get_mut(number) else {
            return Ok(None);
        };
        loop {
            if let Some(chain) = queue.pop(memory)? {
                return Ok(Some(chain));
            }
            if !queue.enable_notification(memory)? {
                return Ok(None);
            }
            queue.disable_notification(memory)?;
        }
    }

    fn push(&mut self, number: usize, head: u16, written: u32) -> Result<(), QueueError> {
        let Activation { memory, queues, .. } = &mut self.activation;
        if let Some(queue) = queues.get_mut(number) {
            queue.push(memory, head, written)?;
            self.used[number] = true;
        }
        Ok(())
    }

    /// What a call says after it worked on a queue; one that failed is given up.
    fn checked<T>(&mut self, number: usize, result: Result<T, QueueError>) -> Result<T, Broken> {
        result.map_err(|error| {
            self.activation.break_queue(number as u16, &error);
            Broken
        })
    }

    fn try_receive(&mut self, data: &mut Vec<u8>) -> Result<Option<Header>, QueueError> {
        let Some(chain) = self.pop(TX)? else {
            return Ok(None);
        };
        let failed = |why| QueueError::Request {
            head: chain.head,
            why,
        };
        let mut reader = chain.reader(&self.activation.memory);
        let bytes = reader.array().map_err(|_| failed("it has no header"))?;
        let header = Header::from_bytes(&bytes);
        let length = usize::try_from(header.len).unwrap_or(usize::MAX);
        if length > reader.remaining().min(MOST_DATA) {
            return Err(failed("its length is not that of its data"));
        }
        data.resize(length, 0);
        let read = reader.read_exact(data);
        read.map_err(|_| failed("it cannot be read"))?;
        self.push(TX, chain.head, 0)?;
        Ok(Some(header))
    }

    fn try_room(&mut self) -> Result<Option<usize>, QueueError> {
        if self.next.is_none() {
            self.next = self.pop(RX)?;
        }
        let Some(chain) = &self.next else {
            return Ok(None);
        };
        match chain.writable_len().checked_sub(HEADER) {
            Some(room) => Ok(Some(room.min(MOST_DATA))),
            None => Err(QueueError::Request {
                head: chain.head,
                why: "it has no room for a header",
            }),
        }
    }

    fn try_send(&mut self, mut header: Header, data: &[u8]) -> Result<(), QueueError> {
        let Some(chain) = self.next.take() else {
            return Ok(());
        };
        header.len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let mut writer = chain.writer(&self.activation.memory);
        let written = writer
            .write_all(&header.to_bytes())
            .and_then(|()| writer.write_all(data));
        written.map_err(|_| QueueError::Request {
            head: chain.head,
            why: "it cannot be written",
        })?;
        let written = writer.written();
        self.push(RX, chain.head, written)
    }
}

impl<M: GuestMemory + Send> Packets for Rings<M> {
    fn receive(&mut self, data: &mut Vec<u8>) -> Result<Option<Header>, Broken> {
        let received = self.try_receive(data);
        self.checked(TX, received)
    }

    fn room(&mut self) -> Result<Option<usize>, Broken> {
        let room = self.try_room();
        self.checked(RX, room)
    }

    fn send(&mut self, header: Header, data: &[u8]) -> Result<(), Broken> {
        let sent = self.try_send(header, data);
        self.checked(RX, sent)
    }

    fn flush(&mut self) {
        let Activation { memory, queues, .. } = &mut self.activation;
        let mut wanted = false;
        for (queue, used) in queues.iter_mut().zip(&mut self.used) {
            wanted |= std::mem::take(used) && queue.needs_interrupt(memory);
        }
        if wanted {
            self.activation.interrupt.used();
        }
    }
}

/// A socket device. Its state is that of its connections, which the driver's reset ends.
pub struct Vsock<H> {
    cid: u64,
    host: H,
    active: bool,
}

impl<H: Host> Vsock<H> {
    /// A device of the guest with this context identifier, which is none of the reserved ones
    /// (0 to 2, and those with more than 32 bits).
    pub fn new(cid: u64, host: H) -> Self {
        Vsock {
            cid,
            host,
            active: false,
        }
    }
}

impl<M, H> VirtioDevice<M> for Vsock<H>
where
    M: GuestMemory + Send + 'static,
    H: Host,
{
    fn device_id(&self) -> u16 {
        DEVICE_ID
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn config_read(&mut self, offset: u32, data: &mut [u8], _order: ByteOrder) {
        // Little-endian for every driver, as the headers are.
        read_fields(&self.cid.to_le_bytes(), offset, data);
    }

    fn activate(&mut self, activation: Activation<M>) {
        self.host.start(Box::new(Rings::new(activation)));
        self.active = true;
        self.host.wake();
    }

    fn notify(&mut self, _queue: u16) {
        self.host.wake();
    }

    fn reset(&mut self) {
        if std::mem::take(&mut self.active) {
            self.host.stop();
        }
    }
}
