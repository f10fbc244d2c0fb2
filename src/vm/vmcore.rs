//! The guest's memory and registers as an ELF core file, which gdb and crash open.

use std::io::{self, Write};

use ppckvm_api::State;
use vm_memory::{Bytes, GuestAddress};

use crate::vm::Vm;

/// Bytes that are copied at once.
const CHUNK: usize = 1 << 20;

/// Sizes of ELF's structures for 32 bits.
const EHDR: u32 = 52;
const PHDR: u32 = 32;

/// `struct elf_prstatus` of 32-bit PowerPC.
const PRSTATUS: usize = 268;
/// Where its registers begin: r0 to r31, nip, msr, orig_gpr3, ctr, link, xer, ccr, mq, trap, dar,
/// dsisr, result, and four more.
const PR_REG: usize = 72;

/// ELF's constants.
const ET_CORE: u16 = 4;
const EM_PPC: u16 = 20;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const NT_PRSTATUS: u32 = 1;
const PF_RWX: u32 = 7;

/// A part of guest RAM, and where a debugger finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Load {
    virtual_address: u32,
    physical: u32,
    bytes: u32,
}

impl Vm {
    /// Writes guest memory and registers as an ELF core file. Addresses in it are physical, or with
    /// `mapped` the effective ones of the pages that the TLB has now, which for Linux are all of its
    /// own memory.
    ///
    /// # Errors
    /// As the file says.
    pub fn write_vmcore(&mut self, file: &mut impl Write, mapped: bool) -> io::Result<()> {
        let state = self.state();
        let ram = self.ram.region.size() as u32;
        let loads = match mapped {
            true => mapped_loads(&state, ram),
            false => vec![Load {
                virtual_address: 0,
                physical: 0,
                bytes: ram,
            }],
        };
        file.write_all(&headers(&state, &loads))?;
        let mut chunk = vec![0; CHUNK];
        for load in loads {
            let mut at = load.physical;
            let end = load.physical + load.bytes;
            while at < end {
                let part = &mut chunk[..CHUNK.min((end - at) as usize)];
                let read = self.ram.memory.read_slice(part, GuestAddress(at.into()));
                read.map_err(io::Error::other)?;
                file.write_all(part)?;
                at += part.len() as u32;
            }
        }
        file.flush()
    }
}

/// The pages of the TLB that lead to RAM, by their effective address, each address once.
fn mapped_loads(state: &State, ram: u32) -> Vec<Load> {
    let valid = state.tlb.iter().filter(|entry| entry.word0.v());
    let loads = valid.filter_map(|entry| {
        let physical = u32::try_from(entry.real(entry.ea())).ok()?;
        let bytes = ram.checked_sub(physical).filter(|left| *left > 0)?;
        let page = 1u32.checked_shl(entry.page_shift()?)?;
        Some(Load {
            virtual_address: entry.ea(),
            physical,
            bytes: bytes.min(page),
        })
    });
    let mut loads: Vec<Load> = loads.collect();
    loads.sort_by_key(|load| (load.virtual_address, load.physical));
    loads.dedup_by_key(|load| load.virtual_address);
    loads
}

/// All that comes before the memory: ELF's header, the program headers and the note.
fn headers(state: &State, loads: &[Load]) -> Vec<u8> {
    let note = note(&prstatus(state));
    let count = loads.len() as u32 + 1;
    let note_at = EHDR + PHDR * count;
    let mut out = vec![0x7F, b'E', b'L', b'F', 1, 2, 1];
    out.resize(16, 0);
    let half = |out: &mut Vec<u8>, value: u16| out.extend(value.to_be_bytes());
    let word = |out: &mut Vec<u8>, value: u32| out.extend(value.to_be_bytes());
    half(&mut out, ET_CORE);
    half(&mut out, EM_PPC);
    [1, 0, EHDR, 0, 0]
        .iter()
        .for_each(|value| word(&mut out, *value));
    let sizes = [EHDR as u16, PHDR as u16, count as u16, 0, 0, 0];
    sizes.iter().for_each(|value| half(&mut out, *value));
    let header =
        |out: &mut Vec<u8>, values: [u32; 8]| values.iter().for_each(|value| word(out, *value));
    let bytes = note.len() as u32;
    header(&mut out, [PT_NOTE, note_at, 0, 0, bytes, bytes, 0, 4]);
    let mut at = note_at + bytes;
    for load in loads {
        let Load {
            virtual_address,
            physical,
            bytes,
        } = *load;
        let values = [
            PT_LOAD,
            at,
            virtual_address,
            physical,
            bytes,
            bytes,
            PF_RWX,
            1,
        ];
        header(&mut out, values);
        at = at.wrapping_add(bytes);
    }
    out.extend(note);
    out
}

/// A note of the kind that holds registers.
fn note(contents: &[u8]) -> Vec<u8> {
    let name = b"CORE\0\0\0\0";
    let mut out = Vec::new();
    for value in [5, contents.len() as u32, NT_PRSTATUS] {
        out.extend(value.to_be_bytes());
    }
    out.extend(name);
    out.extend(contents);
    out
}

/// The registers as Linux writes a process's.
fn prstatus(state: &State) -> Vec<u8> {
    let regs = &state.regs;
    let mut out = vec![0; PRSTATUS];
    // pr_pid, which debuggers take for the thread.
    out[24..28].copy_from_slice(&1u32.to_be_bytes());
    let rest = [
        regs.pc,
        regs.msr,
        regs.gpr[3],
        regs.ctr,
        regs.lr,
        regs.xer.word(),
        regs.cr.word(),
        0,
        0,
        regs.dear,
        regs.esr,
    ];
    let all = regs.gpr.iter().chain(&rest);
    for (index, value) in all.enumerate() {
        let at = PR_REG + 4 * index;
        out[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }
    out
}
