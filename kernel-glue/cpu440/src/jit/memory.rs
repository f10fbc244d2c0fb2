//! Memory for translated code: one memory file, mapped twice.
//!
//! Code is written through one mapping and runs in the other, so no address is ever writable and
//! executable at once. It fills from the front, and then from there again, over what is oldest.
//!
//! Taking host pages one by one costs as much as a third of the translation of what they hold, so they
//! come in chunks. The writable mapping gives its pages back now and then; the file still has them,
//! and they would count twice as this process's memory.
// UNSAFE BECAUSE: code is written through one mapping and run in another.
#![allow(unsafe_code)]

use std::io;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

use crate::memfd::{Holds, memory_file};

/// Bytes that get host pages at a time.
const CHUNK: usize = 256 << 10;
/// Bytes of chunks after which the writable mapping gives its pages back.
const WINDOW: usize = 4 << 20;

/// The memory.
#[derive(Debug)]
pub(super) struct CodeMemory {
    writable: NonNull<u8>,
    executable: NonNull<u8>,
    bytes: usize,
    used: usize,
    /// Where the chunks end that have their host pages; code beyond brings the next.
    backed: usize,
    /// The end of what ever had code.
    highest: usize,
}

// SAFETY: both mappings are owned; nothing in them is tied to a thread.
unsafe impl Send for CodeMemory {}

impl CodeMemory {
    /// Room for `bytes` bytes of code, a multiple of 4096.
    ///
    /// # Errors
    /// When the host has no memory, or lets no process map a file for execution.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let file = memory_file("translated", bytes, Holds::Code)?;
        let map = |access| {
            // SAFETY: a fresh mapping at an address of the kernel's choice overlaps nothing.
            let base = unsafe {
                mmap(
                    std::ptr::null_mut(),
                    bytes,
                    access,
                    MapFlags::SHARED,
                    &file,
                    0,
                )
            }?;
            NonNull::new(base.cast()).ok_or(io::Error::from(io::ErrorKind::OutOfMemory))
        };
        let writable = map(ProtFlags::READ | ProtFlags::WRITE)?;
        match map(ProtFlags::READ | ProtFlags::EXEC) {
            Ok(executable) => Ok(CodeMemory {
                writable,
                executable,
                bytes,
                used: 0,
                backed: 0,
                highest: 0,
            }),
            Err(error) => {
                // SAFETY: the mapping was just made, with this length.
                let _ = unsafe { munmap(writable.as_ptr().cast(), bytes) };
                Err(error)
            }
        }
    }

    /// Where the code at an offset runs.
    pub fn address(&self, offset: u32) -> *const u8 {
        self.executable.as_ptr().wrapping_add(offset as usize)
    }

    /// The offset at which the next code will be.
    pub fn next(&self) -> u32 {
        self.used as u32
    }

    /// Whether `bytes` more bytes fit behind what there is.
    pub fn fits(&self, bytes: usize) -> bool {
        bytes <= self.bytes - self.used
    }

    /// Puts code behind what there is.
    ///
    /// # Panics
    /// When it does not fit.
    pub fn push(&mut self, code: &[u8]) {
        while self.backed < self.bytes.min(self.used + code.len()) {
            self.back();
        }
        self.write(self.used, code);
        self.used = (self.used + code.len())
            .next_multiple_of(16)
            .min(self.bytes);
        self.highest = self.highest.max(self.used);
    }

    /// Bytes of host memory that hold code, or did.
    pub fn held(&self) -> usize {
        self.highest
    }

    /// The next chunk gets its host pages.
    #[cold]
    fn back(&mut self) {
        if self.backed.is_multiple_of(WINDOW) {
            // At the start of a lap, what is left of the one before as well.
            let bytes = if self.backed == 0 {
                self.bytes
            } else {
                self.backed
            };
            // SAFETY: the range is inside the writable mapping; the file keeps what was written, and
            // brings it back at the next access.
            let _ = unsafe { madvise(self.writable.as_ptr().cast(), bytes, Advice::LinuxDontNeed) };
        }
        let bytes = CHUNK.min(self.bytes - self.backed);
        for (base, advice) in [
            (self.writable, Advice::LinuxPopulateWrite),
            (self.executable, Advice::LinuxPopulateRead),
        ] {
            let chunk = base.as_ptr().wrapping_add(self.backed);
            // A kernel older than 5.14 refuses, and then they come one by one.
            // SAFETY: the range is inside a mapping, whose contents this does not change.
            let _ = unsafe { madvise(chunk.cast(), bytes, advice) };
        }
        self.backed += bytes;
    }

    /// Replaces the 32-bit number at an offset, little-endian.
    pub fn patch(&mut self, offset: u32, value: u32) {
        self.write(offset as usize, &value.to_le_bytes());
    }

    /// Goes on at `offset`, over what is there.
    pub fn rewind(&mut self, offset: u32) {
        self.used = self.used.min(offset as usize);
        self.backed = self.used / CHUNK * CHUNK;
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        assert!(
            offset <= self.bytes && bytes.len() <= self.bytes - offset,
            "code stays inside its memory"
        );
        // SAFETY: the range is inside the mapping, as just checked, and no reference to it
        // exists. The thread that would run it is this one, and is not running it now.
        unsafe {
            self.writable
                .as_ptr()
                .add(offset)
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
    }
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        for base in [self.writable, self.executable] {
            // SAFETY: both mappings were made in `new` with this length.
            let _ = unsafe { munmap(base.as_ptr().cast(), self.bytes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_runs() {
        let mut memory = CodeMemory::new(4096).expect("memory");
        // mov eax, 1; ret
        memory.push(&[0xB8, 1, 0, 0, 0, 0xC3]);
        memory.patch(1, 42);
        // SAFETY: the bytes are a function without arguments that returns a number.
        let function: extern "sysv64" fn() -> u32 =
            unsafe { std::mem::transmute(memory.address(0)) };
        assert_eq!(function(), 42);
        assert_eq!(memory.next(), 16);
        assert!(memory.fits(4096 - 16) && !memory.fits(4096 - 15));
    }

    #[test]
    fn what_the_writable_mapping_gave_back_is_still_there() {
        let bytes = 2 * WINDOW;
        let mut memory = CodeMemory::new(bytes).expect("memory");
        for lap in 0..2 {
            for n in 0..bytes / 4096 {
                memory.push(&[(n + lap) as u8; 4096]);
            }
            // Both of a page that was given back and of one that was not.
            memory.patch(8, 0x01020304);
            memory.patch(bytes as u32 - 8, 0x05060708);
            let at = |offset| {
                // SAFETY: the offset is inside the mapping, which nobody writes meanwhile.
                unsafe { *memory.address(offset) }
            };
            for n in 0..bytes / 4096 {
                assert_eq!(at(4096 * n as u32), (n + lap) as u8);
            }
            assert_eq!((at(8), at(bytes as u32 - 8)), (4, 8));
            assert_eq!((memory.next() as usize, memory.held()), (bytes, bytes));
            memory.rewind(0);
        }
    }
}
