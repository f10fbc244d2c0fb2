//! Why a disk was refused: always the file, the reason, the remedy. Nothing was started.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::format::Foreign;

/// An image that cannot be used as a disk, found before the guest starts.
#[derive(Debug, thiserror::Error)]
pub struct DiskError {
    /// The image, as it was named.
    pub file: PathBuf,
    /// The fault that was found in it.
    pub fault: DiskFault,
}

impl DiskError {
    pub(super) fn new(file: &Path, fault: DiskFault) -> Self {
        DiskError {
            file: file.to_owned(),
            fault,
        }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("disk ")?;
        write_fault(f, &self.file, &self.fault)
    }
}

/// Says what is wrong with a file, and the command to repair it, ready to be used.
fn write_fault(f: &mut fmt::Formatter<'_>, file: &Path, fault: &DiskFault) -> fmt::Result {
    let file = file.display();
    write!(f, "{file}: {fault}")?;
    if let DiskFault::Damaged(_) = fault {
        write!(
            f,
            "; copy it, then repair it with `qemu-img check -r all {file}`"
        )?;
    }
    Ok(())
}

/// The reason why an image cannot be used as a disk. Sizes and offsets are in bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskFault {
    /// The operating system refuses the file.
    #[error("cannot be opened: {0}; check the path and its permissions")]
    Open(io::Error),
    /// The file may be read, but not written.
    #[error("cannot be opened for writing: {0}; add readonly, or overlay to keep writes apart")]
    OpenForWriting(io::Error),
    /// The operating system fails on the open file.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The path leads to a directory, a socket, a terminal or the like.
    #[error("is no regular file and no block device; name an image")]
    NotAnImage,
    /// The file holds no bytes.
    #[error("is empty; give it a size, for example with `truncate -s 1G`")]
    Empty,
    /// A qcow2 header has a size that no disk has.
    #[error(
        "has {bytes} bytes, which is no number of 512-byte sectors; give it a size with `qemu-img resize`"
    )]
    Sectors {
        /// The size in the header, in bytes.
        bytes: u64,
    },
    /// Another machine writes to the image.
    #[error("is in use: another machine writes to it; end that one, or copy the image")]
    Written,
    /// Another machine reads the image, so this one cannot write to it.
    #[error(
        "is in use: another machine reads it; end that one, or add readonly, or overlay to keep writes apart"
    )]
    Read,
    /// The image has a format of another hypervisor, and raw was not asked for.
    #[error(
        "is a {0} image; convert it with `qemu-img convert -O qcow2`, or add format=raw to use its bytes as they are"
    )]
    Foreign(Foreign),
    /// The file does not begin with qcow2's magic, though qcow2 was asked for.
    #[error("is no qcow2 image: it starts with {start:02x?}; give it another format")]
    NotQcow2 {
        /// The file's first bytes.
        start: [u8; 4],
    },
    /// The qcow2 image contradicts itself.
    #[error("is a damaged qcow2 image: {0}")]
    Damaged(String),
    /// The qcow2 image has a feature that is not supported.
    #[error("is a qcow2 image with {what}, which is not supported; {remedy}")]
    Unsupported {
        /// The feature.
        what: String,
        /// The way to be rid of it.
        remedy: &'static str,
    },
    /// A backing file has a format that is not supported.
    #[error(
        "has a backing file {file} of format `{format}`, which is not supported; change it with `qemu-img rebase`"
    )]
    BackingFormat {
        /// The backing file, as the image names it.
        file: String,
        /// The format, as the image names it.
        format: String,
    },
    /// A backing file cannot be used.
    #[error("its backing file {0}")]
    Backing(Box<Chained>),
    /// The image has a backing file where none is allowed.
    #[error(
        "has the backing file {file}, and backing=none allows none; add backing=beside to allow one in its own folder"
    )]
    BackingRefused {
        /// The backing file, as the image names it.
        file: String,
    },
    /// A backing file lies outside the folder that is allowed.
    #[error(
        "has the backing file {file}, which is not in its own folder, or is a link; if you trust the image, \
         add backing=any to let the guest read that file"
    )]
    BackingElsewhere {
        /// The backing file, as the image names it.
        file: String,
    },
    /// The image is, in the end, its own backing file.
    #[error("its backing files lead back to it; give one of them another with `qemu-img rebase`")]
    BackingLoop,
    /// The image has more backing files in a row than this number.
    #[error("has more than {0} backing files behind each other; merge some with `qemu-img commit`")]
    BackingDepth(usize),
    /// The temporary layer of an overlay cannot be made.
    #[error("no temporary file for its overlay in {}: {error}; set TMPDIR to a folder with room", folder.display())]
    Overlay {
        /// The folder where it was to be.
        folder: PathBuf,
        /// The host's error.
        error: io::Error,
    },
    /// The host has no thread left for the disk.
    #[error("the host gives no thread to serve it: {0}")]
    Threads(io::Error),
    /// The host has not enough memory for a disk in memory.
    #[error("the host gives no memory for it: {0}")]
    Memory(io::Error),
}

impl DiskFault {
    pub(super) fn unsupported(what: impl Into<String>, remedy: &'static str) -> Self {
        DiskFault::Unsupported {
            what: what.into(),
            remedy,
        }
    }
}

/// The fault of one backing file, named as part of the image in front of it.
#[derive(Debug)]
pub struct Chained(pub DiskError);

impl fmt::Display for Chained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DiskError { file, fault } = &self.0;
        match fault {
            DiskFault::Open(error) => {
                write!(
                    f,
                    "{} cannot be opened: {error}; put it there, ",
                    file.display()
                )?;
                f.write_str("or name the right one with `qemu-img rebase -u`")
            }
            fault => write_fault(f, file, fault),
        }
    }
}
