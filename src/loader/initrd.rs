//! Initial RAM disks and file systems.
//!
//! Linux takes a cpio archive, plain or compressed, or the image of one of five file systems. What
//! is neither it leaves alone, and then panics for want of a root file system, which says nothing
//! of the cause. Other programs may take anything.

use super::budget::Budget;
use super::detect::{Compression, Kind, PREFIX, detect};
use super::error::{Fault, LoadError};
use super::source::Source;
use super::{uimage, unpack};
use bytes::Bytes;
use std::path::{Path, PathBuf};

/// An initial RAM disk or file system, without a uImage header that it may have had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initrd {
    /// The file that it came from, for messages.
    pub file: PathBuf,
    /// The bytes that go into memory.
    pub bytes: Bytes,
}

/// How much is looked at; the last file system's magic number ends at 1082.
const BEGINNING: u64 = 2048;

/// File systems' magic numbers and where they are.
const FILE_SYSTEMS: [(usize, &[u8]); 16] = [
    // ext2, ext3, ext4
    (1080, &[0x53, 0xEF]),
    (0, b"-rom1fs-"),
    // cramfs, in both byte orders, also after 512 bytes
    (0, &[0x28, 0xCD, 0x3D, 0x45]),
    (0, &[0x45, 0x3D, 0xCD, 0x28]),
    (512, &[0x28, 0xCD, 0x3D, 0x45]),
    (512, &[0x45, 0x3D, 0xCD, 0x28]),
    // squashfs
    (0, b"hsqs"),
    (0, b"sqsh"),
    // minix
    (1040, &[0x13, 0x7F]),
    (1040, &[0x7F, 0x13]),
    (1040, &[0x13, 0x8F]),
    (1040, &[0x8F, 0x13]),
    (1040, &[0x24, 0x68]),
    (1040, &[0x68, 0x24]),
    (1040, &[0x24, 0x78]),
    (1040, &[0x78, 0x24]),
];

impl Initrd {
    /// Reads an initrd file for a guest with `ram` bytes of memory.
    pub fn read(path: &Path, ram: u32) -> Result<Initrd, LoadError> {
        Initrd::from_source(&Source::open(path, ram)?, ram)
    }

    /// Checks an initrd as [`Initrd::read`] does, from the file's bytes; `name` stands for it in
    /// messages.
    pub fn from_bytes(name: &Path, bytes: impl Into<Bytes>, ram: u32) -> Result<Initrd, LoadError> {
        Initrd::from_source(&Source::memory(name, bytes, ram)?, ram)
    }

    fn from_source(source: &Source, ram: u32) -> Result<Initrd, LoadError> {
        let file = source.name().to_owned();
        let bytes = match detect(&source.prefix(PREFIX)?) {
            Kind::Uimage => uimage::read_ramdisk(source, ram)?,
            _ => source.bytes(ram)?,
        };
        if bytes.is_empty() {
            return Err(source.error(Fault::Empty));
        }
        Ok(Initrd { file, bytes })
    }

    /// This archive, and behind it another that Linux unpacks over it.
    pub(super) fn with_overlay(&self, overlay: &Initrd, ram: u32) -> Result<Initrd, LoadError> {
        if self.is_file_system(ram) {
            let fault = Fault::image(
                "it is the image of a file system, to which no files can be added",
                "make a cpio archive, or attach it as a disk that root= names",
            );
            return Err(LoadError::new(&self.file, fault));
        }
        // Linux looks for the next archive where the address is a multiple of four.
        let end = self.bytes.len().next_multiple_of(4);
        let mut bytes = Vec::with_capacity(end + overlay.bytes.len());
        bytes.extend_from_slice(&self.bytes);
        bytes.resize(end, 0);
        bytes.extend_from_slice(&overlay.bytes);
        Ok(Initrd {
            file: self.file.clone(),
            bytes: bytes.into(),
        })
    }

    /// Whether this is no archive but the image of a file system, plain or compressed.
    fn is_file_system(&self, ram: u32) -> bool {
        match detect(&self.bytes) {
            Kind::Compressed(Compression::Lzo) => false,
            Kind::Compressed(known) => {
                let budget = Budget::new(ram);
                let start = unpack::beginning(known, &self.bytes, BEGINNING, &budget);
                start.is_ok_and(|start| has_magic(&start))
            }
            _ => has_magic(&self.bytes),
        }
    }

    /// Refuses what Linux cannot use.
    pub(super) fn check_for_linux(&self, ram: u32) -> Result<(), LoadError> {
        let reason = match detect(&self.bytes) {
            // Whether its own decompressor can read it, the kernel says.
            Kind::Compressed(Compression::Lzo) => return Ok(()),
            Kind::Compressed(known) => {
                let budget = Budget::new(ram);
                match unpack::beginning(known, &self.bytes, BEGINNING, &budget) {
                    Ok(start) if !start.is_empty() && !is_initrd(&start) => {
                        format!("{known} data with {} inside", describe(&start))
                    }
                    _ => return Ok(()),
                }
            }
            _ if is_initrd(&self.bytes) => return Ok(()),
            _ => describe(&self.bytes).to_owned(),
        };
        let fault = Fault::image(
            format!("linux cannot use this as an initrd: it is {reason}"),
            "make a cpio archive, for example with 'find . | cpio -o -H newc | gzip', or pass an \
             image of ext2, minix, romfs, cramfs or squashfs with root=/dev/ram0",
        );
        Err(LoadError::new(&self.file, fault))
    }
}

/// Whether these are the first bytes of an archive, after zeros that Linux skips, or of one of the
/// file systems that it looks for in a RAM disk.
fn is_initrd(bytes: &[u8]) -> bool {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(0);
    detect(&bytes[start..]) == Kind::Cpio || has_magic(bytes)
}

/// Whether these are the first bytes of one of the file systems that Linux looks for in a RAM disk.
fn has_magic(bytes: &[u8]) -> bool {
    let holds = |(offset, magic): &(usize, &[u8])| {
        let rest = bytes.get(*offset..);
        rest.is_some_and(|rest| rest.starts_with(magic))
    };
    FILE_SYSTEMS.iter().any(holds)
}

fn describe(bytes: &[u8]) -> &'static str {
    match detect(bytes) {
        Kind::Uimage => "a uImage",
        Kind::Fdt => "a device tree",
        Kind::Elf => "an elf file",
        Kind::TreeImage => "a treeImage",
        Kind::Compressed(_) => "compressed data",
        Kind::Cpio | Kind::Raw if bytes.starts_with(b"070707") => {
            "a cpio archive of the old form, which linux does not read"
        }
        Kind::Cpio | Kind::Raw => "neither a cpio archive nor a file system",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> Option<String> {
        let initrd = Initrd::from_bytes("disk".as_ref(), bytes.to_vec(), 64 << 20).unwrap();
        let checked = initrd.check_for_linux(64 << 20);
        checked.err().map(|error| error.to_string())
    }

    #[test]
    fn linux_takes_archives_and_file_systems() {
        for (offset, magic) in FILE_SYSTEMS
            .iter()
            .chain(&[(0, &b"070701"[..]), (8, b"070702")])
        {
            let mut image = vec![0; *offset];
            image.extend_from_slice(magic);
            image.resize(2048, 0);
            assert_eq!(refusal(&image), None, "{magic:x?} at {offset}");
        }
    }

    #[test]
    fn an_overlay_follows_on_a_boundary_of_four_and_only_an_archive_takes_one() {
        let read = |bytes: &[u8]| Initrd::from_bytes("disk".as_ref(), bytes.to_vec(), 64 << 20);
        let overlay = read(b"070701overlay").unwrap();
        let both = read(b"070701x").unwrap().with_overlay(&overlay, 64 << 20);
        assert_eq!(&both.unwrap().bytes[..], b"070701x\x00070701overlay");
        let disk = read(b"hsqs of squashfs").unwrap();
        let error = disk.with_overlay(&overlay, 64 << 20).unwrap_err();
        assert!(
            error.to_string().contains("no files can be added"),
            "{error}"
        );
    }

    #[test]
    fn what_linux_cannot_use_is_refused_with_what_it_is() {
        for (bytes, what) in [
            (&b"\x7fELF\x02\x01"[..], "an elf file"),
            (b"root:x:0:0:", "neither a cpio archive nor a file system"),
            (b"070707000", "a cpio archive of the old form"),
            (b"\xd0\x0d\xfe\xed", "a device tree"),
        ] {
            let message = refusal(bytes).unwrap();
            assert!(
                message.starts_with("disk: linux cannot use this as an initrd: it is "),
                "{message}"
            );
            assert!(message.contains(what), "{message}");
            assert!(message.contains("; make a cpio archive"), "{message}");
        }
    }
}
