//! Arbitrary and broken messages: a guest can send anything at all.
//!
//! With `PPCKVM_LONG` set, it is a million messages of each kind.

use std::cell::{Cell, RefCell};

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::*;
use crate::host::share::server::MOST_MSIZE;

fn cases(few: u32, many: u32) -> Config {
    Config {
        cases: ppckvm_devices::test_support::cases(few, many),
        failure_persistence: None,
        ..Config::default()
    }
}

/// Messages of a session that mean something, to be broken.
fn sensible() -> Vec<Vec<u8>> {
    let name = |number, name: &str| Message::new(number).u32(ROOT).str(name);
    let setattr = (0..6).fold(Message::new(kind::SETATTR).u32(1).u32(0x1FF), |m, _| {
        m.u64(1)
    });
    [
        Message::new(kind::VERSION).u32(8192).str("9P2000.L"),
        Message::new(kind::ATTACH)
            .u32(2)
            .u32(NO_FID)
            .str("u")
            .str("")
            .u32(0),
        Message::new(kind::WALK)
            .u32(ROOT)
            .u32(1)
            .u16(2)
            .str("d")
            .str("f"),
        Message::new(kind::WALK).u32(ROOT).u32(3).u16(0),
        Message::new(kind::WALK)
            .u32(ROOT)
            .u32(4)
            .u16(2)
            .str("..")
            .str("d"),
        Message::new(kind::LOPEN).u32(1).u32(2),
        Message::new(kind::LOPEN).u32(3).u32(0),
        Message::new(kind::READ).u32(1).u64(0).u32(100),
        Message::new(kind::WRITE)
            .u32(1)
            .u64(3)
            .u32(4)
            .bytes(b"data"),
        Message::new(kind::READDIR).u32(3).u64(0).u32(1000),
        Message::new(kind::GETATTR).u32(1).u64(0x7FF),
        setattr.u32(2),
        Message::new(kind::STATFS).u32(1),
        Message::new(kind::FSYNC).u32(1).u32(0),
        Message::new(kind::LOCK)
            .u32(1)
            .u8(1)
            .u32(1)
            .u64(0)
            .u64(1)
            .u32(1)
            .str("c"),
        Message::new(kind::GETLOCK)
            .u32(1)
            .u8(1)
            .u64(0)
            .u64(1)
            .u32(1)
            .str("c"),
        name(kind::SYMLINK, "l").str("/etc").u32(NO_ID),
        name(kind::MKNOD, "p")
            .u32(0o010_644)
            .u32(0)
            .u32(0)
            .u32(NO_ID),
        name(kind::MKDIR, "d").u32(0o755).u32(NO_ID),
        name(kind::LCREATE, "g").u32(2).u32(0o644).u32(NO_ID),
        Message::new(kind::LINK).u32(ROOT).u32(1).str("h"),
        Message::new(kind::RENAME).u32(1).u32(ROOT).str("i"),
        name(kind::RENAMEAT, "d").u32(4).str("e"),
        name(kind::UNLINKAT, "l").u32(0),
        Message::new(kind::READLINK).u32(5),
        Message::new(kind::XATTRWALK).u32(1).u32(2).str("user.x"),
        Message::new(kind::FLUSH).u16(7),
        Message::new(kind::REMOVE).u32(4),
        Message::new(kind::CLUNK).u32(1),
    ]
    .map(Message::finish)
    .into()
}

/// Sends a message, which may be nonsense, and looks at the shape of the reply.
fn send(client: &mut Client, message: &[u8]) {
    client.server.handle(message, usize::MAX, &mut client.reply);
    let reply = &client.reply;
    assert!(reply.len() >= 7 && reply.len() <= MOST_MSIZE as usize);
    let size = u32::from_le_bytes(reply[..4].try_into().unwrap());
    assert_eq!(size as usize, reply.len());
    let error = reply[4] == kind::RLERROR;
    assert!(error || message.len() > 4 && reply[4] == message[4].wrapping_add(1));
    if error {
        let number = u32::from_le_bytes(reply[7..11].try_into().unwrap());
        assert!((1..4096).contains(&number), "{number}");
    }
}

/// What is outside the folder is as it was.
fn check_outside(client: &Client) {
    let mut names: Vec<_> = std::fs::read_dir(client.outside(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["secret", "shared"]);
    assert_eq!(std::fs::read(client.outside("secret")).unwrap(), b"secret");
}

fn target() -> Client {
    let client = Client::new();
    std::fs::write(client.outside("secret"), "secret").unwrap();
    std::fs::create_dir(client.host("d")).unwrap();
    std::fs::write(client.host("d/f"), "text").unwrap();
    std::os::unix::fs::symlink("../secret", client.host("link")).unwrap();
    client
}

#[derive(Clone, Debug)]
enum Damage {
    Byte { at: usize, value: u8 },
    Cut { at: usize },
    Insert { at: usize, bytes: Vec<u8> },
    Fid { value: u32 },
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (0..64usize, any::<u8>()).prop_map(|(at, value)| Damage::Byte { at, value }),
        1 => (0..64usize).prop_map(|at| Damage::Cut { at }),
        1 => (0..64usize, proptest::collection::vec(any::<u8>(), 0..9))
            .prop_map(|(at, bytes)| Damage::Insert { at, bytes }),
        3 => (0..8u32).prop_map(|value| Damage::Fid { value }),
    ]
}

impl Damage {
    fn apply(&self, message: &mut Vec<u8>) {
        match self {
            Damage::Byte { at, value } => {
                let at = at % message.len();
                message[at] = *value;
            }
            Damage::Cut { at } => message.truncate(1 + at % message.len()),
            Damage::Insert { at, bytes } => {
                let at = at % message.len();
                message.splice(at..at, bytes.iter().copied());
                // With its length right, so that the fields behind are reached.
                if message.len() >= 4 {
                    let size = message.len() as u32;
                    message[..4].copy_from_slice(&size.to_le_bytes());
                }
            }
            Damage::Fid { value } if message.len() >= 11 => {
                message[7..11].copy_from_slice(&value.to_le_bytes());
            }
            Damage::Fid { .. } => {}
        }
    }
}

#[test]
fn arbitrary_bytes_are_answered() {
    let client = RefCell::new(target());
    let bytes = proptest::collection::vec(any::<u8>(), 0..100);
    proptest!(cases(20_000, 1_000_000), |(bytes in bytes)| {
        send(&mut client.borrow_mut(), &bytes);
    });
    check_outside(&client.borrow());
}

#[test]
fn arbitrary_fields_are_answered() {
    let client = RefCell::new(target());
    let bytes = proptest::collection::vec(any::<u8>(), 0..100);
    proptest!(cases(20_000, 1_000_000), |(number in any::<u8>(), bytes in bytes)| {
        let mut message = Message::new(number).bytes(&bytes).finish();
        // Version is the one that ends the session.
        if message[4] == kind::VERSION {
            message = Message::new(kind::VERSION).u32(8192).str("9P2000.L").finish();
        }
        send(&mut client.borrow_mut(), &message);
    });
    check_outside(&client.borrow());
}

#[test]
fn broken_messages_in_any_order_are_answered() {
    let sensible = sensible();
    let client = RefCell::new(target());
    let sent = Cell::new(0);
    let step = (0..sensible.len(), proptest::option::of(damage()));
    let steps = proptest::collection::vec(step, 1..40);
    proptest!(cases(2_000, 60_000), |(steps in steps)| {
        client.borrow_mut().start(8192);
        for (which, damage) in steps {
            let mut message = sensible[which].clone();
            if let Some(damage) = damage {
                damage.apply(&mut message);
            }
            send(&mut client.borrow_mut(), &message);
            sent.set(sent.get() + 1);
        }
        // What they made would otherwise fill the disk in a million rounds.
        if sent.get() > 50_000 {
            sent.set(0);
            check_outside(&client.borrow());
            client.replace(target());
        }
    });
    check_outside(&client.borrow());
}
