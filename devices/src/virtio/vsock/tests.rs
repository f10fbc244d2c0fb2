use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::*;
use crate::irq::IrqLine;
use crate::test_support::driver::Driver;
use crate::test_support::{Dice, cases};
use crate::virtio::{Interrupt, Queue};

type Memory = GuestMemoryMmap<()>;

const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

struct Guest {
    memory: Memory,
    rx: Driver,
    tx: Driver,
    irq: IrqLine,
    interrupt: Interrupt,
}

impl Guest {
    fn new(order: ByteOrder) -> Self {
        let irq = IrqLine::detached();
        Guest {
            memory: GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x80000)]).unwrap(),
            rx: Driver::new(order, 0x1000, 16, false),
            tx: Driver::new(order, 0x40000, 16, false),
            interrupt: Interrupt::new("vsock", irq.clone()),
            irq,
        }
    }

    fn activation(&self, order: ByteOrder) -> Activation<Memory> {
        let queue = |driver: &Driver| driver.queue(&self.memory).unwrap();
        Activation {
            memory: self.memory.clone(),
            queues: vec![queue(&self.rx), queue(&self.tx), Queue::unused()],
            features: 0,
            order,
            interrupt: self.interrupt.clone(),
        }
    }
}

fn header(op: Op, len: u32) -> Header {
    Header {
        src_cid: 3,
        dst_cid: HOST_CID,
        src_port: 1000,
        dst_port: 80,
        len,
        kind: STREAM,
        op,
        flags: 0,
        buf_alloc: 4096,
        fwd_cnt: 0,
    }
}

#[test]
fn packets_come_and_go_over_either_ring() {
    for order in ORDERS {
        let mut guest = Guest::new(order);
        let mut rings = Rings::new(guest.activation(order));
        let mut data = vec![9];
        assert_eq!(rings.receive(&mut data), Ok(None));
        assert_eq!(rings.room(), Ok(None));

        let bytes = header(Op::Data, 5).to_bytes();
        // In pieces that are none of the device's business.
        let (start, end) = bytes.split_at(20);
        guest
            .tx
            .offer(&guest.memory, &[start, end, b"he", b"llo"], &[]);
        assert_eq!(rings.receive(&mut data), Ok(Some(header(Op::Data, 5))));
        assert_eq!(data, b"hello");
        assert_eq!(rings.receive(&mut data), Ok(None));
        assert_eq!(guest.tx.used(&guest.memory).unwrap().1, 0);
        assert!(!guest.irq.is_asserted());
        rings.flush();
        assert!(guest.irq.is_asserted());
        guest.interrupt.acknowledge(1);

        let offer = guest.rx.offer(&guest.memory, &[], &[HEADER as u32, 10]);
        assert_eq!(rings.room(), Ok(Some(10)));
        assert_eq!(rings.room(), Ok(Some(10)));
        rings.send(header(Op::Data, 0), b"data").unwrap();
        rings.flush();
        assert!(guest.irq.is_asserted());
        let written = HEADER + 4;
        assert_eq!(
            guest.rx.used(&guest.memory),
            Some((offer.head, written as u32))
        );
        let written = offer.written(&guest.memory, written);
        assert_eq!(written[..HEADER], header(Op::Data, 4).to_bytes());
        assert_eq!(&written[HEADER..], b"data");
        assert_eq!(rings.room(), Ok(None));
    }
}

#[test]
fn lengths_that_are_none_break_the_device() {
    let long = vec![0; MOST_DATA + 1];
    let some = |len| header(Op::Data, len).to_bytes();
    let packets: [&[&[u8]]; 4] = [
        &[&[0; HEADER - 1]],
        &[&some(1)],
        &[&some(u32::MAX), b"1234"],
        &[&some(MOST_DATA as u32 + 1), &long],
    ];
    for packet in packets {
        let mut guest = Guest::new(ByteOrder::Little);
        let mut rings = Rings::new(guest.activation(ByteOrder::Little));
        guest.tx.offer(&guest.memory, packet, &[]);
        let mut data = Vec::new();
        assert_eq!(rings.receive(&mut data), Err(Broken));
        assert!(guest.interrupt.is_reset_needed());
        assert_eq!(rings.receive(&mut data), Ok(None));
    }
    let mut guest = Guest::new(ByteOrder::Little);
    let mut rings = Rings::new(guest.activation(ByteOrder::Little));
    guest.rx.offer(&guest.memory, &[], &[HEADER as u32 - 1]);
    assert_eq!(rings.room(), Err(Broken));
    assert!(guest.interrupt.is_reset_needed());
}

/// Counts calls.
#[derive(Clone, Default)]
struct Counting(Arc<Mutex<[usize; 3]>>);

impl Host for Counting {
    fn start(&mut self, _packets: Box<dyn Packets>) {
        self.0.lock().unwrap()[0] += 1;
    }

    fn wake(&self) {
        self.0.lock().unwrap()[1] += 1;
    }

    fn stop(&mut self) {
        self.0.lock().unwrap()[2] += 1;
    }
}

#[test]
fn the_chip_has_a_cid_and_calls_its_host() {
    let host = Counting::default();
    let mut device = Vsock::new(0x0102_0304, host.clone());
    for order in ORDERS {
        let guest = Guest::new(order);
        let device: &mut dyn VirtioDevice<Memory> = &mut device;
        let mut data = [9; 10];
        device.config_read(0, &mut data, order);
        assert_eq!(data, [4, 3, 2, 1, 0, 0, 0, 0, 0, 0]);
        device.reset();
        device.activate(guest.activation(order));
        device.notify(1);
        device.reset();
        device.reset();
    }
    assert_eq!(*host.0.lock().unwrap(), [2, 4, 2]);
    let device: &dyn VirtioDevice<Memory> = &device;
    assert_eq!((device.device_id(), device.features()), (19, 0));
    assert_eq!(device.queue_sizes().len(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(256, 1_000_000),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn arbitrary_rings_are_survived(
        seed in any::<u64>(),
        order in prop_oneof![Just(ByteOrder::Little), Just(ByteOrder::Big)],
        indices in (0..20_u16, 0..20_u16),
    ) {
        let mut guest = Guest::new(order);
        let mut rings = Rings::new(guest.activation(order));
        // Byte by byte, proptest would take many times as long as the device.
        let mut dice = Dice::new(seed);
        for ring in [0x1000, 0x40000] {
            let bytes = [(); 0x200].map(|()| dice.roll() as u8);
            guest.memory.write_slice(&bytes, GuestAddress(ring)).unwrap();
        }
        guest.rx.set_avail_idx(&guest.memory, indices.0);
        guest.tx.set_avail_idx(&guest.memory, indices.1);
        let mut data = Vec::new();
        for _ in 0..30 {
            let _ = rings.receive(&mut data);
            prop_assert!(data.len() <= MOST_DATA);
            if let Ok(Some(room)) = rings.room() {
                let _ = rings.send(header(Op::Data, 0), &data[..data.len().min(room)]);
            }
        }
        rings.flush();
    }
}
