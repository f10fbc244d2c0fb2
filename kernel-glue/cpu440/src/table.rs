//! A flat table of one word per 4 KiB page of the effective address space.
#![allow(unsafe_code)]

use std::io;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Pages of a 32-bit address space.
const SLOTS: usize = 1 << 20;
const BYTES: usize = SLOTS * size_of::<u32>();

/// 2^20 words, all zero at first; host memory is spent only where they are written.
///
/// A boxed slice would do, but a host that uses huge pages everywhere would then spend 2 MiB on
/// the first word of each table.
#[derive(Debug)]
pub(crate) struct Table(NonNull<[u32; SLOTS]>);

// SAFETY: the table owns its mapping; nothing in it is tied to a thread.
unsafe impl Send for Table {}

impl Table {
    pub fn new() -> io::Result<Self> {
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice overlaps
        // nothing that exists.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                BYTES,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        // SAFETY: the range is the mapping just made. A kernel without huge pages refuses the
        // advice, and then it is not needed.
        let _ = unsafe { madvise(base, BYTES, Advice::LinuxNoHugepage) };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Table(base))
    }

    /// The words.
    #[inline(always)]
    pub fn slots(&self) -> &[u32; SLOTS] {
        // SAFETY: the mapping is `BYTES` long, page-aligned, initialised (zero pages), and lives
        // as long as `self`; writes go through `&mut self`.
        unsafe { self.0.as_ref() }
    }

    /// The words, to change.
    #[inline(always)]
    pub fn slots_mut(&mut self) -> &mut [u32; SLOTS] {
        // SAFETY: as in `slots`, and `&mut self` makes this the only reference.
        unsafe { self.0.as_mut() }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` with this length, and no reference outlives
        // `self`.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), BYTES) };
    }
}
