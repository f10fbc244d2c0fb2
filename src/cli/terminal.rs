//! The host's terminal: raw while the guest has it, and as it was afterwards.
//!
//! A shell gives the terminal to one of its jobs at a time, and changes its modes when it takes it
//! back. So it is made raw only while this job is in the foreground: at the start, when a stopped
//! job goes on (`SIGCONT`), and when a job that runs in the background comes to the foreground, of
//! which no signal tells. From the background, the modes are left as the shell wants them.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use ppckvm::{Confinement, EscapeKey, Role};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use rustix::termios::{isatty, tcgetattr, tcgetpgrp, tcsetattr};

use crate::window::TerminalWindow;

/// How often a job in the background looks whether it is in the foreground.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Standard input in raw mode while this job is in the foreground; dropping this restores it, also
/// when a panic unwinds.
pub struct RawTerminal {
    shared: Arc<Shared>,
    watch: Option<JoinHandle<()>>,
}

/// The same terminal for another thread, as long as it is in use.
#[derive(Clone)]
pub struct TerminalHandle(Weak<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Whose size the guest is to know.
    window: Option<TerminalWindow>,
    /// Who has the keys that send signals.
    escape: EscapeKey,
    /// Wakes the thread that looks for the foreground; closed at the end.
    wake: UnixStream,
}

#[derive(Default)]
struct State {
    /// The terminal's modes when it was first in the foreground.
    before: Option<Termios>,
    is_raw: bool,
    /// It was given back.
    is_over: bool,
}

impl RawTerminal {
    /// Makes standard input raw whenever this job has it; `None` when it is no terminal. A job in
    /// the background does not hear of a new size: it is looked for when it comes back.
    ///
    /// With [`EscapeKey::Off`], the keys that send signals stay.
    pub fn enter(
        window: Option<TerminalWindow>,
        escape: EscapeKey,
        confinement: &Confinement,
    ) -> io::Result<Option<Self>> {
        if !isatty(rustix::stdio::stdin()) {
            return Ok(None);
        }
        let (woken, wake) = UnixStream::pair()?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            window,
            escape,
            wake,
        });
        let mut terminal = RawTerminal {
            shared: shared.clone(),
            watch: None,
        };
        shared.look()?;
        let watch = move || shared.watch(woken);
        let thread = std::thread::Builder::new().name("terminal".into());
        terminal.watch = Some(confinement.spawn(thread, Role::Waiter, watch)?);
        Ok(Some(terminal))
    }

    /// A handle for another thread.
    pub fn handle(&self) -> TerminalHandle {
        TerminalHandle(Arc::downgrade(&self.shared))
    }
}

impl TerminalHandle {
    /// Makes the terminal raw again, now or when this job is in the foreground: a shell has had it
    /// in between.
    pub fn make_raw(&self) -> io::Result<()> {
        let Some(shared) = self.0.upgrade() else {
            return Ok(());
        };
        shared.look()?;
        // The thread now looks at whether it is raw.
        (&shared.wake).write_all(&[0])
    }

    /// Gives the terminal back as it was, for when the process ends from another thread.
    pub fn restore(&self) {
        if let Some(saved) = self.0.upgrade() {
            saved.restore();
        }
    }
}

/// Whether this process is in the terminal's foreground job; also where there are no jobs.
fn is_in_foreground() -> bool {
    match tcgetpgrp(rustix::stdio::stdin()) {
        Ok(job) => job == rustix::process::getpgrp(),
        Err(_) => true,
    }
}

/// Sets the terminal's modes. Should the shell have taken the terminal just now, this process is
/// not stopped for it, which nobody would know of.
fn set(mode: &Termios) -> io::Result<()> {
    let mut output = SigSet::empty();
    output.add(Signal::SIGTTOU);
    let before = output.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let result = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, mode);
    before.thread_set_mask()?;
    Ok(result?)
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the terminal raw if this job has it.
    fn look(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.is_over {
            return Ok(());
        }
        state.is_raw = false;
        if is_in_foreground() {
            if state.before.is_none() {
                state.before = Some(tcgetattr(rustix::stdio::stdin())?);
            }
            if let Some(before) = &state.before {
                set(&raw(before.clone(), self.escape))?;
                state.is_raw = true;
            }
        }
        if let Some(window) = self.window.as_ref().filter(|_| state.is_raw) {
            window.look();
        }
        Ok(())
    }

    /// Looks again and again while the terminal is another job's.
    fn watch(&self, mut woken: UnixStream) {
        loop {
            let waits = {
                let state = self.state();
                !state.is_raw && !state.is_over
            };
            let mut wanted = [PollFd::new(&woken, PollFlags::IN)];
            let timeout = waits.then_some(&LOOK);
            if poll(&mut wanted, timeout).is_ok_and(|count| count > 0)
                && !matches!(woken.read(&mut [0; 64]), Ok(1..))
            {
                return;
            }
            if waits {
                // A terminal that is gone stays as it is.
                let _ = self.look();
            }
        }
    }

    fn restore(&self) {
        let mut state = self.state();
        state.is_over = true;
        if let Some(before) = state.before.take()
            && is_in_foreground()
        {
            // Nothing is left to do about a terminal that is gone.
            let _ = set(&before);
        }
    }
}

fn raw(mut mode: Termios, escape: EscapeKey) -> Termios {
    // Output is still processed, so that messages on standard error begin at the left.
    mode.input_modes -= InputModes::BRKINT
        | InputModes::ICRNL
        | InputModes::IGNBRK
        | InputModes::IGNCR
        | InputModes::INLCR
        | InputModes::ISTRIP
        | InputModes::IXON
        | InputModes::PARMRK;
    mode.local_modes -=
        LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::IEXTEN;
    mode.local_modes
        .set(LocalModes::ISIG, escape == EscapeKey::Off);
    mode.special_codes[SpecialCodeIndex::VMIN] = 1;
    mode.special_codes[SpecialCodeIndex::VTIME] = 0;
    mode
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        self.shared.restore();
        let _ = self.shared.wake.shutdown(std::net::Shutdown::Both);
        if let Some(watch) = self.watch.take() {
            // It only looks at the terminal, and has nothing to say.
            let _ = watch.join();
        }
    }
}
