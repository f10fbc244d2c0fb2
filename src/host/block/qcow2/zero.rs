//! Making parts of the disk zeros, and giving their room back.

use std::io;

use super::Qcow2;
use super::geometry::{COPIED, Mapping, ZERO};
use super::tables::{Stop, Tables};

/// What becomes of the room of clusters that turn to zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// It is given back.
    GivenBack,
    /// It stays theirs.
    Kept,
}

/// Zeros that are written where tables cannot say that there are zeros.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

impl Qcow2 {
    /// Gives whole clusters in a range back; what they held reads as zeros, or as before where the
    /// image cannot say that.
    ///
    /// # Errors
    /// What the host says.
    pub fn discard(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let cluster = self.geometry.cluster();
        let mut start = offset.next_multiple_of(cluster);
        let mut end = offset + bytes;
        if end < self.geometry.size {
            end -= end % cluster;
        }
        let _request = self.request();
        while start < end {
            let done = self.zero_clusters(start, end, Room::GivenBack)?;
            // Version 2 cannot hide a backing file; a discard need not.
            start += done.max(cluster);
        }
        Ok(())
    }

    /// Makes a range zeros; with `unmap` the room of whole clusters is given back.
    ///
    /// # Errors
    /// What the host says. Any part may be zeros.
    pub fn write_zeroes(&self, offset: u64, bytes: u64, unmap: bool) -> io::Result<()> {
        let cluster = self.geometry.cluster();
        let room = match unmap {
            true => Room::GivenBack,
            false => Room::Kept,
        };
        let end = offset + bytes;
        let mut at = offset;
        while at < end {
            let next = (at + 1).next_multiple_of(cluster).min(end);
            let whole = at.is_multiple_of(cluster)
                && (next.is_multiple_of(cluster) || next == self.geometry.size);
            let done = match whole {
                true => {
                    let _request = self.request();
                    self.zero_clusters(at, end, room)?
                }
                false => 0,
            };
            at = match done {
                0 => {
                    self.write_zeros(at, next)?;
                    next
                }
                done => at + done,
            };
        }
        Ok(())
    }

    /// Writes zeros as data, where they are not there yet.
    fn write_zeros(&self, mut from: u64, to: u64) -> io::Result<()> {
        let (l1, l2, _) = self.geometry.position(from);
        let start = from - from % self.geometry.cluster();
        let zeros_already = self.with_tables(|tables| {
            let cluster = from >> self.geometry.cluster_bits;
            if tables.busy.contains(&cluster) {
                return Err(Stop::Busy);
            }
            let entry = match tables.table_to_read(&*self.storage, l1)? {
                Some(table) => table.entries[l2],
                None => 0,
            };
            let mapping = self.geometry.mapping(entry)?;
            Ok(self.reads_zeros(Some(&mapping), start))
        })?;
        while from < to && !zeros_already {
            let count = (to - from).min(ZEROS.len() as u64);
            self.write(from, &ZEROS[..count as usize])?;
            from += count;
        }
        Ok(())
    }

    /// Makes clusters zeros from `start` on, as far as one L2 table goes and at most to `end`.
    /// Returns how many bytes that was: 0 if the first one cannot be.
    fn zero_clusters(&self, start: u64, end: u64, room: Room) -> io::Result<u64> {
        self.check_usable()?;
        let cluster = self.geometry.cluster();
        self.with_tables(|tables| {
            let (_, l2, _) = self.geometry.position(start);
            // Only the disk's last cluster may end early.
            let whole = match end == self.geometry.size {
                true => (end - start).div_ceil(cluster),
                false => (end - start) / cluster,
            };
            let count = whole.min(self.geometry.table_entries() - l2 as u64);
            let first = start >> self.geometry.cluster_bits;
            let range = first..first + count;
            if tables.busy.iter().any(|number| range.contains(number)) {
                return Err(Stop::Busy);
            }
            let done = self.zero_entries(tables, start, count, room)?;
            Ok((done * cluster).min(end - start))
        })
    }

    fn zero_entries(
        &self,
        tables: &mut Tables,
        start: u64,
        count: u64,
        room: Room,
    ) -> Result<u64, Stop> {
        let geometry = self.geometry;
        let (l1, l2, _) = geometry.position(start);
        let none = tables.table_to_read(&*self.storage, l1)?.is_none();
        if none && !self.shows_through(start) {
            return Ok(count);
        }
        let table_at = tables.table_to_write(&*self.storage, l1)?;
        let table = tables.table(&*self.storage, table_at)?;
        let mut freed = Vec::new();
        let mut done = 0;
        for number in 0..count {
            let at = start + number * geometry.cluster();
            let entry = &mut table.entries[l2 + number as usize];
            let mapping = geometry.mapping(*entry)?;
            let Some(new) = self.zero_entry(mapping, at, room) else {
                break;
            };
            done += 1;
            if new == *entry {
                continue;
            }
            *entry = new;
            table.dirty = true;
            if geometry.references(geometry.mapping(new)?).is_empty() {
                freed.push(mapping);
            }
        }
        for mapping in freed {
            tables.release(mapping);
        }
        Ok(done)
    }

    /// The entry that makes a cluster zeros; nothing if the image has none.
    fn zero_entry(&self, mapping: Mapping, at: u64, room: Room) -> Option<u64> {
        let hidden = if self.shows_through(at) { ZERO } else { 0 };
        let no_place = match self.geometry.version {
            2 if hidden != 0 => None,
            _ => Some(hidden),
        };
        match (mapping, room) {
            (Mapping::Absent, _) => no_place,
            (
                Mapping::Data { at, copied: true }
                | Mapping::Zero {
                    kept: Some((at, true)),
                },
                Room::Kept,
            ) => (self.geometry.version >= 3).then_some(at | COPIED | ZERO),
            (Mapping::Zero { kept: None }, Room::Kept) => Some(ZERO),
            _ => no_place,
        }
    }
}
