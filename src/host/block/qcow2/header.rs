//! The header: what an image says about itself, checked before anything trusts it.
//!
//! Offsets are those of QEMU's `docs/interop/qcow2`; all fields are big-endian. Sizes of tables are
//! bounded as in QEMU, before room is made for them.

use std::io;

use super::geometry::{ENTRY, Extent, Geometry};
use super::storage::Storage;
use crate::host::block::error::DiskFault;
use crate::host::block::format::QCOW2_MAGIC;

const VERSION_2_BYTES: usize = 72;
const VERSION_3_BYTES: usize = 104;
/// The longest name of a backing file.
const MAX_BACKING_NAME: usize = 1023;
/// The largest L1 table, in bytes; with the smallest clusters it maps 128 GiB.
const MAX_L1: u64 = 32 << 20;
/// The largest refcount table, in bytes.
pub(super) const MAX_REFCOUNT_TABLE: u64 = 8 << 20;
/// The largest table of snapshots, in bytes, and the most of them.
const MAX_SNAPSHOT_TABLE: u64 = 64 << 20;
const MAX_SNAPSHOTS: u32 = 65_536;

/// Where a header field is that is written by itself: refcount table offset and clusters.
pub(super) const REFCOUNT_TABLE: u64 = 48;
/// The autoclear features, which a writer that does not know them clears.
pub(super) const AUTOCLEAR: u64 = 88;

/// The smallest clusters with extended L2 entries: their parts are whole sectors.
const LEAST_EXTENDED: u32 = 14;

// Incompatible features, by bit.
const DIRTY: u32 = 0;
const CORRUPT: u32 = 1;
const DATA_FILE: u32 = 2;
const COMPRESSION: u32 = 3;
const EXTENDED_L2: u32 = 4;

// Header extensions, by type.
const END: u32 = 0;
const BACKING_FORMAT: u32 = 0xE279_2ACA;
const FEATURE_NAMES: u32 = 0x6803_F857;

/// How compressed clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    /// A raw deflate stream.
    Deflate,
    Zstd,
}

/// A header whose fields are in bounds.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub geometry: Geometry,
    pub compression: Compression,
    pub l1: Extent,
    pub refcount_table: Extent,
    pub snapshots: u32,
    pub snapshots_at: u64,
    /// The file's name, as the image has it.
    pub backing: Option<Vec<u8>>,
    pub backing_format: Option<String>,
    pub autoclear: u64,
    /// Why it must not be written: counts that were not kept, or a mark of damage.
    pub unsound: Option<&'static str>,
}

/// Fields at their offsets in the header's bytes.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn word(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        if let Some(field) = self.0.get(at..at + 4) {
            bytes.copy_from_slice(field);
        }
        u32::from_be_bytes(bytes)
    }

    fn double(&self, at: usize) -> u64 {
        u64::from(self.word(at)) << 32 | u64::from(self.word(at + 4))
    }
}

fn damaged(what: impl Into<String>) -> DiskFault {
    DiskFault::Damaged(what.into())
}

impl Header {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// No qcow2 image, a damaged one, or one of a kind that is not supported.
    pub fn read(storage: &dyn Storage) -> Result<Self, DiskFault> {
        let length = storage.length()?;
        let mut start = [0; VERSION_3_BYTES + 8];
        storage.read(0, &mut start)?;
        if start[..4] != QCOW2_MAGIC {
            let start = [start[0], start[1], start[2], start[3]];
            return Err(DiskFault::NotQcow2 { start });
        }
        let fields = Fields(&start);
        let version = fields.word(4);
        let least = match version {
            2 => VERSION_2_BYTES,
            3 => VERSION_3_BYTES,
            _ => {
                return Err(DiskFault::unsupported(
                    format!("version {version}"),
                    "convert it with `qemu-img convert -O qcow2`",
                ));
            }
        };
        if length < least as u64 {
            return Err(damaged(format!(
                "the file ends after {length} bytes, inside the header"
            )));
        }
        let cluster_bits = fields.word(20);
        if !(9..=21).contains(&cluster_bits) {
            return Err(damaged(format!("its clusters have 2^{cluster_bits} bytes")));
        }
        let cluster = 1_usize << cluster_bits;
        // Extensions and the backing file's name are in the first cluster, too.
        let mut bytes = vec![0; cluster];
        storage.read(0, &mut bytes)?;
        let fields = Fields(&bytes);
        let header_bytes = match version {
            2 => VERSION_2_BYTES,
            _ => fields.word(100) as usize,
        };
        if header_bytes < least || header_bytes > cluster || header_bytes % 8 != 0 {
            return Err(damaged(format!("its header has {header_bytes} bytes")));
        }
        Header::parse(&fields, header_bytes, length)
    }

    fn parse(fields: &Fields<'_>, header_bytes: usize, length: u64) -> Result<Self, DiskFault> {
        let version = fields.word(4);
        let extensions = Extensions::read(fields, header_bytes)?;
        let incompatible = match version {
            2 => 0,
            _ => fields.double(72),
        };
        let features = features(incompatible, &extensions.features)?;
        if fields.word(32) != 0 {
            return Err(DiskFault::unsupported(
                "encryption",
                "decrypt it with `qemu-img convert`",
            ));
        }
        let compression = match (features.compressed, header_bytes > 104, fields.0[104]) {
            (false, false, _) | (false, true, 0) => Compression::Deflate,
            (true, true, 1) => Compression::Zstd,
            (_, _, kind) => {
                return Err(DiskFault::unsupported(
                    format!("compression {kind}"),
                    "convert it with `qemu-img convert -O qcow2`",
                ));
            }
        };
        let refcount_order = if version == 2 { 4 } else { fields.word(96) };
        if refcount_order > 6 {
            return Err(damaged(format!(
                "its reference counts have 2^{refcount_order} bits"
            )));
        }
        let geometry = Geometry {
            version,
            cluster_bits: fields.word(20),
            refcount_order,
            extended_l2: features.extended_l2,
            size: fields.double(24),
        };
        if geometry.extended_l2 && geometry.cluster_bits < LEAST_EXTENDED {
            return Err(damaged(format!(
                "it has extended L2 entries for clusters of {} bytes",
                geometry.cluster()
            )));
        }
        let header = Header {
            geometry,
            compression,
            l1: Extent {
                at: fields.double(40),
                bytes: u64::from(fields.word(36)) * ENTRY,
            },
            refcount_table: Extent {
                at: fields.double(REFCOUNT_TABLE as usize),
                bytes: u64::from(fields.word(56)) << geometry.cluster_bits,
            },
            snapshots: fields.word(60),
            snapshots_at: fields.double(64),
            backing: backing_name(fields, geometry)?,
            backing_format: extensions.backing_format,
            autoclear: if version == 2 { 0 } else { fields.double(88) },
            unsound: features.unsound,
        };
        header.check_places(length)?;
        Ok(header)
    }

    fn check_places(&self, length: u64) -> Result<(), DiskFault> {
        let geometry = self.geometry;
        let (size, cluster) = (geometry.size, geometry.cluster());
        if geometry.l1_entries() > self.l1.bytes / ENTRY {
            let entries = self.l1.bytes / ENTRY;
            return Err(damaged(format!(
                "{entries} L1 entries for {size} bytes in clusters of {cluster}"
            )));
        }
        for (what, Extent { at, bytes }, most) in [
            ("L1 table", self.l1, MAX_L1),
            ("refcount table", self.refcount_table, MAX_REFCOUNT_TABLE),
        ] {
            if bytes > most {
                return Err(damaged(format!("its {what} has {bytes} bytes")));
            }
            // The last cluster of a file may end early; its tables do not.
            if bytes > 0 && at.checked_add(bytes).is_none_or(|end| end > length) {
                return Err(damaged(format!(
                    "its {what} of {bytes} bytes at {at:#x} is not in the file, which ends at {length:#x}"
                )));
            }
            if !geometry.aligned(at) || bytes > 0 && at == 0 {
                return Err(damaged(format!("its {what} is at {at:#x}")));
            }
        }
        if self.snapshots > MAX_SNAPSHOTS {
            return Err(damaged(format!("it has {} snapshots", self.snapshots)));
        }
        if self.snapshots > 0 && (!geometry.aligned(self.snapshots_at) || self.snapshots_at == 0) {
            let at = self.snapshots_at;
            return Err(damaged(format!("its snapshots are at {at:#x}")));
        }
        Ok(())
    }

    /// The L1 tables of the snapshots, and the place of the table that names them.
    ///
    /// # Errors
    /// A table that is not in the file.
    pub fn snapshot_tables(
        &self,
        storage: &dyn Storage,
    ) -> Result<(Extent, Vec<Extent>), DiskFault> {
        let length = storage.length()?;
        let mut at = self.snapshots_at;
        if self.snapshots > 0 && at > length {
            return Err(damaged(format!("its snapshots are at {at:#x}")));
        }
        let mut tables = Vec::new();
        for number in 0..self.snapshots {
            let mut bytes = [0; 40];
            storage.read(at, &mut bytes)?;
            let fields = Fields(&bytes);
            let l1 = Extent {
                at: fields.double(0),
                bytes: u64::from(fields.word(8)) * ENTRY,
            };
            let names = u64::from(fields.word(12) >> 16) + u64::from(fields.word(12) & 0xFFFF);
            let entry = 40 + u64::from(fields.word(36)) + names;
            let inside = l1.at.checked_add(l1.bytes).is_some_and(|end| end <= length);
            if !inside || l1.bytes > MAX_L1 || !self.geometry.aligned(l1.at) {
                return Err(damaged(format!(
                    "the L1 table of snapshot {number}, of {} bytes at {:#x}, is not in the file",
                    l1.bytes, l1.at
                )));
            }
            // The last one is not padded.
            if at + entry > length || at + entry - self.snapshots_at > MAX_SNAPSHOT_TABLE {
                return Err(damaged(format!("snapshot {number} is not in the file")));
            }
            at += entry.next_multiple_of(8);
            tables.push(l1);
        }
        let bytes = at - self.snapshots_at;
        let at = self.snapshots_at;
        Ok((Extent { at, bytes }, tables))
    }
}

fn backing_name(fields: &Fields<'_>, geometry: Geometry) -> Result<Option<Vec<u8>>, DiskFault> {
    let (at, bytes) = (fields.double(8), fields.word(16) as usize);
    if at == 0 {
        return Ok(None);
    }
    let start = usize::try_from(at).unwrap_or(usize::MAX);
    let name = start
        .checked_add(bytes)
        .and_then(|end| fields.0.get(start..end));
    match name {
        Some(name) if (1..=MAX_BACKING_NAME).contains(&bytes) && !name.contains(&0) => {
            Ok(Some(name.to_vec()))
        }
        _ => Err(damaged(format!(
            "the name of its backing file, {bytes} bytes at {at:#x}, is not in the first {} bytes",
            geometry.cluster()
        ))),
    }
}

/// What the incompatible features say.
struct Features {
    /// Why the image must not be written.
    unsound: Option<&'static str>,
    /// Another compression than deflate is named.
    compressed: bool,
    extended_l2: bool,
}

fn features(incompatible: u64, names: &[(u32, String)]) -> Result<Features, DiskFault> {
    let convert = "convert it with `qemu-img convert -O qcow2`";
    let has = |bit: u32| incompatible & 1 << bit != 0;
    if has(DATA_FILE) {
        return Err(DiskFault::unsupported("an external data file", convert));
    }
    if let Some(bit) = (EXTENDED_L2 + 1..64).find(|bit| has(*bit)) {
        let name = names.iter().find(|(known, _)| *known == bit);
        let what = match name {
            Some((_, name)) => format!("incompatible feature {bit} (`{name}`)"),
            None => format!("incompatible feature {bit}"),
        };
        return Err(DiskFault::unsupported(what, convert));
    }
    let unsound = match (has(CORRUPT), has(DIRTY)) {
        (true, _) => Some("it is marked as corrupt"),
        (false, true) => Some("its reference counts were not written when it was last used"),
        (false, false) => None,
    };
    Ok(Features {
        unsound,
        compressed: has(COMPRESSION),
        extended_l2: has(EXTENDED_L2),
    })
}

/// What the header extensions say, as far as it matters here.
#[derive(Default)]
struct Extensions {
    backing_format: Option<String>,
    /// Names of incompatible features, by bit.
    features: Vec<(u32, String)>,
}

impl Extensions {
    fn read(fields: &Fields<'_>, header_bytes: usize) -> Result<Self, DiskFault> {
        let mut found = Extensions::default();
        let backing = fields.double(8);
        // They end where the backing file's name begins.
        let end = match usize::try_from(backing) {
            Ok(at) if at >= header_bytes && at < fields.0.len() => at,
            _ => fields.0.len(),
        };
        let mut at = header_bytes;
        while at + 8 <= end {
            let (kind, bytes) = (fields.word(at), fields.word(at + 4) as usize);
            if kind == END {
                break;
            }
            at += 8;
            let Some(data) = at
                .checked_add(bytes)
                .and_then(|to| fields.0[..end].get(at..to))
            else {
                return Err(damaged(format!(
                    "a header extension of {bytes} bytes at {at:#x} does not fit in the header"
                )));
            };
            match kind {
                BACKING_FORMAT => found.backing_format = Some(text(data)),
                FEATURE_NAMES => found.features = feature_names(data),
                _ => {}
            }
            at += bytes.next_multiple_of(8);
        }
        Ok(found)
    }
}

/// Entries of 48 bytes: a kind (0 is incompatible), a bit, a name that ends in zeros.
fn feature_names(table: &[u8]) -> Vec<(u32, String)> {
    let entries = table.chunks_exact(48).filter(|entry| entry[0] == 0);
    entries
        .map(|entry| (entry[1].into(), text(&entry[2..])))
        .collect()
}

/// A name for messages: up to its first zero, without what a terminal would obey.
fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(bytes);
    text.chars().filter(|char| !char.is_control()).collect()
}

/// Writes the header and empty tables of a version 3 image of `size` bytes into empty storage.
///
/// Header, refcount table, one refcount block and the L1 table follow each other.
pub(super) fn create(storage: &dyn Storage, geometry: Geometry) -> io::Result<()> {
    let cluster = geometry.cluster();
    let l1_clusters = (geometry.l1_entries() * ENTRY).div_ceil(cluster).max(1);
    let used = 3 + l1_clusters;
    if used > geometry.counts_per_block() || geometry.l1_entries() * ENTRY > MAX_L1 {
        return Err(io::Error::other(
            "a disk of this size has no room for its tables",
        ));
    }
    let mut header = vec![0; VERSION_3_BYTES + 8];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &QCOW2_MAGIC);
    put(4, &geometry.version.to_be_bytes());
    put(20, &geometry.cluster_bits.to_be_bytes());
    put(24, &geometry.size.to_be_bytes());
    put(36, &(geometry.l1_entries() as u32).to_be_bytes());
    put(40, &(3 * cluster).to_be_bytes());
    put(48, &cluster.to_be_bytes());
    put(56, &1_u32.to_be_bytes());
    if geometry.version >= 3 {
        put(96, &geometry.refcount_order.to_be_bytes());
        put(100, &(VERSION_3_BYTES as u32).to_be_bytes());
    }
    let mut block = vec![0; cluster as usize];
    for number in 0..used {
        super::refcounts::put(&mut block, geometry.refcount_order, number, 1);
    }
    storage.write(3 * cluster, &vec![0; (l1_clusters * cluster) as usize])?;
    storage.write(2 * cluster, &block)?;
    let mut table = vec![0; cluster as usize];
    table[..8].copy_from_slice(&(2 * cluster).to_be_bytes());
    storage.write(cluster, &table)?;
    storage.write(0, &header)
}
