//! TCP through the user network.

use super::*;

const SIZE: usize = 3 << 20;

fn both_ways(offloads: Offloads) -> Guest {
    let listener = listener();
    let mut guest = Guest::new(UserNet::default(), offloads);
    let (handle, mut host) = guest.connected(&listener);
    let (to, from) = (pattern(SIZE), pattern(SIZE + 7));
    guest.exchange(handle, &mut host, &to, &from);
    // The guest closes, then the host.
    guest.socket(handle).close();
    guest.until_state(handle, State::FinWait2);
    assert_eq!(host.read(&mut [0]).unwrap(), 0);
    drop(host);
    guest.until_state(handle, State::TimeWait);
    guest.until_empty();
    guest
}

#[test]
fn both_directions_carry_every_byte() {
    let guest = both_ways(Offloads::NONE);
    assert_eq!(guest.largest, 1514);
}

#[test]
fn with_offloads_the_guest_gets_large_segments() {
    let guest = both_ways(Offloads::ALL);
    assert!(guest.largest > 16_000, "{}", guest.largest);
}

#[test]
fn without_segmentation_checksums_are_still_left_to_the_guest() {
    let offloads = Offloads {
        from_guest_checksum: true,
        to_guest_checksum: true,
        ..Offloads::NONE
    };
    assert_eq!(both_ways(offloads).largest, 1514);
}

#[test]
fn each_end_can_close_its_half() {
    let listener = listener();
    let mut guest = Guest::plain();
    // The guest's half first: the host still sends.
    let (handle, mut host) = guest.connected(&listener);
    guest.socket(handle).close();
    guest.until_state(handle, State::FinWait2);
    assert_eq!(host.read(&mut [0]).unwrap(), 0);
    guest.exchange(handle, &mut host, &pattern(SIZE), &[]);
    drop(host);
    guest.until_state(handle, State::TimeWait);
    // The host's half first: the guest still sends.
    let (handle, mut host) = guest.connected(&listener);
    host.shutdown(std::net::Shutdown::Write).unwrap();
    guest.until_state(handle, State::CloseWait);
    guest.exchange(handle, &mut host, &[], &pattern(SIZE));
    guest.socket(handle).close();
    guest.until_state(handle, State::Closed);
    assert_eq!(host.read(&mut [0]).unwrap(), 0);
    guest.until_empty();
}

#[test]
fn a_refused_port_is_refused_in_the_guest() {
    let port = listener().local_addr().unwrap().port();
    let mut guest = Guest::plain();
    let handle = guest.connect(address::GATEWAY, port);
    guest.until_state(handle, State::Closed);
    guest.until_empty();
}

#[test]
fn what_is_no_hosts_address_is_refused() {
    let mut guest = Guest::plain();
    for to in [[127, 0, 0, 1], [10, 0, 2, 3]] {
        let handle = guest.connect(to.into(), 1);
        guest.until_state(handle, State::Closed);
    }
    guest.until_empty();
}

#[test]
fn a_reset_goes_through_both_ways() {
    let listener = listener();
    let mut guest = Guest::plain();
    let (handle, mut host) = guest.connected(&listener);
    guest.socket(handle).abort();
    guest.until_empty();
    let error = host.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    let (handle, host) = guest.connected(&listener);
    rustix::net::sockopt::set_socket_linger(&host, Some(Duration::ZERO)).unwrap();
    drop(host);
    guest.until_state(handle, State::Closed);
    guest.until_empty();
}

#[test]
fn a_reset_before_the_answer_ends_the_connection() {
    // A backlog that is full makes the host wait.
    let listener = listener();
    let mut guest = Guest::plain();
    let handle = guest.connect(address::GATEWAY, listener.local_addr().unwrap().port());
    guest.step();
    guest.socket(handle).abort();
    guest.until_empty();
}

#[test]
fn a_host_that_does_not_read_makes_the_guest_wait() {
    let listener = listener();
    let mut guest = Guest::plain();
    let (handle, mut host) = guest.connected(&listener);
    let part = pattern(4096);
    let mut sent = 0;
    let mut idle = 0;
    // Until nothing moves any more, which buffers on the way decide.
    while idle < 100 {
        let count = guest.socket(handle).send_slice(&part).unwrap();
        sent += count;
        idle = if count == 0 { idle + 1 } else { 0 };
        guest.step();
        assert!(sent < 64 << 20, "nothing holds the guest back");
    }
    guest.socket(handle).close();
    let mut read = 0;
    let mut buffer = vec![0; 1 << 16];
    until("everything to be read", || {
        guest.step();
        let count = match host.read(&mut buffer) {
            Ok(0) => return true,
            other => would_block(other),
        };
        read += count;
        false
    });
    assert_eq!(read, sent);
    drop(host);
    guest.until_empty();
}

#[test]
fn a_guest_that_does_not_read_makes_the_host_wait() {
    let listener = listener();
    let mut guest = Guest::plain();
    let (handle, mut host) = guest.connected(&listener);
    let part = pattern(1 << 16);
    let (mut sent, mut idle) = (0, 0);
    while idle < 100 {
        let count = would_block(host.write(&part));
        sent += count;
        idle = if count == 0 { idle + 1 } else { 0 };
        guest.step();
        assert!(sent < 64 << 20, "nothing holds the host back");
    }
    drop(host);
    let mut read = 0;
    until("everything to be read", || {
        guest.step();
        let socket = guest.socket(handle);
        while socket.can_recv() {
            read += socket.recv(|data| (data.len(), data.len())).unwrap();
        }
        socket.state() == State::CloseWait && read == sent
    });
    guest.socket(handle).close();
    guest.until_empty();
}

#[test]
fn a_guest_that_takes_no_frames_costs_bounded_memory() {
    let listener = listener();
    let mut guest = Guest::plain();
    let pairs: Vec<_> = (0..20).map(|_| guest.connected(&listener)).collect();
    guest.is_stuck = true;
    let part = pattern(1 << 16);
    let mut idle = 0;
    while idle < 100 {
        let mut moved = 0;
        for (_, host) in &pairs {
            moved += would_block((&mut &*host).write(&part));
        }
        idle = if moved == 0 { idle + 1 } else { 0 };
        guest.step();
    }
    assert!(guest.user.link.is_bounded());
    guest.is_stuck = false;
    for (handle, host) in pairs {
        drop(host);
        until("everything to be read", || {
            guest.step();
            let socket = guest.socket(handle);
            while socket.can_recv() {
                socket.recv(|data| (data.len(), ())).unwrap();
            }
            socket.state() == State::CloseWait
        });
        guest.socket(handle).close();
    }
    guest.until_empty();
}

#[test]
fn hundreds_of_connections_go_on_at_once() {
    const COUNT: usize = 300;
    let listener = listener();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut guest = Guest::new(UserNet::default(), Offloads::ALL);
    let handles: Vec<_> = (0..COUNT)
        .map(|_| guest.connect(address::GATEWAY, port))
        .collect();
    let mut hosts = Vec::new();
    let mut answers = vec![Vec::new(); COUNT];
    let mut sent = vec![false; COUNT];
    until("every echo", || {
        guest.step();
        while let Ok((host, _)) = listener.accept() {
            host.set_nonblocking(true).unwrap();
            hosts.push(host);
        }
        for host in &mut hosts {
            let mut part = [0; 256];
            let count = would_block(host.read(&mut part));
            host.write_all(&part[..count]).unwrap();
        }
        for (index, &handle) in handles.iter().enumerate() {
            let socket = guest.socket(handle);
            if socket.can_send() && !std::mem::replace(&mut sent[index], true) {
                socket
                    .send_slice(format!("connection {index}").as_bytes())
                    .unwrap();
            }
            if socket.can_recv() {
                socket
                    .recv(|data| {
                        answers[index].extend_from_slice(data);
                        (data.len(), ())
                    })
                    .unwrap();
            }
        }
        answers
            .iter()
            .enumerate()
            .all(|(index, answer)| answer == format!("connection {index}").as_bytes())
    });
    for handle in handles {
        guest.socket(handle).close();
    }
    drop(hosts);
    guest.until_empty();
}

#[test]
fn a_forwarded_port_reaches_a_server_in_the_guest() {
    let mut guest = Guest::forwarding("tcp:127.0.0.1:0-:80");
    let handle = guest.listen(80);
    let mut host = TcpStream::connect(guest.listening[0]).unwrap();
    host.set_nonblocking(true).unwrap();
    guest.until_state(handle, State::Established);
    assert_eq!(
        guest.socket(handle).remote_endpoint().unwrap().addr,
        address::GATEWAY.into()
    );
    guest.exchange(handle, &mut host, &pattern(SIZE), &pattern(SIZE / 2));
    drop(host);
    guest.until_state(handle, State::CloseWait);
    guest.socket(handle).close();
    guest.until_empty();
}

#[test]
fn a_client_of_a_port_without_a_server_is_reset() {
    let mut guest = Guest::forwarding("tcp:127.0.0.1:0-:80");
    let mut host = TcpStream::connect(guest.listening[0]).unwrap();
    host.set_nonblocking(true).unwrap();
    until("the reset", || {
        guest.step();
        let error = host.read(&mut [0]).unwrap_err();
        error.kind() == io::ErrorKind::ConnectionReset
    });
    guest.until_empty();
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    let taken = listener();
    let port = taken.local_addr().unwrap().port();
    let forward = format!("tcp:127.0.0.1:{port}-:22").parse().unwrap();
    let options = UserNet {
        forwards: vec![forward],
        ..UserNet::default()
    };
    let error = User::new(&options).err().unwrap().to_string();
    let start = format!("hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:22: ");
    assert!(error.starts_with(&start), "{error}");
    assert!(error.contains("name another port"), "{error}");
}

#[test]
fn a_client_that_comes_before_the_driver_waits_for_it() {
    let mut guest = Guest::forwarding("tcp:127.0.0.1:0-:22");
    guest.user.attach(None);
    let mut host = TcpStream::connect(guest.listening[0]).unwrap();
    host.set_nonblocking(true).unwrap();
    for _ in 0..3 {
        guest.user.poll(Instant::now());
        guest.user.deadline();
        wait(&guest.user);
    }
    assert_eq!(guest.user.tcp.len(), 0);
    guest.user.attach(Some(Offloads::NONE));
    let served = guest.listen(22);
    guest.until_state(served, State::Established);
    guest.exchange(served, &mut host, b"question", b"answer");
}

#[test]
fn a_guest_that_starts_anew_has_no_connections() {
    let listener = listener();
    let mut guest = Guest::plain();
    let (_, mut host) = guest.connected(&listener);
    guest.user.attach(None);
    host.set_nonblocking(false).unwrap();
    let error = host.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(guest.user.tcp.len(), 0);
    // And its network works again.
    guest.user.attach(Some(Offloads::NONE));
    guest.connected(&listener);
}

#[test]
fn a_question_by_tcp_goes_to_the_first_name_server() {
    let server = listener();
    let options = UserNet {
        resolvers: vec![server.local_addr().unwrap()],
        ..UserNet::default()
    };
    let mut guest = Guest::new(options, Offloads::NONE);
    let handle = guest.connect(address::DNS, 53);
    guest.until_state(handle, State::Established);
    let (mut host, _) = server.accept().unwrap();
    host.set_nonblocking(true).unwrap();
    guest.exchange(handle, &mut host, b"an answer", b"a question");
}
