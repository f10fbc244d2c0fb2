//! The builder: options in, a machine that is ready to run out, or one clear error.

pub(crate) mod assemble;
pub(crate) mod inspect;
pub(crate) mod keys;
pub(crate) mod spec;
pub(crate) mod virtio;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ppckvm_api::{Accel, Clock, GuestMemory, OpenError, VmError};
use ppckvm_devices::bus::RegisterError;
use ppckvm_devices::sdram::BankError;
use ppckvm_devices::{DcrDevice, IrqLine, MmioDevice};
use ppckvm_fdt::TooLarge;
use ppckvm_fdt::board::{DcrRange, Interrupt, Window};
use ppckvm_fdt::patch::PatchError;
use ppckvm_fdt::tree::TreeError;

use crate::host::block::DiskError;
use crate::host::console::Console;
use crate::host::net::NetError;
use crate::host::serial::SerialError;
use crate::host::share::ShareError;
use crate::host::vsock::VsockError;
use crate::loader::LoadError;
use crate::machine::spec::{Cpu, Image, MemorySize, OnPanic, OnReset, VmConfig};
use crate::machine::virtio::{AttachError, Attachment};
use crate::vm::Vm;
use crate::vm::postmortem::SymbolsError;

/// Why no machine can be built. Nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No kernel was given.
    #[error("no kernel was given; name one, for example with --kernel uImage")]
    NoKernel,
    /// A memory size that the board cannot have.
    #[error(transparent)]
    Memory(#[from] BankError),
    /// A file that cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A program that does not fit.
    #[error(
        "a program of {bytes} bytes at {gpa:#x} does not fit: it must be a word or more, on a word \
         boundary, and end within the {ram:#x} bytes of ram"
    )]
    Program {
        /// Where it was to go.
        gpa: u32,
        /// Its length.
        bytes: usize,
        /// RAM in bytes.
        ram: u32,
    },
    /// No core where one was asked for.
    #[error(transparent)]
    Accel(#[from] OpenError),
    /// A translator was asked for.
    #[error(
        "there is no translator for this {0} host (it needs x86-64 with MOVBE, BMI2, LZCNT and FMA); \
         take --cpu interp or --cpu auto"
    )]
    NoTranslator(&'static str),
    /// The options make no device tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The user's device tree cannot take what must be filled in.
    #[error("{}: {error}", file.display())]
    Patch {
        /// The tree's file.
        file: PathBuf,
        /// Why.
        error: PatchError,
    },
    /// A device tree that does not fit its format.
    #[error(transparent)]
    TreeTooLarge(#[from] TooLarge),
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
    #[error("the host gives no {what}: {error}")]
    Host {
        /// What was asked for.
        what: &'static str,
        /// What the host said.
        error: std::io::Error,
    },
}

/// What a device of the embedder's is wired to.
pub struct Wiring {
    /// The wire to the input that was asked for; it ends nowhere when none was.
    pub irq: IrqLine,
    /// Guest memory, for a device that reads or writes it.
    pub memory: GuestMemory,
}

type MakeMmio = Box<dyn FnOnce(Wiring) -> Box<dyn MmioDevice> + Send>;
type MakeDcr = Box<dyn FnOnce(Wiring) -> Box<dyn DcrDevice> + Send>;

/// A device of the embedder's and its place.
pub(crate) struct Extra<Place, Make> {
    pub place: Place,
    pub name: String,
    pub interrupt: Option<Interrupt>,
    pub make: Make,
}

/// A machine to be: options, then [`Machine::build`].
#[derive(Default)]
pub struct Machine {
    pub(crate) config: VmConfig,
    /// Of the serial ports in order; the rest lead nowhere.
    pub(crate) consoles: Vec<Console>,
    pub(crate) mmio: Vec<Extra<Window, MakeMmio>>,
    pub(crate) dcr: Vec<Extra<DcrRange, MakeDcr>>,
    /// In the order of their slots.
    pub(crate) virtio: Vec<Attachment>,
    /// Of the virtio consoles in order.
    pub(crate) virtio_consoles: Vec<Console>,
}

impl Machine {
    /// A Bamboo board with 256 MiB, a console in memory and no kernel.
    pub fn new() -> Self {
        Machine::default()
    }

    /// As [`Machine::new`], with options that came from elsewhere.
    pub fn from_config(config: VmConfig) -> Self {
        Machine {
            config,
            ..Machine::default()
        }
    }

    /// The kernel's file, in any of the formats that [`crate::loader`] reads, or its build
    /// directory.
    pub fn kernel(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.kernel = Some(Image::File(path.into()));
        self
    }

    /// A kernel in memory, in any format that a file may have; messages call it `name`.
    pub fn kernel_bytes(mut self, name: impl Into<String>, bytes: Vec<u8>) -> Self {
        self.config.kernel = Some(Image::Bytes {
            name: name.into(),
            bytes,
        });
        self
    }

    /// Where a kernel file without any header goes, and where it starts.
    pub fn load_address(mut self, gpa: u32) -> Self {
        self.config.kernel_options.load_address = Some(gpa);
        self
    }

    /// The configuration of a FIT image to start, in place of its default one.
    pub fn fit_config(mut self, name: impl Into<String>) -> Self {
        self.config.kernel_options.fit_config = Some(name.into());
        self
    }

    /// A program without any header, at a guest physical address below 256 MiB, where it starts.
    pub fn program(mut self, gpa: u32, bytes: Vec<u8>) -> Self {
        self.config.kernel = Some(Image::Program { gpa, bytes });
        self
    }

    /// The initial RAM disk's file, also in place of one that comes with the kernel.
    pub fn initrd(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.initrd = Some(Image::File(path.into()));
        self
    }

    /// An initial RAM disk in memory; messages call it `name`.
    pub fn initrd_bytes(mut self, name: impl Into<String>, bytes: Vec<u8>) -> Self {
        self.config.initrd = Some(Image::Bytes {
            name: name.into(),
            bytes,
        });
        self
    }

    /// The kernel's command line.
    pub fn append(mut self, bootargs: impl Into<String>) -> Self {
        self.config.append = Some(bootargs.into());
        self
    }

    /// A device tree's file, to use in place of the generated tree.
    pub fn dtb(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.dtb = Some(Image::File(path.into()));
        self
    }

    /// A device tree in memory, to use in place of the generated tree; messages call it `name`.
    pub fn dtb_bytes(mut self, name: impl Into<String>, bytes: Vec<u8>) -> Self {
        self.config.dtb = Some(Image::Bytes {
            name: name.into(),
            bytes,
        });
        self
    }

    /// How much RAM.
    pub fn memory(mut self, size: MemorySize) -> Self {
        self.config.memory = size;
        self
    }

    /// Where the core runs.
    pub fn accel(mut self, accel: Accel) -> Self {
        self.config.accel = accel;
        self
    }

    /// What executes instructions.
    pub fn cpu(mut self, cpu: Cpu) -> Self {
        self.config.cpu = cpu;
        self
    }

    /// What drives the time base.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.config.clock = clock;
        self
    }

    /// What a reset does.
    pub fn on_reset(mut self, on_reset: OnReset) -> Self {
        self.config.on_reset = on_reset;
        self
    }

    /// How long the guest may run, from its first instruction on.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.config.timeout = Some(limit);
        self
    }

    /// Whether time per cause is measured, which slows the guest down a little.
    pub fn timed(mut self, timed: bool) -> Self {
        self.config.timed = timed;
        self
    }

    /// Where the console's bytes come from and go to.
    pub fn console(mut self, console: Console) -> Self {
        match self.consoles.first_mut() {
            Some(first) => *first = console,
            None => self.consoles.push(console),
        }
        self
    }

    /// Where the bytes of the serial ports come from and go to, UART0's first; the first is the
    /// console. Ports beyond these lead nowhere.
    pub fn serial(mut self, consoles: impl IntoIterator<Item = Console>) -> Self {
        self.consoles = consoles.into_iter().collect();
        self
    }

    /// What a panic of the guest's kernel does.
    pub fn on_panic(mut self, on_panic: OnPanic) -> Self {
        self.config.on_panic = on_panic;
        self
    }

    /// The kernel's symbols: an ELF file with a symbol table, or a `System.map`.
    pub fn symbols(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.symbols = Some(path.into());
        self
    }

    /// A device of the embedder's at `size` bytes from guest physical address `base`, with a wire
    /// to `interrupt`. The generated device tree does not describe it.
    pub fn mmio_device(
        mut self,
        base: u32,
        size: u32,
        name: impl Into<String>,
        interrupt: Option<Interrupt>,
        make: impl FnOnce(Wiring) -> Box<dyn MmioDevice> + Send + 'static,
    ) -> Self {
        let place = Window { base, size };
        self.mmio.push(Extra {
            place,
            name: name.into(),
            interrupt,
            make: Box::new(make),
        });
        self
    }

    /// A device of the embedder's at `count` DCR numbers from `base`, with a wire to `interrupt`.
    pub fn dcr_device(
        mut self,
        base: u16,
        count: u16,
        name: impl Into<String>,
        interrupt: Option<Interrupt>,
        make: impl FnOnce(Wiring) -> Box<dyn DcrDevice> + Send + 'static,
    ) -> Self {
        let place = DcrRange { base, count };
        self.dcr.push(Extra {
            place,
            name: name.into(),
            interrupt,
            make: Box::new(make),
        });
        self
    }

    /// Checks everything, reads the files, and makes the machine; the guest does not run yet.
    ///
    /// # Errors
    /// Anything that would keep the guest from starting.
    pub fn build(self) -> Result<Vm, BuildError> {
        assemble::assemble(self)
    }

    /// The device tree that the guest would be given, as a blob. A kernel is not needed; with one,
    /// it can move the initrd.
    ///
    /// # Errors
    /// As [`Machine::build`].
    pub fn device_tree(&self) -> Result<Vec<u8>, BuildError> {
        assemble::device_tree(self)
    }
}

impl Image {
    /// What messages call it, as a path.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Image::File(path) => path.clone(),
            Image::Bytes { name, .. } => Path::new(name).to_owned(),
            Image::Program { .. } => Path::new("program").to_owned(),
        }
    }
}
