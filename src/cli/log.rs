//! What the command says on standard error.
//!
//! One thread writes it. Whoever has something to say leaves a line in a bounded queue and goes on,
//! so that a reader who has stopped holds up neither the guest nor the end of the run. What found
//! no room is counted and the count is said; so is what one place in the program says too often.

mod filter;

use std::collections::{HashMap, VecDeque};
use std::fmt::{Display, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ppckvm::{Confinement, Printable, Role};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Bytes that may wait for the reader of standard error.
const LIMIT: usize = 256 << 10;

/// Lines from one place in the program within [`WINDOW`]; the rest is counted.
const RATE: u64 = 10;
const WINDOW: Duration = Duration::from_secs(1);

/// How long a reader may take nothing at the end of the run.
const PATIENCE: Duration = Duration::from_secs(3);

/// As whom the command speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// As itself.
    Own,
    /// As QEMU would, by this name: what does not end the run is a warning.
    Qemu {
        /// The name.
        name: &'static str,
        /// Whether accesses that nothing answers are said.
        accesses: bool,
    },
}

impl Voice {
    fn note(self, line: impl Display) -> String {
        match self {
            Voice::Own => format!("ppckvm: {line}"),
            Voice::Qemu { name, .. } => format!("{name}: warning: {line}"),
        }
    }

    fn verdict(self, line: impl Display) -> String {
        match self {
            Voice::Own => format!("ppckvm: {line}"),
            Voice::Qemu { name, .. } => format!("{name}: {line}"),
        }
    }

    /// A line that stands by itself.
    fn plain(self, line: &str) -> String {
        match self {
            Voice::Own => line.to_owned(),
            Voice::Qemu { .. } => self.note(line),
        }
    }
}

/// Lines for standard error; clones are the same queue.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// A line came.
    called: Condvar,
    /// A line was written.
    written: Condvar,
    start: Instant,
    voice: Voice,
    /// Lines have their time and the part of the program that they come from.
    detailed: bool,
    colour: bool,
}

#[derive(Default)]
struct State {
    queue: VecDeque<String>,
    /// Bytes in `queue`.
    bytes: usize,
    /// A line is being written.
    busy: bool,
    /// Lines that found no room since the last one that did.
    dropped: u64,
    /// Pieces that the reader took.
    taken: u64,
    /// The host has no thread for this, so that lines are written when the program ends.
    is_alone: bool,
    kinds: HashMap<Identifier, Kind>,
    /// What the thread gives up before its next line.
    confinement: Option<Confinement>,
    /// Lines that stay below all others on a terminal.
    footer: Vec<String>,
    /// The footer is to be written again.
    is_redrawn: bool,
}

/// What one place in the program has said lately.
struct Kind {
    since: Instant,
    count: u64,
    /// The last line, for the count.
    last: String,
}

impl Kind {
    /// How often it was not said.
    fn kept_back(&self) -> u64 {
        self.count.saturating_sub(RATE)
    }
}

impl State {
    /// Adds a line if there is room, or `always`.
    fn push(&mut self, line: String, always: bool) {
        if self.dropped > 0 && self.has_room() {
            let lost = lost(std::mem::take(&mut self.dropped));
            self.enqueue(lost);
        }
        match always || self.has_room() {
            true => self.enqueue(line),
            false => self.dropped += 1,
        }
    }

    fn has_room(&self) -> bool {
        self.bytes < LIMIT
    }

    fn enqueue(&mut self, line: String) {
        self.bytes += line.len();
        self.queue.push_back(line);
    }

    /// Says how often what was said too often came, of kinds whose time is over, or of `all`; when
    /// to look again.
    fn sum_up(&mut self, now: Instant, all: bool) -> Option<Instant> {
        let is_over = |kind: &Kind| all || now.saturating_duration_since(kind.since) >= WINDOW;
        let over = self.kinds.extract_if(|_, kind| is_over(kind));
        let over: Vec<Kind> = over.map(|(_, kind)| kind).collect();
        for kind in over.iter().filter(|kind| kind.kept_back() > 0) {
            let line = format!("{} (and {} more like this)", kind.last, kind.kept_back());
            self.push(line, false);
        }
        let waiting = self.kinds.values().filter(|kind| kind.kept_back() > 0);
        waiting
            .filter_map(|kind| kind.since.checked_add(WINDOW))
            .min()
    }
}

fn lost(lines: u64) -> String {
    format!("ppckvm: {lines} lines are missing here, because nobody read standard error")
}

/// A panic of this program, which is a fault of its own.
fn fault(panic: &std::panic::PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let why = panic.payload_as_str().unwrap_or("for no known reason");
    let place = panic.location().map(|place| format!(" at {place}"));
    let place = place.unwrap_or_default();
    format!("a fault of ppckvm{place}, thread {thread}: {why}; please report it")
}

impl Log {
    /// Takes over standard error, and with it what the library and a panic of this program say.
    pub fn start(voice: Voice) -> Self {
        let text = std::env::var_os("PPCKVM_LOG").unwrap_or_default();
        let (mut filter, complaint) = filter::read(&text);
        let says_accesses = !matches!(
            voice,
            Voice::Qemu {
                accesses: false,
                ..
            }
        );
        if text.is_empty() && !says_accesses {
            filter = filter::without_accesses(filter);
        }
        let stderr = rustix::stdio::stderr();
        let is_plain = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let log = Log(Arc::new(Shared {
            state: Mutex::default(),
            called: Condvar::new(),
            written: Condvar::new(),
            start: Instant::now(),
            voice,
            detailed: filter::is_detailed(&filter),
            colour: rustix::termios::isatty(stderr) && !is_plain("NO_COLOR") && !dumb,
        }));
        let writer = log.clone();
        let thread = std::thread::Builder::new().name("log".into());
        if thread.spawn(move || writer.0.write_lines()).is_err() {
            log.lock().is_alone = true;
        }
        tracing_subscriber::registry()
            .with(filter)
            .with(log.clone())
            .init();
        let hook = log.clone();
        std::panic::set_hook(Box::new(move |panic| hook.say(fault(panic))));
        if let Some(complaint) = complaint {
            log.say(complaint);
        }
        log
    }

    /// One line, which is dropped when too much waits for the reader.
    pub fn say(&self, line: impl Display) {
        self.add(self.0.voice.note(line), false);
    }

    /// Lines that are not dropped, whatever waits: how the run ended, and what explains it.
    pub fn tell(&self, lines: impl Display) {
        for line in lines.to_string().lines() {
            self.add(self.0.voice.plain(line), true);
        }
    }

    /// The end of the run in one line, after everything else that was said.
    pub fn conclude(&self, verdict: impl Display) {
        self.lock().sum_up(Instant::now(), true);
        self.add(self.0.voice.verdict(verdict), true);
    }

    /// Lines that stay below all others on a terminal, until they are replaced; none to end that.
    pub fn show(&self, lines: Vec<String>) {
        let mut state = self.lock();
        state.is_redrawn |= state.footer != lines;
        state.footer = lines;
        self.0.called.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    fn add(&self, line: String, always: bool) {
        self.lock().push(line, always);
        self.0.called.notify_one();
    }

    /// Has the thread that writes give up what it does not need.
    pub fn confine(&self, confinement: &Confinement) {
        self.lock().confinement = Some(confinement.clone());
        self.0.called.notify_one();
    }

    /// Waits until all of it is written, for as long as the reader takes something.
    pub fn finish(&self) {
        self.finish_within(PATIENCE);
    }

    /// As [`Log::finish`], for a reader who may take nothing for so long.
    pub fn finish_within(&self, patience: Duration) {
        let mut state = self.lock();
        state.sum_up(Instant::now(), true);
        if state.dropped > 0 {
            let lost = lost(std::mem::take(&mut state.dropped));
            state.enqueue(lost);
        }
        if state.is_alone {
            let lines = std::mem::take(&mut state.queue);
            drop(state);
            return lines.iter().for_each(|line| self.0.write(line));
        }
        self.0.called.notify_one();
        let (mut taken, mut since) = (state.taken, Instant::now());
        while state.busy || state.is_redrawn || !state.queue.is_empty() {
            if state.taken != taken {
                (taken, since) = (state.taken, Instant::now());
            }
            let Some(left) = patience.checked_sub(since.elapsed()) else {
                break;
            };
            let waited = self.0.written.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes lines as they come, for as long as the process lives.
    fn write_lines(&self) {
        let mut state = self.lock();
        // Lines of the footer that stand on the terminal.
        let mut shown = 0;
        loop {
            let next = state.sum_up(Instant::now(), false);
            if let Some(confinement) = state.confinement.take() {
                drop(state);
                let confined = confinement.confine(Role::Waiter);
                state = self.lock();
                if let Err(error) = confined {
                    state.push(format!("ppckvm: {error}"), true);
                }
            } else if let Some(line) = state.queue.pop_front() {
                state.bytes -= line.len();
                state.busy = true;
                drop(state);
                self.erase(&mut shown);
                self.write(&line);
                state = self.lock();
                state.busy = false;
                state.is_redrawn |= !state.footer.is_empty();
                self.written.notify_all();
            } else if std::mem::take(&mut state.is_redrawn) {
                let footer = state.footer.clone();
                drop(state);
                self.erase(&mut shown);
                footer.iter().for_each(|line| self.write(line));
                shown = footer.len();
                state = self.lock();
                self.written.notify_all();
            } else if state.dropped > 0 {
                let lost = lost(std::mem::take(&mut state.dropped));
                state.enqueue(lost);
            } else if let Some(next) = next {
                let time = next.saturating_duration_since(Instant::now());
                let waited = self.called.wait_timeout(state, time);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            } else {
                let waited = self.called.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Takes the footer off the terminal.
    fn erase(&self, shown: &mut usize) {
        if *shown > 0 {
            self.put(format!("\x1b[{shown}A\x1b[J").as_bytes());
            *shown = 0;
        }
    }

    /// Writes one line; nothing can be done about it when standard error is gone.
    fn write(&self, line: &str) {
        let line = format!("{}\n", self.coloured(&Printable(line).to_string()));
        self.put(line.as_bytes());
    }

    fn put(&self, bytes: &[u8]) {
        let stderr = rustix::stdio::stderr();
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::io::write(stderr, rest) {
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    self.lock().taken += 1;
                }
                Err(Errno::INTR) => {}
                // Another process that shares the terminal or the pipe may have asked for this.
                Err(Errno::AGAIN) => {
                    let mut wanted = [PollFd::new(&stderr, PollFlags::OUT)];
                    if poll(&mut wanted, None).is_err_and(|error| error != Errno::INTR) {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// The line with its level in colour, on a terminal.
    fn coloured(&self, line: &str) -> String {
        if self.colour {
            for (level, colour) in [(Level::ERROR, 31), (Level::WARN, 33)] {
                if let Some((before, after)) = line.split_once(level.as_str())
                    && before
                        .chars()
                        .all(|c| c == ' ' || c == '.' || c.is_ascii_digit())
                {
                    return format!("{before}\u{1b}[{colour}m{level}\u{1b}[0m{after}");
                }
            }
        }
        line.to_owned()
    }

    /// A message of the library's as a line.
    fn line(&self, event: &Event<'_>) -> String {
        let metadata = event.metadata();
        let mut line = String::new();
        // Writing to a string does not fail.
        if self.detailed {
            let time = self.start.elapsed().as_secs_f64();
            let _ = write!(line, "{time:>10.6} ");
        }
        let is_note = *metadata.level() <= Level::WARN && !self.detailed;
        match self.voice {
            Voice::Qemu { name, .. } if is_note => {
                let _ = write!(line, "{name}: warning: ");
            }
            _ => {
                let _ = write!(line, "{:>5} ", metadata.level());
            }
        }
        if self.detailed {
            let _ = write!(line, "{}: ", metadata.target());
        }
        let mut fields = String::new();
        event.record(&mut Fields {
            message: &mut line,
            others: &mut fields,
        });
        line + &fields
    }
}

/// Collects a message and what stands beside it.
struct Fields<'a> {
    message: &'a mut String,
    others: &'a mut String,
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.others, " {name}={value:?}"),
        };
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = self.0.line(event);
        let now = Instant::now();
        let mut state = self.lock();
        state.sum_up(now, false);
        let kind = state
            .kinds
            .entry(event.metadata().callsite())
            .or_insert_with(|| Kind {
                since: now,
                count: 0,
                last: String::new(),
            });
        kind.count += 1;
        if kind.count > RATE {
            kind.last = line;
        } else {
            state.push(line, false);
        }
        drop(state);
        self.0.called.notify_one();
    }
}
