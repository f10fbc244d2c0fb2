//! A file's bytes, read only as far as they are needed, and each at most once.
//!
//! A vmlinux with debug information has hundreds of megabytes, of which a few are loaded. So a
//! regular file is read by ranges. What has no length (a pipe, a device, a file of `/proc`) is read
//! whole, up to a limit, when it is opened: it cannot be opened or read a second time. Parts of what
//! is in memory are shared, not copied.

use super::budget::Budget;
use super::error::{Fault, LoadError};
use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A named run of bytes, opened; clones share the bytes, and the budget for reading them.
#[derive(Clone, Debug)]
pub struct Source {
    name: PathBuf,
    data: Data,
    budget: Rc<Budget>,
}

/// Where the bytes are.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    /// In a regular file of this length.
    File(Arc<File>, u64),
    /// In memory.
    Memory(Bytes),
}

/// How long is waited for what comes through a pipe.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Until somebody opens a FIFO for writing.
    pub writer: Duration,
    /// Until more bytes come.
    pub silence: Duration,
}

/// A command that unpacks or downloads what it writes is silent for a while; one that never opens
/// the FIFO was not started.
const PATIENCE: Patience = Patience {
    writer: Duration::from_secs(10),
    silence: Duration::from_secs(60),
};

/// The most that is read of a file for a guest with this much RAM: compressed and unpacked
/// images alike stay below it.
pub(super) fn limit(ram: u32) -> u64 {
    2 * u64::from(ram)
}

impl Data {
    /// Length in bytes.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Data::File(_, len) => *len,
            Data::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// `len` bytes from `offset`; none where they are not all there.
    ///
    /// # Errors
    /// What the host says.
    pub(crate) fn read(&self, offset: u64, len: u64) -> io::Result<Option<Bytes>> {
        let end = offset.checked_add(len).filter(|end| *end <= self.len());
        let (Some(_), Ok(size)) = (end, usize::try_from(len)) else {
            return Ok(None);
        };
        match self {
            Data::File(file, _) => {
                let mut bytes = vec![0; size];
                file.read_exact_at(&mut bytes, offset)?;
                Ok(Some(bytes.into()))
            }
            Data::Memory(bytes) => {
                // The end was compared above, and the length of what is in memory fits a usize.
                let start = usize::try_from(offset).unwrap_or(bytes.len());
                Ok(Some(bytes.slice(start..start + size)))
            }
        }
    }
}

impl Source {
    /// Opens a file; bytes that come from no regular file are read here.
    ///
    /// # Errors
    /// A file that cannot be opened, that is empty, or from which nothing comes.
    pub fn open(path: &Path, ram: u32) -> Result<Source, LoadError> {
        Source::open_within(path, ram, PATIENCE)
    }

    pub(super) fn open_within(
        path: &Path,
        ram: u32,
        patience: Patience,
    ) -> Result<Source, LoadError> {
        let io = |error| LoadError::new(path, Fault::Io(error));
        // A FIFO that nobody writes to would block here for ever.
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of open(2)");
        let mut options = OpenOptions::new();
        let options = options.read(true).custom_flags(nonblocking);
        let file = options.open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        let budget = Rc::new(Budget::new(ram));
        // Files of /proc are regular and say that they have no bytes.
        let data = if metadata.is_file() && metadata.len() > 0 {
            Data::File(Arc::new(file), metadata.len())
        } else {
            let fifo = metadata.file_type().is_fifo();
            let bytes = read_stream(&file, fifo, ram, patience);
            let bytes = bytes.map_err(|fault| LoadError::new(path, fault))?;
            Data::Memory(bytes.into())
        };
        let name = path.to_owned();
        Source { name, data, budget }.not_empty()
    }

    /// Makes a source of bytes in memory, named for messages.
    ///
    /// # Errors
    /// No bytes.
    pub fn memory(name: &Path, bytes: impl Into<Bytes>, ram: u32) -> Result<Source, LoadError> {
        Source {
            name: name.to_owned(),
            data: Data::Memory(bytes.into()),
            budget: Rc::new(Budget::new(ram)),
        }
        .not_empty()
    }

    /// What a layer of this file holds, which costs from the same budget.
    pub(super) fn inside(&self, name: PathBuf, bytes: Bytes) -> Result<Source, LoadError> {
        Source {
            name,
            data: Data::Memory(bytes),
            budget: self.budget.clone(),
        }
        .not_empty()
    }

    /// The same bytes for another reading, with a budget of its own.
    pub(crate) fn again(&self, ram: u32) -> Source {
        Source {
            budget: Rc::new(Budget::new(ram)),
            ..self.clone()
        }
    }

    fn not_empty(self) -> Result<Source, LoadError> {
        match self.len() {
            0 => Err(self.error(Fault::Empty)),
            _ => Ok(self),
        }
    }

    /// The name that messages use.
    pub fn name(&self) -> &Path {
        &self.name
    }

    pub(crate) fn data(&self) -> &Data {
        &self.data
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Counts bytes that are hashed or searched.
    pub(super) fn spend(&self, bytes: u64) -> Result<(), LoadError> {
        self.budget.spend(bytes).map_err(|fault| self.error(fault))
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.data.len()
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
    ) -> Result<Bytes, LoadError> {
        let present = self.len().saturating_sub(offset);
        if len > present {
            let fault = Fault::Truncated {
                what,
                needed: len,
                present,
            };
            return Err(self.error_at(offset, fault));
        }
        if matches!(self.data, Data::File(..)) {
            self.spend(len)?;
        }
        let read = self.data.read(offset, len);
        let read = read.map_err(|error| self.error_at(offset, Fault::Io(error)))?;
        read.ok_or_else(|| self.error(Fault::Io(ErrorKind::OutOfMemory.into())))
    }

    /// The first bytes, at most `len`.
    pub(super) fn prefix(&self, len: usize) -> Result<Bytes, LoadError> {
        self.read(0, self.len().min(len as u64), "beginning")
    }

    /// All bytes, if they are not more than [`limit`].
    pub(super) fn bytes(&self, ram: u32) -> Result<Bytes, LoadError> {
        let limit = limit(ram);
        if self.len() > limit {
            return Err(self.error(Fault::FileTooLarge { limit, ram }));
        }
        self.read(0, self.len(), "file")
    }
}

/// Reads to the end of what has no length.
fn read_stream(file: &File, fifo: bool, ram: u32, patience: Patience) -> Result<Vec<u8>, Fault> {
    let limit = limit(ram);
    let mut bytes = Vec::new();
    let mut has_writer = !fifo;
    loop {
        let room = (limit + 1).saturating_sub(bytes.len() as u64);
        match file.take(room).read_to_end(&mut bytes) {
            Ok(_) if bytes.len() as u64 > limit => return Err(Fault::FileTooLarge { limit, ram }),
            // Without a writer, a FIFO reads as one at its end.
            Ok(_) if bytes.is_empty() && !has_writer => {
                if !wait(file, patience.writer)? {
                    return Err(Fault::NoWriter(patience.writer));
                }
                has_writer = true;
            }
            Ok(_) => return Ok(bytes),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                has_writer = true;
                if !wait(file, patience.silence)? {
                    return Err(Fault::Silent(patience.silence));
                }
            }
            Err(error) => return Err(Fault::Io(error)),
        }
    }
}

/// Waits until there is something to read, or nobody left who could write; false when the time
/// is over.
fn wait(file: &File, time: Duration) -> Result<bool, Fault> {
    let time = Timespec {
        tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    loop {
        let mut files = [PollFd::new(file, PollFlags::IN)];
        match poll(&mut files, Some(&time)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Fault::Io(error.into())),
        }
    }
}
