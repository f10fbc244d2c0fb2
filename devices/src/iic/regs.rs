//! The IIC controller's registers, which are bytes, under the manual's names.

/// Master data buffer, four bytes deep.
pub const MDBUF: u32 = 0x00;
/// Slave data buffer.
pub const SDBUF: u32 = 0x02;
/// Low master address: the first byte of a transfer but for its direction, or the second of a
/// 10-bit address.
pub const LMADR: u32 = 0x04;
/// High master address: the first byte of a 10-bit address.
pub const HMADR: u32 = 0x05;
/// Control.
pub const CNTL: u32 = 0x06;
/// Mode control.
pub const MDCNTL: u32 = 0x07;
/// Status: interrupt and stop bits are cleared by writing 1.
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
/// CNTL: the address has 10 bits.
pub const CNTL_AMD: u8 = 0x40;
/// CNTL: how many bytes to transfer, minus 1.
pub const CNTL_TCT: u8 = 0x30;
/// CNTL: where CNTL_TCT begins.
pub const CNTL_TCT_SHIFT: u32 = 4;
/// CNTL: the next transfer begins with a repeated START; no STOP after this one.
pub const CNTL_RPST: u8 = 0x08;
/// CNTL: the next transfer goes on with this one's bytes; no STOP after this one.
pub const CNTL_CHT: u8 = 0x04;
/// CNTL: 1 reads from the slave.
pub const CNTL_RW: u8 = 0x02;
/// CNTL: start a transfer; clears itself.
pub const CNTL_PT: u8 = 0x01;

/// MDCNTL: flush the slave's data buffer; clears itself.
pub const MDCNTL_FSDB: u8 = 0x80;
/// MDCNTL: flush the master's data buffer; clears itself.
pub const MDCNTL_FMDB: u8 = 0x40;
/// MDCNTL: interrupts are enabled.
pub const MDCNTL_EINT: u8 = 0x04;

/// STS: the master's data buffer holds something, read only.
pub const STS_MDBS: u8 = 0x20;
/// STS: the master's data buffer is full, read only.
pub const STS_MDBF: u8 = 0x10;
/// STS: a STOP ended the transfer.
pub const STS_SCMP: u8 = 0x08;
/// STS: something went wrong; EXTSTS says what. Read only.
pub const STS_ERR: u8 = 0x04;
/// STS: an interrupt is active.
pub const STS_IRQA: u8 = 0x02;
/// STS: a transfer is under way, read only.
pub const STS_PT: u8 = 0x01;

/// EXTSTS: an interrupt is pending behind the active one.
pub const EXTSTS_IRQP: u8 = 0x80;
/// EXTSTS: the bus control state, read only.
pub const EXTSTS_BCS: u8 = 0x70;
/// EXTSTS: the bus control state in which this master has the bus.
pub const EXTSTS_BCS_MASTER: u8 = 0x30;
/// EXTSTS: the bus control state of a free bus.
pub const EXTSTS_BCS_FREE: u8 = 0x40;
/// EXTSTS: the bus control state of a bus on which somebody else holds a line low.
pub const EXTSTS_BCS_BUSY: u8 = 0x50;
/// EXTSTS: an interrupt is on deck behind the pending one.
pub const EXTSTS_IRQD: u8 = 0x08;
/// EXTSTS: arbitration was lost.
pub const EXTSTS_LA: u8 = 0x04;
/// EXTSTS: the transfer ended before all its bytes.
pub const EXTSTS_ICT: u8 = 0x02;
/// EXTSTS: the transfer was aborted because nobody acknowledged the address.
pub const EXTSTS_XFRA: u8 = 0x01;

/// INTRMSK: a transfer that was halted interrupts.
pub const INTRMSK_EIHE: u8 = 0x08;
/// INTRMSK: an incomplete transfer interrupts.
pub const INTRMSK_EIIC: u8 = 0x04;
/// INTRMSK: an aborted transfer interrupts.
pub const INTRMSK_EITA: u8 = 0x02;
/// INTRMSK: the end of a requested transfer interrupts, however it ended.
pub const INTRMSK_EIMTC: u8 = 0x01;

/// XFRCNT: how many bytes the master transferred.
pub const XFRCNT_MTC: u8 = 0x07;

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
