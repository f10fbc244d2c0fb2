//! Where everything goes in guest memory, and the registers that the guest starts with.
//!
//! The kernel goes where its file says. The initrd goes as high as Linux can reach it early, the
//! device tree just below it, where the first mapping of the kernel covers it. Both move down
//! past whatever the kernel occupies; nothing is ever placed over anything else.
//!
//! A boot wrapper with a device tree of its own gets none. One for U-Boot finds what U-Boot leaves:
//! board information, command line and stack in the last megabyte of RAM, which such a wrapper
//! keeps its heap out of.

use super::bd::{self, Firmware};
use super::bounds::Bounds;
use super::error::{Fault, LoadError, Slack};
use super::{Initrd, Kernel, Segment, Start, dtb_from_bytes};
use crate::remedy::Remedy;
use ppckvm_fdt::UserTree;
use std::path::{Path, PathBuf};

/// The memory that Linux maps of itself first, from address 0, in bytes: the size of one TLB entry.
/// A device tree lies below. When the guest starts, all 4 GiB are mapped one to one.
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

/// What U-Boot occupies at the end of RAM when it starts a kernel.
const UBOOT: u32 = 1 << 20;

/// The stack pointer that QEMU gives this board's programs.
const STACK_TOP: u32 = 16 << 20;

/// The tree and the command line that the user gives the kernel.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// A device tree to use in place of any other, with its name for messages.
    pub tree: Option<(PathBuf, UserTree)>,
    /// The command line; `None` leaves the tree's own.
    pub bootargs: Option<String>,
}

/// Kernel and initrd with their places; the device tree is still missing, because it tells the
/// guest where the initrd is.
#[derive(Clone, Debug)]
pub struct Plan {
    kernel: Kernel,
    initrd: Option<Segment>,
    /// The user's device tree, or the one that came with the kernel.
    tree: Option<(PathBuf, UserTree)>,
    bounds: Bounds,
    ram: u32,
}

/// All that guest memory and the vcpu must hold when the guest starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The bytes that go into memory; no two segments overlap, and all are inside RAM.
    pub segments: Vec<Segment>,
    /// The vcpu's registers.
    pub registers: BootRegisters,
}

/// The registers that are not 0 when the guest starts; MSR is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootRegisters {
    /// The program counter: the kernel's entry point, a physical address.
    pub pc: u32,
    /// The top of a small stack, in r1, as QEMU sets it; Linux makes its own.
    pub r1: u32,
    /// The physical address of the device tree, or of U-Boot's board information, in r3.
    pub r3: u32,
    /// The first address of the initrd, in r4, where U-Boot passes it.
    pub r4: u32,
    /// The first address after the initrd, in r5, where U-Boot passes it.
    pub r5: u32,
    /// The magic number of ePAPR, or the first address of U-Boot's command line, in r6.
    pub r6: u32,
    /// The number of bytes from address 0 that are RAM and mapped one to one, or the first address
    /// after U-Boot's command line, in r7.
    pub r7: u32,
}

impl Plan {
    /// Chooses a place for the initrd; `ram` is the guest's memory in bytes.
    ///
    /// # Errors
    /// What has no room, a tree that is no board's of this kind, an initrd that the kernel cannot
    /// use, or a command line that is too long.
    pub fn new(
        kernel: Kernel,
        initrd: Option<Initrd>,
        told: Told,
        ram: u32,
    ) -> Result<Plan, LoadError> {
        let tree = match (told.tree, &kernel.tree) {
            (None, Some((name, bytes))) => Some((name.clone(), dtb_from_bytes(name, bytes)?)),
            (tree, _) => tree,
        };
        let bounds = bounds(&kernel, tree.as_ref(), told.bootargs.as_deref(), ram)?;
        let mut plan = Plan {
            kernel,
            initrd: None,
            tree,
            bounds,
            ram,
        };
        if let Some(initrd) = initrd {
            if plan.kernel.linux {
                initrd.check_for_linux(ram)?;
            }
            let Initrd { file, bytes } = initrd;
            let end = plan.bounds.end(ram);
            let top = match plan.kernel.start {
                Start::DeviceTree => end.min(INITRD_TOP),
                Start::Uboot => ram.saturating_sub(UBOOT).min(INITRD_TOP).min(end),
                Start::Nothing => {
                    let fault = Fault::image(
                        format!(
                            "the kernel {} takes no initrd from outside",
                            plan.kernel.file.display()
                        ),
                        "build it in with 'make treeImage.initrd.bamboo', or pass the uImage, \
                         vmlinux or cuImage of the same build",
                    );
                    return Err(LoadError::new(&file, fault));
                }
            };
            let gpa = plan.find("initrd", bytes.len(), top, PAGE);
            let gpa = gpa.map_err(|fault| LoadError::new(&file, fault))?;
            plan.initrd = Some(Segment::of_bytes(gpa, bytes).holding("initrd"));
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

    /// The device tree that the kernel gets in place of the generated one, with its name.
    pub fn tree(&self) -> Option<&(PathBuf, UserTree)> {
        self.tree.as_ref()
    }

    /// Chooses a place for the device tree, and returns all that memory and the vcpu must hold.
    pub fn finish(self, fdt: Vec<u8>) -> Result<Placement, LoadError> {
        let end = self.bounds.end(self.ram);
        let below = self.initrd.as_ref().map_or(end, |initrd| initrd.gpa);
        let top = below.min(INITIAL_MAPPING);
        let gpa = self.find("device tree", fdt.len(), top, FDT_ALIGNMENT);
        let gpa = gpa.map_err(|fault| LoadError::new(&self.kernel.file, fault))?;
        let registers = BootRegisters {
            pc: self.kernel.entry,
            r1: self.ram.min(STACK_TOP).saturating_sub(8),
            r3: gpa,
            r6: EPAPR_MAGIC,
            r7: self.ram.min(INITIAL_MAPPING),
            ..BootRegisters::default()
        };
        let mut segments = self.kernel.segments;
        segments.extend(self.kernel.loadables);
        segments.extend(self.initrd);
        segments.push(Segment::of_bytes(gpa, fdt).holding("device tree"));
        Ok(Placement {
            segments,
            registers,
        })
    }

    /// Places what firmware leaves for a kernel that takes no device tree; see [`Start`].
    ///
    /// # Errors
    /// A command line, or a device tree of the user's (`dtb`, its name), that cannot be passed on.
    pub fn finish_without_tree(
        self,
        firmware: &Firmware<'_>,
        dtb: Option<&Path>,
    ) -> Result<Placement, LoadError> {
        if let Some(dtb) = dtb {
            let fault = Fault::image(
                format!(
                    "the kernel {} has a device tree inside and takes no other",
                    self.kernel.file.display()
                ),
                Remedy::LeaveOutDeviceTree,
            );
            return Err(LoadError::new(dtb, fault));
        }
        let mut registers = BootRegisters {
            pc: self.kernel.entry,
            r1: self.ram.min(STACK_TOP).saturating_sub(8),
            ..BootRegisters::default()
        };
        let initrd = self.initrd_range();
        let mut segments = self.kernel.segments.clone();
        segments.extend(self.kernel.loadables.iter().cloned());
        if self.kernel.start == Start::Uboot {
            let info = bd::board_info(firmware, self.ram);
            let mut command_line = firmware.bootargs.unwrap_or_default().as_bytes().to_vec();
            if !command_line.is_empty() {
                command_line.push(0);
            }
            let mut top = self.ram;
            let mut put = |what, bytes: Vec<u8>| {
                let start = self.find(what, bytes.len(), top, 16);
                let start = start.map_err(|fault| LoadError::new(&self.kernel.file, fault))?;
                top = start;
                let end = start + u32::try_from(bytes.len()).expect("there was room for them");
                segments.push(Segment::of_bytes(start, bytes).holding(what));
                Ok((start, end))
            };
            (registers.r3, _) = put("board information", info)?;
            if !command_line.is_empty() {
                (registers.r6, registers.r7) = put("command line", command_line)?;
            }
            (registers.r4, registers.r5) = initrd.unwrap_or_default();
            // Room for the caller's frame, whose back chain is 0.
            registers.r1 = top - 16;
        } else if firmware.bootargs.is_some() {
            let fault = Fault::image(
                "this kernel takes no command line from outside, only from the device tree inside",
                Remedy::LeaveOutCommandLine,
            );
            return Err(LoadError::new(&self.kernel.file, fault));
        }
        segments.extend(self.initrd);
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
            bounds: self.bounds.describe().into(),
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
        let unpacked = (self.kernel.unpacks_to > 0).then_some((0, self.kernel.unpacks_to.into()));
        let others = self.kernel.loadables.iter().chain(&self.initrd);
        kernel
            .chain(unpacked)
            .chain(others.map(|s| (s.gpa, s.end())))
            .chain(self.bounds.kept())
    }
}

/// What the tree that the kernel is given, and the command line that it ends up with, keep.
fn bounds(
    kernel: &Kernel,
    tree: Option<&(PathBuf, UserTree)>,
    bootargs: Option<&str>,
    ram: u32,
) -> Result<Bounds, LoadError> {
    let tree = match kernel.start {
        Start::DeviceTree => tree.map(|(_, tree)| tree),
        Start::Uboot | Start::Nothing => kernel.wrapper_tree.as_ref(),
    };
    let of_tree = || {
        tree.and_then(UserTree::bootargs)
            .map(|line| line.into_owned())
    };
    let bootargs = bootargs.map(str::to_owned).or_else(of_tree);
    let mut line = bootargs.unwrap_or_default();
    if let Some(config) = &kernel.config {
        line = config.command_line(&line);
    }
    let bounds = Bounds::new(&kernel.file, tree, &line, ram)?;
    let ends = kernel.segments.iter().map(Segment::end);
    let end = ends.max().unwrap_or(0).max(kernel.unpacks_to.into());
    bounds.check_kernel(&kernel.file, end, &kernel.extent())?;
    Ok(bounds)
}
