//! The host's terminal: raw while the guest has it, and as it was afterwards.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::termios::{InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use rustix::termios::{isatty, tcgetattr, tcgetpgrp, tcsetattr};

/// Standard input in raw mode; dropping this restores it, also when a panic unwinds.
pub struct RawTerminal(Arc<Saved>);

/// The same terminal for another thread, as long as it is in use.
#[derive(Clone)]
pub struct TerminalHandle(Weak<Saved>);

struct Saved {
    before: Termios,
    /// Whether the terminal may be made raw; not once it was given back.
    ours: Mutex<bool>,
}

impl RawTerminal {
    /// Makes standard input raw; `None` when it is no terminal, or another job's.
    pub fn enter() -> io::Result<Option<Self>> {
        let stdin = rustix::stdio::stdin();
        if !isatty(stdin) {
            return Ok(None);
        }
        // From the background this would stop the process, and the terminal is not ours to change.
        if tcgetpgrp(stdin).is_ok_and(|owner| owner != rustix::process::getpgrp()) {
            return Ok(None);
        }
        let terminal = RawTerminal(Arc::new(Saved {
            before: tcgetattr(stdin)?,
            ours: Mutex::new(true),
        }));
        terminal.0.make_raw()?;
        Ok(Some(terminal))
    }

    /// A handle for another thread.
    pub fn handle(&self) -> TerminalHandle {
        TerminalHandle(Arc::downgrade(&self.0))
    }
}

impl TerminalHandle {
    /// Makes the terminal raw again, for when a shell has had it in between.
    pub fn make_raw(&self) -> io::Result<()> {
        self.0.upgrade().map_or(Ok(()), |saved| saved.make_raw())
    }

    /// Gives the terminal back as it was, for when the process ends from another thread.
    pub fn restore(&self) {
        if let Some(saved) = self.0.upgrade() {
            saved.restore();
        }
    }
}

impl Saved {
    fn make_raw(&self) -> io::Result<()> {
        let ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        if !*ours {
            return Ok(());
        }
        let mut mode = self.before.clone();
        // Output is still processed, so that messages on standard error begin at the left.
        mode.input_modes -= InputModes::BRKINT
            | InputModes::ICRNL
            | InputModes::IGNBRK
            | InputModes::IGNCR
            | InputModes::INLCR
            | InputModes::ISTRIP
            | InputModes::IXON
            | InputModes::PARMRK;
        mode.local_modes -= LocalModes::ECHO
            | LocalModes::ECHONL
            | LocalModes::ICANON
            | LocalModes::IEXTEN
            | LocalModes::ISIG;
        mode.special_codes[SpecialCodeIndex::VMIN] = 1;
        mode.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &mode)?;
        Ok(())
    }

    fn restore(&self) {
        let mut ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *ours) {
            // Nothing is left to do about a terminal that is gone.
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before);
        }
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        self.0.restore();
    }
}
