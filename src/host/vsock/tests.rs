//! The switch between real sockets and a guest that is played here, without queues and threads.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ppckvm_devices::virtio::vsock::{
    Broken, HOST_CID, Header, MOST_DATA, NO_RECEIVE, NO_SEND, Op, Packets, ROOM, STREAM,
};
use proptest::prelude::*;
use tempfile::TempDir;

use super::switch::{MOST_CONNECTIONS, Switch, path_of_port};

const CID: u64 = 42;

/// What the guest and the switch have for each other.
#[derive(Default)]
struct Wire {
    to_host: VecDeque<(Header, Vec<u8>)>,
    to_guest: VecDeque<(Header, Vec<u8>)>,
    /// Buffers that the guest has for packets.
    buffers: usize,
    /// How many looks for a buffer find none, although there are some: they came just then.
    late: usize,
    broken: bool,
}

struct End(Arc<Mutex<Wire>>);

impl Packets for End {
    fn receive(&mut self, data: &mut Vec<u8>) -> Result<Option<Header>, Broken> {
        let mut wire = self.0.lock().unwrap();
        if wire.broken {
            return Err(Broken);
        }
        let packet = wire.to_host.pop_front();
        Ok(packet.map(|(header, bytes)| {
            *data = bytes;
            header
        }))
    }

    fn room(&mut self) -> Result<Option<usize>, Broken> {
        let mut wire = self.0.lock().unwrap();
        if let Some(late) = wire.late.checked_sub(1) {
            wire.late = late;
            return Ok(None);
        }
        Ok((wire.buffers > 0).then_some(4096))
    }

    fn send(&mut self, mut header: Header, data: &[u8]) -> Result<(), Broken> {
        assert!(data.len() <= 4096);
        header.len = data.len() as u32;
        let mut wire = self.0.lock().unwrap();
        wire.buffers = wire.buffers.checked_sub(1).unwrap();
        wire.to_guest.push_back((header, data.to_vec()));
        Ok(())
    }

    fn flush(&mut self) {}
}

struct Guest {
    dir: TempDir,
    switch: Switch,
    wire: Arc<Mutex<Wire>>,
}

/// A guest's packet.
fn packet(op: Op, guest: u32, host: u32) -> Header {
    Header {
        src_cid: CID,
        dst_cid: HOST_CID,
        src_port: guest,
        dst_port: host,
        len: 0,
        kind: STREAM,
        op,
        flags: 0,
        buf_alloc: 1 << 20,
        fwd_cnt: 0,
    }
}

impl Guest {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut switch = Switch::new(CID, &dir.path().join("s")).unwrap();
        let wire = Arc::new(Mutex::new(Wire {
            buffers: usize::MAX,
            ..Wire::default()
        }));
        switch.start(Box::new(End(wire.clone())));
        Guest { dir, switch, wire }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    fn listen(&self, port: u32) -> UnixListener {
        UnixListener::bind(path_of_port(&self.path(), port)).unwrap()
    }

    /// Lets the switch do all that there is.
    fn settle(&mut self) {
        // Events of sockets are there at once; the loop is for work that it leaves to the next turn.
        for _ in 0..20 {
            self.switch.process();
        }
    }

    fn say(&mut self, header: Header) {
        self.send(header, &[]);
    }

    fn send(&mut self, mut header: Header, data: &[u8]) {
        header.len = data.len() as u32;
        let mut wire = self.wire.lock().unwrap();
        wire.to_host.push_back((header, data.to_vec()));
        drop(wire);
        self.settle();
    }

    /// The switch's next packet.
    fn hear(&mut self) -> (Header, Vec<u8>) {
        self.settle();
        let packet = self.wire.lock().unwrap().to_guest.pop_front();
        let (header, data) = packet.expect("the guest hears something");
        assert_eq!((header.src_cid, header.dst_cid), (HOST_CID, CID));
        (header, data)
    }

    fn hear_op(&mut self) -> Op {
        self.hear().0.op
    }

    fn is_silent(&mut self) -> bool {
        self.settle();
        self.wire.lock().unwrap().to_guest.is_empty()
    }

    /// A connection that the guest makes to port 80.
    fn connect(&mut self, listener: &UnixListener, port: u32) -> UnixStream {
        self.say(packet(Op::Request, port, 80));
        assert_eq!(self.hear_op(), Op::Response);
        listener.accept().unwrap().0
    }
}

fn read(stream: &mut UnixStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn the_guest_connects_and_bytes_go_both_ways() {
    let mut guest = Guest::new();
    let listener = guest.listen(80);
    guest.say(packet(Op::Request, 1000, 80));
    let (header, _) = guest.hear();
    assert_eq!(
        (header.op, header.buf_alloc, header.fwd_cnt),
        (Op::Response, ROOM, 0)
    );
    assert_eq!((header.src_port, header.dst_port), (80, 1000));
    let mut host = listener.accept().unwrap().0;
    guest.send(packet(Op::Data, 1000, 80), b"ping");
    assert_eq!(read(&mut host, 4), b"ping");
    host.write_all(b"pong").unwrap();
    let (header, data) = guest.hear();
    assert_eq!(
        (header.op, header.fwd_cnt, &*data),
        (Op::Data, 4, &b"pong"[..])
    );
    // The host is done, then the guest, which closes.
    drop(host);
    let (header, _) = guest.hear();
    assert_eq!(
        (header.op, header.flags),
        (Op::Shutdown, NO_SEND | NO_RECEIVE)
    );
    let shutdown = Header {
        flags: NO_SEND | NO_RECEIVE,
        ..packet(Op::Shutdown, 1000, 80)
    };
    guest.say(shutdown);
    assert_eq!(guest.hear_op(), Op::Reset);
    assert_eq!(guest.switch.connections(), 0);
    assert!(guest.is_silent());
}

#[test]
fn the_host_connects_and_is_told_when_the_guest_answers() {
    let mut guest = Guest::new();
    let mut host = UnixStream::connect(guest.path()).unwrap();
    host.write_all(b"CONN").unwrap();
    assert!(guest.is_silent());
    // With bytes right behind the line.
    host.write_all(b"ECT 52\nearly").unwrap();
    let (request, _) = guest.hear();
    assert_eq!((request.op, request.dst_port), (Op::Request, 52));
    assert!(guest.is_silent());
    let port = request.src_port;
    guest.say(packet(Op::Response, 52, port));
    let line = format!("OK {port}\n");
    assert_eq!(read(&mut host, line.len()), line.as_bytes());
    let (header, data) = guest.hear();
    assert_eq!((header.op, &*data), (Op::Data, &b"early"[..]));
    guest.send(packet(Op::Data, 52, port), b"answer");
    assert_eq!(read(&mut host, 6), b"answer");
    guest.say(packet(Op::Reset, 52, port));
    assert_eq!(host.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_client_who_asks_for_nothing_or_nobody_sees_the_end() {
    let mut guest = Guest::new();
    for line in ["GET / HTTP/1.0\r\n", "CONNECT x\n", &"C".repeat(40)] {
        let mut host = UnixStream::connect(guest.path()).unwrap();
        host.write_all(line.as_bytes()).unwrap();
        assert!(guest.is_silent());
        // What was not read of it makes this end an error.
        assert!(matches!(host.read(&mut [0]), Ok(0) | Err(_)));
    }
    let mut host = UnixStream::connect(guest.path()).unwrap();
    host.write_all(b"CONNECT 5\n").unwrap();
    let (request, _) = guest.hear();
    guest.say(packet(Op::Reset, 5, request.src_port));
    assert_eq!(host.read(&mut [0]).unwrap(), 0);
    // One who goes before there is an answer.
    let mut host = UnixStream::connect(guest.path()).unwrap();
    host.write_all(b"CONNECT 5\n").unwrap();
    assert_eq!(guest.hear_op(), Op::Request);
    drop(host);
    assert_eq!(guest.hear_op(), Op::Reset);
    let host = UnixStream::connect(guest.path()).unwrap();
    guest.settle();
    assert_eq!(guest.switch.connections(), 1);
    drop(host);
    guest.settle();
    assert_eq!(guest.switch.connections(), 0);
}

#[test]
fn nobody_listens_and_nobody_is_known() {
    let mut guest = Guest::new();
    guest.say(packet(Op::Request, 1000, 81));
    assert_eq!(guest.hear_op(), Op::Reset);
    // Of no connection: a reset for anything but a reset.
    for op in [
        Op::Response,
        Op::Data,
        Op::Shutdown,
        Op::CreditUpdate,
        Op::CreditRequest,
        Op::Unknown(99),
    ] {
        guest.say(packet(op, 7, 8));
        let (header, _) = guest.hear();
        assert_eq!(
            (header.op, header.src_port, header.dst_port),
            (Op::Reset, 8, 7)
        );
    }
    guest.say(packet(Op::Reset, 7, 8));
    assert!(guest.is_silent());
    // Not to the host, not from the guest, not a stream.
    let _listener = guest.listen(80);
    let request = packet(Op::Request, 7, 80);
    for header in [
        Header {
            dst_cid: 1,
            ..request
        },
        Header {
            src_cid: 9,
            ..request
        },
        Header { kind: 2, ..request },
    ] {
        guest.say(header);
        guest.settle();
        let (reset, _) = guest.wire.lock().unwrap().to_guest.pop_front().unwrap();
        assert_eq!(reset.op, Op::Reset);
        assert_eq!(
            (reset.src_cid, reset.dst_cid),
            (header.dst_cid, header.src_cid)
        );
        assert_eq!(reset.kind, header.kind);
    }
    assert_eq!(guest.switch.connections(), 0);
}

#[test]
fn each_direction_ends_by_itself() {
    let mut guest = Guest::new();
    let listener = guest.listen(80);
    let mut host = guest.connect(&listener, 1000);
    // The guest sends no more; the host still does.
    guest.send(packet(Op::Data, 1000, 80), b"last");
    let shutdown = Header {
        flags: NO_SEND,
        ..packet(Op::Shutdown, 1000, 80)
    };
    guest.say(shutdown);
    let mut all = Vec::new();
    host.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"last");
    host.write_all(b"still").unwrap();
    assert_eq!(guest.hear().1, b"still");
    // More from the guest is against the rules now.
    guest.send(packet(Op::Data, 1000, 80), b"more");
    assert_eq!(guest.hear_op(), Op::Reset);

    let mut host = guest.connect(&listener, 1001);
    host.write_all(b"last").unwrap();
    host.shutdown(Shutdown::Write).unwrap();
    assert_eq!(guest.hear().1, b"last");
    let (header, _) = guest.hear();
    assert_eq!((header.op, header.flags), (Op::Shutdown, NO_SEND));
    guest.send(packet(Op::Data, 1001, 80), b"answer");
    assert_eq!(read(&mut host, 6), b"answer");
    // Once the host is gone for good, the guest hears of that too.
    drop(host);
    let (header, _) = guest.hear();
    assert_eq!(
        (header.op, header.flags),
        (Op::Shutdown, NO_SEND | NO_RECEIVE)
    );
    guest.say(packet(Op::Reset, 1001, 80));
    assert_eq!(guest.switch.connections(), 0);
}

#[test]
fn the_host_reads_all_that_came_before_a_close() {
    let mut guest = Guest::new();
    let listener = guest.listen(80);
    let mut host = guest.connect(&listener, 1000);
    // More than a socket takes by itself.
    let piece = vec![7; 16 << 10];
    for _ in 0..8 {
        guest.send(packet(Op::Data, 1000, 80), &piece);
    }
    let shutdown = Header {
        flags: NO_SEND | NO_RECEIVE,
        ..packet(Op::Shutdown, 1000, 80)
    };
    guest.say(shutdown);
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        host.read_to_end(&mut all).unwrap();
        all
    });
    while guest.switch.connections() > 0 {
        guest.settle();
    }
    assert_eq!(reader.join().unwrap(), vec![7; 128 << 10]);
    let wire = guest.wire.lock().unwrap();
    let last = wire.to_guest.back().unwrap().0;
    assert_eq!(last.op, Op::Reset);
}

#[test]
fn the_guest_gets_what_it_has_room_for() {
    let mut guest = Guest::new();
    let listener = guest.listen(80);
    let request = Header {
        buf_alloc: 1000,
        ..packet(Op::Request, 1000, 80)
    };
    guest.say(request);
    assert_eq!(guest.hear_op(), Op::Response);
    let mut host = listener.accept().unwrap().0;
    host.write_all(&[1; 5000]).unwrap();
    assert_eq!(guest.hear().1.len(), 1000);
    assert!(guest.is_silent());
    let update = |fwd_cnt| Header {
        buf_alloc: 1000,
        fwd_cnt,
        ..packet(Op::CreditUpdate, 1000, 80)
    };
    guest.say(update(400));
    assert_eq!(guest.hear().1.len(), 400);
    guest.say(update(1400));
    assert_eq!(guest.hear().1.len(), 1000);
    assert!(guest.is_silent());
    // What the end is told after is only told after.
    drop(host);
    assert!(guest.is_silent());
    let more = Header {
        buf_alloc: 9000,
        ..update(2400)
    };
    guest.say(more);
    assert_eq!(guest.hear().1.len(), 2600);
    assert_eq!(guest.hear_op(), Op::Shutdown);
}

#[test]
fn the_guest_is_told_of_room_and_may_not_overrun_it() {
    let mut guest = Guest::new();
    let listener = guest.listen(80);
    let host = guest.connect(&listener, 1000);
    guest.say(packet(Op::CreditRequest, 1000, 80));
    let (header, _) = guest.hear();
    assert_eq!((header.op, header.buf_alloc), (Op::CreditUpdate, ROOM));
    // Nobody reads: the socket takes some, and the rest is kept up to the room.
    let mut sent = 0;
    while guest.switch.connections() > 0 {
        guest.send(packet(Op::Data, 1000, 80), &[0; 4096]);
        sent += 4096;
        assert!(sent < 4 << 20, "no end to it");
    }
    assert!(sent > ROOM);
    let wire = guest.wire.lock().unwrap();
    let (updates, rest): (Vec<_>, Vec<_>) = wire
        .to_guest
        .iter()
        .partition(|p| p.0.op == Op::CreditUpdate);
    assert!(!updates.is_empty());
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].0.op, Op::Reset);
    drop(host);
}

#[test]
fn the_response_comes_before_the_first_bytes() {
    let mut guest = Guest::new();
    let listener = guest.listen(80);
    guest.wire.lock().unwrap().buffers = 0;
    guest.say(packet(Op::Request, 1000, 80));
    let mut host = listener.accept().unwrap().0;
    host.write_all(b"early").unwrap();
    // The guest has buffers between the look for one for the response, and that for the bytes.
    {
        let mut wire = guest.wire.lock().unwrap();
        wire.buffers = 10;
        wire.late = 1;
    }
    assert_eq!(guest.hear_op(), Op::Response);
    let (header, data) = guest.hear();
    assert_eq!((header.op, &*data), (Op::Data, &b"early"[..]));
}

#[test]
fn the_guest_is_told_of_room_as_soon_as_the_host_reads() {
    let mut guest = Guest::new();
    let listener = guest.listen(80);
    let mut host = guest.connect(&listener, 1000);
    // The socket is full, and so is the room behind it.
    for _ in 0..ROOM / 4096 {
        guest.send(packet(Op::Data, 1000, 80), &[0; 4096]);
    }
    let mut told = 0;
    let mut sent = ROOM;
    loop {
        let mut wire = guest.wire.lock().unwrap();
        let updates = wire.to_guest.drain(..).map(|(header, _)| header.fwd_cnt);
        told = updates.max().unwrap_or(told);
        drop(wire);
        if told + ROOM - sent < 4096 {
            break;
        }
        guest.send(packet(Op::Data, 1000, 80), &[0; 4096]);
        sent += 4096;
    }
    read(&mut host, sent as usize - ROOM as usize);
    // One event, and nothing else happens.
    guest.switch.wait();
    guest.switch.process();
    let wire = guest.wire.lock().unwrap();
    let ops: Vec<Op> = wire.to_guest.iter().map(|(header, _)| header.op).collect();
    assert_eq!(ops, [Op::CreditUpdate]);
}

#[test]
fn a_guest_without_buffers_makes_nothing_pile_up() {
    let mut guest = Guest::new();
    let listener = guest.listen(80);
    let mut host = guest.connect(&listener, 1000);
    guest.wire.lock().unwrap().buffers = 0;
    for _ in 0..10_000 {
        let mut wire = guest.wire.lock().unwrap();
        wire.to_host.push_back((packet(Op::Data, 5, 6), Vec::new()));
    }
    host.write_all(b"waits").unwrap();
    guest.settle();
    // It stops reading packets that it cannot answer.
    let left = guest.wire.lock().unwrap().to_host.len();
    assert!(left > 9000, "{left}");
    guest.wire.lock().unwrap().buffers = usize::MAX;
    while !guest.wire.lock().unwrap().to_host.is_empty() {
        guest.settle();
    }
    guest.settle();
    let wire = guest.wire.lock().unwrap();
    let of = |op| wire.to_guest.iter().filter(|p| p.0.op == op).count();
    assert_eq!((of(Op::Reset), of(Op::Data)), (10_000, 1));
}

/// Both ends of all connections are this process's.
fn raise_the_limit_of_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[test]
fn there_are_only_so_many_connections() {
    raise_the_limit_of_open_files();
    let mut guest = Guest::new();
    let listener = guest.listen(80);
    let mut hosts = Vec::new();
    for port in 0..MOST_CONNECTIONS as u32 {
        hosts.push(guest.connect(&listener, port));
    }
    guest.say(packet(Op::Request, 100_000, 80));
    assert_eq!(guest.hear_op(), Op::Reset);
    let mut client = UnixStream::connect(guest.path()).unwrap();
    guest.settle();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    // All of them work, and one that goes makes room.
    for (port, host) in hosts.iter_mut().enumerate() {
        guest.send(packet(Op::Data, port as u32, 80), b"x");
        assert_eq!(read(host, 1), b"x");
    }
    guest.say(packet(Op::Reset, 5, 80));
    guest.say(packet(Op::Request, 100_000, 80));
    assert_eq!(guest.hear_op(), Op::Response);
}

#[test]
fn a_connection_that_exists_cannot_be_asked_for_again() {
    let mut guest = Guest::new();
    let listener = guest.listen(80);
    let mut host = guest.connect(&listener, 1000);
    guest.say(packet(Op::Request, 1000, 80));
    assert_eq!(guest.hear_op(), Op::Reset);
    assert_eq!(host.read(&mut [0]).unwrap(), 0);
    // Nor does an answer without a question make one.
    let mut host = guest.connect(&listener, 1000);
    guest.say(packet(Op::Response, 1000, 80));
    assert_eq!(guest.hear_op(), Op::Reset);
    assert_eq!(host.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_listener_whose_queue_is_full_is_tried_again() {
    let mut guest = Guest::new();
    // A queue of none: one waits, and the next finds no place.
    let path = path_of_port(&guest.path(), 80);
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    let address = rustix::net::SocketAddrUnix::new(&path).unwrap();
    rustix::net::bind(&socket, &address).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let listener = UnixListener::from(socket);
    guest.say(packet(Op::Request, 1, 80));
    assert_eq!(guest.hear_op(), Op::Response);
    guest.say(packet(Op::Request, 2, 80));
    assert!(guest.is_silent());
    let _first = listener.accept().unwrap();
    while guest.wire.lock().unwrap().to_guest.is_empty() {
        guest.switch.wait();
        guest.switch.process();
    }
    assert_eq!(guest.hear_op(), Op::Response);
    listener.accept().unwrap();
}

#[test]
fn a_stop_closes_everything_and_a_start_begins_anew() {
    let mut guest = Guest::new();
    let listener = guest.listen(80);
    let mut host = guest.connect(&listener, 1000);
    let mut client = UnixStream::connect(guest.path()).unwrap();
    guest.settle();
    guest.switch.stop();
    assert_eq!(host.read(&mut [0]).unwrap(), 0);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    // Who comes while no driver is there sees the end.
    let mut client = UnixStream::connect(guest.path()).unwrap();
    guest.settle();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    guest.switch.start(Box::new(End(guest.wire.clone())));
    guest.connect(&listener, 1000);
}

#[test]
fn a_broken_queue_closes_everything() {
    let mut guest = Guest::new();
    let listener = guest.listen(80);
    let mut host = guest.connect(&listener, 1000);
    guest.wire.lock().unwrap().broken = true;
    guest.settle();
    assert_eq!(host.read(&mut [0]).unwrap(), 0);
    assert_eq!(guest.switch.connections(), 0);
}

#[test]
fn the_path_is_there_while_the_switch_is() {
    let guest = Guest::new();
    let path = guest.path();
    assert!(path.exists());
    let error = Switch::new(CID, &path).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    let Guest { dir, switch, .. } = guest;
    drop(switch);
    assert!(!path.exists());
    drop(dir);
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Request),
        4 => Just(Op::Response),
        1 => Just(Op::Reset),
        2 => Just(Op::Shutdown),
        8 => Just(Op::Data),
        1 => Just(Op::CreditUpdate),
        1 => Just(Op::CreditRequest),
        1 => any::<u16>().prop_map(|op| match op {
            1..=7 => Op::Unknown(0),
            op => Op::Unknown(op),
        }),
    ]
}

/// What a guest may send, and may not.
fn any_packet() -> impl Strategy<Value = (Header, usize)> {
    let near = |most: u32| prop_oneof![8 => 0..most, 1 => any::<u32>()];
    let credit = prop_oneof![Just(0), Just(1), Just(4096), any::<u32>()];
    let fields = (op(), near(4), near(4), any::<u32>(), credit, any::<u32>());
    let length = prop_oneof![8 => 0..100_usize, 1 => Just(MOST_DATA)];
    let cids = (0..20_u8, 0..20_u8);
    (fields, length, cids).prop_map(|(fields, length, cids)| {
        let (op, guest, host, flags, buf_alloc, fwd_cnt) = fields;
        let header = Header {
            src_cid: if cids.0 == 0 { 7 } else { CID },
            dst_cid: if cids.1 == 0 { 7 } else { HOST_CID },
            flags,
            buf_alloc,
            fwd_cnt,
            kind: if cids.0 == 1 { 2 } else { STREAM },
            ..packet(op, guest, host.wrapping_add(80))
        };
        (header, length)
    })
}

#[test]
fn arbitrary_packets_are_survived() {
    // With PPCKVM_LONG set, a million packets.
    let config = ProptestConfig {
        cases: ppckvm_devices::test_support::cases(300, 50_000),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let packets = proptest::collection::vec((any_packet(), 0..4_u8), 1..40);
    proptest!(config, |(packets in packets)| {
        let mut guest = Guest::new();
        let listeners = [guest.listen(80), guest.listen(81)];
        let mut hosts = Vec::new();
        for ((mut header, length), host_does) in packets {
            header.len = length as u32;
            guest.wire.lock().unwrap().to_host.push_back((header, vec![1; length]));
            guest.switch.process();
            for listener in &listeners {
                listener.set_nonblocking(true).unwrap();
                if let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true).unwrap();
                    hosts.push(stream);
                }
            }
            match (host_does, hosts.last_mut()) {
                (0, Some(host)) => drop(host.write(&[2; 5000])),
                (1, Some(host)) => drop(host.read(&mut [0; 5000])),
                (2, Some(_)) => drop(hosts.pop()),
                (_, _) => {
                    if let Ok(mut client) = UnixStream::connect(guest.path()) {
                        client.set_nonblocking(true).unwrap();
                        let _ = client.write(b"CONNECT 2\n");
                        hosts.push(client);
                    }
                }
            }
            guest.switch.process();
            let wire = guest.wire.lock().unwrap();
            prop_assert!(wire.to_host.is_empty());
        }
    });
}
