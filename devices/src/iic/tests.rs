//! The controller as drivers use it, with slaves that record what reaches them.

use std::sync::{Arc, Mutex};

use super::*;

const ADDRESS: u8 = 0x50;

/// What a slave saw, and what it does.
#[derive(Default)]
struct Record {
    events: Vec<String>,
    /// Bytes that it sends; then ones.
    sends: Vec<u8>,
    /// How many bytes it acknowledges before it has enough.
    takes: Option<usize>,
    taken: usize,
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Record>>);

impl Recorder {
    fn events(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().events)
    }
}

impl Slave for Recorder {
    fn start(&mut self, direction: Direction) -> bool {
        let mut record = self.0.lock().unwrap();
        record.events.push(format!("start {direction:?}"));
        record.taken = 0;
        true
    }

    fn write(&mut self, byte: u8) -> bool {
        let mut record = self.0.lock().unwrap();
        record.events.push(format!("{byte:02x}"));
        record.taken += 1;
        record.takes.is_none_or(|takes| record.taken <= takes)
    }

    fn read(&mut self) -> u8 {
        let mut record = self.0.lock().unwrap();
        record.events.push("read".into());
        match record.sends.is_empty() {
            true => 0xFF,
            false => record.sends.remove(0),
        }
    }

    fn stop(&mut self) {
        self.0.lock().unwrap().events.push("stop".into());
    }
}

/// A controller as Linux sets it up, with interrupts, and a slave behind it.
fn driven() -> (Iic, IrqLine, Recorder) {
    let irq = IrqLine::detached();
    let mut iic = Iic::new(irq.clone());
    let slave = Recorder::default();
    iic.attach(ADDRESS, Box::new(slave.clone())).unwrap();
    for (offset, value) in [
        (STS, STS_SCMP | STS_IRQA),
        (EXTSTS, 0x8F),
        (CLKDIV, 6),
        (XFRCNT, 0),
        (XTCNTLSS, 0xF0),
        (CNTL, 0),
        (INTRMSK, INTRMSK_EIMTC),
        (MDCNTL, MDCNTL_FMDB | MDCNTL_EINT | 0x02),
        (LMADR, ADDRESS << 1),
    ] {
        iic.put(offset, value).unwrap();
    }
    (iic, irq, slave)
}

fn count(bytes: u8) -> u8 {
    (bytes - 1) << CNTL_TCT_SHIFT
}

#[test]
fn a_probing_driver_finds_an_idle_controller() {
    let (mut iic, irq, _) = driven();
    assert_eq!(iic.get(EXTSTS), Ok(EXTSTS_BCS_FREE));
    assert_eq!(iic.get(STS), Ok(0));
    assert_eq!(iic.get(MDCNTL), Ok(MDCNTL_EINT | 0x02), "flushing is over");
    assert_eq!(iic.get(DIRECTCNTL), Ok(0x0F), "both lines are high");
    assert!(!irq.is_asserted());
}

#[test]
fn bytes_go_out_between_start_and_stop() {
    let (mut iic, irq, slave) = driven();
    iic.put(MDBUF, 0x0E).unwrap();
    assert_eq!(iic.get(STS), Ok(STS_MDBS));
    iic.put(MDBUF, 0x1C).unwrap();
    iic.put(CNTL, CNTL_PT | count(2)).unwrap();
    assert_eq!(slave.events(), ["start Write", "0e", "1c", "stop"]);
    assert_eq!(iic.get(CNTL), Ok(count(2)), "the command is over");
    assert_eq!(iic.get(STS), Ok(STS_SCMP | STS_IRQA));
    assert_eq!(iic.get(XFRCNT), Ok(2));
    assert!(irq.is_asserted());
    iic.put(STS, STS_IRQA | STS_SCMP).unwrap();
    assert!(!irq.is_asserted());
    assert_eq!(iic.get(STS), Ok(0));
}

#[test]
fn bytes_come_in_after_a_repeated_start() {
    let (mut iic, _, slave) = driven();
    slave.0.lock().unwrap().sends = vec![1, 2, 3, 4];
    iic.put(MDBUF, 0x00).unwrap();
    iic.put(CNTL, CNTL_PT | CNTL_RPST | count(1)).unwrap();
    assert_eq!(iic.get(EXTSTS), Ok(EXTSTS_BCS_MASTER), "it has the bus");
    assert_eq!(iic.get(STS), Ok(STS_IRQA), "and no stop came");
    iic.put(CNTL, CNTL_PT | CNTL_RW | count(4)).unwrap();
    assert_eq!(
        slave.events(),
        [
            "start Write",
            "00",
            "start Read",
            "read",
            "read",
            "read",
            "read",
            "stop"
        ]
    );
    assert_eq!(iic.get(XFRCNT), Ok(4));
    assert_eq!(iic.get(STS).unwrap() & STS_MDBF, STS_MDBF);
    let bytes: Vec<u8> = (0..5).map(|_| iic.get(MDBUF).unwrap()).collect();
    assert_eq!(bytes, [1, 2, 3, 4, 0]);
    assert_eq!(iic.get(EXTSTS).unwrap() & EXTSTS_BCS, EXTSTS_BCS_FREE);
}

#[test]
fn a_long_transfer_is_chained_without_another_start() {
    let (mut iic, _, slave) = driven();
    for (bytes, more) in [(4, CNTL_CHT), (4, CNTL_CHT), (1, 0)] {
        for byte in 0..bytes {
            iic.put(MDBUF, byte).unwrap();
        }
        iic.put(CNTL, CNTL_PT | more | count(bytes)).unwrap();
        assert_eq!(iic.get(XFRCNT), Ok(bytes));
    }
    assert_eq!(
        slave.events(),
        [
            "start Write",
            "00",
            "01",
            "02",
            "03",
            "00",
            "01",
            "02",
            "03",
            "00",
            "stop"
        ]
    );
}

#[test]
fn nobody_acknowledges_an_address_without_a_slave() {
    let (mut iic, irq, slave) = driven();
    iic.put(LMADR, 0x68 << 1).unwrap();
    iic.put(MDBUF, 1).unwrap();
    iic.put(CNTL, CNTL_PT).unwrap();
    assert_eq!(slave.events(), Vec::<String>::new());
    assert_eq!(
        iic.get(STS),
        Ok(STS_SCMP | STS_ERR | STS_IRQA | STS_MDBS),
        "the byte was not sent"
    );
    assert_eq!(iic.get(EXTSTS), Ok(EXTSTS_BCS_FREE | EXTSTS_XFRA));
    assert_eq!(iic.get(XFRCNT), Ok(0));
    assert!(irq.is_asserted());
    iic.put(STS, STS_IRQA | STS_SCMP).unwrap();
    iic.put(MDCNTL, MDCNTL_FMDB | MDCNTL_EINT).unwrap();
    assert_eq!(iic.get(STS), Ok(STS_ERR), "the error is cleared in EXTSTS");
    iic.put(EXTSTS, EXTSTS_XFRA).unwrap();
    assert_eq!(iic.get(STS), Ok(0));
    assert!(!irq.is_asserted());
}

#[test]
fn a_slave_that_has_enough_ends_the_transfer() {
    let (mut iic, _, slave) = driven();
    slave.0.lock().unwrap().takes = Some(2);
    for byte in 1..=4 {
        iic.put(MDBUF, byte).unwrap();
    }
    iic.put(CNTL, CNTL_PT | CNTL_CHT | count(4)).unwrap();
    assert_eq!(slave.events(), ["start Write", "01", "02", "03", "stop"]);
    assert_eq!(iic.get(EXTSTS), Ok(EXTSTS_BCS_FREE | EXTSTS_ICT));
    assert_eq!(iic.get(XFRCNT), Ok(2), "so many were acknowledged");
}

#[test]
fn the_master_waits_for_its_buffer() {
    let (mut iic, irq, slave) = driven();
    iic.put(MDBUF, 1).unwrap();
    iic.put(CNTL, CNTL_PT | count(3)).unwrap();
    assert_eq!(iic.get(STS), Ok(STS_PT));
    assert_eq!(iic.get(EXTSTS), Ok(EXTSTS_BCS_MASTER));
    iic.put(MDBUF, 2).unwrap();
    assert!(!irq.is_asserted());
    iic.put(MDBUF, 3).unwrap();
    assert!(irq.is_asserted());
    assert_eq!(iic.get(STS), Ok(STS_SCMP | STS_IRQA));
    assert_eq!(slave.events(), ["start Write", "01", "02", "03", "stop"]);

    iic.put(STS, STS_IRQA | STS_SCMP).unwrap();
    slave.0.lock().unwrap().sends = vec![1, 2, 3, 4, 5];
    for bytes in [3, 2] {
        iic.put(CNTL, CNTL_PT | CNTL_RW | CNTL_CHT | count(bytes))
            .unwrap();
    }
    assert_eq!(
        iic.get(STS).unwrap() & STS_PT,
        STS_PT,
        "no room for a fifth"
    );
    assert_eq!(iic.get(MDBUF), Ok(1));
    assert_eq!(iic.get(STS).unwrap() & STS_PT, 0);
    assert_eq!(iic.get(XFRCNT), Ok(2));
}

#[test]
fn a_halt_frees_the_bus() {
    let (mut iic, _, slave) = driven();
    iic.put(MDBUF, 1).unwrap();
    iic.put(CNTL, CNTL_PT | count(2)).unwrap();
    iic.put(CNTL, CNTL_HMT).unwrap();
    assert_eq!(slave.events(), ["start Write", "01", "stop"]);
    assert_eq!(iic.get(EXTSTS), Ok(EXTSTS_BCS_FREE | EXTSTS_ICT));
    iic.put(EXTSTS, 0x8F).unwrap();
    iic.put(STS, STS_IRQA | STS_SCMP).unwrap();

    iic.put(MDBUF, 1).unwrap();
    iic.put(CNTL, CNTL_PT | CNTL_RPST).unwrap();
    iic.put(CNTL, CNTL_HMT).unwrap();
    assert_eq!(slave.events(), ["start Write", "01", "stop"]);
    assert_eq!(iic.get(EXTSTS), Ok(EXTSTS_BCS_FREE));
    iic.put(CNTL, CNTL_HMT).unwrap();
    assert_eq!(slave.events(), Vec::<String>::new(), "nothing to halt");
}

#[test]
fn a_polling_driver_is_not_interrupted() {
    let (mut iic, irq, _) = driven();
    iic.put(INTRMSK, 0).unwrap();
    iic.put(MDBUF, 1).unwrap();
    iic.put(CNTL, CNTL_PT).unwrap();
    assert_eq!(iic.get(STS), Ok(STS_SCMP));
    assert!(!irq.is_asserted());
}

#[test]
fn interrupts_queue_up_behind_the_active_one() {
    let (mut iic, irq, _) = driven();
    for _ in 0..3 {
        iic.put(MDBUF, 1).unwrap();
        iic.put(CNTL, CNTL_PT).unwrap();
    }
    assert_eq!(
        iic.get(EXTSTS),
        Ok(EXTSTS_BCS_FREE | EXTSTS_IRQP | EXTSTS_IRQD)
    );
    for left in [EXTSTS_IRQP, 0] {
        iic.put(STS, STS_IRQA).unwrap();
        assert_eq!(iic.get(EXTSTS), Ok(EXTSTS_BCS_FREE | left));
        assert!(irq.is_asserted());
    }
    iic.put(STS, STS_IRQA).unwrap();
    assert!(!irq.is_asserted());
    iic.put(MDCNTL, 0).unwrap();
    iic.put(MDBUF, 1).unwrap();
    iic.put(CNTL, CNTL_PT).unwrap();
    assert!(!irq.is_asserted(), "interrupts are off");
    iic.put(MDCNTL, MDCNTL_EINT).unwrap();
    assert!(irq.is_asserted());
}

#[test]
fn a_ten_bit_address_is_two_bytes_which_no_slave_here_has() {
    let (mut iic, _, slave) = driven();
    iic.put(HMADR, 0xF0 | 0x02).unwrap();
    iic.put(LMADR, 0x23).unwrap();
    iic.put(MDBUF, 1).unwrap();
    iic.put(CNTL, CNTL_AMD | CNTL_PT).unwrap();
    assert_eq!(iic.get(EXTSTS), Ok(EXTSTS_BCS_FREE | EXTSTS_XFRA));
    assert_eq!(slave.events(), Vec::<String>::new());
    assert_eq!(iic.get(CNTL), Ok(CNTL_AMD));
}

#[test]
fn addresses_are_given_once_and_reserved_ones_not_at_all() {
    let mut iic = Iic::new(IrqLine::detached());
    let slave = || Box::new(Recorder::default());
    assert_eq!(iic.attach(0x68, slave()), Ok(()));
    assert_eq!(iic.attach(0x68, slave()), Err(AttachError::Taken(0x68)));
    assert_eq!(iic.attach(0x78, slave()), Err(AttachError::Reserved(0x78)));
    assert_eq!(
        iic.attach(0x07, slave()).unwrap_err().to_string(),
        "iic address 0x07 is reserved; take one from 0x08 to 0x77"
    );
}

/// Software drives the two lines, as Linux does it for a transfer without data.
struct Bits<'a>(&'a mut Iic);

impl Bits<'_> {
    fn drive(&mut self, data: bool, clock: bool) {
        let data = if data { DIRECTCNTL_SDAC } else { 0 };
        let clock = if clock { DIRECTCNTL_SCC } else { 0 };
        self.0.put(DIRECTCNTL, data | clock).unwrap();
    }

    fn level(&mut self) -> bool {
        self.0.get(DIRECTCNTL).unwrap() & DIRECTCNTL_MSDA != 0
    }

    fn start(&mut self) {
        self.drive(true, true);
        self.drive(false, true);
        self.drive(false, false);
    }

    fn stop(&mut self) {
        self.drive(false, false);
        self.drive(false, true);
        self.drive(true, true);
    }

    /// One clock with the data line driven, and the level that it had.
    fn clock(&mut self, data: bool) -> bool {
        self.drive(data, false);
        self.drive(data, true);
        let level = self.level();
        self.drive(data, false);
        level
    }

    /// Sends a byte; says whether it was acknowledged.
    fn send(&mut self, byte: u8) -> bool {
        for bit in (0..8).rev() {
            self.clock(byte >> bit & 1 != 0);
        }
        !self.clock(true)
    }

    fn receive(&mut self, acknowledge: bool) -> u8 {
        let byte = (0..8).fold(0, |byte, _| byte << 1 | u8::from(self.clock(true)));
        self.clock(!acknowledge);
        byte
    }
}

#[test]
fn bit_by_bit_a_slave_acknowledges_its_address_and_no_other() {
    let (mut iic, _, slave) = driven();
    iic.put(XTCNTLSS, XTCNTLSS_SRST).unwrap();
    let mut bits = Bits(&mut iic);
    for (address, expected) in [(ADDRESS, true), (ADDRESS + 1, false), (ADDRESS, true)] {
        bits.start();
        assert_eq!(bits.send(address << 1), expected, "{address:#x}");
        bits.stop();
        assert!(bits.level(), "nobody holds the line");
    }
    assert_eq!(
        slave.events(),
        ["start Write", "stop", "start Write", "stop"]
    );
    iic.put(XTCNTLSS, 0).unwrap();
    assert_eq!(iic.get(EXTSTS), Ok(EXTSTS_BCS_FREE));
}

#[test]
fn bit_by_bit_bytes_go_both_ways() {
    let (mut iic, _, slave) = driven();
    slave.0.lock().unwrap().sends = vec![0xA5, 0x0F];
    iic.put(XTCNTLSS, XTCNTLSS_SRST).unwrap();
    let mut bits = Bits(&mut iic);
    bits.start();
    assert!(bits.send(ADDRESS << 1));
    assert!(bits.send(0x3C));
    bits.drive(true, false);
    bits.start();
    assert!(bits.send(ADDRESS << 1 | 1));
    assert_eq!(bits.receive(true), 0xA5);
    assert_eq!(bits.receive(false), 0x0F);
    bits.stop();
    assert_eq!(
        slave.events(),
        ["start Write", "3c", "start Read", "read", "read", "stop"]
    );
}

#[test]
fn a_slave_in_the_middle_of_a_byte_holds_the_bus_until_it_is_clocked_out() {
    let (mut iic, _, slave) = driven();
    slave.0.lock().unwrap().sends = vec![0x00];
    iic.put(XTCNTLSS, XTCNTLSS_SRST).unwrap();
    let mut bits = Bits(&mut iic);
    bits.start();
    assert!(bits.send(ADDRESS << 1 | 1));
    bits.drive(true, true);
    assert!(!bits.level(), "the slave sends a 0");
    iic.put(XTCNTLSS, 0).unwrap();
    assert_eq!(iic.get(EXTSTS), Ok(EXTSTS_BCS_BUSY));
    iic.put(CNTL, CNTL_PT | CNTL_RW).unwrap();
    assert_eq!(iic.get(EXTSTS), Ok(EXTSTS_BCS_BUSY | EXTSTS_LA));
    // Linux toggles the clock until the line is free.
    iic.put(XTCNTLSS, XTCNTLSS_SRST).unwrap();
    let mut bits = Bits(&mut iic);
    assert!(!bits.level(), "a line that is not clocked stays held");
    let mut clocks = 0;
    while !bits.level() && clocks < 100 {
        bits.drive(true, false);
        bits.drive(true, true);
        clocks += 1;
    }
    assert_eq!(clocks, 8);
    iic.put(XTCNTLSS, 0).unwrap();
    assert_eq!(iic.get(EXTSTS), Ok(EXTSTS_BCS_FREE));
}

#[test]
fn a_soft_reset_holds_the_controller_until_it_is_released() {
    let (mut iic, irq, slave) = driven();
    iic.put(MDBUF, 1).unwrap();
    iic.put(CNTL, CNTL_PT | CNTL_RPST).unwrap();
    iic.put(XTCNTLSS, XTCNTLSS_SRST).unwrap();
    assert_eq!(slave.events(), ["start Write", "01", "stop"]);
    assert!(!irq.is_asserted());
    iic.put(CNTL, CNTL_PT).unwrap();
    assert_eq!(iic.get(STS), Ok(0), "no transfer starts");
    iic.put(DIRECTCNTL, DIRECTCNTL_SCC).unwrap();
    assert_eq!(iic.get(DIRECTCNTL), Ok(DIRECTCNTL_SCC | DIRECTCNTL_MSC));
    iic.put(XTCNTLSS, 0).unwrap();
    assert_eq!(iic.get(XTCNTLSS), Ok(0));
    assert_eq!(iic.get(EXTSTS), Ok(EXTSTS_BCS_FREE), "the lines are let go");
}

#[test]
fn registers_read_back_and_there_are_no_others() {
    let (mut iic, _, _) = driven();
    let all = [LMADR, HMADR, LSADR, HSADR, CLKDIV, INTRMSK];
    for (offset, value) in all.into_iter().zip(0x10..) {
        iic.write(offset, &[value]).unwrap();
    }
    for (offset, value) in all.into_iter().zip(0x10..) {
        let mut byte = [0];
        iic.read(offset, &mut byte).unwrap();
        assert_eq!(byte, [value]);
    }
    for offset in [0x11, 0x13] {
        assert_eq!(iic.get(offset), Err(AccessError::NoRegister { offset }));
        assert_eq!(iic.put(offset, 0), Err(AccessError::NoRegister { offset }));
    }
    let state = iic.state();
    iic.reset();
    assert_eq!(iic.state(), State::default());
    iic.set_state(state);
    assert_eq!(iic.state(), state);
}

#[test]
fn a_transfer_goes_on_from_a_restored_state() {
    let (mut iic, _, slave) = driven();
    iic.put(MDBUF, 1).unwrap();
    iic.put(CNTL, CNTL_PT | count(2)).unwrap();
    let state = iic.state();
    let irq = IrqLine::detached();
    let mut other = Iic::new(irq.clone());
    other.attach(ADDRESS, Box::new(slave.clone())).unwrap();
    other.set_state(state);
    other.put(MDBUF, 2).unwrap();
    assert_eq!(slave.events(), ["start Write", "01", "02", "stop"]);
    assert!(irq.is_asserted());
}

/// A clock chip runs on its battery: nothing in a reset of the board is for the slaves.
#[test]
fn a_board_reset_ends_a_slaves_transfer_and_nothing_else() {
    let (mut iic, _, slave) = driven();
    iic.put(MDBUF, 1).unwrap();
    iic.put(CNTL, CNTL_PT | count(2)).unwrap();
    iic.reset_by(crate::bus::Reset::System);
    assert_eq!(slave.events(), ["start Write", "01", "stop"]);
    iic.reset_by(crate::bus::Reset::System);
    assert_eq!(slave.events(), Vec::<String>::new());
}
