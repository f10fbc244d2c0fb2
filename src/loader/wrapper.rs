//! Linux's boot wrappers, told from kernels by their code.
//!
//! cuImage, treeImage, simpleImage and the ePAPR zImage all start with the same code, whatever the
//! file around them: `bl .+4; mflr r10` (in newer ones `bcl 20,31,.+4`), and before it five words:
//! where it is linked, where its text ends, where its bss starts and ends, and where the word with
//! its stack pointer is. A kernel never starts so. The file's own header tells nothing: a cuImage is
//! a uImage of type kernel.
//!
//! What the code expects in its registers follows from what it carries:
//!
//! | device tree inside | own stack | it is | it expects |
//! |---|---|---|---|
//! | no | yes | ePAPR | a device tree, as a kernel does |
//! | yes | no | cuImage | U-Boot's stack and board information, initrd, command line |
//! | yes | yes | treeImage, simpleImage | nothing |
//!
//! A simpleImage finds its memory and clocks in its device tree alone, and Linux's own for the board
//! leaves both open: they are filled in here.

use super::detect::{Compression, Kind, PREFIX, detect};
use super::error::{Fault, LoadError};
use super::report::Section;
use super::source::Source;
use super::unpack::{self, unpack};
use super::{Kernel, Segment, Start, check_board, elf};
use bytes::Bytes;
use ppckvm_fdt::blob::MAGIC;
use ppckvm_fdt::{Board, Patch, UserTree};
use std::path::Path;

/// `bl .+4`, and `bcl 20,31,.+4`, which newer wrappers have in its place.
const BRANCH_NEXT_AND_LINK: [u32; 2] = [0x4800_0005, 0x429F_0005];
/// `tdi 0,r0,0x48`, with which Linux's wrappers for 64-bit servers find out their byte order, and
/// through carelessness also its ePAPR wrapper for 32-bit boards.
const TDI: u32 = 0x0800_0048;
const MFLR_R10: u32 = 0x7D48_02A6;
/// `lis rX,-4`: the upper half of the addresses in the boot flash that a treeImage reads.
const LOAD_FLASH_ADDRESS: (u32, u32) = (0xFC1F_FFFF, 0x3C00_FFFC);

/// The wrapper's page size: what it carries starts at one.
const PAGE: u32 = 4096;

/// What a wrapper's heap may take after its bss: copies of the device tree, mostly.
const HEAP: u32 = 1 << 20;

/// A boot wrapper in memory.
pub(super) struct Wrapper {
    /// First address of its code.
    start: u32,
    /// First address after its bss; 0 where only running it tells.
    end: u32,
    own_stack: bool,
    reads_flash: bool,
    /// The device tree inside, and its offset in the wrapper.
    tree: Option<(usize, UserTree)>,
    payload: Option<Payload>,
}

/// The kernel inside.
struct Payload {
    compression: Option<Compression>,
    extent: elf::Extent,
}

/// Finds out whether `kernel` is a boot wrapper, and if so, what it needs. Its file is refused when
/// it is one for another board, or when it cannot work on any.
pub(super) fn recognise(kernel: &mut Kernel, source: &Source, ram: u32) -> Result<(), LoadError> {
    let error = |fault| LoadError::new(&kernel.file, fault);
    let wrapper = Wrapper::find(&kernel.segments, kernel.entry, source, ram);
    let Some(wrapper) = wrapper.map_err(error)? else {
        return Ok(());
    };
    wrapper.check(&kernel.file, ram)?;
    if let Some(segment) = kernel.segments.iter_mut().find(|s| s.gpa == wrapper.start) {
        segment.size = segment.size.max(wrapper.end.saturating_sub(wrapper.start));
        if let (true, Some((offset, tree))) = (wrapper.lacks_memory(), &wrapper.tree) {
            // On a board nothing does this: there it would stop before its first line.
            let mut bytes = segment.bytes.to_vec();
            let filled = wrapper.fill_tree(tree, &mut bytes[*offset..], ram);
            filled.map_err(error)?;
            segment.bytes = bytes.into();
        }
    }
    kernel.start = wrapper.start_kind();
    kernel.linux = true;
    kernel.slack = HEAP;
    kernel.unpacks_to = wrapper
        .payload
        .as_ref()
        .map_or(0, |payload| payload.extent.end);
    kernel.format = format!("{}, {}", kernel.format, wrapper.name());
    kernel.wrapper_tree = wrapper.tree.map(|(_, tree)| tree);
    Ok(())
}

/// Says what kind of wrapper the image is, and what it carries.
pub(super) fn describe(kernel: &Kernel, source: &Source, ram: u32) -> Option<Section> {
    let wrapper = Wrapper::find(&kernel.segments, kernel.entry, source, ram).ok()??;
    let mut section = Section::new(wrapper.name());
    if wrapper.end != 0 {
        let range = format!("{:#010x} to {:#010x}", wrapper.start, wrapper.end);
        section.field("memory", range);
    }
    if let Some((_, tree)) = &wrapper.tree {
        let mut inside = Section::new("device tree");
        inside.field("board", tree.compatible().join(", "));
        section.inside.push(inside);
    }
    if let Some(Payload {
        compression,
        extent,
    }) = &wrapper.payload
    {
        let mut inside = Section::new("vmlinux");
        let compression = compression.map_or("none".to_owned(), |known| known.to_string());
        inside.field("compression", compression);
        inside.field(
            "memory",
            format!("{:#010x} to {:#010x}", extent.start, extent.end),
        );
        section.inside.push(inside);
    }
    Some(section)
}

/// The address that a flat wrapper without any header is linked to, when its first instruction
/// leads to a wrapper's code.
pub(super) fn link_address(bytes: &[u8]) -> Option<u32> {
    let word = |offset: u32| {
        let bytes = bytes.get(offset as usize..)?.first_chunk::<4>()?;
        Some(u32::from_be_bytes(*bytes))
    };
    let mut at = 0;
    // From the head of the file, or through one branch.
    for _ in 0..2 {
        let link = word(at)?;
        if BRANCH_NEXT_AND_LINK.contains(&link) && word(at + 4)? == MFLR_R10 {
            return word(at.checked_sub(20)?);
        }
        at = at.checked_add(branch_distance(link)?)?;
    }
    let found = BRANCH_NEXT_AND_LINK.contains(&word(at)?) && word(at.checked_add(4)?)? == MFLR_R10;
    word(at.checked_sub(20)?).filter(|_| found)
}

/// How far an unconditional relative branch goes ahead.
fn branch_distance(instruction: u32) -> Option<u32> {
    let ahead = instruction & 0x01FF_FFFC;
    (instruction & 0xFE00_0003 == 0x4800_0000 && ahead != 0).then_some(ahead)
}

impl Wrapper {
    /// `source` is the file that the segments came from; the search costs from its budget.
    fn find(
        segments: &[Segment],
        entry: u32,
        source: &Source,
        ram: u32,
    ) -> Result<Option<Wrapper>, Fault> {
        let Some(segment) = segments
            .iter()
            .find(|s| s.gpa <= entry && u64::from(entry) < s.end())
        else {
            return Ok(None);
        };
        let word = |gpa: u32| {
            let bytes = segment
                .bytes
                .get(gpa.checked_sub(segment.gpa)? as usize..)?;
            Some(u32::from_be_bytes(*bytes.first_chunk::<4>()?))
        };
        if word(entry) == Some(TDI) {
            return Err(Fault::image(
                "the first instruction is tdi, which only 64-bit processors have: Linux builds \
                 its ePAPR zImage so, and no 440 can start it",
                "pass the uImage, vmlinux or cuImage of the same build",
            ));
        }
        let code_at = |at: u32| {
            let [first, second] = [word(at)?, word(at.checked_add(4)?)?];
            (BRANCH_NEXT_AND_LINK.contains(&first) && second == MFLR_R10).then_some(at)
        };
        let through_branch = || code_at(entry.checked_add(word(entry).and_then(branch_distance)?)?);
        let Some(code) = code_at(entry).or_else(through_branch) else {
            return Ok(None);
        };
        let before = |words: u32| word(code.checked_sub(4 * words)?);
        let (Some(start), Some(text_end), Some(bss), Some(end), Some(stack)) =
            (before(5), before(4), before(3), before(2), before(1))
        else {
            return Ok(None);
        };
        let in_order = start <= text_end && text_end <= bss && bss <= end;
        // A wrapper that relocates itself fills the words in when it runs.
        let relocates = start == 0 && text_end == 0;
        let plausible = relocates || start == segment.gpa && in_order;
        if !plausible {
            return Ok(None);
        }
        let text = &segment.bytes[..segment
            .bytes
            .len()
            .min(text_end.wrapping_sub(start) as usize)];
        let (mask, pattern) = LOAD_FLASH_ADDRESS;
        let reads_flash = text
            .as_chunks::<4>()
            .0
            .iter()
            .any(|word| u32::from_be_bytes(*word) & mask == pattern);
        let (offset, payload) = find_payload(&segment.bytes, source, ram)?;
        Ok(Some(Wrapper {
            start: segment.gpa,
            end: if relocates { 0 } else { end },
            own_stack: relocates || stack != 0,
            reads_flash,
            tree: find_tree(&segment.bytes[..offset], source)?,
            payload,
        }))
    }

    fn start_kind(&self) -> Start {
        match (&self.tree, self.own_stack) {
            (None, _) => Start::DeviceTree,
            (Some(_), false) => Start::Uboot,
            (Some(_), true) => Start::Nothing,
        }
    }

    fn name(&self) -> &'static str {
        match self.start_kind() {
            Start::DeviceTree => "boot wrapper for ePAPR",
            Start::Uboot => "boot wrapper for U-Boot (cuImage)",
            Start::Nothing if self.reads_flash => "boot wrapper for PIBS (treeImage)",
            Start::Nothing => "boot wrapper without firmware (simpleImage)",
        }
    }

    /// Refuses what would stop in the wrapper, or in the kernel before it can say why.
    fn check(&self, file: &Path, ram: u32) -> Result<(), LoadError> {
        let error = |fault| Err(LoadError::new(file, fault));
        if self.end > ram {
            let (start, end) = (self.start, self.end.into());
            return error(Fault::OutsideRam { start, end, ram });
        }
        if let Some(Payload { extent, .. }) = &self.payload {
            if extent.end > ram {
                let (start, end) = (extent.start, extent.end.into());
                return error(Fault::OutsideRam { start, end, ram });
            }
            if self.end != 0 && extent.filled > self.start {
                let reason = format!(
                    "the kernel inside reaches to {:#x}, over the boot wrapper at {:#x}",
                    extent.filled, self.start
                );
                return error(Fault::image(
                    reason,
                    "build the image again from this kernel",
                ));
            }
        }
        match &self.tree {
            Some((_, tree)) => check_board(file, tree),
            None => Ok(()),
        }
    }

    /// Whether the tree inside leaves memory to a firmware that a simpleImage does not have.
    fn lacks_memory(&self) -> bool {
        let Some((_, tree)) = &self.tree else {
            return false;
        };
        let memory = tree.tree().root.children.iter();
        let mut memory = memory.filter(|node| node.property("device_type") == Some(b"memory\0"));
        let has_bytes = |reg: Vec<u32>| reg.iter().any(|cell| *cell != 0);
        let told = memory.any(|node| node.cells("reg").is_some_and(has_bytes));
        self.start_kind() == Start::Nothing && !self.reads_flash && !told
    }

    /// Fills in what Linux's own tree for the board leaves open, in the blob at the head of `bytes`.
    fn fill_tree(&self, tree: &UserTree, bytes: &mut [u8], ram: u32) -> Result<(), Fault> {
        let no_room = || {
            let reason = "the device tree inside the simpleImage describes no memory, and has no \
                          room for it";
            let remedy = "write the memory size and the clocks into its dts and build it again, \
                          or pass the uImage or vmlinux of the same build";
            Fault::image(reason, remedy)
        };
        let patch = Patch {
            memory_bytes: ram,
            bootargs: None,
            initrd: None,
            clocks: Some(&Board::bamboo().clocks),
        };
        let filled = tree.patched(&patch).map_err(|error| {
            let remedy = "or pass the uImage or vmlinux of the same build";
            Fault::image(format!("the device tree inside: {error}"), remedy)
        })?;
        let total = bytes
            .get(4..)
            .and_then(|rest| rest.first_chunk::<4>())
            .map(|size| u32::from_be_bytes(*size) as usize);
        let place = total
            .and_then(|total| bytes.get_mut(..total))
            .filter(|p| p.len() >= filled.len());
        let place = place.ok_or_else(no_room)?;
        place.fill(0);
        place[..filled.len()].copy_from_slice(&filled);
        Ok(())
    }
}

/// The device tree in front of the kernel, and its offset.
fn find_tree(bytes: &[u8], source: &Source) -> Result<Option<(usize, UserTree)>, Fault> {
    source.budget().spend(bytes.len() as u64)?;
    for offset in (0..bytes.len()).step_by(8) {
        let rest = &bytes[offset..];
        if !rest.starts_with(&MAGIC.to_be_bytes()) {
            continue;
        }
        source.budget().guess("a device tree")?;
        let size = rest.get(4..).and_then(|rest| rest.first_chunk::<4>());
        let size = size.map_or(0, |size| u32::from_be_bytes(*size));
        source.budget().spend(size.into())?;
        if let Ok(tree) = UserTree::parse(rest) {
            return Ok(Some((offset, tree)));
        }
    }
    Ok(None)
}

/// How much of what is compressed is unpacked to find out whether it is a kernel.
const BEGINNING: u64 = 4096;

/// The kernel that a wrapper carries and its offset; without one, the offset is the end.
fn find_payload(
    bytes: &Bytes,
    source: &Source,
    ram: u32,
) -> Result<(usize, Option<Payload>), Fault> {
    let budget = source.budget();
    budget.spend(bytes.len() as u64)?;
    for offset in (0..bytes.len()).step_by(PAGE as usize) {
        let rest = bytes.slice(offset..);
        let compression = match detect(&rest[..rest.len().min(PREFIX)]) {
            Kind::Elf => None,
            Kind::Compressed(Compression::Lzo) => return Ok((offset, None)),
            Kind::Compressed(compression) => Some(compression),
            _ => continue,
        };
        budget.guess("a kernel")?;
        let kernel = match compression {
            None => rest,
            Some(known) => match unpack::beginning(known, &rest, BEGINNING, budget) {
                Ok(start) if detect(&start) != Kind::Elf => continue,
                Ok(_) => unpack(known, &rest, ram.into(), budget)?.into(),
                // Three bytes are no proof of LZMA.
                Err(_) if known == Compression::Lzma => continue,
                Err(fault) => return Err(fault),
            },
        };
        let inside = source.inside("vmlinux".into(), kernel);
        if let Some(extent) = inside.ok().and_then(|source| elf::extent(&source).ok()) {
            let payload = Payload {
                compression,
                extent,
            };
            return Ok((offset, Some(payload)));
        }
    }
    Ok((bytes.len(), None))
}
