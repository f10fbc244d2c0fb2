//! UDP: a connected socket of the host's for each pair of ends that the guest names, so that only
//! the peer that it spoke to can answer.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use smoltcp::time::Instant;
use smoltcp::wire::{Icmpv4DstUnreachable, UdpPacket};

use super::address;
use super::datagram::{self, Datagram, Endpoint};
use super::environment::{Environment, Packet};
use super::readiness::{Id, Readiness};

/// Pairs at one time; the one that was silent for longest makes room for a new one.
const PAIRS: usize = 256;

/// Datagrams that are taken from a socket before others have their turn.
const TURN: usize = 64;

/// How long a pair is kept in silence.
const SILENCE: Duration = Duration::from_secs(180);

/// As [`SILENCE`], for questions to the name server.
const DNS_SILENCE: Duration = Duration::from_secs(30);

/// The most bytes of a datagram.
const LARGEST: usize = 65_507;

/// Both ends, as the guest sees them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    guest: Endpoint,
    remote: Endpoint,
}

/// The name servers that a question can go to.
struct Question {
    servers: Vec<SocketAddr>,
    asked: usize,
    text: Vec<u8>,
}

struct Pair {
    key: Key,
    host: UdpSocket,
    used: Instant,
    question: Option<Question>,
}

impl Pair {
    fn silence(&self) -> Duration {
        match self.question {
            Some(_) => DNS_SILENCE,
            None => SILENCE,
        }
    }
}

/// All pairs.
#[derive(Default)]
pub struct Udp {
    pairs: HashMap<Id, Pair>,
    ids: HashMap<Key, Id>,
    buffer: Vec<u8>,
}

impl Udp {
    /// Takes a datagram from the guest; `name_servers` are the host's.
    pub fn receive(
        &mut self,
        environment: &mut Environment,
        packet: &Packet,
        udp: &UdpPacket<&[u8]>,
        name_servers: impl FnOnce() -> Vec<SocketAddr>,
    ) {
        let key = Key {
            guest: (packet.header.src_addr, udp.src_port()),
            remote: (packet.header.dst_addr, udp.dst_port()),
        };
        let id = match self.ids.get(&key) {
            Some(&id) => Ok(id),
            None => self.open(environment, key, name_servers),
        };
        match id {
            Ok(id) => self.send(environment, id, udp.payload()),
            Err(error) => {
                tracing::debug!("a datagram of the guest's is refused: {error}");
                let reason = Icmpv4DstUnreachable::HostUnreachable;
                datagram::unreachable(environment.link, reason, packet.bytes);
            }
        }
    }

    fn open(
        &mut self,
        environment: &mut Environment,
        key: Key,
        name_servers: impl FnOnce() -> Vec<SocketAddr>,
    ) -> io::Result<Id> {
        let (to, question) = if address::is_name_server(key.remote.0, key.remote.1) {
            let servers = name_servers();
            let first = *servers.first().ok_or(io::ErrorKind::HostUnreachable)?;
            let question = Question {
                servers,
                asked: 0,
                text: Vec::new(),
            };
            (first, Some(question))
        } else {
            let ip = environment
                .bounds
                .reach
                .on_host(key.remote.0)
                .ok_or(io::ErrorKind::HostUnreachable)?;
            (SocketAddr::new(ip, key.remote.1), None)
        };
        if self.pairs.len() >= PAIRS.min(environment.bounds.descriptors.half()) {
            let oldest = self.pairs.iter().min_by_key(|(_, pair)| pair.used);
            if let Some(id) = oldest.map(|(&id, _)| id) {
                self.remove(id, environment.readiness);
            }
        }
        let host = environment.bounds.descriptors.admit(connect(to)?)?;
        let id = environment.readiness.add(&host, EventFlags::IN)?;
        let ((guest, port), remote) = (key.guest, host.peer_addr());
        tracing::debug!("udp {guest}:{port}: opens to {remote:?}");
        self.ids.insert(key, id);
        self.pairs.insert(
            id,
            Pair {
                key,
                host,
                used: environment.now,
                question,
            },
        );
        Ok(id)
    }

    fn send(&mut self, environment: &mut Environment, id: Id, data: &[u8]) {
        let Some(pair) = self.pairs.get_mut(&id) else {
            return;
        };
        pair.used = environment.now;
        // The guest asks again: perhaps another server answers.
        let again = pair
            .question
            .as_mut()
            .is_some_and(|question| std::mem::replace(&mut question.text, data.to_vec()) == data);
        let sent = match again {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => pair.host.send(data).map(|_| ()),
        };
        match sent {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.failed(environment, id, &error),
        }
    }

    /// A socket has datagrams, or an error.
    pub fn ready(&mut self, environment: &mut Environment, id: Id) {
        self.buffer.resize(LARGEST, 0);
        for _ in 0..TURN {
            let Some(pair) = self.pairs.get_mut(&id) else {
                return;
            };
            match pair.host.recv(&mut self.buffer) {
                Ok(length) => {
                    pair.used = environment.now;
                    let datagram = Datagram {
                        from: pair.key.remote,
                        to: pair.key.guest,
                        length,
                    };
                    datagram.send(environment.link, &self.buffer[..length]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.failed(environment, id, &error),
            }
        }
    }

    /// The peer cannot be reached: asks the next name server, or tells the guest.
    fn failed(&mut self, environment: &mut Environment, id: Id, error: &io::Error) {
        let Some(pair) = self.pairs.get_mut(&id) else {
            return;
        };
        if let Some(question) = &mut pair.question {
            // Asking again goes round; a refusal ends with the last server.
            let refused = error.kind() != io::ErrorKind::TimedOut;
            for _ in 0..question.servers.len() {
                question.asked = (question.asked + 1) % question.servers.len();
                if refused && question.asked == 0 {
                    break;
                }
                let server = question.servers[question.asked];
                if connect(server).is_ok_and(|host| {
                    let sent = host.send(&question.text).is_ok();
                    sent && replace(environment.readiness, &mut pair.host, host, id)
                }) {
                    return;
                }
            }
        }
        let key = pair.key;
        self.remove(id, environment.readiness);
        let lost = Datagram {
            from: key.guest,
            to: key.remote,
            length: 0,
        };
        let mut packet = vec![0; lost.packet_len()];
        lost.emit(&mut packet, |_| {});
        let reason = Icmpv4DstUnreachable::PortUnreachable;
        datagram::unreachable(environment.link, reason, &packet);
    }

    fn remove(&mut self, id: Id, readiness: &mut Readiness) {
        if let Some(pair) = self.pairs.remove(&id) {
            self.ids.remove(&pair.key);
            readiness.remove(id, &pair.host);
        }
    }

    /// When the next pair has been silent for too long.
    pub fn deadline(&self) -> Option<Instant> {
        self.pairs
            .values()
            .map(|pair| pair.used + pair.silence().into())
            .min()
    }

    /// Ends the pairs that have been silent for too long.
    pub fn tick(&mut self, now: Instant, readiness: &mut Readiness) {
        let silent: Vec<_> = self
            .pairs
            .iter()
            .filter(|(_, pair)| pair.used + pair.silence().into() <= now)
            .map(|(&id, _)| id)
            .collect();
        for id in silent {
            self.remove(id, readiness);
        }
    }

    /// Ends all pairs: the guest is another.
    pub fn clear(&mut self, readiness: &mut Readiness) {
        let ids: Vec<_> = self.pairs.keys().copied().collect();
        for id in ids {
            self.remove(id, readiness);
        }
    }
}

/// Puts another socket in a pair's place.
fn replace(readiness: &mut Readiness, old: &mut UdpSocket, new: UdpSocket, id: Id) -> bool {
    readiness.remove(id, &*old);
    *old = new;
    readiness.add_again(id, &*old).is_ok()
}

fn connect(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(to)?;
    Ok(socket)
}
