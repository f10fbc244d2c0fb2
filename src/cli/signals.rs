//! Signals from outside end the run in order. Only the command does this; the library installs
//! nothing.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ppckvm::Stopper;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use crate::terminal::TerminalHandle;

/// What the exit status of a run that a signal ended is, less the signal's number.
pub const STATUS: u8 = 128;

/// The signals that end the run.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// Signals, caught for as long as the process lives.
pub struct Signals {
    caught: Arc<AtomicUsize>,
    terminal: Arc<Mutex<Option<TerminalHandle>>>,
}

impl Signals {
    /// From now on, a signal that asks for an end stops the run.
    pub fn catch(stopper: Stopper) -> std::io::Result<Self> {
        let signals = Signals {
            caught: Arc::default(),
            terminal: Arc::default(),
        };
        let (mut woken, waker) = UnixStream::pair()?;
        for signal in ENDING {
            // The number first, because the byte in the pipe is what makes somebody look.
            signal_hook::flag::register_usize(signal, signals.caught.clone(), signal as usize)?;
            signal_hook::low_level::pipe::register(signal, waker.try_clone()?)?;
        }
        signal_hook::low_level::pipe::register(SIGCONT, waker)?;
        let (caught, terminal) = (signals.caught.clone(), signals.terminal.clone());
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                let mut byte = [0];
                // The other ends live in the handlers, so this ends with the process.
                while woken.read_exact(&mut byte).is_ok() {
                    if caught.load(Ordering::SeqCst) != 0 {
                        stopper.stop();
                    } else if let Some(terminal) =
                        &*terminal.lock().unwrap_or_else(PoisonError::into_inner)
                    {
                        // The shell had the terminal while this process was stopped.
                        let _ = terminal.make_raw();
                    }
                }
            })?;
        Ok(signals)
    }

    /// The terminal to make raw again after a stop.
    pub fn set_terminal(&self, terminal: Option<TerminalHandle>) {
        *self.terminal.lock().unwrap_or_else(PoisonError::into_inner) = terminal;
    }

    /// The signal that ended the run.
    pub fn caught(&self) -> Option<u8> {
        // At the end of the run nobody makes the terminal raw any more.
        self.set_terminal(None);
        u8::try_from(self.caught.load(Ordering::SeqCst))
            .ok()
            .filter(|signal| *signal != 0)
    }
}
