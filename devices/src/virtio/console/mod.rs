//! The console device (virtio 1.2, 5.3): one port, whose bytes a feeder brings and a sink takes.
//!
//! Input is paced, never dropped, as with [`crate::uart16550`]: [`Console::fill`] asks for what the
//! guest has room for, and [`Sink::has_room`] tells the feeder that there may be more. Linux drops
//! what comes between its first buffers and its port's setup, a moment that only a driver of several
//! ports tells (VIRTIO_CONSOLE_F_MULTIPORT). That is what the control queues are for here: there is
//! one port, and it gets its input when the driver has opened it. `turns` has several consoles set
//! up one after the other.
//!
//! The one port can also be no console but a named port ([`Console::port`]): in Linux a character
//! device, `/dev/vport0p0`, whose name is in `/sys/class/virtio-ports`.

#[cfg(test)]
mod tests;
mod turns;

use std::collections::VecDeque;
use std::fmt;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_memory::GuestMemory;

use super::backlog::REQUESTS_AT_ONCE;
use super::byte_order::ByteOrder;
use super::chain::Chain;
use super::device::{Activation, VirtioDevice, read_fields};
use super::queue_error::QueueError;

pub use turns::Turns;

/// The virtio device ID.
pub const DEVICE_ID: u16 = 3;

/// The driver may write a character to the configuration fields, before it has any queue.
const F_EMERG_WRITE: u64 = 1 << 2;

/// The configuration fields hold the size of the window.
const F_SIZE: u64 = 1 << 0;

/// There may be several ports, and control queues to talk about them.
const F_MULTIPORT: u64 = 1 << 1;

/// Input, output, and control messages to and from the driver.
const QUEUE_SIZES: [u16; 4] = [64, 64, 16, 16];
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const CONTROL_RECEIVE: usize = 2;
const CONTROL_TRANSMIT: usize = 3;

/// Control messages (5.3.6.2): the driver is ready to hear of ports.
const DEVICE_READY: u16 = 0;
/// There is a port.
const PORT_ADD: u16 = 1;
/// The driver has the port.
const PORT_READY: u16 = 3;
/// The port is a console.
const CONSOLE_PORT: u16 = 4;
/// The window of the console has another size, which follows.
const RESIZE: u16 = 5;
/// The port is open, or closed, at the sender's end.
const PORT_OPEN: u16 = 6;
/// The port's name, which follows.
const PORT_NAME: u16 = 7;
/// Control messages that may wait for the driver's buffers. A driver causes four in all, and the
/// host one more.
const MOST_MESSAGES: usize = 32;

/// Bytes of one request: what it costs is bounded. Linux writes 16 bytes or a page.
const MOST: usize = 64 << 10;

/// Offset of the field that sends a character.
const EMERG_WR: u32 = 8;
/// Offset of the number of ports.
const MAX_NR_PORTS: usize = 4;

/// How large the window is in which a person sees a console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowSize {
    /// Characters in a line; 0 when nobody knows.
    pub columns: u16,
    /// Lines; 0 when nobody knows.
    pub rows: u16,
}

impl WindowSize {
    /// As the configuration fields and the message have it (virtio 1.2, 5.3.4 and 5.3.6.2). Linux
    /// has read the message's numbers the other way around for most of its life, and in the guest's
    /// own byte order; here it is the specification's order, which later releases of 6.1 read too.
    fn to_bytes(self, order: ByteOrder) -> [u8; 4] {
        let ([c0, c1], [r0, r1]) = (order.put_u16(self.columns), order.put_u16(self.rows));
        [c0, c1, r0, r1]
    }
}

/// What is at the other end of a console.
pub trait Sink: Send + Sync {
    /// Takes bytes that the guest sent. It is called on the vcpu's thread, so it does not wait.
    fn send(&self, bytes: &[u8]);

    /// The guest has more room for input. It is called with no lock held, and may call
    /// [`Console::fill`].
    fn has_room(&self);
}

/// The values that a snapshot must hold, beside the queues' positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// A buffer for input that was taken from its queue while there was none.
    pub waiting: Option<Chain>,
    /// The driver asked for its port and has not opened it yet: consoles that ask now wait for it.
    pub setting_up: bool,
    /// The driver opened the port.
    pub open: bool,
    /// Control messages that wait for buffers: event and value.
    pub messages: VecDeque<(u16, u16)>,
    /// The driver has made the port a console, so that it can be told of the window's size.
    pub is_console: bool,
    /// The size of the window, which belongs to the host: a reset keeps it.
    pub size: WindowSize,
}

struct Ports<M> {
    activation: Option<Activation<M>>,
    state: State,
    /// The port's name, where it is no console.
    name: Option<&'static str>,
    /// There may be more output than was taken.
    more_output: bool,
    /// There may be more control messages than were taken.
    more_control: bool,
}

impl<M> Default for Ports<M> {
    fn default() -> Self {
        Ports {
            activation: None,
            state: State::default(),
            name: None,
            more_output: false,
            more_control: false,
        }
    }
}

impl<M: GuestMemory> Ports<M> {
    /// Moves input into the guest's buffers.
    fn fill(&mut self, source: &mut dyn FnMut(usize) -> Vec<u8>) -> Result<(), QueueError> {
        let Some(activation) = &mut self.activation else {
            return Ok(());
        };
        if activation.features & F_MULTIPORT != 0 && !self.state.open {
            return Ok(());
        }
        let Some(queue) = activation.queues.get_mut(RECEIVE) else {
            return Ok(());
        };
        let mut moved = false;
        loop {
            let chain = match self.state.waiting.take() {
                Some(chain) => chain,
                None => match queue.pop(&activation.memory)? {
                    Some(chain) => chain,
                    None => break,
                },
            };
            let mut writer = chain.writer(&activation.memory);
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
            queue.push(&activation.memory, head, writer.written())?;
            moved = true;
        }
        if moved && queue.needs_interrupt(&activation.memory) {
            activation.interrupt.used();
        }
        Ok(())
    }

    /// Hands a bounded part of the guest's output to `send`.
    fn drain(&mut self, send: &mut dyn FnMut(&[u8])) -> Result<(), QueueError> {
        let Some(activation) = &mut self.activation else {
            return Ok(());
        };
        let Some(queue) = activation.queues.get_mut(TRANSMIT) else {
            return Ok(());
        };
        self.more_output = false;
        let (mut requests, mut moved) = (0, 0);
        loop {
            if requests == REQUESTS_AT_ONCE || moved >= MOST {
                self.more_output = true;
                break;
            }
            let Some(chain) = queue.pop(&activation.memory)? else {
                break;
            };
            let head = chain.head;
            if chain.readable_len() > MOST {
                let why = "more output than a driver has at once";
                return Err(QueueError::Request { head, why });
            }
            let mut bytes = Vec::new();
            chain
                .reader(&activation.memory)
                .read_to_end(&mut bytes)
                .map_err(|_| QueueError::Request {
                    head,
                    why: "its buffer cannot be read",
                })?;
            send(&bytes);
            queue.push(&activation.memory, head, 0)?;
            requests += 1;
            moved += bytes.len();
        }
        if requests > 0 && queue.needs_interrupt(&activation.memory) {
            activation.interrupt.used();
        }
        Ok(())
    }

    /// Takes a bounded number of the driver's control messages and answers them.
    fn control(&mut self) -> Result<(), QueueError> {
        let Some(activation) = &mut self.activation else {
            return Ok(());
        };
        let Some(queue) = activation.queues.get_mut(CONTROL_TRANSMIT) else {
            return Ok(());
        };
        self.more_control = false;
        let mut requests = 0;
        loop {
            if requests == REQUESTS_AT_ONCE {
                self.more_control = true;
                break;
            }
            let Some(chain) = queue.pop(&activation.memory)? else {
                break;
            };
            let head = chain.head;
            let message = chain.reader(&activation.memory).array::<8>();
            let message = message.map_err(|_| QueueError::Request {
                head,
                why: "a control message is 8 bytes",
            })?;
            let [p0, p1, p2, p3, e0, e1, v0, v1] = message;
            let port = activation.order.read_u32([p0, p1, p2, p3]);
            let event = activation.order.read_u16([e0, e1]);
            let value = activation.order.read_u16([v0, v1]);
            let answers: &[(u16, u16)] = match event {
                DEVICE_READY if value == 1 => {
                    self.state.setting_up = !self.state.open;
                    &[(PORT_ADD, 1)]
                }
                PORT_READY if port == 0 && value == 1 && self.name.is_some() => {
                    &[(PORT_NAME, 1), (PORT_OPEN, 1)]
                }
                PORT_READY if port == 0 && value == 1 => {
                    self.state.is_console = true;
                    &[(CONSOLE_PORT, 1), (RESIZE, 0), (PORT_OPEN, 1)]
                }
                // The driver failed.
                DEVICE_READY | PORT_READY => {
                    self.state.setting_up = false;
                    &[]
                }
                PORT_OPEN if port == 0 => {
                    self.state.open = value != 0;
                    self.state.setting_up = false;
                    &[]
                }
                _ => &[],
            };
            let answers = answers.iter().filter(|(event, _)| {
                // A driver that knows of no sizes is not told of any, nor is one of no size.
                *event != RESIZE
                    || activation.features & F_SIZE != 0 && self.state.size != WindowSize::default()
            });
            if self.state.messages.len() + answers.clone().count() > MOST_MESSAGES {
                let why = "a message whose answer there is no room for";
                return Err(QueueError::Request { head, why });
            }
            self.state.messages.extend(answers);
            queue.push(&activation.memory, head, 0)?;
            requests += 1;
        }
        if requests > 0 && queue.needs_interrupt(&activation.memory) {
            activation.interrupt.used();
        }
        Ok(())
    }

    /// Hands control messages to the driver as far as it has buffers.
    fn answer(&mut self) -> Result<(), QueueError> {
        let Some(activation) = &mut self.activation else {
            return Ok(());
        };
        let Some(queue) = activation.queues.get_mut(CONTROL_RECEIVE) else {
            return Ok(());
        };
        let mut moved = false;
        while let Some((event, value)) = self.state.messages.front().copied() {
            let Some(chain) = queue.pop(&activation.memory)? else {
                break;
            };
            // Port 0.
            let mut message = vec![0; 4];
            message.extend(activation.order.put_u16(event));
            message.extend(activation.order.put_u16(value));
            if let (PORT_NAME, Some(name)) = (event, self.name) {
                message.extend(name.as_bytes());
            }
            if event == RESIZE {
                message.extend(self.state.size.to_bytes(activation.order));
            }
            let head = chain.head;
            let written = chain.writer(&activation.memory).write_all(&message);
            written.map_err(|_| QueueError::Request {
                head,
                why: "its buffer holds no control message",
            })?;
            queue.push(&activation.memory, head, message.len() as u32)?;
            self.state.messages.pop_front();
            moved = true;
        }
        if moved && queue.needs_interrupt(&activation.memory) {
            activation.interrupt.used();
        }
        Ok(())
    }

    fn report(&mut self, queue: usize, result: Result<(), QueueError>) {
        if let (Some(activation), Err(error)) = (&mut self.activation, result) {
            activation.break_queue(queue as u16, &error);
        }
    }
}

impl<M: GuestMemory> Ports<M> {
    /// Takes a new size, and tells a driver that knows of sizes.
    fn resize(&mut self, size: WindowSize) {
        if std::mem::replace(&mut self.state.size, size) == size {
            return;
        }
        let Some(activation) = &self.activation else {
            return;
        };
        if activation.features & F_SIZE == 0 {
            return;
        }
        activation.interrupt.config_changed();
        // A message that still waits will have the new size.
        let waits = self
            .state
            .messages
            .iter()
            .any(|(event, _)| *event == RESIZE);
        if self.state.is_console && !waits {
            self.state.messages.push_back((RESIZE, 0));
        }
    }
}

/// The console device; clones are the same one, for the feeder and for the transport.
pub struct Console<M> {
    ports: Arc<Mutex<Ports<M>>>,
    turns: Turns<M>,
    sink: Arc<dyn Sink>,
}

impl<M> Clone for Console<M> {
    fn clone(&self) -> Self {
        Console {
            ports: self.ports.clone(),
            turns: self.turns.clone(),
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
    /// A console with something at its other end; all consoles of a machine share `turns`.
    pub fn new(sink: Arc<dyn Sink>, turns: Turns<M>) -> Self {
        Console {
            ports: Arc::default(),
            turns,
            sink,
        }
    }

    /// A port that is no console, which the guest finds by its name.
    pub fn port(sink: Arc<dyn Sink>, name: &'static str) -> Self {
        let ports = Ports {
            name: Some(name),
            ..Ports::default()
        };
        Console {
            ports: Arc::new(Mutex::new(ports)),
            // No console's terminal gets its number from it.
            turns: Turns::default(),
            sink,
        }
    }

    fn ports(&self) -> MutexGuard<'_, Ports<M>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands control messages to the driver, unless other consoles come first; and those of the
    /// console that waited for this one.
    fn answer(&self) {
        let next = {
            let mut ports = self.ports();
            let (waits, next) = match ports.state.setting_up {
                true => (self.turns.ask(&self.ports), None),
                false => (false, self.turns.done(&self.ports)),
            };
            if !waits {
                let answered = ports.answer();
                ports.report(CONTROL_RECEIVE, answered);
            }
            next
        };
        // With no lock held, because that console may be asking for its turn just now.
        if let Some(next) = next {
            let mut ports = next.lock().unwrap_or_else(PoisonError::into_inner);
            let answered = ports.answer();
            ports.report(CONTROL_RECEIVE, answered);
        }
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        self.ports().state.clone()
    }

    /// Says how large the console's window is, from any thread. The guest is told when it changes.
    pub fn set_size(&self, size: WindowSize) {
        self.ports().resize(size);
        self.answer();
    }

    /// Asks `source` for as many bytes as the guest has room for, until that returns none or there is no
    /// room, under one lock, so that bytes cannot change their order on the way.
    ///
    /// `source` returns at most the number that it is asked for. From any thread.
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
        F_SIZE | F_EMERG_WRITE | F_MULTIPORT
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn config_read(&mut self, offset: u32, data: &mut [u8], order: ByteOrder) {
        let mut fields = [0; 12];
        fields[..4].copy_from_slice(&self.ports().state.size.to_bytes(order));
        fields[MAX_NR_PORTS..MAX_NR_PORTS + 4].copy_from_slice(&order.put_u32(1));
        read_fields(&fields, offset, data);
    }

    fn config_write(&mut self, offset: u32, data: &[u8], order: ByteOrder) {
        if let (EMERG_WR, Ok(data)) = (offset, data.try_into()) {
            // The low byte is the character.
            self.sink.send(&[order.read_u32(data) as u8]);
        }
    }

    fn activate(&mut self, activation: Activation<M>) {
        self.ports().activation = Some(activation);
        self.sink.has_room();
    }

    fn notify(&mut self, queue: u16) {
        let queue = usize::from(queue);
        {
            let mut ports = self.ports();
            if queue == TRANSMIT {
                let drained = ports.drain(&mut |bytes| self.sink.send(bytes));
                return ports.report(TRANSMIT, drained);
            }
            if queue == CONTROL_TRANSMIT {
                let taken = ports.control();
                ports.report(CONTROL_TRANSMIT, taken);
            }
        }
        if queue != RECEIVE {
            self.answer();
        }
        // The port may have been opened.
        if queue == RECEIVE || queue == CONTROL_TRANSMIT {
            self.sink.has_room();
        }
    }

    fn has_backlog(&self) -> bool {
        let ports = self.ports();
        ports.more_output || ports.more_control
    }

    fn work_off(&mut self) {
        let (output, control) = {
            let ports = self.ports();
            (ports.more_output, ports.more_control)
        };
        if output {
            self.notify(TRANSMIT as u16);
        }
        if control {
            self.notify(CONTROL_TRANSMIT as u16);
        }
    }

    fn reset(&mut self) {
        {
            let mut ports = self.ports();
            let (size, name) = (ports.state.size, ports.name);
            *ports = Ports::default();
            (ports.state.size, ports.name) = (size, name);
        }
        // Who waited for this one goes on.
        self.answer();
    }
}
