//! A serial port's console between the UART and the outside: a terminal, a pipe, a socket, or
//! memory.
//!
//! Output is queued for its destination and kept for whoever waits for text; input is queued until
//! the UART has room. Neither is dropped. The vcpu's thread waits where the queue of output is
//! full (`ConsoleHub::settle`), at a point where it holds no lock, so that a slow reader slows the
//! guest down and nothing else.
//!
//! A guest prints byte by byte, so a wake-up for each would cost more than the guest itself. The
//! event thread is woken for the first byte, writes it at once, and then comes by again by itself
//! until there was nothing for a moment (`ConsoleHub::peek`).
//!
//! What waits is bounded: output by the limit of its destination and what the guest sends at once,
//! 64 KiB at most; input by 64 KiB and what one read of the far end has; the output that is kept for
//! [`crate::Vm::output`] by 2 MiB. Only what a program types by [`crate::Vm::write`] is as long as it
//! makes it.

pub mod escape;
pub(crate) mod io;
mod pipes;
pub(crate) mod port;
mod screen;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::EventFd;

use ppckvm_devices::virtio::console::WindowSize;

use self::screen::Screen;
use crate::host::lock::lock;
pub use pipes::{ConsoleInput, ConsoleOutput};

/// Bytes of input that may wait for the guest before no more is read.
const INPUT_LIMIT: usize = 64 << 10;

/// Bytes of output that are kept for [`crate::Vm::output`] and for text to be found in.
const TRANSCRIPT_LIMIT: usize = 1 << 20;

/// How long a reader may take nothing once somebody asked for the end.
const AFTER_REQUEST: Duration = Duration::from_secs(1);

/// How long a client is waited for when the guest has ended, none is there, and output waits.
const ABSENT: Duration = Duration::from_secs(5);

/// What a console tells the machine that it belongs to, and asks of it.
pub(crate) trait Owner: Send + Sync {
    /// The guest printed these bytes, `polled` or through its driver's queue.
    fn printed(&self, bytes: &[u8], polled: bool);

    /// The text that was searched for was printed.
    fn text_found(&self);

    /// Whether the vcpu's thread is to return to its caller, and so must not wait for a reader.
    fn wants_return(&self) -> bool;

    /// Has `hook` called whenever [`Owner::wants_return`] becomes true.
    fn on_return_wanted(&self, hook: Box<dyn Fn() + Send + Sync>);

    /// Whether the guest has executed an instruction.
    fn has_begun(&self) -> bool {
        true
    }

    /// The user typed the sequence that quits.
    fn quit(&self);

    /// The file that takes output takes no more; `how` is what the host said.
    fn output_lost(&self, how: String);
}

/// A monitor that a console's user turns to and back from, and which shows its answers there.
pub(crate) trait Monitor: Send + Sync {
    /// The user turned to it.
    fn entered(&self);

    /// The user typed these bytes.
    fn typed(&self, bytes: &[u8]);
}

#[derive(Debug, Default)]
struct State {
    /// The last bytes of output.
    transcript: Vec<u8>,
    /// Bytes of output that are no longer in `transcript`.
    forgotten: u64,
    /// Where the search for text begins, counted from the first byte of output.
    cursor: u64,
    /// Up to where it found nothing.
    scanned: u64,
    needle: Option<Vec<u8>>,
    /// Output that the destination has not taken.
    queue: VecDeque<u8>,
    /// Whether anything takes from `queue`: a file, or a [`ConsoleOutput`].
    taken: bool,
    /// The event thread was woken for what is in `queue`, or comes by again in any case.
    wake_sent: bool,
    /// How many threads wait for `ConsoleHub::changed`.
    waiters: usize,
    /// Why the destination takes no more.
    lost: bool,
    /// The destination's reader has not come yet, or is gone, and may come.
    absent: bool,
    ended: bool,
    input: VecDeque<u8>,
    /// The port's name, until it is said that what the guest sends leads nowhere.
    unconnected: Option<String>,
    /// The terminal that takes the output, if one does.
    screen: Option<Screen>,
}

impl State {
    fn total(&self) -> u64 {
        self.forgotten + self.transcript.len() as u64
    }

    /// Whether the text that is searched for stands at or after the cursor, which then moves
    /// behind it.
    fn find(&mut self) -> bool {
        let Some(needle) = &self.needle else {
            return false;
        };
        let from = self.scanned.saturating_sub(self.forgotten) as usize;
        let kept = self.transcript.get(from..).unwrap_or_default();
        let Some(at) = kept
            .windows(needle.len())
            .position(|window| window == needle)
        else {
            // A match may begin in the last bytes.
            let rest = kept.len().min(needle.len().saturating_sub(1));
            self.scanned = self.total() - rest as u64;
            return false;
        };
        self.cursor = self.forgotten + (from + at + needle.len()) as u64;
        self.needle = None;
        true
    }
}

/// What takes input on behalf of the guest: its UART.
pub(crate) trait Port: Send + Sync {
    /// Asks `source` for as many bytes as the guest has room for and takes what it gives, under one
    /// lock of the port's own, so that bytes cannot change their order on the way.
    fn fill(&self, source: &mut dyn FnMut(usize) -> Vec<u8>);

    /// Gives the guest a break, if it listens and has room; a port without breaks never does.
    fn send_break(&self) -> bool {
        false
    }

    /// Tells the guest how large the window is; a port without windows ignores it.
    fn set_size(&self, _size: WindowSize) {}
}

/// One machine's console.
pub(crate) struct ConsoleHub {
    state: Mutex<State>,
    /// Something left or entered a queue, or a request was made.
    changed: Condvar,
    owner: Arc<dyn Owner>,
    /// Tells the event thread that there is output to write, or room for input.
    wake: Option<EventFd>,
    /// Input waits: what the vcpu's thread looks at after it touched a device.
    waiting: AtomicBool,
    /// The queue of output is full.
    full: AtomicBool,
    /// Bytes of output that may wait for the destination before the guest waits too.
    limit: usize,
    /// The guest's driver prints without interrupts, as kernels do for their own messages.
    polled: AtomicBool,
    port: Mutex<Option<Arc<dyn Port>>>,
    /// A hub whose destination gets all output too.
    copy: OnceLock<Arc<ConsoleHub>>,
    monitor: OnceLock<Arc<dyn Monitor>>,
}

impl ConsoleHub {
    /// A console whose output has a destination of its own when `wake` is given; it may be `limit`
    /// bytes behind.
    pub fn new(owner: Arc<dyn Owner>, wake: Option<EventFd>, limit: usize) -> Arc<Self> {
        let state = State {
            taken: wake.is_some(),
            ..State::default()
        };
        let hub = Arc::new(ConsoleHub {
            state: Mutex::new(state),
            changed: Condvar::new(),
            owner: owner.clone(),
            wake,
            waiting: AtomicBool::new(false),
            full: AtomicBool::new(false),
            limit,
            polled: AtomicBool::new(true),
            port: Mutex::new(None),
            copy: OnceLock::new(),
            monitor: OnceLock::new(),
        });
        let weak = Arc::downgrade(&hub);
        owner.on_return_wanted(Box::new(move || {
            if let Some(hub) = weak.upgrade() {
                hub.notify(&lock(&hub.state));
            }
        }));
        hub
    }

    /// The UART to give input to from now on.
    pub fn connect(&self, port: Arc<dyn Port>) {
        *lock(&self.port) = Some(port);
        self.feed();
    }

    /// The monitor that the console's user can turn to from now on; the first counts.
    #[cfg(feature = "control")]
    pub fn set_monitor(&self, monitor: Arc<dyn Monitor>) {
        let _ = self.monitor.set(monitor);
        self.wake();
    }

    /// The monitor that the console's user can turn to.
    pub fn monitor(&self) -> Option<&Arc<dyn Monitor>> {
        self.monitor.get()
    }

    /// Waits until something changed. Other threads hold the lock meanwhile.
    fn wait<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.waiters += 1;
        let waited = self.changed.wait(state);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiters -= 1;
        state
    }

    /// As [`ConsoleHub::wait`], for at most so long.
    fn wait_for<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        time: Duration,
    ) -> MutexGuard<'a, State> {
        state.waiters += 1;
        let waited = self.changed.wait_timeout(state, time);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.waiters -= 1;
        state
    }

    /// Tells whoever waits; a call to the host's kernel only when somebody does.
    fn notify(&self, state: &State) {
        if state.waiters > 0 {
            self.changed.notify_all();
        }
    }

    fn wake(&self) {
        if let Some(wake) = &self.wake {
            // The counter cannot overflow: each wake-up of the reader takes it down to 0.
            let _ = wake.write(1);
        }
    }

    /// Takes bytes that the guest sent.
    pub fn transmit(&self, bytes: &[u8]) {
        let mut state = lock(&self.state);
        if state.transcript.len() + bytes.len() > 2 * TRANSCRIPT_LIMIT {
            let old = state.transcript.len() - TRANSCRIPT_LIMIT;
            state.transcript.drain(..old);
            state.forgotten += old as u64;
        }
        state.transcript.extend_from_slice(bytes);
        let found = state.find();
        let wake = self.enqueue(&mut state, bytes);
        // A driver may try a port with a few bytes; a line is meant for somebody.
        let unseen = bytes.contains(&b'\n').then(|| state.unconnected.take());
        drop(state);
        if wake {
            self.wake();
        }
        if let Some(copy) = self.copy.get() {
            copy.forward(bytes);
        }
        if let Some(port) = unseen.flatten() {
            tracing::warn!(
                "the guest writes to {port}, which leads nowhere; give {port} a destination, or the \
                 kernel another console"
            );
        }
        self.owner
            .printed(bytes, self.polled.load(Ordering::Relaxed));
        if found {
            self.owner.text_found();
        }
    }

    /// Has all output from now on go to another hub's destination too; the first such hub stays.
    pub fn copy_to(&self, hub: Arc<ConsoleHub>) {
        let _ = self.copy.set(hub);
    }

    /// Queues output that another hub took.
    fn forward(&self, bytes: &[u8]) {
        let wake = self.enqueue(&mut lock(&self.state), bytes);
        if wake {
            self.wake();
        }
    }

    /// The guest switched the UART's interrupts: whether it now has none.
    pub fn set_polled(&self, polled: bool) {
        self.polled.store(polled, Ordering::Relaxed);
    }

    /// Nobody has asked for what the guest sends on this port: the first line of it is told of.
    pub fn set_unconnected(&self, port: String) {
        lock(&self.state).unconnected = Some(port);
    }

    /// Whether somebody is there to take output; nobody means that somebody may come.
    pub fn set_reader(&self, present: bool) {
        let mut state = lock(&self.state);
        state.absent = !present;
        self.notify(&state);
    }

    /// Shows text to the user that the guest did not send.
    pub fn show(&self, text: &str) {
        let mut state = lock(&self.state);
        // Asking for it does not make the queue grow.
        let wake = state.queue.len() < self.limit && self.enqueue(&mut state, text.as_bytes());
        drop(state);
        if wake {
            self.wake();
        }
    }

    /// Queues output; whether the event thread must now be woken, which the caller does without
    /// the lock, because that thread takes it first of all.
    #[must_use]
    fn enqueue(&self, state: &mut State, bytes: &[u8]) -> bool {
        if !state.taken || state.lost || bytes.is_empty() {
            return false;
        }
        let was_full = state.queue.len() >= self.limit;
        state.queue.extend(bytes);
        let full = state.queue.len() >= self.limit;
        self.full.store(full, Ordering::SeqCst);
        self.notify(state);
        // The guest is about to wait, so the next time would be late.
        !std::mem::replace(&mut state.wake_sent, true) || full && !was_full
    }

    /// Whether [`ConsoleHub::settle`] has something to do; cheap.
    #[inline]
    pub fn needs_settling(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) || self.full.load(Ordering::Relaxed)
    }

    /// Gives waiting input to the UART and waits for room for output, or for a request. The vcpu's
    /// thread calls it after it touched a device, holding no lock.
    pub fn settle(&self) {
        if self.waiting.load(Ordering::SeqCst) {
            self.feed();
        }
        if self.full.load(Ordering::SeqCst) {
            let mut state = lock(&self.state);
            while state.queue.len() >= self.limit && !self.owner.wants_return() {
                state = self.wait(state);
            }
        }
    }

    /// Gives the guest a break, and returns whether it took it: it must listen, and have taken all
    /// that was typed before.
    pub fn send_break(&self) -> bool {
        if !lock(&self.state).input.is_empty() {
            return false;
        }
        let port = lock(&self.port).clone();
        port.is_some_and(|port| port.send_break())
    }

    /// Tells the guest how large the window is in which a person sees the console.
    pub fn set_size(&self, size: WindowSize) {
        let port = lock(&self.port).clone();
        if let Some(port) = port {
            port.set_size(size);
        }
    }

    /// Queues input for the guest, all of it.
    pub fn receive(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        lock(&self.state).input.extend(bytes);
        self.waiting.store(true, Ordering::SeqCst);
        self.feed();
    }

    /// Takes back bytes that a reset of the UART's FIFO would have lost: they come again, as if
    /// the sender had been slower.
    pub fn take_back(&self, bytes: impl DoubleEndedIterator<Item = u8>) {
        let mut state = lock(&self.state);
        for byte in bytes.rev() {
            state.input.push_front(byte);
        }
        self.waiting
            .store(!state.input.is_empty(), Ordering::SeqCst);
    }

    /// How much more input may be read for the guest now, in bytes.
    pub fn input_room(&self) -> usize {
        INPUT_LIMIT.saturating_sub(lock(&self.state).input.len())
    }

    /// Moves input to the UART as far as it has room.
    pub fn feed(&self) {
        let Some(port) = lock(&self.port).clone() else {
            return;
        };
        port.fill(&mut |room| {
            let mut state = lock(&self.state);
            let was_full = state.input.len() >= INPUT_LIMIT;
            let count = room.min(state.input.len());
            let bytes = state.input.drain(..count).collect();
            self.waiting
                .store(!state.input.is_empty(), Ordering::SeqCst);
            if was_full && state.input.len() < INPUT_LIMIT {
                self.wake();
                self.notify(&state);
            }
            bytes
        });
    }

    /// Copies the next bytes for the destination into `chunk` without taking them. When there are
    /// none, the event thread is woken for the next, unless the caller `returns` in any case.
    pub fn peek(&self, chunk: &mut [u8], returns: bool) -> usize {
        let mut state = lock(&self.state);
        let count = chunk.len().min(state.queue.len());
        state.wake_sent = returns || count > 0;
        for (to, from) in chunk.iter_mut().zip(&state.queue) {
            *to = *from;
        }
        count
    }

    /// The destination took that many bytes.
    pub fn took(&self, count: usize) {
        let mut state = lock(&self.state);
        let count = count.min(state.queue.len());
        let State { queue, screen, .. } = &mut *state;
        if let Some(screen) = screen {
            let (first, second) = queue.as_slices();
            let count_first = count.min(first.len());
            screen.wrote(&first[..count_first]);
            screen.wrote(&second[..count - count_first]);
        }
        queue.drain(..count);
        self.full
            .store(state.queue.len() >= self.limit, Ordering::SeqCst);
        self.notify(&state);
    }

    /// The destination is a terminal.
    pub fn writes_to_terminal(&self) {
        lock(&self.state).screen = Some(Screen::default());
    }

    /// What brings the terminal that takes the output back to how a shell has it; nothing where
    /// there is none.
    pub fn leave_terminal(&self) -> Vec<u8> {
        let screen = &lock(&self.state).screen;
        screen.as_ref().map_or_else(Vec::new, Screen::leave)
    }

    /// The destination takes no more. What it did not take is dropped.
    pub fn lose(&self) {
        let mut state = lock(&self.state);
        state.lost = true;
        state.queue.clear();
        self.full.store(false, Ordering::SeqCst);
        self.notify(&state);
    }

    /// The guest is at its end: readers get what is left and then the end of the file.
    pub fn end(&self) {
        let mut state = lock(&self.state);
        state.ended = true;
        self.notify(&state);
    }

    /// Waits until a file has taken all output. With `patience`, or once a request comes, gives up
    /// when it took nothing for so long, and says how many bytes it left.
    pub fn drain(&self, patience: Option<Duration>) -> usize {
        if self.wake.is_none() {
            return 0;
        }
        // Now, rather than when the event thread next comes by.
        self.wake();
        let mut state = lock(&self.state);
        let mut left = state.queue.len();
        let mut since = Instant::now();
        while !state.queue.is_empty() {
            if state.queue.len() != left {
                (left, since) = (state.queue.len(), Instant::now());
            }
            let patience = patience
                .or(self.owner.wants_return().then_some(AFTER_REQUEST))
                .or(state.absent.then_some(ABSENT));
            state = match patience {
                None => self.wait(state),
                Some(patience) => {
                    let Some(time) = patience.checked_sub(since.elapsed()) else {
                        break;
                    };
                    self.wait_for(state, time)
                }
            };
        }
        state.queue.len()
    }

    /// Looks for text from where the last one ended; asks the vcpu loop to return once it is there.
    pub fn search(&self, text: &[u8]) {
        let mut state = lock(&self.state);
        state.needle = Some(text.to_vec());
        state.scanned = state.cursor;
        if text.is_empty() || state.find() {
            state.needle = None;
            drop(state);
            self.owner.text_found();
        }
    }

    /// Stops looking for text.
    pub fn stop_searching(&self) {
        lock(&self.state).needle = None;
    }

    /// How many bytes the guest has sent.
    pub fn sent(&self) -> u64 {
        lock(&self.state).total()
    }

    /// Whether the output that is kept has `text` in it.
    pub fn contains(&self, text: &[u8]) -> bool {
        let transcript = &lock(&self.state).transcript;
        text.is_empty() || transcript.windows(text.len()).any(|window| window == text)
    }

    /// The output that is kept.
    pub fn output(&self) -> Vec<u8> {
        lock(&self.state).transcript.clone()
    }

    /// The pipe that gives output to a reader, from its next byte on; none when something else
    /// takes the output.
    pub fn reader(self: &Arc<Self>) -> Option<ConsoleOutput> {
        let taken = std::mem::replace(&mut lock(&self.state).taken, true);
        (!taken).then(|| ConsoleOutput(self.clone()))
    }

    /// The pipe that takes input from a writer.
    pub fn writer(self: &Arc<Self>) -> ConsoleInput {
        ConsoleInput(self.clone())
    }
}

/// The guest's console output as a pipe: `read` waits for bytes, and returns 0 once the guest has
#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::sync::atomic::AtomicUsize;

    const OUTPUT_LIMIT: usize = 64 << 10;

    type Hook = Box<dyn Fn() + Send + Sync>;

    /// A machine that counts what it is told.
    #[derive(Default)]
    struct Recorder {
        found: AtomicUsize,
        wants_return: AtomicBool,
        hooks: Mutex<Vec<Hook>>,
    }

    impl Recorder {
        /// How often text was found since the last call.
        fn found(&self) -> usize {
            self.found.swap(0, Ordering::SeqCst)
        }

        fn want_return(&self) {
            self.wants_return.store(true, Ordering::SeqCst);
            lock(&self.hooks).iter().for_each(|hook| hook());
        }
    }

    impl Owner for Recorder {
        fn printed(&self, _: &[u8], _: bool) {}

        fn text_found(&self) {
            self.found.fetch_add(1, Ordering::SeqCst);
        }

        fn wants_return(&self) -> bool {
            self.wants_return.load(Ordering::SeqCst)
        }

        fn on_return_wanted(&self, hook: Hook) {
            lock(&self.hooks).push(hook);
        }

        fn quit(&self) {}

        fn output_lost(&self, _: String) {}
    }

    fn hub_and_owner() -> (Arc<ConsoleHub>, Arc<Recorder>) {
        let owner = Arc::new(Recorder::default());
        (ConsoleHub::new(owner.clone(), None, OUTPUT_LIMIT), owner)
    }

    fn hub() -> Arc<ConsoleHub> {
        hub_and_owner().0
    }

    /// A guest with a FIFO that somebody empties.
    #[derive(Default)]
    struct Fifo(Mutex<Vec<u8>>);

    impl Port for Fifo {
        fn fill(&self, source: &mut dyn FnMut(usize) -> Vec<u8>) {
            let mut fifo = lock(&self.0);
            let room = 16 - fifo.len();
            fifo.append(&mut source(room));
        }
    }

    #[test]
    fn text_is_found_when_its_last_byte_comes() {
        let (hub, owner) = hub_and_owner();
        hub.search(b"login: ");
        for piece in [&b"welcome\nlog"[..], b"in", b":"] {
            hub.transmit(piece);
            assert_eq!(owner.found(), 0);
        }
        hub.transmit(b" ");
        assert_eq!(owner.found(), 1);
        assert_eq!(hub.output(), b"welcome\nlogin: ");
    }

    #[test]
    fn a_search_begins_behind_the_last_match() {
        let (hub, owner) = hub_and_owner();
        hub.transmit(b"# one\r\n# two\r\n");
        for _ in 0..2 {
            hub.search(b"# ");
            assert_eq!(owner.found(), 1);
        }
        hub.search(b"# ");
        assert_eq!(owner.found(), 0);
        hub.transmit(b"# ");
        assert_eq!(owner.found(), 1);
    }

    #[test]
    fn a_long_output_keeps_its_tail_and_is_searched_whole() {
        let (hub, owner) = hub_and_owner();
        hub.search(b"the end");
        for _ in 0..3 * TRANSCRIPT_LIMIT / 1000 {
            hub.transmit(&[b'.'; 1000]);
        }
        assert_eq!(owner.found(), 0);
        hub.transmit(b"the end");
        assert_eq!(owner.found(), 1);
        let output = hub.output();
        assert!(output.len() <= 2 * TRANSCRIPT_LIMIT && output.ends_with(b".the end"));
    }

    #[test]
    fn input_waits_for_room_and_keeps_its_order() {
        let hub = hub();
        let fifo = Arc::new(Fifo::default());
        let sent: Vec<u8> = (0..100).collect();
        hub.receive(&sent[..30]);
        hub.connect(fifo.clone());
        hub.receive(&sent[30..]);
        let mut got = Vec::new();
        while hub.needs_settling() {
            got.append(&mut lock(&fifo.0));
            hub.settle();
        }
        got.append(&mut lock(&fifo.0));
        assert_eq!(got, sent);
    }

    #[test]
    fn bytes_that_a_reset_fifo_held_come_again_first() {
        let hub = hub();
        hub.receive(b"cd");
        hub.take_back(b"ab".iter().copied());
        let fifo = Arc::new(Fifo::default());
        hub.connect(fifo.clone());
        assert_eq!(*lock(&fifo.0), b"abcd");
    }

    #[test]
    fn a_slow_reader_stops_the_guest_until_it_reads() {
        let hub = hub();
        let mut reader = hub.reader().unwrap();
        hub.transmit(&vec![b'x'; OUTPUT_LIMIT]);
        assert!(hub.needs_settling());
        let guest = std::thread::spawn({
            let hub = hub.clone();
            move || {
                hub.settle();
                hub.end();
            }
        });
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        guest.join().unwrap();
        assert_eq!(all.len(), OUTPUT_LIMIT);
    }

    #[test]
    fn a_wanted_return_ends_the_wait_for_room() {
        let (hub, owner) = hub_and_owner();
        let _reader = hub.reader().unwrap();
        hub.transmit(&vec![b'x'; OUTPUT_LIMIT]);
        let guest = std::thread::spawn({
            let hub = hub.clone();
            move || hub.settle()
        });
        owner.want_return();
        guest.join().unwrap();
        assert!(hub.needs_settling());
    }

    #[test]
    fn a_dropped_reader_stops_nobody() {
        let hub = hub();
        drop(hub.reader().unwrap());
        hub.transmit(&vec![b'x'; 2 * OUTPUT_LIMIT]);
        assert!(!hub.needs_settling());
    }

    #[test]
    fn output_wakes_who_writes_it_once_and_not_while_it_returns() {
        let wake = EventFd::new(vmm_sys_util::eventfd::EFD_NONBLOCK).unwrap();
        let own = wake.try_clone().unwrap();
        let hub = ConsoleHub::new(Arc::new(Recorder::default()), Some(own), OUTPUT_LIMIT);
        let mut chunk = [0; 16];
        let woken = || wake.read().is_ok();

        hub.transmit(b"a");
        assert!(woken());
        hub.transmit(b"b");
        assert!(!woken());
        assert_eq!(hub.peek(&mut chunk, false), 2);
        hub.took(2);
        assert_eq!(hub.peek(&mut chunk, true), 0);
        hub.transmit(b"c");
        assert!(!woken());
        // The guest will wait for room.
        hub.transmit(&vec![b'x'; OUTPUT_LIMIT]);
        assert!(woken());
        hub.took(OUTPUT_LIMIT + 1);
        assert_eq!(hub.peek(&mut chunk, false), 0);
        hub.transmit(b"d");
        assert!(woken());
    }

    #[test]
    fn a_writer_learns_that_the_guest_has_ended() {
        let hub = hub();
        let mut writer = hub.writer();
        writer.write_all(b"abc").unwrap();
        hub.end();
        assert_eq!(
            writer.write(b"d").unwrap_err().kind(),
            std::io::ErrorKind::BrokenPipe
        );
    }
}
