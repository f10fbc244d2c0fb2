//! A virtio device of one's own: an entropy device whose bytes are no surprise.
//!
//! `cargo run --release --example virtio_device -- uImage rootfs.cpio.gz`
//!
//! The transport, its registers and its queues are ours; a device says what it is, and serves the
//! requests that the guest's driver queues. Linux' own entropy driver is the other end here, so the
//! kernel needs `HW_RANDOM_VIRTIO` and `VIRTIO_PCI`.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use ppckvm::testing::Guest;
use ppckvm::virtio_device::{Activation, ByteOrder, QueueError, VirtioDevice};
use ppckvm::{Bus, GuestMemory, Machine, Place};

/// Answers each request with the same text, while the driver is there.
struct Letters(Option<Activation<GuestMemory>>);

impl Letters {
    /// Serves what waits in the queue; whether the driver wants to hear of it.
    fn serve(activation: &mut Activation<GuestMemory>) -> Result<bool, QueueError> {
        while let Some(chain) = activation.queues[0].pop(&activation.memory)? {
            let mut writer = chain.writer(&activation.memory);
            // A buffer without room takes none of it, and the driver learns that from the length.
            let _ = writer.write_all(b"letters!");
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
        let Some(activation) = &mut self.0 else {
            return;
        };
        match Letters::serve(activation) {
            Ok(true) => activation.interrupt.used(),
            Ok(false) => {}
            // The driver broke the rules: it is told to reset the device.
            Err(error) => activation.interrupt.queue_broken(queue, &error),
        }
    }

    fn reset(&mut self) {
        self.0 = None;
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(kernel), Some(initrd)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: virtio_device KERNEL INITRD");
        return ExitCode::from(2);
    };
    let machine = Machine::new()
        .kernel(kernel)
        .initrd(initrd)
        .append("console=ttyS0 loglevel=4");
    match read_letters(machine) {
        Ok(letters) => {
            println!("{letters}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Boots with the device in the place of our entropy device, and reads from it.
fn read_letters(machine: Machine) -> Result<String, Box<dyn Error>> {
    let place = Place {
        bus: Bus::Pci,
        legacy: false,
    };
    let letters = Box::new(Letters(None));
    let machine = machine.rng(None).virtio_device("letters", place, letters);
    let mut guest = Guest::boot(machine)?;
    let bytes = guest.output_of("head -c 20 /dev/hwrng; echo")?;
    guest.power_off()?;
    Ok(bytes.trim_end().to_owned())
}
