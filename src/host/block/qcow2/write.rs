//! Writing to the disk: in place where a cluster is the disk's alone, and into a new one elsewhere.

use std::io;

use super::Qcow2;
use super::geometry::{COPIED, Mapping};
use super::tables::{Run, Stop, Tables};
use crate::host::lock::lock;

/// What is to be done for the first part of a write.
enum Step {
    /// Write so many bytes at this offset of the file.
    InPlace {
        at: u64,
        bytes: u64,
    },
    Make(Making),
}

/// Clusters of the disk that get a place.
struct Making {
    /// Number of the first one on the disk.
    first: u64,
    /// What each was before.
    before: Vec<Mapping>,
    /// Their place in the file.
    run: Run,
    /// The place was theirs before: a cluster of zeros that kept it.
    kept: bool,
}

impl Qcow2 {
    /// Writes `from` at `offset`; all of it is on the disk.
    ///
    /// # Errors
    /// What the host says. Any part may have been written.
    pub fn write(&self, mut offset: u64, from: &[u8]) -> io::Result<()> {
        self.check_usable()?;
        let _request = self.request();
        let mut rest = from;
        while !rest.is_empty() {
            let bytes = rest.len() as u64;
            let step = self.with_tables(|tables| self.step(tables, offset, bytes))?;
            let bytes = match step {
                Step::InPlace { at, bytes } => {
                    self.storage.write(at, &rest[..bytes as usize])?;
                    bytes
                }
                Step::Make(making) => self.make(making, offset, rest)?,
            };
            rest = &rest[bytes as usize..];
            offset += bytes;
        }
        Ok(())
    }

    /// Finds the first part of a write that can be done at once, and takes what it needs.
    fn step(&self, tables: &mut Tables, offset: u64, most: u64) -> Result<Step, Stop> {
        let geometry = self.geometry;
        let cluster = geometry.cluster();
        let (l1, l2, inside) = geometry.position(offset);
        let first = offset >> geometry.cluster_bits;
        if tables.busy.contains(&first) {
            return Err(Stop::Busy);
        }
        let table_at = tables.table_to_write(&*self.storage, l1)?;
        let table = tables.table(&*self.storage, table_at)?;
        let count = (inside + most).div_ceil(cluster);
        let count = count.min(geometry.table_entries() - l2 as u64) as usize;
        let mut entries = Vec::with_capacity(count);
        for entry in &table.entries[l2..l2 + count] {
            entries.push(geometry.mapping(*entry)?);
        }
        if let Mapping::Data { at, copied: true } = entries[0] {
            let follow = |(number, mapping): &(usize, &Mapping)| {
                let at = at + *number as u64 * cluster;
                **mapping == Mapping::Data { at, copied: true }
            };
            let together = entries.iter().enumerate().take_while(follow).count() as u64;
            return Ok(Step::InPlace {
                at: at + inside,
                bytes: most.min(together * cluster - inside),
            });
        }
        if let Mapping::Zero {
            kept: Some((at, true)),
        } = entries[0]
        {
            tables.busy.insert(first);
            entries.truncate(1);
            return Ok(Step::Make(Making {
                first,
                before: entries,
                run: Run {
                    first: at >> geometry.cluster_bits,
                    count: 1,
                    fresh: false,
                },
                kept: true,
            }));
        }
        let numbered = (first..).zip(&entries);
        let to_make = numbered.take_while(|(number, mapping)| {
            let in_place = matches!(
                mapping,
                Mapping::Data { copied: true, .. }
                    | Mapping::Zero {
                        kept: Some((_, true))
                    }
            );
            !in_place && !tables.busy.contains(number)
        });
        let want = to_make.count() as u64;
        let run = tables.take(&*self.storage, want)?;
        entries.truncate(run.count as usize);
        tables.busy.extend(first..first + run.count);
        Ok(Step::Make(Making {
            first,
            before: entries,
            run,
            kept: false,
        }))
    }

    /// Writes the start of `from` into new clusters, with what was around it, and enters them in
    /// the tables. Returns how many bytes of `from` that was.
    fn make(&self, making: Making, offset: u64, from: &[u8]) -> io::Result<u64> {
        let written = self.fill(&making, offset, from);
        let entered = written.and_then(|bytes| self.enter(&making).map(|()| bytes));
        let mut tables = lock(&self.tables);
        let Run { first, count, .. } = making.run;
        if entered.is_err() && !making.kept {
            tables.untake(&*self.storage, first..first + count);
        }
        for number in making.first..making.first + count {
            tables.busy.remove(&number);
        }
        drop(tables);
        self.made.notify_all();
        entered
    }

    /// Writes data to clusters that no table leads to yet.
    fn fill(&self, making: &Making, offset: u64, from: &[u8]) -> io::Result<u64> {
        let cluster = self.geometry.cluster();
        let start = making.first << self.geometry.cluster_bits;
        let end = start + making.run.count * cluster;
        let bytes = (end - offset).min(from.len() as u64);
        let data = &from[..bytes as usize];
        let (head, tail) = (offset - start, end - offset - bytes);
        let at = making.run.first << self.geometry.cluster_bits;
        let zeros_around = (head == 0 || self.reads_zeros(making.before.first(), start))
            && (tail == 0 || self.reads_zeros(making.before.last(), end - cluster));
        if head == 0 && tail == 0 || making.run.fresh && zeros_around {
            self.storage.write(at + head, data)?;
            return Ok(bytes);
        }
        let mut whole = vec![0; (end - start) as usize];
        let (before, rest) = whole.split_at_mut(head as usize);
        let (middle, after) = rest.split_at_mut(data.len());
        middle.copy_from_slice(data);
        if let (Some(mapping), true) = (making.before.first(), head > 0) {
            self.read_mapped(*mapping, start, before)?;
        }
        if let (Some(mapping), true) = (making.before.last(), tail > 0) {
            self.read_mapped(*mapping, end - tail, after)?;
        }
        self.storage.write(at, &whole)?;
        Ok(bytes)
    }

    /// Whether a cluster of the disk, at `start`, reads as zeros by its mapping.
    pub(super) fn reads_zeros(&self, mapping: Option<&Mapping>, start: u64) -> bool {
        match mapping {
            Some(Mapping::Zero { .. }) => true,
            Some(Mapping::Absent) => !self.shows_through(start),
            _ => false,
        }
    }

    /// Enters clusters that hold their data into the L2 table, in memory.
    fn enter(&self, making: &Making) -> io::Result<()> {
        let start = making.first << self.geometry.cluster_bits;
        let (l1, l2, _) = self.geometry.position(start);
        self.with_tables(|tables| {
            let table_at = tables.table_to_write(&*self.storage, l1)?;
            let table = tables.table(&*self.storage, table_at)?;
            table.dirty = true;
            for number in 0..making.run.count {
                let at = (making.run.first + number) << self.geometry.cluster_bits;
                table.entries[l2 + number as usize] = at | COPIED;
            }
            if !making.kept {
                for mapping in &making.before {
                    tables.release(*mapping);
                }
            }
            Ok(())
        })
    }
}
