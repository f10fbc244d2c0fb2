//! What a disk is, as options: `--disk`, and the same for the library.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, memfd_create};

use super::backing::Backing;
use super::error::{DiskError, SerialNumberError};
use super::file::size;
use super::format::Format;
use super::image::Image;
use crate::host::keys::{Key, OptionError, Options};
use crate::host::place::Place;

/// Characters that a serial number may have (virtio 1.2, 5.2.6).
const SERIAL_BYTES: usize = 20;

/// Where a disk's contents are.
#[derive(Clone, Debug)]
pub(super) enum Contents {
    File(PathBuf),
    Memory(MemoryDisk),
}

/// What may happen to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    ReadWrite,
    ReadOnly,
    /// The guest writes, and the image stays as it is.
    Overlay,
}

/// A disk to attach to a machine.
///
/// ```no_run
/// use ppckvm::{Disk, DiskFormat};
///
/// let root = Disk::file("root.qcow2").format(DiskFormat::Qcow2).overlay();
/// let data: Disk = "path=data.img,serial=DATA".parse()?;
/// # Ok::<(), ppckvm::OptionError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Disk {
    pub(super) contents: Contents,
    pub(super) format: Option<Format>,
    pub(super) access: Access,
    pub(super) backing: Backing,
    serial: String,
    place: Place,
}

impl Disk {
    /// An image in a file or on a block device, which the guest may write.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Disk::new(Contents::File(path.into()))
    }

    /// A disk in memory, which the guest may write.
    pub fn memory(memory: &MemoryDisk) -> Self {
        Disk::new(Contents::Memory(memory.clone()))
    }

    fn new(contents: Contents) -> Self {
        Disk {
            contents,
            format: None,
            access: Access::ReadWrite,
            backing: Backing::default(),
            serial: String::new(),
            place: Place::default(),
        }
    }

    /// The image's format, in place of what its first bytes say. A disk in memory is always raw.
    pub fn format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    /// Which backing files its images may have; by default those in their own folder.
    pub fn backing(mut self, rule: Backing) -> Self {
        self.backing = rule;
        self
    }

    /// The guest may only read.
    pub fn readonly(mut self) -> Self {
        self.access = Access::ReadOnly;
        self
    }

    /// The guest may write; what it writes goes to a temporary file that ends with the machine,
    /// and the image stays as it is.
    pub fn overlay(mut self) -> Self {
        self.access = Access::Overlay;
        self
    }

    /// The serial number that the guest sees.
    ///
    /// # Errors
    /// Anything but 1 to 20 printable ASCII characters.
    pub fn serial(mut self, serial: impl Into<String>) -> Result<Self, SerialNumberError> {
        let serial = serial.into();
        let printable = serial.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if !printable || !(1..=SERIAL_BYTES).contains(&serial.len()) {
            return Err(SerialNumberError);
        }
        self.serial = serial;
        Ok(self)
    }

    /// Where the guest has it; by default over MMIO.
    pub fn place(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// Where the guest has it.
    pub(crate) fn its_place(&self) -> Place {
        self.place
    }

    /// What messages call it.
    pub(super) fn name(&self) -> PathBuf {
        match &self.contents {
            Contents::File(path) => path.clone(),
            Contents::Memory(_) => "in memory".into(),
        }
    }

    /// The serial number, empty when none was given.
    pub(super) fn serial_number(&self) -> &str {
        &self.serial
    }

    /// Opens, checks and locks it.
    pub(super) fn open(&self) -> Result<Image, DiskError> {
        Image::open(self)
    }
}

impl FromStr for Disk {
    type Err = OptionError;

    /// Reads `path=FILE[,format=raw|qcow2][,readonly][,overlay][,backing=none|beside|any][,serial=S]
    /// [,bus=mmio|pci][,legacy]`.
    fn from_str(text: &str) -> Result<Self, OptionError> {
        let [bus, legacy] = Place::KEYS;
        let keys = [
            Key::Value("path"),
            Key::Value("format"),
            Key::Flag("readonly"),
            Key::Flag("overlay"),
            Key::Value("backing"),
            Key::Value("serial"),
            bus,
            legacy,
        ];
        let options = Options::parse(text, &keys)?;
        let mut disk = Disk::file(options.required("path")?).place(Place::from_options(&options)?);
        disk.format = options.parsed("format")?;
        disk = match (options.flag("readonly"), options.flag("overlay")) {
            (true, true) => {
                return Err(OptionError::List(
                    "readonly and overlay exclude each other: with overlay the guest can write; \
                     leave one of them out"
                        .into(),
                ));
            }
            (true, false) => disk.readonly(),
            (false, true) => disk.overlay(),
            (false, false) => disk,
        };
        if let Some(rule) = options.parsed("backing")? {
            disk = disk.backing(rule);
        }
        match options.value("serial") {
            None => Ok(disk),
            Some(serial) => disk.serial(serial).map_err(|error| OptionError::Value {
                key: "serial",
                value: serial.into(),
                why: error.to_string(),
            }),
        }
    }
}

/// Bytes that are a disk: shared with the machine that it is attached to, whose guest's writes are
/// seen here. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct MemoryDisk(Arc<File>);

impl MemoryDisk {
    /// A disk with these contents. The guest sees a size that is rounded up to 512 bytes; what it
    /// writes there makes the disk longer.
    ///
    /// # Errors
    /// The host has not enough memory.
    pub fn new(contents: impl AsRef<[u8]>) -> io::Result<Self> {
        let disk = MemoryDisk::zeros(contents.as_ref().len() as u64)?;
        disk.0.write_all_at(contents.as_ref(), 0)?;
        Ok(disk)
    }

    /// A disk of so many zero bytes, which take memory when they are written.
    ///
    /// # Errors
    /// The host has not enough memory.
    pub fn zeros(bytes: u64) -> io::Result<Self> {
        let file = File::from(memfd_create("ppckvm-disk", MemfdFlags::CLOEXEC)?);
        file.set_len(bytes)?;
        Ok(MemoryDisk(Arc::new(file)))
    }

    /// What is on the disk now.
    ///
    /// # Errors
    /// What the host said.
    pub fn contents(&self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(size(&self.0)?).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    pub(super) fn file(&self) -> io::Result<File> {
        self.0.try_clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_in_any_order() {
        let disk: Disk = "serial=A B,overlay,format=raw,path=x=y.img"
            .parse()
            .unwrap();
        assert!(matches!(&disk.contents, Contents::File(path) if path.to_str() == Some("x=y.img")));
        assert_eq!(disk.format, Some(Format::Raw));
        assert_eq!(disk.access, Access::Overlay);
        assert_eq!(disk.serial_number(), "A B");
        let disk: Disk = "path=d,readonly,bus=pci,legacy".parse().unwrap();
        assert_eq!((disk.access, disk.format), (Access::ReadOnly, None));
        assert_eq!(disk.backing, Backing::Beside);
        assert!(disk.place.bus == crate::host::place::Bus::Pci && disk.place.legacy);
    }

    #[test]
    fn the_rule_for_backing_files_is_a_key() {
        let disk: Disk = "path=d,backing=none".parse().unwrap();
        assert_eq!(disk.backing, Backing::None);
    }

    #[test]
    fn what_makes_no_disk_is_refused_with_a_reason() {
        for (text, part) in [
            ("", "path is missing"),
            ("x.img", "`x.img` is no key; there are path, format"),
            ("path=a,path=b", "path is given twice"),
            ("path=a,format=vmdk", "format=vmdk: use raw or qcow2"),
            ("path=a,readonly,overlay", "exclude"),
            ("path=a,backing=all", "backing=all: use none, beside or any"),
            ("path=a,serial=123456789012345678901", "1 to 20"),
            ("path=a,serial=\u{e9}", "printable"),
            ("path=a,cache=none", "`cache` is no key"),
        ] {
            let error = text.parse::<Disk>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
