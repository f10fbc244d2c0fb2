//! The facts that a person wants to know of a guest that panicked or hangs: where it stands and how
//! it came there, its registers, its TLB, its last interrupts, and its kernel's log.

mod backtrace;

use std::fmt;
use std::sync::Arc;

use ppckvm_api::{Access, GuestMemory, InterruptLog, State, Taken, Tlbe, Vcpu};
use vm_memory::{Bytes, GuestAddress};

pub use crate::loader::symbols::{CodeLocation, Symbols, SymbolsError};
pub use crate::vm::kernel_log::{KernelLog, Source};
pub use backtrace::{Found, Frame};

use crate::printable::Printable;
use crate::vm::Vm;
use crate::vm::kernel_log::{self, PANIC, Physical};

/// Interrupts that are printed.
const INTERRUPTS: usize = 16;

/// Memory as the guest's code sees it.
trait Memory {
    /// The word at an effective address; none when it is not mapped, or to no RAM.
    fn word(&self, ea: u32) -> Option<u32>;
}

/// Guest memory through the guest's TLB.
struct Mapped<'a> {
    vcpu: &'a Vcpu,
    memory: &'a GuestMemory,
}

impl Memory for Mapped<'_> {
    fn word(&self, ea: u32) -> Option<u32> {
        if ea & 3 != 0 {
            return None;
        }
        let at = self.vcpu.translate_now(ea, Access::Load)?;
        let bytes: [u8; 4] = self.memory.read_obj(GuestAddress(at.gpa)).ok()?;
        Some(match at.little_endian {
            true => u32::from_le_bytes(bytes),
            false => u32::from_be_bytes(bytes),
        })
    }
}

/// The state of a guest that stands still, for a person; printed, it is a few dozen lines.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PostMortem {
    /// All registers, and the TLB.
    pub state: State,
    /// The back trace, from `pc` outwards.
    pub frames: Vec<Frame>,
    /// The interrupts taken first and last.
    pub interrupts: InterruptLog,
    /// The tail of the kernel's log, if one was found.
    pub log: Option<KernelLog>,
    /// Whether the log's end is missing from the console, so that it is worth printing.
    pub log_is_news: bool,
    symbols: Option<Arc<Symbols>>,
}

impl PostMortem {
    /// Returns the function that an address is in, when the kernel's symbols are known.
    pub fn locate(&self, address: u32) -> Option<CodeLocation> {
        self.symbols.as_ref()?.locate(address)
    }

    /// Returns the function that a frame is in, and how far its address is into it.
    pub fn function(&self, frame: &Frame) -> Option<CodeLocation> {
        match frame.found {
            Found::Pc | Found::Interrupted => self.locate(frame.address),
            // Behind a call, which may be its function's last instruction.
            Found::Lr | Found::Stack => {
                let call = self.locate(frame.address.wrapping_sub(4))?;
                Some(CodeLocation {
                    offset: call.offset + 4,
                    ..call
                })
            }
        }
    }

    /// What the kernel's log says of the reason of a panic.
    pub(crate) fn panic_message(&self) -> Option<String> {
        let lines = &self.log.as_ref()?.lines;
        lines.iter().find_map(|line| {
            let (_, after) = line.split_once(PANIC)?;
            Some(after.trim_start_matches(':').trim().to_owned())
        })
    }
}

impl Vm {
    /// Returns where the guest stands and how it came there.
    pub fn post_mortem(&mut self) -> PostMortem {
        let state = self.vcpu.state();
        let mapped = Mapped {
            vcpu: &self.vcpu,
            memory: &self.ram.memory,
        };
        let frames = backtrace::frames(&mapped, state.regs.pc, state.regs.lr, state.regs.gpr[1]);
        let symbols = self.symbols.clone();
        let log = kernel_log::read(&Physical(&self.ram.memory), symbols.as_deref());
        let last = log.as_ref().and_then(|log| log.lines.last());
        let log_is_news = last.is_some_and(|line| {
            // The console can have another time format, or none.
            let text = line
                .split_once("] ")
                .map_or(line.as_str(), |(_, text)| text);
            let printed = |line: &crate::host::serial::Line| line.hub.contains(text.as_bytes());
            // What a port that leads nowhere was sent, nobody has seen.
            !self
                .lines
                .iter()
                .any(|line| line.connected && printed(line))
        });
        PostMortem {
            state,
            frames,
            interrupts: self.vcpu.interrupt_log().clone(),
            log,
            log_is_news,
            symbols,
        }
    }
}

/// What says most comes last, because that is what a terminal or a log's end shows.
impl fmt::Display for PostMortem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tlb(f)?;
        self.interrupts(f)?;
        self.registers(f)?;
        self.back_trace(f)?;
        self.log(f)
    }
}

impl PostMortem {
    fn back_trace(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "back trace:")?;
        // A kernel that panicked stands where it prints that.
        let is_panic = |frame: &Frame| self.function(frame).is_some_and(|at| at.name == "panic");
        let printing = self.frames.iter().position(is_panic).unwrap_or(0);
        if printing > 0 {
            writeln!(f, "  ({printing} calls in which the kernel says so)")?;
        }
        for frame in &self.frames[printing..] {
            let found = match frame.found {
                Found::Pc => " (pc)",
                Found::Lr => " (lr)",
                Found::Interrupted => " (interrupted)",
                Found::Stack => "",
            };
            write!(f, "  {:08x}", frame.address)?;
            if let Some(place) = self.function(frame) {
                write!(f, "  {}", Printable(&place.to_string()))?;
            }
            writeln!(f, "{found}")?;
        }
        if self.symbols.is_none() {
            writeln!(
                f,
                "  (no symbols; the kernel's vmlinux or System.map has them)"
            )?;
        }
        Ok(())
    }

    fn registers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let regs = &self.state.regs;
        let sprs = &self.state.sprs;
        let timers = &self.state.timers;
        writeln!(f, "registers:")?;
        let rows: [&[(&str, u32)]; 4] = [
            &[
                ("pc", regs.pc),
                ("msr", regs.msr),
                ("lr", regs.lr),
                ("ctr", regs.ctr),
                ("cr", regs.cr.word()),
                ("xer", regs.xer.word()),
            ],
            &[
                ("srr0", regs.srr0),
                ("srr1", regs.srr1),
                ("csrr0", regs.csrr0),
                ("csrr1", regs.csrr1),
                ("mcsrr0", sprs.mcsrr0),
                ("mcsrr1", sprs.mcsrr1),
            ],
            &[
                ("esr", regs.esr),
                ("dear", regs.dear),
                ("mcsr", sprs.mcsr),
                ("pid", regs.pid.into()),
                ("ivpr", sprs.ivpr),
                ("dbsr", sprs.dbsr),
            ],
            &[
                ("tcr", timers.tcr),
                ("tsr", timers.tsr),
                ("dec", timers.dec),
                ("tbu", (timers.tb >> 32) as u32),
                ("tbl", timers.tb as u32),
            ],
        ];
        for row in rows {
            for (name, value) in row {
                write!(f, "  {name:>6} {value:08x}")?;
            }
            writeln!(f)?;
        }
        for (row, values) in regs.gpr.chunks(8).enumerate() {
            write!(f, "  {:>6}", format!("r{}", 8 * row))?;
            for value in values {
                write!(f, " {value:08x}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }

    fn tlb(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let valid = self.state.tlb.iter().enumerate();
        let valid: Vec<(usize, &Tlbe)> = valid.filter(|(_, entry)| entry.word0.v()).collect();
        writeln!(
            f,
            "tlb: {} of {} entries are valid",
            valid.len(),
            self.state.tlb.len()
        )?;
        writeln!(
            f,
            "  slot effective size         real ts tid  attr. user supervisor"
        )?;
        for (index, entry) in valid {
            let size = entry
                .page_shift()
                .map_or("?".to_owned(), |shift| match shift {
                    20.. => format!("{}M", 1u32 << (shift - 20)),
                    _ => format!("{}K", 1u32 << (shift - 10)),
                });
            let word2 = entry.word2;
            let flags = |set: &[(bool, char)]| -> String {
                set.iter()
                    .map(|(on, letter)| if *on { *letter } else { '-' })
                    .collect()
            };
            let attributes = flags(&[
                (word2.w(), 'W'),
                (word2.i(), 'I'),
                (word2.m(), 'M'),
                (word2.g(), 'G'),
                (word2.e(), 'E'),
            ]);
            let user = flags(&[(word2.ur(), 'r'), (word2.uw(), 'w'), (word2.ux(), 'x')]);
            let supervisor = flags(&[(word2.sr(), 'r'), (word2.sw(), 'w'), (word2.sx(), 'x')]);
            writeln!(
                f,
                "  {index:>4}  {:08x} {size:>4} -> {:09x} {:>2} {:>3}  {attributes}  {user} {supervisor}",
                entry.ea(),
                entry.real(entry.ea()),
                u8::from(entry.word0.ts()),
                entry.tid,
            )?;
        }
        Ok(())
    }

    fn interrupts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<&Taken> = self.interrupts.iter().collect();
        if all.is_empty() {
            return writeln!(f, "interrupts: none was taken");
        }
        let first = self.interrupts.first().len();
        let last = match self.interrupts.last().len() > INTERRUPTS {
            false => &all[..],
            true => {
                writeln!(f, "first interrupts, the earliest first:")?;
                self.list(f, &all[..first])?;
                &all[all.len() - INTERRUPTS..]
            }
        };
        writeln!(f, "last interrupts, the latest last:")?;
        self.list(f, last)
    }

    fn list(&self, f: &mut fmt::Formatter<'_>, interrupts: &[&Taken]) -> fmt::Result {
        for taken in interrupts {
            write!(
                f,
                "  {:<18} at {:08x} msr {:08x} esr {:08x} dear {:08x}",
                format!("{:?}", taken.kind),
                taken.address,
                taken.msr,
                taken.esr,
                taken.dear
            )?;
            if taken.times > 1 {
                write!(f, "  {} times", taken.times)?;
            }
            match self.locate(taken.address) {
                Some(place) => writeln!(f, "  {}", Printable(&place.to_string()))?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }

    fn log(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(log) = self.log.as_ref().filter(|_| self.log_is_news) else {
            return Ok(());
        };
        let how = match log.source {
            Source::Symbols => "",
            Source::Search => ", found in memory without symbols",
        };
        writeln!(f, "the kernel's log, which the console did not show{how}:")?;
        for line in log.lines.iter().flat_map(|record| record.lines()) {
            writeln!(f, "  {}", Printable(line))?;
        }
        Ok(())
    }
}
