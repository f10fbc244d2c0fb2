//! What is behind an image.

use std::io;

/// What shows through an image where nothing was written; it is only read.
pub(in crate::host::block) trait Behind: Send + Sync {
    /// The size in bytes.
    fn size(&self) -> u64;

    /// Fills `to` with what is at `offset`, and with zeros after the end.
    ///
    /// # Errors
    /// What the host says, or tables that are damaged.
    fn read(&self, offset: u64, to: &mut [u8]) -> io::Result<()>;
}
