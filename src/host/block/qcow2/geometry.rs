//! Sizes that follow from an image's header, and the entries of its tables.
//!
//! An L1 entry leads to an L2 table of one cluster, whose entries say where each cluster of the disk
//! is. Offsets and bits are those of QEMU's `docs/interop/qcow2`.

use std::io;

/// Bytes of an entry in the L1 table, an L2 table or the refcount table.
pub(super) const ENTRY: u64 = 8;
/// The cluster or table is referenced once, from here: it may be written in place.
pub(super) const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeros, whatever it holds (version 3).
pub(super) const ZERO: u64 = 1;
/// The host offset in an entry.
const OFFSET: u64 = 0x00FF_FFFF_FFFF_FE00;
/// Parts of a cluster that an extended L2 entry knows each for itself.
const SUBCLUSTERS: u64 = 32;
/// Unit of a compressed cluster's length.
const COMPRESSED_UNIT: u64 = 512;

/// An error about tables that contradict themselves.
pub(super) fn damaged(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// What the header says about sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    /// 2 or 3.
    pub version: u32,
    /// A cluster has 2 to the power of this many bytes; 9 to 21.
    pub cluster_bits: u32,
    /// A reference count has 2 to the power of this many bits; 0 to 6.
    pub refcount_order: u32,
    /// L2 entries have a second word, which says of each subcluster where it is.
    pub extended_l2: bool,
    /// The disk's size in bytes.
    pub size: u64,
}

/// A range of the file that a table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub at: u64,
    pub bytes: u64,
}

/// Where a cluster of the disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mapping {
    /// In the backing file, or nowhere: zeros then.
    Absent,
    /// At a host offset; `copied` if nobody else refers to it.
    Data { at: u64, copied: bool },
    /// Zeros, with a host cluster kept for it or without.
    Zero { kept: Option<(u64, bool)> },
    /// Compressed, in this range of the file.
    Compressed { at: u64, bytes: u64 },
}

impl Geometry {
    /// Bytes of a cluster.
    pub fn cluster(self) -> u64 {
        1 << self.cluster_bits
    }

    /// Words of an L2 entry.
    pub fn entry_words(self) -> usize {
        if self.extended_l2 { 2 } else { 1 }
    }

    /// Entries of an L2 table.
    pub fn table_entries(self) -> u64 {
        self.cluster() / ENTRY / self.entry_words() as u64
    }

    /// Parts of a cluster that are each in one place.
    pub fn units_per_cluster(self) -> u64 {
        if self.extended_l2 { SUBCLUSTERS } else { 1 }
    }

    /// Bytes of such a part.
    pub fn unit(self) -> u64 {
        self.cluster() / self.units_per_cluster()
    }

    /// Bytes of the disk that one L2 table maps.
    pub fn table_span(self) -> u64 {
        self.table_entries() * self.cluster()
    }

    /// L1 entries that the disk needs.
    pub fn l1_entries(self) -> u64 {
        self.size.div_ceil(self.table_span())
    }

    /// Clusters whose counts one refcount block holds.
    pub fn counts_per_block(self) -> u64 {
        (self.cluster() * 8) >> self.refcount_order
    }

    /// The position of a disk offset: L1 index, L2 index, offset in the cluster.
    pub fn position(self, offset: u64) -> (usize, usize, u64) {
        let cluster = offset >> self.cluster_bits;
        let (l1, l2) = (
            cluster / self.table_entries(),
            cluster % self.table_entries(),
        );
        (l1 as usize, l2 as usize, offset & (self.cluster() - 1))
    }

    pub fn aligned(self, at: u64) -> bool {
        at & (self.cluster() - 1) == 0
    }

    /// The L2 table that an L1 entry leads to, and whether it may be written in place.
    pub fn l2_table(self, entry: u64) -> io::Result<Option<(u64, bool)>> {
        let at = entry & OFFSET;
        if entry & !(OFFSET | COPIED) != 0 || !self.aligned(at) {
            return Err(damaged(format!("an L1 entry is {entry:#x}")));
        }
        Ok((at != 0).then_some((at, entry & COPIED != 0)))
    }

    /// The refcount block that an entry of the refcount table leads to.
    pub fn refcount_block(self, entry: u64) -> io::Result<Option<u64>> {
        if !self.aligned(entry) {
            return Err(damaged(format!("a refcount table entry is {entry:#x}")));
        }
        Ok((entry != 0).then_some(entry))
    }

    /// What an L2 entry says.
    pub fn mapping(self, entry: u64) -> io::Result<Mapping> {
        let wrong = || damaged(format!("an L2 entry is {entry:#x}"));
        let copied = entry & COPIED != 0;
        if entry & COMPRESSED != 0 {
            let offset_bits = 62 - (self.cluster_bits - 8);
            let at = entry & ((1 << offset_bits) - 1);
            let more = (entry & !(COPIED | COMPRESSED)) >> offset_bits;
            let end = (at / COMPRESSED_UNIT + more + 1) * COMPRESSED_UNIT;
            if copied || at == 0 {
                return Err(wrong());
            }
            return Ok(Mapping::Compressed {
                at,
                bytes: end - at,
            });
        }
        let at = entry & OFFSET;
        let zero = entry & ZERO != 0;
        if entry & !(OFFSET | COPIED | ZERO) != 0
            || !self.aligned(at)
            || zero && (self.version < 3 || self.extended_l2)
            || at == 0 && copied
        {
            return Err(wrong());
        }
        Ok(match (zero, at) {
            (true, 0) => Mapping::Zero { kept: None },
            (true, at) => Mapping::Zero {
                kept: Some((at, copied)),
            },
            (false, 0) => Mapping::Absent,
            (false, at) => Mapping::Data { at, copied },
        })
    }

    /// The numbers of the host clusters that a mapping refers to, each once.
    pub fn references(self, mapping: Mapping) -> std::ops::Range<u64> {
        let bits = self.cluster_bits;
        match mapping {
            Mapping::Absent | Mapping::Zero { kept: None } => 0..0,
            Mapping::Data { at, .. }
            | Mapping::Zero {
                kept: Some((at, _)),
            } => at >> bits..(at >> bits) + 1,
            Mapping::Compressed { at, bytes } => at >> bits..((at + bytes - 1) >> bits) + 1,
        }
    }
}

/// A set of cluster numbers, small where they are close to each other.
#[derive(Default)]
pub(super) struct ClusterSet(std::collections::HashMap<u64, u64>);

impl ClusterSet {
    /// Adds a cluster; `false` if it is there already.
    pub fn insert(&mut self, cluster: u64) -> bool {
        let word = self.0.entry(cluster / 64).or_default();
        let bit = 1 << (cluster % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    pub fn remove(&mut self, cluster: u64) {
        if let Some(word) = self.0.get_mut(&(cluster / 64)) {
            *word &= !(1 << (cluster % 64));
        }
    }

    pub fn contains(&self, cluster: u64) -> bool {
        self.group(cluster / 64) & 1 << (cluster % 64) != 0
    }

    /// A bit for each of 64 clusters that follow each other, of which this is group `number`.
    pub fn group(&self, number: u64) -> u64 {
        self.0.get(&number).copied().unwrap_or(0)
    }

    /// Adds those of a group whose bits are set.
    pub fn add(&mut self, number: u64, bits: u64) {
        if bits != 0 {
            *self.0.entry(number).or_default() |= bits;
        }
    }
}

/// Numbers of eight bytes each, as they stand in a table.
pub(super) fn from_bytes(bytes: &[u8]) -> Box<[u64]> {
    let (entries, _) = bytes.as_chunks::<8>();
    entries.iter().copied().map(u64::from_be_bytes).collect()
}

/// The bytes of a table's entries.
pub(super) fn to_bytes(entries: &[u64]) -> Vec<u8> {
    entries
        .iter()
        .flat_map(|entry| entry.to_be_bytes())
        .collect()
}
