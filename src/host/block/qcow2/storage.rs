//! Where an image's bytes are: a file, or in tests a disk that loses, tears and refuses writes.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt};

use rustix::fs::{FallocateFlags, fallocate};

use crate::host::block::file::size;
use crate::host::block::lock::ImageFile;

/// The bytes under an image. All methods may be called from several threads at a time.
///
/// A write that returned is seen by every later read; it is durable only after a [`Storage::sync`]
/// that began after it returned. What was not synced may be lost in any part and any order.
pub(crate) trait Storage: Send + Sync {
    /// Fills `to` with what is at `at`; what lies after the end reads as zeros.
    fn read(&self, at: u64, to: &mut [u8]) -> io::Result<()>;

    /// Writes all of `from`; a file grows to hold it.
    fn write(&self, at: u64, from: &[u8]) -> io::Result<()>;

    /// Returns when all writes that returned before are durable.
    fn sync(&self) -> io::Result<()>;

    /// Gives the room of a range back, if that is easily done; the range may read as anything then.
    fn punch(&self, at: u64, bytes: u64) -> io::Result<()>;

    /// The length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Whether it can grow; what it grows by reads as zeros.
    fn grows(&self) -> bool;
}

/// A file or a block device.
pub(crate) struct FileStorage {
    file: ImageFile,
    grows: bool,
    /// Its contents end with this process, so nothing needs to be durable.
    temporary: bool,
}

impl FileStorage {
    /// An image's file.
    pub fn new(file: ImageFile) -> io::Result<Self> {
        let grows = !file.metadata()?.file_type().is_block_device();
        Ok(FileStorage {
            file,
            grows,
            temporary: false,
        })
    }

    /// A file that nobody reads after this process.
    pub fn temporary(file: File) -> Self {
        FileStorage {
            file: ImageFile::new(file),
            grows: true,
            temporary: true,
        }
    }
}

impl Storage for FileStorage {
    fn read(&self, at: u64, to: &mut [u8]) -> io::Result<()> {
        read_padded(&self.file, at, to)
    }

    fn write(&self, at: u64, from: &[u8]) -> io::Result<()> {
        self.file.write_all_at(from, at)
    }

    fn sync(&self) -> io::Result<()> {
        if self.temporary {
            return Ok(());
        }
        self.file.sync_data()
    }

    fn punch(&self, at: u64, bytes: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(&*self.file, flags, at, bytes)?)
    }

    fn length(&self) -> io::Result<u64> {
        size(&self.file)
    }

    fn grows(&self) -> bool {
        self.grows
    }
}

/// Fills `to` from a file, with zeros for what lies after its end.
pub(in crate::host::block) fn read_padded(file: &File, at: u64, to: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < to.len() {
        match file.read_at(&mut to[done..], at + done as u64) {
            Ok(0) => {
                to[done..].fill(0);
                break;
            }
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
