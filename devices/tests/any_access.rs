//! Whatever a guest writes anywhere is data: no access makes a device panic, and a device's state
//! survives being taken out and put back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ppckvm_devices::bus::{DcrBus, DcrDevice, MmioBus, MmioDevice};
use ppckvm_devices::irq::IrqLine;
use ppckvm_devices::pci_bridge::{Ack, Bridge, ConfigPort, IoWindow, LocalRegs, MemoryWindow};
use ppckvm_devices::test_support::Dice;
use ppckvm_devices::uart16550::Uart;
use ppckvm_devices::uic::Uic;
use ppckvm_devices::{
    cpr, dma, ds1307, ebc, emac, flash, gpio, iic, mal, plb, pvpanic, sdr, sdram, syscon, zmii,
};

/// An offset or a value: mostly small, which is where registers and indices are.
fn offset(dice: &mut Dice) -> u32 {
    match dice.below(8) {
        0 => dice.roll() as u32,
        1 => u32::MAX - dice.below(16) as u32,
        _ => dice.below(0x140) as u32,
    }
}

fn dcr_devices() -> Vec<Box<dyn DcrDevice>> {
    let uic0 = Uic::new(IrqLine::detached(), IrqLine::detached());
    let uic1 = Uic::new(uic0.line(30), uic0.line(31));
    vec![
        Box::new(uic0),
        Box::new(uic1),
        Box::new(cpr::Cpr::new(cpr::Registers::default())),
        Box::new(sdr::Sdr::new([sdr::UART_EXTERNAL_CLOCK; 4])),
        Box::new(sdram::Sdram::new([1; 4])),
        Box::new(ebc::Ebc::new([0; 8])),
        Box::new(plb::Arbiter::new()),
        Box::new(plb::Plb::new()),
        Box::new(mal::Mal::new()),
        Box::new(dma::Dma::new()),
    ]
}

fn mmio_devices() -> Vec<Box<dyn MmioDevice>> {
    let uic = Uic::new(IrqLine::detached(), IrqLine::detached());
    let bridge = Arc::new(Mutex::new(Bridge::new()));
    let uart = Uart::new(uic.line(0), Box::new(|_: u8| ()));
    let feeder = uart.clone();
    uart.set_wake(Arc::new(move || {
        let offered = [0xA5; 20];
        assert!(feeder.receive(&offered) <= 16);
    }));
    let mut iic = iic::Iic::new(uic.line(2));
    let clock = ds1307::Ds1307::new(Box::new(|| Duration::from_secs(1_800_000_000)));
    iic.attach(ds1307::ADDRESS, Box::new(clock))
        .expect("the bus is empty");
    vec![
        Box::new(uart),
        Box::new(iic),
        Box::new(gpio::Gpio::new()),
        Box::new(flash::Flash::erased().with(0, [0x48; 0x100])),
        Box::new(zmii::Zmii::new()),
        Box::new(emac::Emac::new()),
        Box::new(syscon::Syscon::new(0, 0x5555, Box::new(|| ()))),
        Box::new(ConfigPort(bridge.clone())),
        Box::new(LocalRegs(bridge.clone())),
        Box::new(MemoryWindow::new(bridge.clone(), 0xA000_0000)),
        Box::new(IoWindow(bridge)),
        Box::new(pvpanic::Pvpanic::new(Box::new(|_| ()))),
        Box::new(Ack),
    ]
}

#[test]
fn no_mmio_access_makes_a_device_panic() {
    let dice = &mut Dice::new(0x440E_0001);
    for mut device in mmio_devices() {
        for _ in 0..5_000 {
            let offset = offset(dice);
            let width = 1 << dice.below(4);
            let mut data = [0; 8];
            data.fill_with(|| dice.roll() as u8);
            // Whether it is answered is the device's own business, tested beside it.
            let _ = device.write(offset, &data[..width]);
            let _ = device.read(offset, &mut data[..width]);
        }
        device.reset();
    }
}

#[test]
fn no_dcr_access_makes_a_device_panic() {
    let dice = &mut Dice::new(0x440E_0002);
    for mut device in dcr_devices() {
        for _ in 0..5_000 {
            let value = offset(dice);
            // The first two registers, which hold indices, half of the time.
            let offset = match dice.below(2) {
                0 => dice.below(2) as u32,
                _ => offset(dice),
            };
            let _ = device.write(offset, value);
            let _ = device.read(offset);
        }
        device.reset();
    }
}

#[test]
fn the_whole_board_fits_on_its_buses_and_resets() {
    let mut mmio = MmioBus::new();
    for (n, device) in (0u64..).zip(mmio_devices()) {
        let base = 0xEF60_0000 + n * 0x100;
        mmio.register(base..base + 0x100, format!("device {n}"), device)
            .expect("the windows do not overlap");
    }
    let mut dcrs = DcrBus::new();
    for (n, device) in (0u32..).zip(dcr_devices()) {
        let base = n * 0x100;
        dcrs.register(base..base + 0x100, format!("unit {n}"), device)
            .expect("the ranges do not overlap");
    }
    dcrs.write(2, 0xFF).expect("UIC0 has ER");
    assert_eq!(dcrs.read(2), Ok(0xFF));
    dcrs.reset();
    assert_eq!(dcrs.read(2), Ok(0));
    mmio.write(0xEF60_0004, &[0x0F]).expect("UART0 has MCR");
    mmio.reset();
    let mut mcr = [1];
    mmio.read(0xEF60_0004, &mut mcr).expect("UART0 has MCR");
    assert_eq!(mcr, [0]);
}
