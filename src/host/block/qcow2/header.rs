//! What must be right in a qcow2 header before anything trusts the image.
//!
//! `imago` reads headers too. It reads zeros behind the end of a file, so it would take a truncated
//! image for one with holes, and it does not look at encryption; both are refused here. Offsets are
//! those of QEMU's `docs/interop/qcow2.txt`; all fields are big-endian.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::host::block::error::DiskFault;
use crate::host::block::file::size as size_of;
use crate::host::block::format::QCOW2_MAGIC;

const VERSION_2_BYTES: usize = 72;
const INCOMPATIBLE_FEATURES: usize = 72;
const HEADER_BYTES: usize = 80;

/// Sizes of a table entry, in bytes.
const ENTRY: u64 = 8;

// Incompatible features, by bit.
const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const DATA_FILE: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

/// The tables that the header points to, as far as they can be checked.
struct Header<'a>(&'a [u8]);

impl Header<'_> {
    fn word(&self, at: usize) -> u32 {
        let bytes = self.0[at..at + 4].try_into().expect("four bytes");
        u32::from_be_bytes(bytes)
    }

    fn double(&self, at: usize) -> u64 {
        u64::from(self.word(at)) << 32 | u64::from(self.word(at + 4))
    }
}

/// Refuses a file that is no sound qcow2 image of a kind that is supported.
pub(super) fn check(file: &File) -> Result<(), DiskFault> {
    let mut bytes = [0; HEADER_BYTES];
    let present = read(file, &mut bytes)?;
    let start: [u8; 4] = bytes[..4].try_into().expect("four bytes");
    if start != QCOW2_MAGIC {
        return Err(DiskFault::NotQcow2 { start });
    }
    let damaged = |what: String| Err(DiskFault::Damaged(what));
    let header = Header(&bytes);
    let version = header.word(4);
    let needed = if version == 2 {
        VERSION_2_BYTES
    } else {
        HEADER_BYTES
    };
    if present < needed {
        return damaged(format!(
            "the file ends after {present} bytes, inside the header"
        ));
    }
    if !(2..=3).contains(&version) {
        return Err(DiskFault::unsupported(
            format!("version {version}"),
            "convert it with `qemu-img convert -O qcow2`",
        ));
    }
    if version == 3 {
        check_features(header.double(INCOMPATIBLE_FEATURES))?;
    }
    if header.word(32) != 0 {
        return Err(DiskFault::unsupported(
            "encryption",
            "decrypt it with `qemu-img convert`",
        ));
    }

    let cluster_bits = header.word(20);
    if !(9..=21).contains(&cluster_bits) {
        return damaged(format!("its clusters have 2^{cluster_bits} bytes"));
    }
    let cluster = 1_u64 << cluster_bits;
    let size = header.double(24);
    let l1_entries = u64::from(header.word(36));
    // An L1 entry leads to a cluster of L2 entries, each of which leads to a cluster.
    let covered = (cluster / ENTRY) * cluster;
    if size.div_ceil(covered) > l1_entries {
        return damaged(format!(
            "{l1_entries} L1 entries for {size} bytes in clusters of {cluster}"
        ));
    }
    let length = size_of(file)?;
    for (what, at, bytes) in [
        ("L1 table", header.double(40), l1_entries * ENTRY),
        (
            "refcount table",
            header.double(48),
            u64::from(header.word(56)) * cluster,
        ),
    ] {
        // The last cluster of a file may end early; its tables do not.
        if bytes > 0 && at.checked_add(bytes).is_none_or(|end| end > length) {
            return damaged(format!(
                "its {what} of {bytes} bytes at {at:#x} is not in the file, which ends at {length:#x}"
            ));
        }
    }
    Ok(())
}

fn check_features(incompatible: u64) -> Result<(), DiskFault> {
    let convert = "convert it with `qemu-img convert -O qcow2`";
    let unsupported = |what: &str, remedy| Err(DiskFault::unsupported(what, remedy));
    match incompatible {
        0 => Ok(()),
        bits if bits & CORRUPT != 0 => Err(DiskFault::Damaged("it is marked as corrupt".into())),
        bits if bits & DIRTY != 0 => unsupported(
            "reference counts that were not written",
            "repair it with `qemu-img check -r all`",
        ),
        bits if bits & DATA_FILE != 0 => unsupported("an external data file", convert),
        bits if bits & COMPRESSION != 0 => unsupported("a compression other than zlib", convert),
        bits if bits & EXTENDED_L2 != 0 => unsupported("extended L2 entries", convert),
        bits => unsupported(&format!("incompatible features {bits:#x}"), convert),
    }
}

/// As many bytes from the start as there are.
fn read(file: &File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
