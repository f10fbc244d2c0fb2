//! One request: a header, data one way, a status (virtio 1.2, 5.2.6).
//!
//! Nothing is expected of how the driver lays it out: the header is the first 16 readable bytes and
//! the status the last writable one, wherever descriptors begin and end (VIRTIO_F_ANY_LAYOUT).

use std::io;

use virtio_bindings::virtio_blk as spec;
use vm_memory::bitmap::BS;
use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions, VolatileSlice};

use super::{ID_BYTES, Lease, MAX_DISCARD_SECTORS, MAX_RANGES, MAX_ZEROES_SECTORS, Medium, SECTOR};
use crate::virtio::ByteOrder;
use crate::virtio::chain::{Chain, Segment};

const HEADER_BYTES: usize = 16;
/// Bytes of one range to discard or to zero.
const RANGE_BYTES: usize = 16;
/// A range's flag: the host may keep no room for the zeros.
const UNMAP: u32 = 1;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    Ok = spec::VIRTIO_BLK_S_OK as u8,
    IoErr = spec::VIRTIO_BLK_S_IOERR as u8,
    Unsupported = spec::VIRTIO_BLK_S_UNSUPP as u8,
}

/// The host failed, and has said so itself; or the driver asked for what no disk has.
impl From<io::Error> for Status {
    fn from(_: io::Error) -> Self {
        Status::IoErr
    }
}

/// Why a request gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request has no byte for its status")]
pub struct NoStatus;

/// Where a request's status goes.
pub fn status_address(chain: &Chain) -> Result<GuestAddress, NoStatus> {
    let last = chain.writable().last().ok_or(NoStatus)?;
    Ok(GuestAddress(
        last.address.0 + u64::from(last.length).saturating_sub(1),
    ))
}

/// How many bytes are asked of the medium at once. A request may be for nearly 4 GiB, and a driver
/// that resets the device waits for it; Linux's are for at most 1.25 MiB unless told otherwise.
const PIECE: usize = 8 << 20;

/// Does what a request asks for; all but its status is done when this returns.
///
/// With `durable`, what it writes is on the host's disk by then. A request in several pieces fails
/// between two of them when the lease is recalled.
pub fn perform<M: GuestMemory, D: Medium>(
    medium: &D,
    memory: &M,
    order: ByteOrder,
    chain: &Chain,
    durable: bool,
    lease: &Lease,
) -> Result<(), Status> {
    let mut reader = chain.reader(memory);
    let kind = order.read_u32(reader.array()?);
    let _priority: [u8; 4] = reader.array()?;
    let sector = order.read_u64(reader.array()?);
    let from_driver = chain.readable_len() - HEADER_BYTES;
    // The last byte is the status.
    let to_driver = chain.writable_len().saturating_sub(1);
    match kind {
        spec::VIRTIO_BLK_T_IN => {
            let offset = on_disk(medium, sector, to_driver)?;
            let segments = chain.writable();
            in_pieces(to_driver, lease, |at, count| {
                let to = slices(memory, segments, at, count, Permissions::Write)?;
                medium.read(offset + at as u64, &to, lease)
            })
        }
        spec::VIRTIO_BLK_T_OUT => {
            check_writable(medium)?;
            let offset = on_disk(medium, sector, from_driver)?;
            let segments = chain.readable();
            in_pieces(from_driver, lease, |at, count| {
                let skip = HEADER_BYTES + at;
                let from = slices(memory, segments, skip, count, Permissions::Read)?;
                medium.write(offset + at as u64, &from, lease)
            })?;
            settle(medium, durable)
        }
        spec::VIRTIO_BLK_T_FLUSH => Ok(medium.flush()?),
        spec::VIRTIO_BLK_T_GET_ID => {
            let serial = medium.serial().bytes().chain(std::iter::repeat(0));
            let id: Vec<u8> = serial.take(ID_BYTES.min(to_driver)).collect();
            lease.during(|| io::Write::write_all(&mut chain.writer(memory), &id))??;
            Ok(())
        }
        spec::VIRTIO_BLK_T_DISCARD | spec::VIRTIO_BLK_T_WRITE_ZEROES => {
            check_writable(medium)?;
            let zeroes = kind == spec::VIRTIO_BLK_T_WRITE_ZEROES;
            if from_driver == 0
                || !from_driver.is_multiple_of(RANGE_BYTES)
                || from_driver / RANGE_BYTES > MAX_RANGES as usize
            {
                return Err(Status::IoErr);
            }
            // All are looked at before the first is done, and only once: the driver may change
            // them meanwhile.
            let mut ranges = Vec::with_capacity(from_driver / RANGE_BYTES);
            for _ in 0..from_driver / RANGE_BYTES {
                ranges.push(range(medium, reader.array()?, zeroes)?);
            }
            for (offset, bytes, unmap) in ranges {
                if lease.is_recalled() {
                    return Err(Status::IoErr);
                }
                if zeroes {
                    medium.write_zeroes(offset, bytes, unmap)?;
                } else {
                    medium.discard(offset, bytes)?;
                }
            }
            settle(medium, durable)
        }
        _ => Err(Status::Unsupported),
    }
}

/// Moves so many bytes in pieces, of which `step` is told the start and the length.
fn in_pieces(
    bytes: usize,
    lease: &Lease,
    mut step: impl FnMut(usize, usize) -> io::Result<()>,
) -> Result<(), Status> {
    let mut at = 0;
    loop {
        let count = (bytes - at).min(PIECE);
        step(at, count)?;
        at += count;
        if at == bytes {
            return Ok(());
        }
        if lease.is_recalled() {
            return Err(Status::IoErr);
        }
    }
}

fn check_writable(medium: &impl Medium) -> Result<(), Status> {
    if medium.readonly() {
        return Err(Status::IoErr);
    }
    Ok(())
}

fn settle(medium: &impl Medium, durable: bool) -> Result<(), Status> {
    if durable {
        medium.flush()?;
    }
    Ok(())
}

/// The position in bytes of data that is whole sectors and lies on the disk.
fn on_disk(medium: &impl Medium, sector: u64, bytes: usize) -> Result<u64, Status> {
    let bytes = bytes as u64;
    let end = sector.checked_add(bytes / SECTOR).ok_or(Status::IoErr)?;
    if !bytes.is_multiple_of(SECTOR) || end > medium.sectors() {
        return Err(Status::IoErr);
    }
    // No disk has so many sectors that their bytes have no number.
    sector.checked_mul(SECTOR).ok_or(Status::IoErr)
}

/// A range to discard or to zero: where, how many bytes, and whether its room may go.
///
/// Its fields are little-endian also for a legacy driver, as Linux writes them: the legacy interface
/// had no such requests, and only drivers of both interfaces send them over it.
fn range(
    medium: &impl Medium,
    bytes: [u8; RANGE_BYTES],
    zeroes: bool,
) -> Result<(u64, u64, bool), Status> {
    let [
        s0,
        s1,
        s2,
        s3,
        s4,
        s5,
        s6,
        s7,
        n0,
        n1,
        n2,
        n3,
        f0,
        f1,
        f2,
        f3,
    ] = bytes;
    let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    let count = u32::from_le_bytes([n0, n1, n2, n3]);
    let flags = u32::from_le_bytes([f0, f1, f2, f3]);
    let (allowed, max) = match zeroes {
        true => (UNMAP, MAX_ZEROES_SECTORS),
        false => (0, MAX_DISCARD_SECTORS),
    };
    if flags & !allowed != 0 {
        return Err(Status::Unsupported);
    }
    let end = sector.checked_add(count.into());
    if count > max || end.is_none_or(|end| end > medium.sectors()) {
        return Err(Status::IoErr);
    }
    let offset = sector.checked_mul(SECTOR).ok_or(Status::IoErr)?;
    Ok((offset, u64::from(count) * SECTOR, flags & UNMAP != 0))
}

/// `length` bytes of the segments, after the first `skip`, as places in guest memory.
fn slices<'a, M: GuestMemory>(
    memory: &'a M,
    segments: &[Segment],
    mut skip: usize,
    mut length: usize,
    access: Permissions,
) -> io::Result<Vec<VolatileSlice<'a, BS<'a, M::Bitmap>>>> {
    let mut slices = Vec::with_capacity(segments.len());
    for segment in segments {
        let left_out = skip.min(segment.length as usize);
        skip -= left_out;
        let count = (segment.length as usize - left_out).min(length);
        if count == 0 {
            continue;
        }
        length -= count;
        let start = GuestAddress(segment.address.0 + left_out as u64);
        let found = memory.get_slices(start, count, access);
        for slice in found.map_err(io::Error::other)? {
            slices.push(slice.map_err(io::Error::other)?);
        }
    }
    Ok(slices)
}

/// Writes a request's status.
pub fn answer<M: GuestMemory>(memory: &M, at: GuestAddress, status: Status) {
    // The chain was inside guest RAM when it was taken, and RAM stays.
    if let Err(error) = memory.write_obj(status as u8, at) {
        tracing::debug!("a request's status has no place any more: {error}");
    }
}
