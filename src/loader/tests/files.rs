//! Compressed files, other kinds of files, initrds and device trees.

use super::*;
use ppckvm_fdt::{Board, TreeOptions, generate};

#[test]
fn gzip_files_of_kernels_are_unpacked() {
    let vmlinux = elf(0xC000_0000, &[text(CODE)]);
    let unpacked = kernel(gzip(&vmlinux)).expect("the file is good");
    assert_eq!((unpacked.format.as_str(), unpacked.entry), ("gzip elf", 0));
    assert_eq!(unpacked.file, name());
    let uimage = kernel(gzip(&Uimage::gzip(CODE).build())).expect("the file is good");
    assert_eq!(uimage.format, "gzip gzip uImage \"Linux-test\"");
    assert_eq!(uimage.segments[0].bytes, CODE);

    let nested = (0..5).fold(vmlinux.clone(), |inner, _| gzip(&inner));
    let message = refusal(nested);
    assert!(
        message.contains("images are nested deeper than 5; "),
        "{message}"
    );
    assert_refused(
        gzip(CODE),
        "image (unpacked): this is none of the known image formats; ",
    );
    assert_refused(gzip(b""), "image (unpacked): the file is empty");
    assert_refused(
        gzip(&vmlinux[..60]),
        "image (unpacked): offset 0x34: the elf file is malformed",
    );
    let bomb = gzip(&vec![0; 5 * MIB as usize]);
    let error = Kernel::from_bytes(name(), bomb, &options(), 4 * MIB)
        .expect_err("too large")
        .to_string();
    assert!(
        error.contains("unpacks to more than the 4194304 bytes"),
        "{error}"
    );
}

#[test]
fn other_kinds_of_files_are_refused_by_name() {
    let tree = generate(&Board::bamboo(), &TreeOptions::default()).expect("valid");
    assert_refused(tree.clone(), "image: this is a device tree, not a kernel; ");
    let mut fit = ppckvm_fdt::Tree::parse(&tree).expect("well formed");
    fit.root
        .children
        .push(ppckvm_fdt::blob::Node::new("images"));
    assert_refused(
        fit.to_blob().expect("small"),
        "image: the FIT image has no configuration; ",
    );
    assert_refused(
        tree[..100].to_vec(),
        "image: offset 0x4: this is no device tree that can be used: the blob claims",
    );
    assert_refused(
        vec![0, 0x52, 0x50, 0x4F, 0, 0],
        "image: offset 0x0: the boot block needs 32 bytes",
    );
    assert_refused(
        b"070701....".to_vec(),
        "image: this is a cpio archive, not a kernel; ",
    );
    assert_refused(
        b"\x89LZO\0\r\n\x1a\n".to_vec(),
        "image: lzo compression is not supported; ",
    );
    assert_refused(
        CODE.to_vec(),
        "image: this is none of the known image formats; ",
    );
    assert_refused(Vec::new(), "image: the file is empty; ");
}

#[test]
fn files_that_cannot_be_read_are_refused_with_their_path() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = folder.path().join("missing");
    let error = Kernel::read(&missing, &options(), RAM)
        .expect_err("there is no such file")
        .to_string();
    assert!(
        error.starts_with(&format!("{}: cannot be read: ", missing.display())),
        "{error}"
    );
    assert!(
        Kernel::read(folder.path(), &options(), RAM).is_err(),
        "a folder is no file"
    );
    assert!(Initrd::read(&missing, RAM).is_err());
    assert!(read_dtb(&missing, RAM).is_err());
}

#[test]
fn a_file_and_its_bytes_give_the_same_kernel() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for bytes in [
        elf(
            0xC000_0000,
            &[
                text(CODE),
                Load {
                    paddr: 0x1000,
                    ..text(CODE)
                },
            ],
        ),
        gzip(&elf(0xC000_0000, &[text(CODE)])),
        Uimage::gzip(CODE).build(),
    ] {
        let path = folder.path().join("kernel");
        std::fs::write(&path, &bytes).expect("the folder is writable");
        let read = Kernel::read(&path, &options(), RAM).expect("the file is good");
        let other = Kernel::from_bytes(&path, bytes, &options(), RAM).expect("the bytes are good");
        assert_eq!(format!("{read:?}"), format!("{other:?}"));
    }
}

#[test]
fn a_large_vmlinux_is_read_only_where_it_is_loaded() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("vmlinux");
    std::fs::write(&path, elf(0xC000_0000, &[text(CODE)])).expect("the folder is writable");
    // A sparse tail stands for debug information larger than all of RAM.
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("it was just written");
    file.set_len(3 * u64::from(RAM))
        .expect("files can be sparse");
    assert_eq!(
        Kernel::read(&path, &options(), RAM)
            .expect("the file is good")
            .segments[0]
            .bytes,
        CODE
    );
    let error = Initrd::read(&path, RAM)
        .expect_err("it would not fit")
        .to_string();
    assert!(
        error.contains("the file has more than 134217728 bytes"),
        "{error}"
    );
}

fn initrd(bytes: Vec<u8>) -> Result<Initrd, LoadError> {
    Initrd::from_bytes(Path::new("disk"), bytes, RAM)
}

#[test]
fn an_initrd_loses_its_uimage_header_and_nothing_else() {
    assert_eq!(
        initrd(b"any bytes".to_vec()).expect("anything goes").bytes,
        &b"any bytes"[..]
    );
    let headed = Uimage::ramdisk(b"inside").build();
    assert_eq!(
        initrd(headed.clone()).expect("the image is good").bytes,
        &b"inside"[..]
    );
    let packed = Uimage {
        compression: 1,
        ..Uimage::ramdisk(b"kept as it is")
    }
    .build();
    assert_eq!(
        initrd(packed).expect("the kernel unpacks it").bytes,
        &b"kept as it is"[..]
    );

    let message = |bytes| initrd(bytes).expect_err("it is refused").to_string();
    assert!(message(Vec::new()).starts_with("disk: the file is empty"));
    assert!(message(Uimage::ramdisk(b"").build()).starts_with("disk: the file is empty"));
    assert!(message(Uimage::kernel(CODE).build()).contains("uImage type 2 (kernel)"));
    assert!(message(headed[..66].to_vec()).contains("the uImage data needs 6 bytes"));
    let mut wrong = headed;
    wrong[64] ^= 1;
    assert!(message(wrong).contains("offset 0x18: the crc of the uImage data"));
    let arm = Uimage {
        arch: 2,
        ..Uimage::ramdisk(b"x")
    }
    .build();
    assert!(message(arm).contains("architecture 2 (arm)"));
}

#[test]
fn a_tree_of_another_board_is_refused() {
    let blob = generate(&Board::bamboo(), &TreeOptions::default()).expect("valid");
    let tree = Path::new("tree");
    assert_eq!(
        dtb_from_bytes(tree, &blob).expect("ours").compatible(),
        ["amcc,bamboo"]
    );
    let with = |change: fn(&mut ppckvm_fdt::blob::Node)| {
        let mut other = ppckvm_fdt::Tree::parse(&blob).expect("well formed");
        change(&mut other.root);
        let error = dtb_from_bytes(tree, &other.to_blob().expect("small"));
        error.expect_err("not ours").to_string()
    };
    assert_eq!(
        with(|root| root.set_string("compatible", "amcc,yosemite")),
        "tree: the device tree is for \"amcc,yosemite\", and this machine is \"amcc,bamboo\"; pass a tree for that board, or none to use the built-in one"
    );
    assert!(with(|root| root.remove("compatible")).contains("is for no board"));
    let error = dtb_from_bytes(tree, &blob[..50])
        .expect_err("truncated")
        .to_string();
    assert!(
        error.starts_with("tree: offset 0x4: this is no device tree"),
        "{error}"
    );
}
