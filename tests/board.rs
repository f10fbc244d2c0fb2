//! The board's devices as Linux's own drivers find them, from user space in the test kernel.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::SystemTime;

use ppckvm::{Clock, Machine, OnPanic, OnReset, Outcome, ResetKind};
use ppckvm_fdt::{Board, TreeOptions, generate};
use support::guest;
use support::linux::{self, Linux, PROMPT};

/// 2026-01-01 00:00:00 UTC, when the virtual clock starts.
const VIRTUAL_START: u64 = 1_767_225_600;

/// Boot messages on the console are what some of these look at, so the kernel is not quiet.
fn machine(clock: Clock) -> Machine {
    linux::machine().append("console=ttyS0").clock(clock)
}

/// The seconds since 1970 that the clock chip shows.
fn clock_chip(vm: &mut Linux) -> u64 {
    let lines = vm.lines("cat /sys/class/rtc/rtc0/since_epoch");
    lines[0].parse().unwrap()
}

fn host_seconds() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_secs()
}

/// The addresses at which `i2cdetect` found something, with what it shows for each.
fn found(lines: &[String]) -> Vec<(u8, String)> {
    let mut found = Vec::new();
    for line in lines.iter().skip(1) {
        let (row, cells) = line.split_once(':').unwrap();
        let row = u8::from_str_radix(row, 16).unwrap();
        // Each cell is three characters wide; addresses that are not probed are blank.
        for (column, cell) in (0..16).zip(cells.as_bytes().chunks(3)) {
            let cell = String::from_utf8_lossy(cell).trim().to_owned();
            if !cell.is_empty() && cell != "--" {
                found.push((row + column, cell));
            }
        }
    }
    found
}

#[test]
fn the_clock_chip_keeps_the_hosts_time() {
    let before = host_seconds();
    let mut vm = Linux::boot(machine(Clock::Host));
    let boot = vm.output_text();
    assert!(
        boot.contains("rtc-ds1307 0-0068: registered as rtc0"),
        "{boot}"
    );
    let (_, set) = boot.split_once("setting system clock to ").unwrap();
    let seconds = set.split(['(', ')']).nth(1).unwrap().parse().unwrap();
    assert!((before..=host_seconds()).contains(&seconds), "{set}");
    let before = host_seconds();
    let shown = clock_chip(&mut vm);
    assert!((before..=host_seconds()).contains(&shown));
    // The same through the ioctl that hwclock uses.
    let lines = vm.lines("hwclock -r -u; date -u +%Y");
    assert!(lines[0].contains(&format!(" {}  ", lines[1])), "{lines:?}");
}

#[test]
fn under_the_virtual_clock_the_time_follows_the_instructions_from_a_fixed_date() {
    let run = || {
        let mut vm = Linux::boot(machine(Clock::Virtual));
        let boot = vm.output_text();
        assert!(
            boot.contains("setting system clock to 2026-01-01T00:00:00 UTC (1767225600)"),
            "{boot}"
        );
        let lines = vm.lines("sleep 86400; hwclock -r -u; cut -d. -f1 /proc/uptime");
        let shown = clock_chip(&mut vm);
        let up: u64 = lines[1].parse().unwrap();
        // The guest's own clock started a few milliseconds after the machine.
        assert!(
            (VIRTUAL_START + up..=VIRTUAL_START + up + 1).contains(&shown),
            "{shown} after {up} s"
        );
        (lines, shown)
    };
    let (lines, shown) = run();
    assert!(lines[0].starts_with("Fri Jan  2 00:00:0"), "{lines:?}");
    assert!(lines[0].contains(" 2026  0."), "{lines:?}");
    assert_eq!(run(), (lines, shown), "every run is the same");
}

#[test]
fn a_time_that_the_guest_sets_survives_its_reboot() {
    let machine = machine(Clock::Virtual).on_reset(OnReset::Reboot);
    let mut vm = Linux::boot(machine);
    let lines =
        vm.lines("date -u -s '2030-02-28 23:59:50' >/dev/null; hwclock -w -u; hwclock -r -u");
    assert_eq!(lines, ["Thu Feb 28 23:59:50 2030  0.000000 seconds"]);
    assert_eq!(
        vm.lines("sleep 10; hwclock -r -u"),
        ["Fri Mar  1 00:00:00 2030  0.000000 seconds"]
    );
    vm.write("reboot -f\n");
    vm.wait_for("setting system clock to 2030-03-01T00:00:0");
}

#[test]
fn i2cdetect_finds_the_clock_chip_and_nothing_else() {
    let mut vm = Linux::boot(machine(Clock::Host));
    // `UU`: a driver has it, so it is not probed.
    let bound = vec![(0x68, "UU".to_owned())];
    let free = vec![(0x68, "68".to_owned())];
    // Without data, bit by bit; and by reading a byte.
    for mode in ["-q", "-r"] {
        let lines = vm.lines(&format!("i2cdetect -y {mode} 0"));
        assert_eq!(found(&lines), bound, "{lines:#?}");
        let lines = vm.lines(&format!("i2cdetect -y {mode} 1"));
        assert_eq!(found(&lines), [], "{lines:#?}");
    }
    vm.lines("echo 0-0068 >/sys/bus/i2c/drivers/rtc-ds1307/unbind");
    for mode in ["-q", "-r"] {
        let lines = vm.lines(&format!("i2cdetect -y {mode} 0"));
        assert_eq!(found(&lines), free, "{lines:#?}");
    }
    let lines = vm.lines("i2cset -y 0 0x68 0x3f 0x5a; i2cget -y 0 0x68 0x3f; i2cget -y 0 0x50 0");
    assert_eq!(lines[0], "0x5a", "a byte of the chip's memory");
    assert!(lines[1].starts_with("i2cget: "), "nobody there: {lines:?}");
    // Each transfer interrupts.
    let lines = vm.lines("grep 'IBM IIC' /proc/interrupts");
    let count = |line: &str| -> u32 { line.split_whitespace().nth(1).unwrap().parse().unwrap() };
    assert!(lines.iter().all(|line| count(line) > 0), "{lines:?}");
    assert_eq!(lines.len(), 2, "{lines:?}");
}

#[test]
fn gpio_outputs_read_back_from_user_space() {
    let mut vm = Linux::boot(machine(Clock::Host));
    let lines = vm.lines("cat /sys/class/gpio/gpiochip*/label");
    assert_eq!(lines, ["/plb/opb/gpio@ef600c00", "/plb/opb/gpio@ef600b00"]);
    // The second controller's pin 3.
    let lines = vm.lines(
        "cd /sys/class/gpio; base=$(cat gpiochip448/base); pin=gpio$((base + 3)); \
         echo $((base + 3)) >export; cd $pin; cat direction value; \
         echo out >direction; cat value; echo 1 >value; cat value; \
         devmem 0xef600c00; devmem 0xef600c04; devmem 0xef600c1c; \
         echo 0 >value; cat value; devmem 0xef600c1c; echo in >direction; devmem 0xef600c04; cd",
    );
    assert_eq!(
        lines,
        [
            "in",
            "0",
            "0",
            "1",
            "0x10000000",
            "0x10000000",
            "0x10000000",
            "0",
            "0x00000000",
            "0x00000000"
        ]
    );
}

#[test]
fn the_pci_bus_has_its_bridge_and_empty_windows() {
    let mut vm = Linux::boot(machine(Clock::Host));
    assert_eq!(
        vm.lines("lspci; ls /sys/bus/pci/devices"),
        ["00:00.0 Class 0680: 1014:027f", "0000:00:00.0"]
    );
    let boot = vm.output_text();
    assert!(!boot.contains("can't assign"), "{boot}");
    // Memory, the ISA hole and I/O: nobody answers, and nothing comes to harm.
    let lines = vm.lines(
        "devmem 0xa0000000; devmem 0xbffffffc; devmem 0xe0000000; devmem 0xe8000000 8; \
         devmem 0xe800fffe 16; devmem 0xa0000000 32 0; devmem 0xeed00000",
    );
    assert_eq!(
        lines,
        [
            "0xFFFFFFFF",
            "0xFFFFFFFF",
            "0xFFFFFFFF",
            "0xFF",
            "0xFFFF",
            "0xFFFFFFFF"
        ]
    );
}

#[test]
fn a_probing_ethernet_driver_finds_no_transceiver() {
    let board = Board::bamboo();
    let options = TreeOptions {
        ethernet: Some(board.emacs.map(|emac| emac.mac)),
        ..TreeOptions::default()
    };
    let tree = generate(&board, &options).unwrap();
    // The slim kernel has no such driver.
    let machine = Machine::new()
        .kernel(guest("BAMBOO_UIMAGE"))
        .initrd(guest("ROOTFS"))
        .append("console=ttyS0")
        .dtb_bytes("tree with ethernet", tree);
    let boot = Linux::boot(machine).output_text();
    for line in [
        "MAL v1 /plb/mcmal, 4 TX channels, 2 RX channels",
        "ZMII /plb/opb/emac-zmii@ef600d00 initialized",
        "/plb/opb/ethernet@ef600e00: can't find PHY!",
        "/plb/opb/ethernet@ef600f00: can't find PHY!",
    ] {
        assert!(boot.contains(line), "{line:?} is not in:\n{boot}");
    }
    assert!(!boot.contains("reset timeout"), "{boot}");
}

#[test]
fn hardware_that_is_absent_reads_as_zero() {
    let mut vm = Linux::boot(machine(Clock::Host));
    // USB, SPI, and a hole.
    let lines = vm
        .lines("devmem 0xef601000; devmem 0xef600900 8; devmem 0xef602000; devmem 0xef601000 32 1");
    assert_eq!(lines, ["0x00000000", "0x00", "0x00000000"]);
}

#[test]
fn the_boot_flash_holds_the_monitors_mac_addresses() {
    let mut vm = Linux::boot(machine(Clock::Host));
    let lines = vm.lines(
        "for at in 0400 0404 0408 0500 0504 0508; do devmem 0xfffc$at; done; \
         devmem 0xfffc040c 8; devmem 0xfff00000 32 0; devmem 0xfff00000",
    );
    // 0200440E5000 and 0200440E5001 in ASCII, then a NUL.
    assert_eq!(
        lines,
        [
            "0x30323030",
            "0x34343045",
            "0x35303030",
            "0x30323030",
            "0x34343045",
            "0x35303031",
            "0x00",
            "0xFFFFFFFF"
        ]
    );
}

#[test]
fn a_kernel_with_the_driver_can_report_a_panic() {
    let mut vm = Linux::boot(machine(Clock::Host));
    let lines = vm.lines("cat /sys/bus/platform/devices/*.pvpanic/capability");
    assert_eq!(lines, ["3"], "panic, and panic with a crash kernel");
}

#[test]
fn a_watchdog_that_is_fed_lets_the_guest_run() {
    let mut vm = Linux::boot(machine(Clock::Virtual));
    // Without food the guest would last about 50 s.
    let lines = vm
        .lines("watchdog -T 3 -t 10 /dev/watchdog; sleep 600; cat /sys/class/rtc/rtc0/since_epoch");
    assert!(lines[0].parse::<u64>().unwrap() >= VIRTUAL_START + 600);
    vm.write("reboot -f\n");
    assert_eq!(vm.end(), Outcome::Reset(ResetKind::System));
}

#[test]
fn a_watchdog_that_is_not_fed_resets_the_guest() {
    let mut vm = Linux::boot(machine(Clock::Virtual));
    vm.lines("watchdog -T 3 -t 10 /dev/watchdog; sleep 60");
    vm.write("killall -STOP watchdog; sleep 100; echo still here\n");
    let outcome = vm.end();
    assert_eq!(outcome, Outcome::WatchdogReset(ResetKind::Chip));
    assert_eq!(outcome.exit_status(), 36);
    let output = vm.output_text();
    // The driver's warning comes first, one period before the end.
    assert!(
        output.contains("PowerPC Book-E Watchdog Exception"),
        "{output}"
    );
    assert!(!output.contains("\nstill here"), "{output}");
}

#[test]
fn a_watchdog_resets_a_guest_that_died() {
    let machine = machine(Clock::Virtual).on_panic(OnPanic::Continue);
    let mut vm = Linux::boot(machine.append("console=ttyS0 panic=0"));
    // The shortest period, so that the dead kernel does not spin for long.
    vm.write("watchdog -T 1 -t 10ms /dev/watchdog; sleep 1; echo c >/proc/sysrq-trigger\n");
    // The run goes on after the panic, and with `panic=0` nothing but the watchdog ends it; the
    // verdict is what the guest died of.
    let died = Outcome::KernelPanic {
        message: Some("sysrq triggered crash".into()),
    };
    assert_eq!(vm.end(), died);
    let output = vm.output_text();
    assert!(
        output.contains("end Kernel panic - not syncing: sysrq triggered crash"),
        "{output}"
    );
}

#[test]
fn a_watchdog_reset_can_start_the_guest_again() {
    let mut vm = Linux::boot(machine(Clock::Virtual).on_reset(OnReset::Reboot));
    vm.write("watchdog -T 3 -t 10 /dev/watchdog; sleep 60; killall -STOP watchdog; sleep 100\n");
    vm.wait_for("guest: user space is up");
    vm.wait_for(PROMPT);
    assert_eq!(
        vm.lines("sleep 100; echo alive"),
        ["alive"],
        "the reset stopped the watchdog"
    );
}
