//! What `--stats` prints.

use std::fmt::{self, Write};
use std::fs::File;
use std::io::Read;
use std::time::Duration;

use ppckvm::{Cause, Statistics, Stats};

/// Exits by cause, time by cause, instructions, speed and memory.
pub fn text(statistics: &Statistics, elapsed: Duration, memory: Memory) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text, statistics, elapsed, memory);
    text
}

fn write(
    to: &mut String,
    statistics: &Statistics,
    elapsed: Duration,
    memory: Memory,
) -> fmt::Result {
    writeln!(to, "exits and traps by cause")?;
    for (name, count) in statistics
        .exits
        .named()
        .iter()
        .filter(|(_, count)| *count > 0)
    {
        let meaning = Stats::meaning(name).unwrap_or_default();
        writeln!(to, "  {name:12} {count:>14}  {meaning}")?;
    }
    writeln!(
        to,
        "time by cause        count        min us        max us        sum ms"
    )?;
    let micros = |nanos: u64| nanos as f64 / 1e3;
    for cause in Cause::ALL {
        let charge = statistics.timing.charge(cause);
        if charge.count > 0 {
            writeln!(
                to,
                "  {:12} {:>12} {:>13.3} {:>13.3} {:>13.3}  {}",
                cause.name(),
                charge.count,
                micros(charge.min),
                micros(charge.max),
                charge.sum as f64 / 1e6,
                cause.meaning(),
            )?;
        }
    }
    let code = &statistics.code;
    writeln!(
        to,
        "code: {} blocks of {} instructions decoded, {} forgotten, {} KiB held",
        code.blocks,
        code.instructions,
        code.invalidated,
        code.bytes >> 10
    )?;
    if let Some(code) = &statistics.translator {
        let windows = match code.shown_pages {
            Some(pages) => {
                format!("{} blocks run much, {pages} pages are in windows", code.hot)
            }
            None => "no windows, as they are off or the host has not the address space".to_owned(),
        };
        writeln!(
            to,
            "translated: {} blocks of {} instructions in {:.1} ms ({:.0} ns each), {} links, \
             {} forgotten, {} blocks given up; {} KiB of code, {} KiB of tables; entered {} times; \
             {} instructions in first runs; {windows}",
            code.blocks,
            code.instructions,
            code.nanoseconds as f64 / 1e6,
            code.nanoseconds as f64 / code.instructions.max(1) as f64,
            code.links,
            code.invalidated,
            code.evicted,
            code.code_bytes >> 10,
            code.table_bytes >> 10,
            code.entries,
            code.first_runs,
        )?;
    }
    let seconds = elapsed.as_secs_f64();
    let mips = statistics.retired as f64 / 1e6 / seconds.max(1e-9);
    writeln!(
        to,
        "{} instructions in {seconds:.3} s, {mips:.1} MIPS",
        statistics.retired
    )?;
    if let Some(memory) = memory.resident() {
        writeln!(to, "resident memory: {memory}")?;
    }
    Ok(())
}

/// What the host says of this process's memory, in a file that is opened while it can be.
pub struct Memory(Option<File>);

impl Memory {
    /// Opens the file.
    pub fn open() -> Self {
        Memory(File::open("/proc/self/status").ok())
    }

    /// How much memory is resident now, and was at most.
    fn resident(self) -> Option<String> {
        let mut status = String::new();
        self.0?.read_to_string(&mut status).ok()?;
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        Some(format!(
            "{} now, {} at most",
            field("VmRSS")?,
            field("VmHWM")?
        ))
    }
}
