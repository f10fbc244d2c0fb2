//! A request's buffers in guest memory, as one run of bytes.
//!
//! What goes between guest memory and a file passes through a buffer of ours: what a guest writes
//! cannot change any more once it was looked at, and no file is given pointers into guest memory.
//! The buffer fits into a CPU's second cache, so the way round costs little. And what a host brings
//! that hung for longer than the driver waited stays in it: see [`Lease`].

use std::cell::RefCell;
use std::io;

use ppckvm_devices::virtio::blk::Lease;
use vm_memory::VolatileSlice;
use vm_memory::bitmap::BitmapSlice;

/// Bytes that are under way at a time. A piece ends at a multiple of it, so that whole clusters stay
/// whole. With 1 MiB, reading 4 GiB took a fourth more CPU time than without the buffer; with this,
/// as much (Xeon with 1.25 MiB of second cache).
const PIECE: u64 = 1 << 17;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The buffers of one request, from the place where the last piece ended.
pub(super) struct Buffers<'a, 'b, B> {
    slices: &'a [VolatileSlice<'b, B>],
    lease: &'a Lease,
    /// Bytes of the first slice that are done.
    done: usize,
}

impl<'a, 'b, B: BitmapSlice> Buffers<'a, 'b, B> {
    pub fn new(slices: &'a [VolatileSlice<'b, B>], lease: &'a Lease) -> Self {
        Buffers {
            slices,
            lease,
            done: 0,
        }
    }

    /// Hands pieces of our own to `fill`, with their offsets on the disk, and copies each to the
    /// guest.
    ///
    /// # Errors
    /// What `fill` says, or that the lease ended; pieces before that are copied.
    pub fn read_from(
        mut self,
        offset: u64,
        mut fill: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let lease = self.lease;
        each_piece(offset, length(self.slices), |at, piece| {
            fill(at, piece)?;
            let copy = || self.each(piece.len(), |slice, range| slice.copy_from(&piece[range]));
            lease.during(copy)?
        })
    }

    /// Copies pieces from the guest and hands them to `store`, with their offsets on the disk.
    ///
    /// # Errors
    /// What `store` says, or that the lease ended.
    pub fn write_to(
        mut self,
        offset: u64,
        mut store: impl FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let lease = self.lease;
        each_piece(offset, length(self.slices), |at, piece| {
            lease.during(|| {
                self.each(piece.len(), |slice, range| {
                    slice.copy_to(&mut piece[range]);
                })
            })??;
            store(at, piece)
        })
    }

    /// Calls `copy` for each part of the next `bytes` bytes that is in one slice.
    fn each(
        &mut self,
        bytes: usize,
        mut copy: impl FnMut(&VolatileSlice<'_, B>, std::ops::Range<usize>),
    ) -> io::Result<()> {
        let mut at = 0;
        while at < bytes {
            let Some((slice, after)) = self.slices.split_first() else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            let count = (slice.len() - self.done).min(bytes - at);
            let part = slice.subslice(self.done, count).map_err(io::Error::other)?;
            copy(&part, at..at + count);
            at += count;
            self.done += count;
            if self.done == slice.len() {
                self.slices = after;
                self.done = 0;
            }
        }
        Ok(())
    }
}

fn each_piece(
    offset: u64,
    bytes: u64,
    mut with: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<()> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut at = offset;
        let end = offset + bytes;
        while at < end {
            let next = (at + 1).next_multiple_of(PIECE).min(end);
            let count = (next - at) as usize;
            if buffer.len() < count {
                buffer.resize(count, 0);
            }
            with(at, &mut buffer[..count])?;
            at = next;
        }
        Ok(())
    })
}

/// Bytes in all of the buffers together.
pub(super) fn length<B: BitmapSlice>(slices: &[VolatileSlice<'_, B>]) -> u64 {
    slices.iter().map(|slice| slice.len() as u64).sum()
}
