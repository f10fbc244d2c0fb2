//! Guest RAM as the host has it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use ppckvm_api::{GuestMemory, Region, memory_file};
use vm_memory::bitmap::Bitmap;
use vm_memory::{GuestAddress, GuestRegionMmap};

use crate::host::balloon::Holes;
use crate::loader::Segment;

/// Guest RAM: one mapping of one memory file, which other processes could share.
pub(crate) struct Ram {
    pub region: Arc<Region>,
    pub memory: GuestMemory,
    pub file: Arc<File>,
}

impl Ram {
    /// Maps so many bytes of RAM from guest physical address 0, all zero.
    ///
    /// # Errors
    /// When the host has no memory left.
    pub fn new(bytes: u64) -> io::Result<Self> {
        let size = usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let region = memory_file(size)?;
        let file = region.file_offset().expect("it is in a file").arc().clone();
        let region = Arc::new(region);
        let mapped = GuestRegionMmap::with_arc(region.clone(), GuestAddress(0))
            .expect("address 0 and at most 1 GiB do not overflow");
        let memory = GuestMemory::from_regions(vec![mapped])
            .expect("one region is in order and overlaps nothing");
        Ok(Ram {
            region,
            memory,
            file,
        })
    }

    /// Makes all of RAM zero and gives its pages back to the host. The guest must not run.
    pub fn clear(&self) -> io::Result<()> {
        self.holes().punch(0..self.region.size() as u64)
    }

    /// The way to give pages back to the host.
    pub fn holes(&self) -> Holes {
        Holes {
            file: self.file.clone(),
            region: self.region.clone(),
        }
    }

    /// For how many bytes the host holds pages.
    pub fn resident(&self) -> io::Result<u64> {
        use std::os::linux::fs::MetadataExt;
        // Blocks of 512 bytes.
        Ok(self.file.metadata()?.st_blocks() * 512)
    }

    /// Writes what the guest starts with; its places were checked against RAM. The guest must not
    /// run.
    ///
    /// Through the file, because each page's first write through the mapping would be a page fault.
    ///
    /// # Errors
    /// When the host has no memory left.
    pub fn load(&self, segments: &[Segment]) -> io::Result<()> {
        for Segment { gpa, bytes, .. } in segments {
            self.file.write_all_at(bytes, (*gpa).into())?;
            self.region.bitmap().mark_dirty(*gpa as usize, bytes.len());
        }
        Ok(())
    }
}
