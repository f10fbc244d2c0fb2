//! Virtio devices in Linux, over each transport and each interface.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;

use ppckvm::virtio_device::{Activation, ByteOrder, QueueError, VirtioDevice};
use ppckvm::{Bus, Clock, Console, GuestMemory, OnReset, Outcome, Place, Vm, WindowSize};
use support::linux::{Linux, PROMPT, machine};

const MMIO: Place = Place {
    bus: Bus::Mmio,
    legacy: false,
};
const MMIO_LEGACY: Place = Place {
    bus: Bus::Mmio,
    legacy: true,
};
const PCI: Place = Place {
    bus: Bus::Pci,
    legacy: false,
};
const PCI_LEGACY: Place = Place {
    bus: Bus::Pci,
    legacy: true,
};

/// Whether a virtio device in the guest negotiated VERSION_1: bit 32 of its features.
fn is_modern(vm: &mut Linux, device: usize) -> bool {
    let path = format!("/sys/bus/virtio/devices/virtio{device}/features");
    let features = vm.command(&format!("cat {path}"));
    features.as_bytes().get(32) == Some(&b'1')
}

/// The guest reads random bytes.
fn entropy_works(vm: &mut Linux) {
    let current = vm.command("cat /sys/class/misc/hw_random/rng_current");
    assert!(current.starts_with("virtio_rng."), "{current}");
    let bytes = vm.command("head -c 100000 /dev/hwrng | gzip | wc -c");
    let compressed: u32 = bytes.trim().parse().unwrap();
    assert!(compressed >= 100_000, "{compressed} bytes");
}

/// The guest prints on hvc0 and reads from it.
fn console_works(vm: &mut Linux) {
    // While it is open, it stays as it is set: the driver forgets that when it is closed.
    vm.command("exec 3<>/dev/hvc0; stty raw -echo <&3; seq 5000 >&3");
    let lines: String = (1..=1000).map(|n| format!("{n}\n")).collect();
    assert!(vm.virtio_console_write(0, &lines));
    let sum = vm.command("head -n 1000 <&3 | md5sum");
    assert_eq!(sum, vm.command("seq 1000 | md5sum"));
    let numbers: String = (1..=5000).map(|n| format!("{n}\n")).collect();
    assert!(vm.virtio_console_output(0) == numbers.as_bytes());
    assert!(!vm.virtio_console_write(1, "x"), "there is no second one");
}

/// Memory that the guest filled and freed goes back to the host, and more when the host asks.
fn balloon_works(vm: &mut Linux) {
    const MIB: u64 = 1 << 20;
    // Linux reports only while it has 32 free pieces of 4 MiB more than it needs.
    vm.command("head -c 67108864 /dev/zero | tr '\\0' x >/tmp/x");
    let full = vm.resident_memory().unwrap();
    assert!(full > 64 * MIB, "{full}");
    vm.command("rm /tmp/x");
    vm.wait_until("reported", |vm| {
        vm.resident_memory().unwrap() < full - 48 * MIB
    });

    let balloon = vm.balloon().unwrap().clone();
    let free = |vm: &mut Linux| -> u64 {
        let line = vm.command("grep MemFree /proc/meminfo");
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let before = free(vm);
    balloon.set((32 * MIB / 4096) as u32);
    vm.wait_until("inflated", |_| balloon.actual() == 8192);
    assert!(free(vm) < before - 30_000, "KiB");
    balloon.set(0);
    vm.wait_until("deflated", |_| balloon.actual() == 0);
    assert!(free(vm) > before - 4_000, "KiB");
    // What comes back is good memory.
    let sum = vm.command("head -c 67108864 /dev/zero >/tmp/y; md5sum </tmp/y");
    assert_eq!(sum, "7f614da9329cd3aebf59b91aadc30bf0  -\n");
}

/// Each device of the launcher's own over one transport and interface.
fn all_work(place: Place) {
    let machine = machine().rng(Some(place)).balloon(place);
    let mut vm = Linux::boot(machine.virtio_console(Console::memory(), place));
    for device in 0..3 {
        assert_eq!(is_modern(&mut vm, device), !place.legacy, "{device}");
    }
    entropy_works(&mut vm);
    console_works(&mut vm);
    balloon_works(&mut vm);
    vm.power_off();
}

#[test]
fn devices_over_mmio() {
    all_work(MMIO);
}

#[test]
fn devices_over_legacy_mmio() {
    all_work(MMIO_LEGACY);
}

#[test]
fn devices_over_pci() {
    all_work(PCI);
}

#[test]
fn devices_over_legacy_pci() {
    all_work(PCI_LEGACY);
}

#[test]
fn entropy_is_there_unless_it_is_left_out_and_the_same_under_the_virtual_clock() {
    let mut vm = Linux::boot(machine().rng(None));
    assert_eq!(vm.command("ls /sys/bus/virtio/devices"), "");
    let sum = || {
        let mut vm = Linux::boot(machine().clock(Clock::Virtual));
        vm.command("head -c 64 /dev/hwrng | md5sum")
    };
    assert_eq!(sum(), sum());
}

#[test]
fn a_script_typed_ahead_on_a_virtio_console_runs() {
    for place in [MMIO, PCI_LEGACY] {
        let machine = machine().append("console=hvc0");
        let mut vm = Linux::start(machine.virtio_console(Console::memory(), place));
        // Before the first instruction.
        vm.virtio_console_write(0, "echo $((6 * 7))\npoweroff -f\n");
        let end = vm.end();
        let output = vm.virtio_console_output(0);
        let output = String::from_utf8_lossy(&output);
        assert_eq!(end, Outcome::PoweredOff, "{output}");
        assert!(output.contains("\n42\r\n"), "{output}");
    }
}

#[test]
fn the_kernel_prints_on_a_virtio_console_and_a_shell_answers_there() {
    let machine = machine().append("console=hvc0");
    let mut vm = Linux::start(machine.virtio_console(Console::memory(), MMIO));
    let says = |vm: &Vm, text: &str| {
        let output = vm.virtio_console_output(0);
        String::from_utf8_lossy(&output).contains(text)
    };
    vm.wait_until("at a prompt", |vm| says(vm, PROMPT));
    // Earlier messages are the boot console's.
    assert!(says(&vm, "Run /init as init process"));
    vm.virtio_console_write(0, "echo $((6 * 7)); poweroff -f\n");
    let end = vm.end();
    assert_eq!(end, Outcome::PoweredOff);
    assert!(says(&vm, "\n42\r\n"));
}

#[test]
fn the_guest_knows_the_size_of_a_virtio_consoles_window() {
    let size = |columns, rows| WindowSize { columns, rows };
    for place in [MMIO, MMIO_LEGACY, PCI] {
        let mut vm = Linux::start(machine().virtio_console(Console::memory(), place));
        assert!(vm.virtio_console_window(1).is_none());
        let window = vm.virtio_console_window(0).unwrap();
        window.set_size(size(132, 50));
        vm.wait_for(PROMPT);
        let sized = |rows, columns| {
            format!("until stty size </dev/hvc0 | grep '^{rows} {columns}$'; do sleep 0; done")
        };
        assert_eq!(vm.command(&sized(50, 132)), "50 132\n");
        window.set_size(size(100, 30));
        assert_eq!(vm.command(&sized(30, 100)), "30 100\n");
        vm.power_off();
    }
}

#[test]
fn a_break_and_a_letter_are_a_sysrq_command() {
    let mut vm = Linux::boot(machine());
    assert!(vm.send_break(0));
    assert!(!vm.send_break(9));
    vm.write("h");
    vm.wait_for("sysrq: HELP");
    vm.write("\n");
    vm.wait_for(PROMPT);
    vm.power_off();
}

#[test]
fn four_devices_share_the_pci_bus_and_a_fifth_is_refused() {
    let four = || {
        machine()
            .balloon(PCI)
            .virtio_console(Console::memory(), PCI)
            .virtio_console(Console::memory(), PCI_LEGACY)
            .rng(Some(PCI))
    };
    let mut vm = Linux::boot(four());
    // The first console is the first terminal, although a thread of the guest's sets them up.
    vm.command("echo first >/dev/hvc0; echo second >/dev/hvc1");
    // The guest's driver sends from a thread of its own, which may come after the prompt.
    for (console, text) in [b"first\r\n".as_slice(), b"second\r\n"].iter().enumerate() {
        vm.wait_until("on the console", |vm| {
            vm.virtio_console_output(console) == *text
        });
    }
    assert_eq!(vm.command("head -c 99 /dev/hwrng | wc -c"), "99\n");
    assert_eq!(vm.command("ls /sys/bus/pci/devices | wc -l"), "5\n");
    vm.power_off();

    let five = four().virtio_console(Console::memory(), PCI).build();
    let error = five.unwrap_err().to_string();
    assert_eq!(
        error,
        "no PCI slot is left for rng: the board has 4; attach a device over MMIO, or leave one out"
    );
}

/// An embedder's own device: an entropy device whose bytes are no surprise.
struct Letters(Option<Activation<GuestMemory>>);

impl Letters {
    fn serve(activation: &mut Activation<GuestMemory>) -> Result<bool, QueueError> {
        while let Some(chain) = activation.queues[0].pop(&activation.memory)? {
            let mut writer = chain.writer(&activation.memory);
            writer.write_all(b"letters!").unwrap();
            activation.queues[0].push(&activation.memory, chain.head, writer.written())?;
        }
        Ok(activation.queues[0].needs_interrupt(&activation.memory))
    }
}

impl VirtioDevice<GuestMemory> for Letters {
    fn device_id(&self) -> u16 {
        4
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &[8]
    }

    fn config_read(&mut self, _offset: u32, data: &mut [u8], _order: ByteOrder) {
        data.fill(0);
    }

    fn activate(&mut self, activation: Activation<GuestMemory>) {
        self.0 = Some(activation);
    }

    fn notify(&mut self, queue: u16) {
        let activation = self.0.as_mut().unwrap();
        match Letters::serve(activation) {
            Ok(true) => activation.interrupt.used(),
            Ok(false) => {}
            Err(error) => activation.interrupt.queue_broken(queue, &error),
        }
    }

    fn reset(&mut self) {
        self.0 = None;
    }
}

#[test]
fn an_embedders_device_works() {
    for place in [MMIO, PCI_LEGACY] {
        let letters = Box::new(Letters(None));
        let mut vm = Linux::boot(machine().rng(None).virtio_device("letters", place, letters));
        let bytes = vm.command("head -c 20 /dev/hwrng; echo");
        assert!(bytes.contains("letters!letters"), "{bytes}");
        vm.power_off();
    }
}

#[test]
fn devices_are_reset_with_the_machine() {
    let mut vm = Linux::boot(machine().on_reset(OnReset::Reboot));
    vm.command("head -c 1000 /dev/hwrng | wc -c");
    vm.write("reboot -f\n");
    vm.wait_for("guest: user space is up");
    vm.wait_for(PROMPT);
    assert_eq!(vm.command("head -c 1000 /dev/hwrng | wc -c"), "1000\n");
    vm.power_off();
}
