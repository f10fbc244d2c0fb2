//! What a file is, from its first bytes.

use std::fmt;

/// How many bytes of a file [`detect`] looks at.
pub(super) const PREFIX: usize = 64;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A legacy U-Boot image; its header says of what.
    Uimage,
    /// A flattened device tree: a board's, or a FIT image.
    Fdt,
    /// An ELF file of any machine.
    Elf,
    /// An IBM evaluation board's boot block and raw image.
    TreeImage,
    /// Something inside a compressor's container.
    Compressed(Compression),
    /// An archive in one of cpio's ASCII forms.
    Cpio,
    /// Anything else, also an empty file.
    Raw,
}

/// A compressor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Deflate in gzip's container.
    Gzip,
    /// bzip2.
    Bzip2,
    /// The "alone" container of LZMA.
    Lzma,
    /// lzop's container.
    Lzo,
    /// LZ4, frame or legacy frame.
    Lz4,
    /// Zstandard.
    Zstd,
    /// LZMA2 in xz's container.
    Xz,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::Gzip => "gzip",
            Compression::Bzip2 => "bzip2",
            Compression::Lzma => "lzma",
            Compression::Lzo => "lzo",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
            Compression::Xz => "xz",
        })
    }
}

/// First bytes and what they stand for, in the order in which they are tried. No magic is the
/// start of another, so the order matters to the reader only: containers that say what they hold
/// come first, compressors, whose contents must be detected again, last.
const MAGICS: [(&[u8], Kind); 14] = [
    (&[0x27, 0x05, 0x19, 0x56], Kind::Uimage),
    (&[0xD0, 0x0D, 0xFE, 0xED], Kind::Fdt),
    (&[0x7F, b'E', b'L', b'F'], Kind::Elf),
    (&[0x00, 0x52, 0x50, 0x4F], Kind::TreeImage),
    (b"070701", Kind::Cpio),
    (b"070702", Kind::Cpio),
    (&[0x1F, 0x8B, 0x08], Kind::Compressed(Compression::Gzip)),
    (
        &[0xFD, b'7', b'z', b'X', b'Z', 0x00],
        Kind::Compressed(Compression::Xz),
    ),
    (
        &[0x28, 0xB5, 0x2F, 0xFD],
        Kind::Compressed(Compression::Zstd),
    ),
    (&[0x5D, 0x00, 0x00], Kind::Compressed(Compression::Lzma)),
    (b"\x89LZO\0\r\n\x1a\n", Kind::Compressed(Compression::Lzo)),
    (
        &[0x04, 0x22, 0x4D, 0x18],
        Kind::Compressed(Compression::Lz4),
    ),
    (
        &[0x02, 0x21, 0x4C, 0x18],
        Kind::Compressed(Compression::Lz4),
    ),
    (b"BZh", Kind::Compressed(Compression::Bzip2)),
];

/// What the file with these first bytes is. The one place that decides.
pub(super) fn detect(prefix: &[u8]) -> Kind {
    let found = MAGICS.iter().find(|(magic, _)| prefix.starts_with(magic));
    found.map_or(Kind::Raw, |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_magic_hides_another() {
        for (index, (magic, kind)) in MAGICS.iter().enumerate() {
            assert_eq!(detect(magic), *kind);
            let rest = &MAGICS[index + 1..];
            assert!(
                rest.iter().all(|(later, _)| !later.starts_with(magic)),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn what_has_no_magic_is_raw() {
        for prefix in [&b""[..], b"\x1f\x8b", b"\x7fELG", b"\x48\x00\x00\x04"] {
            assert_eq!(detect(prefix), Kind::Raw);
        }
    }
}
