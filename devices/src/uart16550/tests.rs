//! What holds for the serial port, and Linux's 8250 probe against it.

use std::sync::atomic::{AtomicU32, Ordering};

use super::regs::*;
use super::*;

fn with_fifos(trigger: u8) -> Chip {
    let mut chip = Chip::new();
    chip.write(IIR_FCR, FCR_ENABLE | trigger).unwrap();
    chip.write(IER, IER_RDI).unwrap();
    chip
}

fn get(chip: &mut Chip, offset: u32) -> u8 {
    chip.read(offset).unwrap()
}

fn put(chip: &mut Chip, offset: u32, value: u8) {
    assert_eq!(chip.write(offset, value), Ok(None));
}

/// `size_fifo` of Linux's 8250 driver.
fn linux_size_fifo(chip: &mut Chip) -> usize {
    let (old_fcr, old_mcr) = (FCR_ENABLE, get(chip, MCR));
    put(chip, LCR, 0);
    put(chip, IIR_FCR, FCR_ENABLE | FCR_CLEAR_RX | FCR_CLEAR_TX);
    put(chip, MCR, MCR_LOOP);
    put(chip, LCR, LCR_DLAB);
    let (dll, dlm) = (get(chip, RBR_THR), get(chip, IER));
    put(chip, RBR_THR, 1);
    put(chip, IER, 0);
    put(chip, LCR, 0x03);
    for byte in 0..=255 {
        put(chip, RBR_THR, byte);
    }
    let mut count = 0;
    while get(chip, LSR) & LSR_DR != 0 && count < 256 {
        assert_eq!(get(chip, RBR_THR), count as u8);
        count += 1;
    }
    put(chip, IIR_FCR, old_fcr);
    put(chip, MCR, old_mcr);
    put(chip, LCR, LCR_DLAB);
    put(chip, RBR_THR, dll);
    put(chip, IER, dlm);
    put(chip, LCR, 0);
    count
}

#[test]
fn linux_probe_finds_a_16550a() {
    let chip = &mut Chip::new();

    // The port exists: IER's low bits can be cleared and set.
    let ier = get(chip, IER);
    put(chip, IER, 0);
    assert_eq!(get(chip, IER) & 0x0F, 0);
    put(chip, IER, 0x0F);
    assert_eq!(get(chip, IER) & 0x0F, 0x0F);
    put(chip, IER, ier);

    // The loopback test: RTS and OUT2 come back as CTS and DCD.
    let mcr = get(chip, MCR);
    put(chip, MCR, MCR_LOOP | MCR_OUT2 | MCR_RTS);
    assert_eq!(get(chip, MSR) & MSR_LINES, MSR_DCD | MSR_CTS);
    put(chip, MCR, mcr);

    // The kind: FIFO bits appear once FIFOs are enabled. EFR, which a 16550A lacks, is at FCR.
    put(chip, LCR, 0xBF);
    put(chip, IIR_FCR, 0);
    put(chip, LCR, 0);
    put(chip, IIR_FCR, FCR_ENABLE);
    assert_eq!(get(chip, IIR_FCR) >> 6, 3, "16550A");

    // Not a 16650, 16850 or 16950: an EFR would read 0 here.
    put(chip, LCR, LCR_DLAB);
    assert_ne!(get(chip, IIR_FCR), 0);
    put(chip, LCR, 0xBF);
    assert_ne!(get(chip, IIR_FCR), 0);

    // Not a 16750: a 64-byte FIFO would show as IIR bit 5.
    put(chip, LCR, 0);
    put(chip, IIR_FCR, FCR_ENABLE | 0x20);
    assert_eq!(get(chip, IIR_FCR) >> 5, 6);
    put(chip, IIR_FCR, FCR_ENABLE);

    // Not an XScale: IER's unit enable bit does not stick.
    put(chip, IER, 0x40);
    assert_eq!(get(chip, IER), 0);

    assert_eq!(linux_size_fifo(chip), 16);
    put(chip, LCR, LCR_DLAB);
    assert_eq!(
        [get(chip, RBR_THR), get(chip, IER)],
        [6, 0],
        "the divisor is back"
    );
}

#[test]
fn linux_startup_sees_no_transmitter_bug() {
    let chip = &mut Chip::new();
    // The test for a THRE interrupt that does not come back when it is enabled again.
    put(chip, IER, IER_THRI);
    let first = get(chip, IIR_FCR);
    put(chip, IER, 0);
    put(chip, IER, IER_THRI);
    let second = get(chip, IIR_FCR);
    put(chip, IER, 0);
    assert_eq!([first, second], [IIR_THRI, IIR_THRI]);
    assert!(!chip.interrupt());
}

#[test]
fn the_transmitter_interrupt_is_cleared_by_reading_it_and_comes_back_with_each_byte() {
    let chip = &mut Chip::new();
    put(chip, IER, IER_THRI);
    assert!(chip.interrupt());
    assert_eq!(get(chip, IIR_FCR), IIR_THRI);
    assert!(!chip.interrupt());
    assert_eq!(get(chip, IIR_FCR), IIR_NONE);
    assert_eq!(chip.write(RBR_THR, b'a'), Ok(Some(b'a')));
    assert_eq!(get(chip, LSR), LSR_THRE | LSR_TEMT);
    assert!(chip.interrupt());
    // Writing IER with the bit already set is no news.
    get(chip, IIR_FCR);
    put(chip, IER, IER_THRI | IER_RDI);
    assert!(!chip.interrupt());
}

#[test]
fn reading_another_interrupt_leaves_the_transmitters_pending() {
    let chip = &mut Chip::new();
    put(chip, IER, IER_THRI | IER_RDI);
    assert_eq!(chip.receive(b"x"), 1);
    assert_eq!(get(chip, IIR_FCR), IIR_RDI);
    assert_eq!(get(chip, RBR_THR), b'x');
    assert_eq!(get(chip, IIR_FCR), IIR_THRI);
}

#[test]
fn interrupts_come_by_priority() {
    let chip = &mut with_fifos(0);
    put(chip, IER, IER_MASK);
    put(chip, MCR, MCR_LOOP);
    for byte in 0..17 {
        put(chip, RBR_THR, byte);
    }
    assert_eq!(get(chip, IIR_FCR), IIR_FIFOS | IIR_RLSI);
    assert_eq!(get(chip, LSR), LSR_DR | LSR_OE | LSR_THRE | LSR_TEMT);
    assert_eq!(get(chip, IIR_FCR), IIR_FIFOS | IIR_RDI);
    put(chip, IIR_FCR, FCR_ENABLE | FCR_CLEAR_RX);
    assert_eq!(get(chip, IIR_FCR), IIR_FIFOS | IIR_THRI);
    assert_eq!(get(chip, IIR_FCR), IIR_FIFOS | IIR_MSI);
    assert_eq!(get(chip, MSR), MSR_DCTS | MSR_DDSR | MSR_DDCD);
    assert_eq!(get(chip, IIR_FCR), IIR_FIFOS | IIR_NONE);
    assert!(!chip.interrupt());
}

#[test]
fn the_trigger_level_tells_data_from_timeout() {
    for (trigger, level) in [(0x00, 1), (0x40, 4), (0x80, 8), (0xC0, 14)] {
        let chip = &mut with_fifos(trigger);
        for count in 1..=16 {
            assert_eq!(chip.receive(&[count as u8]), 1);
            let expected = if count < level { IIR_TIMEOUT } else { IIR_RDI };
            assert_eq!(
                get(chip, IIR_FCR),
                IIR_FIFOS | expected,
                "{count} of {level}"
            );
            assert!(chip.interrupt());
        }
        for count in 1..=16 {
            assert_eq!(get(chip, LSR) & LSR_DR, LSR_DR);
            assert_eq!(get(chip, RBR_THR), count);
        }
        assert_eq!(get(chip, LSR) & LSR_DR, 0);
        assert!(!chip.interrupt());
    }
}

#[test]
fn input_is_taken_as_far_as_there_is_room() {
    let chip = &mut with_fifos(0);
    assert_eq!(chip.room(), 16);
    assert_eq!(chip.receive(b"0123456789abcdefgh"), 16);
    assert_eq!((chip.room(), chip.receive(b"g")), (0, 0));
    assert_eq!(get(chip, RBR_THR), b'0');
    assert_eq!((chip.room(), chip.receive(b"gh")), (1, 1));
    assert_eq!(get(chip, LSR) & LSR_OE, 0, "nothing was lost");

    let chip = &mut Chip::new();
    assert_eq!((chip.room(), chip.receive(b"ab"), chip.room()), (1, 1, 0));
    put(chip, MCR, MCR_LOOP);
    get(chip, RBR_THR);
    assert_eq!((chip.room(), chip.receive(b"b")), (0, 0), "disconnected");
}

#[test]
fn an_overrun_loses_the_newest_byte_of_a_fifo_and_the_oldest_without() {
    let chip = &mut with_fifos(0);
    put(chip, MCR, MCR_LOOP);
    for byte in 1..=17 {
        put(chip, RBR_THR, byte);
    }
    assert_eq!(get(chip, LSR) & LSR_OE, LSR_OE);
    assert_eq!(get(chip, LSR) & LSR_OE, 0, "reading clears it");
    for byte in 1..=16 {
        assert_eq!(get(chip, RBR_THR), byte);
    }

    let chip = &mut Chip::new();
    put(chip, MCR, MCR_LOOP);
    put(chip, RBR_THR, 1);
    put(chip, RBR_THR, 2);
    assert_eq!(get(chip, LSR) & (LSR_OE | LSR_DR), LSR_OE | LSR_DR);
    assert_eq!(get(chip, RBR_THR), 2);
    assert_eq!(get(chip, LSR) & LSR_DR, 0);
}

#[test]
fn disabling_the_fifo_drops_its_bytes() {
    let chip = &mut with_fifos(0);
    chip.receive(b"abc");
    put(chip, IIR_FCR, 0);
    assert_eq!(get(chip, LSR) & LSR_DR, 0);
    assert!(!chip.interrupt());
    assert_eq!(get(chip, IIR_FCR), IIR_NONE);
    chip.receive(b"d");
    put(chip, IIR_FCR, FCR_ENABLE);
    assert_eq!(get(chip, LSR) & LSR_DR, 0, "and so does enabling it");
}

#[test]
fn fifo_control_without_enable_changes_nothing_else() {
    let chip = &mut Chip::new();
    chip.receive(b"a");
    put(chip, IIR_FCR, FCR_CLEAR_RX | FCR_TRIGGER);
    assert_eq!(get(chip, LSR) & LSR_DR, LSR_DR);
    assert_eq!(chip.state().fcr, 0);
}

#[test]
fn modem_lines_change_with_loopback_and_say_so_once() {
    let chip = &mut Chip::new();
    assert_eq!(get(chip, MSR), MSR_CTS | MSR_DSR | MSR_DCD);
    put(chip, IER, IER_MSI);
    put(
        chip,
        MCR,
        MCR_LOOP | MCR_DTR | MCR_RTS | MCR_OUT1 | MCR_OUT2,
    );
    assert_eq!(get(chip, MSR), MSR_LINES, "ringing has begun, not ended");
    put(chip, MCR, MCR_LOOP | MCR_DTR | MCR_RTS | MCR_OUT2);
    assert_eq!(get(chip, IIR_FCR), IIR_MSI);
    assert_eq!(get(chip, MSR), MSR_CTS | MSR_DSR | MSR_DCD | MSR_TERI);
    assert!(!chip.interrupt());
    put(chip, MCR, 0xFF);
    assert_eq!(get(chip, MCR), MCR_MASK);
}

#[test]
fn the_divisor_latch_hides_data_and_interrupt_enable() {
    let chip = &mut Chip::new();
    put(chip, IER, IER_RDI);
    put(chip, LCR, LCR_DLAB | 0x03);
    put(chip, RBR_THR, 0x34);
    put(chip, IER, 0x12);
    assert_eq!([get(chip, RBR_THR), get(chip, IER)], [0x34, 0x12]);
    put(chip, LCR, 0x03);
    assert_eq!(get(chip, IER), IER_RDI);
    assert_eq!(get(chip, LCR), 0x03);
    chip.reset();
    assert_eq!(chip.state().divisor, 0x1234, "a reset does not touch it");
}

#[test]
fn scratch_holds_and_status_ignores_writes() {
    let chip = &mut Chip::new();
    put(chip, SCR, 0xA5);
    assert_eq!(get(chip, SCR), 0xA5);
    let before = chip.state();
    put(chip, LSR, 0xFF);
    put(chip, MSR, 0xFF);
    assert_eq!(chip.state(), before);
    assert_eq!(chip.read(8), Err(AccessError::NoRegister { offset: 8 }));
    assert_eq!(chip.write(8, 0), Err(AccessError::NoRegister { offset: 8 }));
}

#[test]
fn a_state_that_claims_too_many_bytes_is_cut() {
    let mut chip = Chip::new();
    chip.set_state(State {
        rx_len: 200,
        fcr: FCR_ENABLE,
        ..State::default()
    });
    assert_eq!(chip.state().rx_len, 16);
    chip.set_state(State {
        rx_len: 200,
        ..State::default()
    });
    assert_eq!(chip.state().rx_len, 1);
}

fn attached() -> (Uart, IrqLine, Arc<Mutex<Vec<u8>>>, Arc<AtomicU32>) {
    let irq = IrqLine::detached();
    let sent = Arc::new(Mutex::new(Vec::new()));
    let sink = sent.clone();
    let uart = Uart::new(
        irq.clone(),
        Box::new(move |byte| sink.lock().unwrap().push(byte)),
    );
    let woken = Arc::new(AtomicU32::new(0));
    let counter = woken.clone();
    uart.set_wake(Arc::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    (uart, irq, sent, woken)
}

#[test]
fn output_reaches_the_sink_in_order() {
    let (mut uart, _, sent, _) = attached();
    for byte in b"hello" {
        uart.write(RBR_THR, &[*byte]).unwrap();
    }
    uart.write(MCR, &[MCR_LOOP]).unwrap();
    uart.write(RBR_THR, b"!").unwrap();
    assert_eq!(*sent.lock().unwrap(), b"hello", "loopback sends nothing");
}

#[test]
fn the_wire_follows_the_receiver() {
    let (mut uart, irq, ..) = attached();
    assert_eq!(uart.receive(b"a"), 1);
    assert!(!irq.is_asserted());
    uart.write(IER, &[IER_RDI]).unwrap();
    assert!(irq.is_asserted());
    let mut byte = [0];
    uart.read(RBR_THR, &mut byte).unwrap();
    assert_eq!(byte, *b"a");
    assert!(!irq.is_asserted());
}

#[test]
fn the_feeder_is_woken_whenever_there_is_more_room() {
    let (mut uart, _, _, woken) = attached();
    let count = || woken.load(Ordering::Relaxed);
    assert_eq!(uart.receive(b"ab"), 1);
    assert_eq!(count(), 0);
    let mut byte = [0];
    uart.read(RBR_THR, &mut byte).unwrap();
    assert_eq!(count(), 1);
    uart.read(RBR_THR, &mut byte).unwrap();
    assert_eq!(count(), 1, "an empty receiver gains no room");
    uart.write(IER, &[IER_RDI]).unwrap();
    assert_eq!(count(), 2, "the guest began to listen");
    uart.write(IIR_FCR, &[FCR_ENABLE]).unwrap();
    assert_eq!(count(), 3, "the FIFO has more room");
    uart.write(MCR, &[MCR_LOOP]).unwrap();
    uart.write(MCR, &[0]).unwrap();
    assert_eq!(count(), 4, "the line is connected again");
}

#[test]
fn a_feeder_may_feed_from_its_wake() {
    let (uart, ..) = attached();
    let mut guest = uart.clone();
    let rest = Arc::new(Mutex::new(b"piped commands\n".to_vec()));
    let (feeder, left) = (uart.clone(), rest.clone());
    let feed = move || {
        let mut left = left.lock().unwrap();
        let taken = feeder.receive(&left);
        left.drain(..taken);
    };
    feed();
    uart.set_wake(Arc::new(feed));
    let mut seen = Vec::new();
    loop {
        let mut byte = [0];
        guest.read(LSR, &mut byte).unwrap();
        assert_eq!(byte[0] & LSR_OE, 0);
        if byte[0] & LSR_DR == 0 {
            break;
        }
        guest.read(RBR_THR, &mut byte).unwrap();
        seen.push(byte[0]);
    }
    assert_eq!(seen, b"piped commands\n");
    assert!(rest.lock().unwrap().is_empty());
}

#[test]
fn a_wide_access_is_split_into_bytes() {
    let (mut uart, ..) = attached();
    uart.write(LCR, &[0x03, MCR_DTR]).unwrap();
    let mut data = [0; 2];
    uart.read(LCR, &mut data).unwrap();
    assert_eq!(data, [0x03, MCR_DTR]);
    assert!(uart.read(SCR, &mut data).is_err());
}

#[test]
fn a_state_taken_up_drives_the_wire() {
    let (mut uart, irq, ..) = attached();
    uart.write(IER, &[IER_RDI]).unwrap();
    assert_eq!(uart.receive(b"z"), 1);
    let state = uart.state();
    uart.reset();
    assert!(!irq.is_asserted());
    uart.set_state(state);
    assert!(irq.is_asserted());
    assert_eq!(uart.state(), state);
}

/// What a break is in LSR besides what is there anyway.
fn errors(lsr: u8) -> u8 {
    lsr & !(LSR_THRE | LSR_TEMT)
}

#[test]
fn a_break_is_a_byte_of_zeros_without_a_stop_bit() {
    let chip = &mut with_fifos(0);
    assert!(chip.receive_break());
    assert_eq!(errors(get(chip, LSR)), LSR_DR | LSR_BI | LSR_FE | LSR_RFE);
    assert_eq!(errors(get(chip, LSR)), LSR_DR, "told once");
    assert_eq!(get(chip, RBR_THR), 0);
    assert_eq!(errors(get(chip, LSR)), 0);
}

#[test]
fn a_break_shows_when_its_byte_is_the_oldest() {
    let chip = &mut with_fifos(0);
    assert_eq!(chip.receive(b"ab"), 2);
    assert!(chip.receive_break());
    assert_eq!(chip.receive(b"h"), 1);
    assert_eq!(
        errors(get(chip, LSR)),
        LSR_DR | LSR_RFE,
        "somewhere in the FIFO"
    );
    assert_eq!([get(chip, RBR_THR), get(chip, RBR_THR)], *b"ab");
    assert_eq!(errors(get(chip, LSR)), LSR_DR | LSR_BI | LSR_FE | LSR_RFE);
    assert_eq!([get(chip, RBR_THR), get(chip, RBR_THR)], *b"\0h");
    assert_eq!(errors(get(chip, LSR)), 0);
}

#[test]
fn a_break_interrupts_as_line_status_until_lsr_is_read() {
    let chip = &mut with_fifos(FCR_TRIGGER);
    put(chip, IER, IER_RLSI | IER_RDI);
    assert!(chip.receive_break());
    assert!(chip.interrupt());
    assert_eq!(get(chip, IIR_FCR) & 0x0F, IIR_RLSI);
    get(chip, LSR);
    assert_eq!(
        get(chip, IIR_FCR) & 0x0F,
        IIR_TIMEOUT,
        "the byte is still there"
    );
    get(chip, RBR_THR);
    assert!(!chip.interrupt());
}

#[test]
fn a_breaks_parity_bit_is_wrong_where_it_should_be_a_one() {
    for (lcr, wrong) in [
        (0x03, 0),
        (LCR_PEN, LSR_PE),
        (LCR_PEN | LCR_EPS, 0),
        // Stick parity: 1, then 0.
        (LCR_PEN | 0x20, LSR_PE),
        (LCR_PEN | LCR_EPS | 0x20, 0),
    ] {
        let chip = &mut with_fifos(0);
        put(chip, LCR, lcr);
        assert!(chip.receive_break());
        assert_eq!(get(chip, LSR) & LSR_PE, wrong, "{lcr:#x}");
    }
}

#[test]
fn a_break_waits_for_room_as_input_does() {
    let chip = &mut with_fifos(0);
    assert_eq!(chip.receive(&[b'x'; 20]), 16);
    assert!(!chip.receive_break());
    get(chip, RBR_THR);
    assert!(chip.receive_break());
    put(chip, IIR_FCR, FCR_ENABLE | FCR_CLEAR_RX);
    assert_eq!(errors(get(chip, LSR)), 0, "a cleared FIFO has no errors");
    put(chip, MCR, MCR_LOOP);
    assert!(!chip.receive_break(), "the receiver is not on the line");
}

#[test]
fn without_fifos_a_break_shows_and_no_error_is_in_the_fifo() {
    let chip = &mut Chip::new();
    assert!(chip.receive_break());
    assert!(!chip.receive_break());
    assert_eq!(errors(get(chip, LSR)), LSR_DR | LSR_BI | LSR_FE);
    assert_eq!(get(chip, RBR_THR), 0);
    assert!(chip.receive_break());
    // Read without a look at LSR: the bits stay until one.
    get(chip, RBR_THR);
    assert_eq!(errors(get(chip, LSR)), LSR_BI | LSR_FE);
}

#[test]
fn a_break_survives_in_the_state() {
    let mut chip = with_fifos(0);
    assert_eq!(chip.receive(b"a"), 1);
    assert!(chip.receive_break());
    let mut other = Chip::new();
    other.set_state(chip.state());
    assert_eq!(other, chip);
    get(&mut other, RBR_THR);
    assert_eq!(get(&mut other, LSR) & LSR_BI, LSR_BI);
}

#[test]
fn what_was_not_read_can_be_taken_back_without_its_breaks() {
    let uart = Uart::new(IrqLine::detached(), Box::new(|_| ()));
    let woken = Arc::new(AtomicU32::new(0));
    let counter = woken.clone();
    uart.set_wake(Arc::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    }));
    uart.clone().write(IIR_FCR, &[FCR_ENABLE]).unwrap();
    assert_eq!(uart.receive(b"ab"), 2);
    assert!(uart.receive_break());
    assert_eq!(uart.receive(b"c"), 1);
    assert_eq!(uart.take_received(), b"abc");
    // Enabling the FIFOs made room as well.
    assert_eq!((uart.room(), woken.load(Ordering::SeqCst)), (16, 2));
    assert_eq!(uart.take_received(), b"");
}
