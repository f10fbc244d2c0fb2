//! Raw images: a file or block device that holds the disk byte for byte.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::file::size;
use super::format::QCOW2_MAGIC;
use super::lock::ImageFile;
use super::qcow2::storage::read_padded;

/// Zeros that are written where the host cannot make any itself.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// A raw image.
///
/// The last sector of a file may end early. What the guest reads after the file's end is zeros, and
/// the file becomes whole when the guest writes that sector.
pub(super) struct Raw {
    file: ImageFile,
    /// The format was not given, so the first bytes must not become another format's.
    guarded: bool,
    /// The host cannot make holes in the file.
    no_holes: AtomicBool,
}

impl Raw {
    pub fn new(file: ImageFile, guarded: bool) -> Self {
        Raw {
            file,
            guarded,
            no_holes: AtomicBool::new(false),
        }
    }

    pub fn size(&self) -> io::Result<u64> {
        size(&self.file)
    }

    pub fn read(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        read_padded(&self.file, offset, to)
    }

    /// Writes bytes that the guest cannot change meanwhile.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.guarded && offset == 0 && bytes.starts_with(&QCOW2_MAGIC) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the guest makes its raw disk look like a qcow2 image; add format=raw to let it",
            ));
        }
        self.file.write_all_at(bytes, offset)
    }

    /// Waits until the host's disk has all that was written.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Makes a range read as zeros; with `unmap`, its room is given back if that can be.
    pub fn write_zeroes(&self, offset: u64, bytes: u64, unmap: bool) -> io::Result<()> {
        if unmap && self.punch(offset, bytes)? {
            return Ok(());
        }
        let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        match fallocate(&*self.file, flags, offset, bytes) {
            Err(error) if !cannot(error) => return Err(error.into()),
            Err(_) => {}
            Ok(()) => return Ok(()),
        }
        each_piece_of_zeros(offset, bytes, |zeros, at| self.file.write_all_at(zeros, at))
    }

    /// Gives the room of a range back where the host can; its contents are anything then.
    pub fn discard(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.punch(offset, bytes).map(|_| ())
    }

    /// Makes a hole; says whether the host can.
    fn punch(&self, offset: u64, bytes: u64) -> io::Result<bool> {
        if self.no_holes.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&*self.file, flags, offset, bytes) {
            Ok(()) => Ok(true),
            Err(error) if cannot(error) => {
                // A block device refuses what is not aligned to its own blocks, and only that.
                if error != Errno::INVAL {
                    self.no_holes.store(true, Ordering::Relaxed);
                }
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Hands zeros for a range to `write`, which takes them and a position.
fn each_piece_of_zeros(
    offset: u64,
    bytes: u64,
    mut write: impl FnMut(&'static [u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut done = 0;
    while done < bytes {
        let count = (bytes - done).min(ZEROS.len() as u64);
        write(&ZEROS[..count as usize], offset + done)?;
        done += count;
    }
    Ok(())
}

/// The host lacks the operation, here or everywhere, as opposed to having failed at it.
fn cannot(error: Errno) -> bool {
    matches!(
        error,
        Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV | Errno::INVAL
    )
}
