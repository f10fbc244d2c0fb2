//! Guest memory as a debugger wants it: through the TLB as it is, and where that has no entry, through
//! the page tables from which Linux fills it.

use ppckvm_api::Access;

use crate::loader::symbols::KERNEL_BASE;
use crate::vm::Vm;

/// Bytes that are translated at once: no page is smaller.
const PAGE: u32 = 1024;

/// Linux' pages, and what one entry of its upper tables maps: 512 entries of 8 bytes.
const LINUX_PAGE: u32 = 4096;
const TABLE_SHIFT: u32 = 21;

/// The bit of an entry of Linux' lower tables that says that there is a page.
const PRESENT: u64 = 1;

/// Reads guest memory at an effective address up to the first byte that is not there; how many there were.
pub fn read(vm: &mut Vm, ea: u32, bytes: &mut [u8]) -> usize {
    each_piece(vm, ea, bytes.len(), |vm, gpa, range| {
        vm.read_memory(gpa, &mut bytes[range]).is_ok()
    })
}

/// Writes guest memory at an effective address; `false` when not all of it is there.
pub fn write(vm: &mut Vm, ea: u32, bytes: &[u8]) -> bool {
    // Nothing is written unless all of it can be.
    let is_there = each_piece(vm, ea, bytes.len(), |_, _, _| true) == bytes.len();
    is_there
        && each_piece(vm, ea, bytes.len(), |vm, gpa, range| {
            vm.write_memory(gpa, &bytes[range]).is_ok()
        }) == bytes.len()
}

/// Calls `take` for each part of a range that lies in one page; how many bytes it took.
fn each_piece(
    vm: &mut Vm,
    ea: u32,
    count: usize,
    mut take: impl FnMut(&mut Vm, u32, std::ops::Range<usize>) -> bool,
) -> usize {
    let mut done = 0;
    while done < count {
        let at = ea.wrapping_add(done as u32);
        let piece = ((PAGE - at % PAGE) as usize).min(count - done);
        let Some(gpa) = physical(vm, at) else {
            break;
        };
        if !take(vm, gpa, done..done + piece) {
            break;
        }
        done += piece;
    }
    done
}

/// Where an effective address leads in RAM.
pub fn physical(vm: &mut Vm, ea: u32) -> Option<u32> {
    let by_tlb = vm.translate(ea, Access::Load).map(|found| found.gpa);
    let gpa = by_tlb.or_else(|| by_tables(vm, ea))?;
    u32::try_from(gpa).ok()
}

fn word(vm: &Vm, gpa: u32) -> Option<u32> {
    let mut bytes = [0; 4];
    vm.read_memory(gpa, &mut bytes).ok()?;
    Some(u32::from_be_bytes(bytes))
}

/// A word of Linux' own memory, which lies in RAM from its start on.
fn kernel_word(vm: &Vm, ea: u32) -> Option<u32> {
    word(vm, ea.checked_sub(KERNEL_BASE)?)
}

/// Where Linux maps an address: its own memory from the start of RAM on, the rest by its tables.
fn by_tables(vm: &mut Vm, ea: u32) -> Option<u64> {
    let symbols = vm.symbols.clone()?;
    let kernel_tables = symbols.address("swapper_pg_dir")?;
    if let Some(gpa) = ea.checked_sub(KERNEL_BASE)
        && word(vm, gpa & !3).is_some()
    {
        return Some(gpa.into());
    }
    let tables = match ea < KERNEL_BASE {
        true => tables_of_process(vm)?,
        false => kernel_tables,
    };
    let table = kernel_word(vm, tables.wrapping_add(4 * (ea >> TABLE_SHIFT)))?;
    let index = ea >> LINUX_PAGE.ilog2() & 511;
    let at = (table & !(LINUX_PAGE - 1)).wrapping_add(8 * index);
    let entry = u64::from(kernel_word(vm, at)?) << 32 | u64::from(kernel_word(vm, at + 4)?);
    let page = u64::from(LINUX_PAGE);
    (entry & PRESENT != 0).then(|| (entry / page * page) | (u64::from(ea) % page))
}

/// The upper table of the process that runs, which the kernel's TLB miss handler finds behind SPRG3: its
/// offset there stands in the handler.
fn tables_of_process(vm: &mut Vm) -> Option<u32> {
    /// Words of the handler that are looked through.
    const HANDLER: u32 = 80;
    /// `mfspr rN,SPRG3`, and `lwz rN,D(rN)` without N and D.
    const MFSPRG3: u32 = 0x7C13_42A6;
    const LWZ: u32 = 0x8000_0000;
    let state = vm.state();
    let handler = state.sprs.ivpr | state.sprs.ivor[13];
    let code: Vec<u32> = (0..HANDLER)
        .map_while(|n| kernel_word(vm, handler.wrapping_add(4 * n)))
        .collect();
    let offset = code.windows(2).find_map(|pair| {
        let register = pair[0] >> 21 & 31;
        let loads = pair[1] & 0xFFFF_0000 == LWZ | register << 21 | register << 16;
        (pair[0] & !(31 << 21) == MFSPRG3 && loads).then_some(pair[1] & 0x7FFF)
    })?;
    kernel_word(vm, state.regs.sprg[3].wrapping_add(offset))
}
