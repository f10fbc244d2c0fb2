//! The terminal's window, whose size the guest's virtio console follows.

use std::sync::{Arc, Mutex, PoisonError};

use ppckvm::{ConsoleWindow, WindowSize};
use rustix::termios::tcgetwinsize;

/// The window of the terminal that shows a virtio console.
#[derive(Clone)]
pub struct TerminalWindow(Arc<Mutex<ConsoleWindow>>);

impl TerminalWindow {
    /// The window in which a person sees this console.
    pub fn of(console: ConsoleWindow) -> Self {
        TerminalWindow(Arc::new(Mutex::new(console)))
    }

    /// Tells the guest the size as it is now. What is no terminal has none.
    pub fn look(&self) {
        // Held meanwhile: of two threads that look, the later one is to have the last word.
        let console = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let size = tcgetwinsize(rustix::stdio::stdout());
        if let Ok(size) = size.or_else(|_| tcgetwinsize(rustix::stdio::stdin())) {
            console.set_size(WindowSize {
                columns: size.ws_col,
                rows: size.ws_row,
            });
        }
    }
}
