//! qcow2 images, read and written so that no crash damages them.
//!
//! [`Qcow2`] is one image over a [`storage::Storage`], with what is behind it; [`chain`] opens the
//! files of a chain. Inside, `header` and `geometry` know the format, `tables` and `refcounts` hold
//! what the file's tables say, `check` refuses an image that is not sound, `read`, `write` and
//! `zero` are the requests, and `writeback` has the order in which tables reach the file, with the
//! reason why that order is safe. Offsets, flags and limits are those of QEMU's
//! `docs/interop/qcow2`.
//!
//! # Requests under way together
//! One lock is held while tables are looked up and changed, and not while data are read or written.
//! - Whoever makes a cluster of the disk says so ([`tables::Tables::busy`]); another request for the
//!   same cluster waits until it is made.
//! - A cluster that is given up is handed out again only after all requests that began before are
//!   done, so one that still reads or writes it disturbs nobody.
//! - The lock for flushing is taken before that for the tables, never after.

pub(super) mod behind;
pub(super) mod chain;
mod check;
mod compressed;
mod geometry;
mod header;
mod read;
mod refcounts;
pub(super) mod storage;
mod tables;
#[cfg(test)]
mod tests;
mod write;
mod writeback;
mod zero;

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Condvar, Mutex, PoisonError};

use self::behind::Behind;
use self::compressed::Unpacked;
use self::geometry::Geometry;
use self::header::{AUTOCLEAR, Compression, Header};
use self::storage::Storage;
use self::tables::{Stop, Tables};
use super::error::DiskFault;
use crate::host::lock::lock;

/// A qcow2 image that is open.
pub(super) struct Qcow2 {
    storage: Box<dyn Storage>,
    geometry: Geometry,
    compression: Compression,
    /// What shows through where nothing was written.
    backing: Option<Box<dyn Behind>>,
    writable: bool,
    /// Nobody reads the file after this process.
    temporary: bool,
    tables: Mutex<Tables>,
    /// A cluster is made.
    made: Condvar,
    /// Held by whoever writes tables to the file.
    flushing: Mutex<()>,
    /// The host lost what it had taken, so nothing is written any more.
    failed: AtomicBool,
    unpacked: Mutex<Unpacked>,
}

impl Qcow2 {
    /// Opens an image whose header was read.
    ///
    /// To be written, its tables must be sound: they are all checked.
    ///
    /// # Errors
    /// What is wrong with the image, or what the host says.
    fn open(
        storage: Box<dyn Storage>,
        header: &Header,
        backing: Option<Box<dyn Behind>>,
        writable: bool,
    ) -> Result<Self, DiskFault> {
        let mut tables = Tables::read(&*storage, header)?;
        if writable {
            if header.geometry.extended_l2 {
                return Err(DiskFault::unsupported(
                    "writing to extended L2 entries",
                    "add readonly or overlay, or convert it with `qemu-img convert -O qcow2`",
                ));
            }
            if let Some(why) = header.unsound {
                return Err(DiskFault::Damaged(why.into()));
            }
            tables.counted = true;
            check::check(&*storage, header, &mut tables)?;
            if header.autoclear != 0 {
                storage.write(AUTOCLEAR, &[0; 8])?;
                storage.sync()?;
            }
        }
        Ok(Qcow2 {
            storage,
            geometry: header.geometry,
            compression: header.compression,
            backing,
            writable,
            temporary: false,
            tables: Mutex::new(tables),
            made: Condvar::new(),
            flushing: Mutex::new(()),
            failed: AtomicBool::new(false),
            unpacked: Mutex::default(),
        })
    }

    /// Makes an empty image in empty storage, which nobody reads after this process.
    ///
    /// # Errors
    /// What the host says.
    fn temporary(storage: Box<dyn Storage>, backing: Box<dyn Behind>) -> Result<Self, DiskFault> {
        // Below 64 TiB, the L1 table has at most 1 MiB.
        let size = backing.size();
        let cluster_bits = if size >> 46 == 0 { 16 } else { 21 };
        let geometry = Geometry {
            version: 3,
            cluster_bits,
            refcount_order: 4,
            extended_l2: false,
            size,
        };
        header::create(&*storage, geometry)?;
        let header = Header::read(&*storage)?;
        let mut image = Qcow2::open(storage, &header, Some(backing), true)?;
        image.temporary = true;
        Ok(image)
    }

    /// The disk's size in bytes.
    pub fn size(&self) -> u64 {
        self.geometry.size
    }

    /// Does a step with the tables, again after whatever kept it from being done.
    ///
    /// A step that stops has changed nothing, or what is as good with the change as without.
    fn with_tables<T>(
        &self,
        mut step: impl FnMut(&mut Tables) -> Result<T, Stop>,
    ) -> io::Result<T> {
        let mut tables = lock(&self.tables);
        loop {
            match step(&mut tables) {
                Ok(done) => return Ok(done),
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Busy) => {
                    let waited = self.made.wait(tables);
                    tables = waited.unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                Err(Stop::Crowded) => {
                    drop(tables);
                    self.relieve()?;
                }
                Err(Stop::TableFull) => {
                    drop(tables);
                    self.grow_refcount_table()?;
                }
            }
            tables = lock(&self.tables);
        }
    }

    /// Takes note of a request, for as long as what is returned lives.
    fn request(&self) -> Request<'_> {
        let number = lock(&self.tables).begin();
        Request {
            image: self,
            number,
        }
    }
}

impl Behind for Qcow2 {
    fn size(&self) -> u64 {
        self.geometry.size
    }

    fn read(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        let present = self.size().saturating_sub(offset).min(to.len() as u64);
        let (inside, after) = to.split_at_mut(present as usize);
        after.fill(0);
        self.read(offset, inside)
    }
}

/// A request that is under way: the clusters that it may reach are not handed out again.
struct Request<'a> {
    image: &'a Qcow2,
    number: u64,
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        lock(&self.image.tables).end(self.number);
    }
}

impl Drop for Qcow2 {
    /// Leaves an image without leaks; the second flush writes the counts of what the first freed.
    fn drop(&mut self) {
        for _ in 0..2 {
            if self.flush().is_err() || !lock(&self.tables).has_retired() {
                break;
            }
        }
    }
}
