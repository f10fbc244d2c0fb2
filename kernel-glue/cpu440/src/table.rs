//! Memory for tables over the whole effective address space.
// UNSAFE BECAUSE: address space that costs memory only where it is written is no boxed slice.
#![allow(unsafe_code)]

use std::io;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::ptr::NonNull;

use rustix::mm::{
    Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap,
};

/// Pages of a 32-bit address space.
const SLOTS: usize = 1 << 20;

/// Address space that reads as zeros and costs host memory only where it is written.
///
/// A boxed slice would do, but a host that uses huge pages everywhere would then spend 2 MiB on
/// the first word of each table.
#[derive(Debug)]
pub(crate) struct Reservation {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a reservation owns its mapping; nothing in it is tied to a thread.
unsafe impl Send for Reservation {}

impl Reservation {
    /// # Errors
    /// When the host has no such stretch of address space left.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let mut reservation = Reservation::closed(bytes)?;
        reservation.open(0..bytes, MprotectFlags::READ | MprotectFlags::WRITE)?;
        Ok(reservation)
    }

    /// Address space that nobody may read or write yet.
    ///
    /// # Errors
    /// As [`Reservation::new`].
    fn closed(bytes: usize) -> io::Result<Self> {
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice overlaps
        // nothing that exists.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Reservation { base, bytes })
    }

    /// Allows access to a range, which lies on page boundaries.
    fn open(&mut self, range: Range<usize>, access: MprotectFlags) -> io::Result<()> {
        assert!(
            range.end <= self.bytes,
            "only what is reserved can be opened"
        );
        // SAFETY: the range is inside this reservation, and no reference to it exists.
        unsafe {
            let base = self.base.as_ptr().add(range.start);
            mprotect(base.cast(), range.len(), access)?;
            // A kernel without huge pages refuses the advice, and then it is not needed. What stays
            // closed goes without it, or what is closed again would not be one mapping with it.
            let _ = madvise(base.cast(), range.len(), Advice::LinuxNoHugepage);
        }
        Ok(())
    }

    /// `count` reservations of `bytes` bytes each, a multiple of 4096, side by side: two calls to the
    /// host's kernel for all of them.
    ///
    /// # Errors
    /// As [`Reservation::new`].
    pub fn several(count: usize, bytes: usize) -> io::Result<Vec<Self>> {
        Ok(Reservation::new(count * bytes)?.pieces(bytes))
    }

    /// `count` reservations of `bytes` bytes each, of which `read` can be read, and `written` in it
    /// written too; all multiples of 4096. The rest costs nothing but address space.
    ///
    /// # Errors
    /// As [`Reservation::new`].
    pub fn sparse(
        count: usize,
        bytes: usize,
        read: Range<usize>,
        written: &[Range<usize>],
    ) -> io::Result<Vec<Self>> {
        let all = count.checked_mul(bytes).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut pieces = Reservation::closed(all)?.pieces(bytes);
        for piece in &mut pieces {
            piece.open(read.clone(), MprotectFlags::READ)?;
            for range in written {
                piece.open(range.clone(), MprotectFlags::READ | MprotectFlags::WRITE)?;
            }
        }
        Ok(pieces)
    }

    /// Cuts it into pieces, each of which gives back its own pages.
    fn pieces(self, bytes: usize) -> Vec<Self> {
        let all = ManuallyDrop::new(self);
        let piece = |index| {
            // SAFETY: the piece lies inside the mapping, which is that many pieces long.
            let base = unsafe { all.base.add(index * bytes) };
            Reservation { base, bytes }
        };
        (0..all.bytes / bytes).map(piece).collect()
    }

    /// Leaves what lies from `offset` on to the process for ever: what is there is not known any more,
    /// and may be somebody else's by the time when this would give it back.
    pub fn leak_from(&mut self, offset: usize) {
        self.bytes = self.bytes.min(offset);
    }

    /// Where it begins: a page boundary, with as many bytes behind it as were asked for.
    #[inline(always)]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// How long it is, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the pages are this reservation's own, mapped in `new`, and nothing that borrows
        // them outlives `self`.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// 2^20 words, one for each 4 KiB page of the effective address space, all zero at first.
#[derive(Debug)]
pub(crate) struct Table(Reservation);

impl Table {
    /// Address space of a table, in bytes.
    pub const BYTES: usize = SLOTS * size_of::<u32>();

    /// # Errors
    /// As [`Reservation::new`].
    pub fn new() -> io::Result<Self> {
        Ok(Table(Reservation::new(Self::BYTES)?))
    }

    /// Makes `count` tables.
    ///
    /// # Errors
    /// As [`Reservation::new`].
    pub fn several(count: usize) -> io::Result<Vec<Self>> {
        let memory = Reservation::several(count, Self::BYTES)?;
        Ok(memory.into_iter().map(Table).collect())
    }

    /// The words.
    #[inline(always)]
    pub fn slots(&self) -> &[u32; SLOTS] {
        // SAFETY: the reservation is this long, page-aligned, initialised (zero pages), and lives
        // as long as `self`; writes go through `&mut self`.
        unsafe { self.0.base().cast().as_ref() }
    }

    /// The words, to change.
    #[inline(always)]
    pub fn slots_mut(&mut self) -> &mut [u32; SLOTS] {
        // SAFETY: as in `slots`, and `&mut self` makes this the only reference.
        unsafe { self.0.base().cast().as_mut() }
    }
}
