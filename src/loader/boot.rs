//! What a machine boots, as options, and the way from them to guest memory and registers.

use std::path::{Path, PathBuf};

use ppckvm_fdt::patch::PatchError;
use ppckvm_fdt::tree::TreeError;
use ppckvm_fdt::{Board, Node, Patch, TreeOptions, UserTree, generate};

use crate::remedy::Remedy;

use super::{
    Firmware, Initrd, Kernel, KernelOptions, LoadError, Placement, Plan, Section, Source, Told,
    describe, describe_source, dtb_from_bytes, read_dtb,
};

/// An image that is loaded into the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// A file, read when the machine is built.
    File(PathBuf),
    /// Bytes that the embedder has, with a name for messages.
    Bytes {
        /// The name that messages use.
        name: String,
        /// The image, in any format that a file may have.
        bytes: Vec<u8>,
    },
    /// A program without any header, which starts at its first byte.
    Program {
        /// The guest physical address where it goes.
        gpa: u32,
        /// The program's bytes.
        bytes: Vec<u8>,
    },
}

impl Image {
    /// What messages call it, as a path.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Image::File(path) => path.clone(),
            Image::Bytes { name, .. } => Path::new(name).to_owned(),
            Image::Program { .. } => Path::new("program").to_owned(),
        }
    }
}

/// The files that a machine boots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootSpec {
    /// The kernel; `None` makes a machine that can be described but not run.
    pub kernel: Option<Image>,
    /// Options of the kernel besides its file.
    pub kernel_options: KernelOptions,
    /// The initial RAM disk; `None` takes the one that came with the kernel, if any.
    pub initrd: Option<Image>,
    /// A cpio archive that Linux unpacks after the initial RAM disk, or in place of one that is missing.
    pub initrd_overlay: Option<Image>,
    /// The kernel's command line; `None` keeps what a device tree of the user's says.
    pub append: Option<String>,
    /// A device tree to use in place of the generated one.
    pub dtb: Option<Image>,
}

/// A boot that cannot be made; nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// No kernel was given.
    #[error("no kernel was given; {}", Remedy::GiveKernel)]
    NoKernel,
    /// A file cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A program does not fit into RAM.
    #[error(
        "a program of {bytes} bytes at {gpa:#x} does not fit: it must be a word or more, on a word \
         boundary, and end within the {ram:#x} bytes of ram"
    )]
    Program {
        /// The guest physical address where it was to go.
        gpa: u32,
        /// The program's length in bytes.
        bytes: usize,
        /// The guest's RAM in bytes.
        ram: u32,
    },
    /// The options make no device tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The user's device tree has no room or no nodes for what must be filled in.
    #[error("{}: {error}", file.display())]
    Patch {
        /// The tree's file.
        file: PathBuf,
        /// The reason.
        error: PatchError,
    },
}

impl BootError {
    /// Returns what would help, where an option of the machine's or something outside it does.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            BootError::NoKernel => Some(Remedy::GiveKernel),
            BootError::Load(error) => error.remedy(),
            _ => None,
        }
    }
}

impl BootSpec {
    /// The kernel's file, opened: what comes through a pipe can be read once. None for a build
    /// directory and for a program.
    pub(crate) fn open(&self, ram: u32) -> Result<Option<Source>, BootError> {
        Ok(match self.kernel.as_ref().ok_or(BootError::NoKernel)? {
            Image::File(path) if path.is_dir() => None,
            Image::File(path) => Some(Source::open(path, ram)?),
            Image::Bytes { name, bytes } => {
                Some(Source::memory(name.as_ref(), bytes.clone(), ram)?)
            }
            Image::Program { .. } => None,
        })
    }

    /// Reads the kernel, whose file was opened, the device tree and the initrd for a guest with
    /// `ram` bytes of memory, and gives the initrd its place.
    pub(crate) fn plan(&self, opened: Option<Source>, ram: u32) -> Result<Plan, BootError> {
        let kernel = self.read_kernel(opened, ram)?;
        self.with_initrd(kernel, ram)
    }

    /// As [`BootSpec::plan`], but without a kernel, the initrd is placed as if there were a very
    /// small one.
    pub(crate) fn plan_of_tree(&self, ram: u32) -> Result<Plan, BootError> {
        let kernel = match &self.kernel {
            Some(_) => self.read_kernel(self.open(ram)?, ram)?,
            None => program(0, vec![0; 4], ram)?,
        };
        self.with_initrd(kernel, ram)
    }

    /// The user's initrd, or the one that came with the kernel.
    fn with_initrd(&self, mut kernel: Kernel, ram: u32) -> Result<Plan, BootError> {
        let own = kernel.initrd.take();
        let told = Told {
            tree: self.read_tree(ram)?,
            bootargs: self.append.clone(),
        };
        let initrd = read_initrd(self.initrd.as_ref(), ram)?.or(own);
        let initrd = match (initrd, read_initrd(self.initrd_overlay.as_ref(), ram)?) {
            (Some(initrd), Some(overlay)) => Some(initrd.with_overlay(&overlay, ram)?),
            (initrd, overlay) => initrd.or(overlay),
        };
        Ok(Plan::new(kernel, initrd, told, ram)?)
    }

    fn read_kernel(&self, opened: Option<Source>, ram: u32) -> Result<Kernel, BootError> {
        let options = &self.kernel_options;
        Ok(match (opened, self.kernel.as_ref()) {
            (Some(source), _) => Kernel::from_source(source, options, ram)?,
            (None, Some(Image::Program { gpa, bytes })) => program(*gpa, bytes.clone(), ram)?,
            (None, Some(image)) => Kernel::read(&image.path(), options, ram)?,
            (None, None) => return Err(BootError::NoKernel),
        })
    }

    /// The user's device tree, with its name.
    fn read_tree(&self, ram: u32) -> Result<Option<(PathBuf, UserTree)>, BootError> {
        let Some(image) = &self.dtb else {
            return Ok(None);
        };
        let name = image.path();
        let tree = match image {
            Image::File(path) => read_dtb(path, ram)?,
            Image::Bytes { bytes, .. } | Image::Program { bytes, .. } => {
                dtb_from_bytes(&name, bytes)?
            }
        };
        Ok(Some((name, tree)))
    }

    /// Says what is in the kernel's image, also in one that cannot be started.
    pub(crate) fn describe(&self, opened: Option<&Source>, ram: u32) -> Result<Section, BootError> {
        let options = &self.kernel_options;
        Ok(match (opened, &self.kernel) {
            (Some(source), _) => describe_source(source, options, ram),
            (None, Some(Image::File(folder))) => describe(folder, options, ram)?,
            (None, _) => Section::default(),
        })
    }

    /// The tree that the guest gets: the generated one with virtio devices in these MMIO slots and
    /// with nodes of the embedder's, or the one of the plan with what only the launcher knows filled
    /// in.
    pub(crate) fn tree(
        &self,
        board: &Board,
        plan: &Plan,
        virtio: &[u8],
        nodes: &[Node],
        ram: u32,
    ) -> Result<Vec<u8>, BootError> {
        let initrd = plan.initrd_range();
        if let Some((file, tree)) = plan.tree() {
            let patch = Patch {
                memory_bytes: ram,
                bootargs: self.append.as_deref(),
                initrd,
                clocks: Some(&board.clocks),
            };
            let patched = tree.patched(&patch);
            return patched.map_err(|error| BootError::Patch {
                file: file.clone(),
                error,
            });
        }
        let options = TreeOptions {
            memory_bytes: ram,
            bootargs: self.append.clone().unwrap_or_default(),
            initrd,
            virtio: virtio.to_vec(),
            extra_nodes: nodes.to_vec(),
            ..TreeOptions::default()
        };
        Ok(generate(board, &options)?)
    }

    /// Adds what a kernel takes in place of a device tree.
    pub(crate) fn finish_without_tree(
        &self,
        board: &Board,
        plan: Plan,
    ) -> Result<Placement, BootError> {
        let firmware = Firmware {
            board,
            bootargs: self.append.as_deref(),
        };
        let dtb = self.dtb.as_ref().map(Image::path);
        Ok(plan.finish_without_tree(&firmware, dtb.as_deref())?)
    }
}

fn read_initrd(image: Option<&Image>, ram: u32) -> Result<Option<Initrd>, BootError> {
    Ok(match image {
        None => None,
        Some(Image::File(path)) => Some(Initrd::read(path, ram)?),
        Some(image @ (Image::Bytes { bytes, .. } | Image::Program { bytes, .. })) => {
            Some(Initrd::from_bytes(&image.path(), bytes.clone(), ram)?)
        }
    })
}

/// A program without header, which starts at its first byte.
fn program(gpa: u32, bytes: Vec<u8>, ram: u32) -> Result<Kernel, BootError> {
    let fits = |size: u32| gpa.checked_add(size).is_some_and(|end| end <= ram);
    match u32::try_from(bytes.len()) {
        Ok(size) if size > 0 && fits(size) && gpa.is_multiple_of(4) => {
            Ok(Kernel::program("program".as_ref(), gpa, bytes))
        }
        _ => Err(BootError::Program {
            gpa,
            bytes: bytes.len(),
            ram,
        }),
    }
}
