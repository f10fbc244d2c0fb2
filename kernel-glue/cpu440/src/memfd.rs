//! Memory files: what guest RAM and translated code lie in.
//!
//! A memory file belongs to the processes that map it, but whoever is the same user can open it through
//! `/proc` too, and to shorten it would end this process at its next access. So its length is sealed.

use std::fs::File;
use std::io;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

/// What a memory file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Data, which a process never executes.
    Data,
    /// Code, which is mapped to be executed: a host may forbid that.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    Code,
}

/// A memory file of `bytes` bytes, all zeros, whose length nobody changes any more; holes can be punched
/// into it.
///
/// # Errors
/// What the host says: EACCES for code where `vm.memfd_noexec` is 2.
pub(crate) fn memory_file(name: &str, bytes: usize, holds: Holds) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let executable = match holds {
        Holds::Data => MemfdFlags::NOEXEC_SEAL,
        Holds::Code => MemfdFlags::EXEC,
    };
    // A kernel before 6.3 does not know the second flag, and lets every such file be executed.
    let file = match memfd_create(name, flags | executable) {
        Err(Errno::INVAL) => memfd_create(name, flags),
        file => file,
    };
    let file = File::from(file?);
    file.set_len(bytes as u64)?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fcntl_add_seals(&file, seals)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{FallocateFlags, fallocate, fcntl_get_seals, ftruncate};
    use rustix::io::pwrite;

    use super::*;

    #[test]
    fn the_length_of_a_memory_file_is_sealed_and_holes_can_be_punched() {
        for holds in [Holds::Data, Holds::Code] {
            let file = memory_file("test", 8192, holds).expect("a memory file");
            // As another process of the user would.
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
            let other = File::options().write(true).open(path).expect("the file");
            for bytes in [0, 4096, 16384] {
                assert_eq!(ftruncate(&other, bytes), Err(Errno::PERM), "{holds:?}");
            }
            assert_eq!(fcntl_add_seals(&other, SealFlags::WRITE), Err(Errno::PERM));
            assert_eq!(pwrite(&file, b"data", 4096), Ok(4));
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            assert_eq!(fallocate(&file, hole, 4096, 4096), Ok(()));
            assert_eq!(file.metadata().expect("its length").len(), 8192);
        }
    }

    #[test]
    fn what_holds_data_can_never_be_made_executable() {
        let data = memory_file("test", 4096, Holds::Data).expect("a memory file");
        let seals = fcntl_get_seals(&data).expect("seals");
        // A kernel before 6.3 has no such seal.
        let known = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL).is_ok();
        assert_eq!(seals.contains(SealFlags::EXEC), known);
    }
}
