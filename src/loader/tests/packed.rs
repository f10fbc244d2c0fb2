//! Compressed data of every kind.

use super::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

pub(super) const KINDS: [Compression; 6] = [
    Compression::Gzip,
    Compression::Bzip2,
    Compression::Lzma,
    Compression::Xz,
    Compression::Lz4,
    Compression::Zstd,
];

/// `data` as the compressor of that kind writes it.
pub(super) fn pack(kind: Compression, data: &[u8]) -> Vec<u8> {
    fn write<W: Write>(mut writer: W, data: &[u8]) -> W {
        writer.write_all(data).expect("a vector takes everything");
        writer
    }
    let sink = Vec::new();
    match kind {
        Compression::Gzip => gzip(data),
        Compression::Bzip2 => {
            let encoder = bzip2::write::BzEncoder::new(sink, bzip2::Compression::fast());
            write(encoder, data)
                .finish()
                .expect("a vector takes everything")
        }
        Compression::Lzma => {
            let options = lzma_rust2::LzmaOptions::with_preset(0);
            let encoder = lzma_rust2::LzmaWriter::new_use_header(sink, &options, None);
            let encoder = encoder.expect("the options are valid");
            write(encoder, data)
                .finish()
                .expect("a vector takes everything")
        }
        Compression::Xz => {
            let options = lzma_rust2::XzOptions::with_preset(0);
            let encoder = lzma_rust2::XzWriter::new(sink, options).expect("valid options");
            write(encoder, data)
                .finish()
                .expect("a vector takes everything")
        }
        Compression::Lz4 => {
            let info = lz4_flex::frame::FrameInfo::new().content_checksum(true);
            let encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, sink);
            write(encoder, data)
                .finish()
                .expect("a vector takes everything")
        }
        Compression::Zstd => compress_to_vec(data, CompressionLevel::Fastest),
        Compression::Lzo => unreachable!("nothing here writes it"),
    }
}

/// Text that compresses, but not to nothing.
fn text_of(bytes: usize) -> Vec<u8> {
    let line = |n: usize| format!("line {n} of {}\n", n.wrapping_mul(2_654_435_761) % 1013);
    let mut text: Vec<u8> = (0..)
        .flat_map(|n| line(n).into_bytes())
        .take(bytes)
        .collect();
    text[..4].copy_from_slice(&CODE[..4]);
    text
}

#[test]
fn every_compression_gives_back_what_was_packed() {
    for size in [100, 300_000] {
        let data = text_of(size);
        for kind in KINDS {
            let packed = pack(kind, &data);
            assert_eq!(detect(&packed), Kind::Compressed(kind));
            let unpacked =
                unpack::unpack(kind, &packed, data.len() as u64, &budget()).expect("it fits");
            assert!(unpacked == data, "{kind}, {size} bytes");
        }
    }
}

#[test]
fn every_compression_stops_at_the_limit() {
    let data = vec![0; 3_000_000];
    for kind in KINDS {
        let packed = pack(kind, &data);
        let error =
            unpack::unpack(kind, &packed, data.len() as u64 - 1, &budget()).expect_err("too much");
        assert!(
            matches!(error, Fault::UnpacksTooLarge { .. }),
            "{kind}: {error}"
        );
    }
}

#[test]
fn truncated_and_changed_data_is_refused() {
    let data = text_of(5000);
    for kind in KINDS {
        let packed = pack(kind, &data);
        for length in [packed.len() / 2, packed.len() - 1] {
            let result = unpack::unpack(kind, &packed[..length], 1 << 20, &budget());
            assert!(
                result.is_err(),
                "{kind}: {length} of {} bytes",
                packed.len()
            );
        }
        let mut changed = packed.clone();
        changed[packed.len() / 2] ^= 0x10;
        // LZMA alone has no checksum.
        let result = unpack::unpack(kind, &changed, 1 << 20, &budget());
        assert!(result.is_err() || kind == Compression::Lzma, "{kind}");
    }
}

#[test]
fn streams_that_follow_each_other_are_one_file() {
    let data = text_of(5000);
    for kind in [
        Compression::Gzip,
        Compression::Bzip2,
        Compression::Xz,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let (first, second) = data.split_at(2000);
        let both = [pack(kind, first), pack(kind, second)].concat();
        let unpacked = unpack::unpack(kind, &both, 1 << 20, &budget()).expect("both are whole");
        assert!(unpacked == data, "{kind}");
    }
}

#[test]
fn padding_after_the_data_is_ignored() {
    let data = text_of(5000);
    for kind in KINDS {
        let padded = [pack(kind, &data), vec![0; 64]].concat();
        let unpacked = unpack::unpack(kind, &padded, 1 << 20, &budget());
        let unpacked = unpacked.unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert!(unpacked == data, "{kind}");
    }
}

#[test]
fn every_compression_is_unpacked_in_files_and_in_uimages() {
    let vmlinux = elf(0xC000_0000, &[text(CODE)]);
    let numbers = [1, 2, 3, 0, 5, 6];
    for (kind, number) in KINDS.into_iter().zip(numbers) {
        let whole = kernel(pack(kind, &vmlinux)).expect("the file is good");
        assert_eq!(
            (whole.format, whole.segments[0].bytes.as_ref()),
            (format!("{kind} elf"), CODE)
        );
        // There is no number for xz: such images say that they are not compressed.
        let image = Uimage {
            compression: number,
            ..Uimage::kernel(&pack(kind, CODE))
        };
        let inside = kernel(image.build()).expect("the image is good");
        assert_eq!(inside.segments[0].bytes, CODE);
        assert_eq!(inside.format, format!("{kind} uImage \"Linux-test\""));
    }
}
