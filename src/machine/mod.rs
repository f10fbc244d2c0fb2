//! The builder: options in, a machine that is ready to run out, or one clear error.

pub(crate) mod assemble;
mod attach;
mod boot;
pub(crate) mod custom;
pub(crate) mod error;
pub(crate) mod inspect;
#[cfg(feature = "config")]
pub(crate) mod keys;
mod parts;
pub(crate) mod slots;
pub(crate) mod spec;
pub(crate) mod virtio;
mod wires;

use std::path::PathBuf;
use std::time::Duration;

use ppckvm_api::{Accel, Clock};
use ppckvm_devices::{DcrDevice, MmioDevice};
use ppckvm_fdt::Board;
use ppckvm_fdt::Node;
use ppckvm_fdt::board::{DcrRange, Interrupt, MmioRange};

use crate::host::sandbox::Sandbox;
use crate::host::serial::{Console, Serial};
use crate::loader::Image;
use crate::machine::custom::{Additions, CustomDevice, Wiring};
use crate::machine::error::BuildError;
use crate::machine::spec::memory_size::MemorySize;
use crate::machine::spec::{Cpu, Spec};
use crate::vm::Vm;
use crate::vm::outcome::{OnPanic, OnReset, Standstills};

/// The serial port that is a channel to an agent.
const AGENT_UART: usize = 1;

/// A machine to be: options, then [`Machine::build`].
#[derive(Default)]
pub struct Machine {
    pub(crate) spec: Spec,
    /// What is no data.
    pub(crate) additions: Additions,
}

impl Machine {
    /// Makes a Bamboo board with 256 MiB, a console in memory and no kernel.
    pub fn new() -> Self {
        Machine::default()
    }

    /// Makes a machine from its description, to which more can be added.
    pub fn from_spec(spec: Spec) -> Self {
        Machine {
            spec,
            ..Machine::default()
        }
    }

    /// The machine's description, as far as it is data.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Sets the kernel's file, in any of the formats that [`crate::loader`] reads, or its build
    /// directory.
    pub fn kernel(mut self, path: impl Into<PathBuf>) -> Self {
        self.spec.boot.kernel = Some(Image::File(path.into()));
        self
    }

    /// Sets a kernel in memory, in any format that a file may have; messages call it `name`.
    pub fn kernel_bytes(mut self, name: impl Into<String>, bytes: Vec<u8>) -> Self {
        self.spec.boot.kernel = Some(Image::Bytes {
            name: name.into(),
            bytes,
        });
        self
    }

    /// Sets where a kernel file without any header goes, and where it starts.
    pub fn load_address(mut self, gpa: u32) -> Self {
        self.spec.boot.kernel_options.load_address = Some(gpa);
        self
    }

    /// Sets the configuration of a FIT image to start, in place of its default one.
    pub fn fit_config(mut self, name: impl Into<String>) -> Self {
        self.spec.boot.kernel_options.fit_config = Some(name.into());
        self
    }

    /// Sets a program without any header as the kernel, at a guest physical address, where it
    /// starts.
    ///
    /// It finds the CPU as any other guest does that wants a device tree: supervisor state with MSR
    /// 0, so no interrupt is enabled; all 4 GiB mapped one to one for the supervisor by 16 TLB
    /// entries of 256 MiB, of which those at and above the end of RAM are caching inhibited and
    /// guarded; pc at its first byte; r1 eight bytes below the end of RAM or 16 MiB, whichever is
    /// lower; r3 the address of a device tree; r6 0x45504150 (`EPAP`); r7 the size of RAM, at most
    /// 256 MiB; all other registers 0, and the rest as after a reset. Vectors (IVPR and IVORs) it
    /// must set itself before it takes an interrupt.
    pub fn program(mut self, gpa: u32, bytes: Vec<u8>) -> Self {
        self.spec.boot.kernel = Some(Image::Program { gpa, bytes });
        self
    }

    /// Sets the initial RAM disk's file, also in place of one that comes with the kernel.
    pub fn initrd(mut self, path: impl Into<PathBuf>) -> Self {
        self.spec.boot.initrd = Some(Image::File(path.into()));
        self
    }

    /// Sets an initial RAM disk in memory; messages call it `name`.
    pub fn initrd_bytes(mut self, name: impl Into<String>, bytes: Vec<u8>) -> Self {
        self.spec.boot.initrd = Some(Image::Bytes {
            name: name.into(),
            bytes,
        });
        self
    }

    /// Adds a cpio archive that Linux unpacks after the initial RAM disk, over what is there already; it is
    /// the initial RAM disk where there is no other. Messages call it `name`.
    pub fn initrd_overlay(mut self, name: impl Into<String>, bytes: Vec<u8>) -> Self {
        self.spec.boot.initrd_overlay = Some(Image::Bytes {
            name: name.into(),
            bytes,
        });
        self
    }

    /// Adds the host's ends of the channels to an agent: a virtio port over MMIO, and UART1 where it is
    /// not in use.
    pub(crate) fn agent_channels(mut self) -> Self {
        self.additions.agent = true;
        if self.spec.serial.len() <= AGENT_UART {
            self.spec.serial.resize(AGENT_UART + 1, Serial::Null);
            self.additions.agent_uart = Some(AGENT_UART);
        }
        self
    }

    /// Sets the kernel's command line.
    pub fn append(mut self, bootargs: impl Into<String>) -> Self {
        self.spec.boot.append = Some(bootargs.into());
        self
    }

    /// Sets a device tree's file, to use in place of the generated tree.
    pub fn dtb(mut self, path: impl Into<PathBuf>) -> Self {
        self.spec.boot.dtb = Some(Image::File(path.into()));
        self
    }

    /// Sets a device tree in memory, to use in place of the generated tree; messages call it
    /// `name`.
    pub fn dtb_bytes(mut self, name: impl Into<String>, bytes: Vec<u8>) -> Self {
        self.spec.boot.dtb = Some(Image::Bytes {
            name: name.into(),
            bytes,
        });
        self
    }

    /// Sets the amount of RAM.
    pub fn memory(mut self, size: MemorySize) -> Self {
        self.spec.memory = size;
        self
    }

    /// Sets where the core runs.
    pub fn accel(mut self, accel: Accel) -> Self {
        self.spec.accel = accel;
        self
    }

    /// Sets what executes instructions.
    pub fn cpu(mut self, cpu: Cpu) -> Self {
        self.spec.cpu = cpu;
        self
    }

    /// Sets whether hot code may access pages of guest RAM where the host's MMU guards them, for
    /// which the process handles SIGSEGV; on unless this says otherwise. Off, such code is slower,
    /// and no handler is installed.
    pub fn windows(mut self, on: bool) -> Self {
        self.spec.windows = on;
        self
    }

    /// Sets what drives the time base.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.spec.clock = clock;
        self
    }

    /// Sets what a reset does.
    pub fn on_reset(mut self, on_reset: OnReset) -> Self {
        self.spec.on_reset = on_reset;
        self
    }

    /// Sets how long the guest may run, from its first instruction on.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.spec.timeout = Some(limit);
        self
    }

    /// Sets whether time per cause is measured, which slows the guest down a little.
    pub fn timed(mut self, timed: bool) -> Self {
        self.spec.timed = timed;
        self
    }

    /// Has the threads that the machine starts give up the system calls, files and capabilities that
    /// they do not need; off unless this says otherwise.
    ///
    /// No other thread of the process changes, and several machines do not get into each other's
    /// way. The thread that runs the guest is the caller's, who confines it with
    /// [`Vm::confinement`] if it is for nothing else. A confined thread that makes a system call
    /// which only an attacker makes ends the whole process.
    pub fn sandbox(mut self, sandbox: Sandbox) -> Self {
        self.additions.sandbox = sandbox;
        self
    }

    /// Sets where UART0's bytes come from and go to: the console.
    pub fn console(mut self, console: Console) -> Self {
        match self.spec.serial.first_mut() {
            Some(first) => *first = console.destination(),
            None => self.spec.serial.push(console.destination()),
        }
        self.additions.serial.keep(0, console);
        self
    }

    /// Sets where the bytes of UART0, UART1 and so on come from and go to; UART0 is the console.
    /// Ports beyond these are unconnected.
    pub fn serial(mut self, consoles: impl IntoIterator<Item = Console>) -> Self {
        self.spec.serial.clear();
        self.additions.serial.clear();
        for (port, console) in consoles.into_iter().enumerate() {
            self.spec.serial.push(console.destination());
            self.additions.serial.keep(port, console);
        }
        self
    }

    /// Sets what a panic of the guest's kernel does.
    pub fn on_panic(mut self, on_panic: OnPanic) -> Self {
        self.spec.on_panic = on_panic;
        self
    }

    /// Sets a file that gets everything that the console prints too, byte for byte: the port that has
    /// standard output, or UART0 where none has. The file is emptied when the machine is built.
    pub fn console_log(mut self, path: impl Into<PathBuf>) -> Self {
        self.spec.console_log = Some(path.into());
        self
    }

    /// Sets what it does that the guest stands still for good.
    pub fn standstills(mut self, standstills: Standstills) -> Self {
        self.spec.standstills = standstills;
        self
    }

    /// Sets the kernel's symbols: an ELF file with a symbol table, or a `System.map`.
    pub fn symbols(mut self, path: impl Into<PathBuf>) -> Self {
        self.spec.symbols = Some(path.into());
        self
    }

    /// Adds a device of the embedder's at `size` bytes from guest physical address `base`, with a
    /// wire to `interrupt`. [`Machine::tree_node`] describes it in the generated device tree.
    pub fn mmio_device(
        mut self,
        base: u32,
        size: u32,
        name: impl Into<String>,
        interrupt: Option<Interrupt>,
        make: impl FnOnce(Wiring) -> Box<dyn MmioDevice> + Send + 'static,
    ) -> Self {
        let place = MmioRange { base, size };
        self.additions.mmio.push(CustomDevice {
            place,
            name: name.into(),
            interrupt,
            make: Box::new(make),
        });
        self
    }

    /// Adds a node to the generated device tree, under `/plb/opb`, where Linux' 44x platform code finds
    /// devices.
    ///
    /// In place of the generated tree, a user's or a kernel's own is used as it is: it must have the
    /// node already.
    ///
    /// ```
    /// use ppckvm::{Board, Interrupt, Machine, MmioRange, Tree, Trigger, device_node};
    ///
    /// let registers = MmioRange::new(Board::FREE_MMIO[0].base, 0x100);
    /// let input = Interrupt::uic0(29, Trigger::LevelHigh);
    /// let node = device_node("timer", "acme,timer", registers, Some(input));
    /// let blob = Machine::new().tree_node(node.clone()).device_tree()?;
    /// let tree = Tree::parse(&blob).expect("it is well formed");
    /// assert_eq!(tree.node("/plb/opb/timer@ef710000"), Some(&node));
    /// # Ok::<(), ppckvm::BuildError>(())
    /// ```
    pub fn tree_node(mut self, node: Node) -> Self {
        self.additions.nodes.push(node);
        self
    }

    /// Adds a device of the embedder's at `count` DCR numbers from `base`, with a wire to
    /// `interrupt`.
    pub fn dcr_device(
        mut self,
        base: u16,
        count: u16,
        name: impl Into<String>,
        interrupt: Option<Interrupt>,
        make: impl FnOnce(Wiring) -> Box<dyn DcrDevice> + Send + 'static,
    ) -> Self {
        let place = DcrRange { base, count };
        self.additions.dcr.push(CustomDevice {
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
        assemble::assemble(&Board::bamboo(), self.spec, self.additions)
    }

    /// Returns the device tree that the guest would be given, as a blob. A kernel is not needed;
    /// with one, it can move the initrd.
    ///
    /// # Errors
    /// As [`Machine::build`].
    pub fn device_tree(&self) -> Result<Vec<u8>, BuildError> {
        boot::device_tree(&Board::bamboo(), &self.spec, &self.additions)
    }
}
