//! Legacy uImages.

use super::*;

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
            bytes: CODE.into(),
            what: "kernel",
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
    let padded = kernel(padded).expect("the image is good");
    assert_eq!(format!("{padded:?}"), format!("{plain:?}"));
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
        "image: offset 0x1e: uImage type 3 (ramdisk) is not supported; pass it as the initrd",
    );
    check(
        Uimage {
            kind: 99,
            ..base.clone()
        },
        "image: offset 0x1e: uImage type 99 is not supported; ",
    );
    check(
        Uimage {
            compression: 4,
            ..base.clone()
        },
        "image: lzo compression is not supported; ",
    );
    check(
        Uimage {
            compression: 7,
            ..base.clone()
        },
        "image: offset 0x1f: uImage compression 7 is not supported; ",
    );
}

#[test]
fn a_uimage_that_hides_its_compression_is_unpacked() {
    let kernel = kernel(Uimage::kernel(&gzip(CODE)).build()).expect("the image is good");
    assert_eq!(kernel.segments[0].bytes, CODE);
    assert_eq!(kernel.format, "gzip uImage \"Linux-test\"");
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
        Kernel::from_bytes(name(), image.build(), &options(), small)
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
    let high = Kernel::from_bytes(name(), high.build(), &options(), 2 * INITIAL_MAPPING);
    assert_eq!(high.expect("all is mapped").entry, INITIAL_MAPPING);
}

/// The data of a multi-file image.
fn multi(parts: &[&[u8]]) -> Vec<u8> {
    let size = |part: &&[u8]| u32::try_from(part.len()).expect("small").to_be_bytes();
    let mut data: Vec<u8> = parts.iter().flat_map(size).collect();
    data.extend([0; 4]);
    for part in parts {
        data.resize(data.len().next_multiple_of(4), 0xEE);
        data.extend(*part);
    }
    data
}

fn multi_image(parts: &[&[u8]]) -> Uimage {
    Uimage {
        kind: 4,
        compression: 1,
        ..Uimage::kernel(&multi(parts))
    }
}

#[test]
fn a_multi_file_uimage_brings_its_initrd_and_its_tree() {
    let packed = gzip(CODE);
    let tree = ppckvm_fdt::generate(&ppckvm_fdt::Board::bamboo(), &Default::default());
    let tree = tree.expect("valid");
    let disk = b"an initrd, seventeen and more";
    let whole = kernel(multi_image(&[&packed, disk, &tree]).build()).expect("it is good");
    assert_eq!(whole.segments[0].bytes, CODE);
    assert_eq!(whole.initrd.expect("it has one").bytes, &disk[..]);
    assert_eq!(whole.tree.expect("it has one").1, tree);
    let two = kernel(multi_image(&[&packed, &tree]).build()).expect("it is good");
    assert!(two.initrd.is_none() && two.tree.is_some());
    let dummy = kernel(multi_image(&[&packed, b"\0\n", &tree]).build()).expect("it is good");
    assert!(
        dummy.initrd.is_none(),
        "two bytes keep the place of an initrd"
    );
    let alone = kernel(multi_image(&[&packed]).build()).expect("it is good");
    assert_eq!(alone.segments[0].bytes, CODE);
}

#[test]
fn damaged_multi_file_uimages_are_refused() {
    assert_refused(
        multi_image(&[]).build(),
        "image: offset 0x40: the multi-file uImage has no part; ",
    );
    let endless = Uimage {
        kind: 4,
        ..Uimage::kernel(&[1; 10])
    };
    assert_refused(
        endless.build(),
        "image: offset 0x48: the table of parts of the multi-file uImage has no end; ",
    );
    let mut data = multi(&[&gzip(CODE), b"a disk"]);
    data[4..8].copy_from_slice(&100u32.to_be_bytes());
    let short = Uimage {
        kind: 4,
        ..Uimage::kernel(&data)
    };
    let message = refusal(short.build());
    assert!(
        message.contains("the part of the multi-file uImage needs 100 bytes"),
        "{message}"
    );
}

#[test]
fn a_noload_uimage_runs_from_address_0() {
    let image = Uimage {
        kind: 14,
        load: 0x1234_5678,
        entry: 4,
        ..Uimage::kernel(CODE)
    };
    let kernel = kernel(image.build()).expect("the image is good");
    assert_eq!((kernel.segments[0].gpa, kernel.entry), (0, 4));
}

#[test]
fn an_elf_file_inside_a_uimage_says_itself_where_it_goes() {
    let vmlinux = elf(0xC000_0004, &[text(CODE)]);
    let image = Uimage {
        load: 0x10_0000,
        entry: 0x10_0000,
        ..Uimage::gzip(&vmlinux)
    };
    let kernel = kernel(image.build()).expect("the image is good");
    assert_eq!((kernel.segments[0].gpa, kernel.entry), (0, 4));
    assert_eq!(kernel.format, "gzip uImage \"Linux-test\" of elf");
}

#[test]
fn a_program_that_only_begins_like_a_uimage_is_raw_when_its_address_is_told() {
    let mut program = vec![0x60; 512];
    program[..4].copy_from_slice(&0x2705_1956u32.to_be_bytes());
    let message = refusal(program.clone());
    assert!(
        message.contains("offset 0x4: the crc of the uImage header is "),
        "{message}"
    );
    assert!(message.ends_with("needs a load address"), "{message}");
    let options = KernelOptions {
        load_address: Some(0x10_0000),
        ..options()
    };
    let kernel = Kernel::from_bytes(name(), program, &options, RAM).expect("it is told");
    assert_eq!((kernel.entry, kernel.format.as_str()), (0x10_0000, "raw"));
    let whole = Uimage::kernel(CODE).build();
    let error = Kernel::from_bytes(name(), whole, &options, RAM).expect_err("it knows better");
    assert!(
        error
            .to_string()
            .contains("this is a uImage, which says itself"),
        "{error}"
    );
}

#[test]
fn lzo_is_refused_by_name_also_when_looked_at() {
    let image = Uimage {
        compression: 4,
        ..Uimage::kernel(b"\x89LZO\0\r\n\x1a\n and more")
    };
    assert_refused(
        image.build(),
        "image: lzo compression is not supported; unpack the file first",
    );
    let source = Source::memory(name(), image.build(), RAM).expect("not empty");
    let text = describe_source(&source, &options(), RAM).to_string();
    assert!(
        text.contains("unpacked      lzo compression is not supported; "),
        "{text}"
    );
}
