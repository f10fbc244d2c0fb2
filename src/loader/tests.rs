//! Every refusal and every success, with images built by hand; then random and mutated images.

use super::*;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use ppckvm_fdt::{Board, TreeOptions, generate};
use proptest::prelude::*;
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

fn name() -> &'static Path {
    Path::new("image")
}

fn kernel(bytes: Vec<u8>) -> Result<Kernel, LoadError> {
    Kernel::from_bytes(name(), bytes, RAM)
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

#[test]
fn a_plain_uimage_goes_where_its_header_says() {
    let image = Uimage {
        load: 0x40_0000,
        entry: 0x40_0004,
        ..Uimage::kernel(CODE)
    };
    let kernel = kernel(image.build()).expect("the image is good");
    assert_eq!(kernel.entry, 0x40_0004);
    let size = u32::try_from(CODE.len()).expect("small");
    assert_eq!(
        kernel.segments,
        [Segment {
            gpa: 0x40_0000,
            bytes: CODE.to_vec(),
            size
        }]
    );
    assert_eq!(kernel.format, "uImage \"Linux-test\"");
    assert_eq!(kernel.slack, size / 4 + 4 * MIB);
}

#[test]
fn a_gzip_uimage_is_unpacked() {
    let data = [CODE, &[0; 100_000]].concat();
    let kernel = kernel(Uimage::gzip(&data).build()).expect("the image is good");
    assert_eq!(kernel.segments[0].bytes, data);
    assert_eq!((kernel.segments[0].gpa, kernel.entry), (0, 0));
    assert_eq!(kernel.format, "gzip uImage \"Linux-test\"");
}

#[test]
fn bytes_after_the_uimage_are_padding() {
    let padded = [Uimage::kernel(CODE).build(), vec![0xFF; 512]].concat();
    let plain = kernel(Uimage::kernel(CODE).build()).expect("the image is good");
    assert_eq!(kernel(padded).expect("the image is good"), plain);
}

#[test]
fn damaged_uimages_are_refused() {
    let image = Uimage::gzip(CODE).build();
    let length = image.len();
    assert_refused(
        image[..63].to_vec(),
        "image: offset 0x0: the uImage header needs 64 bytes",
    );
    let data = length - 64;
    assert_refused(
        image[..length - 1].to_vec(),
        &format!(
            "image: offset 0x40: the uImage data needs {data} bytes from here, but the file ends after {}; ",
            data - 1
        ),
    );
    let mut header = image.clone();
    header[40] ^= 1;
    assert_refused(
        header,
        "image: offset 0x4: the crc of the uImage header is 0x",
    );
    let mut data = image.clone();
    data[length - 1] ^= 1;
    assert_refused(data, "image: offset 0x18: the crc of the uImage data is 0x");
}

#[test]
fn foreign_uimages_are_refused_by_name() {
    let base = Uimage::kernel(CODE);
    let check = |image: Uimage, start: &str| assert_refused(image.build(), start);
    check(
        Uimage {
            arch: 2,
            ..base.clone()
        },
        "image: offset 0x1d: uImage architecture 2 (arm) is not supported; ",
    );
    check(
        Uimage {
            os: 14,
            ..base.clone()
        },
        "image: offset 0x1c: uImage os 14 (vxworks) is not supported; ",
    );
    check(
        Uimage {
            kind: 3,
            ..base.clone()
        },
        "image: offset 0x1e: uImage type 3 (ramdisk) is not supported; this is no kernel; pass it with --initrd",
    );
    check(
        Uimage {
            kind: 4,
            ..base.clone()
        },
        "image: offset 0x1e: uImage type 4 (multi) is not supported; ",
    );
    check(
        Uimage {
            kind: 14,
            ..base.clone()
        },
        "image: offset 0x1e: uImage type 14 (kernel_noload) is not supported; ",
    );
    check(
        Uimage {
            kind: 99,
            ..base.clone()
        },
        "image: offset 0x1e: uImage type 99 is not supported; ",
    );
    for (number, name) in [
        (2, "bzip2"),
        (3, "lzma"),
        (4, "lzo"),
        (5, "lz4"),
        (6, "zstd"),
    ] {
        check(
            Uimage {
                compression: number,
                ..base.clone()
            },
            &format!("image: offset 0x1f: {name} compression is not supported yet; "),
        );
    }
    check(
        Uimage {
            compression: 7,
            ..base.clone()
        },
        "image: offset 0x1f: uImage compression 7 is not supported; ",
    );
}

#[test]
fn a_uimage_that_hides_its_compression_is_refused() {
    assert_refused(
        Uimage::kernel(&gzip(CODE)).build(),
        "image: offset 0x40: the uImage says that its data is not compressed, but the data is gzip; ",
    );
}

#[test]
fn gzip_data_must_be_whole_and_sound() {
    let packed = gzip(CODE);
    let with = |data: &[u8]| {
        Uimage {
            compression: 1,
            ..Uimage::kernel(data)
        }
        .build()
    };
    assert_refused(
        with(&packed[..packed.len() - 1]),
        "image: offset 0x40: the gzip data ends early; ",
    );
    assert_refused(
        with(b"no gzip at all"),
        "image: offset 0x40: the gzip data is corrupt: ",
    );
    let mut wrong = packed.clone();
    let checksum = wrong.len() - 8;
    wrong[checksum] ^= 1;
    assert_refused(
        with(&wrong),
        "image: offset 0x40: the gzip data is corrupt: ",
    );
    assert!(
        kernel(with(&[packed, vec![0; 16]].concat())).is_ok(),
        "padding after the member"
    );
}

#[test]
fn unpacking_stops_at_the_end_of_ram() {
    let small = 4 * MIB;
    let exact = vec![0u8; small as usize];
    let load = |data: &[u8], load, entry| {
        let image = Uimage {
            load,
            entry,
            ..Uimage::gzip(data)
        };
        Kernel::from_bytes(name(), image.build(), small)
    };
    assert!(load(&exact, 0, 0).is_ok());
    let error = load(&exact, 4, 4)
        .expect_err("four bytes too many")
        .to_string();
    assert_eq!(
        error,
        "image: offset 0x40: the data unpacks to more than the 4194300 bytes that there is room for; give the guest more memory"
    );
}

#[test]
fn a_uimage_outside_ram_is_refused() {
    assert_refused(
        Uimage {
            load: RAM,
            entry: RAM,
            ..Uimage::gzip(CODE)
        }
        .build(),
        "image: offset 0x10: the kernel occupies 0x4000000 to ",
    );
    assert_refused(
        Uimage {
            load: RAM - 4,
            entry: RAM - 4,
            ..Uimage::kernel(CODE)
        }
        .build(),
        "image: offset 0xc: the kernel occupies 0x3fffffc to 0x4000020, but ram ends at 0x4000000; ",
    );
    let mut huge = Uimage::gzip(CODE).build();
    huge[12..16].copy_from_slice(&0xFFFF_FFFFu32.to_be_bytes());
    assert_refused(
        sealed(huge),
        "image: offset 0xc: the file has more than 134217728 bytes",
    );
}

#[test]
fn an_entry_point_must_be_in_the_image_and_aligned() {
    let at = |load, entry| {
        Uimage {
            load,
            entry,
            ..Uimage::kernel(CODE)
        }
        .build()
    };
    assert_refused(
        at(0x1000, 0xFFC),
        "image: offset 0x14: the entry point 0xffc is outside",
    );
    assert_refused(
        at(0, 0x24),
        "image: offset 0x14: the entry point 0x24 is outside",
    );
    assert_refused(
        at(0, 2),
        "image: offset 0x14: the entry point 0x2 is not a multiple of 4",
    );
    assert_refused(
        Uimage::kernel(&[]).build(),
        "image: offset 0x14: the entry point 0x0 is outside the image",
    );
    let high = Uimage {
        load: INITIAL_MAPPING,
        entry: INITIAL_MAPPING,
        ..Uimage::kernel(CODE)
    };
    let error = Kernel::from_bytes(name(), high.build(), 2 * INITIAL_MAPPING);
    let error = error.expect_err("it is not mapped").to_string();
    assert!(error.contains("above the first 256 MiB"), "{error}");
}

#[test]
fn a_vmlinux_goes_to_its_physical_addresses() {
    let data = Load {
        vaddr: 0xC010_0000,
        paddr: 0x10_0000,
        bytes: vec![7; 100],
        memsz: 0x20_0000,
        flags: 6,
    };
    let nothing = Load {
        bytes: Vec::new(),
        memsz: 0,
        ..data.clone()
    };
    let loads = [data.clone(), nothing, text(CODE)];
    let kernel = kernel(elf(0xC000_0004, &loads)).expect("the file is good");
    assert_eq!(kernel.entry, 4);
    assert_eq!((kernel.slack, kernel.format.as_str()), (0, "elf"));
    let sizes: Vec<_> = kernel
        .segments
        .iter()
        .map(|s| (s.gpa, s.bytes.len(), s.size))
        .collect();
    assert_eq!(sizes, [(0, 36, 36), (0x10_0000, 100, 0x20_0000)]);
    assert_eq!(kernel.segments[1].bytes, data.bytes);
}

#[test]
fn a_segment_without_bytes_is_all_zeros() {
    let bss = Load {
        paddr: 0x8000,
        bytes: Vec::new(),
        memsz: 0x100,
        ..text(&[])
    };
    let kernel = kernel(elf(0xC000_0000, &[text(CODE), bss])).expect("the file is good");
    assert_eq!(
        kernel.segments[1],
        Segment {
            gpa: 0x8000,
            bytes: Vec::new(),
            size: 0x100
        }
    );
}

#[test]
fn a_relocatable_kernel_is_accepted() {
    let mut file = elf(0xC000_0000, &[text(CODE)]);
    file[17] = 3;
    assert_eq!(kernel(file).expect("ET_DYN is fine").entry, 0);
}

#[test]
fn foreign_elf_files_are_refused_by_name() {
    let with = |offset: usize, bytes: &[u8]| {
        let mut file = elf(0xC000_0000, &[text(CODE)]);
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
        file
    };
    assert_refused(
        with(4, &[2]),
        "image: offset 0x4: elf class is 2 (64-bit), not 1 (32-bit); ",
    );
    assert_refused(
        with(5, &[1]),
        "image: offset 0x5: elf byte order is 1 (little-endian), not 2 (big-endian); ",
    );
    assert_refused(
        with(18, &[0, 62]),
        "image: offset 0x12: elf machine is 62 (x86-64), not 20 (powerpc); ",
    );
    assert_refused(
        with(18, &[9, 9]),
        "image: offset 0x12: elf machine is 2313, not 20",
    );
    assert_refused(
        with(16, &[0, 1]),
        "image: offset 0x10: elf type 1 (an object file) cannot be loaded",
    );
    assert_refused(
        with(6, &[9]),
        "image: offset 0x0: the elf file is malformed",
    );
}

#[test]
fn malformed_elf_files_are_refused() {
    let file = elf(0xC000_0000, &[text(CODE)]);
    assert_refused(
        file[..51].to_vec(),
        "image: offset 0x0: the elf header needs 52 bytes",
    );
    assert_refused(
        file[..80].to_vec(),
        "image: offset 0x34: the elf file is malformed",
    );
    assert_refused(
        file[..file.len() - 1].to_vec(),
        "image: offset 0x54: the elf segment needs 36 bytes from here, but the file ends after 35; ",
    );
    assert_refused(
        elf(0, &[]),
        "image: offset 0x1c: the elf file has no segment to load; ",
    );
    assert_refused(
        elf(
            0xC000_0000,
            &[Load {
                memsz: 10,
                ..text(CODE)
            }],
        ),
        "image: offset 0x54: the elf segment at 0x0 has 36 bytes in the file but only 10 in memory",
    );
}

#[test]
fn an_elf_entry_must_be_in_executable_memory() {
    assert_refused(
        elf(0xC000_0024, &[text(CODE)]),
        "image: offset 0x18: the entry point 0xc0000024 is not inside an executable segment; ",
    );
    assert_refused(
        elf(
            0xC000_0000,
            &[Load {
                flags: 6,
                ..text(CODE)
            }],
        ),
        "image: offset 0x18: the entry point 0xc0000000 is not inside an executable segment; ",
    );
    assert_refused(
        elf(0xC000_0001, &[text(CODE)]),
        "image: offset 0x18: the entry point 0xc0000001 is not a multiple of 4; ",
    );
}

#[test]
fn elf_segments_stay_inside_ram_and_apart() {
    assert_refused(
        elf(
            0xC000_0000,
            &[Load {
                memsz: RAM + 1,
                ..text(CODE)
            }],
        ),
        "image: the kernel occupies 0x0 to 0x4000001, but ram ends at 0x4000000; ",
    );
    assert_refused(
        elf(
            0xC000_0000,
            &[Load {
                paddr: 0xFFFF_FFF0,
                ..text(CODE)
            }],
        ),
        "image: the kernel occupies 0xfffffff0 to 0x100000014, but ram ends",
    );
    assert_refused(
        elf(
            0xC000_0000,
            &[
                text(CODE),
                Load {
                    paddr: 35,
                    ..text(CODE)
                },
            ],
        ),
        "image: the segments at 0x0 and 0x23 overlap in physical memory; ",
    );
}

#[test]
fn gzip_files_of_kernels_are_unpacked() {
    let vmlinux = elf(0xC000_0000, &[text(CODE)]);
    let unpacked = kernel(gzip(&vmlinux)).expect("the file is good");
    assert_eq!(
        (unpacked.format.as_str(), unpacked.entry),
        ("gzip file of elf", 0)
    );
    assert_eq!(unpacked.file, name());
    let uimage = kernel(gzip(&Uimage::gzip(CODE).build())).expect("the file is good");
    assert_eq!(uimage.format, "gzip file of gzip uImage \"Linux-test\"");
    assert_eq!(uimage.segments[0].bytes, CODE);

    assert_refused(
        gzip(&gzip(CODE)),
        "image (unpacked): the unpacked file is again compressed",
    );
    assert_refused(
        gzip(CODE),
        "image (unpacked): this is neither a uImage nor an elf file",
    );
    assert_refused(gzip(b""), "image (unpacked): the file is empty");
    assert_refused(
        gzip(&vmlinux[..60]),
        "image (unpacked): offset 0x34: the elf file is malformed",
    );
    let bomb = gzip(&vec![0; 9 * MIB as usize]);
    let error = Kernel::from_bytes(name(), bomb, 4 * MIB)
        .expect_err("too large")
        .to_string();
    assert!(
        error.contains("unpacks to more than the 8388608 bytes"),
        "{error}"
    );
}

#[test]
fn other_kinds_of_files_are_refused_by_name() {
    let tree = generate(&Board::bamboo(), &TreeOptions::default()).expect("valid");
    assert_refused(tree.clone(), "image: this is a device tree, not a kernel; ");
    let mut fit = ppckvm_fdt::Tree::parse(&tree).expect("well formed");
    fit.root
        .children
        .push(ppckvm_fdt::blob::Node::new("images"));
    assert_refused(
        fit.to_blob().expect("small"),
        "image: this is a FIT image, which is not",
    );
    assert_refused(
        tree[..100].to_vec(),
        "image: offset 0x4: this is no device tree that can be used: the blob claims",
    );
    assert_refused(
        vec![0, 0x52, 0x50, 0x4F, 0, 0],
        "image: this is a treeImage, which is not",
    );
    assert_refused(
        b"070701....".to_vec(),
        "image: this is a cpio archive, not a kernel; ",
    );
    assert_refused(
        b"\xFD7zXZ\0".to_vec(),
        "image: xz compression is not supported yet; ",
    );
    assert_refused(
        CODE.to_vec(),
        "image: this is neither a uImage nor an elf file; ",
    );
    assert_refused(Vec::new(), "image: the file is empty; ");
}

#[test]
fn files_that_cannot_be_read_are_refused_with_their_path() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = folder.path().join("missing");
    let error = Kernel::read(&missing, RAM)
        .expect_err("there is no such file")
        .to_string();
    assert!(
        error.starts_with(&format!("{}: cannot be read: ", missing.display())),
        "{error}"
    );
    assert!(
        Kernel::read(folder.path(), RAM).is_err(),
        "a folder is no file"
    );
    assert!(Initrd::read(&missing, RAM).is_err());
    assert!(read_dtb(&missing, RAM).is_err());
}

#[test]
fn a_file_and_its_bytes_give_the_same_kernel() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for bytes in [
        elf(
            0xC000_0000,
            &[
                text(CODE),
                Load {
                    paddr: 0x1000,
                    ..text(CODE)
                },
            ],
        ),
        gzip(&elf(0xC000_0000, &[text(CODE)])),
        Uimage::gzip(CODE).build(),
    ] {
        let path = folder.path().join("kernel");
        std::fs::write(&path, &bytes).expect("the folder is writable");
        let read = Kernel::read(&path, RAM).expect("the file is good");
        assert_eq!(
            read,
            Kernel::from_bytes(&path, bytes, RAM).expect("the bytes are good")
        );
    }
}

#[test]
fn a_large_vmlinux_is_read_only_where_it_is_loaded() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("vmlinux");
    std::fs::write(&path, elf(0xC000_0000, &[text(CODE)])).expect("the folder is writable");
    // A sparse tail stands for debug information larger than all of RAM.
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("it was just written");
    file.set_len(3 * u64::from(RAM))
        .expect("files can be sparse");
    assert_eq!(
        Kernel::read(&path, RAM).expect("the file is good").segments[0].bytes,
        CODE
    );
    let error = Initrd::read(&path, RAM)
        .expect_err("it would not fit")
        .to_string();
    assert!(
        error.contains("the file has more than 134217728 bytes"),
        "{error}"
    );
}

fn initrd(bytes: Vec<u8>) -> Result<Initrd, LoadError> {
    Initrd::from_bytes(Path::new("disk"), bytes, RAM)
}

#[test]
fn an_initrd_loses_its_uimage_header_and_nothing_else() {
    assert_eq!(
        initrd(b"any bytes".to_vec()).expect("anything goes").bytes,
        b"any bytes"
    );
    let headed = Uimage::ramdisk(b"inside").build();
    assert_eq!(
        initrd(headed.clone()).expect("the image is good").bytes,
        b"inside"
    );
    let packed = Uimage {
        compression: 1,
        ..Uimage::ramdisk(b"kept as it is")
    }
    .build();
    assert_eq!(
        initrd(packed).expect("the kernel unpacks it").bytes,
        b"kept as it is"
    );

    let message = |bytes| initrd(bytes).expect_err("it is refused").to_string();
    assert!(message(Vec::new()).starts_with("disk: the file is empty"));
    assert!(message(Uimage::ramdisk(b"").build()).starts_with("disk: the file is empty"));
    assert!(message(Uimage::kernel(CODE).build()).contains("uImage type 2 (kernel)"));
    assert!(message(headed[..66].to_vec()).contains("the uImage data needs 6 bytes"));
    let mut wrong = headed;
    wrong[64] ^= 1;
    assert!(message(wrong).contains("offset 0x18: the crc of the uImage data"));
    let arm = Uimage {
        arch: 2,
        ..Uimage::ramdisk(b"x")
    }
    .build();
    assert!(message(arm).contains("architecture 2 (arm)"));
}

#[test]
fn a_tree_of_another_board_is_refused() {
    let blob = generate(&Board::bamboo(), &TreeOptions::default()).expect("valid");
    let tree = Path::new("tree");
    assert_eq!(
        dtb_from_bytes(tree, &blob).expect("ours").compatible(),
        ["amcc,bamboo"]
    );
    let with = |change: fn(&mut ppckvm_fdt::blob::Node)| {
        let mut other = ppckvm_fdt::Tree::parse(&blob).expect("well formed");
        change(&mut other.root);
        let error = dtb_from_bytes(tree, &other.to_blob().expect("small"));
        error.expect_err("not ours").to_string()
    };
    assert_eq!(
        with(|root| root.set_string("compatible", "amcc,yosemite")),
        "tree: the device tree is for \"amcc,yosemite\", and this machine is \"amcc,bamboo\"; pass a tree for that board, or none to use the built-in one"
    );
    assert!(with(|root| root.remove("compatible")).contains("is for no board"));
    let error = dtb_from_bytes(tree, &blob[..50])
        .expect_err("truncated")
        .to_string();
    assert!(
        error.starts_with("tree: offset 0x4: this is no device tree"),
        "{error}"
    );
}

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
        bytes: vec![1; size],
    });
    let plan = Plan::new(kernel, initrd, ram)?;
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

fn flat(gpa: u32, size: u32, slack: u32) -> Kernel {
    Kernel {
        file: "kernel".into(),
        format: "test".into(),
        segments: vec![Segment {
            gpa,
            bytes: Vec::new(),
            size,
        }],
        entry: gpa,
        slack,
    }
}

#[test]
fn initrd_goes_to_the_top_and_the_tree_just_below() {
    let placement = place(flat(0, 8 * MIB, 0), Some(10_000), 5001, RAM).expect("there is room");
    let [_, initrd, fdt] = &placement.segments[..] else {
        panic!("three parts")
    };
    assert_eq!(initrd.gpa, RAM - 3 * 4096);
    assert_eq!(fdt.gpa, (initrd.gpa - 5001) / 8 * 8);
    let registers = BootRegisters {
        pc: 0,
        r1: 16 * MIB - 8,
        r3: fdt.gpa,
        r6: 0x4550_4150,
        r7: RAM,
    };
    assert_eq!(placement.registers, registers);
}

#[test]
fn without_an_initrd_the_tree_is_at_the_top() {
    let placement = place(flat(0x40_0000, 100, 0), None, 4096, RAM).expect("there is room");
    assert_eq!(placement.registers.r3, RAM - 4096);
    assert_eq!(placement.registers.pc, 0x40_0000);
}

#[test]
fn much_ram_does_not_move_things_out_of_reach() {
    let placement = place(flat(0, MIB, 0), Some(4096), 4096, 1024 * MIB).expect("there is room");
    assert_eq!(placement.segments[1].gpa, 512 * MIB - 4096);
    assert_eq!(placement.registers.r3, 256 * MIB - 4096);
    assert_eq!(placement.registers.r7, 256 * MIB);
    let large = place(flat(0, MIB, 0), Some(300 << 20), 4096, 1024 * MIB).expect("there is room");
    assert_eq!(large.segments[1].gpa, 212 * MIB);
    assert_eq!(large.registers.r3, 212 * MIB - 4096);
}

#[test]
fn a_kernel_at_the_top_pushes_the_rest_down() {
    let top = flat(RAM - MIB, MIB, 0);
    let placement = place(top, Some(4096), 8, RAM).expect("there is room below");
    assert_eq!(placement.segments[1].gpa, RAM - MIB - 4096);
    assert_eq!(placement.registers.r3, RAM - MIB - 4096 - 8);
}

#[test]
fn a_flat_kernel_keeps_room_for_its_bss() {
    let ram = 16 * MIB;
    let free = (ram - 10 * MIB) as usize;
    let with = |initrd| place(flat(0, 6 * MIB, 4 * MIB), Some(initrd), 4096, ram);
    assert!(with(free - 4096).is_ok());
    let error = with(free).expect_err("no room for the tree").to_string();
    assert_eq!(
        error,
        "kernel: no room for the 4096 bytes of the device tree below 0xa00000 in 16777216 bytes of ram: the kernel occupies 0x0 to 0x600000 and 4194304 bytes after it are kept for its bss, whose size only the vmlinux tells; give the guest more memory"
    );
    let error = with(free + 1).expect_err("no room").to_string();
    assert!(
        error.starts_with("disk: no room for the 6291457 bytes of the initrd below"),
        "{error}"
    );
    let error = with(ram as usize + 1)
        .expect_err("larger than ram")
        .to_string();
    assert!(error.starts_with("disk: no room"), "{error}");
    assert!(
        place(flat(0, 6 * MIB, 0), Some(free + 1), 4096, ram).is_ok(),
        "an elf file knows"
    );
}

/// Whatever is accepted must be consistent.
fn check(bytes: Vec<u8>, ram: u32) {
    let _initrd = Initrd::from_bytes(name(), bytes.clone(), ram);
    let _tree = dtb_from_bytes(name(), &bytes);
    let Ok(kernel) = Kernel::from_bytes(name(), bytes, ram) else {
        return;
    };
    let Ok(placement) = place(kernel, Some(5000), 3000, ram) else {
        return;
    };
    let mut ranges: Vec<_> = placement
        .segments
        .iter()
        .map(|s| (s.gpa, s.end()))
        .collect();
    assert!(
        placement
            .segments
            .iter()
            .all(|s| s.bytes.len() <= s.size as usize)
    );
    ranges.sort_unstable();
    assert!(
        ranges
            .windows(2)
            .all(|pair| pair[0].1 <= u64::from(pair[1].0)),
        "{ranges:x?}"
    );
    assert!(ranges.iter().all(|(_, end)| *end <= u64::from(ram)));
    let pc = placement.registers.pc;
    assert!(
        ranges
            .iter()
            .any(|(start, end)| *start <= pc && u64::from(pc) < *end)
    );
}

fn images() -> Vec<Vec<u8>> {
    let bss = Load {
        paddr: 0x2000,
        memsz: 0x3000,
        flags: 6,
        ..text(b"data")
    };
    let vmlinux = elf(0xC000_0000, &[text(CODE), bss]);
    vec![
        Uimage::kernel(CODE).build(),
        Uimage::gzip(CODE).build(),
        Uimage::ramdisk(CODE).build(),
        gzip(&vmlinux),
        vmlinux,
        generate(&Board::bamboo(), &TreeOptions::default()).expect("valid"),
    ]
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(bytes, 16 * MIB);
    }

    #[test]
    fn mutated_images_never_panic(
        image in 0usize..6,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        length in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut bytes = images().swap_remove(image);
        for (index, value) in changes {
            let position = index.index(bytes.len());
            bytes[position] = value;
        }
        if let Some(length) = length {
            bytes.truncate(length.index(bytes.len()));
        }
        check(bytes.clone(), 16 * MIB);
        // With the header's checksum made right, the change gets past the first check.
        if bytes.starts_with(&[0x27, 0x05, 0x19, 0x56]) && bytes.len() >= 64 {
            check(sealed(bytes), 16 * MIB);
        }
    }

    #[test]
    fn elf_fields_of_any_value_never_panic(
        fields in proptest::collection::vec((0usize..8, 0usize..2, any::<u32>()), 1..4),
        entry in any::<u32>(),
        small in any::<bool>(),
    ) {
        let mut file = elf(entry, &[text(CODE), Load { paddr: 0x100, ..text(CODE) }]);
        for (field, header, value) in fields {
            let value = if small { value % 0x200 } else { value };
            let offset = 52 + header * 32 + field * 4;
            file[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
        }
        check(file, 16 * MIB);
    }

    #[test]
    fn uimage_fields_of_any_value_never_panic(
        load in any::<u32>(), entry in any::<u32>(), small in any::<bool>(),
        compression in 0u8..2, size in proptest::option::of(any::<u32>()),
    ) {
        let reduce = |value: u32| if small { value % 0x40 * 4 } else { value };
        let data = if compression == 1 { gzip(CODE) } else { CODE.to_vec() };
        let (load, entry) = (reduce(load), reduce(entry));
        let image = Uimage { load, entry, compression, ..Uimage::kernel(&data) };
        let mut bytes = image.build();
        if let Some(size) = size {
            bytes[12..16].copy_from_slice(&size.to_be_bytes());
            bytes = sealed(bytes);
        }
        check(bytes, 16 * MIB);
    }
}
