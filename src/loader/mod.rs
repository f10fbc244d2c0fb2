//! Kernel, initrd and device tree files, checked, and their places in guest memory.
//!
//! Everything that can be wrong with a file is found here, before the guest starts. The way of a
//! boot: [`Kernel::read`] and [`Initrd::read`], then [`Plan::new`], which gives the initrd its
//! place; the device tree is made with that place in it, and [`Plan::finish`] gives the
//! [`Placement`]: bytes, addresses and registers. Nothing here touches guest memory.
//!
//! Kernels are a legacy uImage (not compressed, or gzip), an ELF `vmlinux`, or either inside a
//! gzip file. Other formats are recognised and refused by name.

mod detect;
mod elf;
mod error;
mod gzip;
mod place;
mod source;
#[cfg(test)]
mod tests;
mod uimage;

pub use detect::Compression;
pub use error::{Fault, LoadError, NotAKernel, Slack};
pub use place::{BootRegisters, INITIAL_MAPPING, Placement, Plan};

use detect::{Kind, PREFIX, detect};
use ppckvm_fdt::UserTree;
use ppckvm_fdt::board::COMPATIBLE;
use source::Source;
use std::path::{Path, PathBuf};

/// Bytes for a range of guest memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First guest physical address.
    pub gpa: u32,
    /// What is written there.
    pub bytes: Vec<u8>,
    /// Size in memory, at least that of `bytes`; the rest is zeros. Fresh guest memory holds them
    /// already; memory that was used before must be cleared.
    pub size: u32,
}

impl Segment {
    /// A segment without zeros after its bytes, which are not more than RAM.
    fn of_bytes(gpa: u32, bytes: Vec<u8>) -> Segment {
        let size = u32::try_from(bytes.len()).expect("the bytes were given a place in RAM");
        Segment { gpa, bytes, size }
    }

    /// The first address after the segment.
    pub fn end(&self) -> u64 {
        u64::from(self.gpa) + u64::from(self.size)
    }
}

/// A kernel, checked against the size of RAM and ready to be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The file that it came from, for messages.
    pub file: PathBuf,
    /// What the file was, such as `gzip uImage "Linux-6.1.0"`.
    pub format: String,
    /// What goes into memory, in order of address.
    pub segments: Vec<Segment>,
    /// The physical address of the first instruction.
    pub entry: u32,
    /// Bytes that must stay free after each segment because the file does not tell how large the
    /// kernel's bss is; 0 where it does.
    pub slack: u32,
}

impl Kernel {
    /// Reads and checks a kernel file for a guest with `ram` bytes of memory.
    pub fn read(path: &Path, ram: u32) -> Result<Kernel, LoadError> {
        Kernel::from_source(Source::open(path, ram)?, ram)
    }

    /// Like [`Kernel::read`], with the file's bytes; `name` stands for it in messages.
    pub fn from_bytes(name: &Path, bytes: Vec<u8>, ram: u32) -> Result<Kernel, LoadError> {
        Kernel::from_source(Source::memory(name, bytes)?, ram)
    }

    fn from_source(source: Source, ram: u32) -> Result<Kernel, LoadError> {
        match detect(&source.prefix(PREFIX)?) {
            Kind::Compressed(Compression::Gzip) => {
                let file = source.name().to_owned();
                let packed = source.into_bytes(ram)?;
                let unpacked = gzip::gunzip(&packed, source::limit(ram))
                    .map_err(|fault| LoadError::new(&file, fault))?;
                // Offsets of later errors count in what was unpacked.
                let name = PathBuf::from(format!("{} (unpacked)", file.display()));
                let inner = Source::memory(&name, unpacked)?;
                match detect(&inner.prefix(PREFIX)?) {
                    Kind::Compressed(again) => Err(inner.error(Fault::CompressedTwice(again))),
                    kind => {
                        let kernel = Kernel::of_kind(kind, inner, ram)?;
                        let format = format!("gzip file of {}", kernel.format);
                        Ok(Kernel {
                            file,
                            format,
                            ..kernel
                        })
                    }
                }
            }
            kind => Kernel::of_kind(kind, source, ram),
        }
    }

    fn of_kind(kind: Kind, source: Source, ram: u32) -> Result<Kernel, LoadError> {
        let not_a_kernel = |what| Err(source.error(Fault::NotAKernel(what)));
        match kind {
            Kind::Uimage => {
                let image = uimage::read_kernel(&source, ram)?;
                check_mapped(&source, image.entry)?;
                let packed = if image.packed { "gzip " } else { "" };
                Ok(Kernel {
                    file: source.name().to_owned(),
                    format: format!("{packed}uImage {:?}", image.name),
                    slack: bss_slack(image.segment.size),
                    segments: vec![image.segment],
                    entry: image.entry,
                })
            }
            Kind::Elf => {
                let kernel = elf::read_kernel(&source, ram)?;
                check_mapped(&source, kernel.entry)?;
                Ok(Kernel {
                    file: source.name().to_owned(),
                    format: "elf".to_owned(),
                    segments: kernel.segments,
                    entry: kernel.entry,
                    slack: 0,
                })
            }
            Kind::Fdt => {
                let name = source.name().to_owned();
                let tree = parse_tree(&name, &source.into_bytes(ram)?)?;
                let what = if tree.is_fit() {
                    NotAKernel::Fit
                } else {
                    NotAKernel::DeviceTree
                };
                Err(LoadError::new(&name, Fault::NotAKernel(what)))
            }
            Kind::TreeImage => not_a_kernel(NotAKernel::TreeImage),
            Kind::Cpio => not_a_kernel(NotAKernel::Cpio),
            Kind::Raw => not_a_kernel(NotAKernel::Raw),
            Kind::Compressed(compression) => Err(source.error(Fault::Compression(compression))),
        }
    }

    /// The addresses that the kernel occupies, for messages.
    fn extent(&self) -> String {
        let range = |segment: &Segment| format!("{:#x} to {:#x}", segment.gpa, segment.end());
        self.segments
            .iter()
            .map(range)
            .collect::<Vec<_>>()
            .join(" and ")
    }
}

fn check_mapped(source: &Source, entry: u32) -> Result<(), LoadError> {
    if entry < INITIAL_MAPPING {
        return Ok(());
    }
    let reason = "lies above the first 256 MiB, which are all that is mapped at the start";
    Err(source.error(Fault::Entry { entry, reason }))
}

/// What to keep free after a flat image for its bss. Linux's own is a few hundred kilobytes, and
/// options such as lock debugging make it a few megabytes.
fn bss_slack(image: u32) -> u32 {
    image / 4 + (4 << 20)
}

/// An initial RAM disk or file system, without a uImage header that it may have had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initrd {
    /// The file that it came from, for messages.
    pub file: PathBuf,
    /// What goes into memory.
    pub bytes: Vec<u8>,
}

impl Initrd {
    /// Reads an initrd file for a guest with `ram` bytes of memory.
    pub fn read(path: &Path, ram: u32) -> Result<Initrd, LoadError> {
        Initrd::from_source(Source::open(path, ram)?, ram)
    }

    /// Like [`Initrd::read`], with the file's bytes; `name` stands for it in messages.
    pub fn from_bytes(name: &Path, bytes: Vec<u8>, ram: u32) -> Result<Initrd, LoadError> {
        Initrd::from_source(Source::memory(name, bytes)?, ram)
    }

    fn from_source(source: Source, ram: u32) -> Result<Initrd, LoadError> {
        let file = source.name().to_owned();
        let bytes = match detect(&source.prefix(PREFIX)?) {
            Kind::Uimage => uimage::read_ramdisk(&source, ram)?,
            _ => source.into_bytes(ram)?,
        };
        if bytes.is_empty() {
            return Err(LoadError::new(&file, Fault::Empty));
        }
        Ok(Initrd { file, bytes })
    }
}

/// Reads a user's device tree, which must be one for this board.
pub fn read_dtb(path: &Path, ram: u32) -> Result<UserTree, LoadError> {
    dtb_from_bytes(path, &Source::open(path, ram)?.into_bytes(ram)?)
}

/// Like [`read_dtb`], with the file's bytes; `name` stands for it in messages.
pub fn dtb_from_bytes(name: &Path, bytes: &[u8]) -> Result<UserTree, LoadError> {
    let tree = parse_tree(name, bytes)?;
    let compatible = tree.compatible();
    if compatible.iter().any(|board| board == COMPATIBLE) {
        return Ok(tree);
    }
    let found = match compatible.is_empty() {
        true => "no board: its root has no compatible property".to_owned(),
        false => format!("{compatible:?}")
            .trim_matches(['[', ']'])
            .to_owned(),
    };
    Err(LoadError::new(name, Fault::Board { found }))
}

fn parse_tree(name: &Path, bytes: &[u8]) -> Result<UserTree, LoadError> {
    UserTree::parse(bytes)
        .map_err(|error| LoadError::at(name, error.offset as u64, Fault::Blob(error.fault)))
}
