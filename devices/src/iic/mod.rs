//! An IIC controller, as a master, and the bus behind it.
//!
//! Registers are bytes ([`regs`]). Software fills the master's data buffer, up to four bytes, and
//! starts a transfer through CNTL; longer ones are chained. A transfer takes no time, except that
//! the controller stretches the clock while its buffer is empty (or full, when it reads). In soft
//! reset software has the two lines for itself, through DIRECTCNTL.
//!
//! No other master is on the bus, so nobody ever addresses this controller as a slave.

mod bus;
mod lines;
pub mod regs;
#[cfg(test)]
mod tests;

pub use bus::{AttachError, Direction, Slave};
pub use lines::Lines;

use crate::access_width::successive;
use crate::bus::{AccessError, MmioDevice};
use crate::irq::IrqLine;
use bus::SlaveBus;
use regs::*;

/// The master's data buffer.
const DEPTH: usize = 4;

/// The bytes in the master's data buffer, first in, first out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataBuffer {
    bytes: [u8; DEPTH],
    length: u8,
}

impl DataBuffer {
    fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn is_full(&self) -> bool {
        usize::from(self.length) == DEPTH
    }

    /// A byte that finds no room is lost, as on the chip.
    fn push(&mut self, byte: u8) {
        if let Some(free) = self.bytes.get_mut(usize::from(self.length)) {
            *free = byte;
            self.length += 1;
        }
    }

    fn pop(&mut self) -> Option<u8> {
        if self.is_empty() {
            return None;
        }
        let byte = self.bytes[0];
        self.bytes.rotate_left(1);
        self.length -= 1;
        Some(byte)
    }
}

/// What the master does with the bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Master {
    /// The controller does not have the bus.
    #[default]
    Free,
    /// The controller waits for room or for data in its buffer, with so many bytes to go.
    Stretches {
        /// Bytes to go, at least 1.
        left: u8,
    },
    /// The controller keeps the bus for a transfer that begins with a repeated START.
    Repeats,
    /// The controller keeps the bus for a transfer that goes on in the same direction.
    Chains {
        /// Whether it reads.
        reads: bool,
    },
}

/// The values that a snapshot of an IIC controller must hold; the slaves keep their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The master's data buffer.
    pub mdbuf: DataBuffer,
    /// Low and high master address.
    pub madr: [u8; 2],
    /// Control, without the bits that are commands.
    pub cntl: u8,
    /// Mode control, without the bits that are commands.
    pub mdcntl: u8,
    /// Status, as far as it is kept: SCMP and IRQA.
    pub sts: u8,
    /// Extended status, without the bus control state.
    pub extsts: u8,
    /// Low and high slave address.
    pub sadr: [u8; 2],
    /// Clock divisor.
    pub clkdiv: u8,
    /// Interrupt mask.
    pub intrmsk: u8,
    /// Transfer count.
    pub xfrcnt: u8,
    /// Extended control: only SRST.
    pub xtcntlss: u8,
    /// Direct control, without the levels of the two lines.
    pub directcntl: u8,
    /// What the master does with the bus.
    pub master: Master,
    /// The two lines, when software drives them.
    pub lines: Lines,
    /// The address of the slave that takes part in the transfer under way.
    pub selected: Option<u8>,
}

impl Default for State {
    fn default() -> Self {
        State {
            mdbuf: DataBuffer::default(),
            madr: [0; 2],
            cntl: 0,
            mdcntl: 0,
            sts: 0,
            extsts: 0,
            sadr: [0; 2],
            clkdiv: 0,
            intrmsk: 0,
            xfrcnt: 0,
            xtcntlss: 0,
            directcntl: DIRECTCNTL_SDAC | DIRECTCNTL_SCC,
            master: Master::Free,
            lines: Lines::default(),
            selected: None,
        }
    }
}

/// An IIC controller with the bus behind it.
pub struct Iic {
    state: State,
    bus: SlaveBus,
    irq: IrqLine,
}

impl Iic {
    /// A controller after a reset that raises `irq`, with nothing on its bus.
    pub fn new(irq: IrqLine) -> Self {
        Iic {
            state: State::default(),
            bus: SlaveBus::default(),
            irq,
        }
    }

    /// Puts a slave on the bus, at a 7-bit address.
    ///
    /// # Errors
    /// An address that is taken, or that the bus specification reserves.
    pub fn attach(&mut self, address: u8, slave: Box<dyn Slave>) -> Result<(), AttachError> {
        self.bus.attach(address, slave)
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        State {
            selected: self.bus.selected(),
            ..self.state
        }
    }

    /// Takes up a state that [`Iic::state`] returned, and drives the wire accordingly.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
        self.bus.set_selected(state.selected);
        self.drive_irq();
    }

    fn drive_irq(&self) {
        let enabled = self.state.mdcntl & MDCNTL_EINT != 0;
        self.irq.set(enabled && self.state.sts & STS_IRQA != 0);
    }

    /// Puts everything back to what it is after a reset; the lines go up, which the slaves take for the
    /// end of the transfer.
    fn reset_registers(&mut self) {
        self.bus.stop();
        self.state = State::default();
        self.drive_irq();
    }

    fn reads(&self) -> bool {
        self.state.cntl & CNTL_RW != 0
    }

    /// CNTL\[PT\] was written.
    fn begin(&mut self) {
        let cntl = self.state.cntl;
        let left = ((cntl & CNTL_TCT) >> CNTL_TCT_SHIFT) + 1;
        let goes_on = self.state.master
            == Master::Chains {
                reads: self.reads(),
            };
        self.state.xfrcnt = 0;
        if !goes_on {
            if !self.state.lines.data() {
                // Somebody holds the line: this master's START cannot be seen.
                self.fail(EXTSTS_LA, INTRMSK_EITA);
                return;
            }
            if !self.address() {
                self.fail(EXTSTS_XFRA, INTRMSK_EITA);
                return;
            }
        }
        self.proceed(left);
    }

    /// START and the address; says whether a slave acknowledges.
    fn address(&mut self) -> bool {
        let [low, high] = self.state.madr;
        let read = u8::from(self.reads());
        if self.state.cntl & CNTL_AMD == 0 {
            return self.bus.start((low & 0xFE) | read);
        }
        // Ten bits: two bytes to write; to read, the first again with the other direction.
        let first = high & 0xFE;
        self.bus.start(first) && self.bus.write(low) && (read == 0 || self.bus.start(first | read))
    }

    /// Transfers bytes while the buffer has data, or room.
    fn proceed(&mut self, mut left: u8) {
        while left > 0 {
            if self.reads() {
                if self.state.mdbuf.is_full() {
                    break;
                }
                self.state.mdbuf.push(self.bus.read());
            } else {
                let Some(byte) = self.state.mdbuf.pop() else {
                    break;
                };
                if !self.bus.write(byte) {
                    self.fail(EXTSTS_ICT, INTRMSK_EIIC);
                    return;
                }
            }
            self.state.xfrcnt += 1;
            left -= 1;
        }
        if left > 0 {
            self.state.master = Master::Stretches { left };
            return;
        }
        if self.state.cntl & CNTL_CHT != 0 {
            self.state.master = Master::Chains {
                reads: self.reads(),
            };
        } else if self.state.cntl & CNTL_RPST != 0 {
            self.state.master = Master::Repeats;
        } else {
            self.stop();
        }
        self.interrupt(INTRMSK_EIMTC);
    }

    /// Goes on with a transfer that waited for the buffer.
    fn resume(&mut self) {
        if let Master::Stretches { left } = self.state.master {
            self.proceed(left);
        }
    }

    /// Ends a transfer with an error.
    fn fail(&mut self, why: u8, mask: u8) {
        self.state.extsts |= why;
        self.stop();
        self.interrupt(mask | INTRMSK_EIMTC);
    }

    /// STOP: the bus is free.
    fn stop(&mut self) {
        self.bus.stop();
        self.state.master = Master::Free;
        self.state.sts |= STS_SCMP;
    }

    /// CNTL\[HMT\] was written.
    fn halt(&mut self) {
        match self.state.master {
            Master::Free => {}
            Master::Stretches { .. } => self.fail(EXTSTS_ICT, INTRMSK_EIIC | INTRMSK_EIHE),
            Master::Repeats | Master::Chains { .. } => {
                self.stop();
                self.interrupt(INTRMSK_EIHE);
            }
        }
    }

    /// An event that interrupts if the mask has any of these bits. Up to three queue up.
    fn interrupt(&mut self, mask: u8) {
        let state = &mut self.state;
        if state.intrmsk & mask == 0 {
            return;
        }
        if state.sts & STS_IRQA == 0 {
            state.sts |= STS_IRQA;
        } else if state.extsts & EXTSTS_IRQP == 0 {
            state.extsts |= EXTSTS_IRQP;
        } else {
            state.extsts |= EXTSTS_IRQD;
        }
    }

    /// Software is done with the active interrupt: the next in the queue moves up.
    fn acknowledge(&mut self) {
        let state = &mut self.state;
        if state.extsts & EXTSTS_IRQP == 0 {
            state.sts &= !STS_IRQA;
        } else if state.extsts & EXTSTS_IRQD == 0 {
            state.extsts &= !EXTSTS_IRQP;
        } else {
            state.extsts &= !EXTSTS_IRQD;
        }
    }

    fn status(&self) -> u8 {
        let state = &self.state;
        let mut sts = state.sts;
        for (bit, set) in [
            (STS_MDBS, !state.mdbuf.is_empty()),
            (STS_MDBF, state.mdbuf.is_full()),
            (
                STS_ERR,
                state.extsts & (EXTSTS_LA | EXTSTS_ICT | EXTSTS_XFRA) != 0,
            ),
            (STS_PT, matches!(state.master, Master::Stretches { .. })),
        ] {
            if set {
                sts |= bit;
            }
        }
        sts
    }

    fn bus_state(&self) -> u8 {
        if self.state.master != Master::Free {
            EXTSTS_BCS_MASTER
        } else if !self.state.lines.data() || !self.state.lines.clock() {
            EXTSTS_BCS_BUSY
        } else {
            EXTSTS_BCS_FREE
        }
    }

    fn get(&mut self, offset: u32) -> Result<u8, AccessError> {
        let state = &mut self.state;
        Ok(match offset {
            MDBUF | 0x01 => {
                let byte = state.mdbuf.pop().unwrap_or(0);
                self.resume();
                self.drive_irq();
                byte
            }
            // Nobody ever sends to this controller.
            SDBUF | 0x03 => 0,
            LMADR => state.madr[0],
            HMADR => state.madr[1],
            CNTL => state.cntl,
            MDCNTL => state.mdcntl,
            STS => self.status(),
            EXTSTS => state.extsts | self.bus_state(),
            LSADR => state.sadr[0],
            HSADR => state.sadr[1],
            CLKDIV => state.clkdiv,
            INTRMSK => state.intrmsk,
            XFRCNT => state.xfrcnt,
            XTCNTLSS => state.xtcntlss,
            DIRECTCNTL => {
                let data = if state.lines.data() {
                    DIRECTCNTL_MSDA
                } else {
                    0
                };
                let clock = if state.lines.clock() {
                    DIRECTCNTL_MSC
                } else {
                    0
                };
                state.directcntl | data | clock
            }
            _ => return Err(AccessError::NoRegister { offset }),
        })
    }

    fn put(&mut self, offset: u32, value: u8) -> Result<(), AccessError> {
        let state = &mut self.state;
        match offset {
            MDBUF | 0x01 => {
                state.mdbuf.push(value);
                self.resume();
            }
            SDBUF | 0x03 => {}
            LMADR => state.madr[0] = value,
            HMADR => state.madr[1] = value,
            CNTL if value & CNTL_HMT != 0 => self.halt(),
            CNTL => {
                // A transfer under way keeps its own mode until it is over.
                let under_way = matches!(state.master, Master::Stretches { .. });
                let held = state.xtcntlss & XTCNTLSS_SRST != 0;
                if !under_way {
                    state.cntl = value & !CNTL_PT;
                    if value & CNTL_PT != 0 && !held {
                        self.begin();
                    }
                }
            }
            MDCNTL => {
                if value & MDCNTL_FMDB != 0 {
                    state.mdbuf = DataBuffer::default();
                }
                state.mdcntl = value & !(MDCNTL_FSDB | MDCNTL_FMDB);
                self.resume();
            }
            STS => {
                state.sts &= !(value & STS_SCMP);
                if value & STS_IRQA != 0 {
                    self.acknowledge();
                }
            }
            EXTSTS => state.extsts &= !(value & !EXTSTS_BCS),
            LSADR => state.sadr[0] = value,
            HSADR => state.sadr[1] = value,
            CLKDIV => state.clkdiv = value,
            INTRMSK => state.intrmsk = value,
            XFRCNT => state.xfrcnt = value & XFRCNT_MTC,
            XTCNTLSS if value & XTCNTLSS_SRST != 0 => {
                let lines = state.lines;
                self.reset_registers();
                // A slave that holds the data line does not know of the reset.
                self.state.lines = lines;
                self.state.lines.drive(true, true, &mut self.bus);
                self.state.xtcntlss = XTCNTLSS_SRST;
            }
            XTCNTLSS => {
                state.xtcntlss = 0;
                // The controller has the lines again, and lets them go.
                state.lines.drive(true, true, &mut self.bus);
            }
            DIRECTCNTL => {
                state.directcntl = value & (DIRECTCNTL_SDAC | DIRECTCNTL_SCC);
                if state.xtcntlss & XTCNTLSS_SRST != 0 {
                    let (data, clock) = (value & DIRECTCNTL_SDAC != 0, value & DIRECTCNTL_SCC != 0);
                    state.lines.drive(data, clock, &mut self.bus);
                }
            }
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
        self.reset_registers();
    }
}
