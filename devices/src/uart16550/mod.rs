//! The serial port: a 16550A, as National Semiconductor's data sheet describes it.
//!
//! [`chip::Chip`] is the registers and nothing else. [`Uart`] puts it on a bus, between an interrupt
//! wire, a [`SerialSink`] for output and a [`Wake`] for whoever feeds input.
//!
//! # Why not `vm-superio`'s `Serial`
//! It is an 8250 with a queue: no FCR, no FIFO bits in IIR, no trigger level, no timeout, no
//! overrun, a queue of 64 bytes, and an edge for an interrupt where this board's UIC wants a level.
//! Its queue and its registers are private, so none of that can be added from outside; a wrapper
//! would have to keep a second copy of all state and would use the inner one for the scratch
//! register only.
//!
//! # Input is paced, never dropped
//! [`Uart::receive`] takes what the FIFO has room for and says how much that was; the feeder keeps
//! the rest and is woken when the guest made room. Linux throws away what is in the FIFO when it
//! opens the port, so a feeder that may not lose a byte also waits until [`Uart::is_listening`].
//!
//! # Time
//! A byte takes no time to send, so the transmitter is always empty when the guest looks. For the
//! same reason the character timeout is due at once when fewer bytes than the trigger level wait.

mod chip;
pub mod regs;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use chip::{Chip, State};

use crate::access_width::successive;
use crate::bus::{AccessError, MmioDevice};
use crate::irq::IrqLine;

/// Where the bytes go that the guest sends.
pub trait SerialSink: Send {
    /// Takes one byte. It is called on the vcpu's thread, so it should not wait for long.
    fn send(&mut self, byte: u8);
}

impl<F: FnMut(u8) + Send> SerialSink for F {
    fn send(&mut self, byte: u8) {
        self(byte);
    }
}

/// Who is told that a [`Uart`] has room for input again.
pub trait Wake: Send + Sync {
    /// [`Uart::room`] or [`Uart::is_listening`] grew. It is called on the vcpu's thread, with no
    /// lock held.
    fn wake(&self);
}

impl<F: Fn() + Send + Sync> Wake for F {
    fn wake(&self) {
        self();
    }
}

struct Attachment {
    /// Never held while the wire, the sink or the feeder is called.
    chip: Mutex<Chip>,
    /// Held while a byte is sent, so that bytes keep their order.
    sink: Mutex<Box<dyn SerialSink>>,
    wake: Mutex<Option<Arc<dyn Wake>>>,
    irq: IrqLine,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A serial port on a bus; clones are the same port.
#[derive(Clone)]
pub struct Uart(Arc<Attachment>);

impl Uart {
    /// A port that raises `irq` and sends to `sink`.
    pub fn new(irq: IrqLine, sink: Box<dyn SerialSink>) -> Self {
        Uart(Arc::new(Attachment {
            chip: Mutex::new(Chip::new()),
            sink: Mutex::new(sink),
            wake: Mutex::new(None),
            irq,
        }))
    }

    /// Names the feeder to wake when there is room again; it replaces the one before.
    ///
    /// A feeder that holds this port holds itself; give it a way to let go, or the port is never
    /// freed.
    pub fn set_wake(&self, wake: Arc<dyn Wake>) {
        *lock(&self.0.wake) = Some(wake);
    }

    /// Hands input to the guest and returns how many bytes were taken, from the first on.
    #[must_use = "bytes that were not taken are still the feeder's"]
    pub fn receive(&self, bytes: &[u8]) -> usize {
        let taken = lock(&self.0.chip).receive(bytes);
        self.drive_irq();
        taken
    }

    /// Hands a break to the guest, and returns whether there was room for it; then it is up to the
    /// feeder to try again. It takes the room of one byte.
    ///
    /// The guest sees a byte of zeros with LSR\[BI\] set. Linux takes a break for the start of a
    /// SysRq command, whose letter is the next byte.
    #[must_use = "a break that was not taken is still the feeder's"]
    pub fn receive_break(&self) -> bool {
        let taken = lock(&self.0.chip).receive_break();
        self.drive_irq();
        taken
    }

    /// Takes back the bytes that the guest was handed and has not read, oldest first. Breaks among
    /// them are lost.
    pub fn take_received(&self) -> Vec<u8> {
        self.change(|chip| {
            let bytes = chip.state().received().collect();
            chip.forget_received();
            bytes
        })
    }

    /// How many bytes [`Uart::receive`] would take now: at most 16, 1 with the FIFOs off, and none
    /// in loopback.
    pub fn room(&self) -> usize {
        lock(&self.0.chip).room()
    }

    /// Whether the guest enabled the receive interrupt, which is when its driver has the port open.
    ///
    /// Firmware that polls never does.
    pub fn is_listening(&self) -> bool {
        lock(&self.0.chip).is_listening()
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        lock(&self.0.chip).state()
    }

    /// Takes up a state that [`Uart::state`] returned, and drives the wire accordingly.
    pub fn set_state(&self, state: State) {
        self.change(|chip| chip.set_state(state));
    }

    /// Changes the chip, then brings wire and feeder up to date.
    fn change<R>(&self, change: impl FnOnce(&mut Chip) -> R) -> R {
        let (result, grew) = {
            let mut chip = lock(&self.0.chip);
            let before = (chip.room(), chip.is_listening());
            let result = change(&mut chip);
            let grew = chip.room() > before.0 || (chip.is_listening() && !before.1);
            (result, grew)
        };
        self.drive_irq();
        if grew {
            let wake = lock(&self.0.wake).clone();
            if let Some(wake) = wake {
                wake.wake();
            }
        }
        result
    }

    fn drive_irq(&self) {
        self.0.irq.follow(|| lock(&self.0.chip).interrupt());
    }
}

impl MmioDevice for Uart {
    /// A wide load reads successive byte registers, as the bus to byte-wide devices splits it.
    fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        self.change(|chip| {
            for (byte, offset) in data.iter_mut().zip(successive(offset)) {
                *byte = chip.read(offset)?;
            }
            Ok(())
        })
    }

    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError> {
        for (byte, offset) in data.iter().zip(successive(offset)) {
            if let Some(sent) = self.change(|chip| chip.write(offset, *byte))? {
                lock(&self.0.sink).send(sent);
            }
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.change(Chip::reset);
    }
}

#[cfg(test)]
mod tests;
