//! A descriptor chain, walked: what a device may read of a request, and what it may write.

use std::fmt;
use std::io;

use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions, ReadVolatile, WriteVolatile};

use super::queue_error::QueueError;

/// How many descriptors a chain may have, counted over its indirect table too.
///
/// The limit is above the size of every queue here, and bounds what one request costs.
pub const MAX_DESCRIPTORS: usize = 1024;

/// A range of guest RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First guest physical address.
    pub address: GuestAddress,
    /// Length in bytes, at least 1.
    pub length: u32,
}

/// A request of the driver's (virtio 1.2, 2.7.4): its readable bytes, then its writable ones.
///
/// Every segment was inside guest RAM when the chain was taken from its queue, there are at most
/// [`MAX_DESCRIPTORS`], and both parts together are shorter than 4 GiB. That is far more than one
/// request of any device needs, and all of it may be the same byte over and over: who copies a part
/// bounds its length first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The index of its first descriptor, by which it is given back.
    pub head: u16,
    readable: Vec<Segment>,
    writable: Vec<Segment>,
}

impl Chain {
    /// Returns the segments that the device may read.
    pub fn readable(&self) -> &[Segment] {
        &self.readable
    }

    /// Returns the segments that the device may write.
    pub fn writable(&self) -> &[Segment] {
        &self.writable
    }

    /// The bytes that the device may read.
    pub fn readable_len(&self) -> usize {
        total(&self.readable)
    }

    /// The bytes that the device may write.
    pub fn writable_len(&self) -> usize {
        total(&self.writable)
    }

    /// The readable bytes, from the first on.
    pub fn reader<'a, M>(&'a self, memory: &'a M) -> Reader<'a, M> {
        Reader(Cursor::new(memory, &self.readable))
    }

    /// The writable bytes, from the first on.
    pub fn writer<'a, M>(&'a self, memory: &'a M) -> Writer<'a, M> {
        Writer {
            cursor: Cursor::new(memory, &self.writable),
            written: 0,
        }
    }
}

fn total(segments: &[Segment]) -> usize {
    // The whole chain is shorter than 4 GiB.
    segments
        .iter()
        .map(|segment| segment.length as usize)
        .fold(0, usize::saturating_add)
}

/// Puts a chain together from its descriptors, and refuses what cannot be one.
pub(super) struct Walk<'a, M> {
    memory: &'a M,
    chain: Chain,
    descriptors: usize,
    bytes: u32,
}

impl<'a, M: GuestMemory> Walk<'a, M> {
    pub fn new(memory: &'a M, head: u16) -> Self {
        let chain = Chain {
            head,
            ..Chain::default()
        };
        Walk {
            memory,
            chain,
            descriptors: 0,
            bytes: 0,
        }
    }

    /// Takes the next descriptor.
    pub fn add(
        &mut self,
        address: GuestAddress,
        length: u32,
        writable: bool,
    ) -> Result<(), QueueError> {
        let head = self.chain.head;
        self.descriptors += 1;
        if self.descriptors > MAX_DESCRIPTORS {
            return Err(QueueError::TooLong { head });
        }
        if !writable && !self.chain.writable.is_empty() {
            return Err(QueueError::ReadableAfterWritable { head });
        }
        if length == 0 {
            return Ok(());
        }
        self.bytes = self
            .bytes
            .checked_add(length)
            .ok_or(QueueError::TooLong { head })?;
        let (part, access) = match writable {
            true => (&mut self.chain.writable, Permissions::Write),
            false => (&mut self.chain.readable, Permissions::Read),
        };
        if !self.memory.check_range(address, length as usize, access) {
            return Err(QueueError::Outside {
                address: address.0,
                bytes: length.into(),
            });
        }
        part.push(Segment { address, length });
        Ok(())
    }

    pub fn finish(self) -> Chain {
        self.chain
    }
}

/// A position in segments.
struct Cursor<'a, M> {
    memory: &'a M,
    segments: &'a [Segment],
    /// How much of the first segment was passed.
    offset: u32,
}

impl<'a, M> Cursor<'a, M> {
    fn new(memory: &'a M, segments: &'a [Segment]) -> Self {
        Cursor {
            memory,
            segments,
            offset: 0,
        }
    }

    fn remaining(&self) -> usize {
        total(self.segments) - self.offset as usize
    }

    /// What is left of the segment at hand.
    fn piece(&self) -> Option<(GuestAddress, usize)> {
        let segment = self.segments.first()?;
        // Inside guest RAM, so it does not overflow.
        let address = GuestAddress(segment.address.0 + u64::from(self.offset));
        Some((address, (segment.length - self.offset) as usize))
    }

    /// Moves on by what is at most left of the segment at hand.
    fn advance(&mut self, count: usize) {
        let Some((segment, rest)) = self.segments.split_first() else {
            return;
        };
        let left = segment.length - self.offset;
        match u32::try_from(count) {
            Ok(count) if count < left => self.offset += count,
            _ => {
                self.segments = rest;
                self.offset = 0;
            }
        }
    }

    fn skip(&mut self, count: usize) -> io::Result<()> {
        if count > self.remaining() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.each_piece(count, |_, _, length| Ok(length)).map(drop)
    }

    /// Hands pieces of at most `count` bytes to `step` until one is not done as a whole; the bytes
    /// that were done.
    fn each_piece(
        &mut self,
        count: usize,
        mut step: impl FnMut(&'a M, GuestAddress, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut done = 0;
        while let Some((address, left)) = self.piece().filter(|_| done < count) {
            let length = left.min(count - done);
            match step(self.memory, address, length) {
                Ok(moved) => {
                    self.advance(moved);
                    done += moved;
                    if moved < length {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

/// The readable part of a [`Chain`] as a stream that ends where the part does.
pub struct Reader<'a, M>(Cursor<'a, M>);

impl<M> Clone for Reader<'_, M> {
    fn clone(&self) -> Self {
        Reader(Cursor { ..self.0 })
    }
}

impl<M: GuestMemory> Reader<'_, M> {
    /// The bytes that are left.
    pub fn remaining(&self) -> usize {
        self.0.remaining()
    }

    /// Leaves `count` bytes out.
    ///
    /// # Errors
    /// When fewer are left; nothing is left out.
    pub fn skip(&mut self, count: usize) -> io::Result<()> {
        self.0.skip(count)
    }

    /// Returns the next `N` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        io::Read::read_exact(self, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes up to `count` bytes to `to` without a copy in between, and says how many it took.
    ///
    /// # Errors
    /// When `to` took nothing, for the reason that it names.
    pub fn copy_to(&mut self, to: &mut impl WriteVolatile, count: usize) -> io::Result<usize> {
        self.0.each_piece(count, |memory, address, length| {
            memory
                .write_volatile_to(address, to, length)
                .map_err(io_error)
        })
    }
}

impl<M: GuestMemory> io::Read for Reader<'_, M> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut rest = buffer;
        self.0.each_piece(rest.len(), |memory, address, length| {
            let (piece, behind) = std::mem::take(&mut rest).split_at_mut(length);
            rest = behind;
            memory.read_slice(piece, address).map_err(io_error)?;
            Ok(length)
        })
    }
}

/// The writable part of a [`Chain`] as a stream that ends where the part does.
pub struct Writer<'a, M> {
    cursor: Cursor<'a, M>,
    written: u32,
}

impl<M: GuestMemory> Writer<'_, M> {
    /// The bytes that are left.
    pub fn remaining(&self) -> usize {
        self.cursor.remaining()
    }

    /// How far it got, in bytes from the part's start: what [`super::Queue::push`] wants.
    pub fn written(&self) -> u32 {
        self.written
    }

    /// Leaves `count` bytes as they are.
    ///
    /// # Errors
    /// When fewer are left; nothing is left out.
    pub fn skip(&mut self, count: usize) -> io::Result<()> {
        self.cursor.skip(count)?;
        self.count(count);
        Ok(())
    }

    /// Reads up to `count` bytes from `from` without a copy in between, and says how many there
    /// were; fewer, or none, when `from` ends.
    ///
    /// # Errors
    /// When `from` had nothing, for the reason that it names.
    pub fn copy_from(&mut self, from: &mut impl ReadVolatile, count: usize) -> io::Result<usize> {
        let done = self.cursor.each_piece(count, |memory, address, length| {
            memory
                .read_volatile_from(address, from, length)
                .map_err(io_error)
        })?;
        self.count(done);
        Ok(done)
    }

    fn count(&mut self, count: usize) {
        // The part is shorter than 4 GiB.
        self.written = self.written.saturating_add(count as u32);
    }
}

impl<M: GuestMemory> io::Write for Writer<'_, M> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let mut rest = buffer;
        let done = self
            .cursor
            .each_piece(rest.len(), |memory, address, length| {
                let (piece, behind) = rest.split_at(length);
                rest = behind;
                memory.write_slice(piece, address).map_err(io_error)?;
                Ok(length)
            })?;
        self.count(done);
        Ok(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<M> fmt::Debug for Reader<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reader").field(&self.0.remaining()).finish()
    }
}

impl<M> fmt::Debug for Writer<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("remaining", &self.cursor.remaining())
            .field("written", &self.written)
            .finish()
    }
}

fn io_error(error: vm_memory::GuestMemoryError) -> io::Error {
    match error {
        vm_memory::GuestMemoryError::IOError(error) => error,
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use vm_memory::GuestMemoryMmap;

    use super::*;

    fn memory() -> GuestMemoryMmap {
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap()
    }

    fn chain(memory: &GuestMemoryMmap, parts: &[(u64, u32, bool)]) -> Result<Chain, QueueError> {
        let mut walk = Walk::new(memory, 7);
        for (address, length, writable) in parts {
            walk.add(GuestAddress(*address), *length, *writable)?;
        }
        Ok(walk.finish())
    }

    #[test]
    fn a_stream_crosses_segments_and_ends_with_them() {
        let memory = memory();
        let parts = [
            (0x100, 3, false),
            (0x200, 0, false),
            (0x300, 2, false),
            (0x400, 4, true),
            (0x500, 2, true),
        ];
        let chain = chain(&memory, &parts).unwrap();
        assert_eq!((chain.readable_len(), chain.writable_len()), (5, 6));
        memory.write_slice(b"abc", GuestAddress(0x100)).unwrap();
        memory.write_slice(b"de", GuestAddress(0x300)).unwrap();

        let mut reader = chain.reader(&memory);
        assert_eq!(reader.array().unwrap(), *b"ab");
        reader.skip(1).unwrap();
        assert_eq!(reader.remaining(), 2);
        assert!(reader.skip(3).is_err());
        let mut rest = Vec::new();
        reader.clone().read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"de");
        assert!(reader.array::<3>().is_err());

        let mut writer = chain.writer(&memory);
        writer.write_all(b"12345").unwrap();
        assert_eq!((writer.written(), writer.remaining()), (5, 1));
        writer.skip(1).unwrap();
        assert_eq!(writer.write(b"x").unwrap(), 0);
        assert_eq!(writer.written(), 6);
        let mut bytes = [0; 4];
        memory.read_slice(&mut bytes, GuestAddress(0x400)).unwrap();
        assert_eq!(&bytes, b"1234");
        memory.read_slice(&mut bytes, GuestAddress(0x500)).unwrap();
        assert_eq!(&bytes, b"5\0\0\0");
    }

    #[test]
    fn bytes_move_without_a_copy_in_between() {
        let memory = memory();
        let parts = [
            (0x100, 3, false),
            (0x300, 2, false),
            (0x400, 2, true),
            (0x500, 9, true),
        ];
        let chain = chain(&memory, &parts).unwrap();
        memory.write_slice(b"abc", GuestAddress(0x100)).unwrap();
        memory.write_slice(b"de", GuestAddress(0x300)).unwrap();
        let mut sink = Vec::new();
        let mut reader = chain.reader(&memory);
        assert_eq!(reader.copy_to(&mut sink, 4).unwrap(), 4);
        assert_eq!(reader.copy_to(&mut sink, 4).unwrap(), 1);
        assert_eq!(sink, b"abcde");

        let mut writer = chain.writer(&memory);
        let mut source: &[u8] = b"12345";
        assert_eq!(writer.copy_from(&mut source, 100).unwrap(), 5);
        assert_eq!((writer.written(), writer.remaining()), (5, 6));
        let mut bytes = [0; 3];
        memory.read_slice(&mut bytes, GuestAddress(0x500)).unwrap();
        assert_eq!(&bytes, b"345");
    }

    #[test]
    fn what_is_no_chain_is_refused() {
        let memory = memory();
        let outside = chain(&memory, &[(0xFFFF, 2, false)]).unwrap_err();
        assert_eq!(
            outside.to_string(),
            "a descriptor's 2 bytes at 0xffff are not inside the guest's ram"
        );
        assert!(chain(&memory, &[(u64::MAX, 2, true)]).is_err());
        assert!(matches!(
            chain(&memory, &[(0, 1, true), (0, 1, false)]),
            Err(QueueError::ReadableAfterWritable { head: 7 })
        ));
        let many = vec![(0, 1, false); MAX_DESCRIPTORS + 1];
        assert!(chain(&memory, &many[1..]).is_ok());
        assert!(matches!(
            chain(&memory, &many),
            Err(QueueError::TooLong { head: 7 })
        ));
        let long = vec![(0, 0x10000, false); MAX_DESCRIPTORS];
        assert!(chain(&memory, &long).is_ok(), "64 MiB");
    }
}
