//! The half of the device that moves frames.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::Arc;

use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_net::{VIRTIO_NET_ERR, VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_OK};
use vm_memory::GuestMemory;

use super::header::HeaderError;
use super::wire::{LARGEST_FRAME, Offload, Offloads, SMALLEST_FRAME, Wire};
use super::{Shared, bit, control, header, lock, taken};
use crate::repeats::Repeats;
use crate::virtio::byte_order::ByteOrder;
use crate::virtio::device::Activation;
use crate::virtio::interrupt::Interrupt;
use crate::virtio::queue::Queue;
use crate::virtio::queue_error::QueueError;
use crate::virtio::{Chain, Writer};

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const CONTROL: usize = 2;

/// Frames that move in one direction before the other has its turn: as many as the driver's queue
/// has entries, so that a full one is emptied at once.
const TURN: usize = 256;

/// A driver's queues, and what was taken from them.
pub(super) struct Queues<M> {
    active: Option<Active<M>>,
    /// The driver came or went since the wire was last told.
    changed: bool,
}

impl<M> Default for Queues<M> {
    fn default() -> Self {
        Queues {
            active: None,
            changed: false,
        }
    }
}

struct Active<M> {
    memory: M,
    queues: Vec<Queue>,
    order: ByteOrder,
    interrupt: Interrupt,
    offloads: Offloads,
    /// Bytes of the header before each frame.
    header: usize,
    merges: bool,
    /// Receive buffers that were taken and not filled yet.
    spare: VecDeque<Chain>,
    /// Bytes that they hold.
    room: usize,
}

impl<M> Queues<M> {
    /// How many receive buffers are kept, and how many bytes they hold.
    #[cfg(test)]
    pub fn spare(&self) -> (usize, usize) {
        let active = self.active.as_ref();
        active.map_or((0, 0), |active| (active.spare.len(), active.room))
    }

    /// A driver is there, or gone.
    pub fn set(&mut self, activation: Option<Activation<M>>) {
        self.changed = true;
        self.active = activation.map(|activation| {
            let has = |number| activation.features & bit(number) != 0;
            let merges = has(VIRTIO_NET_F_MRG_RXBUF);
            let long = merges || has(VIRTIO_F_VERSION_1);
            Active {
                offloads: taken(activation.features),
                memory: activation.memory,
                queues: activation.queues,
                order: activation.order,
                interrupt: activation.interrupt,
                header: if long { header::LONG } else { header::SHORT },
                merges,
                spare: VecDeque::new(),
                room: 0,
            }
        });
    }
}

/// What moves frames between a driver's queues and a [`Wire`].
pub struct Port<M> {
    shared: Arc<Shared<M>>,
    frame: Vec<u8>,
}

/// How a turn ended.
#[derive(Default)]
struct Turn {
    /// There may be more to do at once.
    more: bool,
    /// The driver wants to know.
    interrupts: bool,
}

impl<M> Port<M> {
    pub(super) fn new(shared: Arc<Shared<M>>) -> Self {
        Port {
            shared,
            frame: Vec::new(),
        }
    }
}

impl<M: GuestMemory> Port<M> {
    /// Moves frames both ways until nothing can move, or long enough that something else should be
    /// looked at; then it returns true.
    pub fn serve(&mut self, wire: &mut dyn Wire) -> bool {
        let mut queues = lock(&self.shared.queues);
        if std::mem::take(&mut queues.changed) {
            wire.attach(queues.active.as_ref().map(|active| active.offloads));
        }
        let Some(active) = &mut queues.active else {
            // Without a driver there is nothing to put it into: what comes is lost.
            for _ in 0..TURN {
                if wire.receive().is_none() {
                    return false;
                }
                wire.received();
            }
            return true;
        };
        let mut turn = Turn::default();
        for (queue, result) in [
            (CONTROL, active.control(&self.shared, &mut turn)),
            (
                TRANSMIT,
                active.transmit(&self.shared, wire, &mut self.frame, &mut turn),
            ),
            (RECEIVE, active.receive(&self.shared, wire, &mut turn)),
        ] {
            if let Err(error) = result {
                // The transport does not wait for this thread, so its wire may be driven here.
                active.break_queue(queue, &error);
            }
        }
        let interrupt = active.interrupt.clone();
        drop(queues);
        if turn.interrupts {
            interrupt.used();
        }
        turn.more
    }
}

impl<M: GuestMemory> Active<M> {
    fn queue(&mut self, index: usize) -> Option<&mut Queue> {
        self.queues.get_mut(index)
    }

    /// Gives a queue up and tells the driver.
    fn break_queue(&mut self, index: usize, error: &QueueError) {
        if let Some(queue) = self.queue(index) {
            queue.give_up();
        }
        if index == RECEIVE {
            self.spare.clear();
            self.room = 0;
        }
        self.interrupt.queue_broken(index as u16, error);
    }

    /// Hands the driver's frames to the wire.
    fn transmit(
        &mut self,
        shared: &Shared<M>,
        wire: &mut dyn Wire,
        frame: &mut Vec<u8>,
        turn: &mut Turn,
    ) -> Result<(), QueueError> {
        let Some(queue) = self.queues.get_mut(TRANSMIT) else {
            return Ok(());
        };
        let mut moved = 0;
        let result = loop {
            if let Err(error) = queue.disable_notification(&self.memory) {
                break Err(error);
            }
            let emptied = loop {
                if moved == TURN {
                    turn.more = true;
                    break Ok(false);
                }
                if !wire.is_ready() {
                    break Ok(false);
                }
                let chain = match queue.pop(&self.memory) {
                    Ok(Some(chain)) => chain,
                    Ok(None) => break Ok(true),
                    Err(error) => break Err(error),
                };
                moved += 1;
                let read = read_frame(&chain, &self.memory, self.header, self.order, frame);
                let agreed = read.and_then(|offload| agreed(offload, &self.offloads));
                let mistake = match agreed {
                    Ok((offload, mistake)) => {
                        wire.send(frame, offload);
                        mistake
                    }
                    Err(lost) => Some(lost),
                };
                if let Some(mistake) = mistake {
                    report(mistake, self.interrupt.name(), &shared.mistaken);
                }
                if let Err(error) = queue.push(&self.memory, chain.head, 0) {
                    break Err(error);
                }
            };
            match emptied {
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
                Ok(true) => match queue.enable_notification(&self.memory) {
                    Ok(true) => {}
                    Ok(false) => break Ok(()),
                    Err(error) => break Err(error),
                },
            }
        };
        turn.interrupts |= moved > 0 && queue.needs_interrupt(&self.memory);
        result
    }

    /// Hands the wire's frames to the driver.
    fn receive(
        &mut self,
        shared: &Shared<M>,
        wire: &mut dyn Wire,
        turn: &mut Turn,
    ) -> Result<(), QueueError> {
        let state = lock(&shared.state).clone();
        let mut delivered = false;
        let mut moved = 0;
        let result = loop {
            if moved == TURN {
                turn.more = true;
                break Ok(());
            }
            let Some((frame, offload)) = wire.receive() else {
                break Ok(());
            };
            if moved == 0
                && let Some(queue) = self.queues.get_mut(RECEIVE)
                && let Err(error) = queue.disable_notification(&self.memory)
            {
                break Err(error);
            }
            moved += 1;
            let fits = self.offloads.to_guest_checksum || offload.checksum.is_none();
            let fits = fits && (self.offloads.to_guest_segments || offload.segmentation.is_none());
            if !fits || !state.filter.takes(state.mac, frame) {
                wire.received();
                continue;
            }
            match self.deliver(frame, &offload) {
                Ok(Delivery::Done) => {
                    delivered = true;
                    wire.received();
                }
                Ok(Delivery::TooLong) => wire.received(),
                // The driver says when it has buffers.
                Ok(Delivery::NoBuffers) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if delivered && let Some(queue) = self.queues.get_mut(RECEIVE) {
            turn.interrupts |= queue.needs_interrupt(&self.memory);
        }
        result
    }

    /// Puts a frame into as many buffers as it needs.
    fn deliver(&mut self, frame: &[u8], offload: &Offload) -> Result<Delivery, QueueError> {
        let wanted = self.header + frame.len();
        while self.room < wanted && (self.merges || self.spare.is_empty()) {
            let Some(chain) = self.next_buffer()? else {
                return Ok(Delivery::NoBuffers);
            };
            if chain.writable_len() == 0 {
                return Err(QueueError::Request {
                    head: chain.head,
                    why: "it has no room for a frame",
                });
            }
            self.room += chain.writable_len();
            self.spare.push_back(chain);
        }
        if self.room < wanted {
            return Ok(Delivery::TooLong);
        }
        let buffers = self.buffers(wanted);
        // There are fewer than 65536 in a queue.
        let head = header::emit(offload, self.order, buffers as u16);
        let mut rest: [&[u8]; 2] = [&head[..self.header], frame];
        let mut used = Vec::with_capacity(buffers);
        for chain in self.spare.drain(..buffers) {
            self.room -= chain.writable_len();
            let mut writer = chain.writer(&self.memory);
            for part in &mut rest {
                fill(&mut writer, part, chain.head)?;
            }
            used.push((chain.head, writer.written()));
        }
        match self.queue(RECEIVE) {
            Some(_) => self.queues[RECEIVE].push_all(&self.memory, &used)?,
            None => return Ok(Delivery::NoBuffers),
        }
        Ok(Delivery::Done)
    }

    /// How many of the spare buffers hold `wanted` bytes.
    fn buffers(&self, wanted: usize) -> usize {
        let mut left = wanted;
        let mut buffers = 0;
        for chain in &self.spare {
            if left == 0 {
                break;
            }
            buffers += 1;
            left = left.saturating_sub(chain.writable_len());
        }
        buffers
    }

    /// The next receive buffer; when there is none, the driver is asked to say when there is.
    fn next_buffer(&mut self) -> Result<Option<Chain>, QueueError> {
        let Some(queue) = self.queues.get_mut(RECEIVE) else {
            return Ok(None);
        };
        if let Some(chain) = queue.pop(&self.memory)? {
            return Ok(Some(chain));
        }
        if !queue.enable_notification(&self.memory)? {
            return Ok(None);
        }
        queue.disable_notification(&self.memory)?;
        queue.pop(&self.memory)
    }

    /// Carries out the driver's commands.
    fn control(&mut self, shared: &Shared<M>, turn: &mut Turn) -> Result<(), QueueError> {
        let Some(queue) = self.queues.get_mut(CONTROL) else {
            return Ok(());
        };
        let mut moved = 0;
        while moved < TURN
            && let Some(chain) = queue.pop(&self.memory)?
        {
            moved += 1;
            let length = chain.readable_len().min(control::LONGEST);
            let mut command = vec![0; length];
            let read = chain.reader(&self.memory).read_exact(&mut command);
            let done = read.is_ok() && {
                let mut state = lock(&shared.state);
                let state = &mut *state;
                control::command(&mut state.filter, &mut state.mac, &command, self.order)
            };
            let answer = if done { VIRTIO_NET_OK } else { VIRTIO_NET_ERR };
            let mut writer = chain.writer(&self.memory);
            if writer.remaining() > 0 {
                fill(&mut writer, &mut &[answer as u8][..], chain.head)?;
            }
            queue.push(&self.memory, chain.head, writer.written())?;
        }
        turn.more |= moved == TURN;
        turn.interrupts |= moved > 0 && queue.needs_interrupt(&self.memory);
        Ok(())
    }
}

enum Delivery {
    Done,
    /// The driver has no buffers that would hold it now.
    NoBuffers,
    /// The driver's buffers are for shorter frames.
    TooLong,
}

/// Writes as much of `part` as there is room for, and leaves the rest in it.
fn fill<M: GuestMemory>(
    writer: &mut Writer<'_, M>,
    part: &mut &[u8],
    head: u16,
) -> Result<(), QueueError> {
    let count = part.len().min(writer.remaining());
    let (now, later) = part.split_at(count);
    *part = later;
    writer.write_all(now).map_err(|_| QueueError::Request {
        head,
        why: "its buffer cannot be written",
    })
}

/// What is wrong with a frame of the driver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Mistake {
    /// It is shorter than an Ethernet header, or longer than any frame.
    #[error("a frame of {0} bytes with its header is lost")]
    Length(usize),
    /// Its header makes no sense.
    #[error("a frame is lost, because its header asks for {0}")]
    Header(#[from] HeaderError),
    /// It goes out, without the work that its header asks for.
    #[error("a frame goes out without a checksum, which was not agreed on")]
    Checksum,
}

/// Says what is wrong with a frame, unless that was said of too many.
fn report(mistake: Mistake, name: &str, mistaken: &Repeats) {
    match mistaken.count() {
        Some(1) => tracing::warn!("{name}: {mistake}"),
        Some(so_far) => tracing::debug!("{name}: {mistake}, the {so_far}th such frame"),
        None => {}
    }
}

/// What a frame still needs as far as that was agreed on, and what it asked for beyond that.
fn agreed(
    mut offload: Offload,
    offloads: &Offloads,
) -> Result<(Offload, Option<Mistake>), Mistake> {
    let mut mistake = None;
    if !offloads.from_guest_checksum && offload.checksum.take().is_some() {
        mistake = Some(Mistake::Checksum);
    }
    if !offloads.from_guest_segments && offload.segmentation.is_some() {
        return Err(HeaderError::NotAgreed("segmentation").into());
    }
    Ok((offload, mistake))
}

/// Reads a frame of the driver's.
fn read_frame<M: GuestMemory>(
    chain: &Chain,
    memory: &M,
    header_len: usize,
    order: ByteOrder,
    frame: &mut Vec<u8>,
) -> Result<Offload, Mistake> {
    let wrong = || Mistake::Length(chain.readable_len());
    let length = chain.readable_len().checked_sub(header_len);
    let length = length.filter(|length| (SMALLEST_FRAME..=LARGEST_FRAME).contains(length));
    let length = length.ok_or_else(wrong)?;
    let mut reader = chain.reader(memory);
    // The chain was inside guest RAM when it was taken, and is as long as this.
    let head: [u8; header::SHORT] = reader.array().map_err(|_| wrong())?;
    reader
        .skip(header_len - header::SHORT)
        .map_err(|_| wrong())?;
    frame.resize(length, 0);
    reader.read_exact(frame).map_err(|_| wrong())?;
    Ok(header::parse(&head, order, length)?)
}
