//! What each option says, put down in the draft.

use std::time::Duration;

use ppckvm::control::Language;
use ppckvm::{Accel, Clock, Image, MemorySize, OnPanic, OnReset, OnStandstill};

use super::draft::{Card, CardEnd, Draft, Part, Probe};
use super::properties::Properties;
use super::table::Fate;

/// Whether a value asks for a list.
fn asks(value: &str) -> bool {
    matches!(value, "help" | "?")
}

fn value(draft: &Draft, at: usize) -> String {
    draft.given[at].value().to_owned()
}

/// Options whose table entry says it all.
pub fn nothing(_: &mut Draft, _: usize) {}

pub fn help(draft: &mut Draft, _: usize) {
    draft.probe = Some(Probe::Help);
}

pub fn version(draft: &mut Draft, _: usize) {
    draft.probe = Some(Probe::Version);
}

pub fn machine(draft: &mut Draft, at: usize) {
    let Part {
        name,
        mut properties,
        ..
    } = draft.part(at, "type");
    if asks(&name) {
        draft.probe = Some(Probe::Machines);
        return;
    }
    if properties.has("help") {
        draft.probe = Some(Probe::MachineOptions);
        return;
    }
    if !name.is_empty() {
        draft.machine = Some((at, name));
    }
    for accel in properties
        .take("accel")
        .iter()
        .flat_map(|list| list.split(':'))
    {
        draft.accelerators.push((at, accel.to_owned()));
    }
    if let Some(size) = properties.take("memory") {
        set_memory(draft, at, &size);
    }
    let boot = &mut draft.spec.boot;
    if let Some(file) = properties.take("kernel") {
        boot.kernel = Some(Image::File(file.into()));
    }
    if let Some(file) = properties.take("initrd") {
        boot.initrd = Some(Image::File(file.into()));
    }
    if let Some(file) = properties.take("dtb") {
        boot.dtb = Some(Image::File(file.into()));
    }
    if let Some(text) = properties.take("append") {
        boot.append = Some(text);
    }
    properties.ignore(&[
        "graphics",
        "usb",
        "dump-guest-core",
        "mem-merge",
        "phandle-start",
    ]);
    draft.check(at, properties.end());
}

pub fn cpu(draft: &mut Draft, at: usize) {
    let name = value(draft, at);
    match asks(&name) {
        true => draft.probe = Some(Probe::Cpus),
        false => draft.cpu = Some((at, name)),
    }
}

pub fn accel(draft: &mut Draft, at: usize) {
    let Part {
        name,
        mut properties,
        ..
    } = draft.part(at, "accel");
    if asks(&name) {
        draft.probe = Some(Probe::Accelerators);
        return;
    }
    properties.ignore(&[
        "thread",
        "tb-size",
        "one-insn-per-tb",
        "split-wx",
        "kernel-irqchip",
    ]);
    draft.check(at, properties.end());
    draft.accelerators.push((at, name));
}

pub fn enable_kvm(draft: &mut Draft, at: usize) {
    draft.accelerators.push((at, "kvm".into()));
}

pub fn smp(draft: &mut Draft, at: usize) {
    let Part {
        name,
        mut properties,
        ..
    } = draft.part(at, "cpus");
    let parts = ["maxcpus", "cores", "threads", "sockets", "dies", "clusters"];
    let counts = parts.iter().filter_map(|part| properties.take(part));
    let counts: Vec<String> = counts.chain((!name.is_empty()).then_some(name)).collect();
    for count in counts {
        if count != "1" {
            let why = format!(
                "Invalid SMP CPUs {count}. The max CPUs supported by machine 'bamboo' is 1"
            );
            draft.refuse(at, why);
        }
    }
    draft.check(at, properties.end());
}

pub fn memory(draft: &mut Draft, at: usize) {
    let Part {
        name,
        mut properties,
        ..
    } = draft.part(at, "size");
    properties.ignore(&["slots", "maxmem"]);
    draft.check(at, properties.end());
    set_memory(draft, at, &name);
}

fn set_memory(draft: &mut Draft, at: usize, text: &str) {
    let size = size(text).ok_or_else(|| {
        format!("`{text}` is no amount of memory; write MiB, or a number with K, M or G")
    });
    if let Some(size) = draft.check(at, size) {
        draft.spec.memory = MemorySize::from_bytes(size);
    }
}

/// A size in MiB, or with a unit; a fraction of a unit is possible.
fn size(text: &str) -> Option<u64> {
    let unit = text
        .char_indices()
        .last()
        .filter(|(_, c)| c.is_ascii_alphabetic());
    let (number, shift) = match unit {
        None => (text, 20),
        Some((at, unit)) => {
            let shift = match unit.to_ascii_lowercase() {
                'b' => 0,
                'k' => 10,
                'm' => 20,
                'g' => 30,
                't' => 40,
                _ => return None,
            };
            (&text[..at], shift)
        }
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(part) || part.len() > 9 {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    let digits = u32::try_from(part.len()).ok()?;
    let part: u128 = if part.is_empty() {
        0
    } else {
        part.parse().ok()?
    };
    let part = (part << shift) / 10u128.pow(digits);
    // QEMU's default, for `-m 0`.
    match whole.checked_add(u64::try_from(part).ok()?)? {
        0 => Some(128 << 20),
        size => Some(size),
    }
}

pub fn kernel(draft: &mut Draft, at: usize) {
    draft.spec.boot.kernel = Some(Image::File(value(draft, at).into()));
}

pub fn initrd(draft: &mut Draft, at: usize) {
    draft.spec.boot.initrd = Some(Image::File(value(draft, at).into()));
}

pub fn append(draft: &mut Draft, at: usize) {
    draft.spec.boot.append = Some(value(draft, at));
}

pub fn dtb(draft: &mut Draft, at: usize) {
    draft.spec.boot.dtb = Some(Image::File(value(draft, at).into()));
    draft.say(
        at,
        Fate::Honoured,
        "the guest gets this device tree; QEMU's bamboo takes one of its own instead",
    );
}

pub fn nographic(draft: &mut Draft, _: usize) {
    draft.nographic = true;
}

pub fn display(draft: &mut Draft, at: usize) {
    let name = value(draft, at);
    match name.as_str() {
        "help" => draft.probe = Some(Probe::Displays),
        "none" => {}
        _ => draft.say(at, Fate::Accepted, "there is no display"),
    }
    draft.display = Some(name);
}

pub fn vga(draft: &mut Draft, at: usize) {
    if asks(draft.given[at].value()) {
        draft.probe = Some(Probe::Vga);
    }
}

pub fn audio(draft: &mut Draft, at: usize) {
    if asks(draft.given[at].value()) {
        draft.probe = Some(Probe::Audio);
    }
}

pub fn nodefaults(draft: &mut Draft, _: usize) {
    draft.no_defaults = true;
}

pub fn serial(draft: &mut Draft, at: usize) {
    let destination = value(draft, at);
    draft.serials.push((at, destination));
}

pub fn parallel(draft: &mut Draft, at: usize) {
    if !matches!(draft.given[at].value(), "none" | "null") {
        draft.refuse(at, "the board has no parallel port; write -parallel none");
    }
}

pub fn monitor(draft: &mut Draft, at: usize) {
    let destination = value(draft, at);
    draft.monitors.push((at, Language::Hmp, destination));
}

pub fn mon(draft: &mut Draft, at: usize) {
    let Part {
        name,
        mut properties,
        ..
    } = draft.part(at, "chardev");
    let language = match properties.take("mode").as_deref() {
        None | Some("readline") => Language::Hmp,
        Some("control") => Language::Qmp,
        Some(mode) => return draft.refuse(at, format!("mode={mode}: write readline or control")),
    };
    properties.ignore(&["pretty"]);
    draft.check(at, properties.end());
    draft
        .monitors
        .push((at, language, format!("chardev:{name}")));
}

pub fn qmp(draft: &mut Draft, at: usize) {
    let destination = value(draft, at);
    draft.monitors.push((at, Language::Qmp, destination));
}

pub fn paused(draft: &mut Draft, _: usize) {
    draft.conduct.is_paused = true;
}

pub fn gdb_shorthand(draft: &mut Draft, _: usize) {
    draft.conduct.gdb = "tcp::1234".parse().ok();
}

pub fn gdb(draft: &mut Draft, at: usize) {
    let destination = value(draft, at);
    // What follows is about waiting, which this server never does.
    let place = destination.split(',').next().unwrap_or_default();
    match place {
        "none" => draft.conduct.gdb = None,
        place => match place.parse() {
            Ok(address) => draft.conduct.gdb = Some(address),
            Err(_) => draft.refuse(at, "gdb is served at tcp:[HOST]:PORT or unix:PATH"),
        },
    }
}

pub fn name(draft: &mut Draft, at: usize) {
    let mut properties = Properties::parse(draft.given[at].value(), "guest");
    draft.conduct.name = properties.take("guest");
}

pub fn chardev(draft: &mut Draft, at: usize) {
    if asks(draft.given[at].value()) {
        draft.probe = Some(Probe::CharacterDevices);
        return;
    }
    let part = draft.part(at, "backend");
    draft.chardevs.push(part);
}

pub fn no_reboot(draft: &mut Draft, _: usize) {
    draft.spec.on_reset = OnReset::Exit;
}

pub fn no_shutdown(draft: &mut Draft, _: usize) {
    draft.spec.standstills.on_power_off = OnStandstill::Stay;
}

pub fn action(draft: &mut Draft, at: usize) {
    let mut properties = Properties::parse(draft.given[at].value(), "");
    let spec = &mut draft.spec;
    let mut wrong = Vec::new();
    match properties.take("reboot").as_deref() {
        Some("reset") => spec.on_reset = OnReset::Reboot,
        Some("shutdown") => spec.on_reset = OnReset::Exit,
        None => {}
        Some(other) => wrong.push(format!("reboot={other}: write reset or shutdown")),
    }
    match properties.take("shutdown").as_deref() {
        Some("poweroff") => spec.standstills.on_power_off = OnStandstill::Exit,
        Some("pause") => spec.standstills.on_power_off = OnStandstill::Stay,
        None => {}
        Some(other) => wrong.push(format!("shutdown={other}: write poweroff or pause")),
    }
    match properties.take("panic").as_deref() {
        Some("none") => spec.on_panic = OnPanic::Continue,
        Some("shutdown") => spec.on_panic = OnPanic::Exit,
        Some("exit-failure") => {
            spec.on_panic = OnPanic::Exit;
            draft.conduct.panic_status = 1;
        }
        None => {}
        Some(other) => wrong.push(format!(
            "panic={other}: a panic cannot hold the machine; write none, shutdown or exit-failure"
        )),
    }
    match properties.take("watchdog").as_deref() {
        None | Some("reset") => {}
        Some(other) => wrong.push(format!(
            "watchdog={other}: the core's watchdog resets the board; write reset"
        )),
    }
    wrong.into_iter().for_each(|why| draft.refuse(at, why));
    draft.check(at, properties.end());
}

pub fn snapshot(draft: &mut Draft, _: usize) {
    draft.snapshot = true;
}

pub fn drive(draft: &mut Draft, at: usize) {
    let mut part = draft.part(at, "file");
    // The name by which a device finds it; its file is a property like others.
    let file = std::mem::take(&mut part.name);
    part.name = part.properties.take("id").unwrap_or_default();
    part.properties.put("file", file);
    draft.drives.push(part);
}

pub fn unused_drive(draft: &mut Draft, at: usize) {
    let text = "the board has nothing that takes it; write -drive file=FILE,if=virtio";
    draft.say(at, Fate::Accepted, text);
}

pub fn device(draft: &mut Draft, at: usize) {
    let part = draft.part(at, "driver");
    if asks(&part.name) {
        draft.probe = Some(Probe::Devices);
    } else if part.properties.has("help") {
        draft.probe = Some(Probe::Device(part.name));
    } else {
        draft.devices.push(part);
    }
}

pub fn netdev(draft: &mut Draft, at: usize) {
    if asks(draft.given[at].value()) {
        draft.probe = Some(Probe::NetworkEnds);
        return;
    }
    draft.names_networks = true;
    let part = draft.part(at, "type");
    draft.netdevs.push(part);
}

pub fn nic(draft: &mut Draft, at: usize) {
    let mut part = draft.part(at, "type");
    let model = part.properties.take("model");
    if asks(&part.name) {
        draft.probe = Some(Probe::NetworkEnds);
        return;
    }
    if model.as_deref().is_some_and(asks) {
        draft.probe = Some(Probe::NetworkCards);
        return;
    }
    draft.names_networks = true;
    if part.name == "none" {
        return;
    }
    let mac = part.properties.take("mac");
    part.properties.ignore(&["addr", "id", "name", "vectors"]);
    let end = CardEnd::Own(part);
    draft.cards.push(Card {
        at,
        model,
        mac,
        end,
    });
}

pub fn net(draft: &mut Draft, at: usize) {
    let mut part = draft.part(at, "type");
    draft.names_networks = true;
    match part.name.as_str() {
        "none" => {}
        "nic" => {
            let model = part.properties.take("model");
            let mac = part.properties.take("macaddr");
            let end = match part.properties.take("netdev") {
                Some(id) => CardEnd::Named(id),
                None => CardEnd::Hub,
            };
            part.properties.ignore(&["addr", "name", "vectors", "id"]);
            draft.check(at, part.properties.end());
            draft.cards.push(Card {
                at,
                model,
                mac,
                end,
            });
        }
        _ => draft.hub_ends.push(part),
    }
}

pub fn fsdev(draft: &mut Draft, at: usize) {
    let part = draft.part(at, "driver");
    draft.fsdevs.push(part);
}

pub fn virtfs(draft: &mut Draft, at: usize) {
    let mut part = draft.part(at, "driver");
    // A folder and its device in one; neither can be named by others.
    let id = format!("virtfs {at}");
    let tag = part.properties.take("mount_tag").unwrap_or_default();
    part.properties.ignore(&["id"]);
    part.properties.put("id", id.clone());
    draft.fsdevs.push(part);
    let mut properties = Properties::default();
    properties.put("fsdev", id);
    properties.put("mount_tag", tag);
    draft.devices.push(Part {
        at,
        name: "virtio-9p-pci".into(),
        properties,
        is_used: false,
    });
}

pub fn object(draft: &mut Draft, at: usize) {
    let name = draft.part(at, "qom-type").name;
    match name.as_str() {
        name if asks(name) => draft.probe = Some(Probe::Objects),
        "rng-random" | "rng-builtin" | "memory-backend-ram" => {}
        _ => draft.refuse(
            at,
            format!("there are no objects of the type '{name}' here"),
        ),
    }
}

pub fn icount(draft: &mut Draft, at: usize) {
    let Part { mut properties, .. } = draft.part(at, "shift");
    if properties.has("rr") {
        draft.refuse(
            at,
            "a run cannot be recorded; without rr=, it repeats by itself",
        );
    }
    properties.ignore(&["rr", "rrfile", "rrsnapshot", "align", "sleep"]);
    draft.check(at, properties.end());
    draft.spec.clock = Clock::Virtual;
}

pub fn rtc(draft: &mut Draft, at: usize) {
    let mut properties = Properties::parse(draft.given[at].value(), "");
    let base = properties.take("base").unwrap_or_else(|| "utc".into());
    let clock = properties.take("clock").unwrap_or_else(|| "host".into());
    properties.ignore(&["driftfix"]);
    draft.check(at, properties.end());
    if base != "utc" || clock == "vm" {
        let text = "the clock chip has the host's time, in UTC; QEMU's bamboo has no clock chip";
        draft.say(at, Fate::Accepted, text);
    }
}

pub fn log_items(draft: &mut Draft, at: usize) {
    let list = value(draft, at);
    if asks(&list) {
        draft.probe = Some(Probe::LogItems);
        return;
    }
    let mut others = Vec::new();
    for item in list.split(',') {
        match item {
            "guest_errors" | "unimp" => draft.conduct.reports_accesses = true,
            _ => others.push(item),
        }
    }
    if !others.is_empty() {
        let text = format!(
            "{} is not logged; PPCKVM_LOG=debug says more",
            others.join(", ")
        );
        draft.say(at, Fate::Accepted, text);
    }
}

pub fn pidfile(draft: &mut Draft, at: usize) {
    draft.conduct.pid_file = Some(value(draft, at).into());
}

pub fn daemonize(draft: &mut Draft, _: usize) {
    draft.conduct.daemonize = true;
}

/// Which core the accelerators that were named mean together: the first of them that there is.
pub fn accelerator(draft: &mut Draft) {
    let named = std::mem::take(&mut draft.accelerators);
    let mut wanted = Vec::new();
    for (at, name) in named {
        match name.as_str() {
            "tcg" => wanted.push(Accel::Inproc),
            "kvm" => wanted.push(Accel::Kvm),
            _ => draft.refuse(
                at,
                format!("invalid accelerator {name}; there are tcg and kvm"),
            ),
        }
    }
    draft.spec.accel = match wanted[..] {
        [] => Accel::Auto,
        [Accel::Inproc, ..] => Accel::Inproc,
        // Where the kernel's is not there, it is the one in this process.
        [Accel::Kvm, ..] if wanted.contains(&Accel::Inproc) => Accel::Auto,
        [first, ..] => first,
    };
}

/// Sets what the environment wants otherwise.
pub fn settings(draft: &mut Draft, settings: super::settings::Settings) {
    let spec = &mut draft.spec;
    if settings.panic_exits {
        spec.on_panic = OnPanic::Exit;
    }
    if settings.hang_exits {
        spec.standstills.on_hang = OnStandstill::Exit;
    }
    if settings.halt_exits {
        spec.standstills.on_halt = OnStandstill::Exit;
    }
    let timeout: Option<Duration> = settings.timeout;
    spec.timeout = timeout.or(spec.timeout);
    draft.conduct.settings = settings;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_in_mebibytes_unless_it_says_otherwise() {
        for (text, bytes) in [
            ("256", Some(256 << 20)),
            ("128m", Some(128 << 20)),
            ("1G", Some(1 << 30)),
            ("0.5G", Some(512 << 20)),
            ("65536k", Some(64 << 20)),
            ("0", Some(128 << 20)),
            ("", None),
            ("G", None),
            ("abc", None),
            ("-1", None),
            ("1.2.3", None),
            ("256Q", None),
            ("99999999999999999999", None),
            ("99999999999999T", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }
}
