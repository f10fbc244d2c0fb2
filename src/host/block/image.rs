//! A disk that is open: one way to read and write it, whatever holds its contents.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use ppckvm_devices::virtio::blk::{Lease, Medium, SECTOR};
use vm_memory::VolatileSlice;
use vm_memory::bitmap::BitmapSlice;

use super::backing::Backing;
use super::buffers::{Buffers, length};
use super::disk::{Access, Contents, Disk};
use super::error::{DiskError, DiskFault};
use super::file::{Opened, Usage};
use super::format::Format;
use super::qcow2::Qcow2;
use super::qcow2::chain;
use super::raw::Raw;
use crate::host::lock::lock;

enum Layers {
    Raw(Raw),
    Qcow2(Box<Qcow2>),
}

/// A disk that is open and locked.
pub(crate) struct Image {
    name: PathBuf,
    layers: Layers,
    /// A whole number of sectors.
    bytes: u64,
    readonly: bool,
    serial: String,
    /// Whether anything was written since the last flush.
    unflushed: AtomicBool,
    /// Why the host could not write to its disk, once. It forgets what it could not write, so a
    /// later flush that succeeds would promise what is lost: all later ones fail too.
    sync_failed: Mutex<Option<io::ErrorKind>>,
    /// What was reported already.
    reported: Mutex<BTreeSet<(&'static str, io::ErrorKind)>>,
}

impl Image {
    /// Opens what `disk` names; says in the log what it was taken for.
    pub fn open(disk: &Disk) -> Result<Self, DiskError> {
        let name = disk.name();
        let fail = |fault| DiskError::new(&name, fault);
        let (layers, format) = match &disk.contents {
            Contents::Memory(memory) => {
                let file = memory.file();
                let file = file.map_err(|error| fail(DiskFault::Memory(error)))?;
                let opened = Opened::unlocked(&name, file);
                let opened = opened.map_err(|error| fail(error.into()))?;
                open_layers(opened, Some(Format::Raw), disk.access, disk.backing)?
            }
            Contents::File(path) => {
                let usage = match disk.access {
                    Access::ReadWrite => Usage::Write,
                    Access::ReadOnly | Access::Overlay => Usage::Read,
                };
                let opened = Opened::open(path, usage)?;
                open_layers(opened, disk.format, disk.access, disk.backing)?
            }
        };
        let bytes = match &layers {
            Layers::Raw(raw) => raw.size().map_err(|error| fail(error.into()))?,
            Layers::Qcow2(image) => image.size(),
        };
        if bytes == 0 {
            return Err(fail(DiskFault::Empty));
        }
        let bytes = match &layers {
            // A file that ends in a sector is one whose last sector is not written to its end yet.
            Layers::Raw(_) => bytes.next_multiple_of(SECTOR),
            Layers::Qcow2(_) if !bytes.is_multiple_of(SECTOR) => {
                return Err(fail(DiskFault::Sectors { bytes }));
            }
            Layers::Qcow2(_) => bytes,
        };
        let readonly = disk.access == Access::ReadOnly;
        tracing::info!(
            "disk {}: {format}{}, {bytes} bytes{}",
            name.display(),
            if disk.format.is_some() {
                ""
            } else {
                " by its first bytes"
            },
            match disk.access {
                Access::ReadWrite => "",
                Access::ReadOnly => ", read-only",
                Access::Overlay => ", writes go to a temporary overlay",
            }
        );
        Ok(Image {
            name,
            layers,
            bytes,
            readonly,
            serial: disk.serial_number().into(),
            unflushed: AtomicBool::new(false),
            sync_failed: Mutex::new(None),
            reported: Mutex::new(BTreeSet::new()),
        })
    }

    /// The name that messages use.
    pub fn name(&self) -> &Path {
        &self.name
    }

    fn check(&self, offset: u64, bytes: u64) -> io::Result<()> {
        match offset.checked_add(bytes) {
            Some(end) if end <= self.bytes => Ok(()),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{bytes} bytes at {offset:#x} are not on the disk"),
            )),
        }
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.readonly {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(())
    }

    /// Says on the host, once for each kind of failure, what the guest sees as an I/O error.
    fn report(&self, what: &'static str, error: io::Error) -> io::Error {
        let known = !lock(&self.reported).insert((what, error.kind()));
        if !known {
            tracing::warn!(
                "disk {}: {what}: {error}; the guest sees an i/o error",
                self.name.display()
            );
        }
        error
    }
}

impl Medium for Image {
    fn sectors(&self) -> u64 {
        self.bytes / SECTOR
    }

    fn readonly(&self) -> bool {
        self.readonly
    }

    fn serial(&self) -> &str {
        &self.serial
    }

    fn read<B: BitmapSlice>(
        &self,
        offset: u64,
        to: &[VolatileSlice<'_, B>],
        lease: &Lease,
    ) -> io::Result<()> {
        self.check(offset, length(to))?;
        let read = |offset, piece: &mut [u8]| match &self.layers {
            Layers::Raw(raw) => raw.read(offset, piece),
            Layers::Qcow2(image) => image.read(offset, piece),
        };
        let result = Buffers::new(to, lease).read_from(offset, read);
        result.map_err(|error| self.report("read", error))
    }

    fn write<B: BitmapSlice>(
        &self,
        offset: u64,
        from: &[VolatileSlice<'_, B>],
        lease: &Lease,
    ) -> io::Result<()> {
        self.check(offset, length(from))?;
        self.check_writable()?;
        let write = |offset, piece: &[u8]| match &self.layers {
            Layers::Raw(raw) => raw.write(offset, piece),
            Layers::Qcow2(image) => image.write(offset, piece),
        };
        let result = Buffers::new(from, lease).write_to(offset, write);
        // Whatever of it was written is to be flushed. After the write, so that a flush that comes
        // between does not take it as done.
        self.unflushed.store(true, Ordering::SeqCst);
        result.map_err(|error| self.report("write", error))
    }

    fn flush(&self) -> io::Result<()> {
        // Held meanwhile: a second flush must not return before the first one is through.
        let mut failed = lock(&self.sync_failed);
        if let Some(kind) = *failed {
            return Err(io::Error::new(kind, "an earlier flush failed"));
        }
        if !self.unflushed.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        let result = match &self.layers {
            Layers::Raw(raw) => raw.sync().inspect_err(|error| *failed = Some(error.kind())),
            // It knows by itself what it may try again.
            Layers::Qcow2(image) => image.flush(),
        };
        result.map_err(|error| {
            self.unflushed.store(true, Ordering::SeqCst);
            self.report("flush", error)
        })
    }

    fn discard(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.check(offset, bytes)?;
        self.check_writable()?;
        let result = match &self.layers {
            _ if bytes == 0 => Ok(()),
            Layers::Raw(raw) => raw.discard(offset, bytes),
            Layers::Qcow2(image) => image.discard(offset, bytes),
        };
        self.unflushed.store(true, Ordering::SeqCst);
        result.map_err(|error| self.report("discard", error))
    }

    fn write_zeroes(&self, offset: u64, bytes: u64, unmap: bool) -> io::Result<()> {
        self.check(offset, bytes)?;
        self.check_writable()?;
        let result = match &self.layers {
            _ if bytes == 0 => Ok(()),
            Layers::Raw(raw) => raw.write_zeroes(offset, bytes, unmap),
            Layers::Qcow2(image) => image.write_zeroes(offset, bytes, unmap),
        };
        self.unflushed.store(true, Ordering::SeqCst);
        result.map_err(|error| self.report("write zeroes", error))
    }
}

impl Drop for Image {
    /// Leaves an image that is whole, also when the guest did not flush.
    fn drop(&mut self) {
        // What it has to say is said by `report`.
        let _ = self.flush();
    }
}

fn open_layers(
    opened: Opened,
    given: Option<Format>,
    access: Access,
    rule: Backing,
) -> Result<(Layers, Format), DiskError> {
    let path = opened.path.clone();
    let format = match given {
        Some(format) => format,
        None => opened
            .probe()?
            .map_err(|foreign| DiskError::new(&path, DiskFault::Foreign(foreign)))?,
    };
    let overlay = access == Access::Overlay;
    let layers = match format {
        Format::Raw if overlay => Layers::Qcow2(chain::overlay(&path, chain::raw(opened)?)?.into()),
        Format::Raw => Layers::Raw(Raw::new(opened.file, given.is_none())),
        Format::Qcow2 => {
            let image = Box::new(chain::open(opened, rule)?);
            Layers::Qcow2(match overlay {
                true => chain::overlay(&path, image)?.into(),
                false => image,
            })
        }
    };
    Ok((layers, format))
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image")
            .field("name", &self.name)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
