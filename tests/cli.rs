//! The command: what it says and how it ends, for good and bad input.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::asm::{Asm, echo, spr};
use support::command::{Ppckvm, text};

/// Checks an error of the launcher's own: its status, one line, and what the line says.
fn assert_refused(output: &Output, parts: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("ppckvm: "), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{part:?} is not in {stderr}");
    }
    assert!(output.stdout.is_empty());
}

#[test]
fn wrong_usage_has_status_2() {
    let ppckvm = Ppckvm::new();
    for (args, part) in [
        (&[][..], "Usage"),
        (&["start"][..], "unrecognized subcommand"),
        (&["run"][..], "--kernel"),
        (
            &["run", "--kernel", "k", "--accel", "tcg"][..],
            "auto, kvm, inproc",
        ),
        (
            &["run", "--kernel", "k", "--cpu", "440"][..],
            "auto, interp, jit",
        ),
        (
            &["run", "--kernel", "k", "--memory", "256"][..],
            "write 256M",
        ),
        (
            &["run", "--kernel", "k", "--memory", "lots"][..],
            "is not a number",
        ),
        (
            &["run", "--kernel", "k", "--timeout", "soon"][..],
            "--timeout",
        ),
        (
            &["run", "--kernel", "k", "--frobnicate"][..],
            "--frobnicate",
        ),
        (&["dtb", "--format", "yaml"][..], "dts, dtb"),
        (&["dtb", "--rng", "bus=isa"][..], "use mmio or pci"),
        (&["dtb", "--rng", "", "--no-rng"][..], "cannot be used with"),
        (&["dtb", "--balloon=legcy"][..], "there are bus, legacy"),
        (&["dtb", "--console", "tty"][..], "there are stdio, null"),
    ] {
        let output = ppckvm.run(args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(part), "{args:?}: {stderr}");
    }
}

#[test]
fn help_lists_every_key_of_every_device() {
    let ppckvm = Ppckvm::new();
    let help = text(&ppckvm.run(&["run", "--help"]).stdout);
    for option in ["disk", "net", "share", "vsock", "console", "balloon", "rng"] {
        // Who writes a key that is none is told which there are.
        let stderr = text(&ppckvm.run(&["run", &format!("--{option}=nokey")]).stderr);
        let known = stderr.split("there are ").nth(1).unwrap();
        let known = known.lines().next().unwrap();
        let is_about = |about: &&str| {
            let rest = about.strip_prefix(option);
            rest.is_some_and(|rest| rest.starts_with([' ', '[']))
        };
        let about = help.split("\n      --").find(is_about).unwrap();
        for key in known.split(", ") {
            assert!(about.contains(key), "{key} of --{option}: {about}");
        }
    }
}

#[test]
fn help_lists_options_keys_and_statuses() {
    let output = Ppckvm::new().run(&["run", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    for part in [
        "--kernel",
        "--initrd",
        "--append",
        "--dtb",
        "--memory",
        "--accel",
        "--cpu",
        "--timeout",
        "--on-reset",
        "--clock",
        "--stats",
        "--console <KEYS>",
        "--balloon",
        "--rng <KEYS>",
        "--no-rng",
        "[bus=mmio|pci][,legacy]",
        "Ctrl-a x",
        "Ctrl-a Ctrl-a",
        "124",
        "143",
    ] {
        assert!(help.contains(part), "{part} is not in {help}");
    }
}

#[test]
fn bad_kernels_are_refused() {
    let ppckvm = Ppckvm::new();
    let program = || Asm::new().reset().elf(0, 0);
    let mut host = program();
    host[18..20].copy_from_slice(&62u16.to_be_bytes());
    let mut little = program();
    little[5] = 1;
    let far = Asm::new().reset().elf(0x80_0000, 0);
    let files: [(&str, Vec<u8>, &[&str]); 9] = [
        ("empty", vec![], &["the file is empty"]),
        (
            "text",
            b"#!/bin/sh\n".to_vec(),
            &["none of the known image formats"],
        ),
        ("header", program()[..40].to_vec(), &["truncated"]),
        ("cut", program()[..90].to_vec(), &["truncated"]),
        ("host", host, &["powerpc"]),
        ("little", little, &["big-endian"]),
        ("far", far, &["ram ends at 0x400000", "more memory"]),
        (
            "bss",
            Asm::new().reset().elf(0, 8 << 20),
            &["ram ends at 0x400000", "more memory"],
        ),
        ("cpio", b"070701".repeat(20), &["cpio", "--initrd"]),
    ];
    for (name, bytes, parts) in files {
        ppckvm.file(name, bytes);
        let output = ppckvm.run(&["run", "--memory", "4M", "--kernel", name]);
        assert_refused(&output, &[&[name], parts].concat());
    }
    let output = ppckvm.run(&["run", "--kernel", "missing/uImage"]);
    assert_refused(
        &output,
        &["missing/uImage", "cannot be read", "check the path"],
    );
    let output = ppckvm.run(&["run", "--kernel", "."]);
    assert_refused(&output, &["the directory has no kernel", "name a file"]);
}

#[test]
fn bad_uimages_are_refused() {
    let ppckvm = Ppckvm::new();
    let mut header = 0x2705_1956u32.to_be_bytes().to_vec();
    header.resize(64, 0);
    ppckvm.file("crc", [&header[..], &[0; 64]].concat());
    assert_refused(
        &ppckvm.run(&["run", "--kernel", "crc"]),
        &["crc", "corrupt"],
    );
    ppckvm.file("short", &header[..30]);
    assert_refused(
        &ppckvm.run(&["run", "--kernel", "short"]),
        &["short", "truncated"],
    );
}

#[test]
fn a_memory_size_that_the_banks_cannot_express_names_the_nearest() {
    let ppckvm = Ppckvm::new();
    for (size, part) in [
        ("99M", "96 MiB or 100 MiB"),
        ("2G", "take 1024 MiB"),
        ("0M", "take 4 MiB"),
        ("4097K", "four banks"),
    ] {
        let output = ppckvm.guest(Asm::new().reset(), &["--memory", size]);
        assert_refused(&output, &[part]);
        let output = ppckvm.run(&["dtb", "--memory", size]);
        assert_refused(&output, &[part]);
    }
}

#[test]
fn bad_initrds_and_trees_are_refused() {
    let ppckvm = Ppckvm::new();
    let with = |option, file| ppckvm.guest(Asm::new().reset(), &["--memory", "4M", option, file]);
    ppckvm.file("empty", "");
    ppckvm.file("huge", vec![1; 5 << 20]);
    ppckvm.file("text", "not a tree");
    assert_refused(&with("--initrd", "missing"), &["missing", "cannot be read"]);
    assert_refused(&with("--initrd", "empty"), &["empty", "the file is empty"]);
    assert_refused(
        &with("--initrd", "huge"),
        &["huge", "no room", "more memory"],
    );
    assert_refused(&with("--dtb", "missing"), &["missing", "cannot be read"]);
    assert_refused(&with("--dtb", "text"), &["text", "no device tree"]);
    let mut tree = ppckvm.run(&["dtb", "--format", "dtb"]).stdout;
    ppckvm.file("cut", &tree[..tree.len() / 2]);
    assert_refused(&with("--dtb", "cut"), &["cut", "no device tree"]);
    while let Some(at) = tree.windows(11).position(|bytes| bytes == b"amcc,bamboo") {
        tree[at..at + 11].copy_from_slice(b"amcc,walnut");
    }
    ppckvm.file("walnut", tree);
    assert_refused(
        &with("--dtb", "walnut"),
        &["walnut", "amcc,walnut", "amcc,bamboo"],
    );
}

#[test]
fn what_this_host_or_build_lacks_is_said() {
    let ppckvm = Ppckvm::new();
    let output = ppckvm.guest(Asm::new().reset(), &["--accel", "kvm"]);
    assert_refused(&output, &["no 440 behind kvm: /dev/kvm ", "in-process"]);
    let translates = ppckvm_api::Engine::Translator.is_supported();
    let output = ppckvm.guest(Asm::new().reset(), &["--cpu", "jit"]);
    if !translates {
        assert_refused(
            &output,
            &["no translator", std::env::consts::ARCH, "interpreter"],
        );
    }
    let fastest = if translates {
        "translator"
    } else {
        "interpreter"
    };
    let output = ppckvm.guest(Asm::new().reset(), &[]);
    let stderr = text(&output.stderr);
    assert!(
        stderr.starts_with(&format!(
            "ppckvm: in-process 440 core, {fastest} (/dev/kvm "
        )),
        "{stderr}"
    );
    let output = ppckvm.guest(
        Asm::new().reset(),
        &["--accel", "inproc", "--cpu", "interp"],
    );
    assert!(
        text(&output.stderr).starts_with("ppckvm: in-process 440 core, interpreter; sandbox: ")
    );
}

#[test]
fn each_end_has_its_status_and_its_line() {
    let ppckvm = Ppckvm::new();
    let watchdog = Asm::new().li(3, 0x3000_0000).mtspr(spr::TCR, 3).spin();
    let ends: [(Asm, &[&str], i32, &str); 5] = [
        (
            Asm::new().print("x").reset(),
            &[],
            0,
            "the guest reset the system",
        ),
        (
            Asm::new().print("x").power_off(),
            &[],
            0,
            "the guest powered off",
        ),
        (
            Asm::new().word(0),
            &[],
            33,
            "the cpu cannot go on at pc 0x00000000",
        ),
        (
            watchdog,
            &["--clock", "virtual"],
            36,
            "the watchdog reset the system",
        ),
        (
            Asm::new().busy(),
            &["--timeout", "10ms"],
            124,
            "still running after 10ms",
        ),
    ];
    for (program, args, status, line) in ends {
        let output = ppckvm.guest(program, args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{stderr}");
        assert!(stderr.lines().any(|is| is.contains(line)), "{stderr}");
    }
}

#[test]
fn statistics_name_causes_instructions_and_memory() {
    let ppckvm = Ppckvm::new();
    let output = ppckvm.guest(Asm::new().print("hello").reset(), &["--stats"]);
    assert_eq!(text(&output.stdout), "hello");
    let stderr = text(&output.stderr);
    let count = |name: &str| {
        let line = stderr
            .lines()
            .find(|line| line.trim_start().starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
    };
    assert_eq!(count("mmio"), Some(5), "{stderr}");
    assert_eq!(count("MMIO"), Some(5), "{stderr}");
    assert!(
        stderr.contains(" MIPS") && stderr.contains("resident memory:"),
        "{stderr}"
    );
    assert!(stderr.contains("15 instructions in "), "{stderr}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_host_without_address_space_for_windows_runs_guests_and_says_so() {
    let ppckvm = Ppckvm::new();
    ppckvm.file("guest", Asm::new().print("hello").reset().elf(0, 0));
    for (limit, said) in [
        ("30000000", "no windows, as"),
        ("unlimited", "pages are in windows"),
    ] {
        let output = Command::new("sh")
            .args(["-c", "ulimit -v $0; exec \"$@\"", limit])
            .args([env!("CARGO_BIN_EXE_ppckvm"), "run", "--stats", "--kernel"])
            .arg(ppckvm.path("guest"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(text(&output.stdout), "hello", "{stderr}");
        assert!(stderr.contains(said), "{limit}: {stderr}");
    }
}

#[test]
fn accesses_that_nothing_answers_are_logged_once() {
    let ppckvm = Ppckvm::new();
    let program = Asm::new()
        .li(3, 0xD123_0000)
        .addi(4, 0, 3)
        .label("again")
        .lwz(5, 3, 0)
        .addi(4, 4, -1)
        .cmpwi(4, 0)
        .bne("again")
        .reset();
    let stderr = text(&ppckvm.guest(program, &[]).stderr);
    let lines: Vec<_> = stderr
        .lines()
        .filter(|line| line.contains("0xd1230000"))
        .collect();
    assert_eq!(lines.len(), 1, "{stderr}");
    assert!(
        lines[0].contains("load at 0xd1230000 from pc 0x0000000c"),
        "{stderr}"
    );
}

#[test]
fn piped_input_reaches_the_guest_whole_and_its_end_is_no_error() {
    let ppckvm = Ppckvm::new();
    // Ctrl-a is the guest's when standard input is a pipe.
    let sent: Vec<u8> = (0..300_000u32).map(|n| (n % 255) as u8 + 1).collect();
    let mut child = ppckvm.spawn(echo(), &[]);
    let mut stdin = child.stdin.take().unwrap();
    let bytes = sent.clone();
    let writer = std::thread::spawn(move || {
        stdin.write_all(&bytes).unwrap();
        stdin.write_all(&[0]).unwrap();
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        output.stdout == sent,
        "{} bytes of {}",
        output.stdout.len(),
        sent.len()
    );
}

#[test]
fn input_from_a_file_works_and_its_end_is_no_error() {
    let ppckvm = Ppckvm::new();
    let sent: Vec<u8> = (0..100_000u32).map(|n| (n % 255) as u8 + 1).collect();
    let input = ppckvm.file("input", [&sent[..], &[0]].concat());
    ppckvm.file("guest", echo().elf(0, 0));
    let run = |input: &Path, args: &[&str]| {
        ppckvm
            .command(&[&["run", "--kernel", "guest"], args].concat())
            .stdin(std::fs::File::open(input).unwrap())
            .output()
            .unwrap()
    };
    let output = run(&input, &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == sent);
    // Without the byte that ends it, the guest waits for more until the time is over.
    let input = ppckvm.file("input", "abc");
    let output = run(&input, &["--timeout", "200ms"]);
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(124), &b"abc"[..])
    );
}

#[test]
fn output_to_a_file_is_whole() {
    let ppckvm = Ppckvm::new();
    let line = "0123456789abcdef".repeat(8);
    let program = (0..50).fold(Asm::new(), |asm, _| asm.print(&line)).reset();
    ppckvm.file("guest", program.elf(0, 0));
    let path = ppckvm.path("output");
    let status = ppckvm
        .command(&["run", "--kernel", "guest"])
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&path).unwrap())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), line.repeat(50));
}

/// Prints `a` to `z` over and over, a million bytes, and resets.
fn chatterbox() -> Asm {
    Asm::new()
        .li(3, support::asm::UART0)
        .li(5, 1_000_000)
        .label("alphabet")
        .addi(4, 0, b'a'.into())
        .label("letter")
        .stb(4, 3, 0)
        .addi(5, 5, -1)
        .cmpwi(5, 0)
        .beq("end")
        .addi(4, 4, 1)
        .cmpwi(4, u16::from(b'z') + 1)
        .bne("letter")
        .b("alphabet")
        .label("end")
        .reset()
}

#[test]
fn a_slow_reader_gets_everything() {
    let ppckvm = Ppckvm::new();
    let mut child = ppckvm.spawn(chatterbox(), &[]);
    let mut stdout = child.stdout.take().unwrap();
    let mut got = Vec::new();
    // Small reads, so that the pipe is full nearly all of the time.
    let mut chunk = [0; 997];
    loop {
        match stdout.read(&mut chunk).unwrap() {
            0 => break,
            count => got.extend_from_slice(&chunk[..count]),
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(got.len(), 1_000_000);
    assert!(
        got.iter()
            .enumerate()
            .all(|(n, byte)| *byte == b'a' + (n % 26) as u8)
    );
}

#[test]
fn a_reader_that_leaves_ends_the_run_in_order() {
    let ppckvm = Ppckvm::new();
    let mut child = ppckvm.spawn(chatterbox(), &[]);
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("the console's output is lost: Broken pipe"),
        "{stderr}"
    );
}

#[test]
fn signals_end_the_run_in_order() {
    let ppckvm = Ppckvm::new();
    for (signal, status) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let mut child = ppckvm.spawn(Asm::new().print("up").busy(), &[]);
        let mut up = [0; 2];
        child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{stderr}");
        assert!(stderr.contains("ended by signal"), "{stderr}");
    }
}

#[test]
fn the_tree_is_printed_as_source_and_as_blob() {
    let ppckvm = Ppckvm::new();
    let args = ["--memory", "64M", "--append", "console=ttyS0 quiet"];
    let source = ppckvm.run(&[&["dtb"], &args[..]].concat());
    assert_eq!(source.status.code(), Some(0));
    let source = text(&source.stdout);
    for part in [
        "/dts-v1/",
        "amcc,bamboo",
        "console=ttyS0 quiet",
        "serial@ef600300",
    ] {
        assert!(source.contains(part), "{part} is not in {source}");
    }
    let blob = ppckvm
        .run(&[&["dtb", "--format", "dtb"], &args[..]].concat())
        .stdout;
    let tree = ppckvm::Tree::parse(&blob).unwrap();
    assert_eq!(tree.to_dts(), source);
    assert_eq!(
        tree.node("/memory").unwrap().cells("reg").unwrap(),
        [0, 0, 64 << 20]
    );
    // It is also what is made of a tree of the user's with the same options.
    ppckvm.file("tree", &blob);
    let again = ppckvm.run(&[&["dtb", "--dtb", "tree"], &args[..]].concat());
    assert_eq!(text(&again.stdout), source);
}

#[test]
fn the_tree_has_the_virtio_devices_on_mmio() {
    let ppckvm = Ppckvm::new();
    let slots = |args: &[&str]| {
        let output = ppckvm.run(&[&["dtb"], args].concat());
        let source = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        source.matches("virtio@ef70").count()
    };
    assert_eq!(slots(&[]), 1, "entropy");
    assert_eq!(slots(&["--no-rng"]), 0);
    assert_eq!(slots(&["--rng", "bus=pci"]), 0);
    let console = ["--console", "null", "--console", "null,bus=pci"];
    assert_eq!(slots(&[&console[..], &["--balloon"]].concat()), 3);
    let ten = ["--console", "null"].repeat(10);
    assert_eq!(slots(&[&ten[..], &["--no-rng"]].concat()), 10);
    let args = [&["dtb"], &ten[..]].concat();
    assert_refused(&ppckvm.run(&args), &["rng", "10", "bus=pci", "--no-rng"]);
}

#[test]
fn a_device_on_mmio_that_the_users_tree_does_not_describe_is_refused() {
    let ppckvm = Ppckvm::new();
    let tree = |args: &[&str]| {
        let output = ppckvm.run(&[&["dtb", "--format", "dtb"], args].concat());
        ppckvm.file("tree", &output.stdout);
    };
    let with = |args: &[&str]| ppckvm.run(&[&["dtb", "--dtb", "tree"], args].concat());
    tree(&["--no-rng"]);
    let remedy = ["console0", "tree", "0 virtio,mmio", "bus=pci", "ppckvm dtb"];
    assert_refused(&with(&["--console", "null"]), &remedy);
    let on_pci = with(&["--console", "null,bus=pci"]);
    assert_eq!(on_pci.status.code(), Some(0), "{}", text(&on_pci.stderr));
    // The entropy device is there unasked, and may stay unseen.
    assert_eq!(with(&[]).status.code(), Some(0));
    tree(&["--no-rng", "--console", "null"]);
    assert_eq!(with(&["--console", "null"]).status.code(), Some(0));
    let two = with(&["--console", "null", "--balloon"]);
    assert_refused(&two, &["balloon", "1 virtio,mmio"]);
}

#[test]
fn a_console_takes_the_terminal_from_uart0() {
    let ppckvm = Ppckvm::new();
    let output = ppckvm.guest(Asm::new().print("no").reset(), &["--console", "stdio"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "");
    let both = ["--console", "stdio", "--serial", "stdio"];
    let output = ppckvm.guest(Asm::new().reset(), &both);
    assert_refused(&output, &["standard input", "another destination"]);
}

#[test]
fn completions_and_manual_pages_are_made_from_the_arguments() {
    let ppckvm = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_ppckvm"))
            .args(arguments)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), output.stdout, errors)
    };
    for shell in ["bash", "zsh", "fish"] {
        let (status, text, errors) = ppckvm(&["generate", "completions", shell]);
        assert_eq!(status, Some(0), "{errors}");
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("on-reset"), "{shell}: {text}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let (status, _, errors) = ppckvm(&["generate", "man", path]);
    assert_eq!(status, Some(0), "{errors}");
    let page = std::fs::read_to_string(folder.path().join("ppckvm-run.1")).unwrap();
    assert!(page.contains("\\-\\-on\\-reset"), "{page}");
    let (status, _, errors) = ppckvm(&["generate", "man", "/nowhere/at/all"]);
    assert_eq!(status, Some(1));
    assert!(errors.contains("/nowhere/at/all"), "{errors}");
}
