//! What would help where something was refused, as data: each front end spells it in its own
//! options.

use std::fmt;

/// The remedy for something that was refused.
///
/// Printed, it names no option: a program around the library has none. The command adds its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// A remedy that no option of the machine's is for, in words.
    Words(&'static str),
    /// Name a kernel.
    GiveKernel,
    /// Give the guest more memory.
    MoreMemory,
    /// Pass the file as the device tree.
    PassAsDeviceTree,
    /// Pass the file as the initial RAM disk.
    PassAsInitrd,
    /// Say where a raw binary goes, or pass another file.
    GiveLoadAddress,
    /// Copy or build a damaged file again, or say where it goes as a raw binary.
    CopyOrGiveLoadAddress,
    /// Leave the load address out.
    LeaveOutLoadAddress,
    /// Leave the name of a configuration out.
    LeaveOutFitConfig,
    /// Name one of a FIT image's configurations.
    ChooseFitConfig,
    /// Leave the device tree out, or pass another kernel.
    LeaveOutDeviceTree,
    /// Leave the command line out, or pass another kernel.
    LeaveOutCommandLine,
    /// Attach a device over PCI, or leave one out.
    FreeMmioSlot,
    /// Attach a device over MMIO, or leave one out.
    FreePciSlot,
    /// Attach a device over PCI, or describe it in the device tree.
    AttachOverPci,
    /// Have of the sandbox what the host has a way for.
    TakeSandboxThereIs,
    /// Run without the sandbox.
    LeaveOutSandbox,
}

impl Remedy {
    /// All remedies that an option of the machine's is for.
    pub const OF_OPTIONS: [Remedy; 16] = [
        Remedy::GiveKernel,
        Remedy::MoreMemory,
        Remedy::PassAsDeviceTree,
        Remedy::PassAsInitrd,
        Remedy::GiveLoadAddress,
        Remedy::CopyOrGiveLoadAddress,
        Remedy::LeaveOutLoadAddress,
        Remedy::LeaveOutFitConfig,
        Remedy::ChooseFitConfig,
        Remedy::LeaveOutDeviceTree,
        Remedy::LeaveOutCommandLine,
        Remedy::FreeMmioSlot,
        Remedy::FreePciSlot,
        Remedy::AttachOverPci,
        Remedy::TakeSandboxThereIs,
        Remedy::LeaveOutSandbox,
    ];
}

impl From<&'static str> for Remedy {
    fn from(words: &'static str) -> Self {
        Remedy::Words(words)
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Remedy::Words(words) => words,
            Remedy::GiveKernel => "name one",
            Remedy::MoreMemory => "give the guest more memory",
            Remedy::PassAsDeviceTree => "pass it as the device tree",
            Remedy::PassAsInitrd => "pass it as the initrd",
            Remedy::GiveLoadAddress => {
                "pass a uImage, a FIT or a vmlinux, or say where a raw binary goes"
            }
            Remedy::CopyOrGiveLoadAddress => {
                "the file is corrupt, copy or build it again; a raw binary that only begins like a \
                 uImage needs a load address"
            }
            Remedy::LeaveOutLoadAddress => {
                "leave the load address out; it is for files without a header"
            }
            Remedy::LeaveOutFitConfig => {
                "leave the name of a configuration out; it is for FIT images"
            }
            Remedy::ChooseFitConfig => "choose one of these",
            Remedy::LeaveOutDeviceTree => {
                "leave the device tree out, or pass the uImage or vmlinux of the same build"
            }
            Remedy::LeaveOutCommandLine => {
                "leave the command line out, and edit the line when the boot wrapper shows it, or \
                 pass the uImage, vmlinux or cuImage of the same build"
            }
            Remedy::FreeMmioSlot => "attach a device over PCI, or leave one out",
            Remedy::FreePciSlot => "attach a device over MMIO, or leave one out",
            Remedy::AttachOverPci => {
                "attach it over PCI, or describe it in the tree as the generated tree does"
            }
            Remedy::TakeSandboxThereIs => "take what there is",
            Remedy::LeaveOutSandbox => "run without it",
        })
    }
}
