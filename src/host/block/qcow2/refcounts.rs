//! Reference counts: how often each cluster of the file is referred to.
//!
//! The refcount table leads to blocks of one cluster each, which hold the counts; a count of 0 means
//! free. Blocks are read when they are needed and kept for a while.

use std::collections::{BTreeSet, HashMap};
use std::io;

use super::geometry::{Extent, Geometry, damaged};
use super::storage::Storage;

/// The count of entry `number` of a block.
pub(super) fn get(block: &[u8], order: u32, number: u64) -> u64 {
    let bits = 1 << order;
    let at = (number * bits / 8) as usize;
    if bits < 8 {
        // The first count is in the lowest bits of its byte.
        let shift = number * bits % 8;
        return u64::from(block[at]) >> shift & ((1 << bits) - 1);
    }
    let bytes = (bits / 8) as usize;
    let value = block[at..at + bytes].iter();
    value.fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Sets the count of entry `number` of a block.
pub(super) fn put(block: &mut [u8], order: u32, number: u64, value: u64) {
    let bits = 1 << order;
    let at = (number * bits / 8) as usize;
    if bits < 8 {
        let shift = number * bits % 8;
        let mask = ((1_u32 << bits) - 1) << shift;
        block[at] = block[at] & !(mask as u8) | ((value << shift) as u8 & mask as u8);
        return;
    }
    let bytes = (bits / 8) as usize;
    block[at..at + bytes].copy_from_slice(&value.to_be_bytes()[8 - bytes..]);
}

/// A refcount block in memory.
struct Block {
    bytes: Box<[u8]>,
    /// It says something else than the file.
    dirty: bool,
    /// When it was last needed.
    used: u64,
}

/// All reference counts of an image.
pub(super) struct Refcounts {
    geometry: Geometry,
    /// Where the table is in the file.
    pub extent: Extent,
    /// Host offsets of the blocks.
    table: Vec<u64>,
    /// Entries of the table that the file lacks.
    table_dirty: BTreeSet<usize>,
    blocks: HashMap<usize, Block>,
    /// Counts uses of blocks.
    clock: u64,
}

/// A dirty block, as it is to be written.
pub(super) struct DirtyBlock {
    pub number: usize,
    pub at: u64,
    pub bytes: Box<[u8]>,
}

impl Refcounts {
    /// Reads the table.
    pub fn read(storage: &dyn Storage, geometry: Geometry, extent: Extent) -> io::Result<Self> {
        let mut bytes = vec![0; extent.bytes as usize];
        storage.read(extent.at, &mut bytes)?;
        Ok(Refcounts {
            geometry,
            extent,
            table: super::geometry::from_bytes(&bytes).into_vec(),
            table_dirty: BTreeSet::new(),
            blocks: HashMap::new(),
            clock: 0,
        })
    }

    /// The host offsets of the blocks; 0 where there is none.
    pub fn table(&self) -> &[u64] {
        &self.table
    }

    /// Bytes of the blocks in memory.
    pub fn cached(&self) -> u64 {
        self.blocks.len() as u64 * self.geometry.cluster()
    }

    /// The block that holds a cluster's count, and the count's number in it.
    fn position(&self, cluster: u64) -> (usize, u64) {
        let per_block = self.geometry.counts_per_block();
        let block = usize::try_from(cluster / per_block).unwrap_or(usize::MAX);
        (block, cluster % per_block)
    }

    /// A block in memory; nothing if there is none.
    fn block(&mut self, storage: &dyn Storage, number: usize) -> io::Result<Option<&mut Block>> {
        self.clock += 1;
        let entry = self.table.get(number).copied().unwrap_or(0);
        let Some(at) = self.geometry.refcount_block(entry)? else {
            return Ok(None);
        };
        if !self.blocks.contains_key(&number) {
            let mut bytes = vec![0; self.geometry.cluster() as usize];
            storage.read(at, &mut bytes)?;
            let block = Block {
                bytes: bytes.into(),
                dirty: false,
                used: 0,
            };
            self.blocks.insert(number, block);
        }
        let mut block = self.blocks.get_mut(&number);
        if let Some(block) = &mut block {
            block.used = self.clock;
        }
        Ok(block)
    }

    /// A cluster's count; 0 where no block says anything.
    pub fn get(&mut self, storage: &dyn Storage, cluster: u64) -> io::Result<u64> {
        let order = self.geometry.refcount_order;
        let (number, at) = self.position(cluster);
        let block = self.block(storage, number)?;
        Ok(block.map_or(0, |block| get(&block.bytes, order, at)))
    }

    /// The counts of 64 clusters that follow each other, of which this is group `number`, as they
    /// stand in their block; nothing where no block says anything.
    pub fn group(&mut self, storage: &dyn Storage, number: u64) -> io::Result<Vec<u8>> {
        let bytes = 8 << self.geometry.refcount_order;
        // No block is smaller than that, so a group is never in two.
        let (block, at) = self.position(number * 64);
        let at = at as usize / 64 * bytes;
        let block = self.block(storage, block)?;
        Ok(block.map_or_else(Vec::new, |block| block.bytes[at..at + bytes].to_vec()))
    }

    /// Sets a cluster's count, in memory; a block must hold it.
    pub fn set(&mut self, storage: &dyn Storage, cluster: u64, count: u64) -> io::Result<()> {
        let order = self.geometry.refcount_order;
        let (number, at) = self.position(cluster);
        match self.block(storage, number)? {
            Some(block) => {
                put(&mut block.bytes, order, at, count);
                block.dirty = true;
                Ok(())
            }
            None => Err(damaged(format!(
                "cluster {cluster:#x} has no reference count"
            ))),
        }
    }

    /// One reference less to a cluster, in memory; the count that is left.
    pub fn decrement(&mut self, storage: &dyn Storage, cluster: u64) -> io::Result<u64> {
        let count = self.get(storage, cluster)?;
        let Some(left) = count.checked_sub(1) else {
            return Err(damaged(format!(
                "cluster {cluster:#x} is given back and has reference count 0"
            )));
        };
        self.set(storage, cluster, left)?;
        Ok(left)
    }

    /// The first cluster from `from` on whose count is 0 in the block that holds it.
    pub fn free_in_block(&mut self, storage: &dyn Storage, from: u64) -> io::Result<Found> {
        let order = self.geometry.refcount_order;
        let per_block = self.geometry.counts_per_block();
        let (number, at) = self.position(from);
        if number >= self.table.len() {
            return Ok(Found::NoEntry);
        }
        let Some(block) = self.block(storage, number)? else {
            return Ok(Found::NoBlock(number));
        };
        let free = (at..per_block).find(|at| get(&block.bytes, order, *at) == 0);
        Ok(match free {
            Some(free) => Found::Free(from - at + free),
            None => Found::Full(from - at + per_block),
        })
    }

    /// Adds an empty block, in memory, which is in one of the clusters that it counts.
    pub fn add_block(&mut self, number: usize, cluster: u64) {
        let mut bytes = vec![0; self.geometry.cluster() as usize];
        let at = cluster % self.geometry.counts_per_block();
        put(&mut bytes, self.geometry.refcount_order, at, 1);
        self.clock += 1;
        let block = Block {
            bytes: bytes.into(),
            dirty: true,
            used: self.clock,
        };
        self.blocks.insert(number, block);
        self.table[number] = cluster << self.geometry.cluster_bits;
        self.table_dirty.insert(number);
    }

    /// Takes a larger table, which the file has; all blocks that it names are in the file.
    pub fn replace_table(&mut self, extent: Extent, table: Vec<u64>) {
        self.extent = extent;
        self.table = table;
        self.table_dirty.clear();
        self.blocks
            .values_mut()
            .for_each(|block| block.dirty = false);
    }

    /// The blocks that the file lacks, as they are now.
    pub fn dirty_blocks(&self) -> Vec<DirtyBlock> {
        let dirty = self.blocks.iter().filter(|(_, block)| block.dirty);
        dirty
            .map(|(number, block)| DirtyBlock {
                number: *number,
                at: self.table[*number],
                bytes: block.bytes.clone(),
            })
            .collect()
    }

    /// Takes blocks, and entries of the table, to be written: they count as written from now on.
    pub fn take_dirty(&mut self) -> (Vec<DirtyBlock>, Vec<(usize, u64)>) {
        let blocks = self.dirty_blocks();
        self.blocks
            .values_mut()
            .for_each(|block| block.dirty = false);
        let entries = std::mem::take(&mut self.table_dirty);
        let entries = entries
            .into_iter()
            .map(|number| (number, self.table[number]));
        (blocks, entries.collect())
    }

    /// Says that what was taken was not written.
    pub fn still_dirty(&mut self, blocks: &[DirtyBlock], entries: &[(usize, u64)]) {
        for taken in blocks {
            if let Some(block) = self.blocks.get_mut(&taken.number) {
                block.dirty = true;
            }
        }
        self.table_dirty
            .extend(entries.iter().map(|(number, _)| *number));
    }

    /// Forgets the clean blocks that were not needed for the longest time, about half of them.
    ///
    /// No block may be on its way to the file.
    pub fn forget_old(&mut self) {
        let mut times: Vec<u64> = self.blocks.values().map(|block| block.used).collect();
        let middle = times.len() / 2;
        if times.is_empty() {
            return;
        }
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        self.blocks
            .retain(|_, block| block.dirty || block.used > median);
    }
}

/// Where a free cluster may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This one is free.
    Free(u64),
    /// The block has none; the next one starts with this cluster.
    Full(u64),
    /// There is no block for it yet, and the table has an entry for one.
    NoBlock(usize),
    /// The table ends before.
    NoEntry,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_every_width_stand_side_by_side() {
        for order in 0..=6 {
            let bits = 1_u32 << order;
            let most = u64::MAX >> (64 - bits);
            let mut block = [0; 64];
            for number in 0..512 / u64::from(bits) {
                put(&mut block, order, number, (number % most.max(2)) & most);
            }
            for number in 0..512 / u64::from(bits) {
                assert_eq!(get(&block, order, number), (number % most.max(2)) & most);
            }
        }
        let mut block = [0; 8];
        put(&mut block, 0, 9, 1);
        assert_eq!(block, [0, 2, 0, 0, 0, 0, 0, 0]);
        put(&mut block, 4, 1, 0x1234);
        assert_eq!(block, [0, 2, 0x12, 0x34, 0, 0, 0, 0]);
    }
}
