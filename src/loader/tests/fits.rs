//! FIT images.

use super::*;
use ppckvm_fdt::Tree;
use ppckvm_fdt::blob::Node;
use sha2::Digest;

/// A FIT image with one kernel, one device tree and one initrd, changed by `change`.
pub(super) fn fit(change: impl FnOnce(&mut Node)) -> Vec<u8> {
    let board = ppckvm_fdt::Board::bamboo();
    let blob = ppckvm_fdt::generate(&board, &Default::default()).expect("valid");
    let mut root = Node::new("");
    root.set_cells("#address-cells", &[1]);
    root.set_string("description", "a test");
    let mut images = Node::new("images");
    for (name, kind, data) in [
        ("kernel-1", "kernel", gzip(CODE)),
        ("fdt-1", "flat_dt", blob),
        ("ramdisk-1", "ramdisk", b"an initrd of some bytes".to_vec()),
    ] {
        let mut image = Node::new(name);
        image.set("data", data.clone());
        image.set_string("type", kind);
        image.set_string("arch", "ppc");
        image.set_string("os", "linux");
        image.set_string(
            "compression",
            if kind == "kernel" { "gzip" } else { "none" },
        );
        if kind == "kernel" {
            image.set_cells("load", &[0x1000]);
            image.set_cells("entry", &[0x1004]);
        }
        for (index, (algorithm, value)) in [
            ("crc32", crc32fast::hash(&data).to_be_bytes().to_vec()),
            ("md5", md5::Md5::digest(&data).to_vec()),
            ("sha1", sha1::Sha1::digest(&data).to_vec()),
            ("sha256", sha2::Sha256::digest(&data).to_vec()),
        ]
        .into_iter()
        .enumerate()
        {
            let mut hash = Node::new(&format!("hash-{index}"));
            hash.set_string("algo", algorithm);
            hash.set("value", value);
            image.children.push(hash);
        }
        images.children.push(image);
    }
    let mut configurations = Node::new("configurations");
    configurations.set_string("default", "conf-1");
    for name in ["conf-1", "conf-2"] {
        let mut configuration = Node::new(name);
        configuration.set_string("kernel", "kernel-1");
        if name == "conf-1" {
            configuration.set_string("fdt", "fdt-1");
            configuration.set_string("ramdisk", "ramdisk-1");
        }
        configurations.children.push(configuration);
    }
    root.children.extend([images, configurations]);
    change(&mut root);
    let tree = Tree {
        reservations: Vec::new(),
        boot_cpuid: 0,
        root,
    };
    tree.to_blob().expect("small")
}

fn image<'a>(root: &'a mut Node, name: &str) -> &'a mut Node {
    let images = root.child_mut("images").expect("it is there");
    images.child_mut(name).expect("it is there")
}

fn configurations(root: &mut Node) -> &mut Node {
    root.child_mut("configurations").expect("it is there")
}

#[test]
fn the_default_configuration_starts() {
    let kernel = kernel(fit(|_| {})).expect("the image is good");
    assert_eq!((kernel.segments[0].gpa, kernel.entry), (0x1000, 0x1004));
    assert_eq!(kernel.segments[0].bytes, CODE);
    assert_eq!(kernel.format, "FIT \"conf-1\" of gzip kernel");
    assert_eq!(
        kernel.initrd.expect("it has one").bytes,
        &b"an initrd of some bytes"[..]
    );
    let (name, tree) = kernel.tree.expect("it has one");
    assert_eq!(
        dtb_from_bytes(&name, &tree).expect("ours").compatible(),
        ["amcc,bamboo"]
    );
}

#[test]
fn another_configuration_starts_when_it_is_asked_for() {
    let choose = |name: &str| {
        let options = KernelOptions {
            fit_config: Some(name.to_owned()),
            ..options()
        };
        Kernel::from_bytes(Path::new("image"), fit(|_| {}), &options, RAM)
    };
    let kernel = choose("conf-2").expect("it exists");
    assert!(kernel.initrd.is_none() && kernel.tree.is_none());
    let error = choose("conf-3").expect_err("it does not exist").to_string();
    assert_eq!(
        error,
        "image: the FIT image has no configuration \"conf-3\", only conf-1, conf-2; choose one of these"
    );
}

#[test]
fn without_a_default_only_a_single_configuration_is_taken() {
    let bytes = fit(|root| {
        configurations(root).remove("default");
    });
    assert_refused(
        bytes,
        "image: the FIT image has no default configuration, only conf-1, conf-2; ",
    );
    let bytes = fit(|root| {
        configurations(root).remove("default");
        configurations(root).children.pop();
    });
    assert!(kernel(bytes).is_ok());
    let bytes = fit(|root| configurations(root).set_string("default", "none"));
    assert_refused(
        bytes,
        "image: the default configuration \"none\" of the FIT image does not exist",
    );
}

#[test]
fn each_hash_is_verified() {
    for index in 0..4 {
        let bytes = fit(|root| {
            let hash = format!("hash-{index}");
            let node = image(root, "kernel-1")
                .child_mut(&hash)
                .expect("it is there");
            let mut value = node.property("value").expect("it has one").to_vec();
            value[0] ^= 1;
            node.set("value", value);
        });
        let message = refusal(bytes);
        let kind = ["crc32", "md5", "sha1", "sha256"][index];
        assert!(
            message.starts_with(&format!("image: the {kind} of the image \"kernel-1\" is ")),
            "{message}"
        );
        assert!(message.contains("the file is corrupt"), "{message}");
    }
    let bytes = fit(|root| {
        let hash = image(root, "fdt-1")
            .child_mut("hash-0")
            .expect("it is there");
        hash.set_string("algo", "rot13");
    });
    assert_refused(
        bytes,
        "image: image \"fdt-1\" has a hash of the unknown kind \"rot13\"; ",
    );
}

#[test]
fn external_data_is_found_after_the_tree() {
    let external = |position: bool| {
        let mut blob = fit(|root| {
            let node = image(root, "kernel-1");
            node.set_cells(
                "data-size",
                &[u32::try_from(gzip(CODE).len()).expect("small")],
            );
            node.remove("data");
            let property = if position {
                "data-position"
            } else {
                "data-offset"
            };
            node.set_cells(property, &[0x10]);
        });
        let mut start = blob.len().next_multiple_of(4) + 0x10;
        if position {
            start = 0x4000;
            let mut tree = Tree::parse(&blob).expect("well formed");
            image(&mut tree.root, "kernel-1").set_cells("data-position", &[0x4000]);
            blob = tree.to_blob().expect("small");
        }
        blob.resize(start, 0);
        blob.extend(gzip(CODE));
        blob
    };
    for position in [false, true] {
        let whole = kernel(external(position)).expect("the image is good");
        assert_eq!(whole.segments[0].bytes, CODE);
    }
    let mut short = external(false);
    short.pop();
    let message = refusal(short);
    assert!(
        message.contains("the FIT image's external data needs"),
        "{message}"
    );
}

#[test]
fn what_cannot_be_started_is_refused_with_its_reason() {
    let with = |change: fn(&mut Node)| refusal(fit(change));
    let arch = with(|root| image(root, "kernel-1").set_string("arch", "arm"));
    assert!(
        arch.contains("has the arch \"arm\", not \"ppc\"; "),
        "{arch}"
    );
    let kind = with(|root| image(root, "kernel-1").set_string("type", "script"));
    assert!(
        kind.contains("has the type \"script\", not \"kernel\"; "),
        "{kind}"
    );
    let load = with(|root| {
        image(root, "kernel-1").remove("load");
    });
    assert!(load.contains("has no load address; "), "{load}");
    let missing = with(|root| {
        let node = configurations(root)
            .child_mut("conf-1")
            .expect("it is there");
        node.set_string("fdt", "fdt-9");
    });
    assert!(
        missing.contains("names image \"fdt-9\", which it does not have; "),
        "{missing}"
    );
    let two = with(|root| {
        let node = configurations(root)
            .child_mut("conf-1")
            .expect("it is there");
        node.set("ramdisk", b"fdt-1\0ramdisk-1\0".to_vec());
    });
    assert!(two.contains("names 2 images as its ramdisk"), "{two}");
    let unknown = with(|root| image(root, "kernel-1").set_string("compression", "zip"));
    assert!(unknown.contains("unknown compression \"zip\""), "{unknown}");
    let tree = with(|root| image(root, "fdt-1").set_string("compression", "gzip"));
    assert!(
        tree.starts_with("image (image \"fdt-1\"): the gzip data is corrupt"),
        "{tree}"
    );
    let secret = with(|root| image(root, "kernel-1").children.push(Node::new("cipher")));
    assert!(secret.contains("is encrypted"), "{secret}");
}

#[test]
fn loadables_go_to_their_addresses() {
    let with = |load: u32| {
        kernel(fit(|root| {
            image(root, "fdt-1").set_cells("load", &[load]);
            let node = configurations(root)
                .child_mut("conf-2")
                .expect("it is there");
            node.set_string("loadables", "fdt-1");
            configurations(root).set_string("default", "conf-2");
        }))
    };
    let whole = with(0x20_0000).expect("the image is good");
    assert_eq!(whole.loadables[0].gpa, 0x20_0000);
    let error = with(0x1010).expect_err("over the kernel").to_string();
    assert!(error.contains("overlap in physical memory"), "{error}");
    let error = with(RAM - 4).expect_err("over the end").to_string();
    assert!(error.contains("but ram ends at"), "{error}");
}

fn with_loadables(names: &[u8], change: impl FnOnce(&mut Node)) -> Result<Kernel, LoadError> {
    kernel(fit(|root| {
        let node = configurations(root)
            .child_mut("conf-1")
            .expect("it is there");
        node.set("loadables", names.to_vec());
        change(root);
    }))
}

#[test]
fn what_is_used_otherwise_is_not_loaded_twice() {
    // As `mkimage -f auto` writes it.
    let kernel = with_loadables(b"kernel-1\0fdt-1\0ramdisk-1\0", |_| {}).expect("it is good");
    assert!(kernel.loadables.is_empty() && kernel.notes.is_empty());
}

#[test]
fn a_loadable_without_an_address_is_left_out_and_said_so() {
    let with = |load: Option<u32>| {
        with_loadables(b"more\0more\0", |root| {
            let mut more = Node::new("more");
            more.set("data", gzip(b"unpacked"));
            more.set_string("compression", "gzip");
            if let Some(load) = load {
                more.set_cells("load", &[load]);
            }
            let images = root.child_mut("images").expect("it is there");
            images.children.push(more);
        })
    };
    let kernel = with(None).expect("the image is good");
    assert!(kernel.loadables.is_empty());
    assert_eq!(
        kernel.warnings(true, &[]),
        ["image: loadable \"more\" of the FIT image has no load address and is left out"]
    );
    let kernel = with(Some(0x10_0000)).expect("the image is good");
    assert_eq!(kernel.loadables.len(), 1, "named twice, loaded once");
    assert_eq!(
        kernel.loadables[0].bytes,
        &b"unpacked"[..],
        "as U-Boot does"
    );
    let error = with(Some(0x1010)).expect_err("over the kernel").to_string();
    assert!(error.contains("overlap in physical memory"), "{error}");
}

#[test]
fn a_loadable_does_not_keep_memory_for_a_bss() {
    let kernel = with_loadables(b"fdt-2\0", |root| {
        let mut more = image(root, "fdt-1").clone();
        more.name = "fdt-2".to_owned();
        more.set_cells("load", &[RAM - 2 * MIB]);
        let images = root.child_mut("images").expect("it is there");
        images.children.push(more);
    });
    let mut kernel = kernel.expect("the image is good");
    (kernel.tree, kernel.linux) = (None, false);
    let placement = place(kernel, Some(MIB as usize), 4096, RAM).expect("there is room");
    let initrd = placement
        .segments
        .iter()
        .find(|segment| segment.what == "initrd");
    assert_eq!(initrd.expect("it has one").gpa, RAM - MIB);
}

#[test]
fn overlays_are_applied_to_the_first_tree() {
    let overlay = |target: &str| {
        let mut root = Node::new("");
        let mut fragment = Node::new("fragment@0");
        fragment.set_string("target-path", target);
        let mut content = Node::new("__overlay__");
        content.set_string("model", "changed by an overlay");
        fragment.children.push(content);
        root.children.push(fragment);
        let reservations = Vec::new();
        let tree = Tree {
            reservations,
            boot_cpuid: 0,
            root,
        };
        tree.to_blob().expect("small")
    };
    let with = |target: &str| {
        kernel(fit(|root| {
            let mut image = Node::new("overlay-1");
            image.set("data", overlay(target));
            let images = root.child_mut("images").expect("it is there");
            images.children.push(image);
            let node = configurations(root)
                .child_mut("conf-1")
                .expect("it is there");
            node.set("fdt", b"fdt-1\0overlay-1\0".to_vec());
        }))
    };
    let (name, tree) = with("/")
        .expect("the image is good")
        .tree
        .expect("it has one");
    let tree = dtb_from_bytes(&name, &tree).expect("ours").into_tree();
    assert_eq!(tree.root.strings("model"), ["changed by an overlay"]);
    let error = with("/nowhere").expect_err("no such node").to_string();
    assert_eq!(
        error,
        "image (device tree \"overlay-1\"): this overlay cannot be applied: the target of fragment@0 is not in the base tree; correct the overlay, or pass the base that it is for"
    );
}

/// A FIT image with loadables and an overlay.
pub(super) fn with_list() -> Vec<u8> {
    fit(|root| {
        let mut overlay = image(root, "fdt-1").clone();
        overlay.name = "fdt-2".to_owned();
        let mut more = Node::new("more");
        more.set("data", CODE.to_vec());
        more.set_cells("load", &[0x10_0000]);
        let images = root.child_mut("images").expect("it is there");
        images.children.extend([overlay, more]);
        let node = configurations(root)
            .child_mut("conf-1")
            .expect("it is there");
        node.set("loadables", b"kernel-1\0more\0".to_vec());
    })
}
