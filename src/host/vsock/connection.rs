//! One stream between a port of the guest's and a socket of the host's.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use ppckvm_devices::virtio::vsock::{
    Credit, HOST_CID, Header, NO_RECEIVE, NO_SEND, Op, Overrun, STREAM,
};

/// The two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ports {
    pub guest: u32,
    pub host: u32,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The guest asked; whoever listens on the host has no place in its queue yet.
    Connecting,
    /// The host asked, and the guest has not answered.
    Requested,
    /// Bytes may go both ways.
    Established,
}

/// What the host's socket gave.
pub(super) enum Given {
    /// So many bytes.
    Bytes(usize),
    /// None now; an event says when there are.
    Nothing,
    /// None any more.
    End,
}

/// A connection. Its socket does not wait, and its events come once for each change, so what they
/// said is kept here.
pub(super) struct Connection {
    pub state: State,
    /// The host's socket; `None` while it is connecting.
    pub stream: Option<UnixStream>,
    pub credit: Credit,
    /// Bytes from the guest that the host's socket has not taken.
    to_host: Vec<u8>,
    /// The socket may have bytes, and may take some.
    pub readable: bool,
    pub writable: bool,
    /// The host's end was closed, and not only one direction of it.
    pub hung_up: bool,
    /// What the guest said that it does no more: [`NO_RECEIVE`], [`NO_SEND`].
    guest_ended: u32,
    /// The directions that the host has ended, as the guest was told.
    pub host_ended: u32,
    /// The socket was told that no more comes.
    end_passed_on: bool,
    /// Whether it is in the list of connections with something to do.
    pub queued: bool,
    /// How often connecting was tried in vain.
    pub tries: u32,
}

impl Connection {
    pub fn new(state: State, stream: Option<UnixStream>) -> Self {
        Connection {
            state,
            stream,
            credit: Credit::default(),
            to_host: Vec::new(),
            readable: true,
            writable: true,
            hung_up: false,
            guest_ended: 0,
            host_ended: 0,
            end_passed_on: false,
            queued: false,
            tries: 0,
        }
    }

    /// A packet to the guest.
    pub fn packet(&mut self, cid: u64, ports: Ports, op: Op, flags: u32) -> Header {
        let (buf_alloc, fwd_cnt) = self.credit.tell();
        Header {
            src_cid: HOST_CID,
            dst_cid: cid,
            src_port: ports.host,
            dst_port: ports.guest,
            len: 0,
            kind: STREAM,
            op,
            flags,
            buf_alloc,
            fwd_cnt,
        }
    }

    /// The guest does no more of something.
    pub fn guest_ends(&mut self, flags: u32) {
        self.guest_ended |= flags & (NO_RECEIVE | NO_SEND);
    }

    /// Bytes came from the guest.
    ///
    /// # Errors
    /// When it had no room for them.
    pub fn keep(&mut self, bytes: &[u8]) -> Result<(), Overrun> {
        // A packet's length has 16 bits and a little.
        self.credit.receive(bytes.len() as u32)?;
        self.to_host.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether the guest may send bytes at this point.
    pub fn may_receive(&self) -> bool {
        self.state == State::Established && self.guest_ended & NO_SEND == 0
    }

    /// Passes on what is kept, as far as the socket takes it, and the end behind it; whether the
    /// guest should be told of its credit.
    pub fn pass_on(&mut self) -> bool {
        let Some(stream) = &mut self.stream else {
            return false;
        };
        let mut taken = 0;
        while self.writable && taken < self.to_host.len() {
            match stream.write(&self.to_host[taken..]) {
                Ok(count) => taken += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(_) => {
                    // Nobody reads any more. The guest is told, and what it has sent is lost, as on
                    // any network.
                    self.hung_up = true;
                    taken = self.to_host.len();
                }
            }
        }
        self.to_host.drain(..taken);
        if self.to_host.is_empty() {
            // Hundreds of idle connections keep no room.
            self.to_host = Vec::new();
            if self.guest_ended & NO_SEND != 0 && !self.end_passed_on {
                self.end_passed_on = true;
                // It fails when the other end is gone, and then it needs no telling.
                let _ = stream.shutdown(Shutdown::Write);
            }
        }
        taken > 0 && self.credit.take(taken as u32)
    }

    /// Whether the guest is done in both directions, and the host has all of it.
    pub fn is_over(&self) -> bool {
        self.guest_ended == NO_RECEIVE | NO_SEND && self.to_host.is_empty()
    }

    /// Whether the host's bytes go to the guest, were there room.
    pub fn gives(&self) -> bool {
        self.state == State::Established
            && self.readable
            && self.host_ended & NO_SEND == 0
            && self.guest_ended & NO_RECEIVE == 0
    }

    /// The host's next bytes.
    pub fn give(&mut self, buffer: &mut [u8]) -> Given {
        let Some(stream) = &mut self.stream else {
            return Given::Nothing;
        };
        loop {
            return match stream.read(buffer) {
                Ok(0) => Given::End,
                Ok(count) => Given::Bytes(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    Given::Nothing
                }
                Err(_) => {
                    self.hung_up = true;
                    Given::End
                }
            };
        }
    }

    /// What the guest must be told of the host's end, beyond what it was told; 0 for nothing.
    pub fn news(&mut self, ended: bool) -> u32 {
        let mut flags = self.host_ended;
        if ended {
            flags |= NO_SEND;
        }
        // Who hangs up has sent all it ever will, which the guest gets first.
        if self.hung_up && flags & NO_SEND != 0 {
            flags |= NO_RECEIVE;
        }
        match flags == self.host_ended {
            true => 0,
            false => {
                self.host_ended = flags;
                flags
            }
        }
    }
}

/// A client of the host's that has not said yet where it wants to go.
pub(super) struct Greeting {
    pub stream: UnixStream,
    line: Vec<u8>,
}

/// Longest line in bytes, its end included: `CONNECT 4294967295` with some room.
const LONGEST_LINE: usize = 32;

impl Greeting {
    pub fn new(stream: UnixStream) -> Self {
        Greeting {
            stream,
            line: Vec::new(),
        }
    }

    /// Reads on; the port once it is there, `None` while it is not.
    ///
    /// # Errors
    /// When the client is gone, or says something else.
    pub fn read(&mut self) -> Result<Option<u32>, ()> {
        // One byte at a time: what is behind the line is the guest's.
        let mut byte = [0];
        loop {
            match self.stream.read(&mut byte) {
                Ok(0) => return Err(()),
                Ok(_) if byte == *b"\n" => return parse(&self.line).map(Some).ok_or(()),
                Ok(_) if self.line.len() + 1 >= LONGEST_LINE => return Err(()),
                Ok(_) => self.line.push(byte[0]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(_) => return Err(()),
            }
        }
    }
}

fn parse(line: &[u8]) -> Option<u32> {
    let port = std::str::from_utf8(line).ok()?.strip_prefix("CONNECT ")?;
    let port = port.strip_suffix('\r').unwrap_or(port);
    port.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(())?;
    port.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_line_names_a_port() {
        assert_eq!(parse(b"CONNECT 52"), Some(52));
        assert_eq!(parse(b"CONNECT 4294967295\r"), Some(u32::MAX));
        let wrong: [&[u8]; 8] = [
            b"CONNECT",
            b"CONNECT ",
            b"CONNECT -1",
            b"CONNECT +1",
            b"CONNECT 4294967296",
            b"CONNECT 5 2",
            b"GET / HTTP/1.0",
            b"CONNECT \xFF",
        ];
        for line in wrong {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }
}
