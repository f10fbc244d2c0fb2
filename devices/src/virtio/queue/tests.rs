//! Each case on both rings: the library's for VERSION_1, and the legacy one.

use std::io::Write;

use proptest::prelude::*;
use vm_memory::GuestMemoryMmap;

use super::*;
use crate::test_support::driver::Driver;

const BASE: u64 = 0x1000;
const RAM: usize = 0x10_0000;
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

fn memory() -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).unwrap()
}

/// Runs a case for both orders, with and without the event index.
fn each(case: impl Fn(&GuestMemoryMmap, Driver, Queue, bool)) {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        for event_idx in [false, true] {
            let memory = memory();
            let driver = Driver::new(order, BASE, 8, event_idx);
            let queue = driver.queue(&memory).unwrap();
            case(&memory, driver, queue, event_idx);
        }
    }
}

#[test]
fn chains_come_out_in_order_and_go_back_with_their_length() {
    each(|memory, mut driver, mut queue, _| {
        assert!(queue.pop(memory).unwrap().is_none());
        // More than the ring holds, so that all its indices wrap.
        for round in 0..70_000u32 {
            let mut driver_now = driver.clone();
            let first = driver_now.offer(memory, &[b"ab", b"c"], &[5]);
            let second = driver_now.offer(memory, &[], &[1, 1]);
            let chain = queue.pop(memory).unwrap().unwrap();
            assert_eq!(chain.head, first.head, "{round}");
            assert_eq!((chain.readable_len(), chain.writable_len()), (3, 5));
            chain.writer(memory).write_all(b"hello").unwrap();
            let other = queue.pop(memory).unwrap().unwrap();
            assert_eq!(other.head, second.head);
            assert!(queue.pop(memory).unwrap().is_none());
            queue.push(memory, other.head, 2).unwrap();
            queue.push(memory, chain.head, 5).unwrap();
            assert_eq!(driver_now.used(memory), Some((second.head, 2)));
            assert_eq!(driver_now.used(memory), Some((first.head, 5)));
            assert_eq!(driver_now.used(memory), None);
            assert_eq!(first.written(memory, 5), b"hello");
            // The buffers' places are used again.
            let data = driver.place();
            driver = driver_now;
            driver.reuse_buffers();
            assert_eq!(driver.place(), data);
        }
        let count = (140_000u32 % 65_536) as u16;
        assert_eq!(queue.position(), (count, count));
    });
}

#[test]
fn indirect_tables_are_walked_also_behind_other_descriptors() {
    each(|memory, mut driver, mut queue, _| {
        let table = 0x8000;
        driver.describe(memory, BASE, 2, (0x9000, 4, NEXT, 5));
        driver.describe(memory, BASE, 5, (table, 32, INDIRECT, 0));
        driver.describe(memory, table, 0, (0xA000, 6, NEXT, 1));
        driver.describe(memory, table, 1, (0xB000, 7, WRITE, 0));
        driver.make_available(memory, 2);
        let chain = queue.pop(memory).unwrap().unwrap();
        assert_eq!(chain.head, 2);
        assert_eq!((chain.readable_len(), chain.writable_len()), (10, 7));
        assert_eq!(chain.writable()[0].address, GuestAddress(0xB000));
    });
}

#[test]
fn whatever_is_no_chain_breaks_the_queue_once() {
    const TABLE: u64 = 0x8000;
    type Descriptors = &'static [(u16, (u64, u32, u16, u16))];
    let cases: [(&str, Descriptors); 9] = [
        (
            "loop",
            &[(0, (0x9000, 1, NEXT, 1)), (1, (0x9000, 1, NEXT, 0))],
        ),
        ("next outside the table", &[(0, (0x9000, 1, NEXT, 8))]),
        ("buffer outside ram", &[(0, (RAM as u64 - 1, 2, 0, 0))]),
        ("buffer that wraps", &[(0, (u64::MAX, 2, 0, 0))]),
        (
            "readable after writable",
            &[(0, (0x9000, 1, NEXT | WRITE, 1)), (1, (0x9000, 1, 0, 0))],
        ),
        ("empty indirect table", &[(0, (TABLE, 0, INDIRECT, 0))]),
        (
            "indirect table of half a descriptor",
            &[(0, (TABLE, 24, INDIRECT, 0))],
        ),
        (
            "indirect table outside ram",
            &[(0, (RAM as u64, 32, INDIRECT, 0))],
        ),
        ("nested indirect table", &[(0, (BASE, 16, INDIRECT, 0))]),
    ];
    for (name, descriptors) in cases {
        each(|memory, mut driver, mut queue, _| {
            for (index, descriptor) in descriptors {
                driver.describe(memory, BASE, *index, *descriptor);
            }
            driver.make_available(memory, 0);
            assert!(queue.pop(memory).is_err(), "{name}");
            assert!(!queue.is_ready(), "{name}");
            driver.offer(memory, &[b"x"], &[]);
            assert!(queue.pop(memory).unwrap().is_none(), "{name}");
            queue.push(memory, 0, 0).unwrap();
            assert!(!queue.needs_interrupt(memory), "{name}");
            assert!(!queue.enable_notification(memory).unwrap(), "{name}");
            queue.disable_notification(memory).unwrap();
        });
    }
    each(|memory, mut driver, mut queue, _| {
        driver.make_available(memory, 8);
        let error = queue.pop(memory).unwrap_err().to_string();
        assert!(error.contains("chain from 8 leaves its table"), "{error}");
    });
    each(|memory, mut driver, mut queue, _| {
        driver.set_avail_idx(memory, 9);
        let error = queue.pop(memory).unwrap_err().to_string();
        assert_eq!(error, "9 buffers are available in a ring of 8");
    });
}

#[test]
fn interrupts_are_suppressed_as_the_driver_says() {
    each(|memory, mut driver, mut queue, event_idx| {
        let use_one = |driver: &mut Driver, queue: &mut Queue| {
            driver.offer(memory, &[b"x"], &[]);
            let chain = queue.pop(memory).unwrap().unwrap();
            queue.push(memory, chain.head, 0).unwrap();
        };
        if !event_idx {
            use_one(&mut driver, &mut queue);
            assert!(queue.needs_interrupt(memory));
            driver.set_no_interrupt(memory, true);
            use_one(&mut driver, &mut queue);
            assert!(!queue.needs_interrupt(memory));
            return;
        }
        // At the first one; not again before the driver moves its wish.
        driver.set_used_event(memory, 0);
        use_one(&mut driver, &mut queue);
        assert!(queue.needs_interrupt(memory));
        assert!(!queue.needs_interrupt(memory), "nothing new");
        use_one(&mut driver, &mut queue);
        assert!(!queue.needs_interrupt(memory));
        // At the fourth, which is in the middle of a batch.
        driver.set_used_event(memory, 3);
        use_one(&mut driver, &mut queue);
        assert!(!queue.needs_interrupt(memory));
        use_one(&mut driver, &mut queue);
        use_one(&mut driver, &mut queue);
        assert!(queue.needs_interrupt(memory));
    });
}

#[test]
fn notifications_are_suppressed_and_none_is_lost() {
    each(|memory, mut driver, mut queue, event_idx| {
        queue.disable_notification(memory).unwrap();
        assert_eq!(driver.no_notify(memory), !event_idx);
        assert!(!queue.enable_notification(memory).unwrap());
        assert!(!driver.no_notify(memory));
        driver.offer(memory, &[b"x"], &[]);
        assert!(queue.enable_notification(memory).unwrap(), "it came first");
        queue.pop(memory).unwrap().unwrap();
        assert!(!queue.enable_notification(memory).unwrap());
        if event_idx {
            assert_eq!(driver.avail_event(memory), 1);
        }
    });
}

#[test]
fn an_empty_queue_asks_for_a_notification_unless_it_is_polled() {
    each(|memory, mut driver, mut queue, event_idx| {
        for polled in [false, true] {
            let before = driver.avail_event(memory);
            if polled {
                queue.disable_notification(memory).unwrap();
            }
            driver.offer(memory, &[b"x"], &[]);
            assert!(queue.pop(memory).unwrap().is_some());
            assert!(queue.pop(memory).unwrap().is_none());
            match event_idx {
                true => assert_eq!(driver.avail_event(memory), before + u16::from(!polled)),
                false => assert_eq!(driver.no_notify(memory), polled),
            }
        }
    });
}

/// A driver and a device on threads of their own, each asleep whenever there is nothing to do.
#[test]
fn no_notification_and_no_interrupt_is_lost_between_threads() {
    const CHAINS: u32 = 30_000;
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
    each(|memory, mut driver, mut queue, _| {
        let (kick, kicked) = std::sync::mpsc::channel();
        let (raise, raised) = std::sync::mpsc::channel();
        let device = std::thread::spawn({
            let memory = memory.clone();
            move || {
                let mut served = 0;
                while served < CHAINS {
                    while let Some(chain) = queue.pop(&memory).unwrap() {
                        queue.push(&memory, chain.head, served).unwrap();
                        served += 1;
                        if queue.needs_interrupt(&memory) {
                            raise.send(()).unwrap();
                        }
                    }
                    if served < CHAINS {
                        kicked.recv_timeout(PATIENCE).expect("a notification");
                    }
                }
            }
        });
        let (mut offered, mut back) = (0, 0);
        while back < CHAINS {
            // Two at most, in turns: the ring runs empty all the time.
            while offered < CHAINS && offered - back < 2 {
                let before = driver.avail_idx();
                driver.reuse_buffers();
                driver.offer(memory, &[b"x"], &[]);
                offered += 1;
                if driver.must_notify(memory, before) {
                    kick.send(()).unwrap();
                }
            }
            while let Some((_, written)) = driver.used(memory) {
                assert_eq!(written, back);
                back += 1;
            }
            if back < offered && !driver.wait_for_used(memory) {
                raised.recv_timeout(PATIENCE).expect("an interrupt");
            }
        }
        device.join().unwrap();
    });
}

#[test]
fn rings_that_cannot_be_are_refused() {
    let memory = memory();
    let place = Driver::new(ByteOrder::Little, BASE, 8, false).place();
    for bad in [
        SplitRing { size: 0, ..place },
        SplitRing { size: 3, ..place },
        SplitRing { table: 8, ..place },
        SplitRing { avail: 0, ..place },
        SplitRing {
            avail: 0x1001,
            ..place
        },
        SplitRing {
            used: 0x2002,
            ..place
        },
        SplitRing {
            used: RAM as u64 - 8,
            ..place
        },
        SplitRing {
            table: u64::MAX - 15,
            ..place
        },
    ] {
        assert!(Queue::split(&memory, bad, false).is_err(), "{bad:?}");
    }
    for (size, base, align) in [
        (0, BASE, 4096),
        (3, BASE, 4096),
        (8, BASE + 8, 4096),
        (8, BASE, 0),
        (8, BASE, 2),
        (8, BASE, 48),
        (8, RAM as u64 - 0x100, 4096),
        (8, !15, 4096),
        (1024, BASE, 1 << 31),
    ] {
        let ring = Queue::legacy(&memory, size, base, align, ByteOrder::Big, true);
        assert!(ring.is_err(), "{size} {base:#x} {align}");
    }
    let mut unused = Queue::unused();
    assert!(!unused.is_ready());
    assert!(unused.pop(&memory).unwrap().is_none());
}

proptest! {
    /// Rings and descriptors of any bytes: what comes out is inside RAM, and the queue ends.
    #[test]
    fn any_memory_is_survived(
        bytes in prop::collection::vec(prop_oneof![Just(0u8), 0u8..9, any::<u8>()], 0x800),
        avail_idx in 0u16..12,
        big in any::<bool>(),
        event_idx in any::<bool>(),
    ) {
        let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x3000)]).unwrap();
        let order = if big { ByteOrder::Big } else { ByteOrder::Little };
        let mut driver = Driver::new(order, BASE, 8, event_idx);
        memory.write_slice(&bytes, GuestAddress(BASE)).unwrap();
        memory.write_slice(&bytes[..0x400], GuestAddress(0x2000)).unwrap();
        driver.set_avail_idx(&memory, avail_idx);
        let mut queue = driver.queue(&memory).unwrap();
        for _ in 0..20 {
            match queue.pop(&memory) {
                Ok(None) | Err(_) => break,
                Ok(Some(chain)) => {
                    for segment in chain.readable().iter().chain(chain.writable()) {
                        let end = segment.address.0 + u64::from(segment.length);
                        prop_assert!(segment.length > 0 && end <= 0x3000);
                    }
                    let mut writer = chain.writer(&memory);
                    let written = writer.remaining().min(32);
                    prop_assert_eq!(writer.write(&[0xA5; 32]).unwrap(), written);
                    let _ = queue.push(&memory, chain.head, writer.written());
                    queue.needs_interrupt(&memory);
                    let _ = queue.enable_notification(&memory);
                }
            }
        }
    }
}

#[test]
fn a_device_never_holds_more_chains_than_the_ring_has_descriptors() {
    each(|memory, mut driver, mut queue, _| {
        driver.describe(memory, BASE, 0, (0x9000, 4, WRITE, 0));
        for round in 0..100 {
            driver.make_available(memory, 0);
            match (round, queue.pop(memory)) {
                (0..8, chain) => assert!(chain.unwrap().is_some(), "{round}"),
                (8, chain) => {
                    assert!(matches!(chain, Err(QueueError::Outstanding { size: 8 })));
                }
                (_, chain) => assert!(chain.unwrap().is_none(), "{round}"),
            }
        }
        // Nor does the driver get back what it did not give.
        queue.push(memory, 0, 4).unwrap();
        assert_eq!(driver.used(memory), None);
    });
}

#[test]
fn a_chain_that_came_back_makes_room_for_the_next() {
    each(|memory, mut driver, mut queue, _| {
        for _ in 0..100 {
            let offers: Vec<_> = (0..8).map(|_| driver.offer(memory, &[], &[1])).collect();
            let mut back = Vec::new();
            while let Some(chain) = queue.pop(memory).unwrap() {
                back.push((chain.head, 1));
            }
            queue.push_all(memory, &back).unwrap();
            for offer in offers {
                assert_eq!(driver.used(memory), Some((offer.head, 1)));
            }
            driver.reuse_buffers();
        }
    });
}

#[test]
fn a_queue_that_its_device_gave_up_is_empty() {
    each(|memory, mut driver, mut queue, _| {
        driver.offer(memory, &[b"x"], &[]);
        driver.offer(memory, &[b"y"], &[]);
        let chain = queue.pop(memory).unwrap().unwrap();
        queue.give_up();
        queue.push(memory, chain.head, 0).unwrap();
        assert_eq!(driver.used(memory), None);
        assert!(queue.pop(memory).unwrap().is_none());
        assert!(!queue.is_ready());
    });
}
