//! Why a file was refused: always the file, the offset where there is one, the reason, the remedy.

use super::detect::Compression;
use crate::remedy::Remedy;
use ppckvm_fdt::blob::BlobFault;
use ppckvm_fdt::board::COMPATIBLE;
use ppckvm_fdt::overlay::OverlayError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A file that cannot be loaded, found before the guest starts.
#[derive(Debug, thiserror::Error)]
pub struct LoadError {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The offset in the file, in bytes, where one is known.
    pub offset: Option<u64>,
    /// The fault that was found in it.
    pub fault: Fault,
}

impl LoadError {
    pub(super) fn new(file: &Path, fault: Fault) -> LoadError {
        LoadError {
            file: file.to_owned(),
            offset: None,
            fault,
        }
    }

    pub(super) fn at(file: &Path, offset: u64, fault: Fault) -> LoadError {
        LoadError {
            file: file.to_owned(),
            offset: Some(offset),
            fault,
        }
    }
}

impl Fault {
    /// A reason that is made on the spot, and what to do about it.
    pub(super) fn image(reason: impl Into<String>, remedy: impl Into<Remedy>) -> Fault {
        Fault::Image {
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }
}

impl LoadError {
    /// Returns what would help, where an option of the machine's or something outside it does.
    pub fn remedy(&self) -> Option<Remedy> {
        match &self.fault {
            Fault::Image { remedy, .. } | Fault::Uimage { remedy, .. } => Some(*remedy),
            Fault::NotAKernel(kind) => Some(kind.remedy()),
            Fault::FileTooLarge { .. }
            | Fault::UnpacksTooLarge { .. }
            | Fault::Budget { .. }
            | Fault::NoRoom { .. } => Some(Remedy::MoreMemory),
            Fault::OutsideRam { end, .. } if *end <= BOARD_RAM => Some(Remedy::MoreMemory),
            _ => None,
        }
    }
}

impl NotAKernel {
    fn remedy(self) -> Remedy {
        match self {
            NotAKernel::DeviceTree => Remedy::PassAsDeviceTree,
            NotAKernel::Cpio => Remedy::PassAsInitrd,
            NotAKernel::Raw => Remedy::GiveLoadAddress,
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if let Some(offset) = self.offset {
            write!(f, "offset {offset:#x}: ")?;
        }
        write!(f, "{}", self.fault)
    }
}

/// The reason why a file cannot be loaded. Sizes and addresses are in bytes.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The operating system refuses the file.
    #[error("cannot be read: {0}; check the path and its permissions")]
    Io(io::Error),
    /// The file holds nothing.
    #[error("the file is empty; check how it was made")]
    Empty,
    /// Nobody writes to a FIFO.
    #[error(
        "nobody opened the fifo for writing within {} s; start the command that writes to it", .0.as_secs()
    )]
    NoWriter(Duration),
    /// Nothing comes through a pipe.
    #[error(
        "nothing came for {} s, and the end was not reached; check the command that writes to it, or \
         write its output to a file first", .0.as_secs()
    )]
    Silent(Duration),
    /// Reading the file costs more than any real file does.
    #[error(
        "reading, unpacking and hashing this file takes more than {limit} bytes of work; it is \
         damaged or made to waste time: build it again, or give the guest more memory"
    )]
    Budget {
        /// The most that is spent on a file.
        limit: u64,
    },
    /// The program has too many places that look like something that they are not.
    #[error(
        "more than {limit} places in the boot wrapper look like {what} and are none; it is damaged \
         or made to waste time: build it again, or pass the uImage or vmlinux of the same build"
    )]
    Guesses {
        /// The thing that is looked for.
        what: &'static str,
        /// The number of places that are looked at.
        limit: u32,
    },
    /// The file is larger than anything that a machine of this size can load.
    #[error(
        "the file has more than {limit} bytes, too many for a guest with {ram} bytes of ram; {}",
        Remedy::MoreMemory
    )]
    FileTooLarge {
        /// The most that is read.
        limit: u64,
        /// The guest's RAM.
        ram: u32,
    },
    /// The file ends before what its headers promise.
    #[error(
        "the {what} needs {needed} bytes from here, but the file ends after {present}; the file is truncated, copy it again"
    )]
    Truncated {
        /// The part that is not whole.
        what: &'static str,
        /// The part's size.
        needed: u64,
        /// The bytes of it that are there.
        present: u64,
    },
    /// The file is of a kind that cannot be a kernel.
    #[error("this is {0}")]
    NotAKernel(NotAKernel),
    /// A checksum does not match.
    #[error(transparent)]
    Checksum(Box<BadChecksum>),
    /// The image has another fault that keeps it from starting.
    #[error("{reason}; {remedy}")]
    Image {
        /// The reason.
        reason: String,
        /// The remedy.
        remedy: Remedy,
    },
    /// A field of a uImage header has a value that this guest cannot be started with.
    #[error("uImage {field} {value} is not supported; {remedy}")]
    Uimage {
        /// The field of the header.
        field: &'static str,
        /// The value, with its name where it has one.
        value: String,
        /// The remedy.
        remedy: Remedy,
    },
    /// The compression is not one that is unpacked.
    #[error(
        "{0} compression is not supported; unpack the file first, or pass the vmlinux or a gzip uImage of the same build"
    )]
    Compression(Compression),
    /// Images are inside images inside images.
    #[error("images are nested deeper than {0}; take the inner ones out by hand")]
    Nested(usize),
    /// Compressed data cannot be unpacked.
    #[error("the {compression} data is corrupt: {error}; copy or build the file again")]
    Packed {
        /// The format.
        compression: Compression,
        /// The decompressor's error.
        error: io::Error,
    },
    /// Compressed data ends early.
    #[error("the {0} data ends early; the file is truncated, copy it again")]
    PackedTruncated(Compression),
    /// Compressed data unpacks to more than there is room for.
    #[error(
        "the data unpacks to more than the {limit} bytes that there is room for; {}",
        Remedy::MoreMemory
    )]
    UnpacksTooLarge {
        /// The room, in bytes.
        limit: u64,
    },
    /// The ELF file is for another machine.
    #[error("elf {field} is {value}, not {wanted}; build the kernel for 32-bit big-endian powerpc")]
    ElfMachine {
        /// The field of the ELF header.
        field: &'static str,
        /// The field's value, with its name where it has one.
        value: String,
        /// The value that a 440 needs.
        wanted: &'static str,
    },
    /// The ELF file is malformed, or of a kind that is not loaded.
    #[error("{reason}; pass the vmlinux that the kernel's build leaves in its top directory")]
    Elf {
        /// The reason.
        reason: String,
    },
    /// A part of the kernel lies outside RAM.
    #[error(
        "the kernel occupies {start:#x} to {end:#x}, but ram ends at {ram:#x}; {}",
        more_memory(*end)
    )]
    OutsideRam {
        /// The part's first address.
        start: u32,
        /// The first address after the part.
        end: u64,
        /// The guest's RAM in bytes.
        ram: u32,
    },
    /// Two segments of an ELF file share addresses.
    #[error(
        "the segments at {first:#x} and {second:#x} overlap in physical memory; link the kernel again"
    )]
    SegmentsOverlap {
        /// The start of the lower segment.
        first: u32,
        /// The start of the higher segment.
        second: u32,
    },
    /// The entry point is not inside what is loaded, or misaligned.
    #[error("the entry point {entry:#x} {reason}; check how the image was made")]
    Entry {
        /// The entry point as the file has it.
        entry: u32,
        /// The reason why it cannot be one.
        reason: &'static str,
    },
    /// There is no room for something next to the kernel.
    #[error(
        "no room for the {size} bytes of the {what} below {top:#x} in {ram} bytes of ram: the kernel occupies {kernel}{slack}{bounds}; {}",
        more_room(bounds)
    )]
    NoRoom {
        /// The part that has no room.
        what: &'static str,
        /// The part's size.
        size: u64,
        /// The address below which it must end.
        top: u32,
        /// The guest's RAM in bytes.
        ram: u32,
        /// The kernel's addresses.
        kernel: String,
        /// The bytes that are kept free after the kernel.
        slack: Slack,
        /// Other things that keep memory, after a comma; empty where there are none.
        bounds: Box<str>,
    },
    /// The device tree is malformed.
    #[error("this is no device tree that can be used: {0}")]
    Blob(BlobFault),
    /// The overlay cannot be applied to the tree before it.
    #[error("this overlay cannot be applied: {0}")]
    Overlay(OverlayError),
    /// The device tree is for another board.
    #[error(
        "the device tree is for {found}, and this machine is {COMPATIBLE:?}; pass a tree for that board, or none to use the built-in one"
    )]
    Board {
        /// The root's compatible strings.
        found: String,
    },
}

/// What the board can hold at most, in bytes.
const BOARD_RAM: u64 = 1 << 30;

/// What to do where there is no room.
fn more_room(bounds: &str) -> &'static str {
    match bounds.is_empty() {
        true => "give the guest more memory",
        false => "leave more free there, or give the guest more memory",
    }
}

/// What to do about a kernel that ends outside RAM.
fn more_memory(end: u64) -> &'static str {
    match end > BOARD_RAM {
        true => "link the kernel lower: the board holds at most 1 GiB",
        false => "give the guest more memory, or link the kernel lower",
    }
}

/// A checksum that does not match, written as hexadecimal numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {sum} of the {what} is {actual}, but {place} says {expected}; the file is corrupt, copy or build it again"
)]
pub struct BadChecksum {
    /// The kind of checksum.
    pub sum: String,
    /// The part that the checksum is over.
    pub what: String,
    /// The place that says what it should be.
    pub place: &'static str,
    /// The checksum computed over the file.
    pub actual: String,
    /// The checksum found in the file.
    pub expected: String,
}

/// The bytes that are kept free after a kernel whose size in memory its file does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slack(pub u32);

impl fmt::Display for Slack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            bytes => write!(
                f,
                " and {bytes} bytes after it are kept for its bss, whose size only the vmlinux tells"
            ),
        }
    }
}

/// A kind of file that cannot be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAKernel {
    /// A device tree.
    #[error("a device tree, not a kernel; {}", Remedy::PassAsDeviceTree)]
    DeviceTree,
    /// An initial RAM file system.
    #[error("a cpio archive, not a kernel; {}", Remedy::PassAsInitrd)]
    Cpio,
    /// A file of none of the known kinds.
    #[error("none of the known image formats; {}", Remedy::GiveLoadAddress)]
    Raw,
}
