//! Disks in Linux: booted from, filled, shared with the host's own tools, and killed while in use.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ppckvm::{Bus, Clock, Disk, DiskFormat, Machine, MemoryDisk, Outcome, Place};
use support::asm::echo;
use support::guest;
use support::linux::Linux;
use tempfile::TempDir;

const PLACES: [(Bus, bool); 4] = [
    (Bus::Mmio, false),
    (Bus::Pci, false),
    (Bus::Mmio, true),
    (Bus::Pci, true),
];

/// Runs one of the host's tools to success; what it printed.
fn tool(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(name).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{name}: {error}"));
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{name} {arguments:?}: {said}");
    said
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A folder for images.
struct Images(TempDir);

impl Images {
    fn new() -> Self {
        Images(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The test guests' root as a journalled ext4 file system of 32 MiB.
    fn root(&self, name: &str) -> PathBuf {
        let (path, root) = (self.path(name), guest("ROOTFS").with_file_name("files"));
        let options = ["-q", "-t", "ext4", "-J", "size=4", "-d"];
        tool(
            "mke2fs",
            &[&options[..], &[text(&root), text(&path), "32M"]].concat(),
        );
        path
    }

    fn zeros(&self, name: &str, bytes: u64) -> PathBuf {
        let path = self.path(name);
        fs::File::create(&path).unwrap().set_len(bytes).unwrap();
        path
    }

    fn to_qcow2(&self, raw: &Path) -> PathBuf {
        let path = raw.with_extension("qcow2");
        tool(
            "qemu-img",
            &["convert", "-O", "qcow2", text(raw), text(&path)],
        );
        path
    }

    fn to_raw(&self, image: &Path) -> PathBuf {
        let path = self.path("as-raw.img");
        tool(
            "qemu-img",
            &["convert", "-O", "raw", text(image), text(&path)],
        );
        path
    }

    /// The contents of a file in a raw image of an ext file system.
    fn read(&self, image: &Path, file: &str) -> Vec<u8> {
        let to = self.path("read");
        let request = format!("dump {file} {}", text(&to));
        tool("debugfs", &["-R", &request, text(image)]);
        fs::read(to).unwrap()
    }
}

/// Checks a raw image of a file system that is to have no fault at all.
fn assert_clean(image: &Path) {
    tool("e2fsck", &["-f", "-n", text(image)]);
}

fn machine(append: &str) -> Machine {
    let append = format!("console=ttyS0 loglevel=4 {append}");
    Machine::new().kernel(guest("KERNEL_UIMAGE")).append(append)
}

#[test]
fn linux_lives_on_an_ext4_disk_over_every_transport() {
    let images = Images::new();
    let raw = images.root("root.img");
    let qcow2 = images.to_qcow2(&raw);
    let mut round = 0;
    for (bus, legacy) in PLACES {
        for image in [&raw, &qcow2] {
            round += 1;
            let disk = Disk::file(image).at(Place { bus, legacy });
            let machine = machine("root=/dev/vda rw init=/init").device(disk);
            let mut vm = Linux::boot(machine.rng(None));
            let mounted = vm.command("grep ' / ' /proc/mounts");
            assert!(mounted.contains("/dev/root / ext4 rw"), "{mounted}");
            let features = vm.command("cat /sys/bus/virtio/devices/virtio0/features");
            assert_eq!(features.as_bytes()[32] == b'1', !legacy, "{features}");
            // What an earlier round wrote is there.
            let line = format!("touch /rounds; cat /rounds; echo {round} >>/rounds; sync");
            let rounds = vm.command(&line);
            assert_eq!(rounds.matches('\n').count(), (round - 1) / 2, "{rounds}");
            // Free blocks are given back, with requests that have a form of their own.
            let trimmed = vm.command("fstrim -v / && echo trimmed");
            assert!(trimmed.contains("trimmed"), "{trimmed}");
            let log = vm.command("dmesg | grep -c 'error, dev vda'");
            assert_eq!(log, "0\n");
            vm.command("mount -o remount,ro /");
            vm.power_off();
        }
    }
    assert_clean(&raw);
    assert_eq!(images.read(&raw, "/rounds"), b"1\n3\n5\n7\n");
    tool("qemu-img", &["check", text(&qcow2)]);
    let converted = images.to_raw(&qcow2);
    assert_clean(&converted);
    assert_eq!(images.read(&converted, "/rounds"), b"2\n4\n6\n8\n");
}

/// The guest makes a file system, fills it and lists what is on it; the host finds the same.
fn the_host_agrees(images: &Images, image: &Path, disk: Disk) {
    let machine = machine("").initrd(guest("ROOTFS")).disk(disk);
    let mut vm = Linux::boot(machine);
    vm.command("mke2fs -F /dev/vda && mount -t ext4 /dev/vda /mnt");
    vm.command(
        "cp -a /bin /mnt/bin; for i in $(seq 40); do dd if=/dev/urandom \
        of=/mnt/random$i bs=7777 count=$((i / 4 + 1)) 2>/dev/null; done",
    );
    let full = vm.command("dd if=/dev/urandom of=/mnt/fill bs=64k");
    assert!(full.contains("No space left on device"), "{full}");
    let sums = vm.command("cd /mnt; find . -type f -exec sha256sum {} \\;; cd");
    assert!(sums.lines().count() > 40, "{sums}");
    vm.command("sync; umount /mnt");
    vm.power_off();

    let raw = images.to_raw(image);
    assert_clean(&raw);
    let copy = images.path("copy");
    let _ = fs::remove_dir_all(&copy);
    fs::create_dir(&copy).unwrap();
    tool(
        "debugfs",
        &["-R", &format!("rdump / {}", text(&copy)), text(&raw)],
    );
    let list = images.path("sums");
    fs::write(&list, sums).unwrap();
    let check = format!("cd {} && sha256sum --quiet -c {}", text(&copy), text(&list));
    tool("sh", &["-c", &check]);
}

#[test]
fn the_host_agrees_with_every_byte_of_a_file_system_that_the_guest_made() {
    let images = Images::new();
    let raw = images.zeros("disk.img", 12 << 20);
    the_host_agrees(&images, &raw, Disk::file(&raw));
    let qcow2 = images.path("disk.qcow2");
    tool(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", text(&qcow2), "12M"],
    );
    the_host_agrees(&images, &qcow2, Disk::file(&qcow2));
    tool("qemu-img", &["check", text(&qcow2)]);
}

#[test]
fn disks_of_all_kinds_side_by_side() {
    let images = Images::new();
    let raw = images.root("raw.img");
    let original = fs::read(&raw).unwrap();
    let memory = MemoryDisk::new(vec![b'x'; 4 << 20]).unwrap();
    let sparse = images.path("sparse.img");
    fs::write(&sparse, vec![1; 4 << 20]).unwrap();
    let machine = machine("")
        .initrd(guest("ROOTFS"))
        .disk(Disk::file(&raw).overlay())
        .disk(Disk::file(&raw).format(DiskFormat::Raw).readonly())
        .disk(Disk::memory(&memory).serial("PPC 440").unwrap())
        .disk(Disk::file(&sparse));
    let mut vm = Linux::boot(machine);

    // An overlay: the guest writes, and the image does not change.
    vm.command("mount /dev/vda /mnt && dd if=/dev/zero of=/mnt/new bs=64k count=64; sync");
    assert_eq!(vm.command("ls -l /mnt/new | wc -l"), "1\n");
    vm.command("umount /mnt");

    // Read-only.
    assert_eq!(vm.command("cat /sys/block/vdb/ro"), "1\n");
    let refused = vm.command("dd if=/dev/zero of=/dev/vdb bs=512 count=1");
    assert!(refused.contains("dd: "), "{refused}");
    vm.command("mount -o ro /dev/vdb /mnt");
    assert_eq!(vm.command("test -e /mnt/init && echo yes"), "yes\n");
    vm.command("umount /mnt");

    // Memory, and its serial number.
    assert_eq!(vm.command("cat /sys/block/vdc/serial; echo"), "PPC 440\n");
    assert_eq!(
        vm.command("dd if=/dev/vdc bs=4 count=1 2>/dev/null; echo"),
        "xxxx\n"
    );
    vm.command("echo hello | dd of=/dev/vdc bs=512 seek=3 conv=notrunc; sync");
    assert_eq!(memory.contents().unwrap()[3 * 512..][..6], *b"hello\n");

    // Room is given back.
    let blocks = || {
        tool("stat", &["-c", "%b", text(&sparse)])
            .trim()
            .parse::<u64>()
            .unwrap()
    };
    assert!(blocks() >= 4 << 11);
    vm.command("blkdiscard /dev/vdd; sync");
    assert!(blocks() < 1 << 11, "{} blocks", blocks());
    let zeros = vm.command("cmp -n 4194304 /dev/vdd /dev/zero; echo $?");
    assert!(zeros.ends_with("0\n"), "{zeros}");
    vm.power_off();
    assert!(fs::read(&raw).unwrap() == original);
}

/// Kills the launcher while the guest writes and flushes numbered blocks to a journalled file
/// system: what the guest knew to be flushed is there, and the file system is sound.
fn survives_a_kill(images: &Images, image: &Path, format: DiskFormat, after: u32) {
    let disk = format!("path={},format={format}", text(image));
    let mut child = Command::new(env!("CARGO_BIN_EXE_ppckvm"))
        .args([
            "run",
            "--kernel",
            text(&guest("KERNEL_UIMAGE")),
            "--disk",
            &disk,
        ])
        .args([
            "--append",
            "console=ttyS0 root=/dev/vda rw init=/init ppckvm.run=\"disk records /log\"",
        ])
        .env_remove("PPCKVM_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut flushed = None;
    let mut said = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // Whatever is on its way in the pipe was flushed, so all of it is read.
        let line = line.unwrap();
        let number = line
            .trim()
            .strip_prefix("flushed ")
            .and_then(|rest| rest.strip_suffix('.'));
        match number {
            Some(number) => flushed = Some(number.parse::<u32>().unwrap()),
            None => said = format!("{said}{line}\n"),
        }
        if flushed == Some(after) {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    let flushed = flushed.unwrap_or_else(|| panic!("nothing was flushed:\n{said}"));
    assert!(flushed >= after, "{said}");

    let raw = match format {
        DiskFormat::Raw => image.to_owned(),
        DiskFormat::Qcow2 => {
            // Clusters that nothing refers to yet are lost, which is no fault of the contents.
            let check = Command::new("qemu-img")
                .args(["check", text(image)])
                .output()
                .unwrap();
            assert!(matches!(check.status.code(), Some(0 | 3)), "{check:?}");
            images.to_raw(image)
        }
    };
    // The first replays the journal; then nothing is left to repair.
    let replay = Command::new("e2fsck")
        .args(["-p", text(&raw)])
        .output()
        .unwrap();
    assert!(matches!(replay.status.code(), Some(0 | 1)), "{replay:?}");
    assert_clean(&raw);
    let log = images.read(&raw, "/log");
    assert!(
        log.len() / 4096 > flushed as usize,
        "{} bytes, {flushed} blocks",
        log.len()
    );
    for (number, block) in (0..=flushed).zip(log.chunks(4096)) {
        for (at, word) in block.chunks(4).enumerate().take(1024) {
            let word = u32::from_be_bytes(word.try_into().unwrap());
            let expected = match at {
                0 => number,
                at => number.wrapping_mul(2_654_435_761).wrapping_add(at as u32),
            };
            assert_eq!(word, expected, "word {at} of block {number}");
        }
    }
}

/// `PPCKVM_LONG` adds rounds that end anywhere.
#[test]
fn what_the_guest_flushed_survives_a_kill_of_the_launcher() {
    let images = Images::new();
    let raw = || images.root("raw.img");
    // From the first block on; the journal begins anew with each mount, and wraps.
    for after in [0, 7, 40, 163] {
        survives_a_kill(&images, &raw(), DiskFormat::Raw, after);
    }
    for after in [1, 23, 150] {
        let qcow2 = images.to_qcow2(&raw());
        survives_a_kill(&images, &qcow2, DiskFormat::Qcow2, after);
    }
    let rounds = std::env::var_os("PPCKVM_LONG").map_or(0, |_| 20);
    let mut after = 440_u32;
    for _ in 0..rounds {
        after = after.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        survives_a_kill(&images, &raw(), DiskFormat::Raw, after >> 23);
        let qcow2 = images.to_qcow2(&raw());
        survives_a_kill(&images, &qcow2, DiskFormat::Qcow2, after >> 23);
    }
}

#[test]
fn runs_under_the_virtual_clock_are_the_same_with_a_disk() {
    let images = Images::new();
    let image = images.root("root.img");
    let run = "cat /bin/busybox >/copy; sync; md5sum /copy";
    let boot = || {
        let append = format!("root=/dev/vda rw init=/init ppckvm.run=\"{run}\"");
        let machine = machine(&append).disk(Disk::file(&image).overlay());
        let mut vm = Linux::start(machine.clock(Clock::Virtual));
        let end = vm.end();
        assert!(matches!(end, Outcome::Reset(_)), "{end:?}");
        (vm.output_text(), vm.statistics().retired)
    };
    let first = boot();
    assert!(first.0.contains("ended with status 0"), "{}", first.0);
    assert_eq!(first, boot());
}

fn ppckvm(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ppckvm"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("PPCKVM_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn a_bad_disk_is_refused_before_the_guest_starts() {
    let images = Images::new();
    fs::write(images.path("guest"), echo().elf(0, 0)).unwrap();
    let held = images.zeros("held.img", 1 << 20);
    fs::write(images.path("odd.img"), [0; 700]).unwrap();
    let machine = Machine::new().program(0, vec![0; 4]);
    let _vm = machine.disk(Disk::file(&held)).build().unwrap();
    for (disk, status, part) in [
        (
            "path=held.img",
            1,
            "disk held.img: is in use: another machine writes to it",
        ),
        ("path=held.img,overlay", 1, "another machine writes to it"),
        (
            "path=missing.img",
            1,
            "disk missing.img: cannot be opened: No such file",
        ),
        ("path=odd.img,format=qcow2", 1, "is no qcow2 image"),
        ("path=.", 1, "no regular file and no block device"),
        ("format=raw", 2, "path is missing"),
        ("path=a,format=vhd", 2, "use raw or qcow2"),
        ("path=a,size=1G", 2, "`size` is no key"),
    ] {
        let output = ppckvm(
            images.0.path(),
            &[
                "run",
                "--kernel",
                "guest",
                "--timeout",
                "60s",
                "--disk",
                disk,
            ],
        );
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{disk}: {stderr}");
        assert!(stderr.contains(part), "{disk}: {stderr}");
    }
}

/// A host disk of 8 MiB has an image of 64 MiB with nothing in it yet.
#[test]
fn a_full_host_disk_is_an_io_error_in_the_guest() {
    let images = Images::new();
    let script = format!(
        "mount -t tmpfs -o size=8m none {folder} && truncate -s 64M {folder}/disk.img && \
         exec {ppckvm} run --kernel {kernel} --initrd {initrd} --timeout 240s \
         --disk path={folder}/disk.img --append 'console=ttyS0 ppckvm.run=\"{run}\"'",
        folder = text(images.0.path()),
        ppckvm = env!("CARGO_BIN_EXE_ppckvm"),
        kernel = text(&guest("KERNEL_UIMAGE")),
        initrd = text(&guest("ROOTFS")),
        run = "dd if=/dev/zero of=/dev/vda bs=1M count=32 conv=fsync; \
               dd if=/dev/vda of=/dev/null bs=1M count=2 && echo still there",
    );
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .env_remove("PPCKVM_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(0), "{stderr}{stdout}");
    assert!(stdout.contains("I/O error"), "{stdout}");
    assert!(stdout.contains("still there"), "{stdout}");
    let told = stderr.matches("No space left on device").count();
    assert_eq!(told, 1, "{stderr}");
}
