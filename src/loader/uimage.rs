//! Legacy U-Boot images: a 64-byte big-endian header with two CRCs, then the data.

use super::Segment;
use super::detect::{Compression, Kind, PREFIX, detect};
use super::error::{Fault, LoadError};
use super::gzip::gunzip;
use super::source::{Source, limit};

/// Bytes before the data.
pub(super) const HEADER: u64 = 64;

/// The header's fields that loading needs.
struct Header {
    size: u32,
    load: u32,
    entry: u32,
    data_crc: u32,
    os: u8,
    arch: u8,
    kind: u8,
    compression: u8,
    name: String,
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

/// What a kernel image holds, unpacked.
pub(super) struct KernelImage {
    pub segment: Segment,
    pub entry: u32,
    pub name: String,
    pub packed: bool,
}

/// Reads a uImage that must be a Linux kernel for PowerPC.
pub(super) fn read_kernel(source: &Source, ram: u32) -> Result<KernelImage, LoadError> {
    let header = Header::read(source)?;
    header.expect_powerpc(source)?;
    let refuse = |offset: usize, field, value, remedy| {
        source.error_at(
            offset as u64,
            Fault::Uimage {
                field,
                value,
                remedy,
            },
        )
    };
    if header.kind != TYPE_KERNEL {
        let remedy = match header.kind {
            TYPE_RAMDISK => "this is no kernel; pass it with --initrd",
            TYPE_MULTI => "take its parts out with 'dumpimage -p' and pass each by its own option",
            _ => "pass a uImage of type kernel, or a vmlinux",
        };
        return Err(refuse(
            field::TYPE,
            "type",
            named(header.kind, &TYPE_NAMES),
            remedy,
        ));
    }
    if header.os != OS_LINUX {
        let remedy = "only linux is started from a uImage; pass other programs as elf files";
        return Err(refuse(field::OS, "os", named(header.os, &OS_NAMES), remedy));
    }
    let load = header.load;
    let Some(room) = ram.checked_sub(load).filter(|room| *room > 0) else {
        let end = u64::from(load) + u64::from(header.size);
        let fault = Fault::OutsideRam {
            start: load,
            end,
            ram,
        };
        return Err(source.error_at(field::LOAD as u64, fault));
    };
    let compression = match header.compression {
        0 => None,
        number => {
            let known = COMPRESSIONS.iter().find(|(known, _)| *known == number);
            let Some((_, compression)) = known else {
                let remedy = "build it again with 'mkimage -C gzip'";
                return Err(refuse(
                    field::COMPRESSION,
                    "compression",
                    number.to_string(),
                    remedy,
                ));
            };
            Some(*compression)
        }
    };
    let bytes = match compression {
        None => {
            let end = u64::from(load) + u64::from(header.size);
            if end > u64::from(ram) {
                let fault = Fault::OutsideRam {
                    start: load,
                    end,
                    ram,
                };
                return Err(source.error_at(field::SIZE as u64, fault));
            }
            let data = header.data(source, ram)?;
            if let Kind::Compressed(found) = detect(&data[..data.len().min(PREFIX)]) {
                return Err(source.error_at(HEADER, Fault::HiddenCompression(found)));
            }
            data
        }
        Some(Compression::Gzip) => {
            let data = header.data(source, ram)?;
            gunzip(&data, room.into()).map_err(|fault| source.error_at(HEADER, fault))?
        }
        Some(other) => {
            let offset = field::COMPRESSION as u64;
            return Err(source.error_at(offset, Fault::Compression(other)));
        }
    };
    // What was unpacked fits the room, which is part of 32-bit RAM.
    let length = u32::try_from(bytes.len()).expect("the data fits RAM");
    let entry = header.entry;
    let outside = entry < load || entry - load >= length;
    if outside || !entry.is_multiple_of(4) {
        let reason = if outside {
            "is outside the image"
        } else {
            "is not a multiple of 4"
        };
        return Err(source.error_at(field::ENTRY as u64, Fault::Entry { entry, reason }));
    }
    let segment = Segment {
        gpa: load,
        bytes,
        size: length,
    };
    Ok(KernelImage {
        segment,
        entry,
        name: header.name,
        packed: compression.is_some(),
    })
}

/// Reads a uImage that must be an initrd, and gives what is inside. The compression that the
/// header names is ignored, as U-Boot does: the kernel finds out by itself.
pub(super) fn read_ramdisk(source: &Source, ram: u32) -> Result<Vec<u8>, LoadError> {
    let header = Header::read(source)?;
    header.expect_powerpc(source)?;
    if header.kind != TYPE_RAMDISK {
        let fault = Fault::Uimage {
            field: "type",
            value: named(header.kind, &TYPE_NAMES),
            remedy: "an initrd is a uImage of type ramdisk, or any file without a uImage header",
        };
        return Err(source.error_at(field::TYPE as u64, fault));
    }
    header.data(source, ram)
}

impl Header {
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
        let (actual, expected) = (crc.finalize(), word(field::HEADER_CRC));
        if actual != expected {
            let fault = Fault::Crc {
                what: "header",
                actual,
                expected,
            };
            return Err(source.error_at(field::HEADER_CRC as u64, fault));
        }
        let name = bytes[field::NAME..]
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();
        Ok(Header {
            size: word(field::SIZE),
            load: word(field::LOAD),
            entry: word(field::ENTRY),
            data_crc: word(field::DATA_CRC),
            os: bytes[field::OS],
            arch: bytes[field::ARCH],
            kind: bytes[field::TYPE],
            compression: bytes[field::COMPRESSION],
            name: String::from_utf8_lossy(name).into_owned(),
        })
    }

    fn expect_powerpc(&self, source: &Source) -> Result<(), LoadError> {
        if self.arch == ARCH_POWERPC {
            return Ok(());
        }
        let fault = Fault::Uimage {
            field: "architecture",
            value: named(self.arch, &ARCH_NAMES),
            remedy: "only 7 (powerpc) can run here; pass an image for powerpc",
        };
        Err(source.error_at(field::ARCH as u64, fault))
    }

    /// The data after the header, as stored, with its checksum verified.
    fn data(&self, source: &Source, ram: u32) -> Result<Vec<u8>, LoadError> {
        let limit = limit(ram);
        if u64::from(self.size) > limit {
            return Err(source.error_at(field::SIZE as u64, Fault::FileTooLarge { limit, ram }));
        }
        let data = source.read(HEADER, self.size.into(), "uImage data")?;
        let (actual, expected) = (crc32fast::hash(&data), self.data_crc);
        if actual != expected {
            let fault = Fault::Crc {
                what: "data",
                actual,
                expected,
            };
            return Err(source.error_at(field::DATA_CRC as u64, fault));
        }
        Ok(data)
    }
}
