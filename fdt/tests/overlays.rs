//! Overlays, applied here and by `fdtoverlay`, which U-Boot shares its code with.
//!
//! Needs `dtc` and `fdtoverlay` from Debian's package device-tree-compiler.

use ppckvm_fdt::Tree;
use ppckvm_fdt::blob::{Node, Property};
use ppckvm_fdt::overlay::OverlayError;
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use std::process::Command;

const BASE: &str = r#"/dts-v1/;
/ {
    #address-cells = <1>;
    #size-cells = <1>;
    compatible = "amcc,bamboo";
    aliases { bus = "/plb/opb"; };
    uic: interrupt-controller { #interrupt-cells = <2>; };
    plb {
        opb: opb {
            serial0: serial@ef600300 {
                reg = <0xef600300 8>;
                interrupt-parent = <&uic>;
                interrupts = <0 4>;
            };
        };
    };
    chosen { bootargs = "quiet"; };
};
"#;

/// By label, by path, new nodes, changed properties, phandles of the overlay's own in an unaligned
/// place, and a node with a phandle that the base has too.
const OVERLAY: &str = r#"/dts-v1/;
/plugin/;
&opb {
    gpio: gpio@ef600b00 {
        reg = <0xef600b00 0x48>;
        interrupt-parent = <&uic>;
        #gpio-cells = <2>;
    };
    leds {
        odd = [01], <&gpio>, "text";
        led { gpios = <&gpio 3 0 &gpio 4 1>; label = "x"; };
    };
};
&serial0 { current-speed = <115200>; partner = <&gpio>; };
/ {
    fragment@9 {
        target-path = "/chosen";
        __overlay__ { bootargs = "loud"; };
    };
};
"#;

/// Uses a label of the first overlay.
const SECOND: &str = r#"/dts-v1/;
/plugin/;
&gpio { status = "disabled"; uses = <&serial0 &uic>; };
"#;

fn compile(folder: &Path, name: &str, source: &str) -> Vec<u8> {
    let (from, to) = (
        folder.join(format!("{name}.dts")),
        folder.join(format!("{name}.dtb")),
    );
    fs::write(&from, source).expect("the folder is writable");
    let status = Command::new("dtc")
        .args(["-@", "-q", "-I", "dts", "-O", "dtb", "-o"])
        .args([&to, &from])
        .status();
    let status = status.expect("dtc runs (install Debian's package device-tree-compiler)");
    assert!(status.success(), "{name}");
    fs::read(to).expect("dtc wrote it")
}

/// A tree with its nodes and properties in order of their names: their order says nothing.
fn sorted(mut tree: Tree) -> Tree {
    fn sort(node: &mut Node) {
        node.properties.sort_by(|a, b| a.name.cmp(&b.name));
        node.children.sort_by(|a, b| a.name.cmp(&b.name));
        node.children.iter_mut().for_each(sort);
    }
    sort(&mut tree.root);
    tree
}

fn applied(overlays: &[Vec<u8>], base: &[u8]) -> Result<Tree, OverlayError> {
    let parse = |blob: &[u8]| Tree::parse(blob).expect("dtc writes good blobs");
    let mut tree = parse(base);
    for overlay in overlays {
        tree.apply(&parse(overlay))?;
    }
    Ok(tree)
}

#[test]
fn overlays_are_applied_as_fdtoverlay_does() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let base = compile(folder.path(), "base", BASE);
    let overlays = [
        compile(folder.path(), "first", OVERLAY),
        compile(folder.path(), "second", SECOND),
    ];
    let output = folder.path().join("output.dtb");
    let paths = ["base", "first", "second"].map(|name| folder.path().join(format!("{name}.dtb")));
    for count in 1..=overlays.len() {
        let status = Command::new("fdtoverlay")
            .arg("-i")
            .arg(&paths[0])
            .arg("-o")
            .arg(&output)
            .args(&paths[1..=count])
            .status();
        assert!(status.expect("fdtoverlay runs").success());
        let theirs = fs::read(&output).expect("fdtoverlay wrote it");
        let theirs = sorted(Tree::parse(&theirs).expect("it is well formed"));
        let ours = sorted(applied(&overlays[..count], &base).expect("they fit"));
        assert_eq!(ours.root, theirs.root, "{count} overlays");
    }
}

#[test]
fn an_overlay_that_does_not_fit_is_refused_with_the_label() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let base = compile(folder.path(), "base", BASE);
    let second = [compile(folder.path(), "second", SECOND)];
    let error = applied(&second, &base).expect_err("the first is missing");
    assert_eq!(error, OverlayError::Label("gpio".into()));
    let mut plain = Tree::parse(&base).expect("it is well formed");
    plain
        .root
        .children
        .retain(|node| node.name != "__symbols__");
    let plain = plain.to_blob().expect("small");
    let error = applied(&second, &plain).expect_err("it has no symbols");
    assert!(matches!(error, OverlayError::NoSymbols(_)), "{error}");
    let error = applied(std::slice::from_ref(&base), &base).expect_err("it is no overlay");
    assert_eq!(error, OverlayError::Empty);
}

fn count(node: &Node) -> usize {
    1 + node.children.iter().map(count).sum::<usize>()
}

fn nth<'a>(node: &'a mut Node, index: &mut usize) -> Option<&'a mut Node> {
    if *index == 0 {
        return Some(node);
    }
    *index -= 1;
    node.children.iter_mut().find_map(|child| nth(child, index))
}

proptest! {
    #[test]
    fn mutated_overlays_never_panic(
        changes in proptest::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0u8..4),
            1..6,
        ),
    ) {
        thread_local! {
            static BLOBS: [Vec<u8>; 2] = {
                let folder = tempfile::tempdir().expect("a temporary folder");
                [("base", BASE), ("first", OVERLAY)]
                    .map(|(name, source)| compile(folder.path(), name, source))
            };
        }
        let [base, overlay] = BLOBS.with(Clone::clone);
        let mut tree = Tree::parse(&base).expect("it is well formed");
        let mut overlay = Tree::parse(&overlay).expect("it is well formed");
        for (node, property, value, kind) in changes {
            let mut index = node.index(count(&overlay.root));
            let node = nth(&mut overlay.root, &mut index).expect("it was counted");
            let length = node.properties.len();
            match kind {
                0 if length > 0 => {
                    let bytes = &mut node.properties[property.index(length)].value;
                    let at = property.index(bytes.len().max(1));
                    if let Some(byte) = bytes.get_mut(at) { *byte = value; }
                }
                1 if length > 0 => { node.properties.remove(property.index(length)); }
                2 if !node.children.is_empty() => {
                    let at = property.index(node.children.len());
                    node.children.remove(at);
                }
                _ => node.properties.push(Property {
                    name: "phandle".into(),
                    value: u32::from(value).wrapping_neg().to_be_bytes().to_vec(),
                }),
            }
        }
        let _ = tree.apply(&overlay);
    }
}
