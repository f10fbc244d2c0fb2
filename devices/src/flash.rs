//! Flash memory that nothing programs: it reads as what it was filled with, and takes no writes.

use std::sync::Arc;

use crate::bus::{AccessError, MmioDevice};

/// What an erased cell holds.
pub const ERASED: u8 = 0xFF;

/// A flash memory.
#[derive(Clone, Debug)]
pub struct Flash {
    contents: Arc<[u8]>,
}

impl Flash {
    /// A flash that holds `contents`, and nothing behind them.
    pub fn new(contents: impl Into<Arc<[u8]>>) -> Self {
        Flash {
            contents: contents.into(),
        }
    }
}

impl MmioDevice for Flash {
    fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        let cells = self.contents.iter().skip(offset as usize);
        let cells = cells.chain(std::iter::repeat(&ERASED));
        for (byte, cell) in data.iter_mut().zip(cells) {
            *byte = *cell;
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
        let mut flash = Flash::new([1, 2, 3]);
        flash.write(0, &[9; 4]).unwrap();
        let mut data = [0; 4];
        flash.read(1, &mut data).unwrap();
        assert_eq!(data, [2, 3, ERASED, ERASED]);
        flash.read(u32::MAX, &mut data).unwrap();
        assert_eq!(data, [ERASED; 4]);
    }
}
