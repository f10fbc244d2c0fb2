//! Which memory is left for what is placed beside the kernel: RAM, without what the device tree and
//! the command line keep for something else, and below the limit that they set.
//!
//! Linux frees an initrd or a device tree beyond its limit, and gives reserved memory to whom it is
//! reserved for; both end in a guest that fails long after its start.

use super::command_line::{self, LONGEST, MemoryOptions};
use super::error::{Fault, LoadError};
use super::report::shortened;
use ppckvm_fdt::UserTree;
use ppckvm_fdt::reserved::Kept;
use std::path::Path;

/// The parts of guest memory that must not be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Where the kernel's memory ends, and who says so.
    limit: Option<(u64, &'static str)>,
    kept: Vec<Kept>,
}

/// The page size of most kernels; Linux rounds a limit up to it.
const PAGE: u64 = 4096;

impl Bounds {
    /// Reads them from the device tree and the command line that the guest is given, for a guest
    /// with `ram` bytes of memory.
    ///
    /// # Errors
    /// A command line that the kernel would cut off; `file` stands for it in messages.
    pub fn new(
        file: &Path,
        tree: Option<&UserTree>,
        command_line: &str,
        ram: u32,
    ) -> Result<Bounds, LoadError> {
        if command_line.len() > LONGEST {
            let reason = format!(
                "the command line has {} bytes, and linux cuts off what comes after the first \
                 {LONGEST}",
                command_line.len()
            );
            let remedy = "shorten it";
            return Err(LoadError::new(file, Fault::image(reason, remedy)));
        }
        let options: MemoryOptions = command_line::read(command_line, ram);
        let mut limit = options.limit.map(|limit| (limit, "mem="));
        let mut kept = options.kept;
        if let Some(tree) = tree {
            kept.extend(tree.kept_memory());
            if !options.has_limit {
                let tells = tree.memory_limit();
                limit = tells.map(|limit| (limit, "/chosen/linux,memory-limit"));
            }
        }
        let limit = limit.map(|(limit, by)| (limit.div_ceil(PAGE).saturating_mul(PAGE), by));
        Ok(Bounds {
            limit: limit.filter(|(limit, _)| *limit < ram.into()),
            kept,
        })
    }

    /// Where memory ends that can be used, of `ram` bytes.
    pub(super) fn end(&self, ram: u32) -> u32 {
        let limit = self.limit.and_then(|(limit, _)| u32::try_from(limit).ok());
        limit.map_or(ram, |limit| limit.min(ram))
    }

    /// The ranges that are kept: first address, and first after it.
    pub(super) fn kept(&self) -> impl Iterator<Item = (u32, u64)> {
        let range = |kept: &Kept| Some((u32::try_from(kept.start).ok()?, kept.end));
        self.kept.iter().filter_map(range)
    }

    /// Refuses a limit that leaves the kernel itself no room.
    pub(super) fn check_kernel(
        &self,
        file: &Path,
        end: u64,
        extent: &str,
    ) -> Result<(), LoadError> {
        match self.limit {
            Some((limit, by)) if end > limit => {
                let reason = format!(
                    "{by} lets the kernel use memory up to {limit:#x}, but it occupies {extent}"
                );
                let remedy = "raise that limit, or leave it out";
                Err(LoadError::new(file, Fault::image(reason, remedy)))
            }
            _ => Ok(()),
        }
    }

    /// What keeps memory, as the end of a message; empty where nothing does.
    pub(super) fn describe(&self) -> String {
        let limit = self
            .limit
            .map(|(limit, by)| format!("{by} ends memory at {limit:#x}"));
        let kept = self.kept.iter().map(|kept| {
            format!(
                "{:#x} to {:#x} is kept by {}",
                kept.start, kept.end, kept.by
            )
        });
        match shortened(limit.into_iter().chain(kept), ", ") {
            list if list.is_empty() => list,
            list => format!(", {list}"),
        }
    }
}
