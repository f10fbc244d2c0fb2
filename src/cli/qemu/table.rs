//! QEMU's options: which there are, what they take, and what becomes of each. The parser, the help,
//! `--explain` and the manual's table are made from this one.

use std::fmt;

use super::draft::Draft;
use super::read;

/// What becomes of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It does what it does in QEMU.
    Honoured,
    /// Something of ours does it.
    Mapped,
    /// It is taken, and changes nothing.
    Accepted,
    /// The machine does not start.
    Refused,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Fate::Honoured => "honoured",
            Fate::Mapped => "mapped",
            Fate::Accepted => "accepted",
            Fate::Refused => "refused",
        })
    }
}

/// One option.
pub struct Entry {
    /// Its names, without dashes.
    pub names: &'static [&'static str],
    /// What stands for its value; none for an option without.
    pub value: Option<&'static str>,
    /// What becomes of it, unless its value has it otherwise.
    pub fate: Fate,
    /// In words: what it does, or why it is refused and what is nearest to it.
    pub text: &'static str,
    /// Takes the option that stands at this place.
    pub read: fn(&mut Draft, usize),
}

const fn entry(
    names: &'static [&'static str],
    value: Option<&'static str>,
    fate: Fate,
    text: &'static str,
    read: fn(&mut Draft, usize),
) -> Entry {
    Entry {
        names,
        value,
        fate,
        text,
        read,
    }
}

/// An option without effect.
const fn accepted(
    names: &'static [&'static str],
    value: Option<&'static str>,
    text: &'static str,
) -> Entry {
    entry(names, value, Fate::Accepted, text, read::nothing)
}

const fn refused(
    names: &'static [&'static str],
    value: Option<&'static str>,
    text: &'static str,
) -> Entry {
    entry(names, value, Fate::Refused, text, read::nothing)
}

use Fate::{Honoured, Mapped};

/// All options, in the order of the manual.
pub static OPTIONS: &[Entry] = &[
    entry(
        &["help", "h"],
        None,
        Honoured,
        "prints this list",
        read::help,
    ),
    entry(
        &["version"],
        None,
        Honoured,
        "prints a version that feature tests understand",
        read::version,
    ),
    entry(
        &["machine", "M"],
        Some("NAME"),
        Honoured,
        "bamboo, with accel=, memory=, kernel=, initrd=, append= and dtb=; help lists",
        read::machine,
    ),
    entry(
        &["cpu"],
        Some("NAME"),
        Honoured,
        "440epb, 440ep or 440epa, and host with -accel kvm; help lists",
        read::cpu,
    ),
    entry(
        &["accel"],
        Some("NAME"),
        Mapped,
        "tcg is the core in this process, kvm is /dev/kvm on a 440 host; kvm and then tcg takes what there is",
        read::accel,
    ),
    entry(
        &["enable-kvm"],
        None,
        Mapped,
        "as -accel kvm",
        read::enable_kvm,
    ),
    entry(
        &["smp"],
        Some("N"),
        Honoured,
        "1; the board has one CPU",
        read::smp,
    ),
    entry(
        &["m"],
        Some("SIZE"),
        Honoured,
        "RAM in MiB, or with a unit; 128 MiB without it",
        read::memory,
    ),
    entry(
        &["kernel"],
        Some("FILE"),
        Honoured,
        "uImage, FIT, vmlinux, boot wrappers, any of them compressed, or a build directory",
        read::kernel,
    ),
    entry(
        &["initrd"],
        Some("FILE"),
        Honoured,
        "the initial RAM disk",
        read::initrd,
    ),
    entry(
        &["append"],
        Some("TEXT"),
        Honoured,
        "the kernel's command line",
        read::append,
    ),
    entry(
        &["dtb"],
        Some("FILE"),
        Honoured,
        "the device tree, which QEMU's bamboo ignores",
        read::dtb,
    ),
    entry(
        &["nographic"],
        None,
        Honoured,
        "UART0 has standard input and output",
        read::nographic,
    ),
    entry(
        &["display"],
        Some("NAME"),
        Honoured,
        "none; there is no display, so any other leads nowhere",
        read::display,
    ),
    entry(
        &["vga"],
        Some("NAME"),
        Fate::Accepted,
        "there is no display",
        read::vga,
    ),
    accepted(
        &["curses", "full-screen", "no-quit"],
        None,
        "there is no display",
    ),
    accepted(
        &["vnc", "spice", "g", "rotate", "k"],
        Some("ARG"),
        "there is no display and no keyboard",
    ),
    entry(
        &["audio", "audiodev"],
        Some("ARG"),
        Fate::Accepted,
        "there is no sound",
        read::audio,
    ),
    entry(
        &["nodefaults"],
        None,
        Honoured,
        "no serial port, monitor or network card that is not named",
        read::nodefaults,
    ),
    accepted(
        &[
            "no-user-config",
            "nouserconfig",
            "no-hpet",
            "no-acpi",
            "only-migratable",
        ],
        None,
        "there is nothing of the kind",
    ),
    accepted(&["usb"], None, "there is no USB, and nothing is on it"),
    entry(
        &["serial"],
        Some("DEST"),
        Honoured,
        "stdio, mon:stdio, null, none, file:F, pty, unix:P and tcp:H:P as server or client, chardev:ID; once for each UART",
        read::serial,
    ),
    entry(
        &["chardev"],
        Some("BACKEND,id=ID"),
        Honoured,
        "stdio, null, file, pty, socket with path=, host= and port= or fd=; for -serial chardev:ID and virtconsole",
        read::chardev,
    ),
    entry(
        &["parallel"],
        Some("DEST"),
        Honoured,
        "none; the board has no parallel port",
        read::parallel,
    ),
    entry(
        &["monitor"],
        Some("DEST"),
        Honoured,
        "QEMU's monitor for people: none, null, stdio, pty, unix:P and tcp:H:P, chardev:ID",
        read::monitor,
    ),
    entry(
        &["mon"],
        Some("CHARDEV"),
        Honoured,
        "a monitor on a -chardev; mode=control is the machine protocol, readline beside a serial port is behind Ctrl-a c",
        read::mon,
    ),
    entry(
        &["qmp", "qmp-pretty"],
        Some("DEST"),
        Honoured,
        "the machine protocol, at the same destinations as -monitor",
        read::qmp,
    ),
    entry(
        &["s"],
        None,
        Honoured,
        "gdb is served at tcp::1234",
        read::gdb_shorthand,
    ),
    entry(
        &["gdb"],
        Some("DEST"),
        Honoured,
        "gdb is served at tcp:[HOST]:PORT or unix:PATH; -gdb none is taken",
        read::gdb,
    ),
    entry(
        &["S"],
        None,
        Honoured,
        "the guest is held before its first instruction, until a monitor says cont",
        read::paused,
    ),
    entry(
        &["no-reboot"],
        None,
        Honoured,
        "a reset ends the run",
        read::no_reboot,
    ),
    entry(
        &["no-shutdown"],
        None,
        Honoured,
        "a guest that powers off stays as it is",
        read::no_shutdown,
    ),
    entry(
        &["action"],
        Some("EVENT=ACTION"),
        Honoured,
        "reboot=reset|shutdown, shutdown=poweroff|pause, panic=none|shutdown|exit-failure, by what the kernel says and its memory",
        read::action,
    ),
    entry(
        &["snapshot"],
        None,
        Mapped,
        "every disk is an overlay: what the guest writes ends with the run",
        read::snapshot,
    ),
    entry(
        &["drive"],
        Some("file=F"),
        Mapped,
        "if=virtio is a disk on PCI, any other waits for its -device; raw of any length, qcow2",
        read::drive,
    ),
    entry(
        &[
            "hda", "hdb", "hdc", "hdd", "cdrom", "sd", "mtdblock", "pflash", "fda", "fdb",
        ],
        Some("FILE"),
        Fate::Accepted,
        "the board has nothing that takes it, as in QEMU; write -drive file=FILE,if=virtio",
        read::unused_drive,
    ),
    refused(
        &["blockdev"],
        Some("NODE"),
        "graphs of block nodes are not there; write -drive file=FILE,if=none,id=ID",
    ),
    entry(
        &["device"],
        Some("MODEL"),
        Mapped,
        "virtio devices on PCI, and loader; see the models below",
        read::device,
    ),
    entry(
        &["netdev"],
        Some("TYPE,id=ID"),
        Honoured,
        "user with hostfwd= and restrict=, tap with ifname=, stream to a Unix socket",
        read::netdev,
    ),
    entry(
        &["nic"],
        Some("TYPE"),
        Honoured,
        "a virtio-net-pci and its network, or none; without a model, QEMU's is an e1000",
        read::nic,
    ),
    entry(
        &["net"],
        Some("nic|TYPE"),
        Honoured,
        "one card and one network, or none",
        read::net,
    ),
    entry(
        &["fsdev"],
        Some("local,id=ID"),
        Mapped,
        "a folder for virtio-9p-pci",
        read::fsdev,
    ),
    entry(
        &["virtfs"],
        Some("local"),
        Mapped,
        "a folder that the guest mounts over 9P, on PCI",
        read::virtfs,
    ),
    entry(
        &["object"],
        Some("TYPE"),
        Fate::Accepted,
        "rng-random, rng-builtin and memory-backend-ram, which need nothing here; others are refused",
        read::object,
    ),
    entry(
        &["icount"],
        Some("shift=N"),
        Mapped,
        "the guest's time is that of its instructions; record and replay are refused",
        read::icount,
    ),
    entry(
        &["rtc"],
        Some("base=,clock="),
        Honoured,
        "base=utc and clock=host are so here; others change nothing",
        read::rtc,
    ),
    entry(
        &["d"],
        Some("ITEMS"),
        Mapped,
        "guest_errors and unimp report accesses that nothing answers; other items change nothing",
        read::log_items,
    ),
    accepted(
        &["D", "dfilter", "trace", "seed", "plugin"],
        Some("ARG"),
        "PPCKVM_LOG says what is logged, on standard error",
    ),
    entry(
        &["pidfile"],
        Some("FILE"),
        Honoured,
        "holds the process's number, locked while it runs",
        read::pidfile,
    ),
    entry(
        &["daemonize"],
        None,
        Honoured,
        "the caller goes on when the machine is ready",
        read::daemonize,
    ),
    entry(
        &["name"],
        Some("TEXT"),
        Honoured,
        "the name that a monitor tells",
        read::name,
    ),
    accepted(&["uuid"], Some("TEXT"), "the machine has no number"),
    accepted(
        &[
            "boot",
            "L",
            "msg",
            "overcommit",
            "sandbox",
            "run-with",
            "compat",
        ],
        Some("ARG"),
        "there is nothing of the kind",
    ),
    accepted(
        &["mem-prealloc", "no-fd-bootchk"],
        None,
        "there is nothing of the kind",
    ),
    refused(
        &["bios"],
        Some("FILE"),
        "the board starts its kernel without firmware; write -kernel FILE",
    ),
    refused(
        &["prom-env", "fw_cfg", "option-rom", "acpitable", "smbios"],
        Some("ARG"),
        "the board has no firmware that reads it; write -append TEXT",
    ),
    refused(
        &["incoming", "loadvm", "preconfig-file"],
        Some("ARG"),
        "a machine's state cannot be taken over yet",
    ),
    refused(
        &["readconfig", "set", "global"],
        Some("ARG"),
        "there is no tree of properties; `ppckvm run --config FILE` reads a machine",
    ),
    refused(
        &[
            "numa",
            "mem-path",
            "tpmdev",
            "usbdevice",
            "add-fd",
            "semihosting-config",
            "iscsi",
            "bt",
        ],
        Some("ARG"),
        "the machine has nothing of the kind",
    ),
    refused(
        &["preconfig", "semihosting"],
        None,
        "the machine has nothing of the kind",
    ),
];

/// An option by its name without dashes.
pub fn entry_of(name: &str) -> Option<&'static Entry> {
    OPTIONS.iter().find(|entry| entry.names.contains(&name))
}
