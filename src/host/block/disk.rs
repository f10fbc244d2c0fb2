//! What a disk is, as options.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, memfd_create};

use super::backing::Backing;
use super::file::size;
use super::format::Format;

/// Characters that a serial number may have (virtio 1.2, 5.2.6).
const SERIAL_BYTES: usize = 20;

/// Where a disk's contents are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    File(PathBuf),
    Memory(MemoryDisk),
}

/// What may happen to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    ReadWrite,
    ReadOnly,
    /// The guest writes, and the image stays as it is.
    Overlay,
}

/// A disk to attach to a machine.
///
/// ```no_run
/// use ppckvm::{Disk, DiskFormat};
///
/// let root = Disk::file("root.qcow2").format(DiskFormat::Qcow2).overlay();
/// let data = Disk::file("data.img").serial("DATA")?;
/// # Ok::<(), ppckvm::SerialNumberError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    pub(super) contents: Contents,
    pub(super) format: Option<Format>,
    pub(super) access: Access,
    pub(super) backing: Backing,
    serial: String,
}

impl Disk {
    /// An image in a file or on a block device, which the guest may write.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Disk::new(Contents::File(path.into()))
    }

    /// A disk in memory, which the guest may write.
    pub fn memory(memory: &MemoryDisk) -> Self {
        Disk::new(Contents::Memory(memory.clone()))
    }

    fn new(contents: Contents) -> Self {
        Disk {
            contents,
            format: None,
            access: Access::ReadWrite,
            backing: Backing::default(),
            serial: String::new(),
        }
    }

    /// Where its image is; none for a disk in memory.
    #[cfg(feature = "control")]
    pub(crate) fn path(&self) -> Option<&std::path::Path> {
        match &self.contents {
            Contents::File(path) => Some(path),
            Contents::Memory(_) => None,
        }
    }

    /// The format that was named for it.
    #[cfg(feature = "control")]
    pub(crate) fn named_format(&self) -> Option<Format> {
        self.format
    }

    /// Whether the guest cannot write it.
    #[cfg(feature = "control")]
    pub(crate) fn is_read_only(&self) -> bool {
        self.access == Access::ReadOnly
    }

    /// Sets the image's format, in place of what its first bytes say; a disk in memory is always
    /// raw.
    pub fn format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    /// Sets which backing files the images may have; by default those in their own folder.
    pub fn backing(mut self, rule: Backing) -> Self {
        self.backing = rule;
        self
    }

    /// Lets the guest only read.
    pub fn readonly(mut self) -> Self {
        self.access = Access::ReadOnly;
        self
    }

    /// Keeps the image as it is: what the guest writes goes to a temporary file that ends with the
    /// machine.
    pub fn overlay(mut self) -> Self {
        self.access = Access::Overlay;
        self
    }

    /// Sets the serial number that the guest sees.
    ///
    /// # Errors
    /// Anything but 1 to 20 printable ASCII characters.
    pub fn serial(mut self, serial: impl Into<String>) -> Result<Self, SerialNumberError> {
        let serial = serial.into();
        let printable = serial.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if !printable || !(1..=SERIAL_BYTES).contains(&serial.len()) {
            return Err(SerialNumberError);
        }
        self.serial = serial;
        Ok(self)
    }

    /// The name that messages use.
    pub(super) fn name(&self) -> PathBuf {
        match &self.contents {
            Contents::File(path) => path.clone(),
            Contents::Memory(_) => "in memory".into(),
        }
    }

    /// The image's file; `None` for a disk in memory.
    pub fn image(&self) -> Option<&Path> {
        match &self.contents {
            Contents::File(path) => Some(path),
            Contents::Memory(_) => None,
        }
    }

    /// The format that was given; `None` when the first bytes are to say it.
    pub fn given_format(&self) -> Option<Format> {
        self.format
    }

    /// The rule for which backing files the images may have.
    pub fn backing_rule(&self) -> Backing {
        self.backing
    }

    /// Whether the guest may only read.
    pub fn is_readonly(&self) -> bool {
        self.access == Access::ReadOnly
    }

    /// Whether what the guest writes leaves the image as it is.
    pub fn is_overlay(&self) -> bool {
        self.access == Access::Overlay
    }

    /// The serial number, empty when none was given.
    pub fn serial_number(&self) -> &str {
        &self.serial
    }
}

/// The text is not a serial number of a disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a serial number has 1 to 20 printable ASCII characters")]
pub struct SerialNumberError;

/// A disk whose bytes are in memory, shared with the machine that it is attached to; clones are the
/// same disk. What the guest writes is seen here.
#[derive(Clone, Debug)]
pub struct MemoryDisk(Arc<File>);

impl PartialEq for MemoryDisk {
    /// Whether both are the same disk.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for MemoryDisk {}

impl MemoryDisk {
    /// A disk with these contents. The guest sees a size that is rounded up to 512 bytes; what it
    /// writes there makes the disk longer.
    ///
    /// # Errors
    /// The host has not enough memory.
    pub fn new(contents: impl AsRef<[u8]>) -> io::Result<Self> {
        let disk = MemoryDisk::zeros(contents.as_ref().len() as u64)?;
        disk.0.write_all_at(contents.as_ref(), 0)?;
        Ok(disk)
    }

    /// A disk of so many zero bytes, which take memory when they are written.
    ///
    /// # Errors
    /// The host has not enough memory.
    pub fn zeros(bytes: u64) -> io::Result<Self> {
        let file = File::from(memfd_create("ppckvm-disk", MemfdFlags::CLOEXEC)?);
        file.set_len(bytes)?;
        Ok(MemoryDisk(Arc::new(file)))
    }

    /// Returns what is on the disk now.
    ///
    /// # Errors
    /// The host's error.
    pub fn contents(&self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(size(&self.0)?).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    pub(super) fn file(&self) -> io::Result<File> {
        self.0.try_clone()
    }
}
