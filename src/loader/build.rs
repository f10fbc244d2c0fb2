//! A kernel's build directory: which of its files is booted, where its symbols are, and whether its
//! configuration has what this machine needs.

use super::error::{Fault, LoadError};
use super::symbols::Symbols;
use super::{Kernel, KernelOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Images in the order in which they are looked for. What a plain `make` always brings up to date
/// comes first, so that the kernel that was just compiled is the one that boots; all others are
/// made from it.
const IMAGES: [&str; 7] = [
    "vmlinux",
    "arch/powerpc/boot/uImage",
    "uImage",
    "arch/powerpc/boot/cuImage.bamboo",
    "arch/powerpc/boot/treeImage.bamboo",
    "arch/powerpc/boot/simpleImage.bamboo",
    "arch/powerpc/boot/zImage",
];

/// Files that hold the kernel's symbols, the best first.
const SYMBOLS: [&str; 2] = ["vmlinux", "System.map"];

const CONFIG: &str = ".config";

/// A kernel's configuration, the lines of its `.config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildConfig {
    file: PathBuf,
    text: String,
}

/// An option that the kernel needs here: any of the names does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The options' names, with `CONFIG_`.
    pub names: &'static [&'static str],
    /// The consequence of leaving it out.
    pub why: &'static str,
    /// Whether a module does as well, which user space can load.
    pub module: bool,
}

const NEEDS: [Need; 4] = [
    Need {
        names: &["CONFIG_44x"],
        why: "the kernel is for another processor and will not start",
        module: false,
    },
    Need {
        names: &["CONFIG_BAMBOO", "CONFIG_PPC44x_SIMPLE"],
        why: "the kernel does not know this board and will stop early",
        module: false,
    },
    Need {
        names: &["CONFIG_SERIAL_8250_CONSOLE"],
        why: "the console will stay silent",
        module: false,
    },
    Need {
        names: &["CONFIG_SERIAL_OF_PLATFORM"],
        why: "the kernel will not find the serial port, and the console will stay silent",
        module: false,
    },
];

const NEEDS_WITH_INITRD: Need = Need {
    names: &["CONFIG_BLK_DEV_INITRD"],
    why: "the initrd will be ignored",
    module: false,
};

impl BuildConfig {
    /// What the kernel lacks of what every boot needs and of what `wanted` lists, one line each.
    pub(super) fn warnings(&self, initrd: bool, wanted: &[Need]) -> Vec<String> {
        let needs = NEEDS.iter().chain(initrd.then_some(&NEEDS_WITH_INITRD));
        needs
            .chain(wanted)
            .filter(|need| {
                let mut names = need.names.iter();
                !names.any(|name| self.is_set(name, need.module))
            })
            .map(|need| {
                let names = need.names.join(" or ");
                let file = self.file.display();
                format!(
                    "{file}: {names} is not set: {}; set it and build again",
                    need.why
                )
            })
            .collect()
    }

    /// Whether an option is built in, or a module where one does.
    fn is_set(&self, name: &str, module: bool) -> bool {
        let value = self.value(name);
        value == Some("y") || module && value == Some("m")
    }

    /// An option's value, as it is written.
    fn value(&self, name: &str) -> Option<&str> {
        self.text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }

    /// The kernel's command line when it is given `bootargs`: it may have one of its own.
    pub(super) fn command_line(&self, bootargs: &str) -> String {
        let own = self.value("CONFIG_CMDLINE").unwrap_or_default();
        let quoted = own.strip_prefix('"').and_then(|own| own.strip_suffix('"'));
        let own = quoted.unwrap_or(own).replace("\\\"", "\"");
        if self.is_set("CONFIG_CMDLINE_FORCE", false) || bootargs.is_empty() {
            own
        } else if self.is_set("CONFIG_CMDLINE_EXTEND", false) {
            format!("{bootargs} {own}")
        } else {
            bootargs.to_owned()
        }
    }
}

/// Reads the kernel of a build directory.
pub(super) fn read(folder: &Path, options: &KernelOptions, ram: u32) -> Result<Kernel, LoadError> {
    let image = find_image(folder)?;
    let kernel = Kernel::read(&image, options, ram)?;
    let file = folder.join(CONFIG);
    // A build directory without a configuration can be one that was copied without hidden files.
    let config = match std::fs::read(&file) {
        Ok(bytes) => Some(BuildConfig {
            text: String::from_utf8_lossy(&bytes).into_owned(),
            file,
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(LoadError::new(&file, Fault::Io(error))),
    };
    Ok(Kernel {
        symbols: symbols_of(folder, &image).or(kernel.symbols.clone()),
        config,
        ..kernel
    })
}

/// The image of a build directory that is booted.
pub(super) fn find_image(folder: &Path) -> Result<PathBuf, LoadError> {
    // An unreadable folder would look like an empty one.
    std::fs::read_dir(folder).map_err(|error| LoadError::new(folder, Fault::Io(error)))?;
    let mut images = IMAGES.iter().map(|name| folder.join(name));
    images.find(|path| path.is_file()).ok_or_else(|| {
        let reason = format!(
            "the directory has no kernel: none of {} is there",
            IMAGES.join(", ")
        );
        let remedy = "build the kernel there with 'make ARCH=powerpc', or name a file";
        LoadError::new(folder, Fault::image(reason, remedy))
    })
}

/// The symbols of the kernel that was just built; none when the image is the file that has them.
fn symbols_of(folder: &Path, image: &Path) -> Option<Arc<Symbols>> {
    let file = symbols(folder).filter(|file| file != image)?;
    match Symbols::read(&file) {
        Ok(symbols) => Some(Arc::new(symbols)),
        Err(error) => {
            tracing::debug!("no symbols: {error}");
            None
        }
    }
}

/// Where the kernel's symbols are.
pub(super) fn symbols(folder: &Path) -> Option<PathBuf> {
    let mut files = SYMBOLS.iter().map(|name| folder.join(name));
    files.find(|path| path.is_file())
}
