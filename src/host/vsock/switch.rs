//! The switch between the guest's ports and the host's sockets.
//!
//! All sockets are in one epoll set of the switch's own, and that set is what the event thread
//! waits for. So a reset of the device, which comes from the vcpu's thread, closes sockets without
//! asking anybody; the switch is behind a lock, which is held for a bounded amount of work.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ppckvm_devices::repeats::Repeats;
use ppckvm_devices::virtio::vsock::{Broken, HOST_CID, Header, MOST_DATA, Op, Packets, STREAM};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::connection::{Connection, Given, Greeting, Ports, State};
use crate::host::descriptors::{Descriptors, Reserve, is_exhausted};
use crate::host::listener::Listener;

/// Connections and clients that have not said where they want to go, together.
pub(super) const MOST_CONNECTIONS: usize = 1024;

/// Packets that may wait for buffers of the guest's before no more of its packets are read.
const MOST_WAITING: usize = 256;

/// Steps until others of the event thread get their turn.
const STEPS: usize = 1024;

/// The first port of the host's, for connections that come from there.
const FIRST_PORT: u32 = 1 << 30;

/// How often, and for how long, a listener whose queue is full is tried again: Linux waits for two
/// seconds.
const RETRY: Duration = Duration::from_millis(10);
const MOST_TRIES: u32 = 200;

/// How long nobody is taken after the host could not give what a client needs.
const DEAF: Duration = Duration::from_secs(1);

/// What events say they are of; greater numbers are sockets.
const WAKE: u64 = 0;
const LISTENER: u64 = 1;
const TIMER: u64 = 2;
const FIRST_SOCKET: u64 = 3;

/// The switch.
pub(super) struct Switch {
    cid: u64,
    path: PathBuf,
    epoll: OwnedFd,
    wake: OwnedFd,
    timer: OwnedFd,
    listener: Listener,
    reserve: Reserve,
    descriptors: Descriptors,
    /// Clients could not be taken, and are not listened for until the timer fires.
    is_deaf: bool,
    not_taken: Repeats,
    /// While the device is active.
    packets: Option<Box<dyn Packets>>,
    next_id: u64,
    next_port: u32,
    greetings: HashMap<u64, Greeting>,
    connections: HashMap<u64, (Ports, Connection)>,
    by_ports: HashMap<Ports, u64>,
    /// Connections with something to do.
    ready: VecDeque<u64>,
    /// Connections whose listener has no place in its queue.
    connecting: Vec<u64>,
    /// Packets for the guest that carry no data.
    waiting: VecDeque<Header>,
    data: Vec<u8>,
}

/// Where the host listens for connections from the guest to `port`.
pub(super) fn path_of_port(path: &Path, port: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("_{port}"));
    name.into()
}

impl Switch {
    /// Listens at `path` for connections to the guest.
    pub fn new(cid: u64, path: &Path) -> io::Result<Self> {
        let listener = Listener::unix(path)?;
        let reserve = Reserve::new(&listener)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let own =
            |fd: BorrowedFd<'_>, id| epoll::add(&epoll, fd, EventData::new_u64(id), EventFlags::IN);
        own(wake.as_fd(), WAKE)?;
        own(listener.as_fd(), LISTENER)?;
        own(timer.as_fd(), TIMER)?;
        Ok(Switch {
            cid,
            path: path.into(),
            epoll,
            wake,
            timer,
            listener,
            reserve,
            descriptors: Descriptors::of_process(),
            is_deaf: false,
            not_taken: Repeats::new(),
            packets: None,
            next_id: FIRST_SOCKET,
            next_port: FIRST_PORT,
            greetings: HashMap::new(),
            connections: HashMap::new(),
            by_ports: HashMap::new(),
            ready: VecDeque::new(),
            connecting: Vec::new(),
            waiting: VecDeque::new(),
            data: Vec::new(),
        })
    }

    /// What has events when [`Switch::process`] has something to do.
    pub fn events(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// What is written to from other threads to have it look at the guest's packets.
    pub fn waker(&self) -> io::Result<OwnedFd> {
        self.wake.try_clone()
    }

    /// The device is active.
    pub fn start(&mut self, packets: Box<dyn Packets>) {
        self.packets = Some(packets);
    }

    /// Closes all connections, because the device is not active any more.
    pub fn stop(&mut self) {
        self.packets = None;
        self.greetings.clear();
        self.connections.clear();
        self.by_ports.clear();
        self.ready.clear();
        self.connecting.clear();
        self.waiting.clear();
    }

    /// How many connections there are, and clients that have not said where they want to go.
    #[cfg(test)]
    pub fn connections(&self) -> usize {
        self.connections.len() + self.greetings.len()
    }

    /// Waits as the event thread does.
    #[cfg(test)]
    pub fn wait(&self) {
        let mut ready = [rustix::event::PollFd::new(
            &self.epoll,
            rustix::event::PollFlags::IN,
        )];
        rustix::event::poll(&mut ready, None).expect("the set can be waited for");
    }

    /// Does what there is to do, and waits for nothing.
    pub fn process(&mut self) {
        self.look();
        let Some(mut packets) = self.packets.take() else {
            return;
        };
        match self.pump(&mut *packets) {
            Ok(more) => {
                packets.flush();
                self.packets = Some(packets);
                if more {
                    super::ring(&self.wake);
                }
            }
            // The driver was told and will reset the device; until then nothing can be said to it.
            Err(Broken) => {
                self.stop();
                self.packets = Some(packets);
            }
        }
    }

    /// Takes note of all events.
    fn look(&mut self) {
        let mut events = Vec::with_capacity(64);
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        loop {
            let buffer = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, buffer, Some(&now)) {
                Ok(0) => return,
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => {
                    tracing::error!("vsock: the host's events cannot be read: {error}");
                    return;
                }
            }
            for event in events.drain(..) {
                let (id, flags) = (event.data.u64(), event.flags);
                match id {
                    WAKE | TIMER => {
                        let fd = if id == WAKE { &self.wake } else { &self.timer };
                        let mut count = [0; 8];
                        let _ = rustix::io::read(fd, &mut count);
                        if id == TIMER {
                            self.listen_again();
                            self.retry();
                        }
                    }
                    LISTENER => self.accept(),
                    id => self.note(id, flags),
                }
            }
        }
    }

    fn note(&mut self, id: u64, flags: EventFlags) {
        if self.greetings.contains_key(&id) {
            return self.greet(id);
        }
        let Some((_, connection)) = self.connections.get_mut(&id) else {
            return;
        };
        connection.readable |= flags.intersects(EventFlags::IN | EventFlags::RDHUP);
        connection.writable |= flags.contains(EventFlags::OUT);
        if flags.intersects(EventFlags::HUP | EventFlags::ERR) {
            connection.hung_up = true;
            connection.readable = true;
            connection.writable = true;
        }
        self.enqueue(id);
    }

    fn enqueue(&mut self, id: u64) {
        if let Some((_, connection)) = self.connections.get_mut(&id)
            && !std::mem::replace(&mut connection.queued, true)
        {
            self.ready.push_back(id);
        }
    }

    fn register(&mut self, stream: &UnixStream) -> io::Result<u64> {
        let stream = self.descriptors.admit(stream)?;
        let id = self.next_id;
        self.next_id += 1;
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, stream, EventData::new_u64(id), flags)?;
        Ok(id)
    }

    fn is_full(&self) -> bool {
        let most = MOST_CONNECTIONS.min(self.descriptors.half());
        self.connections.len() + self.greetings.len() >= most
    }

    /// Takes the clients that wait. Without a driver, or with too many connections, they see the
    /// end at once.
    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok(client) => self.welcome(client.into()),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        if let Some(times) = self.not_taken.count() {
                            tracing::warn!(
                                "vsock: a client is not taken ({times} so far): {error}"
                            );
                        }
                        let listener = &self.listener;
                        let left = is_exhausted(&error)
                            && self.reserve.turn_away(listener, || listener.accept());
                        if !left {
                            return self.stop_listening();
                        }
                    }
                },
            }
        }
    }

    fn welcome(&mut self, stream: UnixStream) {
        if self.packets.is_none() || self.is_full() {
            return;
        }
        if let Ok(id) = self.register(&stream) {
            self.greetings.insert(id, Greeting::new(stream));
            self.greet(id);
        }
    }

    /// Leaves waiting clients alone for a moment: their events would come without end.
    fn stop_listening(&mut self) {
        if epoll::delete(&self.epoll, &self.listener).is_ok() {
            self.is_deaf = true;
            self.set_timer(DEAF);
        }
    }

    fn listen_again(&mut self) {
        if !std::mem::take(&mut self.is_deaf) {
            return;
        }
        let listener = EventData::new_u64(LISTENER);
        if epoll::add(&self.epoll, &self.listener, listener, EventFlags::IN).is_err() {
            self.is_deaf = true;
            self.set_timer(DEAF);
        }
    }

    fn greet(&mut self, id: u64) {
        let Some(greeting) = self.greetings.get_mut(&id) else {
            return;
        };
        match greeting.read() {
            Ok(None) => {}
            Err(()) => drop(self.greetings.remove(&id)),
            Ok(Some(port)) => {
                if let Some(greeting) = self.greetings.remove(&id) {
                    self.ask(id, port, greeting.stream);
                }
            }
        }
    }

    /// Asks the guest for a connection to one of its ports.
    fn ask(&mut self, id: u64, guest: u32, stream: UnixStream) {
        let mut ports = Ports {
            guest,
            host: self.next_port,
        };
        while self.by_ports.contains_key(&ports) {
            ports.host = ports.host.wrapping_add(1).max(FIRST_PORT);
        }
        self.next_port = ports.host.wrapping_add(1).max(FIRST_PORT);
        tracing::debug!("vsock {ports:?}: the host asks");
        let mut connection = Connection::new(State::Requested, Some(stream));
        self.waiting
            .push_back(connection.packet(self.cid, ports, Op::Request, 0));
        self.connections.insert(id, (ports, connection));
        self.by_ports.insert(ports, id);
    }

    /// Moves packets and bytes; whether there is more to do.
    fn pump(&mut self, packets: &mut dyn Packets) -> Result<bool, Broken> {
        for _ in 0..STEPS {
            let mut progress = self.flush_waiting(packets)?;
            if self.waiting.len() < MOST_WAITING {
                let mut data = std::mem::take(&mut self.data);
                let received = packets.receive(&mut data);
                if let Ok(Some(header)) = received {
                    progress = true;
                    self.receive(&header, &data);
                }
                self.data = data;
                received?;
                progress |= self.serve_next(packets)?;
            }
            if !progress {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn flush_waiting(&mut self, packets: &mut dyn Packets) -> Result<bool, Broken> {
        let mut progress = false;
        while !self.waiting.is_empty() && packets.room()?.is_some() {
            if let Some(header) = self.waiting.pop_front() {
                packets.send(header, &[])?;
                progress = true;
            }
        }
        Ok(progress)
    }

    /// Serves connections with something to do, until one made progress.
    fn serve_next(&mut self, packets: &mut dyn Packets) -> Result<bool, Broken> {
        for _ in 0..self.ready.len() {
            let Some(id) = self.ready.pop_front() else {
                break;
            };
            if let Some((_, connection)) = self.connections.get_mut(&id) {
                connection.queued = false;
                if self.serve(id, packets)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Moves some of a connection's bytes; whether there were any.
    fn serve(&mut self, id: u64, packets: &mut dyn Packets) -> Result<bool, Broken> {
        let Some((ports, connection)) = self.connections.get_mut(&id) else {
            return Ok(false);
        };
        let (cid, ports) = (self.cid, *ports);
        if connection.state == State::Requested {
            // Who hangs up before there is an answer needs none.
            if connection.hung_up {
                self.reset(id);
            }
            return Ok(false);
        }
        let has_credit = connection.pass_on();
        if has_credit {
            let update = connection.packet(cid, ports, Op::CreditUpdate, 0);
            self.waiting.push_back(update);
        }
        if connection.is_over() {
            self.reset(id);
            return Ok(true);
        }
        let mut ended = false;
        let mut moved = false;
        if connection.gives() && connection.credit.may_send() > 0 {
            // Data does not overtake what was said before it: Linux ends a connection whose first
            // bytes come before the response to its request.
            let room = match self.waiting.is_empty() {
                true => packets.room()?,
                false => None,
            };
            let Some(room) = room else {
                // It is served again when the driver has a buffer.
                self.enqueue(id);
                return Ok(has_credit);
            };
            let most = room.min(connection.credit.may_send() as usize);
            if most > 0 {
                self.data.resize(MOST_DATA, 0);
                match connection.give(&mut self.data[..most]) {
                    Given::Bytes(count) => {
                        connection.credit.send(count as u32);
                        let header = connection.packet(cid, ports, Op::Data, 0);
                        packets.send(header, &self.data[..count])?;
                        moved = true;
                    }
                    Given::Nothing => {}
                    Given::End => ended = true,
                }
            }
        }
        let news = connection.news(ended);
        if news != 0 {
            let shutdown = connection.packet(cid, ports, Op::Shutdown, news);
            self.waiting.push_back(shutdown);
        }
        if moved {
            self.enqueue(id);
        }
        Ok(moved || news != 0 || has_credit)
    }

    /// Ends a connection and tells the guest.
    fn reset(&mut self, id: u64) {
        if let Some((ports, mut connection)) = self.forget(id) {
            self.waiting
                .push_back(connection.packet(self.cid, ports, Op::Reset, 0));
        }
    }

    fn forget(&mut self, id: u64) -> Option<(Ports, Connection)> {
        let (ports, connection) = self.connections.remove(&id)?;
        tracing::debug!("vsock {ports:?}: leaves {:?}", connection.state);
        self.by_ports.remove(&ports);
        Some((ports, connection))
    }

    /// Takes a packet from the guest.
    fn receive(&mut self, header: &Header, data: &[u8]) {
        let ours = header.dst_cid == HOST_CID && header.src_cid == self.cid;
        if !ours || header.kind != STREAM {
            return self.refuse(header);
        }
        let ports = Ports {
            guest: header.src_port,
            host: header.dst_port,
        };
        let Some(&id) = self.by_ports.get(&ports) else {
            return match header.op {
                Op::Request => self.connect(ports, header),
                _ => self.refuse(header),
            };
        };
        let Some((_, connection)) = self.connections.get_mut(&id) else {
            return;
        };
        connection.credit.heard(header.buf_alloc, header.fwd_cnt);
        let established = connection.state == State::Established;
        match header.op {
            Op::Response if connection.state == State::Requested => {
                connection.state = State::Established;
                let line = format!("OK {}\n", ports.host);
                let greeted = connection.stream.as_mut().map(|stream| {
                    // A socket that nothing was written to takes a line.
                    io::Write::write_all(stream, line.as_bytes())
                });
                if greeted.is_none_or(|result| result.is_err()) {
                    return self.reset(id);
                }
            }
            Op::Reset => return drop(self.forget(id)),
            Op::Shutdown if established => connection.guest_ends(header.flags),
            Op::Data if connection.may_receive() => {
                if connection.keep(data).is_err() {
                    tracing::debug!("vsock: the guest sent more than it may to {ports:?}");
                    return self.reset(id);
                }
            }
            Op::CreditUpdate if established => {}
            Op::CreditRequest if established => {
                let update = connection.packet(self.cid, ports, Op::CreditUpdate, 0);
                self.waiting.push_back(update);
            }
            _ => return self.reset(id),
        }
        self.enqueue(id);
    }

    /// Tells the guest that there is no such connection.
    fn refuse(&mut self, header: &Header) {
        if header.op != Op::Reset {
            self.waiting.push_back(Header {
                src_cid: header.dst_cid,
                dst_cid: header.src_cid,
                src_port: header.dst_port,
                dst_port: header.src_port,
                len: 0,
                op: Op::Reset,
                flags: 0,
                buf_alloc: 0,
                fwd_cnt: 0,
                ..*header
            });
        }
    }

    /// Connects the guest to whoever listens for one of the host's ports.
    fn connect(&mut self, ports: Ports, header: &Header) {
        if self.is_full() {
            return self.refuse(header);
        }
        tracing::debug!("vsock {ports:?}: the guest asks");
        let mut connection = Connection::new(State::Connecting, None);
        connection.credit.heard(header.buf_alloc, header.fwd_cnt);
        let id = self.next_id;
        self.next_id += 1;
        self.connections.insert(id, (ports, connection));
        self.by_ports.insert(ports, id);
        self.try_connect(id);
    }

    fn try_connect(&mut self, id: u64) {
        let Some((ports, mut connection)) = self.forget(id) else {
            return;
        };
        let connected = reach(&path_of_port(&self.path, ports.host))
            .and_then(|stream| Ok((self.register(&stream)?, stream)));
        let connected = connected.map_err(|error| Errno::from_io_error(&error));
        match connected {
            Ok((id, stream)) => {
                connection.stream = Some(stream);
                connection.state = State::Established;
                self.waiting
                    .push_back(connection.packet(self.cid, ports, Op::Response, 0));
                self.connections.insert(id, (ports, connection));
                self.by_ports.insert(ports, id);
                self.enqueue(id);
            }
            Err(Some(Errno::AGAIN)) if connection.tries < MOST_TRIES => {
                connection.tries += 1;
                self.connections.insert(id, (ports, connection));
                self.by_ports.insert(ports, id);
                self.connecting.push(id);
                self.set_timer(RETRY);
            }
            Err(_) => {
                self.waiting
                    .push_back(connection.packet(self.cid, ports, Op::Reset, 0));
            }
        }
    }

    fn retry(&mut self) {
        for id in std::mem::take(&mut self.connecting) {
            self.try_connect(id);
        }
    }

    fn set_timer(&self, after: Duration) {
        let never = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let once = Itimerspec {
            it_interval: never,
            it_value: Timespec {
                tv_sec: after.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: after.subsec_nanos().into(),
            },
        };
        if let Err(error) = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once) {
            tracing::error!("vsock: no timer: {error}");
        }
    }
}

/// Connects without waiting: `EAGAIN` when the listener's queue is full.
fn reach(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}
