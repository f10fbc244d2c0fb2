//! All devices' tables, and lists of keys as devices and back.

use super::{KeyList, NotWritable, OptionError, Table};
use super::{balloon, console, disk, net, place, share, vsock};
use crate::machine::spec::device::{Device, DeviceSpec};
use crate::machine::spec::place::Place;

/// The options that attach a device, in the order of the manual.
pub static DEVICES: [&Table; 6] = [
    &disk::TABLE,
    &net::TABLE,
    &share::TABLE,
    &vsock::TABLE,
    &console::TABLE,
    &balloon::BALLOON,
];

/// The option that says where the entropy device is.
pub static RNG: &Table = &balloon::RNG;

/// Returns the device that a list of keys describes.
///
/// # Errors
/// A key that is missing, or a value that is none.
pub fn read(list: &KeyList) -> Result<DeviceSpec, OptionError> {
    let device = match list.table().option {
        "disk" => Device::Disk(disk::read(list)?),
        "net" => Device::Net(net::read(list)?),
        "share" => Device::Share(share::read(list)?),
        "vsock" => Device::Vsock(vsock::read(list)?),
        "console" => Device::Console(console::read(list)?),
        _ => Device::Balloon,
    };
    Ok(device.at(place::read(list)?))
}

/// Returns the list of keys that describes a device.
///
/// # Errors
/// A device that is in memory.
pub fn write(spec: &DeviceSpec) -> Result<KeyList, NotWritable> {
    let list = match &spec.device {
        Device::Disk(disk) => disk::write(disk)?,
        Device::Net(net) => net::write(net)?,
        Device::Share(share) => share::write(share)?,
        Device::Vsock(vsock) => vsock::write(vsock)?,
        Device::Console(serial) => console::write(serial)?,
        Device::Balloon => KeyList::new(&balloon::BALLOON),
    };
    Ok(place::write(list, spec.place))
}

/// Returns where the entropy device is, by the keys of `rng`.
///
/// # Errors
/// A value that is none.
pub fn read_rng(list: &KeyList) -> Result<Place, OptionError> {
    place::read(list)
}

/// Returns the keys of `rng` that say where the entropy device is.
pub fn write_rng(place: Place) -> KeyList {
    place::write(KeyList::new(RNG), place)
}

impl DeviceSpec {
    /// Reads a device as the command line has it; `option` is its name there: `disk`, `net`,
    /// `share`, `vsock`, `console` or `balloon`.
    ///
    /// ```
    /// use ppckvm::{DeviceSpec, Disk};
    ///
    /// let data = DeviceSpec::from_keys("disk", "path=data.img,readonly")?;
    /// assert_eq!(data, Disk::file("data.img").readonly().into());
    /// # Ok::<(), ppckvm::OptionError>(())
    /// ```
    ///
    /// # Errors
    /// An option that attaches no device, or keys that make none.
    pub fn from_keys(option: &str, keys: &str) -> Result<Self, OptionError> {
        let table = DEVICES.iter().find(|table| table.option == option);
        let table = table.ok_or_else(|| {
            let known: Vec<&str> = DEVICES.iter().map(|table| table.option).collect();
            OptionError::List(format!(
                "`{option}` attaches no device; there are {}",
                known.join(", ")
            ))
        })?;
        read(&KeyList::parse(table, keys)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_for_every_device() {
        for (option, keys) in [
            ("disk", "path=a"),
            ("net", "user"),
            ("share", "path=a,tag=b"),
            ("vsock", "cid=3,uds=a"),
            ("console", "pty"),
            ("balloon", ""),
        ] {
            let spec = DeviceSpec::from_keys(option, keys).unwrap();
            assert_eq!(spec.place, Place::MMIO, "{option}");
            let keys = format!("{keys},bus=pci,legacy");
            let spec = DeviceSpec::from_keys(option, &keys).unwrap();
            assert_eq!(spec.place, Place::PCI.legacy(), "{option}");
            assert_eq!(write(&spec).unwrap().to_string(), keys.trim_matches(','));
            let error = DeviceSpec::from_keys(option, &keys.replace("pci", "isa"));
            let error = error.unwrap_err().to_string();
            assert_eq!(error, "bus=isa: use mmio or pci", "{option}");
        }
        let error = DeviceSpec::from_keys("floppy", "").unwrap_err().to_string();
        assert!(error.contains("there are disk, net"), "{error}");
    }
}
