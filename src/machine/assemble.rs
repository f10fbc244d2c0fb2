//! The machine, put together: board → memory, CPU, wires, devices, files, device tree.
//!
//! This file reads from top to bottom in the order in which things are made. All that can be wrong
//! with what the user gave is found before the first of them.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use ppckvm_api::{Access, Engine, State, VmOptions};
use ppckvm_api::{
    GuestMemory, Kvm, Region, TlbWord0, TlbWord1, TlbWord2, Tlbe, Vcpu, VcpuHandle, memory_file,
};
use ppckvm_devices::cpr::{self, Cpr};
use ppckvm_devices::dma::Dma;
use ppckvm_devices::ds1307::{Ds1307, Source};
use ppckvm_devices::ebc::{self, Ebc};
use ppckvm_devices::emac::Emac;
use ppckvm_devices::flash::Flash;
use ppckvm_devices::gpio::Gpio;
use ppckvm_devices::iic::Iic;
use ppckvm_devices::mal::Mal;
use ppckvm_devices::plb::{Arbiter, Plb};
use ppckvm_devices::pvpanic::{Event, Pvpanic};
use ppckvm_devices::sdr::Sdr;
use ppckvm_devices::sdram::{self, Sdram};
use ppckvm_devices::syscon::Syscon;
use ppckvm_devices::uart16550::Uart;
use ppckvm_devices::uic::Uic;
use ppckvm_devices::virtio::console::Turns;
use ppckvm_devices::zmii::Zmii;
use ppckvm_devices::{DcrBus, DcrDevice, IrqLine, IrqSink, MmioBus, Unanswered};
use ppckvm_fdt::board::{Board, Controller, DcrRange, Interrupt, Trigger, Window};
use ppckvm_fdt::{Patch, TreeOptions, UserTree, generate};
use vm_memory::bitmap::Bitmap;
use vm_memory::{GuestAddress, GuestRegionMmap};

use crate::host::balloon::Holes;
use crate::host::console::port::ConsolePort;
use crate::host::events::EventThread;
use crate::host::serial::{self, Line, Lines};
use crate::loader::{self, Firmware, Initrd, Kernel, Placement, Plan, Segment, Start};
use crate::machine::spec::{Cpu, Image, OnReset, VmConfig};
use crate::machine::virtio::{Host, OnMmio, wiring};
use crate::machine::{BuildError, Extra, Machine, Wiring};
use crate::vm::Vm;
use crate::vm::control::{Control, Request};
use crate::vm::outcome::Outcome;
use crate::vm::postmortem::Symbols;
use crate::vm::time_of_day;
use crate::vm::watch::Watch;

/// Makes the machine that `machine` asks for.
pub(crate) fn assemble(mut machine: Machine) -> Result<Vm, BuildError> {
    let on_mmio = machine.on_mmio()?;
    let virtio = machine.take_attachments();
    let Machine {
        config,
        consoles,
        virtio_consoles,
        mmio,
        dcr,
        ..
    } = machine;
    let board = Board::bamboo();

    // What the user gave, all of it, before anything is made.
    let banks = sdram::banks(config.memory.bytes())?;
    let engine = engine(config.cpu)?;
    let kvm = Kvm::open(config.accel)?;
    let (placement, symbols) = place(&config, &board, &on_mmio)?;
    let symbols = symbols_of(&config, symbols)?;
    check_places(&config, &mmio, &dcr)?;

    // Memory and CPU.
    let ram = Ram::new(config.memory.bytes())?;
    let options = VmOptions {
        clock: config.clock,
        timer_hz: board.clocks.timebase_hz.into(),
        engine,
    };
    let mut machine = kvm.create_vm(ram.region.clone(), options);
    machine.set_memory_slot(0, 0, config.memory.bytes(), 0);
    let mut vcpu = machine.create_vcpu()?;
    vcpu.set_timed(config.timed);
    vcpu.set_hang_exits(true);

    // The serial ports' far ends, and the thread that serves them.
    let control = Arc::new(Control::default());
    control.attach(vcpu.handle());
    let watch = Watch::new(control.clone(), config.on_panic);
    if let Some(symbols) = &symbols {
        watch.know(symbols, ram.memory.clone());
    }
    let uarts = board.uarts.len();
    let Lines { lines, subscribers } =
        serial::open(consoles, uarts, virtio_consoles, &control, &watch)?;
    let events = EventThread::start("events", subscribers, control.clone(), watch.clone())
        .map_err(|error| BuildError::Host {
            what: "event thread",
            error,
        })?;

    // Devices and wires.
    let wires = Wires::new(&board, vcpu.handle());
    let mut buses = Buses::default();
    add_dcr_units(&mut buses.dcr, &board, &wires, banks)?;
    add_uarts(&mut buses.mmio, &board, &wires, &lines)?;
    let (time, virtual_time) = time_of_day::source(config.clock, board.clocks.timebase_hz);
    add_iic(&mut buses.mmio, &board, &wires, time)?;
    add_peripherals(&mut buses.mmio, &board)?;
    let bridge = wiring::add_pci(&mut buses.mmio, &board)?;
    add_flash(&mut buses.mmio, &board)?;
    add_pvpanic(&mut buses.mmio, &board, &watch)?;
    add_syscon(&mut buses.mmio, &board, &control)?;
    let balloon = Cell::new(None);
    let host = Host {
        events: &events,
        clock: config.clock,
        ram: &ram,
        consoles: &lines[uarts..],
        console_turns: &Turns::default(),
        balloon: &balloon,
    };
    let memory = &ram.memory;
    let running = wiring::add_virtio(
        &mut buses.mmio,
        &bridge,
        &board,
        &wires,
        memory,
        &host,
        virtio,
    )?;
    for extra in mmio {
        let wiring = Wiring {
            irq: wires.optional(extra.interrupt),
            memory: ram.memory.clone(),
        };
        buses
            .mmio
            .register(range(extra.place), extra.name, (extra.make)(wiring))?;
    }
    for extra in dcr {
        let wiring = Wiring {
            irq: wires.optional(extra.interrupt),
            memory: ram.memory.clone(),
        };
        buses
            .dcr
            .register(dcrs(extra.place), extra.name, (extra.make)(wiring))?;
    }

    let pristine = vcpu.state();
    let mut vm = Vm {
        description: describe(&kvm, engine),
        on_reset: config.on_reset,
        on_panic: config.on_panic,
        timeout: config.timeout,
        placement,
        pristine,
        vcpu,
        virtual_time,
        running,
        balloon: balloon.into_inner(),
        buses,
        unanswered: Unanswered::default(),
        ram,
        uics: [wires.uic0, wires.uic1],
        lines,
        uarts,
        watch,
        symbols,
        control,
        events,
        ended: None,
        started: false,
    };
    vm.load().map_err(no_guest_memory)?;
    if vm.on_reset == OnReset::Exit {
        // The guest never starts again, and their bytes are as large as what it has in memory.
        vm.placement.segments = Vec::new();
    }
    Ok(vm)
}

/// The device tree that the guest would be given.
pub(crate) fn device_tree(machine: &Machine) -> Result<Vec<u8>, BuildError> {
    let (config, board) = (&machine.config, Board::bamboo());
    sdram::banks(config.memory.bytes())?;
    let ram = ram_bytes(config);
    // Without a kernel, the initrd is placed as if there were a very small one.
    let plan = match &config.kernel {
        Some(_) => plan_boot(config, ram)?,
        None => with_initrd(config, program(0, vec![0; 4], ram)?, ram)?,
    };
    tree(config, &board, &plan, &machine.on_mmio()?)
}

/// Reads all files and gives them their places; also says where the kernel's symbols would be.
fn place(
    config: &VmConfig,
    board: &Board,
    on_mmio: &OnMmio,
) -> Result<(Placement, Option<PathBuf>), BuildError> {
    let plan = plan_boot(config, ram_bytes(config))?;
    let kernel = plan.kernel();
    tracing::info!("kernel: {}, {}", kernel.file.display(), kernel.format);
    for warning in kernel.warnings(plan.initrd_range().is_some()) {
        tracing::warn!("{warning}");
    }
    let symbols = kernel.symbols.clone();
    Ok((finish(config, board, plan, on_mmio)?, symbols))
}

/// The kernel's symbols: the user's, which must be right, or those found beside the kernel.
fn symbols_of(
    config: &VmConfig,
    found: Option<PathBuf>,
) -> Result<Option<Arc<Symbols>>, BuildError> {
    if let Some(path) = &config.symbols {
        return Ok(Some(Arc::new(Symbols::read(path)?)));
    }
    let read = found.map(|path| Symbols::read(&path));
    Ok(match read {
        Some(Ok(symbols)) => Some(Arc::new(symbols)),
        Some(Err(error)) => {
            tracing::debug!("no symbols: {error}");
            None
        }
        None => None,
    })
}

/// Reads the kernel and the initrd.
pub(crate) fn plan_boot(config: &VmConfig, ram: u32) -> Result<Plan, BuildError> {
    with_initrd(config, read_kernel(config, ram)?, ram)
}

/// Gives the initrd its place: the user's, or the one that came with the kernel.
fn with_initrd(config: &VmConfig, mut kernel: Kernel, ram: u32) -> Result<Plan, BuildError> {
    let own = kernel.initrd.take();
    Ok(Plan::new(kernel, read_initrd(config, ram)?.or(own), ram)?)
}

/// Adds what the kernel is told: a device tree, or what it takes in its place.
pub(crate) fn finish(
    config: &VmConfig,
    board: &Board,
    plan: Plan,
    on_mmio: &OnMmio,
) -> Result<Placement, BuildError> {
    if plan.kernel().start == Start::DeviceTree {
        let fdt = tree(config, board, &plan, on_mmio)?;
        return Ok(plan.finish(fdt)?);
    }
    on_mmio.warn_of_hidden_tree();
    let firmware = Firmware {
        board,
        bootargs: config.append.as_deref(),
    };
    let dtb = config.dtb.as_ref().map(Image::path);
    Ok(plan.finish_without_tree(&firmware, dtb.as_deref())?)
}

/// RAM in bytes; the caller has checked that the board can hold it, which is at most 1 GiB.
pub(crate) fn ram_bytes(config: &VmConfig) -> u32 {
    u32::try_from(config.memory.bytes()).unwrap_or(u32::MAX)
}

fn read_kernel(config: &VmConfig, ram: u32) -> Result<Kernel, BuildError> {
    let options = &config.kernel_options;
    Ok(match config.kernel.as_ref().ok_or(BuildError::NoKernel)? {
        Image::File(path) => Kernel::read(path, options, ram)?,
        image @ Image::Bytes { bytes, .. } => {
            Kernel::from_bytes(&image.path(), bytes.clone(), options, ram)?
        }
        Image::Program { gpa, bytes } => program(*gpa, bytes.clone(), ram)?,
    })
}

/// A program without header, which starts at its first byte.
fn program(gpa: u32, bytes: Vec<u8>, ram: u32) -> Result<Kernel, BuildError> {
    let fits = |size: u32| gpa.checked_add(size).is_some_and(|end| end <= ram);
    match u32::try_from(bytes.len()) {
        Ok(size) if size > 0 && fits(size) && gpa.is_multiple_of(4) => {
            Ok(Kernel::program("program".as_ref(), gpa, bytes))
        }
        _ => Err(BuildError::Program {
            gpa,
            bytes: bytes.len(),
            ram,
        }),
    }
}

fn read_initrd(config: &VmConfig, ram: u32) -> Result<Option<Initrd>, BuildError> {
    Ok(match &config.initrd {
        None => None,
        Some(Image::File(path)) => Some(Initrd::read(path, ram)?),
        Some(image @ (Image::Bytes { bytes, .. } | Image::Program { bytes, .. })) => {
            Some(Initrd::from_bytes(&image.path(), bytes.clone(), ram)?)
        }
    })
}

/// The generated tree, or the user's or the kernel's own with what only the launcher knows filled
/// in.
fn tree(
    config: &VmConfig,
    board: &Board,
    plan: &Plan,
    on_mmio: &OnMmio,
) -> Result<Vec<u8>, BuildError> {
    let memory_bytes = ram_bytes(config);
    let initrd = plan.initrd_range();
    let given: Option<(PathBuf, UserTree)> = match (&config.dtb, &plan.kernel().tree) {
        (None, None) => None,
        (None, Some((name, bytes))) => Some((name.clone(), loader::dtb_from_bytes(name, bytes)?)),
        (Some(image @ Image::File(path)), _) => {
            Some((image.path(), loader::read_dtb(path, memory_bytes)?))
        }
        (Some(image @ (Image::Bytes { bytes, .. } | Image::Program { bytes, .. })), _) => {
            Some((image.path(), loader::dtb_from_bytes(&image.path(), bytes)?))
        }
    };
    if let Some((file, tree)) = given {
        on_mmio.check(&tree, &file)?;
        let patch = Patch {
            memory_bytes,
            bootargs: config.append.as_deref(),
            initrd,
            clocks: Some(&board.clocks),
        };
        return tree
            .patched(&patch)
            .map_err(|error| BuildError::Patch { file, error });
    }
    let options = TreeOptions {
        memory_bytes,
        bootargs: config.append.clone().unwrap_or_default(),
        initrd,
        virtio: on_mmio.slots.clone(),
        ..TreeOptions::default()
    };
    Ok(generate(board, &options)?)
}

/// The engine that was asked for, or the fastest that this host has.
fn engine(cpu: Cpu) -> Result<Engine, BuildError> {
    let translates = Engine::Translator.is_supported();
    match cpu {
        Cpu::Interp => Ok(Engine::Interpreter),
        Cpu::Auto if !translates => Ok(Engine::Interpreter),
        Cpu::Jit if !translates => Err(BuildError::NoTranslator(std::env::consts::ARCH)),
        Cpu::Auto | Cpu::Jit => Ok(Engine::Translator),
    }
}

/// Whether the embedder's devices are clear of RAM and on inputs that exist; whether they are
/// clear of other devices, the buses say.
fn check_places<M, D>(
    config: &VmConfig,
    mmio: &[Extra<Window, M>],
    dcr: &[Extra<DcrRange, D>],
) -> Result<(), BuildError> {
    let ram = ram_bytes(config);
    if let Some(extra) = mmio.iter().find(|extra| extra.place.base < ram) {
        let (name, base) = (extra.name.clone(), extra.place.base);
        return Err(BuildError::DeviceInRam { name, base, ram });
    }
    let mmio = mmio.iter().map(|extra| (&extra.name, extra.interrupt));
    let dcr = dcr.iter().map(|extra| (&extra.name, extra.interrupt));
    for (name, interrupt) in mmio.chain(dcr) {
        if let Some(Interrupt { input, .. }) = interrupt.filter(|wire| wire.input > 31) {
            return Err(BuildError::Interrupt {
                name: name.clone(),
                input,
            });
        }
    }
    Ok(())
}

fn no_guest_memory(error: std::io::Error) -> BuildError {
    BuildError::Host {
        what: "memory for the guest",
        error,
    }
}

/// Guest RAM: one mapping of one memory file, which other processes could share.
pub(crate) struct Ram {
    pub region: Arc<Region>,
    pub memory: GuestMemory,
    pub file: Arc<File>,
}

impl Ram {
    fn new(bytes: u64) -> Result<Self, BuildError> {
        let no_memory = no_guest_memory;
        let size = usize::try_from(bytes)
            .map_err(|_| no_memory(std::io::ErrorKind::OutOfMemory.into()))?;
        let region = memory_file(size).map_err(no_memory)?;
        let file = region.file_offset().expect("it is in a file").arc().clone();
        let region = Arc::new(region);
        let mapped = GuestRegionMmap::with_arc(region.clone(), GuestAddress(0))
            .expect("address 0 and at most 1 GiB do not overflow");
        let memory = GuestMemory::from_regions(vec![mapped])
            .expect("one region is in order and overlaps nothing");
        Ok(Ram {
            region,
            memory,
            file,
        })
    }

    /// Makes all of RAM zero and gives its pages back to the host. The guest must not run.
    pub fn clear(&self) -> std::io::Result<()> {
        self.holes().punch(0..self.region.size() as u64)
    }

    /// The way to give pages back to the host.
    pub fn holes(&self) -> Holes {
        Holes {
            file: self.file.clone(),
            region: self.region.clone(),
        }
    }

    /// For how many bytes the host holds pages.
    pub fn resident(&self) -> std::io::Result<u64> {
        use std::os::linux::fs::MetadataExt;
        // Blocks of 512 bytes.
        Ok(self.file.metadata()?.st_blocks() * 512)
    }

    /// Writes what the guest starts with; its places were checked against RAM. The guest must not
    /// run.
    ///
    /// Through the file, because each page's first write through the mapping would be a page fault.
    ///
    /// # Errors
    /// When the host has no memory left.
    pub fn load(&self, segments: &[Segment]) -> std::io::Result<()> {
        for Segment { gpa, bytes, .. } in segments {
            self.file.write_all_at(bytes, (*gpa).into())?;
            self.region.bitmap().mark_dirty(*gpa as usize, bytes.len());
        }
        Ok(())
    }
}

/// The two buses, each device on one of them.
#[derive(Default)]
pub(crate) struct Buses {
    pub mmio: MmioBus,
    pub dcr: DcrBus,
}

/// The core's two interrupt inputs as the end of UIC0's wires.
struct CpuInputs(VcpuHandle);

const EXTERNAL: u32 = 0;
const CRITICAL: u32 = 1;

impl IrqSink for CpuInputs {
    fn set(&self, input: u32, level: bool) {
        match input {
            EXTERNAL => self.0.set_external(level),
            _ => self.0.set_critical(level),
        }
    }
}

/// The interrupt controllers, UIC1 cascaded into UIC0, UIC0 tied to the core.
pub(crate) struct Wires {
    uic0: Uic,
    uic1: Uic,
}

impl Wires {
    fn new(board: &Board, vcpu: VcpuHandle) -> Self {
        let inputs: Arc<dyn IrqSink> = Arc::new(CpuInputs(vcpu));
        let uic0 = Uic::new(
            IrqLine::to(inputs.clone(), EXTERNAL),
            IrqLine::to(inputs, CRITICAL),
        );
        let cascade = |wire: usize| match board.uic1.cascade {
            Some(wires) => uic0.line(wires[wire].input.into()),
            None => IrqLine::detached(),
        };
        let uic1 = Uic::new(cascade(0), cascade(1));
        Wires { uic0, uic1 }
    }

    /// A new wire to an input.
    fn to(&self, interrupt: Interrupt) -> IrqLine {
        let uic = match interrupt.controller {
            Controller::Uic0 => &self.uic0,
            Controller::Uic1 => &self.uic1,
        };
        match interrupt.trigger {
            Trigger::RisingEdge | Trigger::LevelHigh => uic.line(interrupt.input.into()),
            Trigger::FallingEdge | Trigger::LevelLow => uic.active_low_line(interrupt.input.into()),
        }
    }

    pub fn optional(&self, interrupt: Option<Interrupt>) -> IrqLine {
        interrupt.map_or_else(IrqLine::detached, |interrupt| self.to(interrupt))
    }
}

pub(crate) fn range(window: Window) -> std::ops::Range<u64> {
    let base = u64::from(window.base);
    base..base + u64::from(window.size)
}

fn dcrs(range: DcrRange) -> std::ops::Range<u32> {
    u32::from(range.base)..u32::from(range.base) + u32::from(range.count)
}

/// The external bus's chip selects: the first is the boot flash's.
fn chip_selects(board: &Board) -> [u32; ebc::BANKS] {
    let mut banks = [0; ebc::BANKS];
    // The size field counts doublings of 1 MiB.
    let size = (board.boot_flash.size >> 20).max(1).ilog2();
    banks[0] = ebc::read_only_bank(board.boot_flash.base, size);
    banks
}

/// The units behind DCRs.
fn add_dcr_units(
    bus: &mut DcrBus,
    board: &Board,
    wires: &Wires,
    banks: [u32; sdram::BANKS],
) -> Result<(), BuildError> {
    let clocks = board.clocks.cpr0;
    let strapped = cpr::Registers {
        pllc: clocks.pllc,
        plld: clocks.plld,
        primad: clocks.primad,
        primbd: clocks.primbd,
        opbd: clocks.opbd,
        perd: clocks.perd,
        ..cpr::Registers::default()
    };
    let units: [(DcrRange, &str, Box<dyn DcrDevice>); 12] = [
        (board.cpr0, "cpr0", Box::new(Cpr::new(strapped))),
        (
            board.sdr0,
            "sdr0",
            Box::new(Sdr::new([board.clocks.sdr0_uart; 4])),
        ),
        (board.sdram0, "sdram0", Box::new(Sdram::new(banks))),
        (board.ebc0, "ebc0", Box::new(Ebc::new(chip_selects(board)))),
        (board.plb3a0, "plb3a0", Box::new(Arbiter::new())),
        (board.plb4a0, "plb4a0", Box::new(Arbiter::new())),
        (board.plb4a1, "plb4a1", Box::new(Arbiter::new())),
        (board.plb0, "plb0", Box::new(Plb::new())),
        (board.uic0.dcr, "uic0", Box::new(wires.uic0.clone())),
        (board.uic1.dcr, "uic1", Box::new(wires.uic1.clone())),
        (board.dma0, "dma0", Box::new(Dma::new())),
        (board.mal0.dcr, "mal0", Box::new(Mal::new())),
    ];
    for (range, name, unit) in units {
        bus.register(dcrs(range), name, unit)?;
    }
    Ok(())
}

/// The serial ports, each with its far end.
fn add_uarts(
    bus: &mut MmioBus,
    board: &Board,
    wires: &Wires,
    lines: &[Line],
) -> Result<(), BuildError> {
    for (number, (desc, line)) in board.uarts.iter().zip(lines).enumerate() {
        let hub = &line.hub;
        let sink = hub.clone();
        let uart = Uart::new(
            wires.to(desc.interrupt),
            Box::new(move |byte| sink.transmit(&[byte])),
        );
        let port = ConsolePort::new(uart, hub);
        hub.connect(Arc::new(port.clone()));
        bus.register(range(desc.window), format!("uart{number}"), Box::new(port))?;
    }
    Ok(())
}

/// The IIC controllers, with the clock chip, which counts with `time`.
fn add_iic(
    bus: &mut MmioBus,
    board: &Board,
    wires: &Wires,
    time: Source,
) -> Result<(), BuildError> {
    let mut iic = board.iic.map(|desc| Iic::new(wires.to(desc.interrupt)));
    if let Some(iic) = iic.get_mut(usize::from(board.rtc.bus)) {
        iic.attach(board.rtc.address, Box::new(Ds1307::new(time)))
            .expect("the clock chip's address is valid, and the bus is empty");
    }
    for (number, (iic, desc)) in iic.into_iter().zip(&board.iic).enumerate() {
        bus.register(range(desc.window), format!("iic{number}"), Box::new(iic))?;
    }
    Ok(())
}

/// The chip's other peripherals.
fn add_peripherals(bus: &mut MmioBus, board: &Board) -> Result<(), BuildError> {
    for (number, window) in board.gpio.iter().enumerate() {
        bus.register(
            range(*window),
            format!("gpio{number}"),
            Box::new(Gpio::new()),
        )?;
    }
    bus.register(range(board.zmii), "zmii", Box::new(Zmii::new()))?;
    for (number, desc) in board.emacs.iter().enumerate() {
        bus.register(
            range(desc.window),
            format!("emac{number}"),
            Box::new(Emac::new()),
        )?;
    }
    Ok(())
}

/// The boot flash: erased, except for what the board's monitor leaves for boot wrappers.
fn add_flash(bus: &mut MmioBus, board: &Board) -> Result<(), BuildError> {
    let window = board.boot_flash;
    let mut flash = Flash::erased();
    for emac in &board.emacs {
        let digits: String = emac.mac.iter().map(|byte| format!("{byte:02X}")).collect();
        let offset = emac.mac_string.checked_sub(window.base);
        let offset = offset.expect("the board keeps its addresses in its flash");
        flash = flash.with(offset, format!("{digits}\0"));
    }
    bus.register(range(window), "boot flash", Box::new(flash))?;
    Ok(())
}

/// The byte through which a guest reports that its kernel panicked.
fn add_pvpanic(bus: &mut MmioBus, board: &Board, watch: &Arc<Watch>) -> Result<(), BuildError> {
    let watch = watch.clone();
    let report = move |event| match event {
        Event::Panicked => watch.panicked(None),
        Event::CrashLoaded => {
            tracing::warn!("the guest reports a kernel panic and starts its crash kernel");
        }
    };
    let pvpanic = Pvpanic::new(Box::new(report));
    bus.register(range(board.pvpanic), "pvpanic", Box::new(pvpanic))?;
    Ok(())
}

/// The page through which a guest powers the machine off.
fn add_syscon(bus: &mut MmioBus, board: &Board, control: &Arc<Control>) -> Result<(), BuildError> {
    let desc = &board.syscon;
    // Weak, because the control's owner also owns the bus.
    let control = Arc::downgrade(control);
    let power_off = move || {
        if let Some(control) = control.upgrade() {
            control.request(Request::End(Outcome::PoweredOff));
        }
    };
    let syscon = Syscon::new(
        desc.poweroff_offset,
        desc.poweroff_value,
        Box::new(power_off),
    );
    bus.register(range(desc.window), "syscon", Box::new(syscon))?;
    Ok(())
}

fn describe(kvm: &Kvm, engine: Engine) -> String {
    let engine = match engine {
        Engine::Interpreter => "interpreter",
        Engine::Translator => "translator",
    };
    let why = kvm
        .not_kernel()
        .map(|why| format!(" ({why})"))
        .unwrap_or_default();
    format!("{}, {engine}{why}", kvm.backend())
}

/// The CPU as the guest finds it: the whole address space mapped one to one, supervisor only, by
/// 16 entries of 256 MiB; the registers as the kernel's entry wants them; everything else as after
/// `State`'s reset. The first entry also covers what Linux needs: its own code, found by `tlbsx`.
pub(crate) fn initial_state(vcpu: &mut Vcpu, pristine: &State, placement: &Placement, ram: u32) {
    const SHIFT: u32 = 28;
    let mut state = pristine.clone();
    state.tlb = std::array::from_fn(|index| {
        let base = match u32::try_from(index) {
            Ok(index) if index < 1 << (32 - SHIFT) => index << SHIFT,
            _ => return Tlbe::default(),
        };
        let device = base >= ram;
        Tlbe {
            tid: 0,
            word0: TlbWord0::new()
                .with_epn(base >> 10)
                .with_v(true)
                .with_size(9),
            word1: TlbWord1::new().with_rpn(base >> 10),
            word2: TlbWord2::new()
                .with_i(device)
                .with_g(device)
                .with_sx(true)
                .with_sw(true)
                .with_sr(true),
        }
    });
    let registers = &placement.registers;
    state.regs.pc = registers.pc;
    state.regs.gpr[1] = registers.r1;
    state.regs.gpr[3] = registers.r3;
    state.regs.gpr[4] = registers.r4;
    state.regs.gpr[5] = registers.r5;
    state.regs.gpr[6] = registers.r6;
    state.regs.gpr[7] = registers.r7;
    vcpu.set_state(&state);
    debug_assert!(vcpu.translate_now(registers.pc, Access::Fetch).is_some());
}
