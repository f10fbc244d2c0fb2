//! Boots a kernel to its shell, asks it something, and powers it off.
//!
//! `cargo run --release --example boot_and_expect -- uImage rootfs.cpio.gz`
//!
//! The shell must be a root shell on ttyS0, as BusyBox and Buildroot give one.

use std::process::ExitCode;

use ppckvm::Machine;
use ppckvm::testing::{Failure, Guest};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(kernel), Some(initrd)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: boot_and_expect KERNEL INITRD");
        return ExitCode::from(2);
    };
    let machine = Machine::new()
        .kernel(kernel)
        .initrd(initrd)
        .append("console=ttyS0 loglevel=4");
    match ask(machine) {
        Ok(answer) => {
            print!("{answer}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Boots, and returns what the guest says of itself.
fn ask(machine: Machine) -> Result<String, Failure> {
    let mut guest = Guest::boot(machine)?;
    let answer = guest.output_of("uname -srm; cat /proc/cpuinfo")?;
    guest.power_off()?;
    Ok(answer)
}
