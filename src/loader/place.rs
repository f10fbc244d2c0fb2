//! Where everything goes in guest memory, and the registers that the guest starts with.
//!
//! The kernel goes where its file says. The initrd goes as high as Linux can reach it early, the
//! device tree just below it, where the first mapping of the kernel covers it. Both move down
//! past whatever the kernel occupies; nothing is ever placed over anything else.

use super::error::{Fault, LoadError, Slack};
use super::{Initrd, Kernel, Segment};

/// What the vcpu must map before the guest starts, one to one from address 0, in bytes: the size
/// of one TLB entry, which is also what Linux maps first of itself.
pub const INITIAL_MAPPING: u32 = 256 << 20;

/// An initrd above this address would lie outside the memory that Linux maps for itself on a
/// machine with much RAM.
const INITRD_TOP: u32 = 512 << 20;

/// The page size of the guest; an initrd that shares no page can be freed whole.
const PAGE: u32 = 4096;

/// What a device tree must be aligned to.
const FDT_ALIGNMENT: u32 = 8;

/// The magic number of an ePAPR boot program for Book E, in r6. Linux ignores it, and the boot
/// wrappers that read it find the registers as they want them.
const EPAPR_MAGIC: u32 = 0x4550_4150;

/// The stack pointer that QEMU gives this board's programs.
const STACK_TOP: u32 = 16 << 20;

/// Kernel and initrd with their places; the device tree is still missing, because it tells the
/// guest where the initrd is.
#[derive(Clone, Debug)]
pub struct Plan {
    kernel: Kernel,
    initrd: Option<Segment>,
    ram: u32,
}

/// All that guest memory and the vcpu must hold when the guest starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// What goes into memory; no two overlap, and all are inside RAM.
    pub segments: Vec<Segment>,
    /// The vcpu's registers.
    pub registers: BootRegisters,
}

/// The registers that are not 0 when the guest starts. MSR is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootRegisters {
    /// Program counter: the kernel's entry point, a physical address.
    pub pc: u32,
    /// r1: the top of a small stack, as QEMU sets it; Linux makes its own.
    pub r1: u32,
    /// r3: physical address of the device tree.
    pub r3: u32,
    /// r6: ePAPR's magic number.
    pub r6: u32,
    /// r7: how many bytes from address 0 are RAM and mapped one to one.
    pub r7: u32,
}

impl Plan {
    /// Gives the initrd its place; `ram` is the guest's memory in bytes.
    pub fn new(kernel: Kernel, initrd: Option<Initrd>, ram: u32) -> Result<Plan, LoadError> {
        let mut plan = Plan {
            kernel,
            initrd: None,
            ram,
        };
        if let Some(Initrd { file, bytes }) = initrd {
            let top = ram.min(INITRD_TOP);
            let gpa = plan.find("initrd", bytes.len(), top, PAGE);
            let gpa = gpa.map_err(|fault| LoadError::new(&file, fault))?;
            plan.initrd = Some(Segment::of_bytes(gpa, bytes));
        }
        Ok(plan)
    }

    /// The initrd's first address and the first one after it, for the device tree.
    pub fn initrd_range(&self) -> Option<(u32, u32)> {
        self.initrd
            .as_ref()
            .map(|initrd| (initrd.gpa, initrd.gpa + initrd.size))
    }

    /// The kernel that the plan is for.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Gives the device tree its place.
    pub fn finish(self, fdt: Vec<u8>) -> Result<Placement, LoadError> {
        let below = self.initrd.as_ref().map_or(self.ram, |initrd| initrd.gpa);
        let top = below.min(INITIAL_MAPPING);
        let gpa = self.find("device tree", fdt.len(), top, FDT_ALIGNMENT);
        let gpa = gpa.map_err(|fault| LoadError::new(&self.kernel.file, fault))?;
        let registers = BootRegisters {
            pc: self.kernel.entry,
            r1: self.ram.min(STACK_TOP).saturating_sub(8),
            r3: gpa,
            r6: EPAPR_MAGIC,
            r7: self.ram.min(INITIAL_MAPPING),
        };
        let mut segments = self.kernel.segments;
        segments.extend(self.initrd);
        segments.push(Segment::of_bytes(gpa, fdt));
        Ok(Placement {
            segments,
            registers,
        })
    }

    /// The highest aligned address for `len` bytes that end at or below `top`, clear of the
    /// kernel, the room kept after it, and the initrd.
    fn find(&self, what: &'static str, len: usize, top: u32, align: u32) -> Result<u32, Fault> {
        let size = len as u64;
        let no_room = || Fault::NoRoom {
            what,
            size,
            top,
            ram: self.ram,
            kernel: self.kernel.extent(),
            slack: Slack(self.kernel.slack),
        };
        let len = u32::try_from(len).map_err(|_| no_room())?;
        let mut end = top;
        loop {
            let start = end.checked_sub(len).ok_or_else(no_room)? / align * align;
            // Each round ends lower than the one before, at something that was in the way.
            match self
                .occupied()
                .find(|(from, to)| u64::from(start) < *to && end > *from)
            {
                Some((from, _)) => end = from,
                None => return Ok(start),
            }
        }
    }

    /// Addresses in use: first, and first after.
    fn occupied(&self) -> impl Iterator<Item = (u32, u64)> {
        let slack = u64::from(self.kernel.slack);
        let kernel = self
            .kernel
            .segments
            .iter()
            .map(move |s| (s.gpa, s.end() + slack));
        kernel.chain(self.initrd.iter().map(|s| (s.gpa, s.end())))
    }
}
