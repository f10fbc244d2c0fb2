//! An IIC controller on a bus without slaves.
//!
//! Registers are bytes. A driver that probes finds the controller idle; every transfer that it
//! starts ends at once because no slave acknowledges its address.

use crate::bus::{AccessError, MmioDevice};
use crate::irq::IrqLine;
use crate::lanes::successive;

/// Master data buffer.
pub const MDBUF: u32 = 0x00;
/// Slave data buffer.
pub const SDBUF: u32 = 0x02;
/// Low master address.
pub const LMADR: u32 = 0x04;
/// High master address.
pub const HMADR: u32 = 0x05;
/// Control.
pub const CNTL: u32 = 0x06;
/// Mode control.
pub const MDCNTL: u32 = 0x07;
/// Status: interrupt and error bits are cleared by writing 1.
pub const STS: u32 = 0x08;
/// Extended status: most bits are cleared by writing 1.
pub const EXTSTS: u32 = 0x09;
/// Low slave address.
pub const LSADR: u32 = 0x0A;
/// High slave address.
pub const HSADR: u32 = 0x0B;
/// Clock divisor.
pub const CLKDIV: u32 = 0x0C;
/// Interrupt mask: 1 enables.
pub const INTRMSK: u32 = 0x0D;
/// Transfer count.
pub const XFRCNT: u32 = 0x0E;
/// Extended control and slave status.
pub const XTCNTLSS: u32 = 0x0F;
/// Direct control of the two lines.
pub const DIRECTCNTL: u32 = 0x10;

/// CNTL: halt the master's transfer.
pub const CNTL_HMT: u8 = 0x80;
/// CNTL: start a transfer.
pub const CNTL_PT: u8 = 0x01;
/// MDCNTL: flush the slave's and the master's data; both clear themselves.
pub const MDCNTL_FLUSH: u8 = 0xC0;
/// MDCNTL: interrupts are enabled.
pub const MDCNTL_EINT: u8 = 0x04;
/// STS: something went wrong; EXTSTS says what. Read only.
pub const STS_ERR: u8 = 0x04;
/// STS: an interrupt is active.
pub const STS_IRQA: u8 = 0x02;
/// STS: a stop condition ended the transfer.
pub const STS_SCMP: u8 = 0x08;
/// EXTSTS: an interrupt is pending behind the active one.
pub const EXTSTS_IRQP: u8 = 0x80;
/// EXTSTS: the bus control state, read only.
pub const EXTSTS_BCS: u8 = 0x70;
/// EXTSTS: the bus control state of a free bus.
pub const EXTSTS_BCS_FREE: u8 = 0x40;
/// EXTSTS: arbitration was lost.
pub const EXTSTS_LA: u8 = 0x04;
/// EXTSTS: an incomplete transfer.
pub const EXTSTS_ICT: u8 = 0x02;
/// EXTSTS: the transfer was aborted because nobody acknowledged.
pub const EXTSTS_XFRA: u8 = 0x01;
/// INTRMSK: an aborted transfer interrupts.
pub const INTRMSK_EITA: u8 = 0x02;
/// INTRMSK: the end of a requested transfer interrupts.
pub const INTRMSK_EIMTC: u8 = 0x01;
/// XTCNTLSS: soft reset, until it is written 0.
pub const XTCNTLSS_SRST: u8 = 0x01;
/// DIRECTCNTL: software lets the data line go.
pub const DIRECTCNTL_SDAC: u8 = 0x08;
/// DIRECTCNTL: software lets the clock line go.
pub const DIRECTCNTL_SCC: u8 = 0x04;
/// DIRECTCNTL: the data line is high, read only.
pub const DIRECTCNTL_MSDA: u8 = 0x02;
/// DIRECTCNTL: the clock line is high, read only.
pub const DIRECTCNTL_MSC: u8 = 0x01;

/// What a snapshot of an IIC controller must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Low and high master address.
    pub madr: [u8; 2],
    /// Control, without the bits that are commands.
    pub cntl: u8,
    /// Mode control.
    pub mdcntl: u8,
    /// Status, without the error bit.
    pub sts: u8,
    /// Extended status, without the bus control state.
    pub extsts: u8,
    /// Low and high slave address.
    pub sadr: [u8; 2],
    /// Clock divisor.
    pub clkdiv: u8,
    /// Interrupt mask.
    pub intrmsk: u8,
    /// Extended control.
    pub xtcntlss: u8,
    /// Direct control, without the two lines.
    pub directcntl: u8,
}

impl Default for State {
    fn default() -> Self {
        State {
            madr: [0; 2],
            cntl: 0,
            mdcntl: 0,
            sts: 0,
            extsts: 0,
            sadr: [0; 2],
            clkdiv: 0,
            intrmsk: 0,
            xtcntlss: 0,
            directcntl: DIRECTCNTL_SDAC | DIRECTCNTL_SCC,
        }
    }
}

/// An IIC controller.
#[derive(Debug)]
pub struct Iic {
    state: State,
    irq: IrqLine,
}

impl Iic {
    /// A controller after a reset that raises `irq`.
    pub fn new(irq: IrqLine) -> Self {
        Iic {
            state: State::default(),
            irq,
        }
    }

    /// What a snapshot must hold.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes up a state that [`Iic::state`] gave, and drives the wire accordingly.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
        self.drive_irq();
    }

    fn drive_irq(&self) {
        let enabled = self.state.mdcntl & MDCNTL_EINT != 0;
        self.irq.set(enabled && self.state.sts & STS_IRQA != 0);
    }

    /// A master transfer: the address goes out and nobody answers.
    fn transfer(&mut self) {
        self.state.extsts |= EXTSTS_XFRA;
        self.state.sts |= STS_SCMP;
        if self.state.intrmsk & (INTRMSK_EITA | INTRMSK_EIMTC) != 0 {
            self.state.sts |= STS_IRQA;
        }
    }

    fn get(&self, offset: u32) -> Result<u8, AccessError> {
        let state = &self.state;
        Ok(match offset {
            // Nothing is ever received, so both buffers are empty and no byte was transferred.
            MDBUF | 0x01 | SDBUF | 0x03 | XFRCNT => 0,
            LMADR => state.madr[0],
            HMADR => state.madr[1],
            CNTL => state.cntl,
            MDCNTL => state.mdcntl,
            STS => {
                let failed = state.extsts & (EXTSTS_LA | EXTSTS_ICT | EXTSTS_XFRA) != 0;
                state.sts | if failed { STS_ERR } else { 0 }
            }
            EXTSTS => state.extsts | EXTSTS_BCS_FREE,
            LSADR => state.sadr[0],
            HSADR => state.sadr[1],
            CLKDIV => state.clkdiv,
            INTRMSK => state.intrmsk,
            XTCNTLSS => state.xtcntlss,
            // The lines are pulled up, and nobody but software pulls them down.
            DIRECTCNTL => state.directcntl | (state.directcntl >> 2),
            _ => return Err(AccessError::NoRegister { offset }),
        })
    }

    fn put(&mut self, offset: u32, value: u8) -> Result<(), AccessError> {
        let state = &mut self.state;
        match offset {
            // What is to be sent has no taker.
            MDBUF | 0x01 | SDBUF | 0x03 => {}
            LMADR => state.madr[0] = value,
            HMADR => state.madr[1] = value,
            CNTL => {
                state.cntl = value & !(CNTL_PT | CNTL_HMT);
                if value & (CNTL_PT | CNTL_HMT) == CNTL_PT && state.xtcntlss & XTCNTLSS_SRST == 0 {
                    self.transfer();
                }
            }
            MDCNTL => state.mdcntl = value & !MDCNTL_FLUSH,
            STS => state.sts &= !(value & (STS_SCMP | STS_IRQA)),
            EXTSTS => state.extsts &= !(value & !EXTSTS_BCS),
            LSADR => state.sadr[0] = value,
            HSADR => state.sadr[1] = value,
            CLKDIV => state.clkdiv = value,
            INTRMSK => state.intrmsk = value,
            XFRCNT => {}
            XTCNTLSS if value & XTCNTLSS_SRST != 0 => {
                *state = State {
                    xtcntlss: XTCNTLSS_SRST,
                    ..State::default()
                };
            }
            XTCNTLSS => state.xtcntlss = 0,
            DIRECTCNTL => state.directcntl = value & (DIRECTCNTL_SDAC | DIRECTCNTL_SCC),
            _ => return Err(AccessError::NoRegister { offset }),
        }
        self.drive_irq();
        Ok(())
    }
}

impl MmioDevice for Iic {
    /// A wide load reads successive byte registers.
    fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        for (byte, offset) in data.iter_mut().zip(successive(offset)) {
            *byte = self.get(offset)?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError> {
        for (byte, offset) in data.iter().zip(successive(offset)) {
            self.put(offset, *byte)?;
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.set_state(State::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A controller as a driver sets it up, with interrupts.
    fn driven() -> (Iic, IrqLine) {
        let irq = IrqLine::detached();
        let mut iic = Iic::new(irq.clone());
        for (offset, value) in [
            (STS, STS_SCMP | STS_IRQA),
            (EXTSTS, 0x8F),
            (CLKDIV, 6),
            (INTRMSK, INTRMSK_EIMTC),
            (MDCNTL, MDCNTL_FLUSH | MDCNTL_EINT),
        ] {
            iic.put(offset, value).unwrap();
        }
        (iic, irq)
    }

    #[test]
    fn a_probing_driver_finds_an_idle_controller() {
        let (iic, irq) = driven();
        assert_eq!(iic.get(EXTSTS).unwrap() & EXTSTS_BCS, EXTSTS_BCS_FREE);
        assert_eq!(iic.get(STS), Ok(0));
        assert_eq!(iic.get(MDCNTL), Ok(MDCNTL_EINT), "flushing is over");
        assert_eq!(iic.get(DIRECTCNTL), Ok(0x0F), "both lines are high");
        assert!(!irq.is_asserted());
    }

    #[test]
    fn a_transfer_finds_no_slave_and_says_so() {
        let (mut iic, irq) = driven();
        iic.put(LMADR, 0xD0).unwrap();
        iic.put(CNTL, CNTL_PT | 0x02).unwrap();
        assert_eq!(iic.get(CNTL).unwrap() & CNTL_PT, 0, "it is over");
        assert_eq!(iic.get(STS), Ok(STS_SCMP | STS_ERR | STS_IRQA));
        assert_eq!(iic.get(EXTSTS), Ok(EXTSTS_BCS_FREE | EXTSTS_XFRA));
        assert_eq!(iic.get(XFRCNT), Ok(0));
        assert!(irq.is_asserted());
        iic.put(STS, STS_IRQA | STS_SCMP).unwrap();
        assert!(!irq.is_asserted());
        assert_eq!(iic.get(STS), Ok(STS_ERR), "the error is cleared in EXTSTS");
        iic.put(EXTSTS, EXTSTS_XFRA).unwrap();
        assert_eq!(iic.get(STS), Ok(0));
    }

    #[test]
    fn a_polling_driver_is_not_interrupted() {
        let (mut iic, irq) = driven();
        iic.put(INTRMSK, 0).unwrap();
        iic.put(CNTL, CNTL_PT).unwrap();
        assert_eq!(iic.get(STS), Ok(STS_SCMP | STS_ERR));
        assert!(!irq.is_asserted());
    }

    #[test]
    fn a_soft_reset_holds_the_controller_until_it_is_released() {
        let (mut iic, irq) = driven();
        iic.put(CNTL, CNTL_PT).unwrap();
        iic.put(XTCNTLSS, XTCNTLSS_SRST).unwrap();
        assert!(!irq.is_asserted());
        iic.put(CNTL, CNTL_PT).unwrap();
        assert_eq!(iic.get(STS), Ok(0), "no transfer starts");
        iic.put(DIRECTCNTL, DIRECTCNTL_SCC).unwrap();
        assert_eq!(iic.get(DIRECTCNTL), Ok(DIRECTCNTL_SCC | DIRECTCNTL_MSC));
        iic.put(XTCNTLSS, 0).unwrap();
        assert_eq!(iic.get(XTCNTLSS), Ok(0));
    }

    #[test]
    fn registers_read_back_and_there_are_no_others() {
        let (mut iic, _) = driven();
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
}
