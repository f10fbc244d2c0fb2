//! What must hold of an image's tables before anything is written to it.
//!
//! Every table is counted and overlaps no other; every entry leads into the file, to a counted
//! cluster that is no table. An image where this does not hold lost its order in a crash of an
//! unsafe writer, or was made to attack who opens it: a cluster that counts as free would be handed
//! out, and be written over or give the guest a table.

use std::io;

use super::geometry::{COPIED, ClusterSet, Extent, Mapping, damaged, from_bytes};
use super::header::Header;
use super::refcounts;
use super::storage::Storage;
use super::tables::Tables;
use crate::host::block::error::DiskFault;

/// L2 tables that are read before the disk is used. They map 8 TiB in clusters of 64 KiB. What is
/// beyond is checked when it is read.
const READ_AHEAD: u64 = 1 << 30;

/// Checks all tables of an image, and takes note of where they are.
///
/// # Errors
/// What is wrong first, and where.
pub(super) fn check(
    storage: &dyn Storage,
    header: &Header,
    tables: &mut Tables,
) -> Result<(), DiskFault> {
    let (list, snapshots) = header.snapshot_tables(storage)?;
    let found = places(storage, header, tables, list, &snapshots);
    let in_words = |error: io::Error| match error.kind() {
        io::ErrorKind::InvalidData => DiskFault::Damaged(error.to_string()),
        _ => DiskFault::Io(error),
    };
    let all = found.map_err(in_words)?;
    entries(storage, tables, &all).map_err(in_words)
}

/// An L2 table, and whether the disk's own L1 table leads to it.
type TableAt = (u64, bool);

/// Where all tables are; each overlaps no other and is counted.
fn places(
    storage: &dyn Storage,
    header: &Header,
    tables: &mut Tables,
    list: Extent,
    snapshots: &[Extent],
) -> io::Result<Vec<TableAt>> {
    let geometry = header.geometry;
    let cluster = geometry.cluster();
    let mut claimed = Vec::new();
    let mut claim = |metadata: &mut ClusterSet, what: &'static str, extent: Extent| {
        let first = extent.at >> geometry.cluster_bits;
        for number in first..(extent.at + extent.bytes).div_ceil(cluster) {
            if !metadata.insert(number) {
                let at = number << geometry.cluster_bits;
                return Err(damaged(format!(
                    "the {what} at {at:#x} overlaps another table"
                )));
            }
            claimed.push((what, number));
        }
        Ok(())
    };
    let one = |at| Extent { at, bytes: cluster };
    let metadata = &mut tables.metadata;
    claim(metadata, "header", one(0))?;
    claim(metadata, "refcount table", header.refcount_table)?;
    claim(metadata, "L1 table", header.l1)?;
    claim(metadata, "table of snapshots", list)?;
    for l1 in snapshots {
        claim(metadata, "L1 table of a snapshot", *l1)?;
    }
    let length = storage.length()?;
    let in_file = |what: &str, at: u64| match at < length {
        true => Ok(()),
        false => Err(damaged(format!("the {what} at {at:#x} is not in the file"))),
    };
    for entry in tables.refcounts.table() {
        if let Some(at) = geometry.refcount_block(*entry)? {
            in_file("refcount block", at)?;
            claim(metadata, "refcount block", one(at))?;
        }
    }
    let mut all = Vec::new();
    for entry in &tables.l1 {
        if let Some((at, _)) = geometry.l2_table(*entry)? {
            in_file("L2 table", at)?;
            claim(metadata, "L2 table", one(at))?;
            all.push((at, true));
        }
    }
    // Snapshots may share tables with the disk and with each other.
    let mut known: std::collections::HashSet<u64> = all.iter().map(|(at, _)| *at).collect();
    for l1 in snapshots {
        let mut bytes = vec![0; l1.bytes as usize];
        storage.read(l1.at, &mut bytes)?;
        for entry in from_bytes(&bytes) {
            match geometry.l2_table(entry)? {
                Some((at, _)) if known.insert(at) => {
                    in_file("L2 table", at)?;
                    claim(metadata, "L2 table of a snapshot", one(at))?;
                    all.push((at, false));
                }
                _ => {}
            }
        }
    }
    for (what, number) in claimed {
        if tables.refcounts.get(storage, number)? == 0 {
            let at = number << geometry.cluster_bits;
            return Err(damaged(format!(
                "the {what} at {at:#x} has reference count 0"
            )));
        }
        relieve(tables);
    }
    for entry in tables.l1.clone() {
        if let Some((at, true)) = geometry.l2_table(entry)?
            && tables.refcounts.get(storage, at >> geometry.cluster_bits)? != 1
        {
            return Err(damaged(format!(
                "the L2 table at {at:#x} counts as referred to once and is not"
            )));
        }
    }
    Ok(all)
}

/// Checks the entries of the L2 tables.
fn entries(storage: &dyn Storage, tables: &mut Tables, all: &[TableAt]) -> io::Result<()> {
    let cluster = tables.geometry.cluster();
    let now = all.len().min((READ_AHEAD / cluster) as usize);
    let mut seen = ClusterSet::default();
    let mut bytes = vec![0; cluster as usize];
    for (at, own) in &all[..now] {
        storage.read(*at, &mut bytes)?;
        let entries = from_bytes(&bytes);
        tables.check_table(storage, *at, &entries, *own, Some(&mut seen))?;
        relieve(tables);
    }
    tables.unchecked = now < all.len();
    Ok(())
}

fn relieve(tables: &mut Tables) {
    if tables.crowded() {
        tables.forget_old();
    }
}

/// What is known of 64 clusters that follow each other: entries that follow each other mostly lead
/// to neighbours, so it is looked up once for all of them.
struct Group {
    number: u64,
    /// Bits of those that hold tables.
    metadata: u64,
    /// Bits of those whose only reference was found.
    seen: u64,
    /// Their counts, as in their block; empty where no block says anything.
    counts: Vec<u8>,
}

impl Tables {
    /// Refuses an L2 table with entries that lead where no data can be, or, if the image is written
    /// to, with references that are not counted. `own` says that the disk's own L1 table leads to it, and
    /// `seen` has the clusters whose only reference was found before.
    pub fn check_table(
        &mut self,
        storage: &dyn Storage,
        at: u64,
        entries: &[u64],
        own: bool,
        mut seen: Option<&mut ClusterSet>,
    ) -> io::Result<()> {
        let length = storage.length()?;
        let order = self.geometry.refcount_order;
        let mut group: Option<Group> = None;
        for (number, entry) in entries.chunks(self.geometry.entry_words()).enumerate() {
            let entry = entry[0];
            if entry == 0 {
                continue;
            }
            let mapping = self.geometry.mapping(entry)?;
            let fail = |what: &str| {
                let place = format!("entry {number} of the L2 table at {at:#x}");
                Err(damaged(format!("{place}, {entry:#x}, {what}")))
            };
            if let Mapping::Data { at, .. } | Mapping::Compressed { at, .. } = mapping
                && at >= length
            {
                return fail("leads out of the file");
            }
            for cluster in self.geometry.references(mapping) {
                let near = match &mut group {
                    Some(near) if near.number == cluster / 64 => near,
                    _ => {
                        let next = self.group(storage, cluster / 64, seen.as_deref())?;
                        if let (Some(before), Some(seen)) = (group.take(), &mut seen) {
                            seen.add(before.number, before.seen);
                        }
                        group.insert(next)
                    }
                };
                let bit = 1 << (cluster % 64);
                if cluster == 0 || near.metadata & bit != 0 {
                    return fail("leads to a table of the image's own");
                }
                if !self.counted {
                    continue;
                }
                let count = match near.counts.is_empty() {
                    true => 0,
                    false => refcounts::get(&near.counts, order, cluster % 64),
                };
                if count == 0 {
                    return fail("leads to a cluster with reference count 0");
                }
                if count == 1 && seen.is_some() && near.seen & bit != 0 {
                    return fail(
                        "leads to a cluster that another entry has, with reference count 1",
                    );
                }
                near.seen |= if count == 1 { bit } else { 0 };
                if count > 1 && own && entry & COPIED != 0 {
                    return fail("counts as the only reference and is not");
                }
            }
        }
        if let (Some(last), Some(seen)) = (group, seen) {
            seen.add(last.number, last.seen);
        }
        Ok(())
    }

    fn group(
        &mut self,
        storage: &dyn Storage,
        number: u64,
        seen: Option<&ClusterSet>,
    ) -> io::Result<Group> {
        Ok(Group {
            number,
            metadata: self.metadata.group(number),
            seen: seen.map_or(0, |seen| seen.group(number)),
            counts: match self.counted {
                true => self.refcounts.group(storage, number)?,
                false => Vec::new(),
            },
        })
    }
}
