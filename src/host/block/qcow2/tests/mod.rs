//! The image over a disk that crashes, fails and lies.

mod checker;
mod crashes;
mod faults;
mod hostile;
mod memory;
mod together;

use std::path::Path;
use std::process::Command;

use self::memory::Memory;
use super::behind::Behind;
use super::geometry::Geometry;
use super::header::{Header, create};
use super::storage::Storage;
use super::*;

const SECTOR: u64 = 512;

/// How an image begins.
#[derive(Clone, Copy, Debug)]
struct Kind {
    version: u32,
    cluster_bits: u32,
    refcount_order: u32,
    sectors: u64,
    /// Something is behind it, and less than its whole length.
    backed: bool,
}

impl Kind {
    const SMALL: Kind = Kind {
        version: 3,
        cluster_bits: 9,
        refcount_order: 4,
        sectors: 160,
        backed: false,
    };

    fn create(self) -> Memory {
        let memory = Memory::default();
        let geometry = Geometry {
            version: self.version,
            cluster_bits: self.cluster_bits,
            refcount_order: self.refcount_order,
            extended_l2: false,
            size: self.sectors * SECTOR,
        };
        create(&memory, geometry).unwrap();
        memory
    }

    /// What a sector holds that was never written.
    fn untouched(self, sector: u64) -> u64 {
        match self.backed && sector < self.sectors - 9 {
            true => 0xBACC_0000 + sector,
            false => 0,
        }
    }

    fn backing(self) -> Option<Box<dyn Behind>> {
        let sectors = 0..self.sectors - 9;
        let bytes = sectors.flat_map(|at| sector(self.untouched(at))).collect();
        self.backed.then(|| Box::new(Bytes(bytes)) as _)
    }

    fn open(self, memory: &Memory, writable: bool) -> Result<Qcow2, DiskFault> {
        let header = Header::read(memory)?;
        Qcow2::open(Box::new(memory.clone()), &header, self.backing(), writable)
    }
}

/// Bytes behind an image.
struct Bytes(Vec<u8>);

impl Behind for Bytes {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        let start = self.0.len().min(offset as usize);
        let count = (self.0.len() - start).min(to.len());
        to[..count].copy_from_slice(&self.0[start..start + count]);
        to[count..].fill(0);
        Ok(())
    }
}

/// A sector's bytes that say what it is.
fn sector(value: u64) -> Vec<u8> {
    value.to_be_bytes().repeat(64)
}

/// What a sector says that it is.
fn value(bytes: &[u8]) -> Option<u64> {
    let (first, _) = bytes.split_first_chunk::<8>()?;
    let value = u64::from_be_bytes(*first);
    (bytes == sector(value)).then_some(value)
}

/// Numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit.max(1)
    }
}

/// Runs `qemu-img` to one of the expected ends.
fn qemu_img(arguments: &[&str], expected: &[i32]) -> String {
    let output = Command::new("qemu-img").args(arguments).output();
    let output = output.expect("qemu-img (Debian: qemu-utils) runs");
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let code = output.status.code().unwrap_or(-1);
    assert!(expected.contains(&code), "qemu-img {arguments:?}: {said}");
    said
}

/// QEMU finds nothing worse than leaks.
fn qemu_agrees(bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, bytes).unwrap();
    let path: &Path = file.path();
    qemu_img(&["check", "-f", "qcow2", path.to_str().unwrap()], &[0, 3]);
}
