//! The command lines of the public users of `qemu-system-ppc -M bamboo`, word for word, and what
//! becomes of each: the machine as a command line of our own, or the refusal.

use clap::Parser;
use ppckvm::Spec;

use super::call::Call;
use super::settings::Settings;
use super::table::{Fate, OPTIONS};
use super::{explain, models, name_of, probes};
use crate::args::{Cli, Command};

/// Words as a shell makes them.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in text.chars() {
        match (letter, quote) {
            (letter, Some(open)) if letter == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (letter, None) if letter.is_whitespace() => words.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

fn call(text: &str) -> Call {
    Call::read(&words(text), Settings::default())
}

/// The machine of a command line of `ppckvm`.
fn run(args: Vec<String>) -> Spec {
    let args = std::iter::once("ppckvm".to_owned()).chain(args);
    match Cli::try_parse_from(args).unwrap().command {
        Command::Run(run) => run.spec().unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A command line of ours, with what every machine of QEMU's has that ours has not without an
/// option, unless the line has it otherwise.
fn ours(line: &str) -> Vec<String> {
    let mut words = words(line);
    for (option, value) in [
        ("--on-panic", Some("continue")),
        ("--on-halt", Some("stay")),
        ("--on-hang", Some("stay")),
        ("--no-rng", None),
    ] {
        let rng = option == "--no-rng" && words.iter().any(|word| word == "--rng");
        if !rng && !words.iter().any(|word| word == option) {
            words.push(option.to_owned());
            words.extend(value.map(str::to_owned));
        }
    }
    words.insert(0, "run".to_owned());
    words
}

/// A reset that starts the machine again.
const REBOOTS: &str = "--on-reset reboot ";
const NET: &str = "--net user,bus=pci ";
/// QEMU's memory without `-m`.
const SMALL: &str = "--memory 128M ";

/// Who, their command line, and ours.
const HONOURED: &[(&str, &str, &[&str])] = &[
    (
        "boot-utils",
        "-display none -nodefaults -no-reboot -machine bamboo -append console=ttyS0 -kernel uImage \
         -initrd R -m 128m -serial mon:stdio",
        &[
            SMALL,
            "--append console=ttyS0 --kernel uImage --initrd R --escape on",
        ],
    ),
    (
        "groeck, initrd alone",
        "-kernel vmlinux -M bamboo -m 256 -no-reboot -initrd R --append \"panic=-1 \
         kunit.stats_enabled=2 kunit.filter=speed>slow slub_debug=FZPUA rdinit=/sbin/init \
         coherent_pool=512k  mem=256M console=ttyS0\" -monitor none -nographic",
        &[
            NET,
            "--kernel vmlinux --initrd R --escape off --append 'panic=-1 kunit.stats_enabled=2 \
             kunit.filter=speed>slow slub_debug=FZPUA rdinit=/sbin/init coherent_pool=512k  mem=256M \
             console=ttyS0'",
        ],
    ),
    (
        "linuxppc ci-scripts",
        "-nographic -vga none -M bamboo -smp 1 -m 1G -accel tcg -kernel vmlinux -nic user \
         -initrd ppc-rootfs.cpio.gz -append \"noreboot\"",
        &[
            REBOOTS,
            NET,
            "--memory 1G --accel inproc --kernel vmlinux --initrd ppc-rootfs.cpio.gz --append noreboot \
             --escape on",
        ],
    ),
    (
        "linuxppc ci-scripts, with the tests' archive and a folder",
        "-nographic -vga none -M bamboo -smp 1 -m 1G -accel tcg -kernel vmlinux -nic user \
         -initrd R -append noreboot \
         -drive file=selftests.tgz,format=raw,readonly=on,if=virtio,id=drive0 \
         -fsdev local,id=fsdev0,path=D,security_model=none -device virtio-9p-pci,fsdev=fsdev0,mount_tag=host0",
        &[
            REBOOTS,
            NET,
            "--share path=D,tag=host0,bus=pci --disk path=selftests.tgz,format=raw,readonly,bus=pci \
             --memory 1G --accel inproc --kernel vmlinux --initrd R --append noreboot --escape on",
        ],
    ),
    (
        "buildroot",
        "-nographic -M bamboo -kernel vmlinux -net nic,model=virtio-net-pci -net user",
        &[REBOOTS, SMALL, NET, "--kernel vmlinux --escape on"],
    ),
    (
        "legoater",
        "-M bamboo -kernel vmlinux -net nic,model=virtio-net-pci -net user -serial mon:stdio \
         -nographic -snapshot",
        &[REBOOTS, SMALL, NET, "--kernel vmlinux --escape on"],
    ),
    (
        "buildroot, its tests",
        "-serial stdio -display none -m 256 -M bamboo -kernel K -append console=ttyS0",
        &[
            REBOOTS,
            NET,
            "--kernel K --append console=ttyS0 --escape off",
        ],
    ),
    (
        "QEMU's functional tests",
        "-display none -vga none -chardev socket,id=mon,fd=7 -mon chardev=mon,mode=control \
         -machine bamboo -chardev socket,id=console,path=P,server=on,wait=off \
         -serial chardev:console -kernel K -initrd R -nic user,model=virtio-net-pci,restrict=on",
        &[
            REBOOTS,
            SMALL,
            "--kernel K --initrd R --serial unix=P --net user,restrict=on,bus=pci",
        ],
    ),
    (
        "labgrid",
        "-kernel K -machine bamboo -cpu 440epb -m 128M -nographic -nic none -append A -S -qmp stdio \
         -chardev socket,id=serialsocket,path=P -serial chardev:serialsocket",
        &[
            REBOOTS,
            SMALL,
            "--kernel K --append A --serial unix-connect=P",
        ],
    ),
    (
        "kunit.py",
        "-nodefaults -m 1024 -kernel vmlinux -append \"kunit.enable=1 console=ttyS0 \
         kunit_shutdown=reboot\" -no-reboot -nographic -serial stdio -M bamboo",
        &["--memory 1G --kernel vmlinux --escape off \
             --append 'kunit.enable=1 console=ttyS0 kunit_shutdown=reboot'"],
    ),
    (
        "a maintainer",
        "-M bamboo -m 128m -display none -kernel vmlinux -append \"console=ttyS0\" -display none \
         -nodefaults -serial mon:stdio",
        &[
            REBOOTS,
            SMALL,
            "--kernel vmlinux --append console=ttyS0 --escape on",
        ],
    ),
    (
        "another maintainer",
        "-M bamboo -kernel vmlinux -net nic,model=virtio-net-pci -net user -serial mon:stdio \
         -nodefaults -nographic",
        &[REBOOTS, SMALL, NET, "--kernel vmlinux --escape on"],
    ),
    (
        "a maintainer's device tree",
        "-M bamboo -kernel zImage -dtb bamboo.dtb -initrd R -nographic -serial stdio -monitor pty \
         -append console=ttyS0",
        &[
            REBOOTS,
            SMALL,
            NET,
            "--kernel zImage --dtb bamboo.dtb --initrd R --append console=ttyS0 --escape off",
        ],
    ),
    (
        "virtme-ng's console devices",
        "-M bamboo -kernel K -nodefaults -display none -chardev stdio,id=c,signal=off,mux=on \
         -serial chardev:c -mon chardev=c -device virtio-serial-pci -chardev pty,id=p \
         -device virtconsole,chardev=p -object rng-random,filename=/dev/urandom,id=r \
         -device virtio-rng-pci,rng=r",
        &[
            REBOOTS,
            SMALL,
            "--kernel K --escape on --console pty,bus=pci --rng bus=pci",
        ],
    ),
    (
        "a raw program",
        "-machine bamboo -m 512M -nographic -device loader,file=F,addr=0x0,force-raw=on",
        &[
            REBOOTS,
            NET,
            "--memory 512M --kernel F --load-address 0 --escape on",
        ],
    ),
    (
        "disks of every kind",
        "-M bamboo -kernel K -nodefaults -display none -snapshot -drive file=a,,b,if=none,id=d0,format=qcow2 \
         -drive file=c,if=virtio,snapshot=off,cache=none,aio=native -device virtio-blk-pci,drive=d0,serial=S",
        &[
            REBOOTS,
            SMALL,
            "--kernel K --serial null --disk path=a,,b,format=qcow2,overlay,serial=S,bus=pci \
             --disk path=c,bus=pci",
        ],
    ),
    (
        "networks of every kind",
        "-M bamboo -kernel K -nodefaults -display none -netdev user,id=n0,hostfwd=tcp::2222-:22 \
         -device virtio-net-pci,netdev=n0,mac=52:54:00:12:34:58 -netdev tap,id=n1,ifname=tap0,script=no \
         -device virtio-net-pci,netdev=n1 -netdev stream,id=n2,addr.type=unix,addr.path=/p \
         -device virtio-net-pci,netdev=n2",
        &[
            REBOOTS,
            SMALL,
            "--kernel K --serial null \
             --net user,hostfwd=tcp:0.0.0.0:2222-10.0.2.15:22,mac=52:54:00:12:34:58,bus=pci \
             --net tap=tap0,bus=pci --net unix=/p,bus=pci",
        ],
    ),
    (
        "serial ports of every kind",
        "-M bamboo -kernel K -nodefaults -display none -serial unix:/p,server,nowait \
         -serial tcp:127.0.0.1:4444,server=on,wait=off -serial tcp:h:1 -chardev socket,id=f,fd=7 \
         -serial chardev:f",
        &[
            REBOOTS,
            SMALL,
            "--kernel K --serial unix=/p --serial tcp=127.0.0.1:4444 --serial tcp-connect=h:1 \
             --serial fd=7",
        ],
    ),
    (
        "what ends a run",
        "-M bamboo -kernel K -nodefaults -serial file:log -no-shutdown -accel kvm -accel tcg \
         -action panic=exit-failure,reboot=shutdown -icount shift=3 -cpu host",
        &[
            SMALL,
            "--kernel K --serial file=log --on-power-off stay --on-panic exit --clock virtual",
        ],
    ),
    (
        "boot-utils, debugging",
        "-display none -nodefaults -no-reboot -machine bamboo -append \"console=ttyS0 rdinit=/bin/sh \
         nokaslr\" -kernel uImage -initrd R -m 128m -s -S",
        &[
            SMALL,
            "--append 'console=ttyS0 rdinit=/bin/sh nokaslr' --kernel uImage --initrd R --serial null",
        ],
    ),
    (
        "Prex",
        "-nographic -M bamboo -kernel prexos -s -S",
        &[REBOOTS, SMALL, NET, "--kernel prexos --escape on"],
    ),
];

/// Who, their command line, and what it is refused with.
const REFUSED: &[(&str, &str, &[&str])] = &[
    (
        "groeck, pcnet",
        "-kernel vmlinux -M bamboo -m 256 -no-reboot -initrd R -device pcnet,netdev=net0 \
         -netdev user,id=net0 -monitor none -nographic",
        &["-device pcnet,netdev=net0: pcnet: there is no such card; the nearest is virtio-net-pci"],
    ),
    (
        "groeck, tulip",
        "-kernel vmlinux -M bamboo -initrd R -device tulip,netdev=net0 -netdev user,id=net0 -nographic",
        &["the nearest is virtio-net-pci"],
    ),
    (
        "groeck, am53c974",
        "-kernel vmlinux -M bamboo -snapshot -device am53c974,id=scsi \
         -device scsi-hd,bus=scsi.0,drive=d0 -drive file=F.ext2,format=raw,if=none,id=d0 \
         -device e1000,netdev=net0 -netdev user,id=net0 -nographic",
        &[
            "no SCSI; the nearest is virtio-blk-pci",
            "scsi-hd",
            "e1000: there is no such card",
        ],
    ),
    (
        "groeck, fusion",
        "-kernel vmlinux -M bamboo -snapshot -device mptsas1068,id=scsi \
         -device scsi-hd,bus=scsi.0,drive=d0,wwn=0x5000c50015ea71ac -drive \
         file=F.ext2,format=raw,if=none,id=d0 -nographic",
        &["mptsas1068: there is no SCSI"],
    ),
    (
        "groeck, usb",
        "-kernel vmlinux -M bamboo -usb -device pci-ohci,id=ohci -device usb-net,bus=ohci.0,netdev=net0 \
         -netdev user,id=net0 -nographic",
        &[
            "pci-ohci: there is no USB",
            "usb-net: there is no such card",
        ],
    ),
    (
        "groeck, sd card",
        "-kernel vmlinux -M bamboo -snapshot -device sdhci-pci -device sd-card,drive=d0 \
         -drive file=F.cramfs,format=raw,if=none,id=d0 -device ne2k_pci,netdev=net0 \
         -netdev user,id=net0 -nographic",
        &[
            "sd-card: there is no such disk; the nearest is virtio-blk-pci",
            "ne2k_pci",
        ],
    ),
    (
        "groeck, nvme",
        "-kernel vmlinux -M bamboo -snapshot -device nvme,serial=foo,drive=d0 \
         -drive file=F.ext2,if=none,format=raw,id=d0 -device pcnet,netdev=net0 -netdev user,id=net0",
        &["nvme: there is no such disk"],
    ),
    (
        "groeck, once",
        "-kernel vmlinux -M bamboo -drive file=F,format=raw,if=ide -nographic",
        &["machine type does not support if=ide"],
    ),
    (
        "QEMU's functional tests until 2024",
        "-M bamboo -kernel K -nographic -nic user,model=rtl8139,restrict=on",
        &["there is no rtl8139 here; the nearest is model=virtio-net-pci"],
    ),
    (
        "OpenADK",
        "-M bamboo -nographic -device e1000,netdev=adk0 -netdev user,id=adk0 -kernel K -append shell \
         -qmp tcp:127.0.0.1:4444,server,nowait -no-reboot",
        &["e1000: there is no such card"],
    ),
    (
        "LAVA",
        "-machine bamboo -cpu host -enable-kvm -nographic -net \
         nic,model=virtio,macaddr=52:54:00:12:34:58 -net tap -m 512 -monitor none -kernel vmlinux \
         -initrd rootfs.cpio.gz -append \"console=ttyS0 root=/dev/ram0\" -device virtio-scsi-pci,id=scsi \
         -device scsi-hd,drive=test -drive format=qcow2,file=F,id=test,if=none",
        &[
            "write ifname=NAME,script=no",
            "virtio-scsi-pci: there is no SCSI",
        ],
    ),
    (
        "labgrid, with a folder",
        "-kernel K -machine bamboo -nographic -fsdev local,id=f,path=D,security_model=none \
         -device virtio-9p-device,fsdev=f,mount_tag=t",
        &["No 'virtio-bus' bus found", "write the model's -pci"],
    ),
    (
        "VxWorks",
        "-machine bamboo -m 512M -nographic -device loader,file=F,addr=0x0,force-raw=on \
         -device loader,cpu-num=0,data=0x0,data-len=4,data-be=on -S -gdb tcp::1234",
        &["values cannot be put into memory"],
    ),
    (
        "another board",
        "-M sam460ex -kernel vmlinux -device virtio-net-pci,netdev=net0 -netdev user,id=net0",
        &["unsupported machine type: \"sam460ex\"; only bamboo is modelled"],
    ),
    (
        "no board",
        "-kernel vmlinux -nographic",
        &["write -M bamboo"],
    ),
    ("no kernel", "-M bamboo -nographic", &["write -kernel FILE"]),
    (
        "several CPUs",
        "-M bamboo -kernel K -smp 2",
        &["-smp 2: Invalid SMP CPUs 2. The max CPUs supported by machine 'bamboo' is 1"],
    ),
    (
        "nonsense",
        "-M bamboo -kernel K -frob",
        &["-frob: invalid option"],
    ),
    (
        "nothing after an option",
        "-M bamboo -kernel",
        &["-kernel: requires an argument"],
    ),
    (
        "a disk by itself",
        "-M bamboo -kernel K disk.img",
        &["disk.img: the board has no disk controller"],
    ),
    (
        "a model that is none",
        "-M bamboo -kernel K -device frob",
        &["-device frob: 'frob' is not a valid device model name"],
    ),
    (
        "names that are none",
        "-M bamboo -kernel K -serial chardev:x -device virtio-blk-pci,drive=y \
         -device virtio-net-pci,netdev=z -device virtio-9p-pci,fsdev=f,mount_tag=t",
        &[
            "no -chardev with id=x",
            "no -drive with id=y",
            "no -netdev with id=z",
            "no -fsdev with id=f",
        ],
    ),
    (
        "a daemon with a terminal",
        "-M bamboo -kernel K -nographic -daemonize",
        &["-nographic cannot be used with -daemonize"],
    ),
    (
        "one thing for two",
        "-M bamboo -kernel K -drive file=F,if=none,id=d -device virtio-blk-pci,drive=d \
         -device virtio-blk-pci,drive=d -netdev user,id=n -device virtio-net-pci,netdev=n \
         -device virtio-net-pci,netdev=n",
        &["has a device already", "has a card already"],
    ),
];

#[test]
fn honoured_command_lines_are_the_machines_they_mean() {
    for (who, line, ours) in HONOURED {
        let call = call(line);
        assert_eq!(call.refusals().next(), None, "{who}");
        assert_eq!(call.spec, run(self::ours(&ours.concat())), "{who}");
    }
}

#[test]
fn the_machine_that_explain_prints_is_the_same_machine() {
    for (who, line, _) in HONOURED {
        let call = call(line);
        let printed = explain::command_line(&call.spec).unwrap();
        let args = printed.strip_prefix("ppckvm ").unwrap();
        assert_eq!(run(words(args)), call.spec, "{who}: {printed}");
        let text = explain::text(&call).unwrap();
        // What controls it follows.
        assert!(text.contains(&format!("\n{printed}")), "{text}");
        assert_eq!(explain::status(&call), 0, "{who}");
        for given in &call.given {
            assert!(text.contains(&given.text()), "{who}: {text}");
        }
    }
}

#[test]
fn refused_command_lines_say_why() {
    for (who, line, parts) in REFUSED {
        let call = call(line);
        let refusals: Vec<String> = call.refusals().collect();
        for part in *parts {
            let is_said = refusals.iter().any(|refusal| refusal.contains(part));
            assert!(is_said, "{who}: {part:?} is not in {refusals:?}");
        }
        assert_eq!(explain::status(&call), 1, "{who}");
        let text = explain::text(&call).unwrap();
        assert!(text.ends_with("The machine does not start.\n"), "{text}");
    }
}

#[test]
fn a_start_without_surprises_is_silent() {
    for (who, line, _) in HONOURED {
        let warnings: Vec<String> = call(line).warnings().collect();
        let expected = match *who {
            "linuxppc ci-scripts" | "linuxppc ci-scripts, with the tests' archive and a folder" => {
                "the card is a virtio-net-pci"
            }
            "a maintainer's device tree" => "the guest gets this device tree",
            _ => {
                assert!(warnings.is_empty(), "{who}: {warnings:?}");
                continue;
            }
        };
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(expected), "{warnings:?}");
    }
}

/// What scripts search logs for: groeck's and linuxppc's.
const SCANNED: [&str; 9] = [
    "Oops: ",
    "Kernel panic",
    "Internal error:",
    "segfault",
    "detected stalls",
    "WARNING",
    "BUG:",
    "Unable to handle",
    "Warning!",
];

#[test]
fn nothing_that_is_said_looks_like_a_failure_of_the_guests() {
    let options = OPTIONS.iter().map(|entry| entry.text);
    for text in options.chain(models::MODELS.iter().map(|model| model.text)) {
        for word in SCANNED {
            assert!(!text.contains(word), "{text}");
        }
    }
}

#[test]
fn every_option_has_one_meaning_and_one_spelling() {
    let mut seen = Vec::new();
    for entry in OPTIONS {
        for name in entry.names {
            assert!(!seen.contains(name), "-{name} is there twice");
            assert!(!name.starts_with('-'), "{name}");
            seen.push(*name);
        }
        assert!(!entry.text.ends_with('.'), "{}", entry.text);
    }
    let mut seen = Vec::new();
    for name in models::MODELS.iter().flat_map(|model| model.names) {
        assert!(!seen.contains(name), "{name} is there twice");
        seen.push(*name);
    }
}

#[test]
fn both_dashes_are_one_and_the_last_of_an_option_counts() {
    let text = "-M bamboo --kernel a -append x --append y -m 64 -m 96 -nographic -kernel b";
    let spec = call(text).spec;
    let expected =
        "--kernel b --append y --memory 96M --net user,bus=pci --on-reset reboot --escape on";
    assert_eq!(spec, run(ours(expected)));
}

#[test]
fn strict_refuses_what_would_change_nothing() {
    let strict = Settings::parse("strict").unwrap();
    let line = words("-M bamboo -kernel K -nographic -uuid x -vga none");
    assert_eq!(
        Call::read(&line, Settings::default()).refusals().next(),
        None
    );
    let refusals: Vec<String> = Call::read(&line, strict).refusals().collect();
    assert!(
        refusals.iter().any(|text| text.starts_with("-uuid x: ")),
        "{refusals:?}"
    );
}

#[test]
fn the_environment_turns_our_verdicts_on() {
    let settings = Settings::parse("panic=exit,hang=exit,halt=exit,timeout=2m").unwrap();
    let line = words("-M bamboo -kernel K -nodefaults -display none");
    let spec = Call::read(&line, settings).spec;
    let ours = "run --no-rng --on-reset reboot --timeout 2m --serial null --kernel K --memory 128M";
    assert_eq!(spec, run(words(ours)));
}

#[test]
fn probes_are_answered_whatever_else_is_there() {
    for (line, part) in [
        ("-version", "QEMU emulator version 10."),
        ("--version", "(ppckvm "),
        ("-M help", "bamboo "),
        ("-machine ?", "Supported machines are:\n"),
        ("-M bamboo,help", "append=<string>"),
        ("-cpu help", "440epb "),
        ("-accel help", "tcg\n"),
        ("-M none -netdev help", "\nuser\n"),
        ("-M none -device help", "name \"virtio-blk-pci\", bus PCI"),
        ("-device virtio-blk-pci,help", "virtio-blk-pci options:\n"),
        ("-nic user,model=help", "virtio-net-pci"),
        ("-chardev help", "socket"),
        ("-display help", "none"),
        ("-vga help", "none"),
        ("-audio help", "none"),
        ("-d help", "guest_errors"),
        ("-object help", "rng-random"),
        ("-h", "-kernel FILE"),
        ("--help", "PPCKVM_QEMU_REAL"),
    ] {
        let call = call(line);
        let probe = call.probe.as_ref().unwrap_or_else(|| panic!("{line}"));
        let answer = probes::answer(probe, "qemu-system-ppc").unwrap();
        assert!(answer.contains(part), "{line}: {answer}");
        assert_eq!(call.refusals().next(), None, "{line}");
    }
    let version = probes::answer(&super::draft::Probe::Version, "").unwrap();
    let number = version.split_whitespace().nth(3).unwrap();
    // OpenADK's test.
    assert!(
        number.replace('.', "").parse::<u32>().unwrap() >= 240,
        "{number}"
    );
    let unknown = probes::answer(&super::draft::Probe::Device("frob".into()), "");
    assert_eq!(unknown, Err("Device 'frob' not found".into()));
}

#[test]
fn the_command_is_qemus_by_its_name() {
    let name = |text: &str| name_of(Some(text.as_ref()));
    assert_eq!(name("/usr/bin/qemu-system-ppc"), Some("qemu-system-ppc"));
    assert_eq!(name("qemu-system-ppc64"), Some("qemu-system-ppc64"));
    assert_eq!(name("./qemu-system-ppcemb"), Some("qemu-system-ppcemb"));
    assert_eq!(name("ppckvm"), None);
    assert_eq!(name_of(None), None);
}

/// The manual's tables, as the page has them.
fn tables() -> String {
    let mut out = String::from("| option | | |\n|---|---|---|\n");
    for entry in OPTIONS {
        let names: Vec<String> = entry
            .names
            .iter()
            .map(|name| format!("`-{name}`"))
            .collect();
        out += &format!(
            "| {} | {} | {} |\n",
            names.join(" "),
            entry.fate,
            cell(entry.text)
        );
    }
    out += "\n| model of `-device` | | |\n|---|---|---|\n";
    for model in models::MODELS {
        let names: Vec<String> = model.names.iter().map(|name| format!("`{name}`")).collect();
        out += &format!(
            "| {} | {} | {} |\n",
            names.join(" "),
            model.fate,
            cell(model.text)
        );
    }
    out
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// `PPCKVM_WRITE_MANUAL=1 cargo test --bin ppckvm the_pages_tables` writes them anew.
#[test]
fn the_pages_tables_are_the_options() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/coming-from-qemu.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once("<!-- options -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- end -->").unwrap();
    let right = format!("{before}<!-- options -->\n{}<!-- end -->{after}", tables());
    if std::env::var_os("PPCKVM_WRITE_MANUAL").is_some() {
        std::fs::write(path, &right).unwrap();
        return;
    }
    assert!(
        text == right,
        "docs/coming-from-qemu.md is not what the tables say"
    );
    assert!(OPTIONS.iter().any(|entry| entry.fate == Fate::Refused));
}
