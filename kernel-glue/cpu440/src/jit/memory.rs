//! Memory for translated code: one memory file, mapped twice.
//!
//! Code is written through one mapping and runs in the other, so no address is ever writable and
//! executable at once. It fills from the front; when it is full, all of it is given up.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ptr::NonNull;

use rustix::fs::MemfdFlags;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The memory.
#[derive(Debug)]
pub(super) struct CodeMemory {
    writable: NonNull<u8>,
    executable: NonNull<u8>,
    bytes: usize,
    used: usize,
}

// SAFETY: both mappings are owned; nothing in them is tied to a thread.
unsafe impl Send for CodeMemory {}

impl CodeMemory {
    /// Room for `bytes` bytes of code, a multiple of 4096.
    ///
    /// # Errors
    /// When the host has no memory, or lets no process map a file for execution.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let file = File::from(rustix::fs::memfd_create("translated", MemfdFlags::CLOEXEC)?);
        file.set_len(bytes as u64)?;
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

    /// Puts code behind what there is; `false` when it does not fit.
    pub fn push(&mut self, code: &[u8]) -> bool {
        if code.len() > self.bytes - self.used {
            return false;
        }
        self.write(self.used, code);
        self.used = (self.used + code.len())
            .next_multiple_of(16)
            .min(self.bytes);
        true
    }

    /// Replaces the 32-bit number at an offset, little-endian.
    pub fn patch(&mut self, offset: u32, value: u32) {
        self.write(offset as usize, &value.to_le_bytes());
    }

    /// Gives up everything from `offset` on.
    pub fn truncate(&mut self, offset: u32) {
        self.used = self.used.min(offset as usize);
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
        assert!(memory.push(&[0xB8, 1, 0, 0, 0, 0xC3]));
        memory.patch(1, 42);
        // SAFETY: the bytes are a function without arguments that returns a number.
        let function: extern "sysv64" fn() -> u32 =
            unsafe { std::mem::transmute(memory.address(0)) };
        assert_eq!(function(), 42);
        assert_eq!(memory.next(), 16);
        assert!(!memory.push(&vec![0; 4096 - 15]) && memory.push(&vec![0; 4096 - 16]));
        memory.truncate(16);
        assert_eq!(memory.next(), 16);
    }
}
