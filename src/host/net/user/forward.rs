//! Ports of the host that lead into the guest: `hostfwd=tcp:HOST:PORT-:GUESTPORT`.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::str::FromStr;
use std::time::Duration;

use ppckvm_devices::repeats::Repeats;
use rustix::event::epoll::EventFlags;
use smoltcp::time::Instant;

use super::address;
use super::datagram::{Datagram, Endpoint};
use super::environment::Environment;
use super::readiness::{Id, Readiness};
use crate::host::descriptors::{Reserve, is_exhausted};
use crate::host::listener::stop_listening;
use crate::host::net::NetError;

/// The transport protocol of a forwarded port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A port of the host that leads into the guest, written as for QEMU:
/// `tcp:HOST:PORT-GUEST:GUESTPORT`, where HOST is 127.0.0.1 and GUEST 10.0.2.15 when left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostForward {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The address and port where the host listens; port 0 takes a free one.
    pub host: SocketAddr,
    /// The guest's address and port.
    pub guest: (Ipv4Addr, u16),
}

/// The text is not a forwarded port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` forwards nothing: {reason}; write for example hostfwd=tcp:127.0.0.1:2222-:22")]
pub struct ParseForwardError {
    text: String,
    reason: &'static str,
}

impl FromStr for HostForward {
    type Err = ParseForwardError;

    fn from_str(text: &str) -> Result<Self, ParseForwardError> {
        parse(text).map_err(|reason| ParseForwardError {
            text: text.into(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<HostForward, &'static str> {
    let (protocol, rest) = text.split_once(':').ok_or("it names no protocol")?;
    let protocol = match protocol {
        "tcp" | "" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return Err("the protocol is neither tcp nor udp"),
    };
    // An IPv6 address has no `-`, so the last one parts host and guest.
    let (host, guest) = rest
        .rsplit_once('-')
        .ok_or("there is no `-` between the host's and the guest's side")?;
    let (ip, port) = host
        .rsplit_once(':')
        .ok_or("the host's side is not ADDRESS:PORT")?;
    let ip = match ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')) {
        Some(ip) => IpAddr::V6(ip.parse().map_err(|_| "the host's address is none")?),
        None if ip.is_empty() => Ipv4Addr::LOCALHOST.into(),
        None => IpAddr::V4(ip.parse().map_err(|_| "the host's address is none")?),
    };
    let port = port
        .parse()
        .map_err(|_| "the host's port is not a number up to 65535")?;
    let (guest, guest_port) = guest
        .rsplit_once(':')
        .ok_or("the guest's side is not :PORT or ADDRESS:PORT")?;
    let guest = match guest {
        "" => address::GUEST,
        ip => ip
            .parse()
            .ok()
            .filter(|ip| address::is_guest(*ip))
            .ok_or("the guest's address is none in 10.0.2.0/24 that a guest can have")?,
    };
    let guest_port = guest_port
        .parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or("the guest's port is not a number from 1 to 65535")?;
    Ok(HostForward {
        protocol,
        host: SocketAddr::new(ip, port),
        guest: (guest, guest_port),
    })
}

impl fmt::Display for HostForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        let (guest, port) = self.guest;
        write!(f, "{protocol}:{}-{guest}:{port}", self.host)
    }
}

/// Senders to a UDP port at one time.
const SENDERS: usize = 256;

/// Datagrams or connections that are taken before others have their turn.
const TURN: usize = 64;

/// How long nobody is taken after the host could not give what a client needs.
const AGAIN: Duration = Duration::from_secs(1);

/// The most bytes of a datagram.
const LARGEST: usize = 65_507;

enum Listener {
    Tcp(TcpListener, Reserve),
    Udp(UdpSocket, Senders),
}

/// Who sent to a UDP port, and the port of the gateway that stands for each.
#[derive(Default)]
struct Senders {
    by_port: HashMap<u16, SocketAddr>,
    by_address: HashMap<SocketAddr, u16>,
}

struct Forward {
    listener: Listener,
    /// Where it listens.
    at: SocketAddr,
    guest: Endpoint,
}

impl Drop for Forward {
    fn drop(&mut self) {
        if let Listener::Tcp(socket, _) = &self.listener {
            stop_listening(socket);
        }
    }
}

/// A port that is open, and that no network serves yet.
pub struct Opened {
    listener: Listener,
    forward: HostForward,
    /// Where it listens.
    pub at: SocketAddr,
}

impl Opened {
    /// Listens at a port.
    pub fn new(forward: &HostForward) -> Result<Self, NetError> {
        let open = || -> io::Result<_> {
            Ok(match forward.protocol {
                Protocol::Tcp => {
                    let listener = TcpListener::bind(forward.host)?;
                    listener.set_nonblocking(true)?;
                    let at = listener.local_addr()?;
                    let reserve = Reserve::new(&listener)?;
                    (Listener::Tcp(listener, reserve), at)
                }
                Protocol::Udp => {
                    let socket = UdpSocket::bind(forward.host)?;
                    socket.set_nonblocking(true)?;
                    let at = socket.local_addr()?;
                    (Listener::Udp(socket, Senders::default()), at)
                }
            })
        };
        let (listener, at) = open().map_err(|error| NetError::Forward {
            forward: *forward,
            error,
        })?;
        Ok(Opened {
            listener,
            forward: *forward,
            at,
        })
    }
}

/// All forwarded ports.
#[derive(Default)]
pub struct Forwards {
    forwards: HashMap<Id, Forward>,
    next_port: u16,
    buffer: Vec<u8>,
    /// When clients that could not be taken are tried again.
    again: Option<Instant>,
    not_taken: Repeats,
}

/// The first of the gateway's ports that stand for senders.
const FIRST_PORT: u16 = 49152;

impl Forwards {
    /// Listens at a port, and says where if the host chose the port.
    pub fn add(
        &mut self,
        readiness: &mut Readiness,
        forward: &HostForward,
    ) -> Result<SocketAddr, NetError> {
        let opened = Opened::new(forward)?;
        let at = opened.at;
        self.insert(readiness, opened)?;
        Ok(at)
    }

    /// Serves a port that is open.
    pub fn insert(&mut self, readiness: &mut Readiness, opened: Opened) -> Result<(), NetError> {
        let Opened {
            listener,
            forward,
            at,
        } = opened;
        let id = match &listener {
            Listener::Tcp(listener, _) => readiness.add(listener, EventFlags::IN | EventFlags::ET),
            Listener::Udp(socket, _) => readiness.add(socket, EventFlags::IN),
        };
        let id = id.map_err(|error| NetError::Forward { forward, error })?;
        let guest = forward.guest;
        let forward = Forward {
            listener,
            at,
            guest,
        };
        self.forwards.insert(id, forward);
        Ok(())
    }

    /// Stops listening at a port; connections stay. Whether it was forwarded.
    pub fn remove(
        &mut self,
        readiness: &mut Readiness,
        protocol: Protocol,
        host: SocketAddr,
    ) -> bool {
        let is_it = |forward: &Forward| {
            let is_tcp = matches!(forward.listener, Listener::Tcp(..));
            forward.at == host && is_tcp == (protocol == Protocol::Tcp)
        };
        let found = self.forwards.iter().find(|(_, forward)| is_it(forward));
        let Some(id) = found.map(|(id, _)| *id) else {
            return false;
        };
        if let Some(forward) = self.forwards.remove(&id) {
            match &forward.listener {
                Listener::Tcp(listener, _) => readiness.remove(id, listener),
                Listener::Udp(socket, _) => readiness.remove(id, socket),
            }
        }
        true
    }

    /// A listener has clients or datagrams; `connect` gets the clients. False when it is none.
    pub fn ready(
        &mut self,
        environment: &mut Environment,
        id: Id,
        mut connect: impl FnMut(&mut Environment, TcpStream, Endpoint),
    ) -> bool {
        let Some(forward) = self.forwards.get_mut(&id) else {
            return false;
        };
        match &mut forward.listener {
            Listener::Tcp(listener, reserve) => loop {
                match listener.accept() {
                    Ok((client, _)) => connect(environment, client, forward.guest),
                    Err(error) => match error.kind() {
                        io::ErrorKind::WouldBlock => break,
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                        _ => {
                            if let Some(times) = self.not_taken.count() {
                                tracing::warn!(
                                    "a client of a forwarded port is not taken ({times} so far): \
                                     {error}"
                                );
                            }
                            let left = is_exhausted(&error)
                                && reserve.turn_away(&*listener, || listener.accept());
                            if !left {
                                // No event tells of it again.
                                self.again = Some(environment.now + AGAIN.into());
                                break;
                            }
                        }
                    },
                }
            },
            Listener::Udp(socket, senders) => {
                self.buffer.resize(LARGEST, 0);
                for _ in 0..TURN {
                    let Ok((length, from)) = socket.recv_from(&mut self.buffer) else {
                        break;
                    };
                    let datagram = Datagram {
                        from: (address::GATEWAY, senders.port(&mut self.next_port, from)),
                        to: forward.guest,
                        length,
                    };
                    datagram.send(environment.link, &self.buffer[..length]);
                }
            }
        }
        true
    }

    /// Has clients that wait be taken at a time, or not until this is called again.
    pub fn try_again(&mut self, at: Option<Instant>) {
        self.again = at;
    }

    /// Whether clients wait at a port that carries connections.
    pub fn is_listener(&self, id: Id) -> bool {
        let forward = self.forwards.get(&id);
        forward.is_some_and(|forward| matches!(forward.listener, Listener::Tcp(..)))
    }

    /// When clients that could not be taken are tried again.
    pub fn deadline(&self) -> Option<Instant> {
        self.again
    }

    /// Tries again, with `connect` as for [`Forwards::ready`].
    pub fn tick(
        &mut self,
        environment: &mut Environment,
        mut connect: impl FnMut(&mut Environment, TcpStream, Endpoint),
    ) {
        self.again = None;
        let ids: Vec<_> = self.forwards.keys().copied().collect();
        for id in ids {
            self.ready(environment, id, &mut connect);
        }
    }

    /// Whether a datagram of the guest's answers one of a forwarded port's, and then sends it.
    pub fn answer(&self, from: Endpoint, to: Endpoint, data: &[u8]) -> bool {
        if to.0 != address::GATEWAY {
            return false;
        }
        self.forwards.values().any(|forward| {
            let Listener::Udp(socket, senders) = &forward.listener else {
                return false;
            };
            let Some(sender) = senders.by_port.get(&to.1).filter(|_| forward.guest == from) else {
                return false;
            };
            // One that cannot be sent is lost.
            let _ = socket.send_to(data, sender);
            true
        })
    }
}

impl Senders {
    /// The port that stands for a sender.
    fn port(&mut self, next: &mut u16, from: SocketAddr) -> u16 {
        if let Some(&port) = self.by_address.get(&from) {
            return port;
        }
        if self.by_address.len() >= SENDERS {
            self.by_address.clear();
            self.by_port.clear();
        }
        let port = loop {
            let port = (*next).max(FIRST_PORT);
            *next = port.checked_add(1).unwrap_or(FIRST_PORT);
            if !self.by_port.contains_key(&port) {
                break port;
            }
        };
        self.by_address.insert(from, port);
        self.by_port.insert(port, from);
        port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarded_port_is_written_as_it_is_read() {
        for (text, whole) in [
            ("tcp:127.0.0.1:2222-:22", "tcp:127.0.0.1:2222-10.0.2.15:22"),
            ("tcp::2222-:22", "tcp:127.0.0.1:2222-10.0.2.15:22"),
            (":0.0.0.0:0-10.0.2.16:22", "tcp:0.0.0.0:0-10.0.2.16:22"),
            ("udp:[::1]:69-:69", "udp:[::1]:69-10.0.2.15:69"),
        ] {
            let forward: HostForward = text.parse().unwrap();
            assert_eq!(forward.to_string(), whole);
            assert_eq!(whole.parse(), Ok(forward));
        }
    }

    #[test]
    fn what_forwards_nothing_is_refused_with_its_reason() {
        for (text, part) in [
            ("", "no protocol"),
            ("icmp:1:2-:3", "neither tcp nor udp"),
            ("tcp:127.0.0.1:2222", "no `-`"),
            ("tcp:2222-:22", "ADDRESS:PORT"),
            ("tcp:localhost:2222-:22", "address is none"),
            ("tcp::70000-:22", "host's port"),
            ("tcp::2222-22", "guest's side"),
            ("tcp::2222-:0", "guest's port"),
            ("tcp::2222-10.0.3.1:22", "10.0.2.0/24"),
            ("tcp::2222-10.0.2.2:22", "10.0.2.0/24"),
        ] {
            let error = text.parse::<HostForward>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
