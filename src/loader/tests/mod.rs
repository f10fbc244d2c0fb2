//! Every refusal and every success, with images built by hand; this file holds the builders.

mod build_directories;
mod costs;
mod elf_kernels;
mod files;
mod fits;
mod mutations;
mod packed;
mod pipes;
mod placement;
mod uimages;
mod wrappers;

use super::*;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use std::io::Write;

const MIB: u32 = 1 << 20;
const RAM: u32 = 64 * MIB;

/// A uImage, field by field.
#[derive(Clone)]
struct Uimage {
    load: u32,
    entry: u32,
    os: u8,
    arch: u8,
    kind: u8,
    compression: u8,
    data: Vec<u8>,
}

impl Uimage {
    fn kernel(data: &[u8]) -> Uimage {
        let data = data.to_vec();
        Uimage {
            load: 0,
            entry: 0,
            os: 5,
            arch: 7,
            kind: 2,
            compression: 0,
            data,
        }
    }

    fn gzip(data: &[u8]) -> Uimage {
        Uimage {
            compression: 1,
            ..Uimage::kernel(&gzip(data))
        }
    }

    fn ramdisk(data: &[u8]) -> Uimage {
        Uimage {
            kind: 3,
            ..Uimage::kernel(data)
        }
    }

    fn build(&self) -> Vec<u8> {
        let mut image = Vec::new();
        let size = u32::try_from(self.data.len()).expect("small");
        let crc = crc32fast::hash(&self.data);
        for word in [
            0x2705_1956,
            0,
            0x1234_5678,
            size,
            self.load,
            self.entry,
            crc,
        ] {
            image.extend(word.to_be_bytes());
        }
        image.extend([self.os, self.arch, self.kind, self.compression]);
        image.extend(b"Linux-test\0".iter().chain(&[0xAA; 21]));
        assert_eq!(image.len(), 64);
        image.extend(&self.data);
        sealed(image)
    }
}

/// With the header's checksum made right.
fn sealed(mut image: Vec<u8>) -> Vec<u8> {
    image[4..8].fill(0);
    let crc = crc32fast::hash(&image[..64]);
    image[4..8].copy_from_slice(&crc.to_be_bytes());
    image
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
    encoder.write_all(data).expect("a vector takes everything");
    encoder.finish().expect("a vector takes everything")
}

/// A PT_LOAD of an ELF file.
#[derive(Clone)]
struct Load {
    vaddr: u32,
    paddr: u32,
    bytes: Vec<u8>,
    memsz: u32,
    flags: u32,
}

fn text(bytes: &[u8]) -> Load {
    let memsz = u32::try_from(bytes.len()).expect("small");
    Load {
        vaddr: 0xC000_0000,
        paddr: 0,
        bytes: bytes.to_vec(),
        memsz,
        flags: 5,
    }
}

fn elf(entry: u32, loads: &[Load]) -> Vec<u8> {
    let count = u16::try_from(loads.len()).expect("small");
    let mut file = vec![0x7F, b'E', b'L', b'F', 1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([0, 2, 0, 20]);
    for word in [1, entry, 52, 0, 0] {
        file.extend(u32::to_be_bytes(word));
    }
    for half in [52, 32, count, 40, 0, 0] {
        file.extend(u16::to_be_bytes(half));
    }
    assert_eq!(file.len(), 52);
    let mut offset = 52 + 32 * u32::from(count);
    for load in loads {
        let filesz = u32::try_from(load.bytes.len()).expect("small");
        for word in [
            1, offset, load.vaddr, load.paddr, filesz, load.memsz, load.flags, 4,
        ] {
            file.extend(u32::to_be_bytes(word));
        }
        offset += filesz;
    }
    for load in loads {
        file.extend(&load.bytes);
    }
    file
}

/// An ELF file with a symbol table after it: names and addresses of code.
fn elf_with_symbols(entry: u32, loads: &[Load], symbols: &[(&str, u32)]) -> Vec<u8> {
    let mut file = elf(entry, loads);
    let mut names = vec![0];
    let mut entries = vec![0; 16];
    for (name, address) in symbols {
        let offset = u32::try_from(names.len()).expect("small");
        for word in [offset, *address, 4] {
            entries.extend(word.to_be_bytes());
        }
        // A global function in the first section.
        entries.extend([0x12, 0, 0, 1]);
        names.extend(name.as_bytes().iter().chain(&[0]));
    }
    let at = |file: &Vec<u8>| u32::try_from(file.len()).expect("small");
    let (names_at, names_len) = (at(&file), at(&names));
    file.extend(names);
    let (entries_at, entries_len) = (at(&file), at(&entries));
    file.extend(entries);
    let sections_at = at(&file);
    file.extend([0; 40]);
    for section in [
        [0, 2, 0, 0, entries_at, entries_len, 2, 1, 4, 16],
        [0, 3, 0, 0, names_at, names_len, 0, 0, 1, 0],
    ] {
        file.extend(section.into_iter().flat_map(u32::to_be_bytes));
    }
    file[32..36].copy_from_slice(&sections_at.to_be_bytes());
    file[48..50].copy_from_slice(&3u16.to_be_bytes());
    file
}

fn name() -> &'static Path {
    Path::new("image")
}

/// A budget that small tests do not use up.
fn budget() -> budget::Budget {
    budget::Budget::new(RAM)
}

fn options() -> KernelOptions {
    KernelOptions::default()
}

fn kernel(bytes: Vec<u8>) -> Result<Kernel, LoadError> {
    Kernel::from_bytes(name(), bytes, &options(), RAM)
}

fn refusal(bytes: Vec<u8>) -> String {
    kernel(bytes).expect_err("the image is refused").to_string()
}

/// A refusal must be one line of the form `file: [offset: ]reason; remedy`.
fn assert_refused(bytes: Vec<u8>, start: &str) {
    let message = refusal(bytes);
    assert!(
        message.starts_with(start),
        "{message}\n  does not start with\n{start}"
    );
    assert!(!message.contains('\n'), "{message}");
    assert!(
        message.contains("; ") || message.contains(", "),
        "no remedy: {message}"
    );
}

const CODE: &[u8] = b"\x48\x00\x00\x00 and some data after the branch.";

/// The parts of a plan at their places: kernel segments, initrd if any, device tree last.
fn place(
    kernel: Kernel,
    initrd: Option<usize>,
    fdt: usize,
    ram: u32,
) -> Result<Placement, LoadError> {
    let file = PathBuf::from("disk");
    let initrd = initrd.map(|size| Initrd {
        file,
        bytes: vec![1; size].into(),
    });
    let plan = Plan::new(kernel, initrd, Told::default(), ram)?;
    let range = plan.initrd_range();
    let placement = plan.finish(vec![2; fdt])?;
    let found = placement
        .segments
        .iter()
        .rev()
        .nth(1)
        .expect("kernel or initrd");
    assert!(range.is_none_or(|(start, end)| start == found.gpa && u64::from(end) == found.end()));
    Ok(placement)
}
