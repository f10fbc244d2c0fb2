//! Why no machine can be built.

use std::path::PathBuf;

use ppckvm_api::{OpenError, VmError};
use ppckvm_devices::bus::RegisterError;
use ppckvm_devices::sdram::BankError;
use ppckvm_fdt::board::Controller;

use crate::host::block::DiskError;
use crate::host::net::NetError;
use crate::host::sandbox::SandboxError;
use crate::host::serial::SerialError;
use crate::host::share::ShareError;
use crate::host::vsock::VsockError;
use crate::loader::symbols::SymbolsError;
use crate::loader::{BootError, LoadError};
use crate::remedy::Remedy;

/// A machine that cannot be built; nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A file, a program or a device tree keeps the machine from booting.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The board cannot have memory of this size.
    #[error(transparent)]
    Memory(#[from] BankError),
    /// The core that was asked for is not there.
    #[error(transparent)]
    Accel(#[from] OpenError),
    /// A device cannot be where it was put.
    #[error(transparent)]
    Device(#[from] RegisterError),
    /// A device of the embedder's lies in RAM.
    #[error(
        "{name} at {base:#x} lies in ram, which ends at {ram:#x}; move it above or give less memory"
    )]
    DeviceInRam {
        /// The device.
        name: String,
        /// The device's first address.
        base: u32,
        /// The first address after RAM.
        ram: u32,
    },
    /// A device of the embedder's is on an input that does not exist.
    #[error("{name} wants interrupt input {input}, and a controller has inputs 0 to 31")]
    Interrupt {
        /// The device.
        name: String,
        /// The input.
        input: u8,
    },
    /// A device of the embedder's is on an input that another device has.
    #[error(
        "{name} wants input {input} of {controller:?}, which is {owner}'s; take one of \
         `Board::FREE_INPUTS`"
    )]
    InterruptTaken {
        /// The embedder's device.
        name: String,
        /// The interrupt controller.
        controller: Controller,
        /// The controller's input, 0 to 31.
        input: u8,
        /// The device that has the input.
        owner: &'static str,
    },
    /// The CPU cannot be made.
    #[error(transparent)]
    Vcpu(#[from] VmError),
    /// A serial port's destination cannot be used.
    #[error(transparent)]
    Serial(#[from] SerialError),
    /// A file has no symbols that can be read.
    #[error(transparent)]
    Symbols(#[from] SymbolsError),
    /// A disk cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A virtio device has no place.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A network cannot be used.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A folder cannot be shared.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// A socket device cannot be made.
    #[error(transparent)]
    Vsock(#[from] VsockError),
    /// A sandbox that cannot be had.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The host has not enough of something.
    #[error("the host gives no {what}: {error}{}", remedy(error))]
    Host {
        /// The thing that was asked for.
        what: &'static str,
        /// The host's error.
        error: std::io::Error,
    },
}

impl BuildError {
    /// Returns what would help, where an option of the machine's or something outside it does; the
    /// message ends with it.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            BuildError::Boot(error) => error.remedy(),
            BuildError::Attach(error) => error.remedy(),
            BuildError::Sandbox(SandboxError::Missing(_)) => Some(Remedy::TakeSandboxThereIs),
            BuildError::Sandbox(error) if !error.is_limit() => Some(Remedy::LeaveOutSandbox),
            _ => None,
        }
    }
}

impl From<LoadError> for BuildError {
    fn from(error: LoadError) -> Self {
        BuildError::Boot(error.into())
    }
}

/// A device that cannot be attached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// All virtio-mmio slots are taken.
    #[error(
        "no virtio-mmio slot is left for {name}: the board has {slots}; {}",
        Remedy::FreeMmioSlot
    )]
    NoMmioSlot {
        /// The device.
        name: String,
        /// The number of slots.
        slots: usize,
    },
    /// All PCI slots are taken.
    #[error(
        "no PCI slot is left for {name}: the board has {slots}; {}",
        Remedy::FreePciSlot
    )]
    NoPciSlot {
        /// The device.
        name: String,
        /// The number of slots.
        slots: usize,
    },
    /// A device on MMIO is not described by the user's or the kernel's device tree.
    #[error(
        "{name} is on mmio, and the device tree {} describes {described} virtio,mmio devices, so the \
         guest would not find it; {}", .file.display(), Remedy::AttachOverPci
    )]
    NotInTree {
        /// The first device that is not found.
        name: String,
        /// The tree's file.
        file: PathBuf,
        /// The number of devices that the tree describes.
        described: usize,
    },
    /// A node that was added for the generated tree is missing from the user's or the kernel's own.
    #[error(
        "the device tree {} has no node {node}, so the guest would not find its device; add the node \
         to it", .file.display()
    )]
    NodeNotInTree {
        /// The node's path.
        node: String,
        /// The tree's file.
        file: PathBuf,
    },
    /// A device has no legacy interface, and one was asked for.
    #[error("{name}: {error}")]
    NoLegacy {
        /// The device.
        name: String,
        /// The reason.
        error: ppckvm_devices::virtio::pci::NoLegacy,
    },
}

impl AttachError {
    /// Returns what would help, where an option of the machine's does.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            AttachError::NoMmioSlot { .. } => Some(Remedy::FreeMmioSlot),
            AttachError::NoPciSlot { .. } => Some(Remedy::FreePciSlot),
            AttachError::NotInTree { .. } => Some(Remedy::AttachOverPci),
            AttachError::NodeNotInTree { .. } | AttachError::NoLegacy { .. } => None,
        }
    }
}

/// What to do about a limit of the host's that an error comes from, if it is one.
fn remedy(error: &std::io::Error) -> &'static str {
    match error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error)
    {
        Some(rustix::io::Errno::MFILE) => "; allow the process more open files, with ulimit -n",
        Some(rustix::io::Errno::FBIG) => "; allow the process larger files, with ulimit -f",
        _ => "",
    }
}
