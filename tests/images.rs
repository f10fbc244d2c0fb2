//! Every image format, made by the tools that users make it with, booted for real.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

use ppckvm::{Machine, MemorySize};
use support::guest;
use support::linux::Linux;
use tempfile::TempDir;

const USER_SPACE: &str = "guest: user space is up";

/// Boots a kernel with the test root file system and gives what it printed.
fn boots(machine: Machine) -> String {
    let mut vm = Linux::start(machine.append("console=ttyS0"));
    vm.wait_for(USER_SPACE);
    vm.output_text()
}

fn with_disk(kernel: impl Into<PathBuf>) -> Machine {
    Machine::new().kernel(kernel).initrd(guest("ROOTFS"))
}

/// Runs a tool that makes images.
fn tool(name: &str, arguments: &[&str], input: Option<&[u8]>) -> Vec<u8> {
    let mut child = Command::new(name)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{name}: {error}; tests/run.sh installs it"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.unwrap_or_default().to_vec();
    // Written beside the reading, because a pipe holds less than an image.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{name} {arguments:?}");
    // A tool that wants no input closes it.
    let _ = writer.join().unwrap();
    output.stdout
}

/// How each compression is made: its name for mkimage, and the tool.
const COMPRESSORS: [(&str, &str, &[&str]); 6] = [
    ("gzip", "gzip", &["-1c"]),
    ("bzip2", "bzip2", &["-1c"]),
    ("lzma", "xz", &["--format=lzma", "-0c"]),
    ("lz4", "lz4", &["-1c"]),
    ("zstd", "zstd", &["-1cq"]),
    // There is no number for xz in a uImage.
    ("none", "xz", &["--check=crc32", "-0c"]),
];

/// The test kernel without any header.
fn flat_kernel() -> Vec<u8> {
    let uimage = fs::read(guest("KERNEL_UIMAGE")).unwrap();
    tool("gzip", &["-dc"], Some(&uimage[64..]))
}

struct Workshop {
    folder: TempDir,
}

impl Workshop {
    fn new() -> Self {
        Workshop {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    fn mkimage(&self, arguments: &[&str]) -> PathBuf {
        let image = self.path("image");
        let image_text = image.to_str().unwrap();
        tool("mkimage", &[arguments, &[image_text]].concat(), None);
        image
    }

    fn uimage(&self, kind: &str, compression: &str, data: &str) -> PathBuf {
        self.mkimage(&[
            "-A",
            "ppc",
            "-O",
            "linux",
            "-T",
            kind,
            "-C",
            compression,
            "-a",
            "0",
            "-e",
            "0",
            "-n",
            "test",
            "-d",
            data,
        ])
    }
}

#[test]
fn each_compression_boots_as_uimage() {
    let workshop = Workshop::new();
    let flat = flat_kernel();
    for (name, compressor, arguments) in COMPRESSORS {
        let data = workshop.file("data", &tool(compressor, arguments, Some(&flat)));
        let image = workshop.uimage("kernel", name, &data);
        boots(with_disk(&image));
    }
    let data = workshop.file("data", &flat);
    boots(with_disk(workshop.uimage("kernel", "none", &data)));
    boots(with_disk(workshop.uimage("kernel_noload", "none", &data)));
}

#[test]
fn each_compression_of_a_whole_vmlinux_boots() {
    let workshop = Workshop::new();
    let stripped = workshop.path("vmlinux");
    let path = stripped.to_str().unwrap();
    let vmlinux = guest("KERNEL_VMLINUX");
    tool(
        "powerpc-linux-gnu-strip",
        &["-o", path, vmlinux.to_str().unwrap()],
        None,
    );
    let stripped = fs::read(&stripped).unwrap();
    let legacy: (&str, &str, &[&str]) = ("lz4 legacy", "lz4", &["-lc"]);
    for (_, compressor, arguments) in COMPRESSORS.into_iter().chain([legacy]) {
        let packed = tool(compressor, arguments, Some(&stripped));
        boots(with_disk(workshop.file("vmlinux.packed", &packed)));
    }
}

#[test]
fn a_raw_kernel_boots_from_its_load_address() {
    let workshop = Workshop::new();
    let raw = workshop.file("Image", &flat_kernel());
    boots(with_disk(raw).load_address(0));
}

#[test]
fn a_vmlinux_inside_a_uimage_boots() {
    let workshop = Workshop::new();
    let path = workshop.path("vmlinux");
    let vmlinux = guest("KERNEL_VMLINUX");
    let arguments = ["-o", path.to_str().unwrap(), vmlinux.to_str().unwrap()];
    tool("powerpc-linux-gnu-strip", &arguments, None);
    boots(with_disk(workshop.uimage(
        "kernel",
        "none",
        path.to_str().unwrap(),
    )));
}

/// A device tree that can be told from the generated one.
fn marked_tree(workshop: &Workshop) -> String {
    let blob = Machine::new().device_tree().unwrap();
    let mut tree = ppckvm::Tree::parse(&blob).unwrap();
    tree.root.set_string("model", "a tree from the image");
    workshop.file("tree", &tree.to_blob().unwrap())
}

fn assert_marked(output: &str) {
    assert!(
        output.contains("Hardware name: a tree from the image"),
        "{output}"
    );
}

#[test]
fn a_multi_file_uimage_brings_initrd_and_device_tree() {
    let workshop = Workshop::new();
    let kernel = workshop.file("data", &tool("gzip", &["-1c"], Some(&flat_kernel())));
    let disk = guest("ROOTFS");
    let parts = [
        kernel.as_str(),
        disk.to_str().unwrap(),
        &marked_tree(&workshop),
    ]
    .join(":");
    let image = workshop.uimage("multi", "gzip", &parts);
    assert_marked(&boots(Machine::new().kernel(image)));
}

#[test]
fn a_fit_image_boots_its_default_configuration_or_another() {
    let workshop = Workshop::new();
    let kernel = workshop.file("data", &tool("zstd", &["-1cq"], Some(&flat_kernel())));
    let source = format!(
        r#"/dts-v1/;
        / {{
            description = "test";
            #address-cells = <1>;
            images {{
                kernel {{
                    data = /incbin/("{kernel}");
                    type = "kernel"; arch = "ppc"; os = "linux"; compression = "zstd";
                    load = <0>; entry = <0>;
                    hash-1 {{ algo = "sha256"; }};
                    hash-2 {{ algo = "crc32"; }};
                }};
                tree {{
                    data = /incbin/("{tree}");
                    type = "flat_dt"; arch = "ppc"; compression = "none";
                    hash-1 {{ algo = "md5"; }};
                }};
                disk {{
                    data = /incbin/("{disk}");
                    type = "ramdisk"; arch = "ppc"; os = "linux"; compression = "none";
                    hash-1 {{ algo = "sha1"; }};
                }};
            }};
            configurations {{
                default = "whole";
                whole {{ kernel = "kernel"; fdt = "tree"; ramdisk = "disk"; }};
                bare {{ kernel = "kernel"; }};
            }};
        }};"#,
        tree = marked_tree(&workshop),
        disk = guest("ROOTFS").display(),
    );
    let its = workshop.file("source.its", source.as_bytes());
    for external in [&[][..], &["-E"][..], &["-E", "-p", "0x1000"][..]] {
        let image = workshop.mkimage(&[external, &["-f", &its]].concat());
        assert_marked(&boots(Machine::new().kernel(&image)));
        let bare = boots(with_disk(&image).fit_config("bare"));
        assert!(!bare.contains("a tree from the image"), "{bare}");
    }
}

/// What a wrapper prints when it has found the board's clocks.
const CLOCKS: [&str; 4] = [
    "CPU clock-frequency <- 0x1fca0550 (533MHz)",
    "CPU timebase-frequency <- 0x1fca0550 (533MHz)",
    "/plb: clock-frequency <- 7f28154 (133MHz)",
    "/plb/opb/serial@ef600300: clock-frequency <- a8c000 (11MHz)",
];

fn assert_lines(output: &str, lines: &[&str]) {
    for line in lines {
        assert!(output.contains(line), "{line:?} is not in:\n{output}");
    }
}

#[test]
fn a_cuimage_boots_with_the_clocks_of_the_board() {
    let mut vm = Linux::start(
        with_disk(guest("BAMBOO_CUIMAGE"))
            .memory(MemorySize::from_bytes(128 << 20))
            .append("console=ttyS0 panic=1 from-the-launcher"),
    );
    vm.wait_for(USER_SPACE);
    let output = vm.output_text();
    assert_lines(&output, &CLOCKS);
    assert_lines(
        &output,
        &[
            "Memory <- <0x0 0x0 0x7fff000> (127MB)",
            "ethernet0: local-mac-address <- 02:00:44:0e:50:00",
            "ethernet1: local-mac-address <- 02:00:44:0e:50:01",
            "Using loader supplied ramdisk at ",
            "Linux/PowerPC load: console=ttyS0 panic=1 from-the-launcher",
        ],
    );
}

#[test]
fn a_treeimage_boots_with_the_clocks_of_the_board() {
    let mut vm = Linux::start(Machine::new().kernel(guest("BAMBOO_TREEIMAGE")));
    // It takes no initrd, so this is as far as it comes.
    vm.wait_for("Unable to mount root fs");
    let output = vm.output_text();
    assert_lines(&output, &CLOCKS);
    assert_lines(
        &output,
        &[
            "Memory <- <0x0 0x0 0xffff000> (255MB)",
            "ethernet0: local-mac-address <- 02:00:44:0e:50:00",
            "ethernet1: local-mac-address <- 02:00:44:0e:50:01",
            "Done! Decompressed 0x",
        ],
    );
}

#[test]
fn a_simpleimage_boots_from_what_is_inside_it() {
    let mut vm = Linux::start(Machine::new().kernel(guest("BAMBOO_SIMPLEIMAGE")));
    vm.wait_for("Unable to mount root fs");
    let output = vm.output_text();
    assert_lines(
        &output,
        &[
            "zImage starting: loaded at 0x00",
            "node   0: [mem 0x0000000000000000-0x0000000007ffffff]",
        ],
    );
}

/// The same with memory and clocks left open, as Linux's own tree for the board has them.
fn as_stock(simple: &[u8]) -> Vec<u8> {
    const PROPERTY: u32 = 3;
    let mut image = simple.to_vec();
    let magic = [0xD0, 0x0D, 0xFE, 0xED];
    let start = image.windows(4).position(|bytes| bytes == magic).unwrap();
    let total = u32::from_be_bytes(image[start + 4..start + 8].try_into().unwrap());
    let words = image[start..start + total as usize].as_chunks_mut::<4>().0;
    let mut opened = 0;
    for at in 0..words.len() - 6 {
        let word = |n: usize| u32::from_be_bytes(words[at + n]);
        let clocks = [533_333_328, 133_333_332, 66_666_666, 11_059_200];
        let value = match (word(0), word(1)) {
            (PROPERTY, 4) if clocks.contains(&word(3)) => 3,
            (PROPERTY, 12) if [word(3), word(4), word(5)] == [0, 0, 128 << 20] => 5,
            _ => continue,
        };
        words[at + value] = [0; 4];
        opened += 1;
    }
    assert!(opened >= 8, "{opened} properties were open");
    image
}

#[test]
fn a_stock_simpleimage_gets_its_memory_and_clocks() {
    let workshop = Workshop::new();
    let simple = fs::read(guest("BAMBOO_SIMPLEIMAGE")).unwrap();
    let mut vm = Linux::start(
        Machine::new().kernel(workshop.file("simpleImage.bamboo", &as_stock(&simple))),
    );
    // The kernel tells this with its own console, so its clocks are right too.
    vm.wait_for("node   0: [mem 0x0000000000000000-0x000000000fffffff]");
}

#[test]
fn an_epapr_wrapper_boots_below_where_it_is_linked() {
    let output = boots(with_disk(guest("BAMBOO_EPAPR")).memory(MemorySize::from_bytes(64 << 20)));
    assert_lines(
        &output,
        &[
            "zImage starting: loaded at 0x02000000",
            "Linux/PowerPC load: console=ttyS0",
        ],
    );
}

#[test]
fn a_wrapper_inside_a_compressed_uimage_boots() {
    let workshop = Workshop::new();
    let simple = fs::read(guest("BAMBOO_SIMPLEIMAGE")).unwrap();
    let data = workshop.file("data", &tool("xz", &["-0c"], Some(&simple)));
    let image = workshop.mkimage(&[
        "-A",
        "ppc",
        "-O",
        "linux",
        "-T",
        "kernel_noload",
        "-C",
        "none",
        "-a",
        "0",
        "-e",
        "0",
        "-d",
        &data,
    ]);
    let mut vm = Linux::start(Machine::new().kernel(image));
    vm.wait_for("Linux version 6.1");
}

#[test]
fn a_build_directory_boots_its_vmlinux() {
    let workshop = Workshop::new();
    fs::copy(guest("KERNEL_VMLINUX"), workshop.path("vmlinux")).unwrap();
    boots(with_disk(workshop.folder.path()));
}

fn ppckvm(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_ppckvm"))
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    output.unwrap()
}

fn inspect(image: &Path) -> (i32, String) {
    let output = ppckvm(&["inspect", image.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), text)
}

#[test]
fn inspect_answers_with_its_status_too() {
    let (status, text) = inspect(&guest("BAMBOO_CUIMAGE"));
    assert_eq!(status, 0, "{text}");
    assert_lines(
        &text,
        &[
            "header crc",
            " ok\n",
            "boot wrapper for U-Boot (cuImage)",
            "amcc,bamboo",
            "boots here: yes",
        ],
    );
    let (status, text) = inspect(&guest("ROOTFS"));
    assert_eq!(status, 1, "{text}");
    assert_lines(&text, &["gzip file\n", "cpio archive", "boots here: no: "]);
}

#[test]
fn bad_images_end_with_status_1_and_one_line() {
    let workshop = Workshop::new();
    let good = fs::read(guest("KERNEL_UIMAGE")).unwrap();
    let mut changed = good.clone();
    changed[1000] ^= 1;
    let missing = workshop.path("missing").to_str().unwrap().to_owned();
    let empty = tempfile::tempdir().unwrap();
    for (path, reason) in [
        (
            workshop.file("changed", &changed),
            "offset 0x18: the crc of the uImage data is 0x",
        ),
        (
            workshop.file("short", &good[..5000]),
            "offset 0x40: the uImage data needs ",
        ),
        (workshop.file("empty", &[]), "the file is empty; "),
        (
            workshop.file("text", b"no kernel\n"),
            "this is none of the known image formats; ",
        ),
        (env!("CARGO_BIN_EXE_ppckvm").to_owned(), "elf "),
        (
            empty.path().to_str().unwrap().to_owned(),
            "the directory has no kernel: ",
        ),
        (missing, "cannot be read: "),
    ] {
        let output = ppckvm(&["run", "--kernel", &path]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(
            message.starts_with(&format!("ppckvm: {path}: ")),
            "{message}"
        );
        assert!(message.contains(reason), "{reason:?} is not in {message}");
        assert!(message.contains("; "), "no remedy: {message}");
        assert!(output.stdout.is_empty(), "the guest did not start");
    }
}

#[test]
fn an_initrd_is_whole_below_the_memory_that_the_kernel_is_told_to_use() {
    for (memory, limit) in [(256, 200), (1024, 496), (64, 32)] {
        let mut vm = Linux::start(
            with_disk(guest("KERNEL_UIMAGE"))
                .memory(MemorySize::from_bytes(memory << 20))
                .append(format!("console=ttyS0 mem={limit}M")),
        );
        vm.wait_for(USER_SPACE);
        // A program of the initrd that is read after the kernel has freed what it does not use.
        vm.write("md5sum /bin/busybox && echo read-$((40 + 2))\n");
        vm.wait_for("read-42");
    }
}

#[test]
fn a_fit_image_of_mkimages_own_making_boots() {
    let workshop = Workshop::new();
    let kernel = workshop.file("data", &tool("gzip", &["-1c"], Some(&flat_kernel())));
    let tree = workshop.path("x.dtb");
    fs::copy(marked_tree(&workshop), &tree).unwrap();
    let arguments = [
        "-f",
        "auto",
        "-A",
        "ppc",
        "-O",
        "linux",
        "-T",
        "kernel",
        "-C",
        "gzip",
        "-a",
        "0",
        "-e",
        "0",
        "-d",
        &kernel,
        "-b",
        tree.to_str().unwrap(),
    ];
    let image = workshop.mkimage(&arguments);
    assert_marked(&boots(with_disk(image)));
}

/// Writes a file into a FIFO as a command would, and returns the FIFO's path.
fn through_fifo(workshop: &Workshop, name: &str, file: &Path) -> (String, JoinHandle<()>) {
    let path = workshop.path(name);
    tool("mkfifo", &[path.to_str().unwrap()], None);
    let bytes = fs::read(file).unwrap();
    let text = path.to_str().unwrap().to_owned();
    (
        text,
        std::thread::spawn(move || fs::write(path, bytes).unwrap()),
    )
}

#[test]
fn files_come_through_pipes() {
    let workshop = Workshop::new();
    let (kernel, first) = through_fifo(&workshop, "kernel", &guest("KERNEL_VMLINUX"));
    let (initrd, second) = through_fifo(&workshop, "initrd", &guest("ROOTFS"));
    let (symbols, third) = through_fifo(&workshop, "symbols", &guest("SYSTEM_MAP"));
    boots(
        Machine::new()
            .kernel(kernel)
            .initrd(initrd)
            .symbols(symbols),
    );
    for writer in [first, second, third] {
        writer.join().unwrap();
    }
    let (kernel, writer) = through_fifo(&workshop, "again", &guest("KERNEL_UIMAGE"));
    let (status, text) = inspect(Path::new(&kernel));
    assert_eq!(status, 0, "{text}");
    assert_lines(&text, &["boots here: yes", "  kernel\n", "  device tree\n"]);
    writer.join().unwrap();
}

#[test]
fn a_foreign_initrd_is_refused_before_the_guest_starts() {
    let kernel = guest("KERNEL_UIMAGE");
    for file in [env!("CARGO_BIN_EXE_ppckvm"), "/etc/passwd"] {
        let output = ppckvm(&[
            "run",
            "--kernel",
            kernel.to_str().unwrap(),
            "--initrd",
            file,
        ]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(
            message.contains("linux cannot use this as an initrd: it is "),
            "{message}"
        );
    }
}
