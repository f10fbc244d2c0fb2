//! Legacy U-Boot images: a 64-byte big-endian header with two CRCs, then the data.
//!
//! The data of a multi-file image is a table of sizes, closed by a zero, then the parts, each on a
//! boundary of 4 bytes: the kernel, an initrd, a device tree.

use super::detect::{Compression, Kind, PREFIX, detect};
use super::error::{BadChecksum, Fault, LoadError};
use super::report::{Section, size};
use super::source::{Source, limit};
use super::{Mark, Target};
use crate::remedy::Remedy;
use bytes::Bytes;
use std::ops::Range;

/// Bytes before the data.
pub(super) const HEADER: u64 = 64;

/// The header's fields that loading needs.
pub(super) struct Header {
    size: u32,
    load: u32,
    entry: u32,
    header_crc: Crc,
    data_crc: u32,
    os: u8,
    arch: u8,
    kind: u8,
    compression: u8,
    name: String,
}

/// A checksum as it is and as the header says.
#[derive(Clone, Copy)]
struct Crc {
    actual: u32,
    expected: u32,
}

/// Offsets of the fields, for reading and for messages.
mod field {
    pub const HEADER_CRC: usize = 4;
    pub const SIZE: usize = 12;
    pub const LOAD: usize = 16;
    pub const ENTRY: usize = 20;
    pub const DATA_CRC: usize = 24;
    pub const OS: usize = 28;
    pub const ARCH: usize = 29;
    pub const TYPE: usize = 30;
    pub const COMPRESSION: usize = 31;
    pub const NAME: usize = 32;
}

const OS_LINUX: u8 = 5;
const ARCH_POWERPC: u8 = 7;
const TYPE_KERNEL: u8 = 2;
const TYPE_RAMDISK: u8 = 3;
const TYPE_MULTI: u8 = 4;
const TYPE_KERNEL_NOLOAD: u8 = 14;

const OS_NAMES: [(u8, &str); 6] = [
    (0, "invalid"),
    (2, "netbsd"),
    (5, "linux"),
    (14, "vxworks"),
    (17, "u-boot"),
    (18, "rtems"),
];
const ARCH_NAMES: [(u8, &str); 9] = [
    (0, "invalid"),
    (2, "arm"),
    (3, "x86"),
    (5, "mips"),
    (6, "mips64"),
    (7, "powerpc"),
    (22, "arm64"),
    (24, "x86_64"),
    (26, "riscv"),
];
const TYPE_NAMES: [(u8, &str); 9] = [
    (1, "standalone"),
    (2, "kernel"),
    (3, "ramdisk"),
    (4, "multi"),
    (5, "firmware"),
    (6, "script"),
    (7, "filesystem"),
    (8, "flat_dt"),
    (14, "kernel_noload"),
];
const COMPRESSIONS: [(u8, Compression); 6] = [
    (1, Compression::Gzip),
    (2, Compression::Bzip2),
    (3, Compression::Lzma),
    (4, Compression::Lzo),
    (5, Compression::Lz4),
    (6, Compression::Zstd),
];

fn named(value: u8, names: &[(u8, &str)]) -> String {
    match names.iter().find(|(number, _)| *number == value) {
        Some((number, name)) => format!("{number} ({name})"),
        None => value.to_string(),
    }
}

/// An initrd part of a multi-file image with fewer bytes than this is there to keep a place: even
/// an empty archive has more.
const PLACEHOLDER: usize = 16;

/// How many parts a multi-file image may have; mkimage and U-Boot know what to do with three.
const PARTS: usize = 16;

/// What a kernel image holds, as stored.
pub(super) struct KernelImage {
    /// The kernel.
    pub data: Bytes,
    pub compression: Option<Compression>,
    /// Where it goes; none for an image that runs where it lies.
    pub target: Option<Target>,
    /// The entry point in an image that runs where it lies, from the start of the data.
    pub entry: u32,
    pub initrd: Option<Bytes>,
    pub tree: Option<Bytes>,
    pub name: String,
}

/// Reads a uImage that must be a Linux kernel for PowerPC.
pub(super) fn read_kernel(source: &Source, ram: u32) -> Result<KernelImage, LoadError> {
    let header = Header::checked(source)?;
    header.expect_powerpc(source)?;
    let refuse = |offset: usize, field, value, remedy| {
        let fault = Fault::Uimage {
            field,
            value,
            remedy,
        };
        source.error_at(offset as u64, fault)
    };
    if ![TYPE_KERNEL, TYPE_MULTI, TYPE_KERNEL_NOLOAD].contains(&header.kind) {
        let remedy = match header.kind {
            TYPE_RAMDISK => Remedy::PassAsInitrd,
            _ => "pass a uImage of type kernel, or a vmlinux".into(),
        };
        let value = named(header.kind, &TYPE_NAMES);
        return Err(refuse(field::TYPE, "type", value, remedy));
    }
    if header.os != OS_LINUX {
        let remedy = "only linux is started from a uImage; pass other programs as elf files";
        return Err(refuse(
            field::OS,
            "os",
            named(header.os, &OS_NAMES),
            remedy.into(),
        ));
    }
    let target = (header.kind != TYPE_KERNEL_NOLOAD).then(|| Target {
        load: header.load,
        entry: header.entry,
        marks: Some(Mark {
            file: source.name().to_owned(),
            load: field::LOAD as u64,
            entry: field::ENTRY as u64,
        }),
    });
    let end = u64::from(header.load) + u64::from(header.size);
    if target.is_some() && header.load >= ram {
        let start = header.load;
        let fault = Fault::OutsideRam { start, end, ram };
        return Err(source.error_at(field::LOAD as u64, fault));
    }
    let stored = header.compression().map_err(|number| {
        let remedy = "build it again with 'mkimage -C gzip'";
        let value = number.to_string();
        refuse(field::COMPRESSION, "compression", value, remedy.into())
    })?;
    let mut data = header.data(source, ram)?;
    let (mut initrd, mut tree) = (None, None);
    if header.kind == TYPE_MULTI {
        let parts = parts(&data)
            .map_err(|(offset, fault)| source.error_at(HEADER + offset as u64, fault))?;
        for part in &parts[1..] {
            let bytes = data.slice(part.clone());
            match detect(&bytes[..bytes.len().min(PREFIX)]) {
                Kind::Fdt => tree = tree.or(Some(bytes)),
                _ if bytes.len() >= PLACEHOLDER => initrd = initrd.or(Some(bytes)),
                _ => {}
            }
        }
        data = data.slice(parts[0].clone());
    }
    // Legacy headers have no number for xz, so images of it exist that claim not to be compressed.
    let compression = stored.or(match detect(&data[..data.len().min(PREFIX)]) {
        Kind::Compressed(found) => Some(found),
        _ => None,
    });
    if compression.is_none() && target.is_some() {
        let end = u64::from(header.load) + data.len() as u64;
        if end > u64::from(ram) {
            let start = header.load;
            let fault = Fault::OutsideRam { start, end, ram };
            return Err(source.error_at(field::SIZE as u64, fault));
        }
    }
    Ok(KernelImage {
        data,
        compression,
        target,
        entry: header.entry,
        initrd,
        tree,
        name: header.name,
    })
}

/// Where the parts of a multi-file image's data are; there is at least one.
fn parts(data: &[u8]) -> Result<Vec<Range<usize>>, (usize, Fault)> {
    let mut sizes = Vec::new();
    let mut position = 0;
    loop {
        let Some(word) = data[position..].first_chunk::<4>() else {
            let reason = "the table of parts of the multi-file uImage has no end";
            return Err((position, Fault::image(reason, "build the image again")));
        };
        position += 4;
        match u32::from_be_bytes(*word) {
            0 => break,
            _ if sizes.len() == PARTS => {
                let reason = format!("the multi-file uImage has more than {PARTS} parts");
                let remedy = "build it again with a kernel, an initrd and a device tree";
                return Err((position - 4, Fault::image(reason, remedy)));
            }
            size => sizes.push(size),
        }
    }
    if sizes.is_empty() {
        let fault = Fault::image(
            "the multi-file uImage has no part",
            "build the image again with the kernel as its first part",
        );
        return Err((0, fault));
    }
    let mut parts = Vec::new();
    for size in sizes {
        let present = data.len().saturating_sub(position);
        let end = usize::try_from(size)
            .ok()
            .filter(|size| *size <= present)
            .map(|size| position + size);
        let Some(end) = end else {
            let fault = Fault::Truncated {
                what: "part of the multi-file uImage",
                needed: size.into(),
                present: present as u64,
            };
            return Err((position, fault));
        };
        parts.push(position..end);
        // Padding after the last part is not always there.
        position = end.next_multiple_of(4);
    }
    Ok(parts)
}

/// Reads a uImage that must be an initrd, and gives what is inside. The compression that the
/// header names is ignored, as U-Boot does: the kernel finds out by itself.
pub(super) fn read_ramdisk(source: &Source, ram: u32) -> Result<Bytes, LoadError> {
    let header = Header::checked(source)?;
    header.expect_powerpc(source)?;
    if header.kind != TYPE_RAMDISK {
        let fault = Fault::Uimage {
            field: "type",
            value: named(header.kind, &TYPE_NAMES),
            remedy: "an initrd is a uImage of type ramdisk, or any file without a uImage header"
                .into(),
        };
        return Err(source.error_at(field::TYPE as u64, fault));
    }
    header.data(source, ram)
}

/// Whether a file that begins like a uImage has a whole header.
pub(super) fn has_header(source: &Source) -> bool {
    Header::checked(source).is_ok()
}

/// Says what is in a uImage, also in a damaged one; returns the kernel's data as stored.
pub(super) fn describe(
    source: &Source,
    ram: u32,
    section: &mut Section,
) -> Option<(Bytes, Option<Compression>)> {
    let header = Header::read(source).ok()?;
    section.title = format!("uImage \"{}\"", header.name.escape_debug());
    section.field("type", named(header.kind, &TYPE_NAMES));
    section.field("system", named(header.os, &OS_NAMES));
    section.field("architecture", named(header.arch, &ARCH_NAMES));
    let data = header.stored(source, ram).ok();
    let hidden = match data
        .as_deref()
        .map(|data| detect(&data[..data.len().min(PREFIX)]))
    {
        Some(Kind::Compressed(found)) if header.kind == TYPE_KERNEL => Some(found),
        _ => None,
    };
    let compression = match (header.compression(), hidden) {
        (Ok(None), Some(found)) => format!("none, but the data is {found}"),
        (Ok(None), None) => "none".to_owned(),
        (Ok(Some(known)), _) => known.to_string(),
        (Err(number), _) => format!("{number} (unknown)"),
    };
    section.field("compression", compression);
    section.field("load", format!("{:#010x}", header.load));
    section.field("entry", format!("{:#010x}", header.entry));
    section.field("data", size(header.size.into()));
    section.checksum(
        "header crc",
        header.header_crc.actual,
        header.header_crc.expected,
    );
    let Some(data) = data.filter(|data| source.spend(data.len() as u64).is_ok()) else {
        section.field(
            "data crc",
            "cannot be checked: the file is too short or too large",
        );
        return None;
    };
    section.checksum("data crc", crc32fast::hash(&data), header.data_crc);
    let compression = header.compression().ok()?.or(hidden);
    if header.kind != TYPE_MULTI {
        let kernel = header.kind == TYPE_KERNEL || header.kind == TYPE_KERNEL_NOLOAD;
        return kernel.then_some((data, compression));
    }
    let parts = parts(&data).ok()?;
    for (index, part) in parts.iter().enumerate() {
        let bytes = &data[part.clone()];
        let what = match (index, detect(&bytes[..bytes.len().min(PREFIX)])) {
            (0, _) => "kernel",
            (_, Kind::Fdt) => "device tree",
            _ if bytes.len() < PLACEHOLDER => "placeholder",
            _ => "initrd",
        };
        let place = format!(
            "{what}, {} at {:#x}",
            size(bytes.len() as u64),
            HEADER + part.start as u64
        );
        section.field(format!("part {index}"), place);
    }
    Some((data.slice(parts[0].clone()), compression))
}

impl Header {
    /// The header, its checksum verified.
    fn checked(source: &Source) -> Result<Header, LoadError> {
        let header = Header::read(source)?;
        let Crc { actual, expected } = header.header_crc;
        if actual != expected {
            let reason = format!(
                "the crc of the uImage header is {actual:#010x}, but the header says \
                 {expected:#010x}"
            );
            let fault = Fault::image(reason, Remedy::CopyOrGiveLoadAddress);
            return Err(source.error_at(field::HEADER_CRC as u64, fault));
        }
        Ok(header)
    }

    fn read(source: &Source) -> Result<Header, LoadError> {
        let bytes = source.read(0, HEADER, "uImage header")?;
        let word = |offset: usize| {
            let word = bytes[offset..offset + 4]
                .try_into()
                .expect("the header has 64 bytes");
            u32::from_be_bytes(word)
        };
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes[..field::HEADER_CRC]);
        // The checksum counts its own place as zeros.
        crc.update(&[0; 4]);
        crc.update(&bytes[field::HEADER_CRC + 4..]);
        let name = bytes[field::NAME..]
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();
        Ok(Header {
            size: word(field::SIZE),
            load: word(field::LOAD),
            entry: word(field::ENTRY),
            header_crc: Crc {
                actual: crc.finalize(),
                expected: word(field::HEADER_CRC),
            },
            data_crc: word(field::DATA_CRC),
            os: bytes[field::OS],
            arch: bytes[field::ARCH],
            kind: bytes[field::TYPE],
            compression: bytes[field::COMPRESSION],
            name: String::from_utf8_lossy(name).into_owned(),
        })
    }

    /// The compression, or its number when that has no meaning.
    fn compression(&self) -> Result<Option<Compression>, u8> {
        match self.compression {
            0 => Ok(None),
            number => COMPRESSIONS
                .iter()
                .find(|(known, _)| *known == number)
                .map(|(_, compression)| Some(*compression))
                .ok_or(number),
        }
    }

    fn expect_powerpc(&self, source: &Source) -> Result<(), LoadError> {
        if self.arch == ARCH_POWERPC {
            return Ok(());
        }
        let fault = Fault::Uimage {
            field: "architecture",
            value: named(self.arch, &ARCH_NAMES),
            remedy: "only 7 (powerpc) can run here; pass an image for powerpc".into(),
        };
        Err(source.error_at(field::ARCH as u64, fault))
    }

    /// The data after the header.
    fn stored(&self, source: &Source, ram: u32) -> Result<Bytes, LoadError> {
        let limit = limit(ram);
        if u64::from(self.size) > limit {
            return Err(source.error_at(field::SIZE as u64, Fault::FileTooLarge { limit, ram }));
        }
        source.read(HEADER, self.size.into(), "uImage data")
    }

    /// The data after the header, as stored, with its checksum verified.
    fn data(&self, source: &Source, ram: u32) -> Result<Bytes, LoadError> {
        let data = self.stored(source, ram)?;
        source.spend(data.len() as u64)?;
        let (actual, expected) = (crc32fast::hash(&data), self.data_crc);
        if actual != expected {
            let fault = crc_fault("uImage data", actual, expected);
            return Err(source.error_at(field::DATA_CRC as u64, fault));
        }
        Ok(data)
    }
}

fn crc_fault(what: &str, actual: u32, expected: u32) -> Fault {
    Fault::Checksum(Box::new(BadChecksum {
        sum: "crc".to_owned(),
        what: what.to_owned(),
        place: "the header",
        actual: format!("{actual:#010x}"),
        expected: format!("{expected:#010x}"),
    }))
}
