//! Unpacking within a limit.
//!
//! Every decompressor is Rust without `unsafe` of ours, reads from a slice and checks the sums that
//! its format has. What follows the last whole stream is padding; streams of the same kind that
//! follow each other, as parallel compressors write them, are one file.

use super::budget::Budget;
use super::detect::{Compression, Kind, PREFIX, detect};
use super::error::Fault;
use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use lz4_flex::frame::FrameDecoder as Lz4Decoder;
use lzma_rust2::{LzmaReader, XzReader};
use ruzstd::decoding::StreamingDecoder as ZstdDecoder;
use std::io::{self, ErrorKind, Read};

/// The most memory that a decompressor may use for itself, in KiB: four times the dictionary of
/// `xz -9`.
const WORKSPACE_KIB: u32 = 256 << 10;

/// What starting a decompressor counts in the budget, in bytes: one takes some ten microseconds,
/// in which this much is unpacked at the most.
const STREAM: u64 = 64 << 10;

/// Unpacks `packed` into at most `limit` bytes, which are counted in the budget.
pub(super) fn unpack(
    compression: Compression,
    packed: &[u8],
    limit: u64,
    budget: &Budget,
) -> Result<Vec<u8>, Fault> {
    // More than the budget has is refused when it is counted.
    let most = limit.min(budget.left());
    let mut bytes = Vec::with_capacity(plausible_size(compression, packed, most));
    let mut rest = packed;
    loop {
        // One byte more than allowed tells "too much" from "exactly enough".
        let (before, produced) = (rest.len(), bytes.len());
        let room = most.saturating_add(1) - produced as u64;
        let read = stream(compression, &mut rest, room, &mut bytes);
        // A stream can be long and unpack to nothing, or be one of many that are nearly empty.
        budget.spend(STREAM + (bytes.len() - produced + before - rest.len()) as u64)?;
        if bytes.len() as u64 > limit {
            return Err(Fault::UnpacksTooLarge { limit });
        }
        read.map_err(|error| fault(compression, error))?;
        let next = detect(&rest[..rest.len().min(PREFIX)]);
        if rest.len() == before || next != Kind::Compressed(compression) {
            return Ok(bytes);
        }
    }
}

/// The first bytes of what `packed` unpacks to, at most `len`.
pub(super) fn beginning(
    compression: Compression,
    packed: &[u8],
    len: u64,
    budget: &Budget,
) -> Result<Vec<u8>, Fault> {
    let (mut bytes, mut rest) = (Vec::new(), packed);
    let read = stream(compression, &mut rest, len, &mut bytes);
    budget.spend(STREAM + (bytes.len() + packed.len() - rest.len()) as u64)?;
    match read {
        Ok(()) => Ok(bytes),
        // What comes first is enough, also when the rest is cut off.
        Err(_) if bytes.len() as u64 == len => Ok(bytes),
        Err(error) => Err(fault(compression, error)),
    }
}

fn fault(compression: Compression, error: io::Error) -> Fault {
    match error.kind() {
        ErrorKind::UnexpectedEof => Fault::PackedTruncated(compression),
        ErrorKind::Unsupported => Fault::Compression(compression),
        _ => Fault::Packed { compression, error },
    }
}

/// Unpacks the stream at the start of `rest`, at most `room` bytes of it, and moves `rest` behind
/// what was read.
fn stream(
    compression: Compression,
    rest: &mut &[u8],
    room: u64,
    bytes: &mut Vec<u8>,
) -> io::Result<()> {
    match compression {
        Compression::Gzip => GzDecoder::new(rest).take(room).read_to_end(bytes)?,
        Compression::Bzip2 => BzDecoder::new(rest).take(room).read_to_end(bytes)?,
        Compression::Lzma => LzmaReader::new_mem_limit(rest, WORKSPACE_KIB, None)?
            .take(room)
            .read_to_end(bytes)?,
        Compression::Xz => XzReader::new_mem_limit(rest, false, WORKSPACE_KIB)
            .take(room)
            .read_to_end(bytes)?,
        Compression::Lz4 => return lz4(rest, room, bytes),
        Compression::Zstd => return zstd(rest, room, bytes),
        Compression::Lzo => {
            let why = "no decompressor for it is built in";
            return Err(io::Error::new(ErrorKind::Unsupported, why));
        }
    };
    Ok(())
}

/// As [`stream`]; the decoder takes the end of the data for the end of the frame, so whether the
/// frame was closed is found out here. The legacy format is never closed.
fn lz4(rest: &mut &[u8], room: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    const LEGACY: [u8; 4] = [0x02, 0x21, 0x4C, 0x18];
    const CONTENT_CHECKSUM: u8 = 0x04;
    let frame = *rest;
    let read = Lz4Decoder::new(&mut *rest).take(room).read_to_end(bytes)?;
    if frame.starts_with(&LEGACY) || read as u64 == room {
        return Ok(());
    }
    let consumed = &frame[..frame.len() - rest.len()];
    let flags = consumed.get(4).copied().unwrap_or(0);
    let checksum = if flags & CONTENT_CHECKSUM != 0 { 4 } else { 0 };
    let body = consumed.len().saturating_sub(checksum);
    match consumed[..body].ends_with(&[0; 4]) {
        true => Ok(()),
        false => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// As [`stream`]; the decoder computes the checksum and leaves the comparison to its caller.
fn zstd(rest: &mut &[u8], room: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut decoder =
        ZstdDecoder::new(rest).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    decoder.by_ref().take(room).read_to_end(bytes)?;
    let frame = decoder.into_frame_decoder();
    match (
        frame.get_checksum_from_data(),
        frame.get_calculated_checksum(),
    ) {
        (Some(stored), Some(computed)) if frame.is_finished() && stored != computed => {
            let why = format!("its checksum is {computed:#010x}, but it says {stored:#010x}");
            Err(io::Error::new(ErrorKind::InvalidData, why))
        }
        _ => Ok(()),
    }
}

/// A guess at the unpacked size, for the allocation only: nothing vouches for it.
fn plausible_size(compression: Compression, packed: &[u8], limit: u64) -> usize {
    let length = packed.len() as u64;
    let claimed = match compression {
        // A gzip member ends with its unpacked size modulo 2^32.
        Compression::Gzip => packed
            .last_chunk::<4>()
            .map_or(0, |size| u64::from(u32::from_le_bytes(*size))),
        _ => 3 * length,
    };
    // Deflate reaches 1032 to 1, and real kernels 3 to 1.
    usize::try_from(claimed.min(limit).min(8 * length)).unwrap_or(0)
}
