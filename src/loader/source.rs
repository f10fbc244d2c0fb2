//! A file's bytes, read only as far as they are needed.
//!
//! A vmlinux with debug information has hundreds of megabytes, of which a few are loaded. So a
//! regular file is read by ranges. What has no length (a pipe) is read whole, up to a limit.

use super::error::{Fault, LoadError};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A named run of bytes.
pub(super) struct Source {
    name: PathBuf,
    data: Data,
}

/// Where the bytes are.
pub(super) enum Data {
    /// In a regular file of this length.
    File(File, u64),
    /// In memory.
    Memory(Vec<u8>),
}

/// The most that is read of a file for a guest with this much RAM: compressed and unpacked
/// images alike stay below it.
pub(super) fn limit(ram: u32) -> u64 {
    2 * u64::from(ram)
}

impl Source {
    /// Opens a file; bytes that come from no regular file are read here.
    pub(super) fn open(path: &Path, ram: u32) -> Result<Source, LoadError> {
        let io = |error| LoadError::new(path, Fault::Io(error));
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        let data = if metadata.is_file() {
            Data::File(file, metadata.len())
        } else {
            let limit = limit(ram);
            let mut bytes = Vec::new();
            file.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
            if bytes.len() as u64 > limit {
                return Err(LoadError::new(path, Fault::FileTooLarge { limit, ram }));
            }
            Data::Memory(bytes)
        };
        Source {
            name: path.to_owned(),
            data,
        }
        .not_empty()
    }

    /// Bytes in memory, named for messages.
    pub(super) fn memory(name: &Path, bytes: Vec<u8>) -> Result<Source, LoadError> {
        Source {
            name: name.to_owned(),
            data: Data::Memory(bytes),
        }
        .not_empty()
    }

    fn not_empty(self) -> Result<Source, LoadError> {
        match self.len() {
            0 => Err(self.error(Fault::Empty)),
            _ => Ok(self),
        }
    }

    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    pub(super) fn data(&self) -> &Data {
        &self.data
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> u64 {
        match &self.data {
            Data::File(_, len) => *len,
            Data::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// The bytes, when they are in memory.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::File(..) => &[],
            Data::Memory(bytes) => bytes,
        }
    }

    pub(super) fn error(&self, fault: Fault) -> LoadError {
        LoadError::new(&self.name, fault)
    }

    pub(super) fn error_at(&self, offset: u64, fault: Fault) -> LoadError {
        LoadError::at(&self.name, offset, fault)
    }

    /// `len` bytes from `offset`; the caller has bounded `len` by what it has room for.
    pub(super) fn read(
        &self,
        offset: u64,
        len: u64,
        what: &'static str,
    ) -> Result<Vec<u8>, LoadError> {
        let present = self.len().saturating_sub(offset);
        if len > present {
            return Err(self.error_at(
                offset,
                Fault::Truncated {
                    what,
                    needed: len,
                    present,
                },
            ));
        }
        let too_large = || self.error(Fault::Io(io::ErrorKind::OutOfMemory.into()));
        match &self.data {
            Data::File(file, _) => {
                let mut bytes = vec![0; usize::try_from(len).map_err(|_| too_large())?];
                file.read_exact_at(&mut bytes, offset)
                    .map_err(|error| self.error_at(offset, Fault::Io(error)))?;
                Ok(bytes)
            }
            Data::Memory(bytes) => {
                // The length was compared above, and the vector's own length fits a usize.
                let start = usize::try_from(offset).unwrap_or(bytes.len());
                let end = start + usize::try_from(len).map_err(|_| too_large())?;
                Ok(bytes.get(start..end).unwrap_or_default().to_vec())
            }
        }
    }

    /// The first bytes, at most `len`.
    pub(super) fn prefix(&self, len: usize) -> Result<Vec<u8>, LoadError> {
        self.read(0, self.len().min(len as u64), "beginning")
    }

    /// All bytes, if they are not more than [`limit`].
    pub(super) fn into_bytes(self, ram: u32) -> Result<Vec<u8>, LoadError> {
        let limit = limit(ram);
        if self.len() > limit {
            return Err(self.error(Fault::FileTooLarge { limit, ram }));
        }
        match self.data {
            Data::Memory(bytes) => Ok(bytes),
            Data::File(..) => self.read(0, self.len(), "file"),
        }
    }
}
