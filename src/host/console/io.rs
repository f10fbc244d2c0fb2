//! A console's files, or its client at a socket, served by the event thread.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use ppckvm_devices::repeats::Repeats;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use vmm_sys_util::eventfd::EventFd;

use super::escape::{CTRL_A, Command, Escape, HELP, NO_BREAK, NO_MONITOR};
use super::{ConsoleHub, Owner};
use crate::host::descriptors::{Reserve, is_exhausted};
use crate::host::listener::{Listener, close};

const INPUT: u32 = 0;
const OUTPUT: u32 = 1;
const WAKE: u32 = 2;
const CLIENT: u32 = 3;
const TIMER: u32 = 4;
const LATER: u32 = 5;

/// How long output gathers after output, before it is written: most of what a guest prints in a
/// line comes within that time, and nobody sees the delay. What comes after silence is not delayed.
const GATHERING: Duration = Duration::from_micros(500);

/// How long nobody is taken after the host could not give what a client needs.
const DEAF: Duration = Duration::from_secs(1);

/// How often it is looked whether this job has the terminal, while another one has.
const LOOK: Duration = Duration::from_millis(100);

/// A write of at most this many bytes to a pipe that polls writable does not block (POSIX).
const CHUNK: usize = 4096;

/// How much may be typed before a monitor is there, in bytes.
const EARLY: usize = 64 << 10;

/// How input is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// The event loop tells.
    Armed,
    /// Nothing is read because the guest is far behind.
    Paused,
    /// Nothing is read because the terminal is another job's, which would stop this process.
    Background,
    /// A regular file: always ready, which the event loop refuses to tell.
    Always,
}

/// Whether reading from a terminal would stop this process: another job has it.
fn is_another_jobs(file: &File) -> bool {
    rustix::termios::tcgetpgrp(file).is_ok_and(|job| job != rustix::process::getpgrp())
}

/// What the event thread serves for one port.
#[derive(Default)]
pub(crate) struct Files {
    pub input: Option<OwnedFd>,
    pub output: Option<OwnedFd>,
    /// Reads and writes of the files return rather than wait, as they are.
    pub nonblocking: bool,
    pub listener: Option<Listener>,
    /// Whether `Ctrl-a` in the input is for the launcher.
    pub escape: bool,
    /// The output's reader may go, and the guest goes on without one.
    pub may_leave: bool,
}

/// The two files of a console, which are one client's where there is a socket.
pub(crate) struct ConsoleIo {
    hub: Arc<ConsoleHub>,
    owner: Arc<dyn Owner>,
    wake: EventFd,
    /// Tells when output has gathered.
    timer: OwnedFd,
    /// Tells when to listen, or to look at whose the terminal is, again; where that can be.
    later: Option<OwnedFd>,
    input: Option<(File, Waiting)>,
    output: Option<Output>,
    /// The output is full and the event loop tells when it no longer is.
    armed: bool,
    escape: Option<Escape>,
    /// What is typed is the monitor's.
    in_monitor: bool,
    /// What was typed for a monitor that is not there yet, from its key on.
    early: Vec<u8>,
    listener: Option<(Listener, Reserve)>,
    /// Nobody is taken for a moment, because the host could not give what a client needs.
    is_deaf: bool,
    not_taken: Repeats,
    /// The output's reader may go, and the guest goes on without one.
    may_leave: bool,
    /// The event loop tells of new clients.
    listening: bool,
}

struct Output {
    file: OwnedFd,
    /// Writes to this file return rather than wait.
    nonblocking: bool,
}

impl Output {
    /// Prepares a file for writes that must not hold up the event thread.
    ///
    /// O_NONBLOCK on the file itself would change it for every process that shares it, such as the
    /// shell; a pipe or terminal opened again has a description of its own.
    fn new(file: OwnedFd) -> Self {
        let is = |kind| {
            rustix::fs::fstat(&file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == kind)
        };
        if is(FileType::Fifo) || rustix::termios::isatty(&file) {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            if let Ok(own) = rustix::fs::open(path, flags, Mode::empty()) {
                return Output {
                    file: own,
                    nonblocking: true,
                };
            }
        }
        let nonblocking = is(FileType::RegularFile);
        Output { file, nonblocking }
    }

    /// Whether both directions of a socket are closed.
    fn hung_up(&self) -> bool {
        let mut looked = [PollFd::new(&self.file, PollFlags::empty())];
        poll(&mut looked, Some(&rustix::time::Timespec::default())).is_ok()
            && looked[0]
                .revents()
                .intersects(PollFlags::HUP | PollFlags::ERR)
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        if !self.nonblocking {
            let mut wanted = [PollFd::new(&self.file, PollFlags::OUT)];
            if poll(&mut wanted, Some(&rustix::time::Timespec::default()))? == 0 {
                return Err(Errno::AGAIN);
            }
        }
        rustix::io::write(&self.file, bytes)
    }
}

impl ConsoleIo {
    /// Serves `files`, which are now its own.
    ///
    /// # Errors
    /// When the host has no more descriptors.
    pub fn new(
        files: Files,
        hub: Arc<ConsoleHub>,
        owner: Arc<dyn Owner>,
        wake: EventFd,
    ) -> std::io::Result<Self> {
        let Files {
            input,
            output,
            nonblocking,
            listener,
            escape,
            may_leave,
        } = files;
        if listener.is_some() {
            hub.set_reader(false);
        }
        let new_timer = || {
            let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
            timerfd_create(TimerfdClockId::Monotonic, flags)
        };
        let timer = new_timer()?;
        let is_terminal = input.as_ref().is_some_and(rustix::termios::isatty);
        let later = (is_terminal || listener.is_some()).then(new_timer);
        if output.as_ref().is_some_and(rustix::termios::isatty) && !nonblocking {
            hub.writes_to_terminal();
        }
        let listener = listener.map(|listener| {
            let reserve = Reserve::new(&listener)?;
            Ok::<_, std::io::Error>((listener, reserve))
        });
        Ok(ConsoleIo {
            hub,
            owner,
            wake,
            timer,
            later: later.transpose()?,
            input: input.map(|file| (File::from(file), Waiting::Armed)),
            output: output.map(|file| match nonblocking {
                true => Output { file, nonblocking },
                false => Output::new(file),
            }),
            armed: false,
            escape: escape.then(Escape::default),
            in_monitor: false,
            early: Vec::new(),
            listener: listener.transpose()?,
            is_deaf: false,
            not_taken: Repeats::new(),
            may_leave,
            listening: false,
        })
    }

    /// Waits for clients while none is there who still sends.
    fn listen(&mut self, ops: &mut EventOps) {
        let Some((listener, _)) = &self.listener else {
            return;
        };
        let wanted = self.input.is_none() && !self.is_deaf;
        if wanted != self.listening {
            let event = Events::with_data(listener, CLIENT, EventSet::IN);
            let changed = if wanted {
                ops.add(event)
            } else {
                ops.remove(event)
            };
            match changed {
                Ok(()) => self.listening = wanted,
                Err(error) => tracing::error!("cannot wait for clients: {error}"),
            }
        }
    }

    /// Takes the next client; one that stopped sending before makes room for it.
    fn accept(&mut self, ops: &mut EventOps) {
        let Some((listener, reserve)) = &mut self.listener else {
            return;
        };
        let accepted = listener.accept().and_then(|client| {
            let input = client.try_clone()?;
            Ok((client, input))
        });
        match accepted {
            Ok((output, input)) => {
                tracing::debug!("{}: a client is there", listener.name());
                self.leave(ops);
                let input = File::from(input);
                if let Err(error) = ops.add(Events::with_data(&input, INPUT, EventSet::IN)) {
                    tracing::error!("cannot wait for a client's input: {error}");
                }
                self.input = Some((input, Waiting::Armed));
                self.output = Some(Output {
                    file: output,
                    nonblocking: true,
                });
                self.hub.set_reader(true);
                self.listen(ops);
                self.write(ops);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => {
                if let Some(times) = self.not_taken.count() {
                    tracing::warn!("a client could not be taken ({times} so far): {error}");
                }
                let left =
                    is_exhausted(&error) && reserve.turn_away(&*listener, || listener.accept());
                if !left {
                    // Its event would come without end.
                    self.is_deaf = true;
                    self.listen(ops);
                    self.look_later(DEAF);
                }
            }
        }
    }

    /// Listens again, and reads again if this job has the terminal by now.
    fn look(&mut self, ops: &mut EventOps) {
        self.is_deaf = false;
        self.listen(ops);
        let Some((file, waiting @ Waiting::Background)) = &mut self.input else {
            return;
        };
        if is_another_jobs(file) {
            return self.look_later(LOOK);
        }
        *waiting = Waiting::Armed;
        let _ = ops.add(Events::with_data(file, INPUT, EventSet::IN));
    }

    /// The client is gone, or goes; what it did not take waits for the next.
    fn leave(&mut self, ops: &mut EventOps) {
        if let Some((input, waiting)) = self.input.take()
            && waiting == Waiting::Armed
        {
            let _ = ops.remove(Events::empty(&input));
        }
        if let Some(output) = self.output.take() {
            if let Some((listener, _)) = &self.listener {
                tracing::debug!("{}: the client is gone", listener.name());
            }
            if std::mem::take(&mut self.armed) {
                let _ = ops.remove(Events::empty(&output.file));
            }
            close(output.file);
        }
        self.hub.set_reader(false);
        self.listen(ops);
    }

    /// Reads what the guest's queue has room for.
    fn read(&mut self, ops: &mut EventOps) {
        loop {
            let Some((file, waiting)) = &mut self.input else {
                return;
            };
            let room = self.hub.input_room().min(CHUNK);
            if room == 0 {
                if *waiting == Waiting::Armed {
                    // Removed, not masked: a hang-up is told of in any case, again and again.
                    *waiting = Waiting::Paused;
                    let _ = ops.remove(Events::empty(file));
                }
                return;
            }
            if self.later.is_some() && is_another_jobs(file) {
                if *waiting == Waiting::Armed {
                    *waiting = Waiting::Background;
                    let _ = ops.remove(Events::empty(file));
                }
                return self.look_later(LOOK);
            }
            let always = *waiting == Waiting::Always;
            let mut bytes = vec![0; room];
            match rustix::io::read(&*file, &mut bytes) {
                Ok(0) => return self.stop_reading(ops),
                Ok(count) => self.typed(&bytes[..count]),
                Err(Errno::INTR | Errno::AGAIN) => return,
                Err(error) => {
                    // A terminal that hung up reads as an error, and is an end like any other.
                    tracing::debug!("console input ends: {error}");
                    return self.stop_reading(ops);
                }
            }
            if !always {
                return;
            }
        }
    }

    fn stop_reading(&mut self, ops: &mut EventOps) {
        if let Some((file, waiting)) = self.input.take()
            && waiting == Waiting::Armed
        {
            let _ = ops.remove(Events::empty(&file));
        }
        // A client that closed its connection is gone; one that only ended its input still reads.
        if self.listener.is_some() && self.output.as_ref().is_some_and(Output::hung_up) {
            self.leave(ops);
        }
        self.listen(ops);
    }

    fn typed(&mut self, bytes: &[u8]) {
        let Some(escape) = &mut self.escape else {
            return self.hub.receive(bytes);
        };
        let bytes = [std::mem::take(&mut self.early), bytes.to_vec()].concat();
        let mut guest = Vec::with_capacity(bytes.len());
        for (at, byte) in bytes.iter().enumerate() {
            for command in escape.filter(&[*byte], &mut guest) {
                // What was typed before it comes before it.
                pass(&self.hub, self.in_monitor, &std::mem::take(&mut guest));
                match command {
                    Command::Quit => self.owner.quit(),
                    Command::Break if self.hub.send_break() => {}
                    Command::Break => self.hub.show(NO_BREAK),
                    Command::Help => self.hub.show(HELP),
                    Command::Monitor => match self.hub.monitor() {
                        Some(monitor) => {
                            self.in_monitor = !self.in_monitor;
                            if self.in_monitor {
                                monitor.entered();
                            }
                        }
                        // It comes before the guest begins, and so do its user's first keys.
                        None if !self.owner.has_begun() && bytes.len() <= EARLY => {
                            self.early = [&[CTRL_A], &bytes[at..]].concat();
                            return;
                        }
                        None => self.hub.show(NO_MONITOR),
                    },
                }
            }
        }
        pass(&self.hub, self.in_monitor, &guest);
    }

    /// Has the event loop tell once output has gathered; whether it will.
    fn return_later(&self) -> bool {
        set(&self.timer, GATHERING).is_ok()
    }

    /// Has the event loop call [`ConsoleIo::look`] after a while.
    fn look_later(&self, after: Duration) {
        if let Some(Err(error)) = self.later.as_ref().map(|later| set(later, after)) {
            tracing::error!("the console has no timer: {error}");
        }
    }

    /// Writes as much as the file takes now. Where that was something, more is likely, and this is
    /// called again when it has gathered.
    fn write(&mut self, ops: &mut EventOps) {
        let Some(output) = &self.output else { return };
        let mut chunk = [0; CHUNK];
        let mut returns = false;
        let full = loop {
            let count = self.hub.peek(&mut chunk, returns);
            if count == 0 {
                break false;
            }
            match output.write(&chunk[..count]) {
                Ok(written) => {
                    self.hub.took(written);
                    returns = returns || self.return_later();
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break true,
                Err(_) if self.listener.is_some() => return self.leave(ops),
                Err(error) => {
                    self.hub.lose();
                    let how = std::io::Error::from(error).to_string();
                    match self.may_leave {
                        true => tracing::debug!("a console's connection ended: {how}"),
                        false => self.owner.output_lost(how),
                    }
                    if self.armed {
                        let _ = ops.remove(Events::empty(&output.file));
                    }
                    self.output = None;
                    return;
                }
            }
        };
        if full != self.armed {
            let event = Events::with_data(&output.file, OUTPUT, EventSet::OUT);
            let changed = if full {
                ops.add(event)
            } else {
                ops.remove(event)
            };
            match changed {
                Ok(()) => self.armed = full,
                Err(error) => tracing::error!("cannot wait for the console's output: {error}"),
            }
        }
    }
}

/// Passes on what was typed, to the guest or the monitor.
fn pass(hub: &ConsoleHub, in_monitor: bool, bytes: &[u8]) {
    match hub.monitor().filter(|_| in_monitor && !bytes.is_empty()) {
        Some(monitor) => monitor.typed(bytes),
        None => hub.receive(bytes),
    }
}

/// Has a timer fire once.
fn set(timer: &OwnedFd, after: Duration) -> Result<(), Errno> {
    let once = Itimerspec {
        it_interval: Timespec::default(),
        it_value: Timespec {
            tv_sec: after.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: after.subsec_nanos().into(),
        },
    };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &once).map(drop)
}

impl MutEventSubscriber for ConsoleIo {
    fn process(&mut self, events: Events, ops: &mut EventOps) {
        match events.data() {
            INPUT => self.read(ops),
            OUTPUT => self.write(ops),
            CLIENT => self.accept(ops),
            LATER => {
                if let Some(later) = &self.later {
                    let _ = rustix::io::read(later, &mut [0; 8]);
                }
                self.look(ops);
            }
            TIMER => {
                // As an event's counter, it must be read to fall silent.
                let _ = rustix::io::read(&self.timer, &mut [0; 8]);
                self.write(ops);
            }
            _ => {
                // Not blocking: the event says that the counter is not 0.
                let _ = self.wake.read();
                if !self.early.is_empty() {
                    self.typed(&[]);
                }
                self.write(ops);
                match &mut self.input {
                    Some((file, waiting @ Waiting::Paused)) if self.hub.input_room() > 0 => {
                        *waiting = Waiting::Armed;
                        let _ = ops.add(Events::with_data(file, INPUT, EventSet::IN));
                    }
                    Some((_, Waiting::Always)) => self.read(ops),
                    _ => {}
                }
            }
        }
    }

    fn init(&mut self, ops: &mut EventOps) {
        let timer = Events::with_data(&self.timer, TIMER, EventSet::IN);
        let wake = Events::with_data(&self.wake, WAKE, EventSet::IN);
        let later = self.later.as_ref();
        let later = later.map(|later| Events::with_data(later, LATER, EventSet::IN));
        for event in [wake, timer].into_iter().chain(later) {
            if let Err(error) = ops.add(event) {
                tracing::error!("cannot wait for the console: {error}");
            }
        }
        self.listen(ops);
        if let Some((file, waiting)) = &mut self.input
            && ops
                .add(Events::with_data(file, INPUT, EventSet::IN))
                .is_err()
        {
            *waiting = Waiting::Always;
            self.read(ops);
        }
    }
}

impl Drop for ConsoleIo {
    fn drop(&mut self) {
        if self.listener.is_some() {
            drop(self.input.take());
            if let Some(output) = self.output.take() {
                close(output.file);
            }
        }
    }
}
