//! What a kernel's command line says of memory, as Linux for PowerPC reads it.
//!
//! | option | what it says |
//! |---|---|
//! | `mem=SIZE` | memory ends at SIZE; the last one counts, and 0 is none |
//! | `crashkernel=SIZE[@START]`, also with ranges of RAM | kept for another kernel, from 32 MiB where a kernel cannot be elsewhere |
//! | `cma=SIZE@START` | kept for the drivers' buffers |
//! | `ramoops.mem_address=`, `ramoops.mem_size=` | kept for logs that survive a reset |

use ppckvm_fdt::reserved::Kept;

/// The longest command line that Linux for PowerPC takes, in bytes; it cuts the rest off.
pub(super) const LONGEST: usize = 2047;

/// Where a crash kernel is that is not told, or that cannot be elsewhere.
const CRASH_KERNEL: u64 = 32 << 20;

/// What a command line says of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MemoryOptions {
    /// How many bytes from address 0 the kernel uses.
    pub limit: Option<u64>,
    /// Whether the line has a `mem=`, which also takes a limit of the tree's back.
    pub has_limit: bool,
    /// The ranges that are kept.
    pub kept: Vec<Kept>,
}

/// Reads a command line for a guest with `ram` bytes of memory.
pub(super) fn read(line: &str, ram: u32) -> MemoryOptions {
    let mut found = MemoryOptions::default();
    let (mut crash, mut logs) = (None, (None, None));
    let mut buffers = None;
    for (name, value) in options(line) {
        let value = value.unwrap_or_default();
        match name.replace('-', "_").as_str() {
            "mem" => {
                let (size, _) = size(&value);
                found.has_limit = true;
                found.limit = (size != 0).then_some(size);
            }
            "crashkernel" => crash = Some(value),
            "cma" => buffers = Some(value),
            "ramoops.mem_address" => logs.0 = Some(size(&value).0),
            "ramoops.mem_size" => logs.1 = Some(size(&value).0),
            _ => {}
        }
    }
    let total = found.limit.unwrap_or(ram.into());
    if let Some((size, start)) = crash.and_then(|value| crash_kernel(&value, total)) {
        keep(&mut found.kept, CRASH_KERNEL, size, "crashkernel=");
        if let Some(start) = start.filter(|start| *start != 0) {
            keep(&mut found.kept, start, size, "crashkernel=");
        }
        let end = CRASH_KERNEL.max(start.unwrap_or(0)).saturating_add(size);
        // It takes back a limit that is lower.
        found.limit = found.limit.map(|limit| limit.max(end));
    }
    if let Some((length, rest)) = buffers.as_deref().map(size)
        && let Some((start, rest)) = rest.strip_prefix('@').map(size)
        && !rest.starts_with('-')
    {
        keep(&mut found.kept, start, length, "cma=");
    }
    if let (Some(start), Some(size)) = logs {
        keep(&mut found.kept, start, size, "ramoops.mem_address=");
    }
    found
}

fn keep(kept: &mut Vec<Kept>, start: u64, size: u64, by: &str) {
    if size != 0 {
        kept.push(Kept {
            start,
            end: start.saturating_add(size),
            by: by.to_owned(),
        });
    }
}

/// The options of a line: words that may hold spaces inside double quotes, up to `--`.
fn options(line: &str) -> impl Iterator<Item = (String, Option<String>)> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            space if space.is_ascii_whitespace() && !quoted => words.push(String::new()),
            other => words.last_mut().expect("there is one").push(other),
        }
    }
    let words = words.into_iter().filter(|word| !word.is_empty());
    words
        .take_while(|word| word != "--")
        .map(|word| match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, None),
        })
}

/// A number in C's notation with a unit, and what follows it; 0 where there is none.
fn size(text: &str) -> (u64, &str) {
    let (digits, base) = match text.as_bytes() {
        [b'0', b'x' | b'X', digit, ..] if digit.is_ascii_hexdigit() => (&text[2..], 16),
        [b'0', ..] => (text, 8),
        _ => (text, 10),
    };
    let mut number = 0u64;
    let mut rest = digits;
    while let Some(digit) = rest.chars().next().and_then(|c| c.to_digit(base)) {
        number = number.wrapping_mul(base.into()).wrapping_add(digit.into());
        rest = &rest[1..];
    }
    let units = ['k', 'm', 'g', 't', 'p', 'e'];
    let unit = rest.chars().next().map(|unit| unit.to_ascii_lowercase());
    let unit = unit.and_then(|unit| units.iter().position(|known| *known == unit));
    match unit {
        Some(index) => (number.wrapping_shl(10 * (index as u32 + 1)), &rest[1..]),
        None => (number, rest),
    }
}

/// The size of a crash kernel's memory and its start, for a guest with `ram` bytes: `SIZE[@START]`,
/// or `FROM-[TO]:SIZE` for each range of RAM, then `[@START]`.
fn crash_kernel(value: &str, ram: u64) -> Option<(u64, Option<u64>)> {
    let start = value.split_once('@').map(|(_, start)| size(start).0);
    let sizes = value.split('@').next().unwrap_or_default();
    if !sizes.contains(':') {
        let (length, _) = size(sizes);
        return (length != 0).then_some((length, start));
    }
    sizes.split(',').find_map(|range| {
        let (range, length) = range.split_once(':')?;
        let (from, to) = range.split_once('-')?;
        let to = if to.is_empty() { u64::MAX } else { size(to).0 };
        let length = size(length).0;
        let fits = size(from).0 <= ram && ram < to && length != 0;
        fits.then_some((length, start))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn limit(line: &str) -> Option<u64> {
        read(line, 256 << 20).limit
    }

    fn kept(line: &str) -> Vec<(u64, u64)> {
        let kept = read(line, 256 << 20).kept;
        kept.iter().map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn the_last_limit_counts() {
        for (line, expected) in [
            ("mem=200M", Some(200 * MIB)),
            ("quiet mem=0x1000000 root=/dev/ram0", Some(16 * MIB)),
            ("mem=0100000k", Some(32 * MIB)),
            ("mem=67108864", Some(64 * MIB)),
            ("mem=64m mem=32M", Some(32 * MIB)),
            ("mem=64M mem=0", None),
            ("mem=nopentium", None),
            ("mem", None),
            ("memory=64M xmem=64M", None),
            ("panic=1 -- mem=64M", None),
            ("init=\"/bin/sh mem=64M\"", None),
            ("\"mem=64M\"", Some(64 * MIB)),
            ("mem=1G@0", Some(1024 * MIB)),
            ("", None),
        ] {
            assert_eq!(limit(line), expected, "{line}");
        }
        assert!(read("mem=0", 1).has_limit && !read("quiet", 1).has_limit);
    }

    #[test]
    fn what_is_kept_is_kept_where_each_kernel_would() {
        let (m32, m64) = (32 * MIB, 64 * MIB);
        assert_eq!(kept("crashkernel=32M"), [(m32, m64)]);
        assert_eq!(
            kept("crashkernel=32M@64M"),
            [(m32, m64), (m64, 96 * MIB)],
            "a kernel that cannot be moved ignores the start"
        );
        assert_eq!(kept("crashkernel=512M-:64M,128M-512M:32M"), [(m32, m64)]);
        assert_eq!(kept("crashkernel=512M-:64M"), []);
        assert_eq!(kept("cma=16M@64M"), [(m64, 80 * MIB)]);
        assert_eq!(kept("cma=16M"), []);
        assert_eq!(kept("cma=16M@64M-128M"), []);
        let logs = "ramoops.mem-address=0x2000000 ramoops.mem_size=0x10000";
        assert_eq!(kept(logs), [(m32, m32 + 0x10000)]);
        assert_eq!(
            limit("mem=48M crashkernel=32M"),
            Some(m64),
            "the crash kernel is inside"
        );
    }

    #[test]
    fn odd_lines_end_in_no_panic() {
        for line in [
            "mem=99999999999999999999E",
            "crashkernel=@",
            "cma=@",
            "é=é mem=é",
            "mem=0x",
            "\"",
        ] {
            let _ = read(line, 1 << 20);
        }
    }
}
