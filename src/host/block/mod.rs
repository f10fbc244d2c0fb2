//! Disks: the host's side of virtio-blk.
//!
//! A [`Disk`] is options; [`image::Image::open`] checks and locks what they name, and the image
//! reads and writes for the device. Below it, `raw` has files and block devices, `qcow2` has
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

use crate::host::sandbox::Confinement;

pub use backing::{Backing, ParseBackingError};
pub use disk::{Disk, MemoryDisk, SerialNumberError};
pub use error::{DiskError, DiskFault};
pub use format::{Foreign, Format, ParseFormatError};

use image::Image;
use threads::{InPlace, Threads};

/// Queues of a device: the board has one CPU, which fills one.
const QUEUES: u16 = 1;

/// A disk's device without its transport.
type Device = Box<dyn VirtioDevice<GuestMemory>>;

/// Opens, checks and locks a disk, and makes its device; `name` is its threads'.
///
/// # Errors
/// An image that cannot be used.
pub(crate) fn open(
    disk: &Disk,
    name: &str,
    clock: Clock,
    confinement: &Confinement,
) -> Result<Device, DiskError> {
    let image = Image::open(disk)?;
    Ok(match clock {
        Clock::Virtual => Box::new(Blk::new(image, InPlace::default(), QUEUES)),
        Clock::Host | Clock::HostStrict => {
            let threads = Threads::new(name, confinement).map_err(|error| DiskError {
                file: image.name().to_owned(),
                fault: DiskFault::Threads(error),
            })?;
            Box::new(Blk::new(image, threads, QUEUES))
        }
    })
}
