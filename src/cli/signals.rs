//! Signals from outside: they end the run in order, or at once when they come again. Only the
//! command does this; the library installs no handler but the one that its memory windows need.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use ppckvm::{Confinement, Role, Stopper};
use signal_hook::consts::{
    SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGWINCH, SIGXFSZ,
};
use signal_hook::iterator;

use crate::log::Log;
use crate::terminal::TerminalHandle;
use crate::window::TerminalWindow;

/// What the exit status of a run that a signal ended is, less the signal's number.
pub const STATUS: u8 = 128;

/// The signals that end the run.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// Signals that are about the run and do not end it.
const OTHERS: [i32; 3] = [SIGCONT, SIGUSR1, SIGWINCH];

/// How long who reads standard error is waited for when a second signal asks for the end.
const AT_ONCE: Duration = Duration::from_millis(200);

/// Signals that this process takes one by one, blocked in all of its threads.
pub struct Held(SigSet);

/// Blocks the signals that are caught, in this thread and those that it starts, so that
/// [`Signals::catch_held`] learns who sent them.
pub fn hold() -> io::Result<Held> {
    let mut held = SigSet::empty();
    for number in ENDING.into_iter().chain(OTHERS) {
        held.add(Signal::try_from(number)?);
    }
    held.thread_block()?;
    Ok(Held(held))
}

/// A signal and who sent it, as far as that is known: `signal 15 from pid 1 (init)`.
fn sent_by(signal: u8, pid: u32) -> String {
    if pid == 0 {
        return format!("signal {signal}");
    }
    let name = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    match String::from_utf8_lossy(name).as_ref() {
        "" => format!("signal {signal} from pid {pid} (<unknown process>)"),
        name => format!("signal {signal} from pid {pid} ({name})"),
    }
}

/// Makes the process hear signals as it would have if a shell had started it: a parent may have
/// blocked them, or ignored those that belong to the terminal. A file that becomes larger than the
/// process may make it is an error of the write, not the end of the process.
pub fn settle() -> io::Result<()> {
    let other = |error: vmm_sys_util::signal::Error| io::Error::other(error.to_string());
    let blocked = vmm_sys_util::signal::get_blocked_signals().map_err(other)?;
    for signal in blocked {
        vmm_sys_util::signal::unblock_signal(signal).map_err(other)?;
    }
    let ignored = ignored();
    for signal in [SIGTTIN, SIGTTOU] {
        if ignored & 1 << (signal - 1) != 0 {
            let always = Arc::new(true.into());
            signal_hook::flag::register_conditional_default(signal, always)?;
        }
    }
    // Caught, which serves as well as ignored.
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    Ok(())
}

/// The signals that this process was started with as ignored, a bit each.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// Signals, caught for as long as the process lives.
pub struct Signals {
    shared: Arc<Shared>,
}

struct Shared {
    stopper: Stopper,
    log: Log,
    /// The first signal that asked for the end.
    caught: AtomicU8,
    /// Who sent it, where that is asked.
    sender: Mutex<Option<String>>,
    terminal: Mutex<Option<TerminalHandle>>,
    window: Option<TerminalWindow>,
}

impl Signals {
    /// From now on, a signal that asks for an end stops the run, SIGUSR1 asks where it is, and
    /// SIGWINCH has the guest know the window's size.
    pub fn catch(
        stopper: Stopper,
        log: Log,
        window: Option<TerminalWindow>,
        confinement: &Confinement,
    ) -> io::Result<Self> {
        let shared = Shared::new(stopper, log, window);
        let mut signals = iterator::Signals::new(ENDING.iter().chain(&OTHERS))?;
        let thread = std::thread::Builder::new().name("signals".into());
        confinement.spawn(thread, Role::Waiter, {
            let shared = shared.clone();
            move || signals.forever().for_each(|signal| shared.handle(signal))
        })?;
        // No signal tells of the size that it has.
        shared.look_at_window();
        Ok(Signals { shared })
    }

    /// As [`Signals::catch`], of signals that are held, and with their senders.
    pub fn catch_held(
        stopper: Stopper,
        log: Log,
        window: Option<TerminalWindow>,
        held: Held,
    ) -> io::Result<Self> {
        let shared = Shared::new(stopper, log, window);
        let signals = SignalFd::with_flags(&held.0, SfdFlags::SFD_CLOEXEC)?;
        let thread = std::thread::Builder::new().name("signals".into());
        thread.spawn({
            let shared = shared.clone();
            move || {
                // It waits for each; a descriptor that is broken tells of no more.
                while let Ok(Some(signal)) = signals.read_signal() {
                    let number = i32::try_from(signal.ssi_signo).unwrap_or_default();
                    if ENDING.contains(&number) {
                        let number = u8::try_from(number).unwrap_or_default();
                        let mut sender =
                            shared.sender.lock().unwrap_or_else(PoisonError::into_inner);
                        sender.get_or_insert_with(|| sent_by(number, signal.ssi_pid));
                    }
                    shared.handle(number);
                }
            }
        })?;
        Ok(Signals { shared })
    }

    /// The signal that ended the run and who sent it, of [`Signals::catch_held`].
    pub fn sender(&self) -> Option<String> {
        let sender = self.shared.sender.lock();
        sender.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The terminal to make raw again after a stop.
    pub fn set_terminal(&self, terminal: Option<TerminalHandle>) {
        *self.shared.terminal() = terminal;
    }

    /// The signal that ended the run.
    pub fn caught(&self) -> Option<u8> {
        let signal = self.shared.caught.load(Ordering::SeqCst);
        (signal != 0).then_some(signal)
    }
}

impl Shared {
    fn new(stopper: Stopper, log: Log, window: Option<TerminalWindow>) -> Arc<Self> {
        Arc::new(Shared {
            stopper,
            log,
            caught: AtomicU8::new(0),
            sender: Mutex::default(),
            terminal: Mutex::new(None),
            window,
        })
    }

    fn terminal(&self) -> std::sync::MutexGuard<'_, Option<TerminalHandle>> {
        self.terminal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, signal: i32) {
        match signal {
            SIGUSR1 => self.stopper.ask_for_report(),
            SIGWINCH => self.look_at_window(),
            SIGCONT => {
                if let Some(terminal) = &*self.terminal() {
                    // The shell had the terminal while this process was stopped.
                    let _ = terminal.make_raw();
                }
            }
            _ => self.end(u8::try_from(signal).unwrap_or(0)),
        }
    }

    fn look_at_window(&self) {
        if let Some(window) = &self.window {
            window.look();
        }
    }

    fn end(&self, signal: u8) {
        let first = self.caught.load(Ordering::SeqCst);
        if first == 0 {
            self.caught.store(signal, Ordering::SeqCst);
            return self.stopper.stop();
        }
        if let Some(terminal) = self.terminal().take() {
            terminal.restore();
        }
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = sender.as_deref() {
            // A run of QEMU's.
            self.log.conclude(format_args!("terminating on {sender}"));
            self.log.finish_within(AT_ONCE);
            std::process::exit(0);
        }
        self.log.conclude(format_args!(
            "ended by signal {first}, and at once by signal {signal}: the guest's last output may \
             be missing"
        ));
        self.log.finish_within(AT_ONCE);
        std::process::exit((STATUS + first).into());
    }
}
