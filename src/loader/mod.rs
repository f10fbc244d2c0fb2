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
mod bounds;
mod budget;
mod build;
mod command_line;
mod detect;
mod elf;
mod error;
mod fit;
mod initrd;
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
pub use bounds::Bounds;
pub use build::{BuildConfig, Need};
pub use detect::Compression;
pub use error::{BadChecksum, Fault, LoadError, NotAKernel, Slack};
pub use initrd::Initrd;
pub use place::{BootRegisters, INITIAL_MAPPING, Placement, Plan, Told};
pub use report::Section;
pub use source::Source;

use crate::remedy::Remedy;
use bytes::Bytes;
use detect::{Kind, PREFIX, detect};
use fit::Fit;
use ppckvm_fdt::UserTree;
use ppckvm_fdt::board::COMPATIBLE;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use symbols::Symbols;

/// How deep images may be nested: a compressed file of a uImage of compressed data of an ELF file,
/// and one to spare.
const LAYERS: usize = 5;

/// Bytes for a range of guest memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First guest physical address.
    pub gpa: u32,
    /// The bytes that are written there.
    pub bytes: Bytes,
    /// The use of the bytes, such as `kernel` or `initrd`.
    pub what: &'static str,
    /// The size in memory, at least that of `bytes`; the rest is zeros. Fresh guest memory holds
    /// them already; memory that was used before must be cleared.
    pub size: u32,
}

impl Segment {
    /// A segment without zeros after its bytes, which are not more than RAM.
    fn of_bytes(gpa: u32, bytes: impl Into<Bytes>) -> Segment {
        let bytes = bytes.into();
        let size = u32::try_from(bytes.len()).expect("the bytes were given a place in RAM");
        Segment {
            gpa,
            bytes,
            what: "kernel",
            size,
        }
    }

    /// The segment, for something else than a kernel.
    fn holding(self, what: &'static str) -> Segment {
        Segment { what, ..self }
    }

    /// The first address after the segment.
    pub fn end(&self) -> u64 {
        u64::from(self.gpa) + u64::from(self.size)
    }
}

/// Options of a kernel besides its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelOptions {
    /// The address where a file without any header goes, and where it starts.
    pub load_address: Option<u32>,
    /// The configuration of a FIT image, in place of its default one.
    pub fit_config: Option<String>,
}

/// The contents of the registers that a kernel expects when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A device tree's address, as Linux and ePAPR programs expect it.
    DeviceTree,
    /// The things that U-Boot handed over before it knew device trees: board information, an
    /// initrd, a command line, and a stack. The boot wrapper that wants them has a device tree of
    /// its own.
    Uboot,
    /// Nothing, because the boot wrapper has all that it needs.
    Nothing,
}

/// A kernel, checked against the size of RAM and ready to be placed.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The file that it came from, for messages.
    pub file: PathBuf,
    /// The file's format, such as `gzip uImage "Linux-6.1.0"`.
    pub format: String,
    /// The bytes that go into memory, in order of address.
    pub segments: Vec<Segment>,
    /// The physical address of the first instruction.
    pub entry: u32,
    /// Bytes that must stay free after each segment because the file does not tell how large the
    /// kernel's bss is, or because it has its heap there.
    pub slack: u32,
    /// The registers that it expects when it starts.
    pub start: Start,
    /// For a boot wrapper, the first address after the kernel that it unpacks to address 0.
    pub unpacks_to: u32,
    /// Further images that came with it and that it knows the addresses of.
    pub loadables: Vec<Segment>,
    /// The initrd that came with it.
    pub initrd: Option<Initrd>,
    /// The device tree that came with it, with a name for messages. Whether it is one for this
    /// board is checked when it is used: the user may pass another.
    pub tree: Option<(PathBuf, Bytes)>,
    /// The device tree inside a boot wrapper, which the kernel is given in place of any other.
    pub wrapper_tree: Option<UserTree>,
    /// The kernel's symbols: those of its own ELF file, or of a vmlinux or a System.map beside it.
    pub symbols: Option<Arc<Symbols>>,
    /// The kernel's configuration, when it came from a build directory.
    pub config: Option<BuildConfig>,
    /// Whether the kernel is Linux, as far as its file says: a header, a boot wrapper, or where it
    /// is linked. Other programs may want other things than a Linux kernel does.
    pub linux: bool,
    /// Notes on what was left out of the file, one line each.
    pub notes: Vec<String>,
}

impl Kernel {
    /// Reads and checks a kernel file, or the kernel in a build directory, for a guest with `ram`
    /// bytes of memory.
    pub fn read(path: &Path, options: &KernelOptions, ram: u32) -> Result<Kernel, LoadError> {
        if path.is_dir() {
            return build::read(path, options, ram);
        }
        Kernel::from_source(Source::open(path, ram)?, options, ram)
    }

    /// Reads and checks a kernel as [`Kernel::read`] does, from a file that is open.
    pub fn from_source(
        source: Source,
        options: &KernelOptions,
        ram: u32,
    ) -> Result<Kernel, LoadError> {
        let file = source.name().to_owned();
        let mut kernel = Reader { options, ram }.read(source)?;
        if kernel.symbols.is_none() {
            kernel.symbols = symbols::beside(&file, &kernel.segments);
        }
        Ok(kernel)
    }

    /// Checks a kernel as [`Kernel::read`] does, from the file's bytes; `name` stands for it in
    /// messages.
    pub fn from_bytes(
        name: &Path,
        bytes: impl Into<Bytes>,
        options: &KernelOptions,
        ram: u32,
    ) -> Result<Kernel, LoadError> {
        Reader { options, ram }.read(Source::memory(name, bytes, ram)?)
    }

    /// Makes a kernel of a program without any header, which starts at its first byte.
    pub fn program(file: &Path, gpa: u32, bytes: impl Into<Bytes>) -> Kernel {
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
            loadables: Vec::new(),
            initrd: None,
            tree: None,
            wrapper_tree: None,
            symbols: None,
            config: None,
            linux: false,
            notes: Vec::new(),
        }
    }

    /// Returns what the user should know before the kernel starts, one line each; `initrd` says
    /// whether there is one, also one of the kernel's own. `needs` are options that the machine's
    /// devices want of the kernel's configuration, where that is known.
    pub fn warnings(&self, initrd: bool, needs: &[Need]) -> Vec<String> {
        let config = self.config.as_ref();
        let lacking = config.map(|config| config.warnings(initrd, needs));
        let file = self.file.display();
        let notes = self.notes.iter().map(|note| format!("{file}: {note}"));
        notes.chain(lacking.into_iter().flatten()).collect()
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
        let mut kernel = self.unchecked(source.clone())?;
        wrapper::recognise(&mut kernel, &source, self.ram)?;
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
        let kind = match around {
            None if self.is_program(&source, kind) => Kind::Raw,
            _ => kind,
        };
        match kind {
            Kind::Compressed(Compression::Lzo) => {
                Err(source.error(Fault::Compression(Compression::Lzo)))
            }
            Kind::Compressed(compression) => {
                let packed = source.bytes(self.ram)?;
                let load = around.as_ref().map_or(0, |to| to.load);
                let room = u64::from(self.ram.saturating_sub(load));
                let unpacked = unpack::unpack(compression, &packed, room, source.budget())
                    .map_err(|fault| source.error(fault))?;
                // Offsets of later errors count in what was unpacked.
                let inside = inside(&source, unpacked.into(), "unpacked")?;
                let kernel = self.layer(inside, around, layers)?;
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
                let elf = elf::read_kernel(&source, self.ram)?;
                let format = "elf".to_owned();
                let kernel = Kernel::new(source.name(), format, elf.segments, elf.entry);
                let symbols = Symbols::in_elf(&source).map(Arc::new);
                if let Err(error) = &symbols {
                    tracing::debug!("no symbols: {error}");
                }
                Ok(Kernel {
                    symbols: symbols.ok(),
                    linux: elf.virtual_entry >= symbols::KERNEL_BASE,
                    notes: elf.notes,
                    ..kernel
                })
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

    /// Whether this is a program that only begins like a uImage, as U-Boot's own do on some boards:
    /// the user says where it goes, and its first bytes are no header that is whole.
    fn is_program(self, source: &Source, kind: Kind) -> bool {
        let told = self.options.load_address.is_some();
        told && kind == Kind::Uimage && !uimage::has_header(source)
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
        let program = kind == Kind::Raw || self.is_program(source, kind);
        if self.options.load_address.is_some() && !program {
            return refuse(
                format!("this is {what}, which says itself where it goes"),
                Remedy::LeaveOutLoadAddress,
            );
        }
        if self.options.fit_config.is_some() && kind != Kind::Fdt {
            return refuse(
                format!("this is {what}, which has no configurations"),
                Remedy::LeaveOutFitConfig,
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
            linux: true,
            ..kernel
        })
    }

    fn fit(self, source: Source, layers: usize) -> Result<Kernel, LoadError> {
        let fit = read_fit(&source, self.ram)?;
        let fit = fit.ok_or_else(|| source.error(Fault::NotAKernel(NotAKernel::DeviceTree)))?;
        let chosen = fit.configuration(self.options.fit_config.as_deref())?;
        let (data, addresses) = (
            (chosen.kernel, chosen.compression),
            (chosen.target, chosen.entry),
        );
        let mut kernel = self.data(&source, data, addresses, "FIT kernel", layers)?;
        for (gpa, bytes) in chosen.loadables {
            let end = u64::from(gpa) + bytes.len() as u64;
            let mut segments = kernel.segments.iter();
            if let Some(other) =
                segments.find(|other| u64::from(other.gpa) < end && u64::from(gpa) < other.end())
            {
                let (first, second) = (other.gpa.min(gpa), other.gpa.max(gpa));
                return Err(source.error(Fault::SegmentsOverlap { first, second }));
            }
            kernel
                .loadables
                .push(Segment::of_bytes(gpa, bytes).holding("loadable"));
        }
        let packed = chosen.compression.map(|known| format!("{known} "));
        let initrd = chosen.initrd.map(|bytes| Initrd {
            file: named(&source, "initrd"),
            bytes,
        });
        kernel.notes.extend(chosen.notes);
        Ok(Kernel {
            format: format!(
                "FIT {:?} of {}kernel",
                chosen.name,
                packed.unwrap_or_default()
            ),
            initrd,
            tree: overlaid(&source, chosen.trees)?,
            linux: true,
            ..kernel
        })
    }

    /// What a container holds: unpacked, and read as the next layer.
    fn data(
        self,
        source: &Source,
        (data, compression): (Bytes, Option<Compression>),
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
            Some(known) => {
                let unpacked = unpack::unpack(known, &data, room.into(), source.budget());
                let unpacked = unpacked.map_err(|fault| LoadError {
                    offset,
                    ..source.error(fault)
                });
                unpacked?.into()
            }
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
        let segment = Segment::of_bytes(target.load, source.bytes(ram)?);
        let slack = bss_slack(segment.size);
        let kernel = Kernel::new(&file, "raw".to_owned(), vec![segment], entry);
        Ok(Kernel { slack, ..kernel })
    }
}

/// The FIT image in a file that begins as a device tree; none where the tree is a board's.
fn read_fit(source: &Source, ram: u32) -> Result<Option<Fit>, LoadError> {
    let bytes = source.bytes(ram)?;
    source.spend(bytes.len() as u64)?;
    let tree = parse_tree(source.name(), &bytes)?;
    let source = source.inside(source.name().to_owned(), bytes)?;
    match tree.is_fit() {
        true => Fit::new(source, tree.into_tree(), ram).map(Some),
        false => Ok(None),
    }
}

/// The first of a FIT image's device trees, with the overlays that follow it applied.
fn overlaid(
    source: &Source,
    trees: Vec<(String, Bytes)>,
) -> Result<Option<(PathBuf, Bytes)>, LoadError> {
    let mut trees = trees.into_iter();
    let Some((base_name, base)) = trees.next() else {
        return Ok(None);
    };
    let name = |image: &str| named(source, &format!("device tree {image:?}"));
    let mut overlays = trees.peekable();
    if overlays.peek().is_none() {
        return Ok(Some((named(source, "device tree"), base)));
    }
    let mut tree = parse_tree(&name(&base_name), &base)?.into_tree();
    for (image, bytes) in overlays {
        let overlay = parse_tree(&name(&image), &bytes)?;
        // Each of its items and references is looked for among the others, and among the base's.
        let others = tree.items() + bytes.len() / 16;
        source.spend((overlay.tree().items() as u64).saturating_mul(others as u64))?;
        let applied = tree.apply(overlay.tree());
        applied.map_err(|error| LoadError::new(&name(&image), Fault::Overlay(error)))?;
    }
    let blob = tree.to_blob().map_err(|error| {
        let remedy = "apply fewer or smaller overlays";
        LoadError::new(&name(&base_name), Fault::image(error.to_string(), remedy))
    });
    Ok(Some((named(source, "device tree"), blob?.into())))
}

/// What a layer holds, named for messages; offsets in them count from its start.
fn inside(source: &Source, data: Bytes, what: &str) -> Result<Source, LoadError> {
    source.inside(named(source, what), data)
}

fn named(source: &Source, what: &str) -> PathBuf {
    PathBuf::from(format!("{} ({what})", source.name().display()))
}

/// Describes the contents of a kernel, initrd or device tree file, also of one that is damaged or
/// cannot be started here. A directory is looked at as [`Kernel::read`] does.
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
    Ok(describe_source(&Source::open(path, ram)?, options, ram))
}

/// Describes a file as [`describe`] does, once it is open.
pub fn describe_source(source: &Source, options: &KernelOptions, ram: u32) -> Section {
    let mut section = Section::default();
    section.field("file size", report::size(source.len()));
    describe_layer(source.clone(), ram, LAYERS, &mut section);
    let source = source.again(ram);
    let kernel = Reader { options, ram }.unchecked(source.clone()).ok();
    let wrapper = kernel.and_then(|kernel| wrapper::describe(&kernel, &source, ram));
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
        source.budget(),
    ) {
        Ok(bytes) => {
            section.field("unpacked", report::size(bytes.len() as u64));
            describe_inside(&source, bytes.into(), ram, layers, section);
        }
        Err(fault) => section.field("unpacked", fault.to_string()),
    };
    match detect(&prefix) {
        Kind::Uimage => match uimage::describe(&source, ram, section) {
            Some((data, Some(compression))) => unpacked(&data, compression, section),
            Some((data, None)) => describe_inside(&source, data, ram, layers, section),
            None => {}
        },
        Kind::Fdt => {
            section.title = "device tree".to_owned();
            match read_fit(&source, ram) {
                Ok(Some(fit)) => fit.describe(section),
                Ok(None) => describe_tree(&source, ram, section),
                Err(error) => section.field("contents", error.fault.to_string()),
            }
        }
        Kind::Elf => elf::describe(&source, section),
        Kind::TreeImage => treeimage::describe(&source, ram, section),
        Kind::Cpio => section.title = "cpio archive".to_owned(),
        Kind::Raw => section.title = "file without a known header".to_owned(),
        Kind::Compressed(compression) => {
            section.title = format!("{compression} file");
            match source.bytes(ram) {
                Ok(packed) => unpacked(&packed, compression, section),
                Err(error) => section.field("contents", error.fault.to_string()),
            }
        }
    }
}

fn describe_tree(source: &Source, ram: u32, section: &mut Section) {
    let bytes = source.bytes(ram).unwrap_or_default();
    if let Ok(tree) = parse_tree(source.name(), &bytes) {
        section.field("board", tree.compatible().join(", "));
    }
}

/// Goes on with what a layer holds, unless that is a program without a header.
fn describe_inside(source: &Source, bytes: Bytes, ram: u32, layers: usize, section: &mut Section) {
    let kind = detect(&bytes[..bytes.len().min(PREFIX)]);
    if let (true, Ok(source)) = (kind != Kind::Raw, inside(source, bytes, "inside")) {
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

/// Reads a user's device tree, which must be one for this board.
pub fn read_dtb(path: &Path, ram: u32) -> Result<UserTree, LoadError> {
    dtb_from_bytes(path, &Source::open(path, ram)?.bytes(ram)?)
}

/// Reads a device tree as [`read_dtb`] does, from the file's bytes; `name` stands for it in
/// messages.
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
