//! The device over its queues, in both byte orders.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::*;
use crate::IrqLine;
use crate::test_support::cases;
use crate::test_support::driver::{Driver, Offer};
use crate::virtio::{Interrupt, Queue};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const VERSION_1: u64 = 1 << 32;
const MRG: u64 = 1 << VIRTIO_NET_F_MRG_RXBUF;
const ALL: u64 = 1 << VIRTIO_NET_F_CSUM
    | 1 << VIRTIO_NET_F_HOST_TSO4
    | 1 << VIRTIO_NET_F_GUEST_CSUM
    | 1 << VIRTIO_NET_F_GUEST_TSO4;

#[derive(Default)]
struct TestWire {
    sent: Vec<(Vec<u8>, Offload)>,
    incoming: VecDeque<(Vec<u8>, Offload)>,
    attached: Vec<Option<Offloads>>,
    full: bool,
}

impl Wire for TestWire {
    fn offloads(&self) -> Offloads {
        Offloads::ALL
    }

    fn attach(&mut self, offloads: Option<Offloads>) {
        self.attached.push(offloads);
    }

    fn is_ready(&mut self) -> bool {
        !self.full
    }

    fn send(&mut self, frame: &[u8], offload: Offload) {
        self.sent.push((frame.to_vec(), offload));
    }

    fn receive(&mut self) -> Option<(&[u8], Offload)> {
        let (frame, offload) = self.incoming.front()?;
        Some((frame, *offload))
    }

    fn received(&mut self) {
        self.incoming.pop_front();
    }
}

struct Bench {
    memory: GuestMemoryMmap,
    net: Net<GuestMemoryMmap>,
    port: Port<GuestMemoryMmap>,
    wire: TestWire,
    rx: Driver,
    tx: Driver,
    control: Driver,
    irq: IrqLine,
    interrupt: Interrupt,
    order: ByteOrder,
    woken: Arc<AtomicUsize>,
}

impl Bench {
    fn new(order: ByteOrder, features: u64, event_idx: bool) -> Bench {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 4 << 20)]).unwrap();
        let woken = Arc::new(AtomicUsize::new(0));
        let wake = woken.clone();
        let (net, port) = Net::new(
            MAC,
            Offloads::ALL,
            Box::new(move || {
                wake.fetch_add(1, Ordering::SeqCst);
            }),
        );
        let driver = |at| Driver::new(order, at, 32, event_idx);
        let irq = IrqLine::detached();
        let mut bench = Bench {
            memory,
            net,
            port,
            wire: TestWire::default(),
            rx: driver(0x1000),
            tx: driver(0x10_0000),
            control: driver(0x20_0000),
            interrupt: Interrupt::new("net", irq.clone()),
            irq,
            order,
            woken,
        };
        bench.activate(features);
        bench
    }

    fn activate(&mut self, features: u64) {
        let version = match self.order {
            ByteOrder::Little => VERSION_1,
            ByteOrder::Big => 0,
        };
        let drivers = [&self.rx, &self.tx, &self.control];
        self.net.activate(Activation {
            memory: self.memory.clone(),
            queues: drivers
                .map(|driver| driver.queue(&self.memory).unwrap())
                .into(),
            features: features | version,
            order: self.order,
            interrupt: self.interrupt.clone(),
        });
    }

    fn serve(&mut self) -> bool {
        self.port.serve(&mut self.wire)
    }

    fn header_len(&self, features: u64) -> usize {
        match self.order {
            ByteOrder::Big if features & MRG == 0 => 10,
            _ => 12,
        }
    }

    fn send(&mut self, parts: &[&[u8]]) -> Offer {
        self.tx.offer(&self.memory, parts, &[])
    }

    fn command(&mut self, bytes: &[u8]) -> u8 {
        let offer = self.control.offer(&self.memory, &[bytes], &[1]);
        self.serve();
        assert_eq!(self.control.used(&self.memory), Some((offer.head, 1)));
        offer.written(&self.memory, 1)[0]
    }
}

fn each(features: u64, case: impl Fn(&mut Bench)) {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        for event_idx in [false, true] {
            case(&mut Bench::new(order, features, event_idx));
        }
    }
}

fn frame(length: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..length).map(|n| (n * 7) as u8).collect();
    frame[..6].copy_from_slice(&MAC);
    frame
}

fn segment() -> Offload {
    Offload {
        checksum: Some(PartialChecksum {
            start: 34,
            offset: 16,
        }),
        segmentation: Some(Segmentation {
            size: 1448,
            headers: 66,
            ecn: false,
        }),
    }
}

#[test]
fn frames_of_the_drivers_go_out_however_they_are_cut() {
    for features in [0, MRG, ALL | MRG] {
        each(features, |bench| {
            let header = vec![0; bench.header_len(features)];
            let sent = frame(100);
            let whole = [&header[..], &sent].concat();
            let offers = [
                bench.send(&[&header, &sent]),
                bench.send(&[&whole]),
                bench.send(&[&whole[..5], &whole[5..30], &whole[30..]]),
            ];
            bench.serve();
            assert_eq!(bench.wire.sent.len(), 3);
            for (frame, offload) in &bench.wire.sent {
                assert_eq!((frame, offload), (&sent, &Offload::default()));
            }
            for offer in offers {
                assert_eq!(bench.tx.used(&bench.memory), Some((offer.head, 0)));
            }
            assert!(bench.irq.is_asserted());
        });
    }
}

#[test]
fn what_a_frame_still_needs_goes_with_it_if_that_was_agreed_on() {
    for (features, expected) in [(ALL, Some(segment())), (ALL & !1, None), (0, None)] {
        each(features, |bench| {
            let length = bench.header_len(features);
            let header = header::emit(&segment(), bench.order, 0);
            bench.send(&[&header[..length], &frame(5000)]);
            bench.serve();
            let sent = bench.wire.sent.pop().map(|(_, offload)| offload);
            assert_eq!(sent, expected);
            assert!(bench.tx.used(&bench.memory).is_some());
            // What the header asked for and did not get is counted, and said.
            let mistaken = bench.net.shared.mistaken.so_far();
            assert_eq!(mistaken, u32::from(expected != Some(segment())));
        });
    }
}

#[test]
fn a_checksum_that_was_not_agreed_on_is_left_out_and_counted() {
    each(0, |bench| {
        let offload = Offload {
            segmentation: None,
            ..segment()
        };
        let length = bench.header_len(0);
        let header = header::emit(&offload, bench.order, 0);
        bench.send(&[&header[..length], &frame(500)]);
        bench.serve();
        assert_eq!(
            bench.wire.sent,
            [(frame(500), Offload::default())],
            "the frame goes out as it is"
        );
        assert_eq!(bench.net.shared.mistaken.so_far(), 1);
    });
}

#[test]
fn what_is_no_frame_is_dropped_and_given_back() {
    each(ALL, |bench| {
        let length = bench.header_len(ALL);
        let good = [&vec![0; length][..], &frame(60)].concat();
        bench.send(&[&good[..length - 1]]);
        bench.send(&[&good[..length + 13]]);
        bench.send(&[&[0xFF; 80]]);
        bench.send(&[&vec![0; length + LARGEST_FRAME + 1]]);
        bench.send(&[&good]);
        bench.serve();
        assert_eq!(bench.wire.sent.len(), 1);
        for _ in 0..5 {
            assert!(bench.tx.used(&bench.memory).is_some());
        }
        assert_eq!(bench.net.shared.mistaken.so_far(), 4);
        assert!(!bench.interrupt.is_reset_needed());
    });
}

#[test]
fn a_wire_that_is_full_leaves_frames_with_the_driver() {
    each(0, |bench| {
        let header = vec![0; bench.header_len(0)];
        bench.send(&[&header, &frame(60)]);
        bench.wire.full = true;
        bench.serve();
        assert!(bench.wire.sent.is_empty());
        assert_eq!(bench.tx.used(&bench.memory), None);
        bench.wire.full = false;
        bench.serve();
        assert_eq!(bench.wire.sent.len(), 1);
    });
}

#[test]
fn a_frame_fills_one_buffer_of_the_drivers() {
    for features in [0, MRG] {
        each(features, |bench| {
            let length = bench.header_len(features);
            let offer = bench.rx.offer(&bench.memory, &[], &[4, 100, 1500]);
            bench
                .wire
                .incoming
                .push_back((frame(200), Offload::default()));
            bench.serve();
            let count = length + 200;
            assert_eq!(
                bench.rx.used(&bench.memory),
                Some((offer.head, count as u32))
            );
            let written = offer.written(&bench.memory, count);
            assert_eq!(written[length..], frame(200));
            assert_eq!(written[..10], [0; 10]);
            if length == 12 {
                assert_eq!(written[10..12], bench.order.put_u16(1));
            }
            assert!(bench.irq.is_asserted());
        });
    }
}

#[test]
fn a_large_frame_is_spread_over_buffers_that_come_back_at_once() {
    each(ALL | MRG, |bench| {
        bench.wire.incoming.push_back((frame(4000), segment()));
        let first = bench.rx.offer(&bench.memory, &[], &[1526]);
        let second = bench.rx.offer(&bench.memory, &[], &[1526]);
        // Two are not enough: nothing is used.
        bench.serve();
        assert_eq!(bench.rx.used(&bench.memory), None);
        assert_eq!(bench.wire.incoming.len(), 1);
        let third = bench.rx.offer(&bench.memory, &[], &[1526]);
        let fourth = bench.rx.offer(&bench.memory, &[], &[1526]);
        bench.serve();
        let mut seen = Vec::new();
        for (offer, count) in [(&first, 1526), (&second, 1526), (&third, 960)] {
            assert_eq!(bench.rx.used(&bench.memory), Some((offer.head, count)));
            seen.extend(offer.written(&bench.memory, count as usize));
        }
        assert_eq!(bench.rx.used(&bench.memory), None);
        let header = header::emit(&segment(), bench.order, 3);
        assert_eq!(seen[..12], header);
        assert_eq!(seen[12..], frame(4000));
        // The fourth serves the next frame.
        bench
            .wire
            .incoming
            .push_back((frame(60), Offload::default()));
        bench.serve();
        assert_eq!(bench.rx.used(&bench.memory), Some((fourth.head, 72)));
    });
}

#[test]
fn without_merged_buffers_a_frame_that_is_too_long_is_lost() {
    each(ALL, |bench| {
        let offer = bench.rx.offer(&bench.memory, &[], &[100]);
        bench
            .wire
            .incoming
            .push_back((frame(200), Offload::default()));
        bench
            .wire
            .incoming
            .push_back((frame(60), Offload::default()));
        bench.serve();
        let count = bench.header_len(ALL) + 60;
        assert_eq!(
            bench.rx.used(&bench.memory),
            Some((offer.head, count as u32))
        );
        assert!(bench.wire.incoming.is_empty());
    });
}

#[test]
fn a_receive_buffer_without_room_breaks_the_queue_and_is_not_kept() {
    for features in [0, MRG] {
        each(features, |bench| {
            let good = bench.rx.offer(&bench.memory, &[], &[40]);
            bench.rx.offer(&bench.memory, &[&[0; 16]], &[]);
            bench
                .wire
                .incoming
                .extend([60, 60].map(|length| (frame(length), Offload::default())));
            bench.serve();
            assert_eq!(bench.rx.used(&bench.memory), None);
            assert_eq!(bench.interrupt.is_reset_needed(), features == MRG);
            // The first is for shorter frames, which costs one frame without merged buffers.
            bench.serve();
            let held = lock(&bench.net.shared.queues);
            let (chains, bytes) = held.spare();
            match features {
                MRG => assert_eq!((chains, bytes), (0, 0)),
                _ => assert_eq!((chains, bytes), (1, 40)),
            }
            assert_eq!(good.writable.len(), 1);
        });
    }
}

#[test]
fn a_driver_that_offers_one_buffer_over_and_over_is_stopped_at_the_rings_size() {
    each(ALL | MRG, |bench| {
        bench.wire.incoming.push_back((frame(60_000), segment()));
        let offer = bench.rx.offer(&bench.memory, &[], &[1]);
        for round in 0..100 {
            bench.rx.make_available(&bench.memory, offer.head);
            bench.serve();
            let (chains, _) = lock(&bench.net.shared.queues).spare();
            assert!(chains <= 32, "{chains} in round {round}");
        }
        assert!(bench.interrupt.is_reset_needed());
        assert_eq!(bench.rx.used(&bench.memory), None);
    });
}

#[test]
fn what_was_not_agreed_on_does_not_reach_the_driver() {
    each(MRG, |bench| {
        bench.rx.offer(&bench.memory, &[], &[5000]);
        bench.wire.incoming.push_back((frame(2000), segment()));
        bench.serve();
        assert_eq!(bench.rx.used(&bench.memory), None);
        assert!(bench.wire.incoming.is_empty());
    });
}

#[test]
fn a_driver_without_buffers_is_asked_to_say_when_it_has_some() {
    each(0, |bench| {
        bench
            .wire
            .incoming
            .push_back((frame(60), Offload::default()));
        bench.serve();
        assert_eq!(bench.wire.incoming.len(), 1);
        if bench.rx.avail_event(&bench.memory) == 0 {
            assert!(!bench.rx.no_notify(&bench.memory));
        }
    });
}

#[test]
fn the_driver_chooses_by_commands_what_it_takes() {
    each(0, |bench| {
        assert_eq!(bench.command(&[0, 0, 0]), 0);
        assert_eq!(bench.command(&[9, 9, 9]), 1);
        assert_eq!(bench.command(&[]), 1);
        let mut other = frame(60);
        other[5] ^= 1;
        bench.rx.offer(&bench.memory, &[], &[500]);
        bench
            .wire
            .incoming
            .push_back((other.clone(), Offload::default()));
        bench.serve();
        assert_eq!(bench.rx.used(&bench.memory), None);
        assert!(bench.wire.incoming.is_empty());
        let mut bytes = vec![1, 1];
        bytes.extend(&other[..6]);
        assert_eq!(bench.command(&bytes), 0);
        bench
            .wire
            .incoming
            .push_back((other.clone(), Offload::default()));
        bench.serve();
        assert!(bench.rx.used(&bench.memory).is_some());
        let mut mac = [0; 6];
        bench.net.config_read(0, &mut mac, bench.order);
        assert_eq!(mac, other[..6]);
    });
}

#[test]
fn the_fields_are_the_address_and_the_links_state() {
    each(0, |bench| {
        let mut fields = [9; 10];
        bench.net.config_read(0, &mut fields, bench.order);
        assert_eq!(fields[..6], MAC);
        assert_eq!(fields[6..8], bench.order.put_u16(1));
        assert_eq!(fields[8..], [0, 0]);
        // The address is a legacy driver's to write.
        bench.net.config_write(4, &[1, 2, 3, 4], bench.order);
        let written = bench.net.state().mac;
        match bench.order {
            ByteOrder::Little => assert_eq!(written, MAC),
            ByteOrder::Big => assert_eq!(written, [0x52, 0x54, 0, 0x12, 1, 2]),
        }
    });
}

#[test]
fn after_a_reset_nothing_moves_and_the_wire_knows() {
    each(ALL, |bench| {
        bench.serve();
        assert_eq!(bench.wire.attached, [Some(Offloads::ALL)]);
        assert_eq!(bench.command(&[0, 0, 0]), 0);
        let header = vec![0; bench.header_len(ALL)];
        bench.send(&[&header, &frame(60)]);
        let woken = bench.woken.load(Ordering::SeqCst);
        bench.net.reset();
        assert!(bench.woken.load(Ordering::SeqCst) > woken);
        bench
            .wire
            .incoming
            .push_back((frame(60), Offload::default()));
        bench.serve();
        assert!(bench.wire.sent.is_empty() && bench.wire.incoming.is_empty());
        assert_eq!(bench.wire.attached[1..], [None]);
        assert!(bench.net.state().filter.promiscuous);
    });
}

#[test]
fn a_notification_only_wakes() {
    each(0, |bench| {
        let held = bench.net.shared.clone();
        let _busy = lock(&held.queues);
        let before = bench.woken.load(Ordering::SeqCst);
        bench.net.notify(1);
        assert_eq!(bench.woken.load(Ordering::SeqCst), before + 1);
    });
}

#[test]
fn queues_that_the_driver_did_not_set_up_are_empty() {
    let mut bench = Bench::new(ByteOrder::Big, 0, false);
    bench.net.reset();
    bench.net.activate(Activation {
        memory: bench.memory.clone(),
        queues: vec![Queue::unused(), Queue::unused(), Queue::unused()],
        features: 0,
        order: ByteOrder::Big,
        interrupt: bench.interrupt.clone(),
    });
    bench
        .wire
        .incoming
        .push_back((frame(60), Offload::default()));
    bench.serve();
    assert!(!bench.interrupt.is_reset_needed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(2000, 1_000_000)))]

    /// Rings, tables and buffers hold anything: nothing panics, nothing outside RAM is touched, and
    /// each turn ends.
    #[test]
    fn any_memory_is_survived(
        big in any::<bool>(),
        features in any::<u64>(),
        event_idx in any::<bool>(),
        rings in prop::collection::vec(any::<[u8; 16]>(), 3 * 8),
        flags in prop::collection::vec(0u16..8, 3 * 8),
        indices in any::<[u16; 3]>(),
        lengths in prop::collection::vec(14usize..3000, 0..4),
        near in any::<bool>(),
    ) {
        let order = if big { ByteOrder::Big } else { ByteOrder::Little };
        let memory: GuestMemoryMmap =
            GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1_0000)]).unwrap();
        let (mut net, mut port) = Net::new(MAC, Offloads::ALL, Box::new(|| ()));
        let mut drivers = [0x1000, 0x4000, 0x7000].map(|at| Driver::new(order, at, 8, event_idx));
        let interrupt = Interrupt::new("net", IrqLine::detached());
        let queues = drivers.each_ref().map(|driver| driver.queue(&memory).unwrap());
        net.activate(Activation {
            memory: memory.clone(),
            queues: queues.into(),
            features,
            order,
            interrupt: interrupt.clone(),
        });
        for (queue, driver) in drivers.iter_mut().enumerate() {
            for entry in 0..8 {
                let mut bytes = rings[queue * 8 + entry];
                if near {
                    // Descriptors that are mostly sound reach further.
                    let address = u64::from(bytes[0]) << 8;
                    let length = u32::from(bytes[1]) << 4;
                    let next = u16::from(bytes[2] % 8);
                    let flags = flags[queue * 8 + entry];
                    driver.describe(&memory, driver.place().table, entry as u16,
                        (address, length, flags, next));
                } else {
                    let at = driver.place().table + 16 * entry as u64;
                    bytes[15] &= 7;
                    memory.write_slice(&bytes, GuestAddress(at)).unwrap();
                }
                driver.make_available(&memory, u16::from(bytes[3] % 9));
            }
            if indices[queue] & 1 != 0 {
                driver.set_avail_idx(&memory, indices[queue] >> 8);
            }
        }
        let mut wire = TestWire::default();
        for length in lengths {
            wire.incoming.push_back((frame(length), Offload::default()));
        }
        for _ in 0..4 {
            port.serve(&mut wire);
        }
        for (frame, offload) in &wire.sent {
            prop_assert!((SMALLEST_FRAME..=LARGEST_FRAME).contains(&frame.len()));
            if let Some(PartialChecksum { start, offset }) = offload.checksum {
                prop_assert!(usize::from(start) + usize::from(offset) + 2 <= frame.len());
            }
        }
        net.reset();
        port.serve(&mut wire);
    }
}
