//! Reading the disk.

use std::io;
use std::sync::Arc;

use super::Qcow2;
use super::compressed::unpack;
use super::geometry::{Geometry, Mapping, damaged};
use super::tables::{Stop, Tables};
use crate::host::lock::lock;

/// Where a part of the disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// In the backing file, or zeros.
    Behind,
    Zeros,
    /// At this offset of the file.
    File(u64),
    /// In a compressed cluster.
    Packed {
        at: u64,
        bytes: u64,
    },
}

impl Qcow2 {
    /// Fills `to` with what the disk has at `offset`; all of it is on the disk.
    ///
    /// # Errors
    /// What the host says, or tables that are damaged.
    pub fn read(&self, mut offset: u64, to: &mut [u8]) -> io::Result<()> {
        let _request = self.request();
        let mut rest = to;
        while !rest.is_empty() {
            let (source, bytes) =
                self.with_tables(|tables| self.source(tables, offset, rest.len() as u64))?;
            let (part, after) = rest.split_at_mut(bytes as usize);
            self.read_from(source, offset, part)?;
            rest = after;
            offset += bytes;
        }
        Ok(())
    }

    /// Where the disk's bytes at `offset` are, and how many follow each other there, up to `most`.
    fn source(&self, tables: &mut Tables, offset: u64, most: u64) -> Result<(Source, u64), Stop> {
        let geometry = self.geometry;
        let cluster = geometry.cluster();
        let (l1, l2, inside) = geometry.position(offset);
        let Some(table) = tables.table_to_read(&*self.storage, l1)? else {
            let span = geometry.table_span();
            return Ok((Source::Behind, most.min(span - offset % span)));
        };
        let unit = geometry.unit();
        let entries = &table.entries;
        let number = l2 as u64 * geometry.units_per_cluster() + inside / unit;
        let first = source_of(geometry, entries, number, inside % unit)?;
        let mut bytes = match first {
            Source::Packed { .. } => cluster - inside,
            _ => unit - inside % unit,
        };
        let units = geometry.table_entries() * geometry.units_per_cluster();
        for number in number + 1..units {
            if bytes >= most {
                break;
            }
            let follows = match (first, source_of(geometry, entries, number, 0)?) {
                (Source::File(at), Source::File(next)) => at + bytes == next,
                (Source::Packed { .. }, _) => false,
                (first, next) => first == next,
            };
            if !follows {
                break;
            }
            bytes += unit;
        }
        Ok((first, bytes.min(most)))
    }

    fn read_from(&self, source: Source, offset: u64, to: &mut [u8]) -> io::Result<()> {
        match source {
            Source::Zeros => to.fill(0),
            Source::Behind => return self.read_behind(offset, to),
            Source::File(at) => return self.storage.read(at, to),
            Source::Packed { at, bytes } => {
                let cluster = self.unpacked(at, bytes)?;
                let inside = (offset % self.geometry.cluster()) as usize;
                to.copy_from_slice(&cluster[inside..inside + to.len()]);
            }
        }
        Ok(())
    }

    fn read_behind(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        match &self.backing {
            Some(backing) => backing.read(offset, to),
            None => {
                to.fill(0);
                Ok(())
            }
        }
    }

    /// Whether the disk's bytes at `offset` may be other than zeros without a cluster of this file.
    pub(super) fn shows_through(&self, offset: u64) -> bool {
        let backing = self.backing.as_ref();
        backing.is_some_and(|backing| offset < backing.size())
    }

    /// What a cluster of the disk holds at `inside`, by its mapping.
    pub(super) fn read_mapped(
        &self,
        mapping: Mapping,
        offset: u64,
        to: &mut [u8],
    ) -> io::Result<()> {
        let inside = offset % self.geometry.cluster();
        self.read_from(source_of_mapping(mapping, inside), offset, to)
    }

    fn unpacked(&self, at: u64, bytes: u64) -> io::Result<Arc<[u8]>> {
        if let Some(cluster) = lock(&self.unpacked).get(at) {
            return Ok(cluster);
        }
        if at >= self.storage.length()? {
            return Err(damaged(format!(
                "the compressed cluster at {at:#x} is not in the file"
            )));
        }
        let cluster = unpack(&*self.storage, self.geometry, self.compression, at, bytes)?;
        let cluster: Arc<[u8]> = cluster.into();
        lock(&self.unpacked).keep(at, cluster.clone());
        Ok(cluster)
    }
}

/// Where a cluster or subcluster of an L2 table's part of the disk is, by its number there; `inside`
/// counts from its start.
fn source_of(geometry: Geometry, entries: &[u64], number: u64, inside: u64) -> io::Result<Source> {
    let (words, units) = (geometry.entry_words(), geometry.units_per_cluster());
    let (at, part) = ((number / units) as usize * words, number % units);
    let mapping = geometry.mapping(entries[at])?;
    if !geometry.extended_l2 || matches!(mapping, Mapping::Compressed { .. }) {
        return Ok(source_of_mapping(mapping, inside));
    }
    // Which subclusters are here, and which are zeros, whatever is here.
    let bitmap = entries[at + 1];
    let (here, zero) = (bitmap >> part & 1 != 0, bitmap >> (units + part) & 1 != 0);
    match (here, zero, mapping) {
        (true, false, Mapping::Data { at, .. }) => {
            Ok(Source::File(at + part * geometry.unit() + inside))
        }
        (false, true, _) => Ok(Source::Zeros),
        (false, false, _) => Ok(Source::Behind),
        _ => Err(damaged(format!(
            "an extended L2 entry is {:#x} {bitmap:#x}",
            entries[at]
        ))),
    }
}

fn source_of_mapping(mapping: Mapping, inside: u64) -> Source {
    match mapping {
        Mapping::Absent => Source::Behind,
        Mapping::Zero { .. } => Source::Zeros,
        Mapping::Data { at, .. } => Source::File(at + inside),
        Mapping::Compressed { at, bytes } => Source::Packed { at, bytes },
    }
}
