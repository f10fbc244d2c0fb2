//! Images and what is behind them.
//!
//! Every file of a chain is opened, locked and checked here, so that a chain names only files that
//! its user allows ([`Backing`]), loops end, and errors say which file is meant.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ppckvm_devices::virtio::blk::SECTOR;

use super::Qcow2;
use super::behind::Behind;
use super::header::Header;
use super::storage::{FileStorage, read_padded};
use crate::host::block::backing::{self, Backing, folder_of};
use crate::host::block::error::{Chained, DiskError, DiskFault};
use crate::host::block::file::{Opened, Usage, identity_of, size};
use crate::host::block::format::{Foreign, Format};
use crate::host::block::lock::ImageFile;

/// How many files may be behind each other.
const MAX_DEPTH: usize = 64;

/// A file that holds the disk byte for byte, and its size.
struct RawFile(ImageFile, u64);

impl Behind for RawFile {
    fn size(&self) -> u64 {
        self.1
    }

    fn read(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        read_padded(&self.0, offset, to)
    }
}

/// A raw image behind another one. Its last sector may end early; the rest of it is zeros.
pub(in crate::host::block) fn raw(opened: Opened) -> Result<Box<dyn Behind>, DiskError> {
    let bytes = size(&opened.file).map_err(|error| DiskError::new(&opened.path, error.into()))?;
    Ok(Box::new(RawFile(
        opened.file,
        bytes.next_multiple_of(SECTOR),
    )))
}

/// Opens an image and all files behind it.
pub(in crate::host::block) fn open(opened: Opened, rule: Backing) -> Result<Qcow2, DiskError> {
    open_image(opened, rule, &mut Vec::new())
}

/// Puts a temporary layer, which takes all writes, in front of an image.
pub(in crate::host::block) fn overlay(
    path: &Path,
    base: Box<dyn Behind>,
) -> Result<Qcow2, DiskError> {
    let folder = temporary_folder();
    let fail = |fault| DiskError::new(path, fault);
    let file = tempfile::tempfile_in(&folder).map_err(|error| {
        let folder = folder.clone();
        fail(DiskFault::Overlay { folder, error })
    })?;
    let storage = Box::new(FileStorage::temporary(file));
    Qcow2::temporary(storage, base).map_err(|fault| {
        fail(match fault {
            DiskFault::Io(error) => DiskFault::Overlay { folder, error },
            fault => fault,
        })
    })
}

/// Where a temporary layer goes: it may grow to the size of a disk, and `/tmp` may be memory.
fn temporary_folder() -> PathBuf {
    std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
}

/// One image of a chain and what is behind it. `front` are the files in front of it.
fn open_image(
    opened: Opened,
    rule: Backing,
    front: &mut Vec<(u64, u64)>,
) -> Result<Qcow2, DiskError> {
    let Opened {
        path,
        file,
        identity,
        usage,
    } = opened;
    let fail = |fault| DiskError::new(&path, fault);
    let storage = FileStorage::new(file).map_err(|error| fail(error.into()))?;
    let header = Header::read(&storage).map_err(fail)?;
    if let (Some(why), Usage::Read) = (header.unsound, usage) {
        tracing::warn!(
            "disk {}: {why}; it is only read, but `qemu-img check -r all` should repair it",
            path.display()
        );
    }
    front.push(identity);
    let backing = match &header.backing {
        None => None,
        Some(name) => {
            let name = Path::new(OsStr::from_bytes(name));
            let format = header.backing_format.as_deref();
            let layer = open_backing(&path, name, format, rule, front);
            Some(layer.map_err(|refused| fail(in_chain(name, refused)))?)
        }
    };
    let writable = usage == Usage::Write;
    Qcow2::open(Box::new(storage), &header, backing, writable).map_err(fail)
}

/// Why a backing file was refused: by itself, or as part of a chain that is wrong as a whole.
enum Refused {
    File(DiskError),
    Format(String),
    Forbidden(Backing),
    Loop,
    Depth,
}

fn in_chain(name: &Path, refused: Refused) -> DiskFault {
    let file = || name.display().to_string();
    match refused {
        Refused::File(error) => DiskFault::Backing(Box::new(Chained(error))),
        Refused::Format(format) => DiskFault::BackingFormat {
            file: file(),
            format,
        },
        Refused::Forbidden(Backing::None) => DiskFault::BackingRefused { file: file() },
        Refused::Forbidden(_) => DiskFault::BackingElsewhere { file: file() },
        Refused::Loop => DiskFault::BackingLoop,
        Refused::Depth => DiskFault::BackingDepth(MAX_DEPTH),
    }
}

fn open_backing(
    image: &Path,
    name: &Path,
    format: Option<&str>,
    rule: Backing,
    front: &mut Vec<(u64, u64)>,
) -> Result<Box<dyn Behind>, Refused> {
    if front.len() >= MAX_DEPTH {
        return Err(Refused::Depth);
    }
    let path = folder_of(image).join(name);
    let path = path.strip_prefix("./").unwrap_or(&path);
    let file = rule.open(image, name).map_err(|refused| match refused {
        backing::Refused::Forbidden => Refused::Forbidden(rule),
        backing::Refused::Host(error) => {
            Refused::File(DiskError::new(path, DiskFault::Open(error)))
        }
    })?;
    let data = file.metadata();
    let data = data.map_err(|error| Refused::File(DiskError::new(path, error.into())))?;
    // Before it is locked: a loop leads back to what this machine has locked itself.
    if front.contains(&identity_of(&data)) {
        return Err(Refused::Loop);
    }
    let opened = Opened::lock(path, file, Usage::Read).map_err(Refused::File)?;
    let format = match format {
        Some("qcow2") => Format::Qcow2,
        Some("raw" | "file" | "host_device") => Format::Raw,
        Some(other) => return Err(Refused::Format(other.into())),
        // It is only read, so no guest has a say in what it looks like.
        None => match opened.probe().map_err(Refused::File)? {
            Ok(format) => format,
            Err(foreign) => return Err(Refused::Format(Foreign::to_string(&foreign))),
        },
    };
    match format {
        Format::Qcow2 => {
            let image = open_image(opened, rule, front).map_err(Refused::File)?;
            Ok(Box::new(image))
        }
        Format::Raw => raw(opened).map_err(Refused::File),
    }
}
