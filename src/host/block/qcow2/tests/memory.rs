//! A disk in memory that records what is done to it, and fails when it is told to.

use std::io;
use std::sync::{Arc, Mutex};

use crate::host::block::qcow2::storage::Storage;
use crate::host::lock::lock;

/// What a crash may lose part of.
#[derive(Clone, Debug)]
pub enum Done {
    Write { at: u64, bytes: Vec<u8> },
    Sync,
}

/// Decides whether the operation with a number fails.
type Fails = Box<dyn FnMut(usize, &Done) -> bool + Send>;

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    log: Vec<Done>,
    /// Operations so far, also those that failed.
    count: usize,
    fails: Option<Fails>,
    limit: Option<u64>,
}

/// Clones are the same disk.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

impl Memory {
    pub fn new(bytes: Vec<u8>) -> Self {
        let memory = Memory::default();
        lock(&memory.0).bytes = bytes;
        memory
    }

    /// Like a block device, which does not grow.
    pub fn limited(self, bytes: u64) -> Self {
        lock(&self.0).limit = Some(bytes);
        self
    }

    pub fn fail_when(&self, fails: impl FnMut(usize, &Done) -> bool + Send + 'static) {
        let mut state = lock(&self.0);
        state.count = 0;
        state.fails = Some(Box::new(fails));
    }

    pub fn bytes(&self) -> Vec<u8> {
        lock(&self.0).bytes.clone()
    }

    pub fn log(&self) -> Vec<Done> {
        lock(&self.0).log.clone()
    }

    pub fn logged(&self) -> usize {
        lock(&self.0).log.len()
    }

    fn run(&self, done: Done) -> io::Result<()> {
        let mut state = lock(&self.0);
        let number = state.count;
        state.count += 1;
        let fails = state
            .fails
            .as_mut()
            .is_some_and(|fails| fails(number, &done));
        let done = match done {
            // A failed write may have done its first part, in whole sectors or entries.
            Done::Write { at, mut bytes } if fails => {
                let whole = if bytes.len() < 512 { 8 } else { 512 };
                bytes.truncate(bytes.len() / 2 / whole * whole);
                Done::Write { at, bytes }
            }
            Done::Sync if fails => return Err(io::Error::from_raw_os_error(5)),
            done => done,
        };
        apply(&mut state.bytes, &done);
        state.log.push(done);
        match fails {
            true => Err(io::Error::from_raw_os_error(5)),
            false => Ok(()),
        }
    }
}

pub fn apply(disk: &mut Vec<u8>, done: &Done) {
    if let Done::Write { at, bytes } = done {
        let (at, end) = (*at as usize, *at as usize + bytes.len());
        if disk.len() < end {
            disk.resize(end, 0);
        }
        disk[at..end].copy_from_slice(bytes);
    }
}

impl Storage for Memory {
    fn read(&self, at: u64, to: &mut [u8]) -> io::Result<()> {
        let state = lock(&self.0);
        let start = state.bytes.len().min(at as usize);
        let count = (state.bytes.len() - start).min(to.len());
        to[..count].copy_from_slice(&state.bytes[start..start + count]);
        to[count..].fill(0);
        Ok(())
    }

    fn write(&self, at: u64, from: &[u8]) -> io::Result<()> {
        // No test makes an image of such a size; what asks for it was made to.
        assert!(at + (from.len() as u64) < 1 << 32, "a write at {at:#x}");
        if lock(&self.0)
            .limit
            .is_some_and(|limit| at + from.len() as u64 > limit)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.run(Done::Write {
            at,
            bytes: from.to_vec(),
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.run(Done::Sync)
    }

    fn punch(&self, at: u64, bytes: u64) -> io::Result<()> {
        // The host may leave anything there.
        self.run(Done::Write {
            at,
            bytes: vec![0xA5; bytes as usize],
        })
    }

    fn length(&self) -> io::Result<u64> {
        let state = lock(&self.0);
        Ok(state.limit.unwrap_or(state.bytes.len() as u64))
    }

    fn grows(&self) -> bool {
        lock(&self.0).limit.is_none()
    }
}
