//! What an image's tables say, in memory: L1, L2 tables, reference counts, and who uses what.
//!
//! All of it is behind one lock, which nobody holds while the disk's data are read or written. What
//! is changed here reaches the file in [`super::writeback`], in an order that survives a crash.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::io;

use super::geometry::{COPIED, ClusterSet, Extent, Geometry, Mapping, damaged, from_bytes};
use super::header::Header;
use super::refcounts::{Found, Refcounts};
use super::storage::Storage;

/// Bytes of L2 tables and refcount blocks that are kept in memory. With clusters of 64 KiB, 16 MiB
/// of L2 tables map 128 GiB.
const CACHE: u64 = 32 << 20;
/// Clusters of tables that are kept at least, however large clusters are.
const LEAST_CACHED: u64 = 16;

/// Why a step has to be done again, or cannot be done.
pub(super) enum Stop {
    /// A cluster that it needs is being made by another request.
    Busy,
    /// Too many tables are in memory.
    Crowded,
    /// The refcount table has no entry for more clusters.
    TableFull,
    Failed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Failed(error)
    }
}

/// An L2 table in memory.
pub(super) struct Table {
    pub entries: Box<[u64]>,
    /// Whether it says something else than the file.
    pub dirty: bool,
    used: u64,
}

/// Clusters that were taken for one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The number of the first.
    pub first: u64,
    pub count: u64,
    /// Nothing was ever written there: they read as zeros.
    pub fresh: bool,
}

/// Everything that is behind the lock.
pub(super) struct Tables {
    pub geometry: Geometry,
    pub l1: Vec<u64>,
    pub l1_extent: Extent,
    /// L1 entries that the file lacks.
    pub l1_dirty: BTreeSet<usize>,
    /// L2 tables in memory, by host offset.
    pub l2: HashMap<u64, Table>,
    pub refcounts: Refcounts,
    /// Clusters that hold the image's own tables, which no request may reach.
    pub metadata: ClusterSet,
    /// Nobody looked at all L2 tables yet, so each is checked when it is read.
    pub unchecked: bool,
    /// Reference counts matter: the image is written to.
    pub counted: bool,
    /// Where to look for a free cluster.
    pub hint: u64,
    /// From this cluster on, nothing was ever written.
    pub fresh_from: u64,
    /// Clusters to give up one reference to, once the tables that do so are durable.
    pub freed: Vec<u64>,
    /// The same, durable; they wait for the requests that were under way, up to a number.
    retired: VecDeque<(u64, Vec<u64>)>,
    /// Requests under way, by number, and the next number.
    running: BTreeSet<u64>,
    next: u64,
    /// Clusters of the disk that requests are making.
    pub busy: HashSet<u64>,
    clock: u64,
}

impl Tables {
    /// Reads the L1 table and the refcount table.
    pub fn read(storage: &dyn Storage, header: &Header) -> io::Result<Self> {
        let geometry = header.geometry;
        let mut bytes = vec![0; header.l1.bytes as usize];
        storage.read(header.l1.at, &mut bytes)?;
        let length = storage.length()?;
        Ok(Tables {
            geometry,
            l1: from_bytes(&bytes).into_vec(),
            l1_extent: header.l1,
            l1_dirty: BTreeSet::new(),
            l2: HashMap::new(),
            refcounts: Refcounts::read(storage, geometry, header.refcount_table)?,
            metadata: ClusterSet::default(),
            unchecked: true,
            counted: false,
            hint: 1,
            // What a block device holds beyond the image is anything.
            fresh_from: match storage.grows() {
                true => length.div_ceil(geometry.cluster()),
                false => u64::MAX,
            },
            freed: Vec::new(),
            retired: VecDeque::new(),
            running: BTreeSet::new(),
            next: 0,
            busy: HashSet::new(),
            clock: 0,
        })
    }

    /// Whether tables should be forgotten before more are read.
    pub fn crowded(&self) -> bool {
        let cached = self.l2.len() as u64 * self.geometry.cluster() + self.refcounts.cached();
        cached > CACHE.max(LEAST_CACHED * self.geometry.cluster())
    }

    /// Forgets clean tables that were not needed for the longest time, about half of them.
    ///
    /// No table may be on its way to the file.
    pub fn forget_old(&mut self) {
        self.refcounts.forget_old();
        let mut times: Vec<u64> = self.l2.values().map(|table| table.used).collect();
        let middle = times.len() / 2;
        if times.is_empty() {
            return;
        }
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        self.l2
            .retain(|_, table| table.dirty || table.used > median);
    }

    /// A number for a request that begins.
    pub fn begin(&mut self) -> u64 {
        self.next += 1;
        self.running.insert(self.next);
        self.next
    }

    pub fn end(&mut self, number: u64) {
        self.running.remove(&number);
    }

    /// The L2 table at a host offset.
    pub fn table(&mut self, storage: &dyn Storage, at: u64) -> io::Result<&mut Table> {
        self.clock += 1;
        if !self.l2.contains_key(&at) {
            if at >= storage.length()? {
                return Err(damaged(format!(
                    "an L2 table at {at:#x} is not in the file"
                )));
            }
            let mut bytes = vec![0; self.geometry.cluster() as usize];
            storage.read(at, &mut bytes)?;
            let entries = from_bytes(&bytes);
            if self.unchecked {
                self.check_table(storage, at, &entries, true, None)?;
            }
            let table = Table {
                entries,
                dirty: false,
                used: 0,
            };
            self.l2.insert(at, table);
        }
        let table = self.l2.get_mut(&at);
        let table = table.ok_or_else(|| damaged(format!("no L2 table at {at:#x}")))?;
        table.used = self.clock;
        Ok(table)
    }

    /// The L2 table that maps an L1 entry's part of the disk, for reading.
    pub fn table_to_read(
        &mut self,
        storage: &dyn Storage,
        l1: usize,
    ) -> Result<Option<&mut Table>, Stop> {
        if self.crowded() {
            return Err(Stop::Crowded);
        }
        let entry = self.l1.get(l1).copied().unwrap_or(0);
        match self.geometry.l2_table(entry)? {
            Some((at, _)) => Ok(Some(self.table(storage, at)?)),
            None => Ok(None),
        }
    }

    /// Returns the host offset of an L1 entry's table for writing: in memory, only the L1 table refers
    /// to it, and it is made where there is none.
    pub fn table_to_write(&mut self, storage: &dyn Storage, l1: usize) -> Result<u64, Stop> {
        if self.crowded() {
            return Err(Stop::Crowded);
        }
        let entry = self.l1.get(l1).copied().unwrap_or(0);
        let old = self.geometry.l2_table(entry)?;
        let entries = match old {
            Some((at, true)) => {
                self.table(storage, at)?;
                return Ok(at);
            }
            // A snapshot refers to it, too.
            Some((at, false)) => self.table(storage, at)?.entries.clone(),
            None => vec![0; self.geometry.table_entries() as usize].into(),
        };
        let cluster = self.take(storage, 1)?.first;
        let at = cluster << self.geometry.cluster_bits;
        self.metadata.insert(cluster);
        let table = Table {
            entries,
            dirty: true,
            used: self.clock,
        };
        self.l2.insert(at, table);
        self.l1[l1] = at | COPIED;
        self.l1_dirty.insert(l1);
        if let Some((old, _)) = old {
            self.freed.push(old >> self.geometry.cluster_bits);
        }
        Ok(at)
    }

    /// Takes up to `want` free clusters that follow each other, at least one; each has one reference
    /// from now on, in memory.
    pub fn take(&mut self, storage: &dyn Storage, want: u64) -> Result<Run, Stop> {
        self.give_back(storage)?;
        let first = self.find_free(storage)?;
        let mut count = 0;
        while count < want && self.is_free(storage, first + count)? {
            // A run is fresh as a whole, or not at all.
            if count > 0 && first + count == self.fresh_from {
                break;
            }
            self.refcounts.set(storage, first + count, 1)?;
            count += 1;
        }
        let fresh = first >= self.fresh_from;
        if fresh {
            self.fresh_from = first + count;
        }
        self.hint = first + count;
        Ok(Run {
            first,
            count,
            fresh,
        })
    }

    fn find_free(&mut self, storage: &dyn Storage) -> Result<u64, Stop> {
        loop {
            match self.refcounts.free_in_block(storage, self.hint)? {
                Found::Free(cluster) if !self.may_take(storage, cluster)? => {
                    self.hint = cluster + 1;
                }
                Found::Free(cluster) => return Ok(cluster),
                Found::Full(next) => self.hint = next,
                // The block goes into the first cluster that it counts.
                Found::NoBlock(number) => {
                    let cluster = self.hint;
                    self.hint += 1;
                    if self.may_take(storage, cluster)? {
                        self.metadata.insert(cluster);
                        self.refcounts.add_block(number, cluster);
                        self.fresh_from = match self.fresh_from {
                            u64::MAX => u64::MAX,
                            from => from.max(cluster + 1),
                        };
                    }
                }
                Found::NoEntry => return Err(Stop::TableFull),
            }
            if self.crowded() {
                return Err(Stop::Crowded);
            }
        }
    }

    /// Whether a cluster whose count is 0 is one to hand out: neither the header, nor a table that
    /// the counts forgot, nor beyond what the host can hold.
    fn may_take(&self, storage: &dyn Storage, cluster: u64) -> io::Result<bool> {
        let end = (cluster + 1) << self.geometry.cluster_bits;
        if end >= 1 << 56 || !storage.grows() && end > storage.length()? {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(cluster != 0 && !self.metadata.contains(cluster))
    }

    fn is_free(&mut self, storage: &dyn Storage, cluster: u64) -> io::Result<bool> {
        let found = self.refcounts.free_in_block(storage, cluster)?;
        Ok(found == Found::Free(cluster) && self.may_take(storage, cluster).unwrap_or(false))
    }

    /// Gives clusters back that were taken and that no table ever referred to.
    pub fn untake(&mut self, storage: &dyn Storage, clusters: impl Iterator<Item = u64>) {
        for cluster in clusters {
            // Without its block in memory it is lost to the image, which is no damage.
            if let Err(error) = self.refcounts.set(storage, cluster, 0) {
                tracing::debug!("a cluster is not given back: {error}");
            }
            self.hint = self.hint.min(cluster);
        }
    }

    /// Takes note that the tables which gave clusters up are durable.
    pub fn retire(&mut self, freed: Vec<u64>) {
        if !freed.is_empty() {
            self.retired.push_back((self.next, freed));
        }
    }

    /// Whether clusters wait to be given back.
    pub fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// Gives back what no table in the file refers to any more and no request can still reach.
    pub fn give_back(&mut self, storage: &dyn Storage) -> io::Result<()> {
        while let Some((number, _)) = self.retired.front() {
            if self.running.first().is_some_and(|first| first <= number) {
                break;
            }
            let Some((_, mut clusters)) = self.retired.pop_front() else {
                break;
            };
            clusters.sort_unstable();
            let mut runs = BTreeMap::new();
            let mut run: Option<(u64, u64)> = None;
            for cluster in clusters {
                if self.refcounts.decrement(storage, cluster)? > 0 {
                    continue;
                }
                self.metadata.remove(cluster);
                self.hint = self.hint.min(cluster);
                run = match run {
                    Some((first, end)) if end == cluster => Some((first, cluster + 1)),
                    _ => Some((cluster, cluster + 1)),
                };
                if let Some((first, end)) = run {
                    runs.insert(first, end);
                }
            }
            let bits = self.geometry.cluster_bits;
            for (first, end) in runs {
                // The room is the image's, whether the host takes it back or not.
                let _ = storage.punch(first << bits, (end - first) << bits);
            }
        }
        Ok(())
    }

    /// Takes note that an entry gives up what it referred to.
    pub fn release(&mut self, mapping: Mapping) {
        self.freed.extend(self.geometry.references(mapping));
    }
}
