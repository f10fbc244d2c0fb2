//! TCP: each connection of the guest ends in a socket of the stack's, whose other side is a socket
//! of the host's.
//!
//! The stack is smoltcp's, one interface that takes packets for any address. It has no notion of a
//! NAT: a socket must listen before the SYN comes. So a SYN waits here while the host connects; when
//! that succeeds, a socket is made to listen at the address that the guest wanted, and gets the
//! SYN. When it fails, the SYN meets no socket, and the stack refuses it. The guest thus hears of a
//! refused connection what a real network would say, and never has one that leads nowhere.
//!
//! Data moves only where there is room for it: what the guest does not take fills the stack's
//! buffer, then the host's, then the peer's window; and the other way round.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::time::Duration;

use ppckvm_devices::repeats::Repeats;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{
    Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, PacketMeta, RxToken,
    TxToken,
};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, Icmpv4DstUnreachable, IpCidr, TcpPacket};

use super::address;
use super::buffers::{Buffers, CONNECTIONS};
use super::datagram::{self, Endpoint};
use super::environment::{Environment, MTU, Packet};
use super::link::Link;
use super::readiness::{Id, Readiness};

/// As much of a connection's data is given to the host at once, while more packets wait.
const CHUNK: usize = 64 << 10;

/// The most bytes of an IP packet that the guest cuts, or never puts together at all.
const LARGE: usize = 60 << 10;

/// How long the guest may take to answer a forwarded connection.
const PATIENCE: Duration = Duration::from_secs(75);

/// The first of the ports from which forwarded connections seem to come.
const FIRST_PORT: u16 = 49152;

/// What is waited for at each of the host's sockets: changes.
const EDGES: EventFlags = EventFlags::IN.union(EventFlags::OUT).union(EventFlags::ET);

/// Both ends of a connection, as the guest sees them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    guest: Endpoint,
    remote: Endpoint,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ((guest, port), (remote, remote_port)) = (self.guest, self.remote);
        write!(f, "{guest}:{port}-{remote}:{remote_port}")
    }
}

enum Stage {
    /// The host connects, or has and waits until the guest takes frames; the packet is the guest's
    /// SYN.
    Connecting { syn: Vec<u8>, is_up: bool },
    /// The guest's side is with the stack.
    Open(SocketHandle),
}

struct Connection {
    key: Key,
    host: TcpStream,
    stage: Stage,
    /// The host's socket may have something to read, or room to write.
    readable: bool,
    writable: bool,
    /// The host's peer said that nothing more comes.
    host_ended: bool,
    /// The guest said so.
    guest_ended: bool,
    /// The host's peer was told that the guest said so.
    told_host: bool,
    /// Both ends were closed in order.
    in_order: bool,
    /// Its state when last looked at.
    seen: State,
    /// It is in the list of those to serve.
    listed: bool,
}

/// All connections.
pub struct Tcp {
    interface: Interface,
    buffers: Buffers,
    capabilities: DeviceCapabilities,
    sockets: SocketSet<'static>,
    connections: HashMap<Id, Connection>,
    ids: HashMap<Key, Id>,
    /// Connections to serve.
    listed: Vec<Id>,
    next_port: u16,
    full: Repeats,
    refused: Repeats,
}

impl Tcp {
    /// No connections; with `large`, the guest takes packets that are yet to be cut.
    pub fn new(large: bool) -> Self {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        // The link leaves or fills in TCP's; what comes in was looked at before.
        let mut checksum = ChecksumCapabilities::default();
        checksum.ipv4 = Checksum::Tx;
        checksum.tcp = Checksum::None;
        capabilities.checksum = checksum;
        capabilities.segmentation.tcpv4 = large.then_some(LARGE).and_then(NonZeroUsize::new);
        let mut link = Link::default();
        let mut phy = Phy {
            link: &mut link,
            incoming: None,
            capabilities: &capabilities,
        };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed();
        let mut interface = Interface::new(config, &mut phy, Instant::ZERO);
        interface.set_any_ip(true);
        interface.update_ip_addrs(|addresses| {
            let own = IpCidr::new(address::GATEWAY.into(), 24);
            addresses
                .push(own)
                .expect("the interface has no other address");
        });
        Tcp {
            interface,
            buffers: Buffers::default(),
            capabilities,
            sockets: SocketSet::new(Vec::new()),
            connections: HashMap::new(),
            ids: HashMap::new(),
            listed: Vec::new(),
            next_port: FIRST_PORT,
            full: Repeats::new(),
            refused: Repeats::new(),
        }
    }

    /// Takes a packet from the guest; `name_server` is the host's.
    pub fn receive(
        &mut self,
        environment: &mut Environment,
        packet: &Packet,
        name_server: impl FnOnce() -> Option<SocketAddr>,
    ) {
        let Ok(tcp) = TcpPacket::new_checked(packet.payload) else {
            return;
        };
        let (from, to) = (packet.header.src_addr, packet.header.dst_addr);
        if !packet.is_partial && !tcp.verify_checksum(&from.into(), &to.into()) {
            return;
        }
        let key = Key {
            guest: (from, tcp.src_port()),
            remote: (to, tcp.dst_port()),
        };
        let packet = packet.bytes;
        if let Some(&id) = self.ids.get(&key) {
            let connection = self
                .connections
                .get_mut(&id)
                .expect("ids are of connections");
            let Stage::Open(handle) = connection.stage else {
                // The SYN again, or what makes no sense before there was an answer.
                if tcp.rst() {
                    self.remove(id, environment.readiness);
                }
                return;
            };
            self.ingress(environment, packet);
            self.look(id);
            self.list(id);
            if self.sockets.get::<Socket>(handle).recv_queue() >= CHUNK {
                self.serve(id);
            }
            return;
        }
        if !tcp.syn() || tcp.ack() {
            return self.ingress(environment, packet);
        }
        let destination = if address::is_name_server(to, tcp.dst_port()) {
            name_server()
        } else {
            environment
                .bounds
                .reach
                .on_host(to)
                .map(|ip| SocketAddr::new(ip, tcp.dst_port()))
        };
        match destination {
            Some(destination) => self.connect(environment, key, destination, packet),
            None => self.ingress(environment, packet),
        }
    }

    /// Asks the host for a connection.
    fn connect(&mut self, environment: &mut Environment, key: Key, to: SocketAddr, syn: &[u8]) {
        if self.is_full(environment) {
            return self.ingress(environment, syn);
        }
        match connect(to).and_then(|host| {
            let host = environment.bounds.descriptors.admit(host)?;
            let id = environment.readiness.add(&host, EDGES)?;
            Ok((host, id))
        }) {
            Ok((host, id)) => {
                let syn = syn.to_vec();
                let stage = Stage::Connecting { syn, is_up: false };
                self.insert(id, key, host, stage);
            }
            Err(error) => self.refuse(environment, syn, &error),
        }
    }

    /// The host will not connect: tells the guest as far as it is the network's business.
    fn refuse(&mut self, environment: &mut Environment, syn: &[u8], error: &io::Error) {
        use Icmpv4DstUnreachable::{HostUnreachable, NetUnreachable};
        match Errno::from_io_error(error) {
            Some(Errno::NETUNREACH) => datagram::unreachable(environment.link, NetUnreachable, syn),
            Some(Errno::HOSTUNREACH | Errno::TIMEDOUT) => {
                datagram::unreachable(environment.link, HostUnreachable, syn);
            }
            Some(Errno::CONNREFUSED | Errno::CONNRESET) => self.ingress(environment, syn),
            _ => {
                if let Some(times) = self.refused.count() {
                    tracing::warn!(
                        "a connection of the guest's is refused ({times} so far): {error}"
                    );
                }
                self.ingress(environment, syn);
            }
        }
    }

    /// Connects a client of a forwarded port with the guest.
    pub fn forward(&mut self, environment: &mut Environment, host: TcpStream, to: Endpoint) {
        if self.is_full(environment) || environment.bounds.descriptors.admit(&host).is_err() {
            return reset(&host);
        }
        let free = (0..=u16::MAX - FIRST_PORT).find_map(|_| {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
            let key = Key {
                guest: to,
                remote: (address::GATEWAY, port),
            };
            (!self.ids.contains_key(&key)).then_some(key)
        });
        let Some(key) = free else {
            return reset(&host);
        };
        let mut socket = new_socket(self.buffers.take());
        socket.set_timeout(Some(PATIENCE.into()));
        let prepared = host
            .set_nonblocking(true)
            .and_then(|()| host.set_nodelay(true));
        let id = prepared.and_then(|()| environment.readiness.add(&host, EDGES));
        match id {
            Ok(id) => {
                socket
                    .connect(self.interface.context(), key.guest, key.remote)
                    .expect("a new socket connects to any guest's address");
                let handle = self.sockets.add(socket);
                self.insert(id, key, host, Stage::Open(handle));
            }
            Err(error) => {
                if let Some(times) = self.refused.count() {
                    tracing::warn!("a forwarded connection is lost ({times} so far): {error}");
                }
                reset(&host);
            }
        }
    }

    fn is_full(&mut self, environment: &Environment) -> bool {
        let most = CONNECTIONS.min(environment.bounds.descriptors.half());
        let full = self.connections.len() >= most;
        if full && let Some(times) = self.full.count() {
            tracing::warn!(
                "the user network has its {most} connections, and more are refused ({times} so far)"
            );
        }
        full
    }

    fn insert(&mut self, id: Id, key: Key, host: TcpStream, stage: Stage) {
        let connection = Connection {
            key,
            host,
            stage,
            readable: true,
            writable: true,
            host_ended: false,
            guest_ended: false,
            told_host: false,
            in_order: false,
            seen: State::Closed,
            listed: false,
        };
        tracing::debug!("tcp {key}: opens, with {} others", self.connections.len());
        self.ids.insert(key, id);
        self.connections.insert(id, connection);
        self.look(id);
        if matches!(self.connections[&id].stage, Stage::Open(_)) {
            self.list(id);
        }
    }

    /// Something happened to a connection's host socket.
    pub fn ready(&mut self, environment: &mut Environment, id: Id, events: EventFlags) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let error = match events.intersects(EventFlags::ERR | EventFlags::HUP) {
            true => connection.host.take_error().unwrap_or_else(Some),
            false => None,
        };
        match &mut connection.stage {
            Stage::Connecting { syn, is_up } => {
                if let Some(error) = error {
                    let syn = std::mem::take(syn);
                    self.remove(id, environment.readiness);
                    self.refuse(environment, &syn, &error);
                } else if events.intersects(EventFlags::OUT) {
                    *is_up = true;
                    self.connected(environment, id);
                }
            }
            Stage::Open(handle) => {
                let handle = *handle;
                let hot = EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
                connection.readable |= events.intersects(hot);
                connection.writable |= events.intersects(EventFlags::OUT);
                if error.is_some() {
                    self.sockets.get_mut::<Socket>(handle).abort();
                }
                self.list(id);
            }
        }
    }

    /// Once the host has connected, the guest's SYN gets its answer, when that has room.
    fn connected(&mut self, environment: &mut Environment, id: Id) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Stage::Connecting { syn, is_up: true } = &mut connection.stage else {
            return;
        };
        if environment.link.is_full() {
            return self.list(id);
        }
        let syn = std::mem::take(syn);
        let mut socket = new_socket(self.buffers.take());
        socket
            .listen(connection.key.remote)
            .expect("a new socket listens at any port but 0");
        let handle = self.sockets.add(socket);
        connection.stage = Stage::Open(handle);
        self.ingress(environment, &syn);
        if self.sockets.get::<Socket>(handle).is_listening() {
            // The stack thinks nothing of this SYN.
            self.remove(id, environment.readiness);
        } else {
            self.look(id);
            self.list(id);
        }
    }

    fn ingress(&mut self, environment: &mut Environment, packet: &[u8]) {
        let mut phy = Phy {
            link: environment.link,
            incoming: Some(packet),
            capabilities: &self.capabilities,
        };
        self.interface
            .poll_ingress_single(environment.now, &mut phy, &mut self.sockets);
    }

    fn list(&mut self, id: Id) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !std::mem::replace(&mut connection.listed, true)
        {
            self.listed.push(id);
        }
    }

    /// Notes what the guest did, after each packet of its.
    fn look(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Stage::Open(handle) = connection.stage else {
            return;
        };
        let socket = self.sockets.get_mut::<Socket>(handle);
        let state = socket.state();
        if state == connection.seen {
            return;
        }
        connection.guest_ended |= matches!(
            state,
            State::CloseWait | State::Closing | State::LastAck | State::TimeWait
        );
        connection.in_order |= state == State::Closed
            && matches!(connection.seen, State::LastAck | State::TimeWait)
            || state == State::TimeWait;
        if state == State::Established {
            socket.set_timeout(None);
        }
        connection.seen = state;
    }

    /// Moves data between a connection's two sockets.
    fn serve(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Stage::Open(handle) = connection.stage else {
            return;
        };
        let socket = self.sockets.get_mut::<Socket>(handle);
        while connection.readable && !connection.host_ended && socket.can_send() {
            let host = &mut connection.host;
            let read = socket.send(|room| match host.read(room) {
                Ok(count) => (count, Ok(count)),
                Err(error) => (0, Err(error)),
            });
            match read {
                Ok(Ok(0)) => {
                    connection.host_ended = true;
                    socket.close();
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) => match error.kind() {
                    io::ErrorKind::WouldBlock => connection.readable = false,
                    io::ErrorKind::Interrupted => {}
                    _ => socket.abort(),
                },
                Err(_) => break,
            }
        }
        let may_write = socket.is_open() || connection.in_order;
        while may_write && connection.writable && socket.can_recv() {
            let host = &mut connection.host;
            let written = socket.recv(|data| match host.write(data) {
                Ok(count) => (count, Ok(count)),
                Err(error) => (0, Err(error)),
            });
            match written {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => match error.kind() {
                    io::ErrorKind::WouldBlock => connection.writable = false,
                    io::ErrorKind::Interrupted => {}
                    _ => {
                        socket.abort();
                        connection.in_order = false;
                        break;
                    }
                },
                Err(_) => break,
            }
        }
        if connection.guest_ended && !connection.told_host && !socket.can_recv() {
            // An error says that the host's side is gone, which reading finds too.
            let _ = connection.host.shutdown(Shutdown::Write);
            connection.told_host = true;
        }
    }

    /// Moves what can be moved: between sockets, and from the stack to the guest.
    pub fn work(&mut self, environment: &mut Environment) {
        for index in 0..self.listed.len() {
            self.serve(self.listed[index]);
        }
        let mut passed = false;
        while !environment.link.has_enough() {
            passed = true;
            let mut phy = Phy {
                link: environment.link,
                incoming: None,
                capabilities: &self.capabilities,
            };
            let sockets = &mut self.sockets;
            if self
                .interface
                .poll_egress(environment.now, &mut phy, sockets)
                == PollResult::None
            {
                break;
            }
        }
        let mut kept = Vec::new();
        for id in std::mem::take(&mut self.listed) {
            self.look(id);
            let Some(connection) = self.connections.get_mut(&id) else {
                continue;
            };
            connection.listed = false;
            let Stage::Open(handle) = connection.stage else {
                self.connected(environment, id);
                continue;
            };
            let socket = self.sockets.get::<Socket>(handle);
            let closed = match socket.state() {
                // A reset of ours is sent when the stack has forgotten the other end.
                State::Closed => socket.remote_endpoint().is_none(),
                // The guest reset what it had only asked for.
                State::Listen => true,
                // The guest's FIN was acknowledged by the pass above.
                State::TimeWait => passed,
                _ => continue,
            };
            let delivered = !connection.in_order || connection.told_host;
            if closed && delivered {
                self.remove(id, environment.readiness);
            } else if !closed {
                kept.push(id);
            }
        }
        for id in kept {
            self.list(id);
        }
    }

    /// When the stack's timers want it called, if packets for the guest have room.
    pub fn deadline(&mut self, now: Instant, link: &Link) -> Option<Instant> {
        if self.connections.is_empty() || link.has_enough() {
            return None;
        }
        self.interface.poll_at(now, &self.sockets)
    }

    /// A timer of the stack's may have ended connections.
    pub fn tick(&mut self) {
        let ids: Vec<_> = self.connections.keys().copied().collect();
        for id in ids {
            self.list(id);
        }
    }

    fn remove(&mut self, id: Id, readiness: &mut Readiness) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        let how = match (&connection.stage, connection.in_order) {
            (Stage::Connecting { .. }, _) => "it was not made",
            (Stage::Open(_), true) => "both ends closed it",
            (Stage::Open(_), false) => "one end reset it",
        };
        tracing::debug!("tcp {}: is over, {how}", connection.key);
        self.ids.remove(&connection.key);
        readiness.remove(id, &connection.host);
        if let Stage::Open(handle) = connection.stage {
            let socket = self.sockets.get::<Socket>(handle);
            self.buffers.give_back(socket.recv_capacity());
            self.sockets.remove(handle);
        }
        if !connection.in_order {
            reset(&connection.host);
        }
    }

    /// Ends all connections: the guest is another.
    pub fn clear(&mut self, readiness: &mut Readiness) {
        let ids: Vec<_> = self.connections.keys().copied().collect();
        for id in ids {
            self.remove(id, readiness);
        }
    }

    /// How many connections there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.connections.len()
    }
}

fn new_socket(bytes: usize) -> Socket<'static> {
    let buffer = || SocketBuffer::new(vec![0; bytes]);
    let mut socket = Socket::new(buffer(), buffer());
    // Acknowledgements go out once for each batch of packets; the host's peer has gathered small
    // writes already.
    socket.set_ack_delay(None);
    socket.set_nagle_enabled(false);
    socket
}

/// Starts to connect.
fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket.into()),
        Err(error) => Err(error.into()),
    }
}

/// Has the end of a connection be a reset.
fn reset(host: &TcpStream) {
    // Fails only where the connection is gone already.
    let _ = sockopt::set_socket_linger(host, Some(Duration::ZERO));
}

/// Where sequence numbers start must not be guessed by who is at the other end.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

/// The stack's device.
struct Phy<'a> {
    link: &'a mut Link,
    incoming: Option<&'a [u8]>,
    capabilities: &'a DeviceCapabilities,
}

struct Incoming<'a>(&'a [u8]);

struct Outgoing<'a> {
    link: &'a mut Link,
    segment: Option<u16>,
}

impl Device for Phy<'_> {
    type RxToken<'a>
        = Incoming<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Outgoing<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        // The stack answers at once. A packet whose answer has no room is lost, as on any network,
        // and comes again once the guest takes what waits for it.
        if self.link.is_full() {
            return None;
        }
        let packet = self.incoming.take()?;
        let outgoing = Outgoing {
            link: self.link,
            segment: None,
        };
        Some((Incoming(packet), outgoing))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_>> {
        Some(Outgoing {
            link: self.link,
            segment: None,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.capabilities.clone()
    }
}

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        self.link.send_ip(length, self.segment, fill)
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment = meta.segmentation_offload_size.map(Into::into);
    }
}
