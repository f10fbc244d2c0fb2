//! Virtio devices in Linux, over each transport and each interface.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use ppckvm::{Bus, Clock, Machine, OnReset, Outcome, Place, Reached, Until, Vm};
use support::guest;

/// Many times what any of these boots takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(240);

/// What the shell of the test guests asks with.
const PROMPT: &str = "~ # ";

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

fn machine() -> Machine {
    Machine::new()
        .kernel(guest("KERNEL_UIMAGE"))
        .initrd(guest("ROOTFS"))
        .append("console=ttyS0")
}

fn wait_for(vm: &mut Vm, text: &str) {
    let reached = vm.run_until(Until::text(text).within(PATIENCE));
    assert_eq!(
        reached,
        Reached::Text,
        "no {text:?} in:\n{}",
        vm.output_text()
    );
}

/// A machine at its prompt.
fn booted(machine: Machine) -> Vm {
    let mut vm = machine.build().unwrap();
    wait_for(&mut vm, PROMPT);
    vm
}

/// Types a command and gives what it printed.
fn command(vm: &mut Vm, line: &str) -> String {
    let before = vm.output().len();
    vm.write(format!("{line}\n"));
    wait_for(vm, PROMPT);
    let output = vm.output();
    let answer = String::from_utf8_lossy(&output[before..]).replace('\r', "");
    let answer = answer.split_once('\n').map_or("", |(_, answer)| answer);
    answer.trim_end_matches(PROMPT).to_owned()
}

fn power_off(vm: &mut Vm) {
    vm.write("poweroff -f\n");
    let end = vm.run_until(Until::end().within(PATIENCE));
    assert_eq!(end, Reached::End(Outcome::PoweredOff));
}

/// Whether the one virtio device in the guest negotiated VERSION_1: bit 32 of its features.
fn is_modern(vm: &mut Vm) -> bool {
    let features = command(vm, "cat /sys/bus/virtio/devices/virtio0/features");
    features.as_bytes().get(32) == Some(&b'1')
}

/// The guest reads random bytes.
fn rng_works(place: Place) {
    let mut vm = booted(machine().rng(Some(place)));
    let current = command(&mut vm, "cat /sys/class/misc/hw_random/rng_current");
    assert_eq!(current, "virtio_rng.0\n");
    assert_eq!(is_modern(&mut vm), !place.legacy);
    let bytes = command(&mut vm, "head -c 100000 /dev/hwrng | gzip | wc -c");
    let compressed: u32 = bytes.trim().parse().unwrap();
    assert!(compressed >= 100_000, "{compressed} bytes");
    power_off(&mut vm);
}

#[test]
fn entropy_over_mmio() {
    rng_works(MMIO);
}

#[test]
fn entropy_over_legacy_mmio() {
    rng_works(MMIO_LEGACY);
}

#[test]
fn entropy_over_pci() {
    rng_works(PCI);
}

#[test]
fn entropy_over_legacy_pci() {
    rng_works(PCI_LEGACY);
}

#[test]
fn entropy_is_there_unless_it_is_left_out_and_the_same_under_the_virtual_clock() {
    let mut vm = booted(machine().rng(None));
    assert_eq!(command(&mut vm, "ls /sys/bus/virtio/devices"), "");
    let sum = || {
        let mut vm = booted(machine().clock(Clock::Virtual));
        command(&mut vm, "head -c 64 /dev/hwrng | md5sum")
    };
    assert_eq!(sum(), sum());
}

#[test]
fn devices_are_reset_with_the_machine() {
    let mut vm = booted(machine().on_reset(OnReset::Reboot));
    command(&mut vm, "head -c 1000 /dev/hwrng | wc -c");
    vm.write("reboot -f\n");
    wait_for(&mut vm, "guest: user space is up");
    wait_for(&mut vm, PROMPT);
    assert_eq!(
        command(&mut vm, "head -c 1000 /dev/hwrng | wc -c"),
        "1000\n"
    );
    power_off(&mut vm);
}
