use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::*;
use crate::irq::IrqLine;
use crate::test_support::driver::{Driver, Offer};
use crate::virtio::Interrupt;

#[derive(Default)]
struct Outside {
    sent: Mutex<Vec<u8>>,
    told: Mutex<u32>,
}

impl Sink for Outside {
    fn send(&self, bytes: &[u8]) {
        self.sent.lock().unwrap().extend(bytes);
    }

    fn has_room(&self) {
        *self.told.lock().unwrap() += 1;
    }
}

struct Bench {
    console: Console<GuestMemoryMmap>,
    outside: Arc<Outside>,
    memory: GuestMemoryMmap,
    input: Driver,
    output: Driver,
    control: [Driver; 2],
    interrupt: Interrupt,
}

fn bench() -> Bench {
    bench_with(0)
}

fn bench_with(features: u64) -> Bench {
    bench_among(features, Turns::default())
}

fn bench_among(features: u64, turns: Turns<GuestMemoryMmap>) -> Bench {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10_0000)]).unwrap();
    let input = Driver::new(ByteOrder::Little, 0x1000, 64, false);
    let output = Driver::new(ByteOrder::Little, 0x8_0000, 64, false);
    let outside = Arc::new(Outside::default());
    let mut console = Console::new(outside.clone(), turns);
    let interrupt = Interrupt::new("console", IrqLine::detached());
    let control = [0xA_0000, 0xC_0000].map(|base| Driver::new(ByteOrder::Little, base, 16, false));
    let queues =
        [&input, &output, &control[0], &control[1]].map(|driver| driver.queue(&memory).unwrap());
    console.activate(Activation {
        memory: memory.clone(),
        queues: queues.into(),
        features,
        order: ByteOrder::Little,
        interrupt: interrupt.clone(),
    });
    Bench {
        console,
        outside,
        memory,
        input,
        output,
        control,
        interrupt,
    }
}

/// A control message about port 0.
fn say(bench: &mut Bench, event: u8, value: u8) {
    let message = [0, 0, 0, 0, event, 0, value, 0];
    bench.control[1].offer(&bench.memory, &[&message], &[]);
    bench.console.notify(3);
    assert!(bench.control[1].used(&bench.memory).is_some());
}

/// The event and the value of the next control message, if there is one.
fn hear(bench: &mut Bench) -> Option<(u8, u8)> {
    let offer = bench.control[0].offer(&bench.memory, &[], &[8]);
    bench.console.notify(2);
    heard(bench, &offer)
}

fn heard(bench: &mut Bench, offer: &Offer) -> Option<(u8, u8)> {
    let used = bench.control[0].used(&bench.memory)?;
    assert_eq!(used, (offer.head, 8));
    let message = offer.written(&bench.memory, 8);
    Some((message[4], message[6]))
}

#[test]
fn consoles_are_set_up_one_after_the_other() {
    let turns = Turns::default();
    let mut benches = [(); 3].map(|()| bench_among(F_MULTIPORT, turns.clone()));
    let [first, second, third] = &mut benches;
    for bench in [&mut *first, second, third] {
        say(bench, 0, 1);
    }
    // They have buffers, and nothing to hear.
    let at_second = second.control[0].offer(&second.memory, &[], &[8]);
    second.console.notify(2);
    let at_third = third.control[0].offer(&third.memory, &[], &[8]);
    third.console.notify(2);
    second.interrupt.clear();

    assert_eq!(hear(first), Some((1, 1)), "there is a port");
    say(first, 3, 1);
    assert_eq!(hear(first), Some((4, 1)), "it is a console");
    assert_eq!(heard(second, &at_second), None);
    assert_eq!(second.interrupt.status(), 0);
    say(first, 6, 1);
    assert_eq!(heard(second, &at_second), Some((1, 1)), "its turn");
    assert_eq!(second.interrupt.status(), 1);
    assert_eq!(hear(first), Some((6, 1)), "not held up by its successor");

    // A driver that goes away, or that fails, does not hold up the others.
    assert_eq!(heard(third, &at_third), None);
    second.console.reset();
    assert_eq!(heard(third, &at_third), Some((1, 1)));
    say(first, 0, 1);
    assert_eq!(hear(first), Some((1, 1)), "it is set up already");
    say(third, 3, 0);
    let mut fourth = bench_among(F_MULTIPORT, turns.clone());
    say(&mut fourth, 0, 1);
    assert_eq!(hear(&mut fourth), Some((1, 1)));
    let mut fifth = bench_among(F_MULTIPORT, turns);
    say(&mut fifth, 0, 1);
    assert_eq!(hear(&mut fifth), None);
    drop(fourth);
    say(&mut fifth, 0, 1);
    assert_eq!(fifth.console.state().messages.len(), 1);
}

#[test]
fn a_driver_of_ports_gets_input_when_it_opened_the_port() {
    let mut bench = bench_with(F_MULTIPORT);
    let mut ports = [9; 4];
    bench.console.config_read(4, &mut ports, ByteOrder::Big);
    assert_eq!(ports, [0, 0, 0, 1]);
    let buffer = bench.input.offer(&bench.memory, &[], &[4]);
    bench.console.notify(0);
    say(&mut bench, 0, 1);
    assert_eq!(hear(&mut bench), Some((1, 1)), "there is a port");
    say(&mut bench, 3, 1);
    assert_eq!(hear(&mut bench), Some((4, 1)), "it is a console");
    bench.console.fill(&mut |_| panic!("it is not open"));
    let told = *bench.outside.told.lock().unwrap();
    say(&mut bench, 6, 1);
    assert!(*bench.outside.told.lock().unwrap() > told);
    assert_eq!(hear(&mut bench), Some((6, 1)), "open at this end too");
    let mut input = vec![b"abcd".to_vec()];
    bench.console.fill(&mut |_| input.pop().unwrap_or_default());
    assert_eq!(bench.input.used(&bench.memory), Some((buffer.head, 4)));
}

#[test]
fn a_driver_that_hears_nothing_is_told_only_so_much() {
    let mut bench = bench_with(F_MULTIPORT);
    for _ in 0..MOST_MESSAGES {
        say(&mut bench, 0, 1);
    }
    let message = [0, 0, 0, 0, 0, 0, 1, 0];
    bench.control[1].offer(&bench.memory, &[&message], &[]);
    bench.console.notify(3);
    assert!(bench.interrupt.is_reset_needed());
}

#[test]
fn output_goes_out_in_order() {
    let mut bench = bench();
    bench.output.offer(&bench.memory, &[b"he", b"l"], &[]);
    bench.output.offer(&bench.memory, &[b"lo"], &[]);
    bench.console.notify(1);
    assert_eq!(*bench.outside.sent.lock().unwrap(), b"hello");
    assert_eq!(bench.output.used(&bench.memory), Some((0, 0)));
    assert_eq!(bench.output.used(&bench.memory), Some((2, 0)));
    assert_eq!(bench.interrupt.status(), 1);
    bench
        .console
        .config_write(8, &[b'!', 0, 0, 0], ByteOrder::Little);
    assert_eq!(*bench.outside.sent.lock().unwrap(), b"hello!");
}

#[test]
fn input_waits_for_room_and_room_for_input() {
    let mut bench = bench();
    let mut left = b"abcdefg".to_vec();
    let mut source = |room: usize| {
        let count = room.min(left.len());
        left.drain(..count).collect()
    };
    bench.console.fill(&mut source);
    let first = bench.input.offer(&bench.memory, &[], &[4]);
    let second = bench.input.offer(&bench.memory, &[], &[2, 3]);
    let third = bench.input.offer(&bench.memory, &[], &[9]);
    bench.console.notify(0);
    assert_eq!(
        *bench.outside.told.lock().unwrap(),
        2,
        "at the start, and now"
    );
    bench.console.fill(&mut source);
    assert_eq!(bench.input.used(&bench.memory), Some((first.head, 4)));
    assert_eq!(bench.input.used(&bench.memory), Some((second.head, 3)));
    assert_eq!(first.written(&bench.memory, 4), b"abcd");
    assert_eq!(second.written(&bench.memory, 3), b"efg");
    assert_eq!(bench.input.used(&bench.memory), None);
    bench.console.fill(&mut |_| Vec::new());
    let waiting = bench.console.state().waiting.unwrap();
    assert_eq!(waiting.head, third.head);
    let mut once = vec![b"!".to_vec()];
    bench.console.fill(&mut |_| once.pop().unwrap_or_default());
    assert_eq!(bench.input.used(&bench.memory), Some((third.head, 1)));
}

#[test]
fn requests_that_make_no_sense_break_their_queue() {
    let mut bench = bench();
    bench.output.offer(&bench.memory, &[&[0; 0x8000]], &[]);
    bench.output.offer(&bench.memory, &[&[0; MOST + 1]], &[]);
    bench.console.notify(1);
    assert_eq!(bench.outside.sent.lock().unwrap().len(), 0x8000);
    assert!(bench.interrupt.is_reset_needed());
    // What comes after is not looked at, however often the driver notifies.
    bench.output.offer(&bench.memory, &[b"late"], &[]);
    bench.console.notify(1);
    assert_eq!(bench.outside.sent.lock().unwrap().len(), 0x8000);
    bench.console.reset();
    bench.console.notify(1);
    bench
        .console
        .fill(&mut |_| panic!("there is no room after a reset"));
}

#[test]
fn a_notification_takes_a_bounded_part_of_the_output_and_of_the_messages() {
    let mut bench = bench_with(F_MULTIPORT);
    for _ in 0..20 {
        bench.output.offer(&bench.memory, &[b"x"], &[]);
    }
    bench.console.notify(1);
    assert_eq!(bench.outside.sent.lock().unwrap().len(), 16);
    assert!(bench.console.has_backlog());
    bench.console.work_off();
    assert_eq!(bench.outside.sent.lock().unwrap().len(), 20);
    assert!(!bench.console.has_backlog());

    // By bytes as well: a request may be as long as 64 KiB.
    bench.output.reuse_buffers();
    for _ in 0..3 {
        bench.output.offer(&bench.memory, &[&[0; 0x9000]], &[]);
    }
    bench.console.notify(1);
    assert_eq!(bench.outside.sent.lock().unwrap().len(), 20 + 2 * 0x9000);
    assert!(bench.console.has_backlog());
    bench.console.reset();
    assert!(!bench.console.has_backlog());

    // Messages that mean nothing, in a ring whose end is never seen.
    let mut bench = bench_with(F_MULTIPORT);
    let head = bench.control[1].offer(&bench.memory, &[&[9; 8]], &[]).head;
    for _ in 0..15 {
        bench.control[1].make_available(&bench.memory, head);
    }
    bench.console.notify(3);
    assert!(bench.console.has_backlog());
    bench.console.work_off();
    assert!(!bench.console.has_backlog());
}

/// A driver that has the port and hears of it, up to the message with the size.
fn console_of_a_size(size: WindowSize) -> Bench {
    let mut bench = bench_with(F_MULTIPORT | F_SIZE);
    bench.console.set_size(size);
    bench.interrupt.clear();
    say(&mut bench, 0, 1);
    assert_eq!(hear(&mut bench), Some((1, 1)), "there is a port");
    say(&mut bench, 3, 1);
    assert_eq!(hear(&mut bench), Some((4, 1)), "it is a console");
    bench
}

/// The columns and rows of the next control message, which is about a size.
fn hear_size(bench: &mut Bench) -> (u16, u16) {
    let offer = bench.control[0].offer(&bench.memory, &[], &[100]);
    bench.console.notify(2);
    size_heard(bench, &offer)
}

fn size_heard(bench: &mut Bench, offer: &Offer) -> (u16, u16) {
    assert_eq!(bench.control[0].used(&bench.memory), Some((offer.head, 12)));
    let message = offer.written(&bench.memory, 12);
    assert_eq!(message[..8], [0, 0, 0, 0, RESIZE as u8, 0, 0, 0]);
    let number = |at: usize| u16::from_le_bytes([message[at], message[at + 1]]);
    (number(8), number(10))
}

fn size(columns: u16, rows: u16) -> WindowSize {
    WindowSize { columns, rows }
}

#[test]
fn a_driver_of_ports_hears_the_windows_size_before_the_port_is_open() {
    let mut bench = console_of_a_size(size(80, 24));
    assert_eq!(hear_size(&mut bench), (80, 24));
    assert_eq!(hear(&mut bench), Some((6, 1)), "open at this end");
    let waiting = bench.control[0].offer(&bench.memory, &[], &[100]);
    bench.console.notify(2);
    bench.console.set_size(size(132, 50));
    assert_eq!(size_heard(&mut bench, &waiting), (132, 50));
}

#[test]
fn sizes_that_a_driver_has_no_buffer_for_become_one_message() {
    let mut bench = console_of_a_size(size(80, 24));
    for rows in 0..1000 {
        bench.console.set_size(size(100, rows));
    }
    assert_eq!(bench.console.state().messages.len(), 2);
    assert_eq!(hear_size(&mut bench), (100, 999));
    assert_eq!(hear(&mut bench), Some((6, 1)));
    assert_eq!(hear(&mut bench), None);
}

#[test]
fn the_windows_size_is_a_field_in_the_drivers_order_and_a_change_interrupts() {
    let mut bench = bench_with(F_SIZE);
    bench.console.set_size(size(0x0102, 0x0304));
    assert_eq!(bench.interrupt.status(), 2);
    let generation = bench.interrupt.generation();
    let mut fields = [0; 4];
    bench.console.config_read(0, &mut fields, ByteOrder::Little);
    assert_eq!(fields, [2, 1, 4, 3]);
    bench.console.config_read(0, &mut fields, ByteOrder::Big);
    assert_eq!(fields, [1, 2, 3, 4]);
    bench.interrupt.clear();
    bench.console.set_size(size(0x0102, 0x0304));
    assert_eq!(bench.interrupt.status(), 0, "nothing changed");
    bench.console.set_size(size(1, 2));
    assert_eq!(bench.interrupt.generation(), generation + 1);
    bench.console.reset();
    assert_eq!(bench.console.state().size, size(1, 2), "it is the host's");
}

#[test]
fn a_driver_that_knows_of_no_sizes_is_told_of_none() {
    let mut bench = bench_with(F_MULTIPORT);
    say(&mut bench, 0, 1);
    assert_eq!(hear(&mut bench), Some((1, 1)));
    say(&mut bench, 3, 1);
    bench.console.set_size(size(80, 24));
    assert_eq!(hear(&mut bench), Some((4, 1)));
    assert_eq!(hear(&mut bench), Some((6, 1)));
    assert_eq!(hear(&mut bench), None);
    assert_eq!(bench.interrupt.status() & 2, 0);
}

#[test]
fn a_port_is_no_console_and_has_a_name() {
    let mut bench = bench_with(F_MULTIPORT);
    bench.console = {
        let activation = bench.console.ports().activation.take().unwrap();
        let mut port = Console::port(bench.outside.clone(), "a.port");
        port.activate(activation);
        port
    };
    // Also after a reset, when another driver comes.
    for _ in 0..2 {
        say(&mut bench, 0, 1);
        assert_eq!(hear(&mut bench), Some((1, 1)), "there is a port");
        say(&mut bench, 3, 1);
        let offer = bench.control[0].offer(&bench.memory, &[], &[64]);
        bench.console.notify(2);
        let (_, length) = bench.control[0].used(&bench.memory).unwrap();
        let message = offer.written(&bench.memory, length as usize);
        assert_eq!(message[4], 7, "not a console");
        assert_eq!(&message[8..], b"a.port");
        assert_eq!(hear(&mut bench), Some((6, 1)), "it is open");
        say(&mut bench, 6, 1);
        let activation = bench.console.ports().activation.take().unwrap();
        bench.console.reset();
        bench.console.activate(activation);
    }
}
