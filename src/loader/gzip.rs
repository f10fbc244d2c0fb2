//! Unpacking gzip within a limit.

use super::error::Fault;
use flate2::bufread::GzDecoder;
use std::io::{ErrorKind, Read};

/// Unpacks the first gzip member of `packed`, whose checksum is verified, into at most `limit`
/// bytes. What follows the member is padding.
pub(super) fn gunzip(packed: &[u8], limit: u64) -> Result<Vec<u8>, Fault> {
    // The member ends with the unpacked size modulo 2^32. Nothing vouches for it, so it is a hint
    // for the allocation only, and not above what the data can plausibly be: deflate reaches 1032
    // to 1, and real kernels 3 to 1.
    let hint = packed
        .last_chunk::<4>()
        .map_or(0, |size| u64::from(u32::from_le_bytes(*size)));
    let plausible = hint.min(limit).min(8 * packed.len() as u64);
    let mut bytes = Vec::with_capacity(usize::try_from(plausible).unwrap_or(0));
    // One byte more than allowed tells "too much" from "exactly enough".
    let mut decoder = GzDecoder::new(packed).take(limit.saturating_add(1));
    match decoder.read_to_end(&mut bytes) {
        Ok(_) if bytes.len() as u64 > limit => Err(Fault::UnpacksTooLarge { limit }),
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(Fault::GzipTruncated),
        Err(error) => Err(Fault::Gzip(error)),
    }
}
