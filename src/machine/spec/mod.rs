//! A whole machine as plain data. The builder, the command line, configuration files and tests all
//! make a [`Spec`]; what cannot be data, such as open files and closures, the builder adds.

pub(crate) mod device;
pub(crate) mod memory_size;
pub(crate) mod place;

use std::path::PathBuf;
use std::time::Duration;

pub use ppckvm_api::{Accel, Clock};

use crate::host::serial::{EscapeKey, Serial};
use crate::loader::BootSpec;
use crate::machine::spec::device::DeviceSpec;
use crate::machine::spec::memory_size::MemorySize;
use crate::machine::spec::place::Place;
use crate::vm::outcome::{OnPanic, OnReset, Standstills};

/// The engine that executes guest instructions in the in-process core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cpu {
    /// The fastest that this build has for this host.
    #[default]
    Auto,
    /// The interpreter, which every host has.
    Interp,
    /// The translator to host code.
    Jit,
}

/// A whole machine: what it boots, its size, its devices in order, and what ends its run.
///
/// ```
/// use ppckvm::{Disk, Image, Machine, OnReset, Place, Spec};
///
/// let mut spec = Spec::default();
/// spec.boot.kernel = Some(Image::File("uImage".into()));
/// spec.on_reset = OnReset::Reboot;
/// spec.devices.push(Disk::file("root.img").at(Place::PCI));
/// let machine = Machine::from_spec(spec);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Kernel, initrd, command line and device tree.
    pub boot: BootSpec,
    /// RAM from guest physical address 0.
    pub memory: MemorySize,
    /// The place where the core runs.
    pub accel: Accel,
    /// The engine that executes instructions.
    pub cpu: Cpu,
    /// Whether translated code may use windows, which take a handler of SIGSEGV.
    pub windows: bool,
    /// The clock that drives the time base.
    pub clock: Clock,
    /// The effect of a reset.
    pub on_reset: OnReset,
    /// The effect of a panic of the guest's kernel.
    pub on_panic: OnPanic,
    /// What it does that the guest stands still for good.
    pub standstills: Standstills,
    /// The kernel's symbols: an ELF file with a symbol table, or a `System.map`. Without them, those
    /// of a kernel that is an ELF file are used.
    pub symbols: Option<PathBuf>,
    /// The time that the guest may run, from its first instruction on.
    pub timeout: Option<Duration>,
    /// Whether time per cause is measured, which slows the guest down a little.
    pub timed: bool,
    /// The destinations of UART0, UART1 and so on; ports beyond the list are unconnected.
    pub serial: Vec<Serial>,
    /// A file that has everything that the console prints too: the port that has standard output, or
    /// UART0 where none has. It is emptied first.
    pub console_log: Option<PathBuf>,
    /// Whether `Ctrl-a` in standard input is for the launcher.
    pub escape: EscapeKey,
    /// Virtio devices in the order of their slots.
    pub devices: Vec<DeviceSpec>,
    /// The place of the guest's entropy device, if it has one; its slot is after all others.
    pub rng: Option<Place>,
}

impl Default for Spec {
    fn default() -> Self {
        Spec {
            boot: BootSpec::default(),
            memory: MemorySize::from_bytes(256 << 20),
            accel: Accel::Auto,
            cpu: Cpu::Auto,
            windows: true,
            clock: Clock::Host,
            on_reset: OnReset::Exit,
            on_panic: OnPanic::Exit,
            standstills: Standstills::default(),
            symbols: None,
            timeout: None,
            timed: false,
            serial: Vec::new(),
            console_log: None,
            escape: EscapeKey::Auto,
            devices: Vec::new(),
            rng: Some(Place::default()),
        }
    }
}

impl Spec {
    /// RAM in bytes, for a size that the board was found to have, which is at most 1 GiB.
    pub(crate) fn ram_bytes(&self) -> u32 {
        u32::try_from(self.memory.bytes()).unwrap_or(u32::MAX)
    }
}
