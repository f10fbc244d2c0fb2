//! One thread for all monitors: it waits for their clients, for the machine's events, and for what
//! is typed beside a console; it never makes the guest wait for any of them.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use serde_json::json;

use super::Language;
use super::messages::Message;
use super::subject::Subject;
use super::terminal::{Typed, Typist};
use super::{hmp, qmp};
use crate::host::console::io::Files;
use crate::host::console::{ConsoleHub, Monitor};
use crate::host::descriptors::{Reserve, is_exhausted};
use crate::host::listener::{Listener, close};
use crate::host::lock::lock;
use crate::host::serial::pty::Slave;
use crate::vm::control::RunEvent;

/// Clients of one socket at a time.
const CLIENTS: usize = 16;
/// Answers that a client has not read, in bytes, before it is read no further.
const UNREAD: usize = 64 << 10;
/// The same before it gets no more.
const LOST: usize = 1 << 20;
/// Events that wait for the thread.
const EVENTS: usize = 1024;
/// Typed bytes that wait for the thread.
const TYPED: usize = 4096;
/// A write of at most this many bytes to a pipe that polls writable does not block (POSIX).
const CHUNK: usize = 4096;
/// How long clients are given to read the last of it.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long nobody is taken after the host could not give what a client needs.
const DEAF: Duration = Duration::from_secs(1);

/// What other threads leave for this one.
pub struct Mailbox {
    post: Mutex<Post>,
    wake: OwnedFd,
}

#[derive(Default)]
struct Post {
    events: VecDeque<(SystemTime, RunEvent)>,
    /// What was typed beside a console, by its number; none: its user turned to the monitor.
    typed: VecDeque<(usize, Option<Vec<u8>>)>,
    is_closed: bool,
}

impl Mailbox {
    pub fn new() -> std::io::Result<Self> {
        Ok(Mailbox {
            post: Mutex::default(),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    fn wake(&self) {
        // Full only when the thread is awake already.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Something happened to the machine.
    pub fn happened(&self, event: &RunEvent) {
        let mut post = lock(&self.post);
        // A guest can reset itself faster than anybody reads of it.
        if post.events.len() < EVENTS || matches!(event, RunEvent::Ended(_)) {
            post.events.push_back((SystemTime::now(), event.clone()));
        }
        drop(post);
        self.wake();
    }

    fn typed(&self, number: usize, bytes: Option<&[u8]>) {
        let mut post = lock(&self.post);
        let waiting: usize = post
            .typed
            .iter()
            .flat_map(|(_, bytes)| bytes)
            .map(Vec::len)
            .sum();
        let room = TYPED.saturating_sub(waiting);
        if room > 0 && post.typed.len() < TYPED {
            let bytes = bytes.map(|bytes| bytes[..room.min(bytes.len())].to_vec());
            post.typed.push_back((number, bytes));
        }
        drop(post);
        self.wake();
    }

    /// The machine is gone: what is left goes to the clients, and the thread ends.
    pub fn close(&self) {
        lock(&self.post).is_closed = true;
        self.wake();
    }
}

/// The monitor beside one console.
pub struct Beside {
    number: usize,
    mailbox: Arc<Mailbox>,
}

impl Beside {
    pub fn new(number: usize, mailbox: Arc<Mailbox>) -> Self {
        Beside { number, mailbox }
    }
}

impl Monitor for Beside {
    fn entered(&self) {
        self.mailbox.typed(self.number, None);
    }

    fn typed(&self, bytes: &[u8]) {
        self.mailbox.typed(self.number, Some(bytes));
    }
}

/// What a client speaks.
enum Session {
    Qmp(qmp::Session),
    Hmp(Typist),
}

/// Something that a client wants done.
enum Wanted {
    Message(Message),
    Line(String),
    Echo(Vec<u8>),
}

impl Session {
    fn new(language: Language) -> Self {
        match language {
            Language::Qmp => Session::Qmp(qmp::Session::default()),
            Language::Hmp => Session::Hmp(Typist::default()),
        }
    }

    fn greeting(&self) -> Vec<u8> {
        match self {
            Session::Qmp(_) => qmp::Session::greeting(),
            Session::Hmp(_) => (hmp::banner() + hmp::PROMPT).into_bytes(),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Vec<Wanted> {
        match self {
            Session::Qmp(session) => {
                let messages = session.take(bytes).into_iter();
                messages.map(Wanted::Message).collect()
            }
            Session::Hmp(typist) => {
                let typed = typist.take(bytes).into_iter();
                let wanted = typed.map(|typed| match typed {
                    Typed::Echo(bytes) => Wanted::Echo(bytes),
                    Typed::Line(line) => Wanted::Line(line),
                });
                wanted.collect()
            }
        }
    }

    fn answer(&mut self, subject: &mut Subject, wanted: Wanted) -> Vec<u8> {
        match (self, wanted) {
            (Session::Qmp(session), Wanted::Message(message)) => session.answer(subject, message),
            (_, Wanted::Line(line)) => (hmp::command(subject, &line) + hmp::PROMPT).into_bytes(),
            (_, Wanted::Echo(bytes)) => bytes,
            (Session::Hmp(_), Wanted::Message(_)) => Vec::new(),
        }
    }
}

/// How a client is reached.
enum Link {
    Files {
        input: Option<OwnedFd>,
        output: OwnedFd,
    },
    /// On a console's own output.
    Console(Arc<ConsoleHub>),
}

struct Client {
    link: Link,
    session: Session,
    out: VecDeque<u8>,
    /// The socket that it came by; others stay when they send no more.
    place: Option<usize>,
    /// It was greeted.
    is_greeted: bool,
    /// It takes nothing more.
    is_gone: bool,
}

impl Client {
    fn new(link: Link, language: Language, place: Option<usize>) -> Self {
        Client {
            link,
            session: Session::new(language),
            out: VecDeque::new(),
            place,
            is_greeted: false,
            is_gone: false,
        }
    }

    fn greet(&mut self) {
        let greeting = self.session.greeting();
        self.is_greeted = true;
        self.send(&greeting);
    }

    fn send(&mut self, bytes: &[u8]) {
        match &self.link {
            Link::Console(hub) => hub.show(&String::from_utf8_lossy(bytes)),
            Link::Files { .. } if self.out.len() + bytes.len() <= LOST => self.out.extend(bytes),
            // Whole lines at a time, so that what it reads stays readable.
            Link::Files { .. } => {}
        }
    }

    /// Writes what the client takes now.
    fn flush(&mut self) {
        let Link::Files { output, .. } = &self.link else {
            return;
        };
        while !self.out.is_empty() && !self.is_gone {
            let mut wanted = [PollFd::new(output, PollFlags::OUT)];
            match poll(&mut wanted, Some(&Timespec::default())) {
                Ok(1..) => {}
                _ => return,
            }
            let (first, _) = self.out.as_slices();
            let chunk = &first[..first.len().min(CHUNK)];
            match rustix::io::write(output, chunk) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.is_gone = true,
            }
        }
    }

    /// What the client sent; none when it sends no more.
    fn read(&mut self) -> Option<Vec<u8>> {
        let Link::Files { input, .. } = &mut self.link else {
            return None;
        };
        let mut bytes = vec![0; CHUNK];
        match rustix::io::read(input.as_ref()?, &mut bytes) {
            Ok(0) => {}
            Ok(count) => {
                bytes.truncate(count);
                return Some(bytes);
            }
            Err(Errno::INTR | Errno::AGAIN) => return Some(Vec::new()),
            Err(_) => self.is_gone = true,
        }
        *input = None;
        None
    }

    fn input(&self) -> Option<&OwnedFd> {
        match &self.link {
            Link::Files { input, .. } if self.out.len() < UNREAD => input.as_ref(),
            _ => None,
        }
    }

    /// Whether it reads no more, or has sent and got all it will.
    fn is_over(&self) -> bool {
        let sends = match &self.link {
            Link::Files { input, .. } => input.is_some(),
            Link::Console(_) => true,
        };
        self.is_gone || self.place.is_some() && !sends && self.out.is_empty()
    }
}

struct Socket {
    listener: Listener,
    reserve: Reserve,
    language: Language,
    deaf_until: Option<Instant>,
}

/// All monitors.
pub struct Server {
    subject: Subject,
    mailbox: Arc<Mailbox>,
    sockets: Vec<Socket>,
    clients: Vec<Client>,
    /// Kept open so that their clients can come and go.
    slaves: Vec<Slave>,
}

impl Server {
    pub fn new(subject: Subject, mailbox: Arc<Mailbox>) -> Self {
        Server {
            subject,
            mailbox,
            sockets: Vec::new(),
            clients: Vec::new(),
            slaves: Vec::new(),
        }
    }

    /// Adds the monitor beside a console; they are numbered in this order.
    pub fn add_beside(&mut self, hub: Arc<ConsoleHub>) {
        // They come first, so that their numbers are their places.
        let at = self
            .clients
            .iter()
            .take_while(|client| matches!(client.link, Link::Console(_)))
            .count();
        let client = Client::new(Link::Console(hub), Language::Hmp, None);
        self.clients.insert(at, client);
    }

    /// Adds a monitor at these files.
    ///
    /// # Errors
    /// When the host has no more descriptors.
    pub fn add(
        &mut self,
        language: Language,
        files: Files,
        slave: Option<Slave>,
    ) -> std::io::Result<()> {
        self.slaves.extend(slave);
        if let Some(listener) = files.listener {
            self.sockets.push(Socket {
                reserve: Reserve::new(&listener)?,
                listener,
                language,
                deaf_until: None,
            });
        } else if let Some(output) = files.output {
            let link = Link::Files {
                input: files.input,
                output,
            };
            let mut client = Client::new(link, language, None);
            client.greet();
            self.clients.push(client);
        }
        Ok(())
    }

    /// Whether anybody can come.
    pub fn is_needed(&self) -> bool {
        !self.sockets.is_empty() || !self.clients.is_empty()
    }

    /// Serves all until the mailbox is closed.
    pub fn serve(mut self) {
        let mut closing: Option<Instant> = None;
        loop {
            self.clients.iter_mut().for_each(Client::flush);
            self.leave();
            if let Some(end) = closing {
                let is_done = self.clients.iter().all(|client| client.out.is_empty());
                if is_done || Instant::now() >= end {
                    break;
                }
            }
            let ready = self.wait(closing);
            let _ = rustix::io::read(&self.mailbox.wake, &mut [0; 8]);
            self.post();
            if closing.is_none() && lock(&self.mailbox.post).is_closed {
                closing = Some(Instant::now() + PATIENCE);
            }
            if closing.is_none() {
                self.accept();
                ready.into_iter().for_each(|at| self.read(at));
            }
        }
        for client in self.clients {
            if let (Link::Files { input, output }, Some(_)) = (client.link, client.place) {
                drop(input);
                close(output);
            }
        }
    }

    /// Lets go of clients that are over.
    fn leave(&mut self) {
        let is_over = |client: &mut Client| client.is_over();
        for client in self.clients.extract_if(.., is_over) {
            if let (Link::Files { input, output }, Some(_)) = (client.link, client.place) {
                drop(input);
                close(output);
            }
        }
    }

    /// Waits until there is something to do; the clients that have sent something.
    fn wait(&mut self, closing: Option<Instant>) -> Vec<usize> {
        let now = Instant::now();
        let mut until = closing;
        let mut fds = vec![PollFd::new(&self.mailbox.wake, PollFlags::IN)];
        if closing.is_none() {
            for (place, socket) in self.sockets.iter_mut().enumerate() {
                socket.deaf_until.take_if(|at| *at <= now);
                let of_it = |client: &&Client| client.place == Some(place);
                let is_full = self.clients.iter().filter(of_it).count() >= CLIENTS;
                match socket.deaf_until {
                    Some(at) => until = Some(until.map_or(at, |until| until.min(at))),
                    None if is_full => {}
                    None => {
                        fds.push(PollFd::from_borrowed_fd(
                            socket.listener.as_fd(),
                            PollFlags::IN,
                        ));
                    }
                }
            }
        }
        let mut senders = Vec::new();
        for (at, client) in self.clients.iter().enumerate() {
            if let Some(input) = client.input().filter(|_| closing.is_none()) {
                senders.push((fds.len(), at));
                fds.push(PollFd::new(input, PollFlags::IN));
            }
            if let (Link::Files { output, .. }, false) = (&client.link, client.out.is_empty()) {
                fds.push(PollFd::new(output, PollFlags::OUT));
            }
        }
        let timeout = until.map(|at| {
            let left = at.saturating_duration_since(now) + Duration::from_millis(1);
            Timespec::try_from(left).unwrap_or_default()
        });
        if let Err(error) = poll(&mut fds, timeout.as_ref())
            && error != Errno::INTR
        {
            tracing::error!("the monitors cannot wait for their clients: {error}");
        }
        let is_ready = |(fd, _): &(usize, usize)| !fds[*fd].revents().is_empty();
        let ready = senders.into_iter().filter(is_ready);
        ready.map(|(_, at)| at).collect()
    }

    /// Takes the next clients of all sockets.
    fn accept(&mut self) {
        for (place, socket) in self.sockets.iter_mut().enumerate() {
            if socket.deaf_until.is_some() {
                continue;
            }
            let of_it = |client: &&Client| client.place == Some(place);
            let mut count = self.clients.iter().filter(of_it).count();
            while count < CLIENTS {
                let accepted = socket.listener.accept().and_then(|output| {
                    let input = Some(output.try_clone()?);
                    Ok(Link::Files { input, output })
                });
                match accepted {
                    Ok(link) => {
                        let mut client = Client::new(link, socket.language, Some(place));
                        client.greet();
                        self.clients.push(client);
                        count += 1;
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        tracing::warn!("a monitor's client could not be taken: {error}");
                        let Socket {
                            reserve, listener, ..
                        } = &mut *socket;
                        let left = is_exhausted(&error)
                            && reserve.turn_away(&*listener, || listener.accept());
                        if !left {
                            socket.deaf_until = Some(Instant::now() + DEAF);
                        }
                        break;
                    }
                }
            }
        }
    }

    /// Does what a client sent.
    fn read(&mut self, at: usize) {
        let Some(client) = self.clients.get_mut(at) else {
            return;
        };
        if let Some(bytes) = client.read() {
            self.serve_client(at, &bytes);
        }
    }

    fn serve_client(&mut self, at: usize, bytes: &[u8]) {
        for wanted in self.clients[at].session.take(bytes) {
            let is_powerdown =
                matches!(&wanted, Wanted::Message(message) if qmp::is_powerdown(message));
            let answer = self.clients[at].session.answer(&mut self.subject, wanted);
            // What it came to is told before the answer, as QEMU does.
            self.post_events();
            if is_powerdown {
                self.tell(&qmp::event(SystemTime::now(), "POWERDOWN", None));
            }
            if let Some(total) = self.subject.dumped.take() {
                let result = json!({"total": total, "completed": total, "status": "completed"});
                let data = Some(json!({"result": result}));
                self.tell(&qmp::event(SystemTime::now(), "DUMP_COMPLETED", data));
            }
            self.clients[at].send(&answer);
        }
    }

    /// Tells all clients of the machine protocol something.
    fn tell(&mut self, line: &[u8]) {
        for client in &mut self.clients {
            if matches!(&client.session, Session::Qmp(session) if session.is_negotiated) {
                client.send(line);
            }
        }
    }

    fn post_events(&mut self) {
        let events = std::mem::take(&mut lock(&self.mailbox.post).events);
        for (at, event) in events {
            for (name, why) in self.subject.events(&event) {
                let data = match (&event, why) {
                    (_, Some((guest, reason))) => Some(json!({"guest": guest, "reason": reason})),
                    (RunEvent::Panicked(_), None) => Some(json!({"action": "run"})),
                    (RunEvent::Watchdog, None) => Some(json!({"action": "reset"})),
                    _ => None,
                };
                self.tell(&qmp::event(at, name, data));
            }
        }
    }

    /// Takes what other threads left.
    fn post(&mut self) {
        self.post_events();
        let typed = std::mem::take(&mut lock(&self.mailbox.post).typed);
        for (number, bytes) in typed {
            match bytes {
                Some(bytes) => self.serve_client(number, &bytes),
                None if !self.clients[number].is_greeted => {
                    self.clients[number].send(b"\r\n");
                    self.clients[number].greet();
                }
                None => self.clients[number].send(format!("\r\n{}", hmp::PROMPT).as_bytes()),
            }
        }
    }
}
