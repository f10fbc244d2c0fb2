//! The examples do what they say, with the kernel and root file system of the other tests.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::PathBuf;
use std::process::Command;

use support::guest;

/// Where cargo puts an example: beside the folder of the tests' own programs.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap().parent().unwrap();
    folder.join("examples").join(name)
}

/// Runs an example to success, and returns what it printed.
fn run(name: &str, arguments: &[PathBuf]) -> String {
    let output = Command::new(example(name)).args(arguments).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{name}: {error}; build it with `cargo build --example {name}`")
    });
    let (said, errors) = (output.stdout, output.stderr);
    let said = String::from_utf8(said).unwrap();
    let errors = String::from_utf8_lossy(&errors);
    assert!(output.status.success(), "{name}: {said}{errors}");
    said
}

fn linux() -> [PathBuf; 2] {
    [guest("KERNEL_UIMAGE"), guest("ROOTFS")]
}

#[test]
fn a_doorbell_answers_by_interrupt() {
    let said = run("mmio_device", &[]);
    assert!(said.contains("printed \"A\""), "{said}");
}

#[test]
fn two_machines_end_each_in_its_own_way() {
    let said = run("two_machines", &[]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].starts_with("first: ") && lines[0].ends_with("\"!\""),
        "{said}"
    );
    assert!(lines[1].starts_with("second: "), "{said}");
}

#[test]
fn a_kernel_boots_and_answers() {
    let said = run("boot_and_expect", &linux());
    assert!(
        said.contains("Linux 6.1.") && said.contains("440EP Rev. B"),
        "{said}"
    );
}

#[test]
fn the_host_reads_a_disk_in_memory_while_the_guest_runs() {
    let said = run("memory_disk", &linux());
    assert_eq!(said, "sector 3 holds \"hello\\n\"\n");
}

#[test]
fn a_virtio_device_of_ones_own_is_found_and_read() {
    let said = run("virtio_device", &linux());
    assert!(said.starts_with("letters!letters!lett"), "{said}");
}
