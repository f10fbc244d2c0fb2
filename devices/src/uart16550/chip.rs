//! The 16550A as registers in, registers out, an interrupt level and the bytes in between.

use super::regs::{
    FCR_CLEAR_RX, FCR_ENABLE, FCR_TRIGGER, FIFO_SIZE, FIRMWARE_DIVISOR, IER, IER_MASK, IER_MSI,
    IER_RDI, IER_RLSI, IER_THRI, IIR_FCR, IIR_FIFOS, IIR_MSI, IIR_NONE, IIR_RDI, IIR_RLSI,
    IIR_THRI, IIR_TIMEOUT, LCR, LCR_DLAB, LCR_EPS, LCR_PEN, LSR, LSR_BI, LSR_DR, LSR_FE, LSR_OE,
    LSR_PE, LSR_RFE, LSR_TEMT, LSR_THRE, MCR, MCR_DTR, MCR_LOOP, MCR_MASK, MCR_OUT1, MCR_OUT2,
    MCR_RTS, MSR, MSR_CTS, MSR_DCD, MSR_DCTS, MSR_DDCD, MSR_DDSR, MSR_DSR, MSR_LINES, MSR_RI,
    MSR_TERI, RBR_THR, SCR,
};
use crate::bus::AccessError;

/// The values that a snapshot of the serial port must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Interrupt enable.
    pub ier: u8,
    /// FIFO control: the enable and trigger bits.
    pub fcr: u8,
    /// Line control.
    pub lcr: u8,
    /// Modem control.
    pub mcr: u8,
    /// Scratch.
    pub scr: u8,
    /// Divisor latch, DLM and DLL.
    pub divisor: u16,
    /// Whether LSR\[OE\] is set.
    pub overrun: bool,
    /// Modem status: the lines and which of them changed.
    pub msr: u8,
    /// Whether the empty transmitter is still to be reported.
    pub thre_pending: bool,
    /// Bytes received and not yet read, oldest first.
    pub rx: [u8; FIFO_SIZE],
    /// How many of them there are.
    pub rx_len: u8,
    /// Which of them stand for a break, bit n for the byte at n.
    pub rx_breaks: u16,
    /// LSR\[BI\], LSR\[FE\] and LSR\[PE\] of the oldest byte, until LSR is read.
    pub line_errors: u8,
}

impl State {
    /// Bytes received and not yet read, oldest first, without those that stand for a break.
    pub fn received(&self) -> impl Iterator<Item = u8> {
        let bytes = self.rx.iter().zip(0..self.rx_len);
        let bytes = bytes.filter(|(_, at)| self.rx_breaks & 1 << at == 0);
        bytes.map(|(byte, _)| *byte)
    }
}

impl Default for State {
    fn default() -> Self {
        State {
            ier: 0,
            fcr: 0,
            lcr: 0,
            mcr: 0,
            scr: 0,
            divisor: FIRMWARE_DIVISOR,
            overrun: false,
            msr: TERMINAL_LINES,
            thre_pending: false,
            rx: [0; FIFO_SIZE],
            rx_len: 0,
            rx_breaks: 0,
            line_errors: 0,
        }
    }
}

/// The modem lines with a terminal at the other end that is always ready.
const TERMINAL_LINES: u8 = MSR_CTS | MSR_DSR | MSR_DCD;

/// The 16550A's registers and FIFO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chip {
    state: State,
}

impl Chip {
    /// A port after a reset, with the divisor that firmware leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes up a state that [`Chip::state`] returned; a length past the FIFO's end is cut.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
        self.state.rx_len = state.rx_len.min(self.capacity() as u8);
        self.state.rx_breaks &= ((1u32 << self.state.rx_len) - 1) as u16;
    }

    /// Empties the receiver.
    pub fn forget_received(&mut self) {
        self.state.rx_len = 0;
        self.state.rx_breaks = 0;
    }

    /// Clears all but the divisor latch and the scratch register, which a reset does not touch.
    pub fn reset(&mut self) {
        self.state = State {
            divisor: self.state.divisor,
            scr: self.state.scr,
            ..State::default()
        };
    }

    fn fifos(&self) -> bool {
        self.state.fcr & FCR_ENABLE != 0
    }

    fn looped(&self) -> bool {
        self.state.mcr & MCR_LOOP != 0
    }

    fn capacity(&self) -> usize {
        if self.fifos() { FIFO_SIZE } else { 1 }
    }

    fn rx_len(&self) -> usize {
        usize::from(self.state.rx_len)
    }

    /// How many bytes the other end may send now without losing one.
    pub fn room(&self) -> usize {
        if self.looped() {
            // The receiver is disconnected from the line.
            return 0;
        }
        self.capacity().saturating_sub(self.rx_len())
    }

    /// Whether the receive interrupt is enabled.
    pub fn is_listening(&self) -> bool {
        self.state.ier & IER_RDI != 0
    }

    /// Takes bytes from the line as far as there is room, and returns how many.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        for byte in bytes.iter().take(taken) {
            self.push(*byte);
        }
        taken
    }

    /// Takes a break from the line if there is room, and returns whether there was.
    ///
    /// However long the line stays low, the receiver gets one byte of zeros, whose stop bit is
    /// missing, and waits until the line is high again. The byte's parity bit is 0, which is wrong
    /// where it should be 1.
    pub fn receive_break(&mut self) -> bool {
        let at = self.rx_len();
        let has_room = self.room() > 0;
        if has_room {
            self.push(0);
            self.state.rx_breaks |= 1 << at;
            if at == 0 {
                self.reveal();
            }
        }
        has_room
    }

    /// The errors of the byte that is now the oldest come into LSR.
    fn reveal(&mut self) {
        if self.state.rx_len == 0 || self.state.rx_breaks & 1 == 0 {
            return;
        }
        let parity = match self.state.lcr & (LCR_PEN | LCR_EPS) {
            LCR_PEN => LSR_PE,
            _ => 0,
        };
        self.state.line_errors |= LSR_BI | LSR_FE | parity;
    }

    /// A byte arrives at the receiver, whether there is room or not.
    fn push(&mut self, byte: u8) {
        let (at, fifos) = (self.rx_len(), self.fifos());
        if at < self.capacity() {
            if let Some(slot) = self.state.rx.get_mut(at) {
                *slot = byte;
                self.state.rx_len += 1;
            }
        } else {
            self.state.overrun = true;
            // A full FIFO keeps what it has; the single buffer is overwritten.
            if let Some(slot) = self.state.rx.first_mut().filter(|_| !fifos) {
                *slot = byte;
                self.state.rx_breaks = 0;
            }
        }
    }

    /// Takes the oldest byte; an empty receiver returns what it held before.
    fn pop(&mut self) -> u8 {
        let [byte, ..] = self.state.rx;
        if let Some(left) = self.state.rx_len.checked_sub(1) {
            self.state.rx_len = left;
            self.state.rx_breaks >>= 1;
            if left > 0 {
                self.state.rx.rotate_left(1);
                self.reveal();
            }
        }
        byte
    }

    fn trigger_level(&self) -> usize {
        match (self.fifos(), self.state.fcr & FCR_TRIGGER) {
            (false, _) | (true, 0x00) => 1,
            (true, 0x40) => 4,
            (true, 0x80) => 8,
            (true, _) => 14,
        }
    }

    /// The pending interrupt with the highest priority, as IIR's low bits give it.
    fn pending(&self) -> u8 {
        let state = &self.state;
        let enabled = |bit| state.ier & bit != 0;
        if enabled(IER_RLSI) && (state.overrun || state.line_errors != 0) {
            IIR_RLSI
        } else if enabled(IER_RDI) && self.rx_len() >= self.trigger_level() {
            IIR_RDI
        } else if enabled(IER_RDI) && self.rx_len() > 0 {
            IIR_TIMEOUT
        } else if enabled(IER_THRI) && state.thre_pending {
            IIR_THRI
        } else if enabled(IER_MSI) && state.msr & !MSR_LINES != 0 {
            IIR_MSI
        } else {
            IIR_NONE
        }
    }

    /// The interrupt output. MCR\[OUT2\] does not gate it here, as it does in a PC.
    pub fn interrupt(&self) -> bool {
        self.pending() != IIR_NONE
    }

    /// The modem lines that go into MSR.
    fn lines(&self) -> u8 {
        if !self.looped() {
            return TERMINAL_LINES;
        }
        [
            (MCR_RTS, MSR_CTS),
            (MCR_DTR, MSR_DSR),
            (MCR_OUT1, MSR_RI),
            (MCR_OUT2, MSR_DCD),
        ]
        .iter()
        .filter(|(output, _)| self.state.mcr & output != 0)
        .fold(0, |lines, (_, input)| lines | input)
    }

    /// Takes the lines into MSR and notes which of them changed.
    fn update_lines(&mut self) {
        let (old, new) = (self.state.msr & MSR_LINES, self.lines());
        let mut changed = self.state.msr & !MSR_LINES;
        for (line, delta) in [
            (MSR_CTS, MSR_DCTS),
            (MSR_DSR, MSR_DDSR),
            (MSR_DCD, MSR_DDCD),
        ] {
            if (old ^ new) & line != 0 {
                changed |= delta;
            }
        }
        if old & !new & MSR_RI != 0 {
            changed |= MSR_TERI;
        }
        self.state.msr = new | changed;
    }

    /// A load of the byte register at an offset from the port's base.
    pub fn read(&mut self, offset: u32) -> Result<u8, AccessError> {
        let latch = self.state.lcr & LCR_DLAB != 0;
        let [dlm, dll] = self.state.divisor.to_be_bytes();
        Ok(match offset {
            RBR_THR if latch => dll,
            IER if latch => dlm,
            RBR_THR => self.pop(),
            IER => self.state.ier,
            IIR_FCR => {
                let pending = self.pending();
                if pending == IIR_THRI {
                    self.state.thre_pending = false;
                }
                pending | if self.fifos() { IIR_FIFOS } else { 0 }
            }
            LCR => self.state.lcr,
            MCR => self.state.mcr,
            LSR => {
                let ready = if self.rx_len() > 0 { LSR_DR } else { 0 };
                let overrun = std::mem::take(&mut self.state.overrun);
                let overrun = if overrun { LSR_OE } else { 0 };
                let errors = std::mem::take(&mut self.state.line_errors);
                // The oldest byte's error counts until it was read here.
                let behind = self.state.rx_breaks & !1;
                let in_fifo = self.fifos() && (errors != 0 || behind != 0);
                let in_fifo = if in_fifo { LSR_RFE } else { 0 };
                ready | overrun | errors | LSR_THRE | LSR_TEMT | in_fifo
            }
            MSR => {
                let status = self.state.msr;
                self.state.msr &= MSR_LINES;
                status
            }
            SCR => self.state.scr,
            _ => return Err(AccessError::NoRegister { offset }),
        })
    }

    /// A store to the byte register at an offset from the port's base; returns the byte that it
    /// sent, if it sent one.
    pub fn write(&mut self, offset: u32, value: u8) -> Result<Option<u8>, AccessError> {
        let latch = self.state.lcr & LCR_DLAB != 0;
        let [dlm, dll] = self.state.divisor.to_be_bytes();
        match offset {
            RBR_THR if latch => self.state.divisor = u16::from_be_bytes([dlm, value]),
            IER if latch => self.state.divisor = u16::from_be_bytes([value, dll]),
            RBR_THR => {
                // The byte is gone at once, so the empty transmitter is news again.
                self.state.thre_pending = true;
                if !self.looped() {
                    return Ok(Some(value));
                }
                self.push(value);
            }
            IER => {
                // Enabling the interrupt while the transmitter is empty reports that it is.
                if value & !self.state.ier & IER_THRI != 0 {
                    self.state.thre_pending = true;
                }
                self.state.ier = value & IER_MASK;
            }
            IIR_FCR => self.write_fcr(value),
            LCR => self.state.lcr = value,
            MCR => {
                self.state.mcr = value & MCR_MASK;
                self.update_lines();
            }
            LSR | MSR => {}
            SCR => self.state.scr = value,
            _ => return Err(AccessError::NoRegister { offset }),
        }
        Ok(None)
    }

    fn write_fcr(&mut self, value: u8) {
        let enable = value & FCR_ENABLE;
        let switched = enable != self.state.fcr & FCR_ENABLE;
        if switched || value & (FCR_ENABLE | FCR_CLEAR_RX) == FCR_ENABLE | FCR_CLEAR_RX {
            self.forget_received();
        }
        self.state.fcr = if enable != 0 {
            value & (FCR_ENABLE | FCR_TRIGGER)
        } else {
            0
        };
    }
}
