//! ELF kernels: 32-bit, big-endian, PowerPC.
//!
//! A vmlinux is linked to virtual addresses and says in p_paddr where it lies in memory. No
//! relocation is applied: what is position independent relocates itself. So such a file that is
//! linked above the memory that there is, as the ePAPR boot wrapper is, is moved down. It is known
//! by its type (ET_DYN) or, because linkers write ET_EXEC when the base is not 0, by its PT_DYNAMIC.

use super::Segment;
use super::error::{Fault, LoadError};
use super::place::INITIAL_MAPPING;
use super::report::{Section, size};
use super::source::{Data, Source};
use super::symbols::KERNEL_BASE;
use object::BigEndian;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};
use object::read::{ReadCache, ReadRef};

/// Offsets of fields of the file header, for messages.
mod field {
    pub const CLASS: u64 = 4;
    pub const DATA: u64 = 5;
    pub const TYPE: u64 = 16;
    pub const MACHINE: u64 = 18;
    pub const ENTRY: u64 = 24;
    pub const PHOFF: u64 = 28;
}

/// Bytes of a 32-bit file header.
const HEADER: u64 = 52;

const MACHINE_NAMES: [(u16, &str); 9] = [
    (elf::EM_386.0, "x86"),
    (elf::EM_68K.0, "m68k"),
    (elf::EM_MIPS.0, "mips"),
    (elf::EM_PPC64.0, "powerpc64"),
    (elf::EM_S390.0, "s390"),
    (elf::EM_ARM.0, "arm"),
    (elf::EM_X86_64.0, "x86-64"),
    (elf::EM_AARCH64.0, "aarch64"),
    (elf::EM_RISCV.0, "riscv"),
];

/// A PT_LOAD entry, widened so that sums cannot overflow.
struct Load {
    vaddr: u64,
    paddr: u64,
    offset: u64,
    filesz: u64,
    memsz: u64,
    executable: bool,
    writable: bool,
}

/// Bytes of a file.
type FileRange = std::ops::Range<u64>;

/// What an ELF kernel holds.
pub(super) struct ElfKernel {
    pub segments: Vec<Segment>,
    pub entry: u32,
    /// The entry point as it is linked.
    pub virtual_entry: u32,
    /// What is left out, one line each.
    pub notes: Vec<String>,
}

/// The memory that an ELF kernel occupies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// First physical address.
    pub start: u32,
    /// First physical address after it.
    pub end: u32,
    /// First physical address after what the file fills, without bss.
    pub filled: u32,
}

/// The memory that an ELF kernel of any size would occupy.
pub(super) fn extent(source: &Source) -> Result<Extent, LoadError> {
    let Headers { loads, .. } = headers(source)?;
    let address = |address: Option<u64>| {
        let address = address.unwrap_or(0);
        u32::try_from(address).map_err(|_| {
            let reason = "the elf file reaches beyond 4 GiB".to_owned();
            source.error_at(field::PHOFF, Fault::Elf { reason })
        })
    };
    Ok(Extent {
        start: address(loads.iter().map(|load| load.paddr).min())?,
        end: address(loads.iter().map(|load| load.paddr + load.memsz).max())?,
        filled: address(loads.iter().map(|load| load.paddr + load.filesz).max())?,
    })
}

/// Says what is in an ELF file.
pub(super) fn describe(source: &Source, section: &mut Section) {
    section.title = "elf file".to_owned();
    let Headers { entry, loads, .. } = match headers(source) {
        Ok(headers) => headers,
        Err(error) => return section.field("header", error.fault.to_string()),
    };
    section.field("entry", format!("{entry:#010x} (virtual)"));
    for (index, load) in loads.iter().enumerate() {
        let place = format!(
            "{:#010x} to {:#010x}, {} from offset {:#x}",
            load.paddr,
            load.paddr + load.memsz,
            size(load.filesz),
            load.offset
        );
        section.field(format!("segment {index}"), place);
    }
}

/// What the headers say.
struct Headers {
    /// A virtual address.
    entry: u32,
    /// The PT_LOAD entries that occupy memory.
    loads: Vec<Load>,
    /// Whether the file runs wherever it is put.
    movable: bool,
    /// Where the headers and the notes are, which no program runs.
    described: Vec<FileRange>,
}

fn headers(source: &Source) -> Result<Headers, LoadError> {
    check_identity(source)?;
    match source.data() {
        Data::File(file, _) => program_headers(source, &ReadCache::new(&**file)),
        Data::Memory(bytes) => program_headers(source, &bytes[..]),
    }
}

/// Moves a position-independent file that lies outside the memory that is mapped when it starts to
/// the middle of that memory: its own heap then has room above, and what it unpacks to address 0
/// below.
fn move_down(loads: &mut [Load], ram: u32) {
    let mapped = ram.min(INITIAL_MAPPING);
    let end = loads.iter().map(|load| load.paddr + load.memsz).max();
    let start = loads.iter().map(|load| load.paddr).min().unwrap_or(0);
    if end.is_none_or(|end| end <= mapped.into()) {
        return;
    }
    // The largest page size that linkers align to.
    const ALIGNMENT: u64 = 64 << 10;
    let base = u64::from(mapped / 2) / ALIGNMENT * ALIGNMENT + start % ALIGNMENT;
    for load in loads {
        load.paddr = load.paddr - start + base;
    }
}

/// Reads the segments of an ELF file, each checked against RAM before it is read.
pub(super) fn read_kernel(source: &Source, ram: u32) -> Result<ElfKernel, LoadError> {
    let Headers {
        entry: virtual_entry,
        mut loads,
        movable,
        described,
    } = headers(source)?;
    if movable {
        move_down(&mut loads, ram);
    }
    if loads.is_empty() {
        let reason = "the elf file has no segment to load".to_owned();
        return Err(source.error_at(field::PHOFF, Fault::Elf { reason }));
    }
    loads.sort_by_key(|load| load.paddr);
    let notes = leave_out_notes(&mut loads, &described, ram);
    for load in &loads {
        check_place(source, load, ram)?;
    }
    let address = |load: &Load| u32::try_from(load.paddr).expect("it is inside RAM");
    for pair in loads.windows(2) {
        if pair[0].paddr + pair[0].memsz > pair[1].paddr {
            let (first, second) = (address(&pair[0]), address(&pair[1]));
            return Err(source.error(Fault::SegmentsOverlap { first, second }));
        }
    }
    let entry = physical_entry(source, virtual_entry, &loads)?;
    // The segments do not overlap and fit RAM, so all of them together are not more than RAM.
    let segments = loads
        .iter()
        .map(|load| {
            let bytes = source.read(load.offset, load.filesz, "elf segment")?;
            let size = u32::try_from(load.memsz).expect("it is inside RAM");
            Ok(Segment {
                gpa: address(load),
                bytes,
                what: "kernel",
                size,
            })
        })
        .collect::<Result<_, LoadError>>()?;
    Ok(ElfKernel {
        segments,
        entry,
        virtual_entry,
        notes,
    })
}

/// Leaves out segments outside RAM that hold nothing to run, and says so: linkers put a build id
/// and the file's own headers at their default address when only the code was given another.
fn leave_out_notes(loads: &mut Vec<Load>, described: &[FileRange], ram: u32) -> Vec<String> {
    let mut notes = Vec::new();
    loads.retain(|load| {
        let outside = load.paddr + load.memsz > ram.into();
        let runs = load.writable || load.filesz != load.memsz;
        if !outside || runs || !is_described(load, described) {
            return true;
        }
        notes.push(format!(
            "the segment at {:#x} is outside ram and left out: it holds only headers and notes; \
             link with -Wl,--build-id=none to be rid of it",
            load.paddr
        ));
        false
    });
    notes
}

/// Whether all of a segment's bytes are headers and notes, but for padding between them.
fn is_described(load: &Load, described: &[FileRange]) -> bool {
    const PADDING: u64 = 16;
    let end = load.offset + load.filesz;
    let mut at = load.offset;
    for range in described {
        if range.start <= at + PADDING {
            at = at.max(range.end);
        }
    }
    at >= end
}

fn check_place(source: &Source, load: &Load, ram: u32) -> Result<(), LoadError> {
    let end = load.paddr + load.memsz;
    if end <= u64::from(ram) {
        return Ok(());
    }
    let start = u32::try_from(load.paddr).unwrap_or(u32::MAX);
    if start >= KERNEL_BASE && load.paddr == load.vaddr {
        let reason = format!(
            "the physical address {start:#x} is a virtual one: linux maps memory there, and the \
             file was linked without physical addresses"
        );
        let remedy = "link it with AT(ADDR(.text) - 0xc0000000), or change it with 'objcopy \
                      --change-section-lma *-0xc0000000'; the vmlinux of a kernel's build is right";
        return Err(source.error(Fault::image(reason, remedy)));
    }
    Err(source.error(Fault::OutsideRam { start, end, ram }))
}

/// Refuses files for other machines by what they are for.
fn check_identity(source: &Source) -> Result<(), LoadError> {
    let header = source.read(0, HEADER, "elf header")?;
    let refuse = |offset: u64, field, value: String, wanted| {
        Err(source.error_at(
            offset,
            Fault::ElfMachine {
                field,
                value,
                wanted,
            },
        ))
    };
    match header[field::CLASS as usize] {
        1 => {}
        2 => return refuse(field::CLASS, "class", "2 (64-bit)".into(), "1 (32-bit)"),
        other => return refuse(field::CLASS, "class", other.to_string(), "1 (32-bit)"),
    }
    match header[field::DATA as usize] {
        2 => {}
        1 => {
            let value = "1 (little-endian)".into();
            return refuse(field::DATA, "byte order", value, "2 (big-endian)");
        }
        other => {
            return refuse(
                field::DATA,
                "byte order",
                other.to_string(),
                "2 (big-endian)",
            );
        }
    }
    let half = |offset: u64| {
        let offset = offset as usize;
        u16::from_be_bytes([header[offset], header[offset + 1]])
    };
    let machine = half(field::MACHINE);
    if machine != elf::EM_PPC.0 {
        let value = match MACHINE_NAMES.iter().find(|(number, _)| *number == machine) {
            Some((number, name)) => format!("{number} ({name})"),
            None => machine.to_string(),
        };
        return refuse(field::MACHINE, "machine", value, "20 (powerpc)");
    }
    let kind = half(field::TYPE);
    if kind != elf::ET_EXEC.0 && kind != elf::ET_DYN.0 {
        let what = match kind {
            1 => " (an object file)",
            4 => " (a core dump)",
            _ => "",
        };
        let reason = format!("elf type {kind}{what} cannot be loaded, only 2 and 3 can");
        return Err(source.error_at(field::TYPE, Fault::Elf { reason }));
    }
    Ok(())
}

fn program_headers<'a, R: ReadRef<'a>>(source: &Source, data: R) -> Result<Headers, LoadError> {
    let malformed = |offset: u64, error: object::read::Error| {
        let reason = format!("the elf file is malformed ({error})");
        source.error_at(offset, Fault::Elf { reason })
    };
    let header = elf::FileHeader32::<BigEndian>::parse(data).map_err(|e| malformed(0, e))?;
    let endian = BigEndian;
    let table = header
        .program_headers(endian, data)
        .map_err(|error| malformed(header.e_phoff(endian).into(), error))?;
    let mut loads = Vec::new();
    for entry in table
        .iter()
        .filter(|entry| entry.p_type(endian) == elf::PT_LOAD)
    {
        let load = Load {
            vaddr: entry.p_vaddr(endian).into(),
            paddr: entry.p_paddr(endian).into(),
            offset: entry.p_offset(endian).into(),
            filesz: entry.p_filesz(endian).into(),
            memsz: entry.p_memsz(endian).into(),
            executable: entry.p_flags(endian).contains(elf::PF_X),
            writable: entry.p_flags(endian).contains(elf::PF_W),
        };
        if load.filesz > load.memsz {
            let reason = format!(
                "the elf segment at {:#x} has {} bytes in the file but only {} in memory",
                load.paddr, load.filesz, load.memsz
            );
            return Err(source.error_at(load.offset, Fault::Elf { reason }));
        }
        if load.memsz > 0 {
            loads.push(load);
        }
    }
    let phoff = u64::from(header.e_phoff(endian));
    let notes = table
        .iter()
        .filter(|entry| entry.p_type(endian) == elf::PT_NOTE)
        .map(|note| {
            let start = u64::from(note.p_offset(endian));
            start..start + u64::from(note.p_filesz(endian))
        });
    let headers = [0..HEADER, phoff..phoff + 32 * table.len() as u64];
    let mut described: Vec<FileRange> = headers.into_iter().chain(notes).collect();
    described.sort_by_key(|range| range.start);
    let dynamic = |entry: &elf::ProgramHeader32<BigEndian>| entry.p_type(endian) == elf::PT_DYNAMIC;
    Ok(Headers {
        entry: header.e_entry(endian),
        loads,
        movable: header.e_type(endian) == elf::ET_DYN || table.iter().any(dynamic),
        described,
    })
}

/// Where the entry point, a virtual address, lies in memory.
fn physical_entry(source: &Source, entry: u32, loads: &[Load]) -> Result<u32, LoadError> {
    let refuse = |reason| Err(source.error_at(field::ENTRY, Fault::Entry { entry, reason }));
    if !entry.is_multiple_of(4) {
        return refuse("is not a multiple of 4");
    }
    let inside = loads
        .iter()
        .filter(|load| load.executable)
        .find_map(|load| {
            let offset = u64::from(entry)
                .checked_sub(load.vaddr)
                .filter(|o| *o < load.memsz)?;
            u32::try_from(load.paddr + offset).ok()
        });
    match inside {
        Some(physical) => Ok(physical),
        None => refuse("is not inside an executable segment"),
    }
}
