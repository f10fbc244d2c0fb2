//! Guest RAM as the running CPU reaches it: one flat host mapping, addressed by byte offset.
// UNSAFE BECAUSE: guest RAM is written by devices and other threads meanwhile, so it is never a Rust reference.
#![allow(unsafe_code)]

use std::io;
use std::sync::Arc;

use rustix::mm::ProtFlags;
use vm_memory::{FileOffset, MmapRegion};

use crate::memfd::{self, Holds};
use crate::watch::CodeWatch;

/// The host mapping of guest RAM; writes through `vm-memory` keep decoded code coherent.
pub type Region = MmapRegion<CodeWatch>;

/// Guest memory over one or more [`Region`]s, for devices and loaders.
pub type GuestMemory = vm_memory::GuestMemoryMmap<CodeWatch>;

/// Returns guest RAM of `bytes` bytes, all zeros, in a memory file: other processes could share it, and
/// the translator maps pages of it a second time, which makes guests faster. The file's length is sealed,
/// so no process can shorten it under a running guest; holes can be punched into it.
///
/// # Errors
/// When the host has no memory or no address space left.
pub fn memory_file(bytes: usize) -> io::Result<Region> {
    let file = memfd::memory_file("guest-ram", bytes, Holds::Data)?;
    Region::from_file(FileOffset::new(file, 0), bytes).map_err(io::Error::other)
}

/// Guest RAM, read and written in units that the guest's own threads and devices may race with.
///
/// Every access is checked against the mapping's length: the check is one compare that never
/// fails, and it is what keeps a mistake in the translation tables from leaving guest RAM.
#[derive(Debug)]
pub(crate) struct Ram {
    base: *mut u8,
    bytes: usize,
    /// Keeps the mapping alive; `base` and `bytes` are its own.
    region: Arc<Region>,
}

// SAFETY: `base` points into the mapping that `region` owns, which is `Send`; nothing in `Ram` is
// tied to a thread.
unsafe impl Send for Ram {}

/// A value the guest loads or stores in one access; big-endian in memory, whatever the host is.
pub(crate) trait Unit: Copy {
    /// The value of what was read from memory as a host number.
    fn from_memory(raw: Self) -> Self;
    /// What is written to memory as a host number.
    fn to_memory(self) -> Self;
}

macro_rules! units {
    ($($unit:ty)*) => {$(
        impl Unit for $unit {
            #[inline(always)]
            fn from_memory(raw: Self) -> Self {
                <$unit>::from_be(raw)
            }
            #[inline(always)]
            fn to_memory(self) -> Self {
                self.to_be()
            }
        }
    )*};
}
units!(u8 u16 u32 u64);

/// A unit of any alignment: one host access, where an array of bytes would be several.
#[derive(Clone, Copy)]
#[repr(C, packed)]
struct Unaligned<T>(T);

impl Ram {
    /// # Errors
    /// When the mapping cannot be read and written.
    pub fn new(region: Arc<Region>) -> io::Result<Self> {
        let needed = ProtFlags::READ | ProtFlags::WRITE;
        if !ProtFlags::from_bits_retain(region.prot() as u32).contains(needed) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "guest RAM is not mapped for reading and writing",
            ));
        }
        Ok(Ram {
            base: region.as_ptr(),
            bytes: region.size(),
            region,
        })
    }

    /// Where the mapping is in this process.
    pub fn host_address(&self) -> u64 {
        self.base.addr() as u64
    }

    /// Length in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The file that is mapped, if it is one.
    pub fn file(&self) -> Option<&FileOffset> {
        self.region.file_offset()
    }

    pub fn watch(&self) -> &CodeWatch {
        self.region.bitmap()
    }

    #[inline(always)]
    fn at<T: Unit>(&self, ram: u32) -> Option<*mut Unaligned<T>> {
        let ram = ram as usize;
        if ram + size_of::<T>() > self.bytes {
            return None;
        }
        // SAFETY: `ram` and the unit's length lie inside the mapping, as just checked (no
        // overflow: both are far below `usize::MAX`, `ram` being 32 bits wide).
        Some(unsafe { self.base.add(ram) }.cast())
    }

    /// The unit at offset `ram`, of any alignment; `None` outside RAM.
    #[inline(always)]
    pub fn load<T: Unit>(&self, ram: u32) -> Option<T> {
        let at = self.at::<T>(ram)?;
        // SAFETY: `at` points to `size_of::<T>()` bytes mapped readable (checked in `new`), and a
        // packed struct has alignment 1. Devices may write them meanwhile: the read is volatile,
        // as `vm-memory`'s own are, and any bytes make a valid unsigned number.
        let value = unsafe { at.read_volatile() };
        Some(T::from_memory(value.0))
    }

    /// Stores a unit at offset `ram`, of any alignment; `false` outside RAM.
    #[inline(always)]
    pub fn store<T: Unit>(&self, ram: u32, value: T) -> bool {
        let Some(at) = self.at::<T>(ram) else {
            return false;
        };
        // SAFETY: as in `load`; the mapping is writable too, and no Rust reference to guest RAM
        // exists anywhere (`vm-memory` hands out volatile slices only).
        unsafe { at.write_volatile(Unaligned(value.to_memory())) };
        true
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::mmap::MmapRegionBuilder;

    use super::*;

    #[test]
    fn units_are_big_endian_and_stay_inside() {
        let region = Arc::new(Region::new(8192).expect("anonymous memory"));
        let ram = Ram::new(region).expect("readable and writable");
        assert!(ram.store(1, 0x0102_0304u32));
        assert_eq!(ram.load::<u8>(1), Some(1));
        assert_eq!(ram.load::<u16>(3), Some(0x0304));
        assert_eq!(ram.load::<u32>(8188), Some(0));
        assert_eq!(ram.load::<u32>(8189), None);
        assert!(!ram.store(u32::MAX, 0u8) && !ram.store(8185, 0u64));
    }

    #[test]
    fn a_mapping_without_access_is_refused() {
        let region = MmapRegionBuilder::new_with_bitmap(4096, CodeWatch::default()).build();
        assert!(Ram::new(Arc::new(region.expect("a mapping"))).is_err());
    }
}
