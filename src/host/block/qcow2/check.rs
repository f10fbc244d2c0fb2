//! What must hold of an image's tables before anything is written to it.
//!
//! Every table is counted and overlaps no other; every entry leads into the file, to a counted
//! cluster that is no table. An image where this does not hold lost its order in a crash of an
//! unsafe writer, or was made to attack who opens it: a cluster that counts as free would be handed
//! out, and be written over or give the guest a table.

use std::io;

use super::geometry::{ClusterSet, Extent, damaged, from_bytes};
use super::header::Header;
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
