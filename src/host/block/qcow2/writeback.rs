//! How tables reach the file, so that it is sound whenever the process or the host dies.
//!
//! # The order
//! Data are written to their clusters before any table in memory says so. A flush takes, under the
//! lock, everything that the tables say and the file does not, and writes it without the lock:
//!
//! 1. refcount blocks, then **sync**: data and counts are durable;
//! 2. new entries of the refcount table, then **sync**;
//! 3. L2 tables;
//! 4. **sync**, then new entries of the L1 table;
//! 5. **sync**: the flush is acknowledged.
//!
//! A step without anything to write costs nothing, so a flush of data in clusters that exist is one
//! sync, and one after an allocation is two. What a step writes refers only to what was made durable
//! before it, so any part of its writes, in any order, leaves every reference counted; a count
//! without a reference, which a crash may leave, is a leak and no damage.
//!
//! A cluster that is given up keeps its count until the tables that gave it up are durable (5), and
//! until no request can still reach it; only then is its count lowered in memory and the cluster
//! handed out again. So a count in the file is never too low, and what the file refers to is never
//! written over.
//!
//! # After a failure
//! A failed write leaves everything that was taken marked as not written, and the next flush does
//! all steps again: memory never takes for written what is not. A failed sync is final: what the
//! host forgot is unknown then, so every later write and flush fails.

use std::io;
use std::sync::atomic::Ordering;

use super::Qcow2;
use super::geometry::{ENTRY, Extent, to_bytes};
use super::header::{MAX_REFCOUNT_TABLE, REFCOUNT_TABLE};
use super::refcounts::{self, DirtyBlock};
use super::storage::Storage;
use super::tables::Tables;
use crate::host::lock::lock;

/// What a flush writes.
struct Batch {
    blocks: Vec<DirtyBlock>,
    block_entries: Vec<(usize, u64)>,
    tables: Vec<(u64, Vec<u8>)>,
    l1: Vec<(usize, u64)>,
    /// Clusters that these tables give up.
    freed: Vec<u64>,
    refcount_table_at: u64,
    l1_at: u64,
}

impl Batch {
    /// Takes what the file lacks; it counts as written from now on.
    fn take(tables: &mut Tables) -> Self {
        let (blocks, block_entries) = tables.refcounts.take_dirty();
        let mut l2 = Vec::new();
        for (at, table) in &mut tables.l2 {
            if std::mem::take(&mut table.dirty) {
                l2.push((*at, to_bytes(&table.entries)));
            }
        }
        // As they lie in the file.
        l2.sort_unstable_by_key(|(at, _)| *at);
        let l1 = std::mem::take(&mut tables.l1_dirty);
        Batch {
            blocks,
            block_entries,
            tables: l2,
            l1: l1
                .into_iter()
                .map(|number| (number, tables.l1[number]))
                .collect(),
            freed: std::mem::take(&mut tables.freed),
            refcount_table_at: tables.refcounts.extent.at,
            l1_at: tables.l1_extent.at,
        }
    }

    /// Says that it was not written.
    fn put_back(self, tables: &mut Tables) {
        tables
            .refcounts
            .still_dirty(&self.blocks, &self.block_entries);
        for (at, _) in &self.tables {
            if let Some(table) = tables.l2.get_mut(at) {
                table.dirty = true;
            }
        }
        tables
            .l1_dirty
            .extend(self.l1.iter().map(|(number, _)| *number));
        tables.freed.extend(self.freed);
    }

    fn write(&self, image: &Qcow2) -> io::Result<()> {
        let storage = &*image.storage;
        for block in &self.blocks {
            storage.write(block.at, &block.bytes)?;
        }
        let nothing_more =
            self.block_entries.is_empty() && self.tables.is_empty() && self.l1.is_empty();
        if nothing_more {
            return image.sync();
        }
        image.sync()?;
        if !self.block_entries.is_empty() {
            write_entries(storage, self.refcount_table_at, &self.block_entries)?;
            image.sync()?;
        }
        for (at, table) in &self.tables {
            storage.write(*at, table)?;
        }
        if !self.l1.is_empty() {
            if !self.tables.is_empty() {
                image.sync()?;
            }
            write_entries(storage, self.l1_at, &self.l1)?;
        }
        image.sync()
    }
}

/// Writes entries of a table, those that follow each other together.
fn write_entries(storage: &dyn Storage, table: u64, entries: &[(usize, u64)]) -> io::Result<()> {
    let together = entries.chunk_by(|(before, _), (after, _)| before + 1 == *after);
    for run in together {
        let values: Vec<u64> = run.iter().map(|(_, value)| *value).collect();
        storage.write(table + run[0].0 as u64 * ENTRY, &to_bytes(&values))?;
    }
    Ok(())
}

impl Qcow2 {
    /// Returns when everything that was written before is durable and the file's tables say so.
    ///
    /// # Errors
    /// What the host says. Nothing is forgotten, and the next flush tries again; after a failed sync
    /// all later writes and flushes fail.
    pub fn flush(&self) -> io::Result<()> {
        if !self.writable {
            return Ok(());
        }
        if self.temporary {
            // Nothing is read after this process, so there is no order to keep.
            let mut tables = lock(&self.tables);
            let freed = std::mem::take(&mut tables.freed);
            tables.retire(freed);
            return Ok(());
        }
        // One at a time: a second one must not return before the first one's tables are written.
        let _flushing = lock(&self.flushing);
        self.write_back()
    }

    /// With `flushing` locked.
    fn write_back(&self) -> io::Result<()> {
        self.check_usable()?;
        let batch = {
            let mut tables = lock(&self.tables);
            tables.give_back(&*self.storage)?;
            Batch::take(&mut tables)
        };
        let written = batch.write(self);
        let mut tables = lock(&self.tables);
        match written {
            Ok(()) => tables.retire(batch.freed),
            Err(_) => batch.put_back(&mut tables),
        }
        written
    }

    /// Syncs the file; a failure is final.
    fn sync(&self) -> io::Result<()> {
        self.storage.sync().inspect_err(|_| self.fail())
    }

    /// From now on, nothing is written any more.
    fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
    }

    /// Refuses to write after the host forgot what was written.
    pub(super) fn check_usable(&self) -> io::Result<()> {
        if self.failed.load(Ordering::SeqCst) {
            return Err(io::Error::other(
                "the host failed to write what it had taken",
            ));
        }
        Ok(())
    }

    /// Makes room in memory for other tables.
    pub(super) fn relieve(&self) -> io::Result<()> {
        let _flushing = lock(&self.flushing);
        lock(&self.tables).forget_old();
        if self.writable && lock(&self.tables).crowded() {
            self.write_back()?;
            lock(&self.tables).forget_old();
        }
        Ok(())
    }

    /// Moves the refcount table to a larger place, so that more clusters can be counted.
    ///
    /// The new table and the blocks that count its clusters are written where nothing was counted
    /// yet, and synced; then one write to the header makes them the image's.
    pub(super) fn grow_refcount_table(&self) -> io::Result<()> {
        let _flushing = lock(&self.flushing);
        self.check_usable()?;
        let mut tables = lock(&self.tables);
        let tables = &mut *tables;
        let storage = &*self.storage;
        let geometry = self.geometry;
        let (cluster, bits) = (geometry.cluster(), geometry.cluster_bits);
        let old = tables.refcounts.table().to_vec();
        // Another request may have done it.
        let counted = old.len() as u64 * geometry.counts_per_block();
        if tables.hint < counted {
            return Ok(());
        }
        let length = storage.length()?.div_ceil(cluster);
        let first = counted.max(length.next_multiple_of(geometry.counts_per_block()));
        let new = NewTable::plan(geometry, old.len() as u64, first);
        let end = (first + new.clusters + new.blocks) << bits;
        if new.clusters << bits > MAX_REFCOUNT_TABLE || end >= 1 << 56 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if !storage.grows() {
            // There is no place behind the end that nothing counts.
            return Err(io::ErrorKind::StorageFull.into());
        }

        let used = new.clusters + new.blocks;
        if tables.fresh_from != u64::MAX {
            tables.fresh_from = tables.fresh_from.max(first + used);
        }
        let per_block = geometry.counts_per_block();
        let mut entries = old;
        entries.resize((new.clusters << bits) as usize / ENTRY as usize, 0);
        for number in 0..new.blocks {
            let at = (first + new.clusters + number) << bits;
            let mut block = vec![0; cluster as usize];
            let count = used.saturating_sub(number * per_block).min(per_block);
            for cluster in 0..count {
                refcounts::put(&mut block, geometry.refcount_order, cluster, 1);
            }
            storage.write(at, &block)?;
            entries[(first / per_block + number) as usize] = at;
        }
        for block in tables.refcounts.dirty_blocks() {
            storage.write(block.at, &block.bytes)?;
        }
        storage.write(first << bits, &to_bytes(&entries))?;
        self.sync()?;
        let mut field = (first << bits).to_be_bytes().to_vec();
        field.extend((new.clusters as u32).to_be_bytes());
        let switched = storage.write(REFCOUNT_TABLE, &field);
        // Which table the file has is unknown if this fails.
        switched.inspect_err(|_| self.fail())?;
        self.sync()?;

        let extent = Extent {
            at: first << bits,
            bytes: new.clusters << bits,
        };
        let before = std::mem::replace(&mut tables.refcounts.extent, extent);
        tables.refcounts.replace_table(extent, entries);
        for cluster in first..first + used {
            tables.metadata.insert(cluster);
        }
        let old_clusters = before.at >> bits..(before.at + before.bytes) >> bits;
        tables.retire(old_clusters.collect());
        Ok(())
    }
}

/// How large a new refcount table is.
struct NewTable {
    clusters: u64,
    /// Blocks that count the table's clusters and their own.
    blocks: u64,
}

impl NewTable {
    /// For a table that has so many entries, and whose successor is at cluster `first`.
    fn plan(geometry: super::geometry::Geometry, entries: u64, first: u64) -> Self {
        let per_block = geometry.counts_per_block();
        let mut new = NewTable {
            clusters: 0,
            blocks: 1,
        };
        loop {
            let needed = (first / per_block + new.blocks).max(entries * 2);
            new.clusters = (needed * ENTRY).div_ceil(geometry.cluster());
            let blocks = (new.clusters + new.blocks).div_ceil(per_block);
            if blocks <= new.blocks {
                return new;
            }
            new.blocks = blocks;
        }
    }
}
