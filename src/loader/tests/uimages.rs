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
