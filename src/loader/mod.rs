//! Kernel, initrd and device tree files, checked, and their places in guest memory.
//!
//! Everything that can be wrong with a file is found here, before the guest starts. The way of a
//! boot: [`Kernel::read`] and [`Initrd::read`], then [`Plan::new`], which gives the initrd its
//! place; the device tree is made with that place in it, and [`Plan::finish`] gives the
//! [`Placement`]: bytes, addresses and registers. Nothing here touches guest memory.
//!
//! A file is a chain of layers: a compressed file, a uImage, a FIT, a treeImage, then an ELF file or
//! a flat program. `Reader` takes them off one by one, each checked; what a program without a
//! header needs to know, its addresses, comes from the layer around it. What is inside at last is
//! looked at once more: Linux's boot wrappers are told from kernels by their code (`wrapper.rs`).

mod bd;
mod boot;
mod build;
mod detect;
mod elf;
mod error;
mod fit;
mod place;
mod report;
mod source;
pub(crate) mod symbols;
#[cfg(test)]
mod tests;
mod treeimage;
mod uimage;
mod unpack;
mod wrapper;

pub use bd::Firmware;
pub use boot::{BootError, BootSpec, Image};
pub use build::BuildConfig;
pub use detect::Compression;
pub use error::{BadChecksum, Fault, LoadError, NotAKernel, Slack};
pub use place::{BootRegisters, INITIAL_MAPPING, Placement, Plan};
pub use report::Section;

use detect::{Kind, PREFIX, detect};
use fit::Fit;
use ppckvm_fdt::UserTree;
use ppckvm_fdt::board::COMPATIBLE;
use source::Source;
use std::path::{Path, PathBuf};

/// How deep images may be nested: a compressed file of a uImage of compressed data of an ELF file,
/// and one to spare.
const LAYERS: usize = 5;

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

/// What the user says about a kernel besides its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelOptions {
    /// Where a file without any header goes, and where it starts.
    pub load_address: Option<u32>,
    /// The configuration of a FIT image, in place of its default one.
    pub fit_config: Option<String>,
}

/// What a kernel expects in its registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A device tree, as Linux and ePAPR programs do.
    DeviceTree,
    /// What U-Boot handed over before it knew device trees: board information, an initrd, a command
    /// line, and a stack. The boot wrapper that wants it has a device tree of its own.
    Uboot,
    /// Nothing: the boot wrapper has all that it needs.
    Nothing,
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
    /// kernel's bss is, or because it has its heap there.
    pub slack: u32,
    /// What it expects in its registers.
    pub start: Start,
    /// For a boot wrapper, the first address after the kernel that it unpacks to address 0.
    pub unpacks_to: u32,
    /// The initrd that came with it.
    pub initrd: Option<Initrd>,
    /// The device tree that came with it, with a name for messages. Whether it is one for this
    /// board is checked when it is used: the user may pass another.
    pub tree: Option<(PathBuf, Vec<u8>)>,
    /// Where its symbols are: a vmlinux or a System.map.
    pub symbols: Option<PathBuf>,
    /// Its configuration, when it came from a build directory.
    pub config: Option<BuildConfig>,
}

impl Kernel {
    /// Reads and checks a kernel file, or the kernel in a build directory, for a guest with `ram`
    /// bytes of memory.
    pub fn read(path: &Path, options: &KernelOptions, ram: u32) -> Result<Kernel, LoadError> {
        if path.is_dir() {
            return build::read(path, options, ram);
        }
        let kernel = Reader { options, ram }.read(Source::open(path, ram)?)?;
        let symbols = kernel.format.starts_with("elf").then(|| path.to_owned());
        Ok(Kernel { symbols, ..kernel })
    }

    /// Like [`Kernel::read`], with the file's bytes; `name` stands for it in messages.
    pub fn from_bytes(
        name: &Path,
        bytes: Vec<u8>,
        options: &KernelOptions,
        ram: u32,
    ) -> Result<Kernel, LoadError> {
        Reader { options, ram }.read(Source::memory(name, bytes)?)
    }

    /// A program without any header, which starts at its first byte.
    pub fn program(file: &Path, gpa: u32, bytes: Vec<u8>) -> Kernel {
        let segment = Segment::of_bytes(gpa, bytes);
        Kernel::new(file, "program".to_owned(), vec![segment], gpa)
    }

    fn new(file: &Path, format: String, segments: Vec<Segment>, entry: u32) -> Kernel {
        Kernel {
            file: file.to_owned(),
            format,
            segments,
            entry,
            slack: 0,
            start: Start::DeviceTree,
            unpacks_to: 0,
            initrd: None,
            tree: None,
            symbols: None,
            config: None,
        }
    }

    /// What the user should know before the kernel starts, one line each; `initrd` says whether
    /// there is one, also one of the kernel's own.
    pub fn warnings(&self, initrd: bool) -> Vec<String> {
        let config = self.config.as_ref();
        config.map_or_else(Vec::new, |config| config.warnings(initrd))
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

/// Where a program without a header of its own goes.
#[derive(Clone, Debug)]
struct Target {
    load: u32,
    entry: u32,
    /// Where in which file the two addresses are, for messages; none when they are nowhere.
    marks: Option<Mark>,
}

/// Where in a file the addresses of a [`Target`] are.
#[derive(Clone, Debug)]
struct Mark {
    file: PathBuf,
    load: u64,
    entry: u64,
}

impl Target {
    /// For a program that runs wherever it lies: where it is linked to, when it is a boot wrapper
    /// that tells, and address 0, where Linux must be.
    fn anywhere(program: &[u8], entry: u32) -> Target {
        let load = wrapper::link_address(program).unwrap_or(0);
        Target {
            load,
            entry: load.wrapping_add(entry),
            marks: None,
        }
    }

    fn load_error(&self, source: &Source, fault: Fault) -> LoadError {
        match &self.marks {
            Some(mark) => LoadError::at(&mark.file, mark.load, fault),
            None => source.error(fault),
        }
    }

    fn entry_error(&self, source: &Source, reason: &'static str) -> LoadError {
        let fault = Fault::Entry {
            entry: self.entry,
            reason,
        };
        match &self.marks {
            Some(mark) => LoadError::at(&mark.file, mark.entry, fault),
            None => source.error(fault),
        }
    }
}

/// Takes the layers off a kernel file.
#[derive(Clone, Copy)]
struct Reader<'a> {
    options: &'a KernelOptions,
    ram: u32,
}

impl Reader<'_> {
    fn read(self, source: Source) -> Result<Kernel, LoadError> {
        let mut kernel = self.unchecked(source)?;
        wrapper::recognise(&mut kernel, self.ram)?;
        if kernel.entry >= INITIAL_MAPPING {
            let entry = kernel.entry;
            let reason = "lies above the first 256 MiB, which are all that is mapped at the start";
            return Err(LoadError::new(&kernel.file, Fault::Entry { entry, reason }));
        }
        Ok(kernel)
    }

    /// The kernel without a look at what it is inside.
    fn unchecked(self, source: Source) -> Result<Kernel, LoadError> {
        let file = source.name().to_owned();
        let kernel = self.layer(source, None, LAYERS)?;
        Ok(Kernel { file, ..kernel })
    }

    /// Reads what is inside, and says how it was packed.
    fn layer(
        self,
        source: Source,
        around: Option<Target>,
        layers: usize,
    ) -> Result<Kernel, LoadError> {
        let Some(layers) = layers.checked_sub(1) else {
            return Err(source.error(Fault::Nested(LAYERS)));
        };
        let kind = detect(&source.prefix(PREFIX)?);
        if around.is_none() {
            self.check_options(&source, kind)?;
        }
        match kind {
            Kind::Compressed(Compression::Lzo) => {
                Err(source.error(Fault::Compression(Compression::Lzo)))
            }
            Kind::Compressed(compression) => {
                let name = source.name().to_owned();
                let packed = source.into_bytes(self.ram)?;
                let room = u64::from(self.ram - around.as_ref().map_or(0, |to| to.load));
                let unpacked = unpack::unpack(compression, &packed, room)
                    .map_err(|fault| LoadError::new(&name, fault))?;
                // Offsets of later errors count in what was unpacked.
                let name = PathBuf::from(format!("{} (unpacked)", name.display()));
                let kernel = self.layer(Source::memory(&name, unpacked)?, around, layers)?;
                let format = format!("{compression} {}", kernel.format);
                Ok(Kernel { format, ..kernel })
            }
            Kind::Uimage => self.uimage(&source, layers),
            Kind::Fdt => self.fit(source, layers),
            Kind::TreeImage => {
                let (data, target) = treeimage::read(&source, self.ram)?;
                let inside = inside(&source, data, "treeImage")?;
                let kernel = self.flat(inside, &target)?;
                let format = "treeImage".to_owned();
                Ok(Kernel { format, ..kernel })
            }
            Kind::Elf => {
                let kernel = elf::read_kernel(&source, self.ram)?;
                let format = "elf".to_owned();
                let segments = kernel.segments;
                Ok(Kernel::new(source.name(), format, segments, kernel.entry))
            }
            Kind::Cpio => Err(source.error(Fault::NotAKernel(NotAKernel::Cpio))),
            Kind::Raw => {
                let linked = || {
                    let start = source.prefix(64 << 10).ok()?;
                    wrapper::link_address(&start)
                };
                let flat = |address| Target {
                    load: address,
                    entry: address,
                    marks: None,
                };
                match around.or_else(|| self.options.load_address.or_else(linked).map(flat)) {
                    Some(target) => self.flat(source, &target),
                    None => Err(source.error(Fault::NotAKernel(NotAKernel::Raw))),
                }
            }
        }
    }

    /// Refuses options that the outermost image has no use for: they would be ignored in silence.
    fn check_options(self, source: &Source, kind: Kind) -> Result<(), LoadError> {
        let what = match kind {
            Kind::Uimage => "a uImage",
            Kind::Fdt => "a FIT image",
            Kind::Elf => "an elf file",
            Kind::TreeImage => "a treeImage",
            Kind::Raw => "a file without a header",
            Kind::Compressed(_) | Kind::Cpio => return Ok(()),
        };
        let refuse = |reason, remedy| Err(source.error(Fault::Image { reason, remedy }));
        if self.options.load_address.is_some() && kind != Kind::Raw {
            return refuse(
                format!("this is {what}, which says itself where it goes"),
                "leave --load-address out; it is for files without a header",
            );
        }
        if self.options.fit_config.is_some() && kind != Kind::Fdt {
            return refuse(
                format!("this is {what}, which has no configurations"),
                "leave --fit-config out; it is for FIT images",
            );
        }
        Ok(())
    }

    fn uimage(self, source: &Source, layers: usize) -> Result<Kernel, LoadError> {
        let image = uimage::read_kernel(source, self.ram)?;
        let data = (image.data, image.compression);
        let addresses = (image.target, image.entry);
        let kernel = self.data(source, data, addresses, "uImage data", layers)?;
        let initrd = image.initrd.map(|bytes| Initrd {
            file: named(source, "initrd"),
            bytes,
        });
        let packed = image.compression.map(|known| format!("{known} "));
        let inner = match kernel.format.as_str() {
            "raw" => String::new(),
            inner => format!(" of {inner}"),
        };
        let name = image.name.escape_debug();
        Ok(Kernel {
            format: format!("{}uImage \"{name}\"{inner}", packed.unwrap_or_default()),
            initrd: initrd.or(kernel.initrd),
            tree: image
                .tree
                .map(|tree| (named(source, "device tree"), tree))
                .or(kernel.tree),
            ..kernel
        })
    }

    fn fit(self, source: Source, layers: usize) -> Result<Kernel, LoadError> {
        let name = source.name().to_owned();
        let tree = parse_tree(&name, &source.prefix(source::limit(self.ram) as usize)?)?;
        if !tree.is_fit() {
            return Err(LoadError::new(
                &name,
                Fault::NotAKernel(NotAKernel::DeviceTree),
            ));
        }
        let fit = Fit::new(source, tree.tree().clone(), self.ram)?;
        let chosen = fit.configuration(self.options.fit_config.as_deref())?;
        let source = Source::memory(&name, chosen.kernel)?;
        let kernel = source.bytes().to_vec();
        let (data, addresses) = ((kernel, chosen.compression), (chosen.target, chosen.entry));
        let mut kernel = self.data(&source, data, addresses, "FIT kernel", layers)?;
        for (gpa, bytes) in chosen.loadables {
            let end = u64::from(gpa) + bytes.len() as u64;
            if end > u64::from(self.ram) {
                let (start, ram) = (gpa, self.ram);
                return Err(LoadError::new(&name, Fault::OutsideRam { start, end, ram }));
            }
            kernel.segments.push(Segment::of_bytes(gpa, bytes));
        }
        kernel.segments.sort_by_key(|segment| segment.gpa);
        for pair in kernel.segments.windows(2) {
            if pair[0].end() > pair[1].gpa.into() {
                let (first, second) = (pair[0].gpa, pair[1].gpa);
                return Err(LoadError::new(
                    &name,
                    Fault::SegmentsOverlap { first, second },
                ));
            }
        }
        let packed = chosen.compression.map(|known| format!("{known} "));
        let initrd = chosen.initrd.map(|bytes| Initrd {
            file: named(&source, "initrd"),
            bytes,
        });
        Ok(Kernel {
            format: format!(
                "FIT {:?} of {}kernel",
                chosen.name,
                packed.unwrap_or_default()
            ),
            initrd,
            tree: chosen
                .tree
                .map(|tree| (named(&source, "device tree"), tree)),
            ..kernel
        })
    }

    /// What a container holds: unpacked, and read as the next layer.
    fn data(
        self,
        source: &Source,
        (data, compression): (Vec<u8>, Option<Compression>),
        (target, entry): (Option<Target>, u32),
        what: &str,
        layers: usize,
    ) -> Result<Kernel, LoadError> {
        if compression == Some(Compression::Lzo) {
            return Err(source.error(Fault::Compression(Compression::Lzo)));
        }
        let load = target.as_ref().map_or(0, |target| target.load);
        let room = self.ram.saturating_sub(load);
        let offset = (what == "uImage data").then_some(uimage::HEADER);
        let data = match compression {
            None => data,
            Some(known) => unpack::unpack(known, &data, room.into()).map_err(|fault| {
                let file = source.name().to_owned();
                LoadError {
                    file,
                    offset,
                    fault,
                }
            })?,
        };
        let target = target.unwrap_or_else(|| Target::anywhere(&data, entry));
        if data.is_empty() {
            return Err(target.entry_error(source, "is outside the image"));
        }
        let inside = inside(source, data, what)?;
        self.layer(inside, Some(target), layers)
    }

    /// A program whose addresses are known from elsewhere.
    fn flat(self, source: Source, target: &Target) -> Result<Kernel, LoadError> {
        let ram = self.ram;
        let end = u64::from(target.load) + source.len();
        if end > u64::from(ram) {
            let start = target.load;
            return Err(target.load_error(&source, Fault::OutsideRam { start, end, ram }));
        }
        let entry = target.entry;
        if entry < target.load || u64::from(entry) >= end {
            return Err(target.entry_error(&source, "is outside the image"));
        }
        if !entry.is_multiple_of(4) {
            return Err(target.entry_error(&source, "is not a multiple of 4"));
        }
        let file = source.name().to_owned();
        let segment = Segment::of_bytes(target.load, source.into_bytes(ram)?);
        let slack = bss_slack(segment.size);
        let kernel = Kernel::new(&file, "raw".to_owned(), vec![segment], entry);
        Ok(Kernel { slack, ..kernel })
    }
}

/// What a layer holds, named for messages; offsets in them count from its start.
fn inside(source: &Source, data: Vec<u8>, what: &str) -> Result<Source, LoadError> {
    Source::memory(&named(source, what), data)
}

fn named(source: &Source, what: &str) -> PathBuf {
    PathBuf::from(format!("{} ({what})", source.name().display()))
}

/// Says what is in a kernel, initrd or device tree file, also in one that is damaged or cannot be
/// started here. A directory is looked at as [`Kernel::read`] does.
///
/// # Errors
/// A file that cannot be read at all.
pub fn describe(path: &Path, options: &KernelOptions, ram: u32) -> Result<Section, LoadError> {
    if path.is_dir() {
        let image = build::find_image(path)?;
        let mut section = Section::new("kernel build directory");
        section.field("image", image.display().to_string());
        let symbols = build::symbols(path);
        section.field(
            "symbols",
            symbols.map_or("none".to_owned(), |file| file.display().to_string()),
        );
        section.inside.push(describe(&image, options, ram)?);
        return Ok(section);
    }
    let section = describe_source(Source::open(path, ram)?, ram);
    Ok(with_wrapper(
        section,
        Source::open(path, ram)?,
        options,
        ram,
    ))
}

/// Like [`describe`], with the file's bytes; `name` stands for it in messages.
///
/// # Errors
/// No bytes.
pub fn describe_bytes(
    name: &Path,
    bytes: Vec<u8>,
    options: &KernelOptions,
    ram: u32,
) -> Result<Section, LoadError> {
    let section = describe_source(Source::memory(name, bytes.clone())?, ram);
    Ok(with_wrapper(
        section,
        Source::memory(name, bytes)?,
        options,
        ram,
    ))
}

fn describe_source(source: Source, ram: u32) -> Section {
    let mut section = Section::default();
    section.field("file size", report::size(source.len()));
    describe_layer(source, ram, LAYERS, &mut section);
    section
}

fn with_wrapper(
    mut section: Section,
    source: Source,
    options: &KernelOptions,
    ram: u32,
) -> Section {
    let kernel = Reader { options, ram }.unchecked(source).ok();
    let wrapper = kernel.and_then(|kernel| wrapper::describe(&kernel, ram));
    section.inside.extend(wrapper);
    section
}

fn describe_layer(source: Source, ram: u32, layers: usize, section: &mut Section) {
    let prefix = source.prefix(PREFIX).unwrap_or_default();
    let Some(layers) = layers.checked_sub(1) else {
        return section.field("inside", format!("deeper than {LAYERS} layers"));
    };
    let unpacked = |packed: &[u8], compression, section: &mut Section| match unpack::unpack(
        compression,
        packed,
        ram.into(),
    ) {
        Ok(bytes) => {
            section.field("unpacked", report::size(bytes.len() as u64));
            describe_inside(bytes, ram, layers, section);
        }
        Err(fault) => section.field("unpacked", fault.to_string()),
    };
    match detect(&prefix) {
        Kind::Uimage => match uimage::describe(&source, ram, section) {
            Some((data, Some(compression))) => unpacked(&data, compression, section),
            Some((data, None)) => describe_inside(data, ram, layers, section),
            None => {}
        },
        Kind::Fdt => {
            let name = source.name().to_owned();
            section.title = "device tree".to_owned();
            let bytes = source
                .prefix(source::limit(ram) as usize)
                .unwrap_or_default();
            match parse_tree(&name, &bytes) {
                Ok(tree) if tree.is_fit() => {
                    if let Ok(fit) = Fit::new(source, tree.tree().clone(), ram) {
                        fit.describe(section);
                    }
                }
                Ok(tree) => section.field("board", tree.compatible().join(", ")),
                Err(error) => section.field("contents", error.fault.to_string()),
            }
        }
        Kind::Elf => elf::describe(&source, section),
        Kind::TreeImage => treeimage::describe(&source, ram, section),
        Kind::Cpio => section.title = "cpio archive".to_owned(),
        Kind::Raw => section.title = "file without a known header".to_owned(),
        Kind::Compressed(compression) => {
            section.title = format!("{compression} file");
            match source.into_bytes(ram) {
                Ok(packed) => unpacked(&packed, compression, section),
                Err(error) => section.field("contents", error.fault.to_string()),
            }
        }
    }
}

/// Goes on with what a layer holds, unless that is a program without a header.
fn describe_inside(bytes: Vec<u8>, ram: u32, layers: usize, section: &mut Section) {
    let kind = detect(&bytes[..bytes.len().min(PREFIX)]);
    if let (true, Ok(source)) = (
        kind != Kind::Raw,
        Source::memory(Path::new("inside"), bytes),
    ) {
        let mut inside = Section::default();
        describe_layer(source, ram, layers, &mut inside);
        section.inside.push(inside);
    }
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
    check_board(name, &tree)?;
    Ok(tree)
}

fn check_board(name: &Path, tree: &UserTree) -> Result<(), LoadError> {
    let compatible = tree.compatible();
    if compatible.iter().any(|board| board == COMPATIBLE) {
        return Ok(());
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
