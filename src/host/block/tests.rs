//! Images of every kind, as the device uses them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ppckvm_api::GuestMemory;
use ppckvm_devices::IrqLine;
use ppckvm_devices::test_support::driver::Driver;
use ppckvm_devices::virtio::blk::{Lease, Medium};
use ppckvm_devices::virtio::{Activation, ByteOrder, Interrupt};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, VolatileSlice};

use super::image::Image;
use super::*;

const MIB: u64 = 1 << 20;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn raw(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// `qemu-img create -f qcow2` with these arguments.
    fn qcow2(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let path = self.path(name);
        let mut all = vec!["create", "-q", "-f", "qcow2"];
        all.extend(&arguments[..arguments.len() - 1]);
        all.push(path.to_str().unwrap());
        all.push(arguments[arguments.len() - 1]);
        qemu_img(&all);
        path
    }
}

fn qemu_img(arguments: &[&str]) -> String {
    let output = Command::new("qemu-img").args(arguments).output();
    let output = output.expect("qemu-img (Debian: qemu-utils) runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "qemu-img {arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn memory() -> GuestMemoryMmap<()> {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 4 << 20)]).unwrap()
}

fn read(image: &Image, offset: u64, bytes: usize) -> std::io::Result<Vec<u8>> {
    let memory = memory();
    let slice = memory.get_slice(GuestAddress(16), bytes).unwrap();
    image.read(offset, &[slice], &Lease::default())?;
    let mut read = vec![0; bytes];
    memory
        .get_slice(GuestAddress(16), bytes)
        .unwrap()
        .copy_to(&mut read);
    Ok(read)
}

fn write(image: &Image, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
    let memory = memory();
    let slice = memory.get_slice(GuestAddress(16), bytes.len()).unwrap();
    slice.copy_from(bytes);
    image.write(offset, &[slice], &Lease::default())
}

fn refused(disk: &Disk) -> String {
    Image::open(disk).unwrap_err().to_string()
}

/// Bytes that differ from sector to sector.
fn pattern(bytes: u64) -> Vec<u8> {
    (0..bytes).map(|at| (at / 512 * 31 + at) as u8).collect()
}

/// The same for all media: what is written is read, zeroed, discarded, flushed.
fn works(image: &Image, mut model: Vec<u8>) -> Vec<u8> {
    let end = model.len() as u64;
    assert_eq!(image.sectors() * 512, end);
    assert_eq!(read(image, 0, 4096).unwrap(), model[..4096]);
    for (offset, bytes) in [(0, 512), (5120, 70_000), (end - 512, 512), (MIB - 100, 300)] {
        let data: Vec<u8> = (0..bytes).map(|at| (at * 7 + 1) as u8).collect();
        write(image, offset, &data).unwrap();
        model[offset as usize..offset as usize + bytes].copy_from_slice(&data);
    }
    for (offset, bytes, unmap) in [(8192, 1024, false), (MIB, 128 << 10, true)] {
        image.write_zeroes(offset, bytes, unmap).unwrap();
        model[offset as usize..(offset + bytes) as usize].fill(0);
    }
    image.flush().unwrap();
    image.discard(MIB + (512 << 10), 128 << 10).unwrap();
    image.discard(MIB, 0).unwrap();
    let discarded = (MIB + (512 << 10)) as usize..(MIB + (640 << 10)) as usize;
    let mut all = read(image, 0, model.len()).unwrap();
    all[discarded.clone()].fill(0);
    model[discarded].fill(0);
    assert!(all == model);
    image.flush().unwrap();

    for offset in [end, end - 511, u64::MAX, u64::MAX - 511] {
        assert!(read(image, offset, 512).is_err(), "{offset:#x}");
        assert!(write(image, offset, &[0; 512]).is_err(), "{offset:#x}");
        assert!(image.discard(offset, 512).is_err(), "{offset:#x}");
        assert!(
            image.write_zeroes(offset, 512, true).is_err(),
            "{offset:#x}"
        );
    }
    model
}

#[test]
fn a_raw_image_is_the_disk_byte_for_byte() {
    let folder = Folder::new();
    let path = folder.raw("raw.img", pattern(3 * MIB));
    let before = fs::metadata(&path).unwrap().blocks();
    let image = Image::open(&Disk::file(&path)).unwrap();
    let model = works(&image, pattern(3 * MIB));
    drop(image);
    let mut now = fs::read(&path).unwrap();
    now[(MIB + (512 << 10)) as usize..(MIB + (640 << 10)) as usize].fill(0);
    assert!(now == model);
    assert!(
        fs::metadata(&path).unwrap().blocks() < before,
        "no room was given back"
    );
}

#[test]
fn a_disk_in_memory_is_seen_from_outside() {
    let disk = MemoryDisk::new(pattern(3 * MIB)).unwrap();
    let image = Image::open(&Disk::memory(&disk)).unwrap();
    let model = works(&image, pattern(3 * MIB));
    let mut now = disk.contents().unwrap();
    now[(MIB + (512 << 10)) as usize..(MIB + (640 << 10)) as usize].fill(0);
    assert!(now == model);
}

#[test]
fn a_file_that_ends_in_a_sector_is_read_with_zeros_and_made_whole_by_a_write() {
    let folder = Folder::new();
    let path = folder.raw("odd.img", pattern(1000));
    let mut model = pattern(1000);
    model.resize(1024, 0);
    for disk in [
        Disk::file(&path).readonly(),
        Disk::file(&path).overlay(),
        Disk::file(&path),
    ] {
        let image = Image::open(&disk).unwrap();
        assert_eq!(image.sectors(), 2);
        assert!(read(&image, 0, 1024).unwrap() == model);
        assert!(read(&image, 512, 512).unwrap() == model[512..]);
        assert!(read(&image, 1024, 512).is_err());
    }
    let image = Image::open(&Disk::file(&path)).unwrap();
    write(&image, 0, &model[..512]).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 1000);
    // Nothing that the guest wrote is cut off.
    write(&image, 512, &[7; 512]).unwrap();
    image.flush().unwrap();
    drop(image);
    assert_eq!(fs::read(&path).unwrap()[512..], [7; 512]);
    // Behind an image, too.
    let base = folder.raw("base.img", pattern(1000));
    let name = base.to_str().unwrap();
    let top = folder.qcow2("top.qcow2", &["-F", "raw", "-b", name, "1024"]);
    let image = Image::open(&Disk::file(&top)).unwrap();
    assert!(read(&image, 0, 1024).unwrap() == model);
}

#[test]
fn a_qcow2_image_of_ours_is_one_of_qemus() {
    let folder = Folder::new();
    for options in [
        "compat=1.1",
        "compat=0.10",
        "cluster_size=4k",
        "refcount_bits=1",
    ] {
        let path = folder.qcow2("disk.qcow2", &["-o", options, "3M"]);
        let image = Image::open(&Disk::file(&path)).unwrap();
        let model = works(&image, vec![0; 3 << 20]);
        drop(image);
        let name = path.to_str().unwrap();
        qemu_img(&["check", "-q", name]);
        let raw = folder.path("converted.img");
        qemu_img(&["convert", "-O", "raw", name, raw.to_str().unwrap()]);
        assert!(fs::read(&raw).unwrap() == model, "{options}");
    }
}

#[test]
fn backing_files_are_read_through_and_stay_as_they_are() {
    let folder = Folder::new();
    let contents = pattern(3 * MIB);
    let base = folder.raw("base.img", &contents);
    // Compressed clusters in the middle; the name is relative to the image.
    let middle = folder.path("middle.qcow2");
    let (base_name, middle_name) = (base.to_str().unwrap(), middle.to_str().unwrap());
    qemu_img(&["convert", "-c", "-O", "qcow2", base_name, middle_name]);
    let middle_bytes = fs::read(&middle).unwrap();
    let top = folder.qcow2("top.qcow2", &["-F", "qcow2", "-b", "middle.qcow2", "3M"]);
    let image = Image::open(&Disk::file(&top)).unwrap();
    let model = works(&image, contents.clone());
    // Another may read the backing file meanwhile, and nobody may write it.
    Image::open(&Disk::file(&middle).overlay()).unwrap();
    let error = refused(&Disk::file(&middle));
    assert!(error.contains("another machine reads it"), "{error}");
    drop(image);
    assert!(fs::read(&middle).unwrap() == middle_bytes);
    qemu_img(&["check", "-q", top.to_str().unwrap()]);
    let image = Image::open(&Disk::file(&top).readonly()).unwrap();
    assert!(read(&image, 0, model.len()).unwrap() == model);
}

#[test]
fn snapshots_inside_an_image_stay_as_they_were() {
    let folder = Folder::new();
    let contents = pattern(3 * MIB);
    let raw = folder.raw("raw.img", &contents);
    let path = folder.path("disk.qcow2");
    let name = path.to_str().unwrap();
    qemu_img(&["convert", "-O", "qcow2", raw.to_str().unwrap(), name]);
    qemu_img(&["snapshot", "-c", "before", name]);
    let image = Image::open(&Disk::file(&path)).unwrap();
    works(&image, contents.clone());
    drop(image);
    qemu_img(&["check", "-q", name]);
    qemu_img(&["snapshot", "-a", "before", name]);
    let image = Image::open(&Disk::file(&path)).unwrap();
    assert!(read(&image, 0, contents.len()).unwrap() == contents);
}

#[test]
fn an_overlay_takes_what_is_written() {
    let folder = Folder::new();
    let contents = pattern(3 * MIB);
    let raw = folder.raw("raw.img", &contents);
    let qcow2 = folder.path("disk.qcow2");
    let names = [raw.to_str().unwrap(), qcow2.to_str().unwrap()];
    qemu_img(&["convert", "-O", "qcow2", names[0], names[1]]);
    for path in [raw, qcow2] {
        let before = fs::read(&path).unwrap();
        let disk = Disk::file(&path).overlay();
        // Several at a time, each for itself.
        let (first, second) = (Image::open(&disk).unwrap(), Image::open(&disk).unwrap());
        assert!(!first.readonly());
        works(&first, contents.clone());
        assert!(read(&second, 0, contents.len()).unwrap() == contents);
        works(&second, contents.clone());
        drop((first, second));
        assert!(fs::read(&path).unwrap() == before);
    }
}

#[test]
fn a_read_only_image_is_opened_for_reading_only() {
    let folder = Folder::new();
    let raw = folder.raw("raw.img", pattern(MIB));
    let qcow2 = folder.qcow2("disk.qcow2", &["1M"]);
    for path in [raw, qcow2] {
        let before = fs::read(&path).unwrap();
        let disk = Disk::file(&path).readonly();
        let (image, _other) = (Image::open(&disk).unwrap(), Image::open(&disk).unwrap());
        assert!(image.readonly());
        read(&image, 0, 512).unwrap();
        assert!(write(&image, 0, &[1; 512]).is_err());
        assert!(image.discard(0, 512).is_err());
        assert!(image.write_zeroes(0, 512, false).is_err());
        image.flush().unwrap();
        drop(image);
        assert!(fs::read(&path).unwrap() == before);
    }
}

#[test]
fn two_machines_do_not_write_to_one_image() {
    let folder = Folder::new();
    let raw = folder.raw("raw.img", pattern(MIB));
    let qcow2 = folder.qcow2("disk.qcow2", &["1M"]);
    for path in [raw, qcow2] {
        let disk = Disk::file(&path);
        let writer = Image::open(&disk).unwrap();
        for other in [
            disk.clone(),
            disk.clone().readonly(),
            disk.clone().overlay(),
        ] {
            let error = refused(&other);
            assert!(error.contains("another machine writes to it"), "{error}");
        }
        // QEMU sees the lock, and we see QEMU's.
        let copy = folder.path("copy");
        let names = (path.to_str().unwrap(), copy.to_str().unwrap());
        let command = ["convert", "-O", "raw", names.0, names.1];
        let output = Command::new("qemu-img").args(command).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("lock"), "{error}");
        drop(writer);
        let _reader = Image::open(&disk.clone().readonly()).unwrap();
        qemu_img(&command);
        let error = refused(&disk);
        assert!(error.contains("another machine reads it"), "{error}");
    }
}

#[test]
fn a_guest_cannot_turn_its_raw_disk_into_a_qcow2_image() {
    let folder = Folder::new();
    let path = folder.raw("raw.img", pattern(MIB));
    let mut sector = pattern(1024);
    sector[..4].copy_from_slice(b"QFI\xFB");
    let image = Image::open(&Disk::file(&path)).unwrap();
    let memory = memory();
    let lease = Lease::default();
    let whole = memory.get_slice(GuestAddress(0), 1024).unwrap();
    whole.copy_from(&sector);
    let at = |from: usize, to: usize| -> VolatileSlice<'_, _> {
        whole.subslice(from, to - from).unwrap()
    };
    // However it is cut into buffers.
    for parts in [
        vec![at(0, 1024)],
        vec![at(0, 1), at(1, 3), at(3, 512), at(512, 1024)],
    ] {
        assert!(image.write(0, &parts, &lease).is_err());
        assert!(fs::read(&path).unwrap() == pattern(MIB));
    }
    // Elsewhere these bytes are like any other, and so are others here.
    image.write(512, &[at(0, 1024)], &lease).unwrap();
    image
        .write(0, &[at(512, 513), at(513, 1024), at(0, 512)], &lease)
        .unwrap();
    let expected = [&sector[512..], &sector[..512]].concat();
    assert!(fs::read(&path).unwrap()[..1024] == expected);
    drop(image);
    // The user may say that it is raw, whatever it holds.
    let disk = Disk::file(&path).format(Format::Raw);
    let image = Image::open(&disk).unwrap();
    image.write(0, &[at(0, 512)], &lease).unwrap();
    drop(image);
    assert!(Image::open(&disk).is_ok());
    let error = refused(&Disk::file(&path));
    assert!(error.contains("qcow2 image"), "{error}");
}

/// `qemu-io` with these commands on a qcow2 image.
fn qemu_io(path: &Path, commands: &[&str]) {
    let mut io = Command::new("qemu-io");
    io.args(["-f", "qcow2"]);
    commands.iter().for_each(|command| {
        io.args(["-c", command]);
    });
    let output = io.arg(path).output();
    let output = output.expect("qemu-io (Debian: qemu-utils) runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{commands:?}: {said}");
}

#[test]
fn extended_l2_entries_are_read_and_not_written() {
    let folder = Folder::new();
    let contents = pattern(3 * MIB);
    let base = folder.raw("base.img", &contents);
    for cluster in ["16k", "64k", "2M"] {
        let options = format!("extended_l2=on,cluster_size={cluster}");
        let front = ["-o", &options, "-F", "raw", "-b", "base.img", "3M"];
        let front = folder.qcow2("front.qcow2", &front);
        // Parts of clusters: written, zeros, and what is behind.
        let commands = [
            "write -P 1 512 1k",
            "write -P 2 33k 40k",
            "write -z 36k 4k",
            "write -z 1M 192k",
            "write -P 3 1100k 3k",
            "discard 2100k 64k",
            "write -P 4 3071k 1k",
        ];
        qemu_io(&front, &commands);
        let packed = folder.path("packed.qcow2");
        let name = packed.to_str().unwrap();
        let convert = ["convert", "-c", "-o", &options, "-O", "qcow2"];
        qemu_img(&[&convert[..], &[base.to_str().unwrap(), name]].concat());
        // A part of it is no longer compressed.
        qemu_io(&packed, &["write -P 5 70k 1k"]);
        for path in [front, packed] {
            let name = path.to_str().unwrap();
            let raw = folder.path("converted.img");
            qemu_img(&["convert", "-O", "raw", name, raw.to_str().unwrap()]);
            let expected = fs::read(&raw).unwrap();
            let before = fs::read(&path).unwrap();
            let error = refused(&Disk::file(&path));
            assert!(error.contains("writing to extended L2 entries"), "{error}");
            assert!(error.contains("add readonly or overlay"), "{error}");
            let image = Image::open(&Disk::file(&path).readonly()).unwrap();
            assert!(read(&image, 0, expected.len()).unwrap() == expected);
            for (at, bytes) in [(1024, 512), (35 << 10, 6 << 10), (MIB - 512, 1024)] {
                let part = &expected[at as usize..at as usize + bytes];
                assert!(
                    read(&image, at, bytes).unwrap() == part,
                    "{cluster} {at:#x}"
                );
            }
            drop(image);
            works(
                &Image::open(&Disk::file(&path).overlay()).unwrap(),
                expected,
            );
            assert!(fs::read(&path).unwrap() == before);
        }
    }
    // What its parts say must make sense.
    let path = folder.qcow2("bad.qcow2", &["-o", "extended_l2=on", "1M"]);
    qemu_io(&path, &["write 0 64k"]);
    let mut bytes = fs::read(&path).unwrap();
    let l1 = u64::from_be_bytes(bytes[40..48].try_into().unwrap()) as usize;
    let l2 = u64::from_be_bytes(bytes[l1..l1 + 8].try_into().unwrap()) & ((1 << 56) - 1);
    // Zeros that are also here.
    bytes[l2 as usize + 8 + 3] = 1;
    fs::write(&path, bytes).unwrap();
    let image = Image::open(&Disk::file(&path).readonly()).unwrap();
    assert!(read(&image, 0, 512).is_err());
    assert_eq!(read(&image, 4096, 512).unwrap(), [0xCD; 512]);
}

#[test]
fn files_that_are_no_disks_are_refused() {
    let folder = Folder::new();
    for (name, bytes, part) in [
        ("empty", vec![], "is empty; give it a size"),
        ("vmdk", b"KDMV".repeat(128), "is a VMDK image; convert it"),
    ] {
        let error = refused(&Disk::file(folder.raw(name, bytes)));
        assert!(error.contains(part) && error.contains(name), "{error}");
    }
    let error = refused(&Disk::file(folder.path("missing")));
    assert!(
        error.contains("missing: cannot be opened: No such file"),
        "{error}"
    );
    let error = refused(&Disk::file(folder.path("")));
    assert!(error.contains("no regular file"), "{error}");
    let error = refused(&Disk::file("/dev/null"));
    assert!(
        error.contains("no regular file and no block device"),
        "{error}"
    );
    let raw = folder.raw("raw.img", pattern(MIB));
    let error = refused(&Disk::file(raw).format(Format::Qcow2));
    assert!(error.contains("is no qcow2 image"), "{error}");
}

#[test]
fn chains_that_do_not_end_well_are_refused() {
    let folder = Folder::new();
    folder.raw("base.img", pattern(MIB));
    let top = folder.qcow2("top.qcow2", &["-F", "raw", "-b", "base.img", "1M"]);
    let top_name = top.to_str().unwrap();
    // It loses its backing file.
    fs::rename(folder.path("base.img"), folder.path("elsewhere.img")).unwrap();
    let error = refused(&Disk::file(&top));
    assert!(
        error.contains("base.img cannot be opened: No such file"),
        "{error}"
    );
    assert!(error.contains("rebase"), "{error}");
    // Another format.
    fs::rename(folder.path("elsewhere.img"), folder.path("base.img")).unwrap();
    qemu_img(&["rebase", "-u", "-F", "vmdk", "-b", "base.img", top_name]);
    let error = refused(&Disk::file(&top));
    assert!(
        error.contains("backing file base.img of format `vmdk`"),
        "{error}"
    );
    // It is its own backing file, and that of its backing file.
    qemu_img(&["rebase", "-u", "-F", "qcow2", "-b", "top.qcow2", top_name]);
    for disk in [Disk::file(&top), Disk::file(&top).readonly()] {
        let error = refused(&disk);
        assert!(error.contains("lead back"), "{error}");
    }
    let other = folder.qcow2(
        "other.qcow2",
        &["-u", "-F", "qcow2", "-b", "top.qcow2", "1M"],
    );
    qemu_img(&["rebase", "-u", "-F", "qcow2", "-b", "other.qcow2", top_name]);
    for path in [&top, &other] {
        let error = refused(&Disk::file(path));
        assert!(error.contains("lead back"), "{error}");
    }
}

#[test]
fn backing_files_elsewhere_are_opened_only_where_the_user_says_so() {
    let folder = Folder::new();
    let inner = Folder(tempfile::tempdir_in(folder.path("")).unwrap());
    folder.raw("secret", pattern(MIB));
    inner.raw("base.img", pattern(MIB));
    let name = "../secret";
    let outward = inner.qcow2("outward.qcow2", &["-u", "-F", "raw", "-b", name, "1M"]);
    let beside = inner.qcow2("beside.qcow2", &["-F", "raw", "-b", "base.img", "1M"]);
    let second = ["-u", "-F", "qcow2", "-b", "outward.qcow2", "1M"];
    let second = inner.qcow2("second.qcow2", &second);
    // At each level of a chain, however the image is used.
    for path in [&outward, &second] {
        let disk = Disk::file(path);
        for disk in [disk.clone(), disk.clone().readonly(), disk.overlay()] {
            let error = refused(&disk);
            assert!(error.contains("outward.qcow2"), "{error}");
            assert!(error.contains("has the backing file ../secret"), "{error}");
            assert!(error.contains("add backing=any"), "{error}");
            let image = Image::open(&disk.backing(Backing::Any)).unwrap();
            assert!(read(&image, 0, 512).unwrap() == pattern(512));
        }
    }
    let error = refused(&Disk::file(&beside).backing(Backing::None));
    assert!(error.contains("add backing=beside"), "{error}");
    let image = Image::open(&Disk::file(&beside)).unwrap();
    assert!(read(&image, 0, 512).unwrap() == pattern(512));
    let none = inner.qcow2("none.qcow2", &["1M"]);
    Image::open(&Disk::file(none).backing(Backing::None)).unwrap();
}

#[test]
fn long_chains_are_read_and_endless_ones_refused() {
    let folder = Folder::new();
    let mut behind = folder.qcow2("0.qcow2", &["1M"]);
    for number in 1..=64 {
        let name = behind.to_str().unwrap();
        let image = format!("{number}.qcow2");
        behind = folder.qcow2(&image, &["-u", "-F", "qcow2", "-b", name, "1M"]);
    }
    let error = refused(&Disk::file(&behind));
    assert!(error.contains("more than 64 backing files"), "{error}");
    let image = Image::open(&Disk::file(folder.path("63.qcow2"))).unwrap();
    assert_eq!(read(&image, 0, 512).unwrap(), [0; 512]);
}

#[test]
fn damaged_qcow2_images_are_refused() {
    let folder = Folder::new();
    let path = folder.qcow2("disk.qcow2", &["64M"]);
    let sound = fs::read(&path).unwrap();
    let with = |at: usize, bytes: &[u8]| {
        let mut damaged = sound.clone();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        damaged
    };
    for (damaged, part) in [
        (
            sound[..50].to_vec(),
            "ends after 50 bytes, inside the header",
        ),
        (sound[..512].to_vec(), "table"),
        (sound[..sound.len() / 2 / 512 * 512].to_vec(), "table"),
        (with(4, &[0, 0, 0, 9]), "version 9, which is not supported"),
        (with(20, &[0, 0, 0, 3]), "clusters have 2^3 bytes"),
        (with(20, &[0, 0, 0, 200]), "clusters have 2^200 bytes"),
        (with(24, &[0x7F; 8]), "L1 entries for"),
        (
            with(32, &[0, 0, 0, 1]),
            "encryption, which is not supported",
        ),
        (with(40, &[0, 0, 0, 1, 0, 0, 0, 0]), "L1 table of"),
        (with(48, &[0xFF; 8]), "refcount table of"),
        (with(79, &[1]), "repair it with `qemu-img check -r all /"),
        (with(79, &[2]), "marked as corrupt"),
        (with(79, &[4]), "external data file"),
        (with(79, &[8]), "compression 0"),
        (with(79, &[16]), "extended L2 entries"),
        (with(78, &[1]), "incompatible feature 8"),
        (with(96, &[0, 0, 0, 99]), "damaged"),
    ] {
        fs::write(&path, damaged).unwrap();
        let error = refused(&Disk::file(&path).format(Format::Qcow2));
        assert!(error.contains(part), "{part}: {error}");
    }
    fs::write(&path, &sound).unwrap();
    Image::open(&Disk::file(&path)).unwrap();
}

/// Whatever a qcow2 file holds, opening and using it ends, and nothing else is touched.
#[test]
fn random_damage_is_an_error_or_harmless() {
    let folder = Folder::new();
    let base = folder.raw("base.img", pattern(MIB));
    let path = folder.path("disk.qcow2");
    let (from, to) = (base.to_str().unwrap(), path.to_str().unwrap());
    qemu_img(&["convert", "-o", "cluster_size=512", "-O", "qcow2", from, to]);
    let sound = fs::read(&path).unwrap();
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % limit
    };
    let mut opened = 0;
    for _ in 0..300 {
        let mut damaged = sound.clone();
        for _ in 0..=random(3) {
            // Mostly the header and the tables.
            let limit = if random(4) == 0 {
                damaged.len()
            } else {
                0x4000
            };
            let at = random(limit);
            damaged[at] = random(256) as u8;
        }
        fs::write(&path, damaged).unwrap();
        let Ok(image) = Image::open(&Disk::file(&path).format(Format::Qcow2)) else {
            continue;
        };
        opened += 1;
        for _ in 0..20 {
            let sectors = image.sectors();
            let offset = random(sectors.min(1 << 20) as usize) as u64 * 512;
            let _ = read(&image, offset, 512);
            let _ = write(&image, offset, &[1; 512]);
            let _ = image.discard(offset, 512);
        }
        let _ = image.flush();
    }
    assert!(opened > 50, "{opened}");
    assert!(fs::read(&base).unwrap() == pattern(MIB));
}

/// Batches of requests that the disk's threads do at the same time, each on sectors of its own.
#[test]
fn requests_under_way_together_do_not_disturb_each_other() {
    const DEPTH: u64 = 16;
    let folder = Folder::new();
    let mut contents = pattern(8 * MIB);
    let raw = folder.raw("raw.img", &contents);
    let qcow2 = folder.path("disk.qcow2");
    let names = [raw.to_str().unwrap(), qcow2.to_str().unwrap()];
    // Small clusters, so that requests meet in them and in their tables.
    qemu_img(&[
        "convert",
        "-c",
        "-o",
        "cluster_size=4k",
        "-O",
        "qcow2",
        names[0],
        names[1],
    ]);
    let original = contents.clone();
    for disk in [
        Disk::file(&raw),
        Disk::file(&raw).overlay(),
        Disk::file(&qcow2),
        Disk::file(&qcow2).overlay(),
    ] {
        // What each image begins with.
        if disk.access == disk::Access::ReadWrite {
            contents = original.clone();
        }
        let mut model = contents.clone();
        let mut device = open(&disk, "test", Clock::Host, &Confinement::default()).unwrap();
        let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 4 << 20)]).unwrap();
        let mut driver = Driver::new(ByteOrder::Big, 0x1000, 256, true);
        device.activate(Activation {
            memory: memory.clone(),
            queues: vec![driver.queue(&memory).unwrap()],
            features: device.features(),
            order: ByteOrder::Big,
            interrupt: Interrupt::new("test", IrqLine::detached()),
        });
        let mut state = 440_u64;
        let mut random = |limit: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % limit
        };
        for batch in 0..100 {
            driver.reuse_buffers();
            let mut reads = Vec::new();
            // Each request has one sixteenth of the disk's 4 KiB blocks.
            for part in 0..DEPTH {
                let block = random(8 * MIB / 4096 / DEPTH) * DEPTH + part;
                let (first, count) = (random(8), random(8) + 1);
                let sector = block * 8 + first;
                let bytes = (count.min(8 - first) * 512) as usize;
                let at = (sector * 512) as usize;
                let mut header = [0; 16];
                header[8..].copy_from_slice(&sector.to_be_bytes());
                match random(4) {
                    0 => {
                        let offer = driver.offer(&memory, &[&header], &[bytes as u32, 1]);
                        reads.push((offer, at, bytes));
                    }
                    1..=2 => {
                        header[3] = 1;
                        let data: Vec<u8> = (0..bytes).map(|_| random(256) as u8).collect();
                        model[at..at + bytes].copy_from_slice(&data);
                        driver.offer(&memory, &[&header, &data], &[1]);
                    }
                    _ => {
                        header[3] = 13;
                        let mut range = sector.to_le_bytes().to_vec();
                        range.extend((bytes as u32 / 512).to_le_bytes());
                        range.extend((random(2) as u32).to_le_bytes());
                        model[at..at + bytes].fill(0);
                        driver.offer(&memory, &[&header, &range], &[1]);
                    }
                }
            }
            let mut left = DEPTH;
            if batch % 8 == 0 {
                let mut flush = [0; 16];
                flush[3] = 4;
                driver.offer(&memory, &[&flush], &[1]);
                left += 1;
            }
            device.notify(0);
            while left > 0 {
                match driver.used(&memory) {
                    Some(_) => left -= 1,
                    None => std::thread::yield_now(),
                }
            }
            for (offer, at, bytes) in reads {
                let mut answer = offer.written(&memory, bytes + 1);
                assert_eq!(answer.pop(), Some(0));
                assert!(answer == model[at..at + bytes], "{at:#x}");
            }
        }
        device.reset();
        drop(device);
        let image = Image::open(&disk.clone().readonly()).unwrap();
        let now: Vec<u8> = (0..8)
            .flat_map(|mib| read(&image, mib * MIB, MIB as usize).unwrap())
            .collect();
        let kept = disk.access == disk::Access::ReadWrite;
        assert!(now == if kept { &model } else { &contents }[..]);
        drop(image);
        if kept {
            // What the overlay behind it begins with.
            contents = model;
        }
    }
    qemu_img(&["check", "-q", names[1]]);
}
