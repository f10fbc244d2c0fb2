//! The kernel's log, read from guest memory: printk's ring buffer, as Linux has it since 5.10.
//!
//! Three rings in memory: descriptors and their infos, which say what a record is, and the text.
//! `prb` points to the structure that holds them; without symbols, the structure is found by what
//! must be true of it.

use ppckvm_api::GuestMemory;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use crate::loader::symbols::{KERNEL_BASE, Symbols};

/// Records that are read.
const TAIL: usize = 60;

/// Bytes of RAM in which the structure is searched for; a kernel's data is well below.
const SEARCHED: u32 = 64 << 20;

/// Bytes that are read at once for that.
const CHUNK: u32 = 64 << 10;

/// What the logarithm of the number of records can be.
const COUNT_BITS: std::ops::RangeInclusive<u32> = 2..=24;

/// Layouts on a 32-bit big-endian machine, in bytes.
mod layout {
    pub const COUNT_BITS: u32 = 0;
    pub const DESCS: u32 = 4;
    pub const INFOS: u32 = 8;
    pub const HEAD_ID: u32 = 12;
    pub const TAIL_ID: u32 = 16;
    /// The text ring follows the descriptor ring, whose last member came with 5.18.
    pub const TEXT_RING: [u32; 2] = [20, 24];
    pub const SIZE_BITS: u32 = 0;
    pub const DATA: u32 = 4;
    /// `struct prb_desc`: state and identifier, begin and end of the text.
    pub const DESC: u32 = 12;
    /// `struct printk_info`: sequence number, time, length of the text, facility.
    pub const INFO: u32 = 88;
    pub const TIME: u32 = 8;
    pub const TEXT_LEN: u32 = 16;
    #[cfg(test)]
    pub const FACILITY: u32 = 18;
    /// Before the text stands the record's identifier.
    pub const ID: u32 = 4;
}

/// The two state bits of a descriptor, and those states whose text is complete.
const STATE_SHIFT: u32 = 30;
const COMMITTED: u32 = 1;
const FINALIZED: u32 = 2;
const ID_MASK: u32 = (1 << STATE_SHIFT) - 1;

/// What panicking kernels print first.
pub(crate) const PANIC: &str = "Kernel panic - not syncing";

/// The facility of the kernel's own messages. What a program writes to `/dev/kmsg` has another one,
/// which the kernel sees to.
const KERNEL: u8 = 0;

/// The way in which a kernel's log was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The kernel's symbols said where it is.
    Symbols,
    /// The log was searched for, and found by its shape.
    Search,
}

/// The last lines of a kernel's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelLog {
    /// The way in which it was found.
    pub source: Source,
    /// The records, the latest last, each with its time.
    pub lines: Vec<String>,
}

/// One message.
struct Record {
    nanos: u64,
    facility: u8,
    text: String,
}

impl Record {
    fn line(&self) -> String {
        let (seconds, micros) = (self.nanos / 1_000_000_000, self.nanos / 1000 % 1_000_000);
        format!("[{seconds:5}.{micros:06}] {}", self.text)
    }
}

/// Guest RAM by physical address.
pub(super) trait Ram {
    /// RAM in bytes.
    fn size(&self) -> u32;
    /// Fills `bytes` from `gpa`; whether all of it is RAM.
    fn read(&self, gpa: u32, bytes: &mut [u8]) -> bool;
    /// The first address from `gpa` on that may have been written; what is before was not, so the host
    /// need not find pages for it to read that it is 0. None when nothing was.
    fn written_from(&self, gpa: u32) -> Option<u32> {
        Some(gpa)
    }
}

/// A guest's RAM.
pub(super) struct Physical<'a>(pub &'a GuestMemory);

impl Ram for Physical<'_> {
    fn size(&self) -> u32 {
        u32::try_from(self.0.last_addr().0 + 1).unwrap_or(u32::MAX)
    }

    fn read(&self, gpa: u32, bytes: &mut [u8]) -> bool {
        self.0.read_slice(bytes, GuestAddress(gpa.into())).is_ok()
    }

    fn written_from(&self, gpa: u32) -> Option<u32> {
        let (region, offset) = self.0.to_region_addr(GuestAddress(gpa.into()))?;
        let Some(file) = region.file_offset() else {
            return Some(gpa);
        };
        let start = file.start() + offset.0;
        match seek(file.file(), SeekFrom::Data(start)) {
            Ok(data) => gpa.checked_add(u32::try_from(data - start).ok()?),
            Err(Errno::NXIO) => None,
            Err(_) => Some(gpa),
        }
    }
}

/// A word at an address of the kernel's.
fn word(ram: &impl Ram, ea: u32) -> Option<u32> {
    let mut bytes = [0; 4];
    ram.read(ea.checked_sub(KERNEL_BASE)?, &mut bytes)
        .then(|| u32::from_be_bytes(bytes))
}

/// The ring buffer's parts.
struct Rings {
    count_bits: u32,
    descs: u32,
    infos: u32,
    head_id: u32,
    tail_id: u32,
    size_bits: u32,
    data: u32,
}

impl Rings {
    /// The structure at `ea`, if it looks like one.
    fn at(ram: &impl Ram, ea: u32) -> Option<Rings> {
        let field = |offset: u32| word(ram, ea.checked_add(offset)?);
        let pointer = |value: u32| (value > KERNEL_BASE && value & 3 == 0).then_some(value);
        // The cheapest first: a search asks this of every word.
        let count_bits = field(layout::COUNT_BITS).filter(|bits| COUNT_BITS.contains(bits))?;
        let descs = pointer(field(layout::DESCS)?)?;
        let infos = pointer(field(layout::INFOS)?)?;
        let (head_id, tail_id) = (field(layout::HEAD_ID)?, field(layout::TAIL_ID)?);
        let (size_bits, data) = layout::TEXT_RING.iter().find_map(|&ring| {
            let bits = field(ring + layout::SIZE_BITS).filter(|bits| (8..=28).contains(bits))?;
            Some((bits, pointer(field(ring + layout::DATA)?)?))
        })?;
        let rings = Rings {
            count_bits,
            descs,
            infos,
            head_id,
            tail_id,
            size_bits,
            data,
        };
        // The newest descriptor knows its own number.
        let state = word(ram, rings.desc(head_id)?)?;
        let span = head_id.wrapping_sub(tail_id) & ID_MASK;
        (state & ID_MASK == head_id && span < 1 << count_bits).then_some(rings)
    }

    fn index(&self, id: u32) -> u32 {
        id & ((1 << self.count_bits) - 1)
    }

    fn desc(&self, id: u32) -> Option<u32> {
        self.descs.checked_add(self.index(id) * layout::DESC)
    }

    /// One record; none when its text is not there.
    fn record(&self, ram: &impl Ram, id: u32) -> Option<Record> {
        let desc = self.desc(id)?;
        let state = word(ram, desc)?;
        if state & ID_MASK != id || !matches!(state >> STATE_SHIFT, COMMITTED | FINALIZED) {
            return None;
        }
        let (begin, next) = (word(ram, desc + 4)?, word(ram, desc + 8)?);
        // An odd position says that there is no text.
        if begin & 1 != 0 {
            return None;
        }
        let size = 1u32 << self.size_bits;
        let wrapped = begin >> self.size_bits != next >> self.size_bits && next & (size - 1) != 0;
        let start = if wrapped { 0 } else { begin & (size - 1) };
        let info = self
            .infos
            .checked_add(self.index(id).checked_mul(layout::INFO)?)?;
        // The length, the facility, and flags.
        let [high, low, facility, _] =
            word(ram, info.checked_add(layout::TEXT_LEN)?)?.to_be_bytes();
        let length = u32::from(u16::from_be_bytes([high, low]));
        let room = size.checked_sub(start + layout::ID)?;
        let mut text = vec![0; length.min(room) as usize];
        let from = self.data.checked_add(start + layout::ID)?;
        if !ram.read(from.checked_sub(KERNEL_BASE)?, &mut text) {
            return None;
        }
        let time = info + layout::TIME;
        let nanos = u64::from(word(ram, time)?) << 32 | u64::from(word(ram, time + 4)?);
        let text = String::from_utf8_lossy(&text);
        Some(Record {
            nanos,
            facility,
            text: text.trim_end().to_owned(),
        })
    }

    /// The last records, the latest last.
    fn records(&self, ram: &impl Ram) -> Vec<Record> {
        let span = (self.head_id.wrapping_sub(self.tail_id) & ID_MASK) as usize;
        let mut records: Vec<Record> = (0..=span as u32)
            .map(|back| self.head_id.wrapping_sub(back) & ID_MASK)
            .filter_map(|id| self.record(ram, id))
            .take(TAIL)
            .collect();
        records.reverse();
        records
    }
}

/// The chunks of RAM before `end` in which anything was written.
fn chunks(ram: &impl Ram, end: u32) -> impl Iterator<Item = u32> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let chunk = ram.written_from(next)? / CHUNK * CHUNK;
        next = chunk.saturating_add(CHUNK);
        (chunk < end).then_some(chunk)
    })
}

/// Where in the chunk of RAM at `gpa` a word could be the structure's first.
fn candidates(ram: &impl Ram, gpa: u32, end: u32) -> Vec<u32> {
    let mut bytes = vec![0; (end - gpa).min(CHUNK) as usize];
    if !ram.read(gpa, &mut bytes) {
        return Vec::new();
    }
    let (words, _) = bytes.as_chunks::<4>();
    (gpa..)
        .step_by(4)
        .zip(words)
        .filter(|(_, word)| COUNT_BITS.contains(&u32::from_be_bytes(**word)))
        .map(|(gpa, _)| gpa)
        .collect()
}

/// The tail of the kernel's log, through `prb` or by a search.
fn records(ram: &impl Ram, symbols: Option<&Symbols>) -> Option<(Source, Vec<Record>)> {
    let log = |source, rings: &Rings| {
        let records = rings.records(ram);
        (!records.is_empty()).then_some((source, records))
    };
    let known = symbols
        .and_then(|symbols| word(ram, symbols.address("prb")?))
        .and_then(|prb| Rings::at(ram, prb));
    if let Some(rings) = known {
        return log(Source::Symbols, &rings);
    }
    // There can be two: the one that the kernel starts with, and one that `log_buf_len=` made.
    // What the first holds is copied into the second, which then has the later messages.
    let end = ram.size().min(SEARCHED);
    chunks(ram, end)
        .flat_map(|chunk| candidates(ram, chunk, end))
        .filter_map(|gpa| Rings::at(ram, KERNEL_BASE + gpa))
        .filter_map(|rings| log(Source::Search, &rings))
        .max_by_key(|(_, records)| records.last().map(|last| last.nanos))
}

/// The tail of the kernel's log as text.
pub(super) fn read(ram: &impl Ram, symbols: Option<&Symbols>) -> Option<KernelLog> {
    let (source, records) = records(ram, symbols)?;
    let lines = records.iter().map(Record::line).collect();
    Some(KernelLog { source, lines })
}

/// Whether the kernel itself has just said what begins with `text`, and not a program through the
/// kernel's log or past it; none when there is no log that can be read.
pub(super) fn is_the_kernels(
    ram: &impl Ram,
    symbols: Option<&Symbols>,
    text: &str,
) -> Option<bool> {
    let (_, records) = records(ram, symbols)?;
    let said = records
        .iter()
        .rev()
        .find(|record| record.text.starts_with(text));
    Some(said.is_some_and(|record| record.facility == KERNEL))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Image(Vec<u8>);

    impl Ram for Image {
        fn size(&self) -> u32 {
            self.0.len() as u32
        }

        fn read(&self, gpa: u32, bytes: &mut [u8]) -> bool {
            let from = self
                .0
                .get(gpa as usize..)
                .and_then(|from| from.get(..bytes.len()));
            from.map(|from| bytes.copy_from_slice(from)).is_some()
        }
    }

    impl Image {
        fn put(&mut self, gpa: u32, word: u32) {
            self.0[gpa as usize..][..4].copy_from_slice(&word.to_be_bytes());
        }
    }

    #[test]
    fn a_search_takes_no_memory_for_ram_that_was_never_written() {
        let ram = crate::vm::ram::Ram::new(64 << 20).unwrap();
        let before = ram.resident().unwrap();
        assert!(records(&Physical(&ram.memory), None).is_none());
        assert_eq!(ram.resident().unwrap(), before);
        // What was written is looked at, and what was not is not: a log's first word, and nothing.
        let at = GuestAddress(0x0130_0000);
        ram.memory.write_obj(4_u32.to_be(), at).unwrap();
        let physical = Physical(&ram.memory);
        let all = 64 << 20;
        assert_eq!(chunks(&physical, all).collect::<Vec<_>>(), [0x0130_0000]);
        assert_eq!(candidates(&physical, 0x0130_0000, all), [0x0130_0000]);
        assert_eq!(chunks(&physical, 0x0130_0000).count(), 0);
    }

    const PRB: u32 = 0x100;
    const DESCS: u32 = 0x1000;
    const INFOS: u32 = 0x2000;
    const DATA: u32 = 0x8000;

    /// A log of 16 records and 256 bytes of text in which these were printed one after another,
    /// the text ring at its place in kernels before or since 5.18.
    fn memory(texts: &[&str], since_5_18: bool) -> Image {
        let mut ram = Image(vec![0; 0x1_0000]);
        let ring = layout::TEXT_RING[usize::from(since_5_18)];
        // The kernel's first number is below a multiple of the count, so that wrapping is common.
        let first = 0x3FFF_FFFE_u32;
        let mut position = 0u32;
        for (n, text) in texts.iter().enumerate() {
            let id = first.wrapping_add(n as u32) & ID_MASK;
            let size = (4 + text.len() as u32).next_multiple_of(4);
            // A record that does not fit before the end stands at the start, and its own begin
            // is where the skipped space began.
            let begin = position;
            if begin / 256 != (begin + size - 1) / 256 {
                position = begin.next_multiple_of(256);
            }
            let start = position % 256;
            let next = position + size;
            ram.put(DATA + start, id);
            ram.0[(DATA + start + 4) as usize..][..text.len()].copy_from_slice(text.as_bytes());
            let desc = DESCS + id % 16 * layout::DESC;
            ram.put(desc, FINALIZED << STATE_SHIFT | id);
            ram.put(desc + 4, begin);
            ram.put(desc + 8, next);
            let info = INFOS + id % 16 * layout::INFO;
            ram.put(info + layout::TIME + 4, 1_000_000 * (n as u32 + 1));
            ram.put(info + layout::TEXT_LEN, (text.len() as u32) << 16);
            position = next;
        }
        let last = first.wrapping_add(texts.len() as u32 - 1) & ID_MASK;
        let tail = last.wrapping_sub((texts.len() as u32).min(8) - 1) & ID_MASK;
        if since_5_18 {
            ram.put(PRB + layout::TEXT_RING[0], last);
        }
        for (offset, value) in [
            (layout::COUNT_BITS, 4),
            (layout::DESCS, KERNEL_BASE + DESCS),
            (layout::INFOS, KERNEL_BASE + INFOS),
            (layout::HEAD_ID, last),
            (layout::TAIL_ID, tail),
            (ring + layout::SIZE_BITS, 8),
            (ring + layout::DATA, KERNEL_BASE + DATA),
        ] {
            ram.put(PRB + offset, value);
        }
        ram
    }

    #[test]
    fn a_log_is_found_by_its_shape_and_read_in_order() {
        for since_5_18 in [false, true] {
            let ram = memory(&["Linux version 6.1", "a", "Kernel panic"], since_5_18);
            let log = read(&ram, None).unwrap();
            assert_eq!(log.source, Source::Search);
            assert_eq!(
                log.lines,
                [
                    "[    0.001000] Linux version 6.1",
                    "[    0.002000] a",
                    "[    0.003000] Kernel panic",
                ]
            );
        }
    }

    #[test]
    fn what_a_program_wrote_into_the_log_is_not_the_kernels() {
        let mut ram = memory(&["Kernel panic - not syncing: x", "more"], true);
        let is_the_kernels = |ram: &Image, text| is_the_kernels(ram, None, text);
        assert_eq!(is_the_kernels(&ram, PANIC), Some(true));
        assert_eq!(is_the_kernels(&ram, "never said"), Some(false));
        assert_eq!(is_the_kernels(&Image(vec![0; 4096]), PANIC), None);
        // The facility of programs.
        let info = INFOS + (0x3FFF_FFFE % 16) * layout::INFO;
        ram.0[(info + layout::FACILITY) as usize] = 1;
        assert_eq!(is_the_kernels(&ram, PANIC), Some(false));
    }

    #[test]
    fn a_log_that_wrapped_keeps_its_tail() {
        let texts: Vec<String> = (0..30)
            .map(|n| format!("message {n} {}", "x".repeat(n)))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let log = read(&memory(&texts, true), None).unwrap();
        let last = log.lines.last().unwrap();
        assert!(last.ends_with(&"x".repeat(29)), "{log:?}");
    }

    #[test]
    fn memory_without_a_log_has_none() {
        assert_eq!(read(&Image(vec![0; 4096]), None), None);
        assert_eq!(read(&Image(vec![0xFF; 4096]), None), None);
        assert_eq!(read(&Image(Vec::new()), None), None);
        // A structure whose pointers lead out of RAM.
        let mut ram = memory(&["x"], true);
        ram.put(PRB + layout::DESCS, 0xFFFF_FFF0);
        assert_eq!(read(&ram, None), None);
    }
}
