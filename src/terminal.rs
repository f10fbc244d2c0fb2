//! The host's terminal: raw while the guest has it, and as it was afterwards.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::termios::{InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use rustix::termios::{isatty, tcgetattr, tcgetpgrp, tcsetattr};

/// Standard input in raw mode; dropping the last clone restores it, also when a panic unwinds.
#[derive(Clone)]
pub struct RawTerminal(Arc<Saved>);

struct Saved {
    before: Termios,
    /// Whether the terminal is raw now.
    raw: Mutex<bool>,
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
            raw: Mutex::new(false),
        }));
        terminal.make_raw()?;
        Ok(Some(terminal))
    }

    /// Makes the terminal raw again, for when a shell has had it in between.
    pub fn make_raw(&self) -> io::Result<()> {
        let mut raw = self.0.raw.lock().unwrap_or_else(PoisonError::into_inner);
        let mut mode = self.0.before.clone();
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
        *raw = true;
        Ok(())
    }

    /// Gives the terminal back as it was.
    pub fn restore(&self) {
        self.0.restore();
    }
}

impl Saved {
    fn restore(&self) {
        let mut raw = self.raw.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *raw) {
            // Nothing is left to do about a terminal that is gone.
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before);
        }
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        self.restore();
    }
}
