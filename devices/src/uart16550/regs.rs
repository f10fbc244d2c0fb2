//! The 16550A's registers: byte offsets from its base, and their bits.

/// Receiver buffer (read) and transmitter holding register (write); DLL while LCR\[DLAB\] is set.
pub const RBR_THR: u32 = 0;
/// Interrupt enable; DLM while LCR\[DLAB\] is set.
pub const IER: u32 = 1;
/// Interrupt identification (read) and FIFO control (write), whatever LCR\[DLAB\] is.
pub const IIR_FCR: u32 = 2;
/// Line control.
pub const LCR: u32 = 3;
/// Modem control.
pub const MCR: u32 = 4;
/// Line status; writing it has no effect.
pub const LSR: u32 = 5;
/// Modem status; writing it has no effect.
pub const MSR: u32 = 6;
/// Scratch.
pub const SCR: u32 = 7;

/// IER: received data and character timeout.
pub const IER_RDI: u8 = 0x01;
/// IER: transmitter holding register empty.
pub const IER_THRI: u8 = 0x02;
/// IER: receiver line status.
pub const IER_RLSI: u8 = 0x04;
/// IER: modem status.
pub const IER_MSI: u8 = 0x08;
/// IER: the bits that exist.
pub const IER_MASK: u8 = 0x0F;

/// IIR: no interrupt is pending.
pub const IIR_NONE: u8 = 0x01;
/// IIR: modem status, the lowest in priority.
pub const IIR_MSI: u8 = 0x00;
/// IIR: transmitter holding register empty.
pub const IIR_THRI: u8 = 0x02;
/// IIR: received data available.
pub const IIR_RDI: u8 = 0x04;
/// IIR: receiver line status, the highest in priority.
pub const IIR_RLSI: u8 = 0x06;
/// IIR: character timeout, with the priority of received data.
pub const IIR_TIMEOUT: u8 = 0x0C;
/// IIR: FIFOs are there and enabled, which is how software knows a 16550A.
pub const IIR_FIFOS: u8 = 0xC0;

/// FCR: FIFOs enabled. Without it, the other bits of the same write are ignored.
pub const FCR_ENABLE: u8 = 0x01;
/// FCR: clear the receive FIFO; clears itself.
pub const FCR_CLEAR_RX: u8 = 0x02;
/// FCR: clear the transmit FIFO; clears itself.
pub const FCR_CLEAR_TX: u8 = 0x04;
/// FCR: the receive trigger level, 1, 4, 8 or 14 bytes.
pub const FCR_TRIGGER: u8 = 0xC0;

/// LCR: a parity bit follows the data.
pub const LCR_PEN: u8 = 0x08;
/// LCR: parity is even; with stick parity, the parity bit is 0.
pub const LCR_EPS: u8 = 0x10;
/// LCR: offsets 0 and 1 are the divisor latch.
pub const LCR_DLAB: u8 = 0x80;

/// MCR: data terminal ready.
pub const MCR_DTR: u8 = 0x01;
/// MCR: request to send.
pub const MCR_RTS: u8 = 0x02;
/// MCR: user output 1.
pub const MCR_OUT1: u8 = 0x04;
/// MCR: user output 2.
pub const MCR_OUT2: u8 = 0x08;
/// MCR: the transmitter feeds the receiver, the outputs feed the modem status.
pub const MCR_LOOP: u8 = 0x10;
/// MCR: the bits that exist.
pub const MCR_MASK: u8 = 0x1F;

/// LSR: data ready.
pub const LSR_DR: u8 = 0x01;
/// LSR: a byte was lost because there was no room for it.
pub const LSR_OE: u8 = 0x02;
/// LSR: the parity bit of the oldest byte was wrong.
pub const LSR_PE: u8 = 0x04;
/// LSR: the oldest byte had no stop bit.
pub const LSR_FE: u8 = 0x08;
/// LSR: the oldest byte is a break.
pub const LSR_BI: u8 = 0x10;
/// LSR: the transmitter holding register is empty.
pub const LSR_THRE: u8 = 0x20;
/// LSR: the transmitter is idle.
pub const LSR_TEMT: u8 = 0x40;
/// LSR: a byte in the FIFO is a break or has an error; always 0 with the FIFOs off.
pub const LSR_RFE: u8 = 0x80;

/// MSR: clear to send changed.
pub const MSR_DCTS: u8 = 0x01;
/// MSR: data set ready changed.
pub const MSR_DDSR: u8 = 0x02;
/// MSR: ring indicator ended.
pub const MSR_TERI: u8 = 0x04;
/// MSR: carrier detect changed.
pub const MSR_DDCD: u8 = 0x08;
/// MSR: clear to send.
pub const MSR_CTS: u8 = 0x10;
/// MSR: data set ready.
pub const MSR_DSR: u8 = 0x20;
/// MSR: ring indicator.
pub const MSR_RI: u8 = 0x40;
/// MSR: carrier detect.
pub const MSR_DCD: u8 = 0x80;
/// MSR: the lines; the other bits say which of them changed.
pub const MSR_LINES: u8 = 0xF0;

/// How many bytes the receive FIFO holds.
pub const FIFO_SIZE: usize = 16;

/// The divisor latch as the board's firmware leaves it: 115200 baud from 11.0592 MHz.
pub const FIRMWARE_DIVISOR: u16 = 6;
