//! qcow2 images, through the `imago` crate in its synchronous form.
//!
//! Every file of a chain is opened, locked and checked here rather than by `imago`, so that a chain
//! names only files that this user could have named, loops end, and errors say which file is meant.
//! External data files are refused: an image could name any file of the host's as one, to be written.

mod header;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use imago::io_buffers::{IoVector, IoVectorMut};
use imago::qcow2::Qcow2 as Format;
use imago::raw::Raw as RawFormat;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatCreateBuilder};

use super::error::{Chained, DiskError, DiskFault};
use super::file::{Opened, Usage};
use super::format::{self, Foreign};
use super::raw;

/// A disk's contents, from a file and those behind it.
pub(super) type Layer = FormatAccess<imago::file::File>;

/// How many files may be behind each other.
const MAX_DEPTH: usize = 64;

/// A qcow2 image or an overlay.
pub(super) struct Qcow2 {
    /// Shared by all that read and write; whoever gives clusters back has it alone.
    layer: RwLock<Layer>,
    /// The image's own file, to make writes durable; an overlay needs none.
    durable: Option<File>,
}

impl Qcow2 {
    /// Opens an image and all files behind it.
    pub fn open(opened: Opened) -> Result<Self, DiskError> {
        let path = opened.path.clone();
        let writable = opened.usage == Usage::Write;
        let durable = writable
            .then(|| opened.file.try_clone())
            .transpose()
            .map_err(|error| DiskError::new(&path, error.into()))?;
        let layer = open_qcow2(opened, &mut Vec::new())?;
        Ok(Qcow2 {
            layer: RwLock::new(layer),
            durable,
        })
    }

    /// Puts a temporary layer, which takes all writes, in front of an image.
    pub fn overlay(path: &Path, base: Layer) -> Result<Self, DiskError> {
        let folder = temporary_folder();
        let make = || -> io::Result<Layer> {
            let file = imago::file::File::try_from(tempfile::tempfile_in(&folder)?)?;
            let size = base.size();
            let builder = Format::<_>::create_builder(file).size(size);
            let image = builder.create_open(DenyImplicitOpenGate::default(), |file| {
                Ok(Format::builder(file).backing(Some(base)))
            })?;
            Ok(FormatAccess::new(image))
        };
        let layer = make().map_err(|error| {
            let folder = folder.clone();
            DiskError::new(path, DiskFault::Overlay { folder, error })
        })?;
        Ok(Qcow2 {
            layer: RwLock::new(layer),
            durable: None,
        })
    }

    /// The layer itself, for an overlay in front of it.
    pub fn into_layer(self) -> Layer {
        self.layer
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn layer(&self) -> RwLockReadGuard<'_, Layer> {
        self.layer.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn size(&self) -> u64 {
        self.layer().size()
    }

    pub fn read(&self, to: IoVectorMut<'_>, offset: u64) -> io::Result<()> {
        self.layer().readv(to, offset)
    }

    pub fn write(&self, from: IoVector<'_>, offset: u64) -> io::Result<()> {
        self.layer().writev(from, offset)
    }

    /// Hands the tables that are cached here to the host.
    pub fn write_back(&self) -> io::Result<()> {
        // A temporary layer ends with this process: nothing of it needs to be anywhere.
        if self.durable.is_none() {
            return Ok(());
        }
        self.layer().flush()
    }

    /// Waits until the host's disk has all that was handed to the host.
    pub fn sync(&self) -> io::Result<()> {
        match &self.durable {
            Some(file) => file.sync_data(),
            None => Ok(()),
        }
    }

    pub fn write_zeroes(&self, offset: u64, bytes: u64, unmap: bool) -> io::Result<()> {
        if unmap {
            return self.discard(offset, bytes);
        }
        let zeroed = self.layer().write_zeroes(offset, bytes);
        self.or_written_zeros(zeroed, offset, bytes)
    }

    /// Gives clusters back; what cannot be given back becomes zeros, too.
    pub fn discard(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let mut layer = self.layer.write().unwrap_or_else(PoisonError::into_inner);
        let given_back = layer.discard_to_zero(offset, bytes);
        drop(layer);
        self.or_written_zeros(given_back, offset, bytes)
    }

    /// Version 2 knows no cluster of zeros: there, they are data.
    fn or_written_zeros(&self, tried: io::Result<()>, offset: u64, bytes: u64) -> io::Result<()> {
        match tried {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                let layer = self.layer();
                raw::each_piece_of_zeros(offset, bytes, |zeros, at| layer.write(zeros, at))
            }
            result => result,
        }
    }
}

/// Where a temporary layer goes: it may grow to the size of a disk, and `/tmp` may be memory.
fn temporary_folder() -> PathBuf {
    std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
}

/// One image of a chain and what is behind it. `front` are the files in front of it.
fn open_qcow2(opened: Opened, front: &mut Vec<(u64, u64)>) -> Result<Layer, DiskError> {
    let Opened {
        path,
        file,
        identity,
        usage,
    } = opened;
    let fail = |fault| DiskError::new(&path, fault);
    header::check(&file).map_err(fail)?;
    let damaged = |error: io::Error| {
        fail(match error.raw_os_error() {
            Some(_) => DiskFault::Io(error),
            None => DiskFault::Damaged(error.to_string()),
        })
    };
    let file = imago::file::File::try_from(file).map_err(|error| fail(error.into()))?;
    let writable = usage == Usage::Write;
    let mut image = Format::<_>::open_image(file, writable).map_err(damaged)?;
    image.set_data_file(None);

    front.push(identity);
    let name = image.implicit_backing_file().cloned();
    let backing = match name {
        None => None,
        Some(name) => {
            let format = image.implicit_backing_format().cloned();
            let folder = path.parent().unwrap_or(Path::new(""));
            let layer = open_backing(&folder.join(&name), format.as_deref(), front);
            Some(layer.map_err(|refused| fail(in_chain(&name, refused)))?)
        }
    };
    image.set_backing(backing);
    Ok(FormatAccess::new(image))
}

/// Why a backing file was refused: by itself, or as part of a chain that is wrong as a whole.
enum Refused {
    File(DiskError),
    Format(String),
    Loop,
    Depth,
}

fn in_chain(name: &str, refused: Refused) -> DiskFault {
    match refused {
        Refused::File(error) => DiskFault::Backing(Box::new(Chained(error))),
        Refused::Format(format) => DiskFault::BackingFormat {
            file: name.into(),
            format,
        },
        Refused::Loop => DiskFault::BackingLoop,
        Refused::Depth => DiskFault::BackingDepth(MAX_DEPTH),
    }
}

fn open_backing(
    path: &Path,
    format: Option<&str>,
    front: &mut Vec<(u64, u64)>,
) -> Result<Layer, Refused> {
    if front.len() >= MAX_DEPTH {
        return Err(Refused::Depth);
    }
    // Before it is locked: a loop leads back to what this machine has locked itself.
    let known = |identity: &(u64, u64)| front.contains(identity);
    if super::file::identity(path).as_ref().is_some_and(known) {
        return Err(Refused::Loop);
    }
    let opened = Opened::open(path, Usage::Read).map_err(Refused::File)?;
    let format = match format {
        Some("qcow2") => format::Format::Qcow2,
        Some("raw" | "file" | "host_device") => format::Format::Raw,
        Some(other) => return Err(Refused::Format(other.into())),
        // It is only read, so no guest has a say in what it looks like.
        None => match opened.probe().map_err(Refused::File)? {
            Ok(format) => format,
            Err(foreign) => return Err(Refused::Format(Foreign::to_string(&foreign))),
        },
    };
    match format {
        format::Format::Qcow2 => open_qcow2(opened, front).map_err(Refused::File),
        format::Format::Raw => raw_layer(opened).map_err(Refused::File),
    }
}

/// A raw image as a layer that is only read.
pub(super) fn raw_layer(opened: Opened) -> Result<Layer, DiskError> {
    let wrap = |file: File| -> io::Result<Layer> {
        let file = imago::file::File::try_from(file)?;
        Ok(FormatAccess::new(RawFormat::open_image(file, false)?))
    };
    wrap(opened.file).map_err(|error| DiskError::new(&opened.path, error.into()))
}
