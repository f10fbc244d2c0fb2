//! Why no machine can be built.

use std::path::PathBuf;

use ppckvm_api::{OpenError, VmError};
use ppckvm_devices::bus::RegisterError;
use ppckvm_devices::sdram::BankError;
use ppckvm_fdt::board::Controller;

use crate::host::block::DiskError;
use crate::host::net::NetError;
use crate::host::serial::SerialError;
use crate::host::share::ShareError;
use crate::host::vsock::VsockError;
use crate::loader::symbols::SymbolsError;
use crate::loader::{BootError, LoadError};
use crate::remedy::Remedy;

/// Why no machine can be built. Nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Nothing that can be booted: a file, a program or a device tree.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// A memory size that the board cannot have.
    #[error(transparent)]
    Memory(#[from] BankError),
    /// No core where one was asked for.
    #[error(transparent)]
    Accel(#[from] OpenError),
    /// A device that cannot be where it was put.
    #[error(transparent)]
    Device(#[from] RegisterError),
    /// A device of the embedder's in RAM.
    #[error(
        "{name} at {base:#x} lies in ram, which ends at {ram:#x}; move it above or give less memory"
    )]
    DeviceInRam {
        /// The device.
        name: String,
        /// Its first address.
        base: u32,
        /// First address after RAM.
        ram: u32,
    },
    /// A device of the embedder's on an input that does not exist.
    #[error("{name} wants interrupt input {input}, and a controller has inputs 0 to 31")]
    Interrupt {
        /// The device.
        name: String,
        /// The input.
        input: u8,
    },
    /// A device of the embedder's on an input that another device has.
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
    /// A serial port's destination.
    #[error(transparent)]
    Serial(#[from] SerialError),
    /// A file that gives no symbols.
    #[error(transparent)]
    Symbols(#[from] SymbolsError),
    /// A disk that cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A virtio device that has no place.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A network that cannot be used.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A folder that cannot be shared.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// A socket device that there cannot be.
    #[error(transparent)]
    Vsock(#[from] VsockError),
    /// The host has not enough of something.
    #[error("the host gives no {what}: {error}{}", remedy(error))]
    Host {
        /// What was asked for.
        what: &'static str,
        /// What the host said.
        error: std::io::Error,
    },
}

impl BuildError {
    /// What would help, where an option of the machine's or something outside it does; the message
    /// ends with it.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            BuildError::Boot(error) => error.remedy(),
            BuildError::Attach(error) => error.remedy(),
            _ => None,
        }
    }
}

impl From<LoadError> for BuildError {
    fn from(error: LoadError) -> Self {
        BuildError::Boot(error.into())
    }
}

/// Why a device cannot be attached.
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
        /// How many slots there are.
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
        /// How many slots there are.
        slots: usize,
    },
    /// A device on MMIO that the user's or the kernel's device tree does not describe.
    #[error(
        "{name} is on mmio, and the device tree {} describes {described} virtio,mmio devices, so the \
         guest would not find it; {}", .file.display(), Remedy::AttachOverPci
    )]
    NotInTree {
        /// The first device that is not found.
        name: String,
        /// The tree.
        file: PathBuf,
        /// How many it describes.
        described: usize,
    },
    /// A legacy interface that does not exist.
    #[error("{name}: {error}")]
    NoLegacy {
        /// The device.
        name: String,
        /// Why.
        error: ppckvm_devices::virtio::pci::NoLegacy,
    },
}

impl AttachError {
    /// What would help, where an option of the machine's does.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            AttachError::NoMmioSlot { .. } => Some(Remedy::FreeMmioSlot),
            AttachError::NoPciSlot { .. } => Some(Remedy::FreePciSlot),
            AttachError::NotInTree { .. } => Some(Remedy::AttachOverPci),
            AttachError::NoLegacy { .. } => None,
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
