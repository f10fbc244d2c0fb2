//! Opening the file of an image: what it may be, how it is locked, how large it is.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::error::{DiskError, DiskFault};
use super::format::{self, Foreign, Format};
use super::lock::{ImageFile, Refused};

pub(super) use super::lock::Use as Usage;

/// A file that is open and locked for what it is used for.
pub(super) struct Opened {
    /// The path as it was named.
    pub path: PathBuf,
    pub file: ImageFile,
    /// The device and inode, which all names of one file share.
    pub identity: (u64, u64),
    pub usage: Usage,
}

/// Whether it is what an image can be in.
fn is_image(data: &Metadata) -> bool {
    data.is_file() || data.file_type().is_block_device()
}

/// The device and inode, which all names of one file share.
pub(super) fn identity_of(data: &Metadata) -> (u64, u64) {
    (data.dev(), data.ino())
}

impl Opened {
    /// Opens and locks a regular file or a block device.
    pub fn open(path: &Path, usage: Usage) -> Result<Self, DiskError> {
        let fail = |fault| DiskError::new(path, fault);
        // Before it is opened: opening a pipe waits for its other end.
        let data = std::fs::metadata(path).map_err(|error| fail(DiskFault::Open(error)))?;
        if !is_image(&data) {
            return Err(fail(DiskFault::NotAnImage));
        }
        let write = usage == Usage::Write;
        let open = File::options().read(true).write(write).open(path);
        let file = open.map_err(|error| {
            fail(match error.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem if write => {
                    DiskFault::OpenForWriting(error)
                }
                _ => DiskFault::Open(error),
            })
        })?;
        Opened::lock(path, file, usage)
    }

    /// Locks a file that was opened, if it is a regular one or a block device.
    pub fn lock(path: &Path, file: File, usage: Usage) -> Result<Self, DiskError> {
        let fail = |fault| DiskError::new(path, fault);
        let data = file.metadata().map_err(|error| fail(error.into()))?;
        if !is_image(&data) {
            return Err(fail(DiskFault::NotAnImage));
        }
        let file = ImageFile::new(file);
        match file.lock(usage) {
            Ok(()) => {}
            Err(Refused::Written) => return Err(fail(DiskFault::Written)),
            Err(Refused::Read) => return Err(fail(DiskFault::Read)),
            Err(Refused::Host(error)) => tracing::warn!(
                "disk {}: cannot be locked on this file system: {error}; nothing keeps another \
                 machine from using it",
                path.display()
            ),
        }
        Ok(Opened {
            path: path.to_owned(),
            file,
            identity: identity_of(&data),
            usage,
        })
    }

    /// A file that no other process can reach.
    pub fn unlocked(name: &Path, file: File) -> io::Result<Self> {
        let data = file.metadata()?;
        Ok(Opened {
            path: name.to_owned(),
            file: ImageFile::new(file),
            identity: identity_of(&data),
            usage: Usage::Write,
        })
    }

    /// What its first bytes say about its format.
    pub fn probe(&self) -> Result<Result<Format, Foreign>, DiskError> {
        let mut start = [0; format::PROBE_BYTES];
        let mut known = 0;
        while known < start.len() {
            match self.file.read_at(&mut start[known..], known as u64) {
                Ok(0) => break,
                Ok(bytes) => known += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(DiskError::new(&self.path, error.into())),
            }
        }
        Ok(format::probe(&start[..known]))
    }
}

/// The size of a file or a block device in bytes.
pub(super) fn size(mut file: &File) -> io::Result<u64> {
    // A block device's metadata has no length; its end has a position.
    io::Seek::seek(&mut file, io::SeekFrom::End(0))
}
