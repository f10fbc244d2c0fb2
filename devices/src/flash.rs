//! Flash memory that nothing programs: it reads as what it was filled with, and takes no writes.

use crate::bus::{AccessError, MmioDevice};

/// What an erased cell holds.
pub const ERASED: u8 = 0xFF;

/// A flash memory. What it holds is kept as the few pieces that are not erased.
#[derive(Clone, Debug)]
pub struct Flash {
    /// Offsets and contents, in the order in which they were written.
    pieces: Vec<(u32, Vec<u8>)>,
}

impl Flash {
    /// A flash without contents.
    pub fn erased() -> Self {
        Flash { pieces: Vec::new() }
    }

    /// The flash with `contents` at `offset`, instead of what was there.
    pub fn with(mut self, offset: u32, contents: impl Into<Vec<u8>>) -> Self {
        self.pieces.push((offset, contents.into()));
        self
    }

    fn cell(&self, offset: u32) -> u8 {
        let held = self.pieces.iter().rev().find_map(|(start, contents)| {
            let index = offset.checked_sub(*start)?;
            contents.get(index as usize)
        });
        held.copied().unwrap_or(ERASED)
    }
}

impl MmioDevice for Flash {
    fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        for (byte, index) in data.iter_mut().zip(0..) {
            *byte = offset.checked_add(index).map_or(ERASED, |at| self.cell(at));
        }
        Ok(())
    }

    /// A write is a command that this memory does not know.
    fn write(&mut self, _offset: u32, _data: &[u8]) -> Result<(), AccessError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_it_holds_and_takes_no_writes() {
        let mut flash = Flash::erased().with(7, [1, 2, 3]).with(8, [4]);
        flash.write(0, &[9; 8]).unwrap();
        let mut data = [0; 8];
        flash.read(4, &mut data).unwrap();
        assert_eq!(data, [ERASED, ERASED, ERASED, 1, 4, 3, ERASED, ERASED]);
        let mut data = [0; 4];
        flash.read(u32::MAX, &mut data).unwrap();
        assert_eq!(data, [ERASED; 4]);
    }
}
