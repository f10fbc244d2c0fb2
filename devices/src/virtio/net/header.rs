//! What goes before each frame: `struct virtio_net_hdr` (virtio 1.2, section 5.1.6).

use virtio_bindings::virtio_net::{
    VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_ECN, VIRTIO_NET_HDR_GSO_NONE,
    VIRTIO_NET_HDR_GSO_TCPV4,
};

use super::wire::{Offload, PartialChecksum, SMALLEST_FRAME, Segmentation};
use crate::virtio::ByteOrder;

/// The length without `num_buffers`: of a legacy driver that does not merge buffers.
pub const SHORT: usize = 10;
/// The length with `num_buffers`.
pub const LONG: usize = 12;

/// Where `num_buffers` is.
pub const BUFFERS: usize = 10;

const NEEDS_CSUM: u8 = VIRTIO_NET_HDR_F_NEEDS_CSUM as u8;
const GSO_NONE: u8 = VIRTIO_NET_HDR_GSO_NONE as u8;
const GSO_TCPV4: u8 = VIRTIO_NET_HDR_GSO_TCPV4 as u8;
const GSO_ECN: u8 = VIRTIO_NET_HDR_GSO_ECN as u8;

/// What is wrong with a header, because of which its frame is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The checksum's field is outside the frame, or inside its Ethernet header.
    #[error("a checksum at {start} + {offset} in a frame of {length} bytes")]
    Checksum {
        /// csum_start.
        start: u16,
        /// csum_offset.
        offset: u16,
        /// Bytes of the frame.
        length: usize,
    },
    /// Segments of no bytes, or without a checksum.
    #[error("segments of {size} bytes, or without a checksum")]
    Segments {
        /// gso_size.
        size: u16,
    },
    /// A kind of segmentation that the device does not offer.
    #[error("gso_type {gso_type:#x}, which was not offered")]
    GsoType {
        /// gso_type.
        gso_type: u8,
    },
    /// Work for the other end that the driver did not agree on.
    #[error("{0}, which was not agreed on")]
    NotAgreed(&'static str),
}

/// Reads what the driver says of a frame of `length` bytes.
///
/// # Errors
/// When it cannot be; the frame is lost.
pub fn parse(
    header: &[u8; SHORT],
    order: ByteOrder,
    length: usize,
) -> Result<Offload, HeaderError> {
    let [flags, gso_type, h0, h1, s0, s1, c0, c1, o0, o1] = *header;
    let number = |a, b| order.read_u16([a, b]);
    let mut offload = Offload::default();
    if flags & NEEDS_CSUM != 0 {
        let (start, offset) = (number(c0, c1), number(o0, o1));
        let end = usize::from(start) + usize::from(offset) + 2;
        if end > length || usize::from(start) < SMALLEST_FRAME {
            return Err(HeaderError::Checksum {
                start,
                offset,
                length,
            });
        }
        offload.checksum = Some(PartialChecksum { start, offset });
    }
    match gso_type & !GSO_ECN {
        GSO_NONE => Ok(offload),
        GSO_TCPV4 => {
            let (size, headers) = (number(s0, s1), number(h0, h1));
            // The length of the headers is a hint, and said to be wrong by some drivers; the
            // checksum's place is a rule.
            let headers = usize::from(headers).clamp(SMALLEST_FRAME, length);
            if size == 0 || offload.checksum.is_none() {
                return Err(HeaderError::Segments { size });
            }
            offload.segmentation = Some(Segmentation {
                size,
                headers: headers as u16,
                ecn: gso_type & GSO_ECN != 0,
            });
            Ok(offload)
        }
        _ => Err(HeaderError::GsoType { gso_type }),
    }
}

/// Writes what the driver is told of a frame that takes `buffers` buffers.
pub fn emit(offload: &Offload, order: ByteOrder, buffers: u16) -> [u8; LONG] {
    let mut header = [0; LONG];
    let mut put = |at: usize, value: u16| {
        header[at..at + 2].copy_from_slice(&order.put_u16(value));
    };
    put(BUFFERS, buffers);
    if let Some(checksum) = offload.checksum {
        put(6, checksum.start);
        put(8, checksum.offset);
    }
    if let Some(segmentation) = offload.segmentation {
        put(2, segmentation.headers);
        put(4, segmentation.size);
    }
    if offload.checksum.is_some() {
        header[0] = NEEDS_CSUM;
    }
    if let Some(segmentation) = offload.segmentation {
        header[1] = GSO_TCPV4 | if segmentation.ecn { GSO_ECN } else { 0 };
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Offload {
        Offload {
            checksum: Some(PartialChecksum {
                start: 34,
                offset: 16,
            }),
            segmentation: Some(Segmentation {
                size: 1448,
                headers: 66,
                ecn: true,
            }),
        }
    }

    #[test]
    fn what_is_written_is_read_in_both_orders() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            for offload in [Offload::default(), example()] {
                let header = emit(&offload, order, 1);
                let short = header[..SHORT].try_into().unwrap();
                assert_eq!(parse(short, order, 5000), Ok(offload));
            }
        }
        let header = emit(&example(), ByteOrder::Big, 0x0102);
        assert_eq!(header, [1, 0x81, 0, 66, 5, 168, 0, 34, 0, 16, 1, 2]);
    }

    #[test]
    fn what_cannot_be_is_no_frame() {
        let order = ByteOrder::Little;
        let bad = |change: &dyn Fn(&mut [u8; LONG])| {
            let mut header = emit(&example(), order, 1);
            change(&mut header);
            parse(header[..SHORT].try_into().unwrap(), order, 100)
        };
        assert!(bad(&|_| ()).is_ok());
        let checksum = |start, offset| {
            let length = 100;
            Err(HeaderError::Checksum {
                start,
                offset,
                length,
            })
        };
        // A checksum outside the frame, or in its Ethernet header.
        assert_eq!(bad(&|header| header[6] = 83), checksum(83, 16));
        assert_eq!(bad(&|header| header[9] = 0xFF), checksum(34, 0xFF10));
        assert_eq!(bad(&|header| header[6] = 13), checksum(13, 16));
        // Segments of nothing, without a checksum, or of a kind that was not offered.
        let segments = |size| Err(HeaderError::Segments { size });
        assert_eq!(bad(&|header| header[4..6].fill(0)), segments(0));
        assert_eq!(bad(&|header| header[0] = 0), segments(1448));
        let gso_type = 3;
        assert_eq!(
            bad(&|header| header[1] = gso_type),
            Err(HeaderError::GsoType { gso_type })
        );
    }
}
