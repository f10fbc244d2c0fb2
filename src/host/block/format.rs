//! Image formats, and what the first bytes of a file say about its own.
//!
//! Without `format=`, an image that starts with qcow2's magic is qcow2, one that starts with another
//! hypervisor's is refused, and all others are raw. A guest owns every byte of a raw disk, so it
//! could write a qcow2 header there that names any file of the host's as its backing file, and wait
//! for the next start. Therefore a raw image whose format was not given refuses that one write (see
//! [`super::raw`]); QEMU does the same.

use std::fmt;
use std::str::FromStr;

/// The way in which an image holds the disk's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The disk's bytes, and nothing else.
    Raw,
    /// QEMU's copy-on-write format, version 2 or 3.
    Qcow2,
}

/// The first bytes of every qcow2 image.
pub(super) const QCOW2_MAGIC: [u8; 4] = *b"QFI\xFB";

/// How many of a file's first bytes [`probe`] wants to see.
pub(super) const PROBE_BYTES: usize = 68;

/// An image format that is recognised and not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// VMware's format.
    Vmdk,
    /// VirtualBox's format.
    Vdi,
    /// Hyper-V's format.
    Vhdx,
    /// QEMU's former format.
    Qed,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Foreign::Vmdk => "VMDK",
            Foreign::Vdi => "VDI",
            Foreign::Vhdx => "VHDX",
            Foreign::Qed => "QED",
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
        })
    }
}

/// The text does not name a disk format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use raw or qcow2")]
pub struct ParseFormatError;

impl FromStr for Format {
    type Err = ParseFormatError;

    fn from_str(text: &str) -> Result<Self, ParseFormatError> {
        match text {
            "raw" => Ok(Format::Raw),
            "qcow2" => Ok(Format::Qcow2),
            _ => Err(ParseFormatError),
        }
    }
}

/// The format of a file that starts with `start`.
pub(super) fn probe(start: &[u8]) -> Result<Format, Foreign> {
    const VDI_SIGNATURE: [u8; 4] = 0xBEDA_107F_u32.to_le_bytes();
    match start {
        [b'Q', b'F', b'I', 0xFB, ..] => Ok(Format::Qcow2),
        [b'K', b'D', b'M', b'V', ..] => Err(Foreign::Vmdk),
        [b'Q', b'E', b'D', 0, ..] => Err(Foreign::Qed),
        [b'v', b'h', b'd', b'x', b'f', b'i', b'l', b'e', ..] => Err(Foreign::Vhdx),
        _ if start.get(64..68) == Some(&VDI_SIGNATURE) => Err(Foreign::Vdi),
        _ => Ok(Format::Raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_format() {
        assert_eq!(probe(b"QFI\xFB\0\0\0\x03"), Ok(Format::Qcow2));
        assert_eq!(probe(b""), Ok(Format::Raw));
        assert_eq!(probe(&[0; PROBE_BYTES]), Ok(Format::Raw));
        assert_eq!(probe(b"QFI"), Ok(Format::Raw));
        assert_eq!(probe(b"KDMV\x01"), Err(Foreign::Vmdk));
        assert_eq!(probe(b"vhdxfile"), Err(Foreign::Vhdx));
        assert_eq!(probe(b"QED\0"), Err(Foreign::Qed));
        let mut vdi = [0; PROBE_BYTES];
        vdi[64..].copy_from_slice(&[0x7F, 0x10, 0xDA, 0xBE]);
        assert_eq!(probe(&vdi), Err(Foreign::Vdi));
    }

    #[test]
    fn a_format_is_written_as_it_is_read() {
        for format in [Format::Raw, Format::Qcow2] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert_eq!("vmdk".parse::<Format>(), Err(ParseFormatError));
    }
}
