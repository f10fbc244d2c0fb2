//! Disks: the host's side of virtio-blk.
//!
//! A [`Disk`] is options; [`Disk::open`] checks and locks the image and gives an [`image::Image`],
//! which reads and writes for the device. Below it, `raw` has files and block devices, `qcow2` has
//! images with backing files, and the overlay that spares an image is a temporary qcow2 file in front
//! of it. `backing` says which backing files an image may have; `lock` keeps two machines from one
//! image.

mod backing;
mod buffers;
mod disk;
mod error;
mod file;
mod format;
mod image;
mod lock;
mod qcow2;
mod raw;
#[cfg(test)]
mod tests;
mod threads;

use ppckvm_api::{Clock, GuestMemory};
use ppckvm_devices::virtio::VirtioDevice;
use ppckvm_devices::virtio::blk::Blk;

pub use backing::Backing;
pub use disk::{Disk, MemoryDisk};
pub use error::{DiskError, DiskFault, ParseBackingError, ParseFormatError, SerialNumberError};
pub use format::{Foreign, Format};

use threads::{InPlace, Threads};

/// Queues of a device: the board has one CPU, which fills one.
const QUEUES: u16 = 1;

/// A disk's device without its transport.
type Device = Box<dyn VirtioDevice<GuestMemory>>;

/// Opens, checks and locks a disk, and makes its device; `name` is its threads'.
///
/// # Errors
/// An image that cannot be used.
pub(crate) fn open(disk: &Disk, name: &str, clock: Clock) -> Result<Device, DiskError> {
    let image = disk.open()?;
    Ok(match clock {
        Clock::Virtual => Box::new(Blk::new(image, InPlace::default(), QUEUES)),
        Clock::Host => {
            let threads = Threads::new(name).map_err(|error| DiskError {
                file: image.name().to_owned(),
                fault: DiskFault::Threads(error),
            })?;
            Box::new(Blk::new(image, threads, QUEUES))
        }
    })
}
