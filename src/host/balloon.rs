//! `--balloon`: pages that the guest gives back become holes in the file that is its RAM.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use ppckvm_api::Region;
use ppckvm_devices::virtio::balloon::Discard;
use rustix::fs::FallocateFlags;
use vm_memory::bitmap::Bitmap;

/// Guest RAM as one file and its mapping, both from guest physical address 0 on.
pub(crate) struct Holes {
    pub file: Arc<File>,
    pub region: Arc<Region>,
}

impl Holes {
    /// Gives a range's pages back to the host; they read as zeros from now on.
    ///
    /// # Errors
    /// As the host says.
    pub fn punch(&self, range: Range<u64>) -> io::Result<()> {
        let bytes = range.end.saturating_sub(range.start);
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.file, hole, range.start, bytes)?;
        // Code that was decoded from what was there is gone too. RAM is at most 1 GiB.
        let (start, bytes) = (range.start as usize, bytes as usize);
        self.region.bitmap().mark_dirty(start, bytes);
        Ok(())
    }
}

impl Discard for Holes {
    fn discard(&mut self, range: Range<u64>) -> io::Result<()> {
        self.punch(range)
    }
}
