//! A disk in memory, which the host reads while the guest runs.
//!
//! `cargo run --release --example memory_disk -- uImage rootfs.cpio.gz`
//!
//! The kernel needs virtio-blk over MMIO, as the test kernel has it; the shell must be a root shell
//! on ttyS0.

use std::error::Error;
use std::process::ExitCode;

use ppckvm::testing::Guest;
use ppckvm::{Disk, Machine, MemoryDisk};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(kernel), Some(initrd)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: memory_disk KERNEL INITRD");
        return ExitCode::from(2);
    };
    let machine = Machine::new()
        .kernel(kernel)
        .initrd(initrd)
        .append("console=ttyS0 loglevel=4");
    match write_and_look(machine) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Has the guest write to its disk, and looks at the disk before the guest has ended.
fn write_and_look(machine: Machine) -> Result<(), Box<dyn Error>> {
    let disk = MemoryDisk::zeros(4 << 20)?;
    let mut guest = Guest::boot(machine.disk(Disk::memory(&disk)))?;
    guest.output_of("echo hello | dd of=/dev/vda bs=512 seek=3 conv=fsync 2>/dev/null")?;

    let contents = disk.contents()?;
    let sector = &contents[3 * 512..][..512];
    let text = sector.split(|byte| *byte == 0).next().unwrap_or_default();
    println!("sector 3 holds {:?}", String::from_utf8_lossy(text));
    assert_eq!(text, b"hello\n");
    guest.power_off()?;
    Ok(())
}
