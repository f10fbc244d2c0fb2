//! What the guest's kernel says of its own end, on a serial port, through the panic device or in
//! its memory, and what follows from it.
//!
//! A stock kernel says on the console that it panicked or halted. A program that prints the same
//! words must not end the run, and the two can be told apart: a kernel switches the port's
//! interrupts off while it prints its own messages, a program's output goes through the driver's
//! queue, which needs them. What a program has the kernel print, through `/dev/kmsg`, is told apart
//! by the kernel's state: whether a CPU panics, or who wrote what its log holds.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use vm_memory::{Bytes, GuestAddress};

use ppckvm_api::GuestMemory;

use crate::host::lock::lock;
use crate::loader::symbols::{KERNEL_BASE, Symbols};
use crate::vm::control::{Control, Request, RunEvent};
use crate::vm::kernel_log::{self, PANIC, Physical};
use crate::vm::outcome::{OnPanic, Outcome};

/// Bytes of a line that are looked at.
const LINE: usize = 512;

/// How long nothing more is printed until a panic whose end the kernel does not mark is over.
const QUIET: Duration = Duration::from_secs(3);

/// How often the kernel's own state is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// What kernels print when they stop for good.
const HALTS: [&str; 2] = [
    "reboot: System halted",
    "System Halted, OK to turn off power",
];

/// What a kernel says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It panicked, and why.
    Panic(String),
    /// All that it says of a panic was printed.
    PanicEnd,
    /// It stopped for good.
    Halted,
}

impl Said {
    /// What a line of a kernel's says, with or without printk's prefix.
    fn by(line: &[u8]) -> Option<Said> {
        let line = String::from_utf8_lossy(line);
        let text = without_prefix(&line);
        if let Some(message) = text.strip_prefix(PANIC) {
            let message = message.trim_start_matches(':').trim();
            return Some(Said::Panic(message.to_owned()));
        }
        let ends_panic = text.starts_with("---[ end Kernel panic")
            || text.starts_with("Rebooting in ") && text.ends_with(" seconds..");
        if ends_panic {
            return Some(Said::PanicEnd);
        }
        let halts = HALTS.iter().any(|halt| text.starts_with(halt));
        halts.then_some(Said::Halted)
    }
}

/// A kernel's line without log level, time and caller: `<0>[    1.234567][    T1] text`.
fn without_prefix(line: &str) -> &str {
    let mut text = line.trim_end();
    loop {
        let rest = text.trim_start();
        let close = match rest.as_bytes().first() {
            Some(b'<') => '>',
            Some(b'[') => ']',
            _ => return rest,
        };
        match rest.split_once(close) {
            Some((_, after)) => text = after,
            None => return rest,
        }
    }
}

/// Cuts one port's output into the kernel's own lines.
#[derive(Debug, Default)]
pub(crate) struct LineReader {
    line: Vec<u8>,
    /// A program's output came since; the kernel's next byte begins a line.
    interrupted: bool,
}

impl LineReader {
    /// Takes what was printed, `polled` or through the driver's queue; what the kernel said last.
    pub fn take(&mut self, bytes: &[u8], polled: bool) -> Option<Said> {
        if !polled {
            self.interrupted = true;
            return None;
        }
        if std::mem::take(&mut self.interrupted) {
            self.line.clear();
        }
        let mut said = None;
        for byte in bytes {
            if *byte == b'\n' {
                said = Said::by(&self.line).or(said);
                self.line.clear();
            } else if self.line.len() < LINE {
                self.line.push(*byte);
            }
        }
        said
    }
}

/// What the kernel's memory says of a line that a port printed.
struct Memory {
    memory: GuestMemory,
    symbols: Option<Arc<Symbols>>,
}

/// The kernel's own word for whether it panicked, in its memory.
struct KernelState {
    memory: GuestMemory,
    /// Where `panic_cpu` is: -1 until a CPU panics.
    panic_cpu: GuestAddress,
    /// Where the kernel's banner is, which tells whether the symbols are this kernel's.
    banner: GuestAddress,
    /// `panic_cpu` was -1, so the kernel is in its place.
    running: AtomicBool,
}

impl KernelState {
    /// Whether a CPU panics, of a kernel that runs; none when this is not the kernel, or not yet.
    fn panics(&self) -> Option<bool> {
        let mut banner = [0; 14];
        let cell = self.memory.read_obj::<[u8; 4]>(self.panic_cpu).ok()?;
        self.memory.read_slice(&mut banner, self.banner).ok()?;
        match (&banner, i32::from_be_bytes(cell)) {
            (b"Linux version ", -1) => Some(false),
            // There is one CPU, and its number is 0.
            (b"Linux version ", 0) => Some(true),
            _ => None,
        }
    }

    /// As [`KernelState::panics`], of a kernel that need not have begun.
    fn panicked(&self) -> bool {
        match self.panics() {
            Some(true) => self.running.load(Ordering::Relaxed),
            Some(false) => {
                self.running.store(true, Ordering::Relaxed);
                false
            }
            None => false,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// A panic was seen; its message, as far as it is known.
    panic: Option<Option<String>>,
    /// When it is taken to be over, and the bytes printed when that was decided.
    over: Option<(Instant, u32)>,
    halted: bool,
}

/// What is known of how the guest's kernel ends; every port and the event thread share it.
pub(crate) struct Watch {
    control: Arc<Control>,
    on_panic: OnPanic,
    state: Mutex<State>,
    memory: OnceLock<Memory>,
    kernel: OnceLock<KernelState>,
    /// Bytes printed on all ports; wraps.
    printed: AtomicU32,
    /// Makes the event thread call [`Watch::pass`].
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Watch {
    /// A watch over a guest that has not said anything.
    pub fn new(control: Arc<Control>, on_panic: OnPanic) -> Arc<Self> {
        Arc::new(Watch {
            control,
            on_panic,
            state: Mutex::default(),
            memory: OnceLock::new(),
            kernel: OnceLock::new(),
            printed: AtomicU32::new(0),
            wake: OnceLock::new(),
        })
    }

    /// Looks at the kernel's own state too.
    pub fn know(&self, symbols: Option<&Arc<Symbols>>, memory: GuestMemory) {
        let _ = self.memory.set(Memory {
            memory: memory.clone(),
            symbols: symbols.cloned(),
        });
        let Some(symbols) = symbols else { return };
        let places = ["panic_cpu", "linux_banner"].map(|name| {
            let offset = symbols.address(name)?.checked_sub(KERNEL_BASE)?;
            Some(GuestAddress(offset.into()))
        });
        if let [Some(panic_cpu), Some(banner)] = places {
            let _ = self.kernel.set(KernelState {
                memory,
                panic_cpu,
                banner,
                running: AtomicBool::new(false),
            });
        }
    }

    /// What makes the event thread call [`Watch::pass`].
    pub fn on_change(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.wake.set(Box::new(wake));
    }

    /// A port printed a byte, and with it said something. The guest stands still, because its
    /// memory is asked whether the kernel means it.
    pub fn printed(&self, said: Option<Said>) {
        self.printed.fetch_add(1, Ordering::Relaxed);
        match said {
            Some(Said::Panic(message)) if self.is_true(PANIC) => self.panicked(Some(message)),
            Some(Said::PanicEnd) => self.panic_is_told(),
            Some(Said::Halted) if HALTS.iter().any(|halt| self.is_true(halt)) => {
                lock(&self.state).halted = true;
            }
            _ => {}
        }
    }

    /// Whether the kernel's memory bears out what a line on a port says. Where it cannot be asked,
    /// the line is believed.
    fn is_true(&self, text: &str) -> bool {
        let panics = self.kernel.get().and_then(KernelState::panics);
        if let Some(panics) = panics.filter(|_| text == PANIC) {
            return panics;
        }
        let said = self.memory.get().and_then(|Memory { memory, symbols }| {
            kernel_log::is_the_kernels(&Physical(memory), symbols.as_deref(), text)
        });
        said.unwrap_or(true)
    }

    /// The kernel panicked; the first message is the reason.
    pub fn panicked(&self, message: Option<String>) {
        let mut state = lock(&self.state);
        let known = state.panic.is_some();
        let panic = state.panic.get_or_insert_default();
        if panic.is_none() {
            panic.clone_from(&message);
        }
        if !known {
            state.over = Instant::now()
                .checked_add(QUIET)
                .map(|at| (at, self.printed.load(Ordering::Relaxed)));
        }
        drop(state);
        if known {
            return;
        }
        self.control.tell(&RunEvent::Panicked(message.clone()));
        match self.on_panic {
            OnPanic::Exit => {
                if let Some(wake) = self.wake.get() {
                    wake();
                }
            }
            OnPanic::Continue => {
                let panic = Outcome::KernelPanic { message };
                tracing::warn!("{panic}; the guest goes on");
            }
        }
    }

    fn panic_is_told(&self) {
        if self.on_panic == OnPanic::Exit
            && let Some(panic) = self.panic()
        {
            self.control.request(Request::End(panic));
        }
    }

    /// The panic that was seen, as an ending.
    pub fn panic(&self) -> Option<Outcome> {
        let message = lock(&self.state).panic.clone()?;
        Some(Outcome::KernelPanic { message })
    }

    /// Looks at what changes without being said, and says when to look again.
    pub fn pass(&self, now: Instant) -> Option<Duration> {
        let look = self.kernel.get().map(|kernel| {
            if lock(&self.state).panic.is_none() && kernel.panicked() {
                self.panicked(None);
            }
            LOOK
        });
        if self.on_panic == OnPanic::Continue {
            return look;
        }
        let mut state = lock(&self.state);
        let Some((at, before)) = state.over else {
            return look;
        };
        let printed = self.printed.load(Ordering::Relaxed);
        let at = if printed == before {
            at
        } else {
            let later = now.checked_add(QUIET)?;
            state.over = Some((later, printed));
            later
        };
        if at <= now {
            state.over = None;
            drop(state);
            self.panic_is_told();
            return look;
        }
        let left = at.saturating_duration_since(now);
        Some(look.map_or(left, |look| look.min(left)))
    }

    /// What the ending is, in the light of what the kernel said before.
    pub fn judge(&self, outcome: Outcome) -> Outcome {
        let by_itself = matches!(
            outcome,
            Outcome::PoweredOff
                | Outcome::Reset(_)
                | Outcome::WatchdogReset(_)
                | Outcome::CannotGoOn { .. }
                | Outcome::Hang { .. }
        );
        if !(by_itself || matches!(outcome, Outcome::TimedOut(_))) {
            return outcome;
        }
        if self.kernel.get().is_some_and(KernelState::panicked) {
            lock(&self.state).panic.get_or_insert_default();
        }
        let state = lock(&self.state);
        match (state.panic.clone(), outcome) {
            (Some(message), Outcome::TimedOut(after)) if self.on_panic == OnPanic::Continue => {
                Outcome::TimedOutAfterPanic { message, after }
            }
            (Some(message), _) => Outcome::KernelPanic { message },
            (None, Outcome::Hang { .. }) if state.halted => Outcome::Halted,
            (None, outcome) => outcome,
        }
    }

    /// The guest starts anew.
    pub fn forget(&self) {
        *lock(&self.state) = State::default();
        if let Some(kernel) = self.kernel.get() {
            kernel.running.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::outcome::Hang;
    use ppckvm_api::ResetKind;

    const LINES: &[u8] = b"[    1.234567][    T1] Kernel panic - not syncing: VFS: no root\r\n";

    fn watch(on_panic: OnPanic) -> (Arc<Control>, Arc<Watch>) {
        let control = Arc::new(Control::default());
        (control.clone(), Watch::new(control, on_panic))
    }

    fn print(watch: &Watch, reader: &mut LineReader, text: &[u8]) {
        for byte in text {
            watch.printed(reader.take(&[*byte], true));
        }
    }

    fn panic(message: &str) -> Outcome {
        Outcome::KernelPanic {
            message: Some(message.into()),
        }
    }

    #[test]
    fn lines_are_known_with_and_without_prefix() {
        let message = |text: &str| Some(Said::Panic(text.into()));
        for (line, said) in [
            (
                "Kernel panic - not syncing: Fatal exception",
                message("Fatal exception"),
            ),
            (
                "<0>[    0.5] Kernel panic - not syncing: a: b",
                message("a: b"),
            ),
            (
                "[   12.000001][  T123] Kernel panic - not syncing: x",
                message("x"),
            ),
            (
                "[    1.0] ---[ end Kernel panic - not syncing: x ]---",
                Some(Said::PanicEnd),
            ),
            ("[    1.0] Rebooting in 180 seconds..", Some(Said::PanicEnd)),
            ("[    9.1] reboot: System halted", Some(Said::Halted)),
            ("System Halted, OK to turn off power", Some(Said::Halted)),
            ("grep 'Kernel panic - not syncing: x' log", None),
            ("[", None),
            ("<0", None),
            ("", None),
        ] {
            assert_eq!(Said::by(line.as_bytes()), said, "{line}");
        }
    }

    #[test]
    fn a_programs_output_is_no_panic() {
        let mut reader = LineReader::default();
        assert_eq!(reader.take(LINES, false), None);
        // A prompt on the same line does not hide the kernel's.
        reader.take(b"earlier", true);
        reader.take(b"~ # ", false);
        assert!(matches!(reader.take(LINES, true), Some(Said::Panic(_))));
    }

    #[test]
    fn a_panic_ends_the_run_when_all_of_it_is_told() {
        let (control, watch) = watch(OnPanic::Exit);
        let mut reader = LineReader::default();
        print(&watch, &mut reader, LINES);
        assert!(control.take().is_none());
        print(
            &watch,
            &mut reader,
            b"Call Trace:\r\n---[ end Kernel panic ",
        );
        assert!(control.take().is_none());
        print(&watch, &mut reader, b"- not syncing: VFS: no root ]---\r\n");
        assert!(matches!(control.take(), Some(Request::End(end)) if end == panic("VFS: no root")));
    }

    #[test]
    fn a_panic_without_a_mark_at_its_end_is_over_when_nothing_more_comes() {
        let (control, watch) = watch(OnPanic::Exit);
        watch.panicked(None);
        let now = Instant::now();
        assert!(watch.pass(now).is_some_and(|left| left <= QUIET));
        watch.printed(None);
        assert_eq!(watch.pass(now + QUIET), Some(QUIET));
        assert!(control.take().is_none());
        assert_eq!(watch.pass(now + 2 * QUIET), None);
        let unknown = Outcome::KernelPanic { message: None };
        assert!(matches!(control.take(), Some(Request::End(end)) if end == unknown));
    }

    #[test]
    fn a_reset_after_a_panic_is_a_panic() {
        let (control, watch) = watch(OnPanic::Continue);
        let reset = || Outcome::Reset(ResetKind::System);
        assert_eq!(watch.judge(reset()), reset());
        let mut reader = LineReader::default();
        print(&watch, &mut reader, LINES);
        print(&watch, &mut reader, b"Rebooting in 1 seconds..\r\n");
        assert!(control.take().is_none());
        assert_eq!(watch.judge(reset()), panic("VFS: no root"));
        let late = Outcome::TimedOutAfterPanic {
            message: Some("VFS: no root".into()),
            after: QUIET,
        };
        assert_eq!(watch.judge(Outcome::TimedOut(QUIET)), late);
        watch.forget();
        assert_eq!(watch.judge(reset()), reset());
        let late = Outcome::TimedOut(QUIET);
        assert_eq!(watch.judge(late.clone()), late);
    }

    #[test]
    fn a_hang_after_the_halt_message_is_a_halt() {
        let (_, watch) = watch(OnPanic::Exit);
        let hang = Outcome::Hang {
            pc: 0,
            how: Hang::Spins,
        };
        assert_eq!(watch.judge(hang.clone()), hang);
        print(
            &watch,
            &mut LineReader::default(),
            b"[    2.0] reboot: System halted\r\n",
        );
        assert_eq!(watch.judge(hang), Outcome::Halted);
        assert_eq!(watch.judge(Outcome::PoweredOff), Outcome::PoweredOff);
    }
}
