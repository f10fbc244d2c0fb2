//! A console's two directions as pipes, for programs around the library.

use std::io::{Read, Write};
use std::sync::Arc;

use super::{ConsoleHub, INPUT_LIMIT};
use crate::host::lock::lock;

/// ended and all was read. A reader that does not read makes the guest wait.
pub struct ConsoleOutput(pub(super) Arc<ConsoleHub>);

impl Read for ConsoleOutput {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let hub = &self.0;
        let mut state = lock(&hub.state);
        while state.queue.is_empty() && !state.ended && !buffer.is_empty() {
            state = hub.wait(state);
        }
        drop(state);
        let count = hub.peek(buffer, true);
        hub.took(count);
        Ok(count)
    }
}

impl Drop for ConsoleOutput {
    fn drop(&mut self) {
        lock(&self.0.state).taken = false;
        self.0.took(usize::MAX);
    }
}

/// The guest's console input as a pipe: `write` waits while the guest is far behind.
#[derive(Clone)]
pub struct ConsoleInput(pub(super) Arc<ConsoleHub>);

impl Write for ConsoleInput {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let hub = &self.0;
        let mut state = lock(&hub.state);
        while state.input.len() >= INPUT_LIMIT && !state.ended {
            state = hub.wait(state);
        }
        if state.ended {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(INPUT_LIMIT - state.input.len());
        drop(state);
        hub.receive(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
