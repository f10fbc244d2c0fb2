//! What gdb's `monitor` does here beside the commands of the human monitor.

use ppckvm_api::{Access, Where};

use super::memory;
use crate::control::hmp;
use crate::control::subject::{Subject, tlb_lines};

const HELP: &str = "\
tlb [find ADDRESS]            the guest's TLB: its valid entries
translate ADDRESS             where an effective address leads
uic                           the interrupt controllers
dmesg                         the kernel's log, read from its memory
exits                         why the guest came back to the core, and how often
break-phys ADDRESS            stop before the instruction at a physical address
delete-phys ADDRESS           no longer
info, x, xp, stop, system_reset, quit, hostfwd_add, ...  as in the monitor: try `help`
";

/// Does a command; what it answers.
pub fn command(subject: &mut Subject, line: &str) -> String {
    let (name, rest) = line
        .trim()
        .split_once(char::is_whitespace)
        .unwrap_or((line.trim(), ""));
    let rest = rest.trim();
    let answer = match name {
        "tlb" => tlb(subject, rest),
        "translate" => address(rest).and_then(|ea| translate(subject, ea)),
        "uic" => Ok(hmp::command(subject, "info uic")),
        "dmesg" => dmesg(subject),
        "exits" => exits(subject),
        "break-phys" => address(rest).and_then(|gpa| {
            let added = subject.call(move |vm| vm.vcpu.add_breakpoint(Where::Physical(gpa.into())));
            let added = added.map_err(|error| error.to_string())?;
            added.map_err(|error| error.to_string())?;
            Ok(format!("the guest will stop at {gpa:#x}\n"))
        }),
        "delete-phys" => address(rest).and_then(|gpa| {
            let gone =
                subject.call(move |vm| vm.vcpu.remove_breakpoint(Where::Physical(gpa.into())));
            match gone.map_err(|error| error.to_string())? {
                true => Ok(String::new()),
                false => Err(format!("nothing stops the guest at {gpa:#x}")),
            }
        }),
        "help" | "" => Ok(HELP.to_owned() + &hmp::command(subject, "help")),
        _ => Ok(hmp::command(subject, line)),
    };
    answer.unwrap_or_else(|why| format!("{why}\n"))
}

fn address(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u32::from_str_radix(digits, 16)
        .map_err(|_| format!("{text:?} is no address; write it like 0xc0000000"))
}

fn tlb(subject: &Subject, what: &str) -> Result<String, String> {
    let state = subject.state().map_err(|error| error.to_string())?;
    if let Some(ea) = what.strip_prefix("find ") {
        return translate(subject, address(ea.trim())?);
    }
    match what {
        "" | "valid" => Ok(tlb_lines(&state.tlb).join("\n") + "\n"),
        _ => Err("use tlb, or tlb find ADDRESS".into()),
    }
}

fn translate(subject: &Subject, ea: u32) -> Result<String, String> {
    let found = subject.call(move |vm| (vm.translate(ea, Access::Load), memory::physical(vm, ea)));
    Ok(match found.map_err(|error| error.to_string())? {
        (Some(at), _) => {
            let right = |is: bool, letter| if is { letter } else { '-' };
            let rights = [
                right(at.read, 'r'),
                right(at.write, 'w'),
                right(at.execute, 'x'),
            ];
            let rights: String = rights.into_iter().collect();
            format!(
                "{ea:#010x} is {:#011x} {rights}, by entry {}\n",
                at.gpa, at.index
            )
        }
        (None, Some(gpa)) => {
            format!("{ea:#010x} is {gpa:#011x} by the kernel's tables; the TLB has no entry\n")
        }
        (None, None) => format!("{ea:#010x} is not mapped\n"),
    })
}

fn dmesg(subject: &Subject) -> Result<String, String> {
    let log = subject.call(|vm| vm.post_mortem().log);
    let log = log.map_err(|error| error.to_string())?;
    match log {
        Some(log) => Ok(log.lines.join("\n") + "\n"),
        None => Err("no log of a kernel was found in memory".into()),
    }
}

fn exits(subject: &Subject) -> Result<String, String> {
    let statistics = subject.call(|vm| vm.statistics());
    let statistics = statistics.map_err(|error| error.to_string())?;
    Ok(format!("{:#?}\n", statistics.exits))
}
