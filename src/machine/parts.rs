//! The board's own devices, each put at its place.

use std::sync::{Arc, Mutex};

use ppckvm_devices::bus::RegisterError;
use ppckvm_devices::cpr::{self, Cpr};
use ppckvm_devices::dma::Dma;
use ppckvm_devices::ds1307::{Ds1307, Source};
use ppckvm_devices::ebc::{self, Ebc};
use ppckvm_devices::emac::Emac;
use ppckvm_devices::flash::Flash;
use ppckvm_devices::gpio::Gpio;
use ppckvm_devices::iic::Iic;
use ppckvm_devices::mal::Mal;
use ppckvm_devices::pci_bridge::{
    Ack, Bridge, ConfigPort, IoWindow, LocalRegs, MemoryWindow, SharedBridge,
};
use ppckvm_devices::plb::{Arbiter, Plb};
use ppckvm_devices::pvpanic::{Event, Pvpanic};
use ppckvm_devices::sdr::Sdr;
use ppckvm_devices::sdram::{self, Sdram};
use ppckvm_devices::syscon::Syscon;
use ppckvm_devices::uart16550::Uart;
use ppckvm_devices::zmii::Zmii;
use ppckvm_devices::{DcrBus, DcrDevice, MmioBus};
use ppckvm_fdt::board::{Board, DcrRange};

use crate::host::console::port::ConsolePort;
use crate::host::serial::Line;
use crate::machine::wires::{Wires, dcrs, range};
use crate::vm::control::{Control, Request};
use crate::vm::outcome::Outcome;
use crate::vm::watch::Watch;

/// The external bus's chip selects: the first is the boot flash's.
fn chip_selects(board: &Board) -> [u32; ebc::BANKS] {
    let mut banks = [0; ebc::BANKS];
    // The size field counts doublings of 1 MiB.
    let size = (board.boot_flash.size >> 20).max(1).ilog2();
    banks[0] = ebc::read_only_bank(board.boot_flash.base, size);
    banks
}

/// The units behind DCRs.
pub(crate) fn add_dcr_units(
    bus: &mut DcrBus,
    board: &Board,
    wires: &Wires,
    banks: [u32; sdram::BANKS],
) -> Result<(), RegisterError> {
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
pub(crate) fn add_uarts(
    bus: &mut MmioBus,
    board: &Board,
    wires: &Wires,
    lines: &[Line],
) -> Result<(), RegisterError> {
    for (number, (desc, line)) in board.uarts.iter().zip(lines).enumerate() {
        let hub = &line.hub;
        let sink = hub.clone();
        let uart = Uart::new(
            wires.to(desc.interrupt),
            Box::new(move |byte| sink.transmit(&[byte])),
        );
        let port = ConsolePort::new(uart, hub);
        hub.connect(Arc::new(port.clone()));
        bus.register(range(desc.mmio), format!("uart{number}"), Box::new(port))?;
    }
    Ok(())
}

/// The IIC controllers, with the clock chip, which counts with `time`.
pub(crate) fn add_iic(
    bus: &mut MmioBus,
    board: &Board,
    wires: &Wires,
    time: Source,
) -> Result<(), RegisterError> {
    let mut iic = board.iic.map(|desc| Iic::new(wires.to(desc.interrupt)));
    if let Some(iic) = iic.get_mut(usize::from(board.rtc.bus)) {
        iic.attach(board.rtc.address, Box::new(Ds1307::new(time)))
            .expect("the clock chip's address is valid, and the bus is empty");
    }
    for (number, (iic, desc)) in iic.into_iter().zip(&board.iic).enumerate() {
        bus.register(range(desc.mmio), format!("iic{number}"), Box::new(iic))?;
    }
    Ok(())
}

/// The chip's other peripherals.
pub(crate) fn add_peripherals(bus: &mut MmioBus, board: &Board) -> Result<(), RegisterError> {
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
            range(desc.mmio),
            format!("emac{number}"),
            Box::new(Emac::new()),
        )?;
    }
    Ok(())
}

/// The boot flash: erased, except for what the board's monitor leaves for boot wrappers.
pub(crate) fn add_flash(bus: &mut MmioBus, board: &Board) -> Result<(), RegisterError> {
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
pub(crate) fn add_pvpanic(
    bus: &mut MmioBus,
    board: &Board,
    watch: &Arc<Watch>,
) -> Result<(), RegisterError> {
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
pub(crate) fn add_syscon(
    bus: &mut MmioBus,
    board: &Board,
    control: &Arc<Control>,
) -> Result<(), RegisterError> {
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
    bus.register(range(desc.mmio), "syscon", Box::new(syscon))?;
    Ok(())
}

/// The PCI host bridge, its bus empty.
pub(crate) fn add_pci(bus: &mut MmioBus, board: &Board) -> Result<SharedBridge, RegisterError> {
    let bridge = Arc::new(Mutex::new(Bridge::new()));
    let pci = &board.pci;
    bus.register(
        range(pci.config),
        "pci config",
        Box::new(ConfigPort(bridge.clone())),
    )?;
    bus.register(range(pci.iack_special), "pci iack", Box::new(Ack))?;
    bus.register(
        range(pci.regs),
        "pci local registers",
        Box::new(LocalRegs(bridge.clone())),
    )?;
    for (window, name) in [
        (pci.memory, "pci memory"),
        (pci.isa_memory, "pci isa memory"),
    ] {
        let memory = MemoryWindow::new(bridge.clone(), window.base);
        bus.register(range(window), name, Box::new(memory))?;
    }
    bus.register(range(pci.io), "pci i/o", Box::new(IoWindow(bridge.clone())))?;
    Ok(bridge)
}
