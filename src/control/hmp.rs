//! The monitor that a person types to: QEMU's commands, and its answers where people or scripts
//! read them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ppckvm_api::State;

use super::QEMU_VERSION;
use super::expression;
use super::subject::{Space, Subject, tlb_lines};
use crate::host::net::{HostForward, Protocol};
use crate::vm::Vm;

/// What it asks with.
pub const PROMPT: &str = "(qemu) ";

/// The most bytes that `x` and `xp` show.
const SHOWN: u64 = 64 << 10;

/// A command: its names, what it takes, what it does, and how.
type Command = (
    &'static [&'static str],
    &'static str,
    &'static str,
    fn(&mut Subject, &str) -> Result<String, String>,
);

const COMMANDS: [Command; 17] = [
    (&["help", "?"], "[cmd]", "show this list", help),
    (
        &["info"],
        "[subcommand]",
        "show what is known; without a subcommand, what can be shown",
        info,
    ),
    (&["stop", "s"], "", "hold the guest", |subject, _| {
        done(subject.remote.pause())
    }),
    (&["cont", "c"], "", "let the guest go on", |subject, _| {
        if subject.run_state().0 == "shutdown" {
            return Err("the guest is powered off; system_reset starts it again".into());
        }
        done(subject.remote.resume())
    }),
    (&["system_reset"], "", "reset the board", |subject, _| {
        done(subject.reset())
    }),
    (
        &["system_powerdown"],
        "",
        "nothing: the board has no power button",
        |_, _| Ok(String::new()),
    ),
    (&["quit", "q"], "", "end the run", |subject, _| {
        subject.quit();
        Ok(String::new())
    }),
    (
        &["x"],
        "/fmt addr",
        "show memory at an effective address",
        |subject, rest| show(subject, Space::Effective, rest),
    ),
    (
        &["xp"],
        "/fmt addr",
        "show memory at a physical address",
        |subject, rest| show(subject, Space::Physical, rest),
    ),
    (&["print", "p"], "/fmt expr", "show a value", print),
    (
        &["hostfwd_add"],
        "[netdev] tcp|udp:[hostaddr]:hostport-[guestaddr]:guestport",
        "forward a port of the host into the guest",
        add_forward,
    ),
    (
        &["hostfwd_remove"],
        "[netdev] tcp|udp:[hostaddr]:hostport",
        "stop forwarding a port",
        remove_forward,
    ),
    (
        &["dump-guest-memory"],
        "[-p] filename",
        "write an ELF core file; -p: with effective addresses",
        dump,
    ),
    (
        &["memsave"],
        "addr size file",
        "write memory at an effective address",
        |subject, rest| save(subject, Space::Effective, rest),
    ),
    (
        &["pmemsave"],
        "addr size file",
        "write memory at a physical address",
        |subject, rest| save(subject, Space::Physical, rest),
    ),
    (
        &["gdbserver"],
        "[device]",
        "served from the start on alone",
        |_, _| Err("gdb is served where the machine was started with --gdb, or -s".into()),
    ),
    (
        &["savevm", "loadvm", "delvm"],
        "tag",
        "not there",
        |_, _| {
            Err(
                "a machine's state is not saved yet; -snapshot keeps disks as they are, and \
             dump-guest-memory writes memory and registers"
                    .into(),
            )
        },
    ),
];

type Shows = fn(&mut Subject) -> Result<String, String>;

/// What `info` shows: its name, what it is, and how.
const INFO: [(&str, &str, Shows); 11] = [
    ("block", "show the disks", |subject| Ok(blocks(subject))),
    ("chardev", "show where ports lead", |subject| {
        let chardevs = subject.inventory.chardevs.iter();
        let line = |(label, file): &(String, String)| format!("{label}: filename={file}\n");
        Ok(chardevs.map(line).collect())
    }),
    ("cpus", "show the CPU", |subject| {
        let thread = subject.call(|_| rustix::thread::gettid().as_raw_nonzero().get());
        Ok(format!("* CPU #0: thread_id={}\n", said(thread)?))
    }),
    ("mtree", "show the memory map", memory_map),
    ("name", "show the machine's name", |subject| {
        let name = subject.inventory.name.as_ref();
        Ok(name.map_or_else(String::new, |name| format!("{name}\n")))
    }),
    ("network", "show the networks", |subject| {
        Ok(networks(subject))
    }),
    ("registers", "show the CPU's registers", |subject| {
        Ok(registers(&said(subject.state())?))
    }),
    ("status", "show whether the guest runs", |subject| {
        Ok(match subject.run_state() {
            ("running", _) => "VM status: running\n".into(),
            ("paused", _) => "VM status: paused\n".into(),
            (state, _) => format!("VM status: paused ({state})\n"),
        })
    }),
    ("tlb", "show the entries of the TLB in use", |subject| {
        let state = said(subject.state())?;
        Ok(tlb_lines(&state.tlb).join("\n") + "\n")
    }),
    (
        "uic",
        "show the interrupt controllers",
        interrupt_controllers,
    ),
    ("version", "show the version", |_| Ok(version() + "\n")),
];

/// What a person sees first.
pub fn banner() -> String {
    let [major, minor, micro] = QEMU_VERSION;
    let ours = env!("CARGO_PKG_VERSION");
    format!(
        "QEMU {major}.{minor}.{micro} monitor (ppckvm {ours}) - type 'help' for more \
         information\r\n"
    )
}

fn version() -> String {
    let [major, minor, micro] = QEMU_VERSION;
    format!(
        "{major}.{minor}.{micro} (ppckvm {})",
        env!("CARGO_PKG_VERSION")
    )
}

/// Does what a line says; what it answers, with the line ends of a terminal.
pub fn command(subject: &mut Subject, line: &str) -> String {
    let line = line.trim();
    // The format stands at the command's name: `x/4xw`.
    let end = line
        .find(|letter: char| letter.is_whitespace() || letter == '/')
        .unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    if name.is_empty() {
        return String::new();
    }
    let known = COMMANDS.iter().find(|command| command.0.contains(&name));
    let answer = match known {
        None => Err(format!("unknown command: '{name}'")),
        Some((_, _, _, command)) => command(subject, rest.trim()),
    };
    let mut text = match answer {
        Ok(text) => text,
        Err(error) if error.starts_with("unknown command") => error,
        Err(error) => format!("Error: {error}"),
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.replace('\n', "\r\n")
}

fn said<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

fn done<E: std::fmt::Display>(result: Result<(), E>) -> Result<String, String> {
    said(result).map(|()| String::new())
}

fn help(_: &mut Subject, wanted: &str) -> Result<String, String> {
    if wanted == "info" {
        return Ok(info_list());
    }
    let all = COMMANDS
        .iter()
        .filter(|command| wanted.is_empty() || command.0.contains(&wanted));
    let line =
        |(names, takes, does, _): &Command| format!("{} {takes} -- {does}\n", names.join("|"));
    Ok(all.map(line).collect())
}

fn info_list() -> String {
    let line = |(name, does, _): &(&str, &str, Shows)| format!("info {name}  -- {does}\n");
    INFO.iter().map(line).collect()
}

fn info(subject: &mut Subject, what: &str) -> Result<String, String> {
    let name = what.split_whitespace().next().unwrap_or_default();
    if name.is_empty() {
        return Ok(info_list());
    }
    match INFO.iter().find(|entry| entry.0 == name) {
        Some((_, _, shows)) => shows(subject),
        None => Err(format!("unknown command: 'info {name}'")),
    }
}

fn blocks(subject: &Subject) -> String {
    let disks = subject.inventory.disks.iter();
    let line = |disk: &super::inventory::DiskEntry| {
        let file = disk.file.as_deref().unwrap_or("memory");
        let format = disk.format.as_deref().unwrap_or("raw");
        let mode = if disk.is_read_only { ", read-only" } else { "" };
        format!("{}: {file} ({format}{mode})\n", disk.name)
    };
    disks.map(line).collect()
}

fn networks(subject: &Subject) -> String {
    let forwards = subject.remote.forwarded_ports();
    let nets = subject.inventory.nets.iter().enumerate();
    let line = |(index, net): (usize, &super::inventory::NetEntry)| {
        let mut text = format!(
            "virtio-net-pci.{index}: index=0,type=nic,model=virtio-net-pci,macaddr={}\n \\ {}: \
             index=0,{}\n",
            net.mac, net.name, net.end
        );
        for port in forwards.iter().filter(|port| port.network == net.name) {
            text.push_str(&format!("    forwards {port}\n"));
        }
        text
    };
    nets.map(line).collect()
}

fn memory_map(subject: &mut Subject) -> Result<String, String> {
    let map = subject.call(|vm: &mut Vm| {
        let ram = vm.ram.region.size() as u64;
        let line = |name: &str, start: u64, bytes: u64| {
            let end = start + bytes.max(1) - 1;
            (start, format!("  {start:016x}-{end:016x}: {name}\n"))
        };
        let devices = vm.buses.mmio.ranges();
        let mut lines: Vec<_> = devices
            .map(|(name, start, bytes)| line(name, start, bytes.into()))
            .collect();
        lines.push(line("ram", 0, ram));
        lines.sort();
        let mut text = "address-space: memory\n".to_owned();
        lines.iter().for_each(|(_, line)| text.push_str(line));
        text.push_str("address-space: dcr\n");
        let dcrs = vm.buses.dcr.ranges();
        let mut dcrs: Vec<_> = dcrs
            .map(|(name, start, count)| (start, count, name))
            .collect();
        dcrs.sort_unstable();
        for (start, count, name) in dcrs {
            let end = start + count.max(1) - 1;
            text.push_str(&format!("  {start:03x}-{end:03x}: {name}\n"));
        }
        text
    });
    said(map)
}

fn interrupt_controllers(subject: &mut Subject) -> Result<String, String> {
    let states = said(subject.call(|vm: &mut Vm| [vm.uics[0].state(), vm.uics[1].state()]))?;
    let line = |(index, uic): (usize, &ppckvm_devices::uic::State)| {
        format!(
            "uic{index}: sr {:08x} er {:08x} cr {:08x} pr {:08x} tr {:08x} vcr {:08x} msr {:08x} \
             inputs {:08x}\n",
            uic.sr,
            uic.er,
            uic.cr,
            uic.pr,
            uic.tr,
            uic.vcr,
            uic.sr & uic.er,
            uic.inputs
        )
    };
    Ok(states.iter().enumerate().map(line).collect())
}

/// As QEMU prints them.
fn registers(state: &State) -> String {
    let (regs, sprs, timers) = (&state.regs, &state.sprs, &state.timers);
    let mut text = format!(
        "\nCPU#0\nNIP {:08x}   LR {:08x} CTR {:08x} XER {:08x} CPU#0\nMSR {:08x}\nTB {:08x} {:08x} \
         DECR {:08x}\n",
        regs.pc,
        regs.lr,
        regs.ctr,
        regs.xer.word(),
        regs.msr,
        timers.tb >> 32,
        timers.tb as u32,
        timers.dec
    );
    let mut rows = |name: &str, values: Vec<String>| {
        for (row, values) in values.chunks(4).enumerate() {
            text.push_str(&format!("{name}{:02} {}\n", 4 * row, values.join(" ")));
        }
    };
    let word = |value: &u32| format!("{value:08x}");
    rows("GPR", regs.gpr.iter().map(word).collect());
    let double = |value: &u64| format!("{value:016x}");
    rows("FPR", regs.fpr.iter().map(double).collect());
    text.push_str(&format!(
        "CR {:08x}\nFPSCR {:08x}\nSRR0 {:08x} SRR1 {:08x} PVR {:08x}\nCSRR0 {:08x} CSRR1 {:08x} \
         MCSRR0 {:08x} MCSRR1 {:08x}\nDEAR {:08x} ESR {:08x} MCSR {:08x} PID {:08x}\nTCR {:08x} TSR \
         {:08x} IVPR {:08x} DBCR0 {:08x} DBSR {:08x}\n",
        regs.cr.word(),
        regs.fpscr,
        regs.srr0,
        regs.srr1,
        sprs.pvr,
        regs.csrr0,
        regs.csrr1,
        sprs.mcsrr0,
        sprs.mcsrr1,
        regs.dear,
        regs.esr,
        sprs.mcsr,
        regs.pid,
        timers.tcr,
        timers.tsr,
        sprs.ivpr,
        sprs.dbcr0,
        sprs.dbsr,
    ));
    text
}

/// A register by QEMU's name of it.
fn register(state: &State, name: &str) -> Option<u64> {
    let regs = &state.regs;
    let value = match name {
        "pc" | "nip" => regs.pc,
        "msr" => regs.msr,
        "lr" => regs.lr,
        "ctr" => regs.ctr,
        "xer" => regs.xer.word(),
        "cr" | "ccr" => regs.cr.word(),
        "sp" => regs.gpr[1],
        "srr0" => regs.srr0,
        "srr1" => regs.srr1,
        "tbl" => state.timers.tb as u32,
        "tbu" => (state.timers.tb >> 32) as u32,
        "dec" | "decr" => state.timers.dec,
        _ => {
            let number: usize = name.strip_prefix('r')?.parse().ok()?;
            *regs.gpr.get(number)?
        }
    };
    Some(value.into())
}

/// `/4xw` before the rest: how many, how, and of how many bytes each.
struct Format {
    count: u64,
    letter: char,
    bytes: usize,
}

fn format(text: &str) -> Result<(Format, &str), String> {
    let mut format = Format {
        count: 1,
        letter: 'x',
        bytes: 4,
    };
    let Some(text) = text.strip_prefix('/') else {
        return Ok((format, text));
    };
    let (spec, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let digits = spec
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(spec.len());
    if digits > 0 {
        format.count = said(spec[..digits].parse())?;
    }
    for letter in spec[digits..].chars() {
        match letter {
            'x' | 'd' | 'u' | 'o' | 'c' => format.letter = letter,
            'b' => format.bytes = 1,
            'h' => format.bytes = 2,
            'w' => format.bytes = 4,
            'g' => format.bytes = 8,
            'i' => {
                return Err(
                    "instructions are not shown; use gdb's x/i with dump-guest-memory".into(),
                );
            }
            _ => {
                return Err(format!(
                    "invalid char in format: '{}'",
                    letter.escape_default()
                ));
            }
        }
    }
    Ok((format, rest))
}

fn value(subject: &Subject, text: &str) -> Result<(u64, String), String> {
    if !text.contains('$') {
        return expression::value(text, &|_| None);
    }
    let state = said(subject.state())?;
    expression::value(text, &|name| register(&state, name))
}

fn whole(subject: &Subject, text: &str) -> Result<u64, String> {
    match value(subject, text)? {
        (value, rest) if rest.is_empty() => Ok(value),
        (_, rest) => Err(format!(
            "extraneous characters at the end of line: '{rest}'"
        )),
    }
}

fn shown(format: &Format, value: u64) -> String {
    let bits = 8 * format.bytes as u32;
    match format.letter {
        'x' => format!("{value:#0width$x}", width = 2 + 2 * format.bytes),
        'o' => format!("{value:#o}"),
        'u' => format!("{value}"),
        'c' => format!("'{}'", char::from(value as u8).escape_default()),
        // Sign from the size.
        _ => format!("{}", ((value << (64 - bits)) as i64) >> (64 - bits)),
    }
}

fn show(subject: &mut Subject, space: Space, text: &str) -> Result<String, String> {
    let (format, rest) = format(text)?;
    let address = whole(subject, rest)? as u32;
    let bytes = format.count.saturating_mul(format.bytes as u64);
    if bytes > SHOWN {
        return Err(format!(
            "at most {SHOWN} bytes are shown; memsave writes more to a file"
        ));
    }
    let memory = said(subject.read(space, address, bytes as usize))?;
    let mut text = String::new();
    for (row, bytes) in memory.chunks(16).enumerate() {
        let at = address.wrapping_add(16 * row as u32);
        let width = match space {
            Space::Effective => 8,
            Space::Physical => 16,
        };
        text.push_str(&format!("{at:0width$x}:"));
        for item in bytes.chunks_exact(format.bytes) {
            let value = item
                .iter()
                .fold(0, |value, byte| value << 8 | u64::from(*byte));
            text.push_str(&format!(" {}", shown(&format, value)));
        }
        text.push('\n');
    }
    if (memory.len() as u64) < bytes {
        let at = u64::from(address) + memory.len() as u64;
        text.push_str(&format!("Cannot access memory at {at:#x}\n"));
    }
    Ok(text)
}

fn print(subject: &mut Subject, text: &str) -> Result<String, String> {
    let (format, rest) = format(text)?;
    let value = whole(subject, rest)?;
    Ok(match format.letter {
        'x' => format!("{value:#x}\n"),
        'd' => format!("{}\n", value as i64),
        _ => format!("{}\n", shown(&Format { bytes: 8, ..format }, value)),
    })
}

/// `[netdev] rule`.
fn rule(text: &str) -> Result<(Option<&str>, &str), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        [rule] => Ok((None, rule)),
        [network, rule] => Ok((Some(network), rule)),
        _ => Err("write [netdev] tcp:HOSTADDRESS:HOSTPORT-GUESTADDRESS:GUESTPORT".into()),
    }
}

/// Whether a rule names the host's address; without one, QEMU listens on all of them.
fn names_address(rule: &str) -> bool {
    rule.split(':').nth(1).is_some_and(|host| !host.is_empty())
}

fn add_forward(subject: &mut Subject, text: &str) -> Result<String, String> {
    let (network, rule) = rule(text)?;
    let mut forward: HostForward = said(rule.parse())?;
    if !names_address(rule) && forward.host.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
        forward.host.set_ip(Ipv4Addr::UNSPECIFIED.into());
    }
    done(subject.add_forward(network, &forward))
}

fn remove_forward(subject: &mut Subject, text: &str) -> Result<String, String> {
    let (network, rule) = rule(text)?;
    let (protocol, host) = rule
        .split_once(':')
        .ok_or_else(|| format!("invalid format '{rule}'; write tcp:HOSTADDRESS:HOSTPORT"))?;
    let protocol = match protocol {
        "tcp" | "" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return Err(format!("invalid protocol '{protocol}'")),
    };
    let host = host.split_once('-').map_or(host, |(host, _)| host);
    let whole = match names_address(rule) {
        true => host.to_owned(),
        false => format!("0.0.0.0{host}"),
    };
    let address: SocketAddr = whole
        .parse()
        .map_err(|_| format!("invalid format '{rule}'; write tcp:HOSTADDRESS:HOSTPORT"))?;
    let found = match said(subject.remove_forward(network, protocol, address))? {
        true => "removed",
        false => "not found",
    };
    Ok(format!("host forwarding rule for {rule} {found}\n"))
}

fn dump(subject: &mut Subject, text: &str) -> Result<String, String> {
    let (mapped, path) = match text.strip_prefix("-p ") {
        Some(path) => (true, path.trim()),
        None => (false, text),
    };
    if path.is_empty() {
        return Err("name a file to write".into());
    }
    done(subject.dump(path, mapped))
}

fn save(subject: &mut Subject, space: Space, text: &str) -> Result<String, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [address, size, path] = words[..] else {
        return Err("write an address, a size and a file".into());
    };
    let (address, size) = (whole(subject, address)?, whole(subject, size)?);
    let address = u32::try_from(address).map_err(|_| "the address is out of range")?;
    done(subject.save(space, address, size, path.trim_matches('"')))
}
