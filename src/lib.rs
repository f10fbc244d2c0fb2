//! Boots unmodified PowerPC 440 kernels: the launcher as a library.
//!
//! A [`Machine`] collects options and checks them all before anything starts; [`Machine::build`]
//! gives a [`Vm`], which runs on the caller's thread and returns an [`Outcome`]. Nothing here exits the
//! process, and many machines can live in one. Two things are the process's: a handler of SIGSEGV,
//! which passes on what is not its own, from the first machine with windows on ([`Machine::windows`]);
//! and how many pages the windows of all machines may show together.
//!
//! # Example
//!
//! A guest of four instructions that prints a letter on its serial port and resets the board:
//!
//! ```
//! use ppckvm::{Machine, Outcome, ResetKind};
//!
//! let program: [u32; 6] = [
//!     0x3C60_EF60, // lis   r3,0xEF60       UART0 is at 0xEF600300
//!     0x3880_0021, // li    r4,'!'
//!     0x9883_0300, // stb   r4,0x300(r3)    transmit
//!     0x3CA0_3000, // lis   r5,0x3000       DBCR0[RST] = system
//!     0x7CB4_4BA6, // mtspr DBCR0,r5
//!     0x4800_0000, // b     .
//! ];
//! let bytes = program.iter().flat_map(|word| word.to_be_bytes()).collect();
//!
//! let mut vm = Machine::new().program(0, bytes).build()?;
//! assert_eq!(vm.run(), Outcome::Reset(ResetKind::System));
//! assert_eq!(vm.output(), b"!");
//! # Ok::<(), ppckvm::BuildError>(())
//! ```
//!
//! A kernel, driven like a terminal (needs files, so it is not run here):
//!
//! ```no_run
//! use ppckvm::{Machine, Reached, Until};
//! use std::time::Duration;
//!
//! let mut vm = Machine::new().kernel("uImage").initrd("rootfs.cpio.gz").build()?;
//! let prompt = Until::text("# ").within(Duration::from_secs(60));
//! assert_eq!(vm.run_until(prompt), Reached::Text);
//! vm.write("uname -m\n");
//! assert_eq!(vm.run_until(prompt), Reached::Text);
//! print!("{}", vm.output_text());
//! # Ok::<(), ppckvm::BuildError>(())
//! ```
#![forbid(unsafe_code)]
// A test that unwraps what must be there fails at the right line.
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(feature = "control")]
pub mod control;
mod host;
pub mod loader;
mod machine;
mod printable;
mod remedy;
pub mod testing;
mod vm;

pub use host::block::{
    Backing as DiskBacking, Disk, DiskError, DiskFault, Foreign as ForeignDisk,
    Format as DiskFormat, MemoryDisk, ParseBackingError, ParseFormatError, SerialNumberError,
};
pub use host::console::{ConsoleInput, ConsoleOutput};
pub use host::net::{
    ForwardError, ForwardedPort, FrameEnd, FramePort, HostForward, Mac, Net, NetError, Network,
    ParseForwardError, ParseMacError, Protocol, SendError, UserNet, frame_queues,
};
pub use host::sandbox::{Confinement, InForce, ParseSandboxError, Role, Sandbox, SandboxError};
pub use host::serial::{Console, EscapeKey, ParseSerialError, Serial, SerialError};
pub use host::share::{FolderError, Share, ShareError};
pub use host::vsock::{Vsock, VsockError};
pub use loader::{BootError, BootSpec, Image};
pub use machine::Machine;
pub use machine::custom::Wiring;
pub use machine::error::{AttachError, BuildError};
pub use machine::inspect::{BootPlan, Inspection};
#[cfg(feature = "config")]
pub use machine::keys::config_file::{ConfigError, ConfigFault, ConfigFile};
#[cfg(feature = "config")]
pub use machine::keys::{NotWritable, OptionError};
pub use machine::spec::device::{Device, DeviceSpec};
pub use machine::spec::memory_size::{MemorySize, SizeError};
pub use machine::spec::place::{Bus, ParseBusError, Place};
pub use machine::spec::{Accel, Clock, Cpu, Spec};
/// The options that there are, as tables from which a command, its help and its manual are made.
#[cfg(feature = "config")]
pub mod keys {
    pub use crate::machine::keys::devices::{DEVICES, RNG, read, read_rng, write, write_rng};
    pub use crate::machine::keys::manual::{
        by_name, key_lines, markdown, settings_markdown, usage,
    };
    pub use crate::machine::keys::settings::{BOOT, RUN, SETTINGS, check};
    pub use crate::machine::keys::{Choice, Key, KeyList, Table, Takes};
}
pub use printable::Printable;
pub use remedy::Remedy;
pub use vm::control::{Phase, RunEvent, Status, Stopper};
pub use vm::outcome::{Hang, OnPanic, OnReset, OnStandstill, Outcome, Standstills};
pub use vm::postmortem::{self, PostMortem};
pub use vm::remote::{CallError, Remote};
pub use vm::report::{Activity, LostOutput, Report};
pub use vm::run::UNANSWERED;
pub use vm::window::ConsoleWindow;
pub use vm::{MemoryAccessError, Reached, Until, Vm};

pub use ppckvm_api::{
    Access, Cause, GuestMemory, InterruptLog, KvmRegs, ResetKind, State, Statistics, Stats, Stuck,
    Tlbe, Translation,
};
pub use ppckvm_devices::virtio::balloon::Target as BalloonTarget;
pub use ppckvm_devices::virtio::console::WindowSize;
pub use ppckvm_devices::{AccessError, DcrDevice, IrqLine, IrqSink, MmioDevice, Reset};
/// The types that an embedder's virtio device is made of, see [`Machine::virtio_device`].
pub mod virtio_device {
    pub use ppckvm_devices::virtio::{
        Activation, ByteOrder, Chain, Interrupt, Queue, QueueError, Reader, VirtioDevice, Writer,
        read_fields,
    };
}
pub use ppckvm_fdt::board::{Controller, Interrupt, MmioRange, Trigger};
pub use ppckvm_fdt::{Board, Node, Property, Tree, UserTree, device_node};

/// Errors of the crates below, which errors of this one hold.
pub mod errors {
    pub use ppckvm_api::{OpenError, VmError};
    pub use ppckvm_devices::bus::RegisterError;
    pub use ppckvm_devices::sdram::BankError;
    pub use ppckvm_devices::virtio::pci::NoLegacy;
    pub use ppckvm_fdt::TreeError;
    pub use ppckvm_fdt::blob::BlobFault;
    pub use ppckvm_fdt::overlay::OverlayError;
    pub use ppckvm_fdt::patch::PatchError;
}

// Their types are in signatures: `GuestMemory` is read and written through `vm_memory`'s traits, and
// parts of an image are `Bytes`.
pub use {bytes, vm_memory};
