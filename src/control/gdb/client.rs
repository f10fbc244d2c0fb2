//! A debugger's connection, and what is waited for while the guest runs.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use gdbstub::common::Signal;
use gdbstub::conn::{Connection, ConnectionExt};
use gdbstub::stub::run_blocking::{BlockingEventLoop, Event, WaitForStopReasonError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::events::Events;
use super::target::{Debuggee, StopReason};
use crate::vm::remote::CallError;

/// Bytes that are taken at once.
const PIECE: usize = 4096;

/// How long a debugger may take nothing of what it is told.
const PATIENCE: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// A connection whose reads and writes do not wait by themselves.
pub struct Client {
    socket: OwnedFd,
    events: Arc<Events>,
    input: Vec<u8>,
    /// How much of `input` is taken.
    taken: usize,
    output: Vec<u8>,
}

impl Client {
    pub fn new(socket: OwnedFd, events: Arc<Events>) -> Self {
        Client {
            socket,
            events,
            input: Vec::new(),
            taken: 0,
            output: Vec::new(),
        }
    }

    /// Waits for the debugger or an event; whether the debugger said something.
    fn wait(&mut self) -> io::Result<bool> {
        if self.taken < self.input.len() {
            return Ok(true);
        }
        let mut waited = [
            PollFd::new(&self.socket, PollFlags::IN),
            PollFd::new(&self.events.wake, PollFlags::IN),
        ];
        match poll(&mut waited, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let said = !waited[0].revents().is_empty();
        if !waited[1].revents().is_empty() {
            self.events.rest();
            if self.events.is_over() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(said)
    }
}

impl Connection for Client {
    type Error = io::Error;

    fn write(&mut self, byte: u8) -> io::Result<()> {
        self.output.push(byte);
        if self.output.len() >= PIECE {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let output = std::mem::take(&mut self.output);
        let mut rest = &output[..];
        while !rest.is_empty() {
            match rustix::io::write(&self.socket, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let mut waited = [PollFd::new(&self.socket, PollFlags::OUT)];
                    if poll(&mut waited, Some(&PATIENCE))? == 0 {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl ConnectionExt for Client {
    fn read(&mut self) -> io::Result<u8> {
        loop {
            if let Some(byte) = self.peek()? {
                self.taken += 1;
                return Ok(byte);
            }
            self.wait()?;
        }
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        if self.taken == self.input.len() {
            self.input.resize(PIECE, 0);
            self.taken = 0;
            let read = rustix::io::read(&self.socket, &mut self.input[..]);
            self.input.truncate(*read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.input.get(self.taken).copied())
    }
}

/// What is waited for while the guest runs: its stop, or a word of the debugger's.
pub enum Loop {}

impl BlockingEventLoop for Loop {
    type Target = Debuggee;
    type Connection = Client;
    type StopReason = StopReason;

    fn wait_for_stop_reason(
        target: &mut Debuggee,
        client: &mut Client,
    ) -> Result<Event<StopReason>, WaitForStopReasonError<CallError, io::Error>> {
        loop {
            let stopped = target.stopped().map_err(WaitForStopReasonError::Target)?;
            if let Some(reason) = stopped {
                return Ok(Event::TargetStopped(reason));
            }
            if client.wait().map_err(WaitForStopReasonError::Connection)? {
                let byte = client.read().map_err(WaitForStopReasonError::Connection)?;
                return Ok(Event::IncomingData(byte));
            }
        }
    }

    fn on_interrupt(target: &mut Debuggee) -> Result<Option<StopReason>, CallError> {
        target.hold()?;
        Ok(Some(StopReason::Signal(Signal::SIGINT)))
    }
}
