//! The header of every packet (virtio 1.2, 5.10.6).

/// Bytes of a header.
pub const HEADER: usize = 44;

/// The host's context identifier.
pub const HOST_CID: u64 = 2;

/// A stream: the one type of packets here.
pub const STREAM: u16 = 1;

/// Shutdown: who says so receives no more.
pub const NO_RECEIVE: u32 = 1 << 0;
/// Shutdown: who says so sends no more.
pub const NO_SEND: u32 = 1 << 1;

/// What a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Connect.
    Request,
    /// The answer to it.
    Response,
    /// There is no such connection, or no more.
    Reset,
    /// One direction ends, or both: see the flags.
    Shutdown,
    /// Bytes.
    Data,
    /// How much was taken, and may be sent.
    CreditUpdate,
    /// Asks for that.
    CreditRequest,
    /// An operation without a name here.
    Unknown(u16),
}

impl Op {
    fn from_number(number: u16) -> Self {
        match number {
            1 => Op::Request,
            2 => Op::Response,
            3 => Op::Reset,
            4 => Op::Shutdown,
            5 => Op::Data,
            6 => Op::CreditUpdate,
            7 => Op::CreditRequest,
            other => Op::Unknown(other),
        }
    }

    fn number(self) -> u16 {
        match self {
            Op::Request => 1,
            Op::Response => 2,
            Op::Reset => 3,
            Op::Shutdown => 4,
            Op::Data => 5,
            Op::CreditUpdate => 6,
            Op::CreditRequest => 7,
            Op::Unknown(other) => other,
        }
    }
}

/// A packet's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Who sends it.
    pub src_cid: u64,
    /// Who is to get it.
    pub dst_cid: u64,
    /// The sender's port.
    pub src_port: u32,
    /// The receiver's port.
    pub dst_port: u32,
    /// Bytes of data after the header.
    pub len: u32,
    /// [`STREAM`], or what a driver invents.
    pub kind: u16,
    /// What it is for.
    pub op: Op,
    /// Which directions a shutdown ends: [`NO_RECEIVE`], [`NO_SEND`].
    pub flags: u32,
    /// Bytes that the sender has room for in all.
    pub buf_alloc: u32,
    /// Bytes that it took out of that room so far, modulo 2³².
    pub fwd_cnt: u32,
}

impl Header {
    /// Reads a header. It is little-endian for every driver: there is no legacy interface, and
    /// where Linux uses one it keeps the order.
    pub fn from_bytes(bytes: &[u8; HEADER]) -> Self {
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        Header {
            src_cid: u64_at(0),
            dst_cid: u64_at(8),
            src_port: u32_at(16),
            dst_port: u32_at(20),
            len: u32_at(24),
            kind: u16_at(28),
            op: Op::from_number(u16_at(30)),
            flags: u32_at(32),
            buf_alloc: u32_at(36),
            fwd_cnt: u32_at(40),
        }
    }

    /// Returns the header as bytes, in the order in which they lie in guest memory.
    pub fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..8].copy_from_slice(&self.src_cid.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.dst_cid.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.src_port.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.dst_port.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.len.to_le_bytes());
        bytes[28..30].copy_from_slice(&self.kind.to_le_bytes());
        bytes[30..32].copy_from_slice(&self.op.number().to_le_bytes());
        bytes[32..36].copy_from_slice(&self.flags.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.buf_alloc.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.fwd_cnt.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_where_the_specification_has_them() {
        let header = Header {
            src_cid: 3,
            dst_cid: HOST_CID,
            src_port: 0x0102_0304,
            dst_port: 80,
            len: 5,
            kind: STREAM,
            op: Op::Data,
            flags: 0,
            buf_alloc: 0x4_0000,
            fwd_cnt: 9,
        };
        let bytes = header.to_bytes();
        assert_eq!(bytes[0], 3);
        assert_eq!(bytes[8], 2);
        assert_eq!(bytes[16..20], [4, 3, 2, 1]);
        assert_eq!((bytes[24], bytes[28], bytes[30]), (5, 1, 5));
        assert_eq!((bytes[38], bytes[40]), (4, 9));
    }

    proptest! {
        #[test]
        fn any_header_is_written_as_it_was_read(bytes: [u8; 22], more: [u8; 22]) {
            let mut all = [0; HEADER];
            all[..22].copy_from_slice(&bytes);
            all[22..].copy_from_slice(&more);
            prop_assert_eq!(Header::from_bytes(&all).to_bytes(), all);
        }
    }
}
