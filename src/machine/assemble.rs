//! The machine, put together: board → memory, CPU, wires, devices, files, device tree.
//!
//! This file reads from top to bottom in the order in which things are made. All that can be wrong
//! with what the user gave is found before the first of them.

use std::sync::Arc;

use ppckvm_api::{Engine, EngineChoice, Kvm, Vcpu, VmOptions};
use ppckvm_devices::Unanswered;
use ppckvm_devices::sdram;
use ppckvm_devices::virtio::balloon::Target;
use ppckvm_devices::virtio::console::Turns;
use ppckvm_fdt::board::{Board, Interrupt};

use crate::host::console::Owner;
use crate::host::events::EventThread;
use crate::host::net::LiveForwards;
use crate::host::sandbox::Confinement;
use crate::host::serial::{self, Console, Line, Lines, Serial};
use crate::loader::Placement;
use crate::loader::symbols::Symbols;
use crate::machine::custom::{Additions, Wiring};
use crate::machine::error::BuildError;
use crate::machine::slots::OnMmio;
use crate::machine::spec::{Cpu, Spec};
use crate::machine::virtio::wiring::{Frame, add_virtio};
use crate::machine::virtio::{self, Maker};
use crate::machine::wires::{Wires, dcrs, range};
use crate::machine::{boot, parts};
use crate::vm::Vm;
use crate::vm::buses::Buses;
use crate::vm::control::Control;
use crate::vm::deadlines::Deadlines;
use crate::vm::live_devices::LiveDevices;
use crate::vm::outcome::OnReset;
use crate::vm::port::Port;
use crate::vm::ram::Ram;
use crate::vm::time_of_day::{self, VirtualTime};
use crate::vm::watch::Watch;

/// Makes the machine that the options ask for, with what is added to them.
pub(crate) fn assemble(
    board: &Board,
    spec: Spec,
    mut additions: Additions,
) -> Result<Vm, BuildError> {
    let given = Given::check(board, &spec, &additions)?;
    let ram = Ram::new(spec.memory.bytes()).map_err(no_guest_memory)?;
    let mut vcpu = given.vcpu(board, &spec, &ram)?;
    let ends = Ends::open(board, &spec, &mut additions, &vcpu, &ram, &given)?;
    let wires = Wires::new(board, vcpu.handle());
    let (on_reset, on_panic, timeout) = (spec.on_reset, spec.on_panic, spec.timeout);
    let standstills = spec.standstills;
    let devices = Devices::new(board, spec, additions, &ram, &wires, &ends, &given)?;
    say_places(&devices.buses, &given.placement);
    let confined = ends.events.confine(&given.confinement);
    confined.map_err(|error| BuildError::Host {
        what: "confined event thread",
        error,
    })?;
    let pristine = vcpu.state();
    let mut vm = Vm {
        confinement: given.confinement,
        description: describe(&given.kvm, &vcpu),
        on_reset,
        on_panic,
        standstills,
        timeout,
        placement: given.placement,
        pristine,
        vcpu,
        virtual_time: devices.virtual_time,
        live_devices: devices.live,
        balloon: devices.balloon,
        networks: devices.networks,
        buses: devices.buses,
        unanswered: Unanswered::default(),
        ram,
        uics: [wires.uic0, wires.uic1],
        lines: ends.lines,
        console_log: ends.console_log,
        uarts: board.uarts.len(),
        watch: ends.watch,
        symbols: given.symbols,
        agent_lines: ends.agent_lines,
        control: ends.control,
        deadlines: ends.deadlines,
        events: ends.events,
        ended: None,
        started: false,
        stands_still: false,
        held: None,
    };
    vm.load().map_err(no_guest_memory)?;
    if vm.on_reset == OnReset::Exit {
        // The guest never starts again, and their bytes are as large as what it has in memory.
        vm.placement.segments = Vec::new();
    }
    Ok(vm)
}

/// Says where everything is, for who looks for details.
fn say_places(buses: &Buses, placement: &Placement) {
    for (name, start, count) in buses.mmio.ranges() {
        tracing::debug!("{name} at {start:#010x}, {count:#x} bytes");
    }
    for (name, start, count) in buses.dcr.ranges() {
        tracing::debug!("{name} at dcr {start:#05x}, {count:#x} registers");
    }
    for segment in &placement.segments {
        let (start, end) = (segment.gpa, segment.end());
        let what = segment.what;
        tracing::debug!("{what} from {start:#010x} to {end:#010x}");
    }
    tracing::debug!("the guest starts with {:x?}", placement.registers);
}

/// What the user gave, checked before anything is made.
struct Given {
    kvm: Kvm,
    banks: [u32; sdram::BANKS],
    placement: Placement,
    symbols: Option<Arc<Symbols>>,
    confinement: Confinement,
}

impl Given {
    fn check(board: &Board, spec: &Spec, additions: &Additions) -> Result<Self, BuildError> {
        let on_mmio = OnMmio::new(board, &virtio::named(spec, additions), &additions.nodes)?;
        virtio::check(spec)?;
        let banks = sdram::banks(spec.memory.bytes())?;
        let kvm = Kvm::open(spec.accel)?;
        let (placement, symbols) = boot::place(spec, board, &on_mmio)?;
        let symbols = boot::symbols(spec, symbols)?;
        check_places(board, spec, additions)?;
        let confinement = Confinement::new(additions.sandbox)?;
        Ok(Given {
            kvm,
            banks,
            placement,
            symbols,
            confinement: confinement.with_sockets(virtio::sockets(spec)),
        })
    }

    /// The CPU, over its memory.
    fn vcpu(&self, board: &Board, spec: &Spec, ram: &Ram) -> Result<Vcpu, BuildError> {
        let options = VmOptions {
            clock: spec.clock,
            timer_hz: board.clocks.timebase_hz.into(),
            engine: engine(spec.cpu),
            windows: spec.windows,
        };
        let mut kvm_vm = self.kvm.create_vm(ram.region.clone(), options);
        kvm_vm.set_memory_slot(0, 0, spec.memory.bytes(), 0);
        let mut vcpu = kvm_vm.create_vcpu()?;
        vcpu.set_timed(spec.timed);
        vcpu.set_hang_exits(true);
        Ok(vcpu)
    }
}

/// What the core is to choose the engine from.
fn engine(cpu: Cpu) -> EngineChoice {
    match cpu {
        Cpu::Auto => EngineChoice::Auto,
        Cpu::Interp => EngineChoice::Only(Engine::Interpreter),
        Cpu::Jit => EngineChoice::Only(Engine::Translator),
    }
}

/// Whether the embedder's devices are clear of RAM and on inputs that exist; whether they are
/// clear of other devices, the buses say.
fn check_places(board: &Board, spec: &Spec, additions: &Additions) -> Result<(), BuildError> {
    let ram = spec.ram_bytes();
    let Additions { mmio, dcr, .. } = additions;
    if let Some(device) = mmio.iter().find(|device| device.place.base < ram) {
        let (name, base) = (device.name.clone(), device.place.base);
        return Err(BuildError::DeviceInRam { name, base, ram });
    }
    let mmio = mmio.iter().map(|device| (&device.name, device.interrupt));
    let dcr = dcr.iter().map(|device| (&device.name, device.interrupt));
    for (name, interrupt) in mmio.chain(dcr) {
        let Some(Interrupt {
            controller, input, ..
        }) = interrupt
        else {
            continue;
        };
        if input > 31 {
            let name = name.clone();
            return Err(BuildError::Interrupt { name, input });
        }
        if let Some(owner) = board.owner_of_interrupt(controller, input) {
            return Err(BuildError::InterruptTaken {
                name: name.clone(),
                controller,
                input,
                owner,
            });
        }
    }
    Ok(())
}

/// The far ends of serial ports and virtio consoles, and the thread that serves them.
struct Ends {
    control: Arc<Control>,
    watch: Arc<Watch>,
    lines: Vec<Line>,
    console_log: Option<Line>,
    agent_lines: Vec<usize>,
    deadlines: Arc<Deadlines>,
    events: EventThread,
}

impl Ends {
    fn open(
        board: &Board,
        spec: &Spec,
        additions: &mut Additions,
        vcpu: &Vcpu,
        ram: &Ram,
        given: &Given,
    ) -> Result<Self, BuildError> {
        let control = Arc::new(Control::default());
        control.attach(vcpu.handle());
        let watch = Watch::new(control.clone(), spec.on_panic);
        watch.know(given.symbols.as_ref(), ram.memory.clone());
        let serial = std::mem::take(&mut additions.serial).consoles(spec.serial.clone());
        let virtio = std::mem::take(&mut additions.virtio_consoles);
        let uarts = board.uarts.len();
        let mut virtio = virtio.consoles(virtio::console_destinations(spec));
        virtio.extend(additions.agent.then(Console::memory));
        let agents = Agents::of(additions, uarts + virtio.len());
        let owner = |line| -> Arc<dyn Owner> {
            match agents.has(line) {
                true => Arc::new(Port::data(control.clone())),
                false => Arc::new(Port::new(control.clone(), watch.clone())),
            }
        };
        let mut ends = serial::open(serial, uarts, virtio, spec.escape, owner)?;
        if let Some(file) = &spec.console_log {
            let console = first_console(spec, uarts);
            ends.log(console, file, owner(console))?;
        }
        let Lines {
            lines,
            log,
            subscribers,
        } = ends;
        let deadlines = Arc::new(Deadlines::default());
        let tick = {
            let (deadlines, control, watch) = (deadlines.clone(), control.clone(), watch.clone());
            move |now| {
                let next = deadlines.pass(now, &control);
                let look = watch.pass(now).and_then(|left| now.checked_add(left));
                next.into_iter().chain(look).min()
            }
        };
        let events = EventThread::start("events", subscribers, Box::new(tick));
        let events = events.map_err(|error| BuildError::Host {
            what: "event thread",
            error,
        })?;
        watch.on_change(events.kicker());
        Ok(Ends {
            control,
            watch,
            lines,
            console_log: log,
            agent_lines: agents.0,
            deadlines,
            events,
        })
    }
}

/// The console that a person looks at: where standard output is, or else UART0.
fn first_console(spec: &Spec, uarts: usize) -> usize {
    let serial = spec.serial.iter().position(|it| *it == Serial::Stdio);
    let virtio = virtio::console_destinations(spec);
    let virtio = virtio.iter().position(|it| *it == Serial::Stdio);
    serial
        .or(virtio.map(|number| uarts + number))
        .unwrap_or_default()
}

/// Which lines are an agent's channels, best first: its port, and UART1.
struct Agents(Vec<usize>);

impl Agents {
    fn of(additions: &Additions, lines: usize) -> Self {
        let port = additions.agent.then(|| lines - 1);
        Agents(port.into_iter().chain(additions.agent_uart).collect())
    }

    fn has(&self, line: usize) -> bool {
        self.0.contains(&line)
    }
}

/// All devices, on their buses.
struct Devices {
    buses: Buses,
    live: LiveDevices,
    balloon: Option<Target>,
    networks: Vec<LiveForwards>,
    virtual_time: Option<Arc<VirtualTime>>,
}

impl Devices {
    fn new(
        board: &Board,
        spec: Spec,
        mut additions: Additions,
        ram: &Ram,
        wires: &Wires,
        ends: &Ends,
        given: &Given,
    ) -> Result<Self, BuildError> {
        let mut buses = Buses::default();
        let (time, virtual_time) = time_of_day::source(spec.clock, board.clocks.timebase_hz);
        parts::add_dcr_units(&mut buses.dcr, board, wires, given.banks)?;
        let mmio = &mut buses.mmio;
        parts::add_uarts(mmio, board, wires, &ends.lines)?;
        parts::add_iic(mmio, board, wires, time)?;
        parts::add_peripherals(mmio, board)?;
        let bridge = parts::add_pci(mmio, board)?;
        parts::add_flash(mmio, board)?;
        parts::add_pvpanic(mmio, board, &ends.watch)?;
        parts::add_syscon(mmio, board, &ends.control)?;

        let frame = Frame {
            board,
            wires,
            bridge: &bridge,
            memory: &ram.memory,
        };
        let mut maker = Maker {
            events: &ends.events,
            confinement: &given.confinement,
            clock: spec.clock,
            ram,
            consoles: ends.lines[board.uarts.len()..].iter(),
            agent: additions.agent.then(|| ends.lines.last()).flatten(),
            turns: Turns::default(),
            nets: 0,
            balloon: None,
            networks: Vec::new(),
        };
        let mmio = std::mem::take(&mut additions.mmio);
        let dcr = std::mem::take(&mut additions.dcr);
        let live = add_virtio(&mut buses, &frame, &mut maker, spec, additions)?;
        let Maker {
            balloon, networks, ..
        } = maker;
        let wiring = |interrupt: Option<Interrupt>| Wiring {
            irq: wires.optional(interrupt),
            memory: ram.memory.clone(),
        };
        for custom in mmio {
            let device = (custom.make)(wiring(custom.interrupt));
            let addresses = range(custom.place);
            buses.mmio.register(addresses, custom.name, device)?;
        }
        for custom in dcr {
            let device = (custom.make)(wiring(custom.interrupt));
            buses
                .dcr
                .register(dcrs(custom.place), custom.name, device)?;
        }
        Ok(Devices {
            buses,
            live,
            balloon,
            networks,
            virtual_time,
        })
    }
}

fn no_guest_memory(error: std::io::Error) -> BuildError {
    BuildError::Host {
        what: "memory for the guest",
        error,
    }
}

fn describe(kvm: &Kvm, vcpu: &Vcpu) -> String {
    let engine = match (vcpu.engine(), vcpu.not_translator()) {
        (Engine::Translator, _) => "translator".to_owned(),
        (Engine::Interpreter, None) => "interpreter".to_owned(),
        (Engine::Interpreter, Some(why)) => format!("interpreter ({why})"),
    };
    // The reason is long, and the same each time.
    let why = kvm.not_kernel().map(|why| {
        tracing::info!("{why}");
        " (/dev/kvm is not used)"
    });
    format!("{}, {engine}{}", kvm.backend(), why.unwrap_or_default())
}
