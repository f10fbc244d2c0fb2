//! Users' trees: what is refused, what is filled in, and that no bytes make the reader panic.

use ppckvm_fdt::blob::{BlobFault, Node};
use ppckvm_fdt::patch::PatchError;
use ppckvm_fdt::{Board, Patch, Tree, TreeOptions, UserTree, generate};
use proptest::prelude::*;

fn blob() -> Vec<u8> {
    generate(&Board::bamboo(), &TreeOptions::default()).expect("the defaults are valid")
}

/// Offsets of header fields.
const TOTAL_SIZE: usize = 4;
const STRUCTURE_START: usize = 8;
const STRINGS_START: usize = 12;
const RESERVATIONS_START: usize = 16;
const VERSION: usize = 20;
const LAST_COMPATIBLE: usize = 24;
const STRINGS_SIZE: usize = 32;
const STRUCTURE_SIZE: usize = 36;

fn with_word(mut blob: Vec<u8>, offset: usize, value: u32) -> Vec<u8> {
    blob[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
    blob
}

fn refusal(blob: &[u8]) -> (usize, BlobFault) {
    let error = Tree::parse(blob).expect_err("the blob is malformed");
    (error.offset, error.fault)
}

/// A blob of version 17 around the given structure block and strings.
fn around(structure: &[u32], strings: &[u8]) -> Vec<u8> {
    let structure: Vec<u8> = structure
        .iter()
        .flat_map(|word| word.to_be_bytes())
        .collect();
    let (start, size) = (56, structure.len());
    let total = start + size + strings.len();
    let header = [
        0xD00D_FEED,
        total,
        start,
        start + size,
        40,
        17,
        16,
        0,
        strings.len(),
        size,
    ];
    let mut blob: Vec<u8> = header
        .iter()
        .flat_map(|word| u32::try_from(*word).expect("small").to_be_bytes())
        .collect();
    blob.extend([0; 16]);
    blob.extend(structure);
    blob.extend(strings);
    blob
}

#[test]
fn what_is_no_blob_is_refused_with_offset_and_reason() {
    assert_eq!(refusal(b""), (0, BlobFault::NoHeader(0)));
    assert_eq!(refusal(&blob()[..39]), (0, BlobFault::NoHeader(39)));
    assert_eq!(
        refusal(&with_word(blob(), 0, 0xEDFE_0DD0)),
        (0, BlobFault::Magic(0xEDFE_0DD0))
    );
    let length = blob().len();
    let fault = BlobFault::TotalSize {
        claimed: length,
        actual: length - 1,
    };
    assert_eq!(refusal(&blob()[..length - 1]), (TOTAL_SIZE, fault));
    assert_eq!(refusal(&with_word(blob(), TOTAL_SIZE, 39)).0, TOTAL_SIZE);
    for (field, value) in [(VERSION, 15), (LAST_COMPATIBLE, 18)] {
        assert_eq!(refusal(&with_word(blob(), field, value)).0, VERSION);
    }
    let message = Tree::parse(&with_word(blob(), 0, 0))
        .expect_err("no magic")
        .to_string();
    assert_eq!(
        message,
        "offset 0x0: the first word is 0x00000000, not 0xd00dfeed; compile device tree source with 'dtc -O dtb'"
    );
}

#[test]
fn blocks_outside_the_blob_are_refused() {
    for (field, value, reported) in [
        (STRUCTURE_START, 0xFFFF_FFFC, STRUCTURE_START),
        (STRUCTURE_START, 57, STRUCTURE_START),
        (STRUCTURE_SIZE, 0xFFFF_FFFF, STRUCTURE_START),
        (STRINGS_START, 0xFFFF_FFFF, STRINGS_START),
        (STRINGS_SIZE, 0x7FFF_FFFF, STRINGS_START),
        (RESERVATIONS_START, 0xFFFF_FFF8, RESERVATIONS_START),
        (RESERVATIONS_START, 44, RESERVATIONS_START),
    ] {
        let (offset, fault) = refusal(&with_word(blob(), field, value));
        assert_eq!(offset, reported, "field {field:#x} = {value:#x}");
        assert!(matches!(fault, BlobFault::Block { .. }), "{fault:?}");
    }
}

#[test]
fn broken_structure_is_refused_where_it_breaks() {
    let cases: [(&[u32], usize, BlobFault); 12] = [
        (&[], 56, BlobFault::Ends("structure")),
        (&[1, 0], 64, BlobFault::Ends("structure")),
        (&[9], 56, BlobFault::Misplaced("end")),
        (&[2], 56, BlobFault::Misplaced("end-node")),
        (&[3, 0, 0], 56, BlobFault::Misplaced("property")),
        (&[1, 0, 9], 64, BlobFault::Misplaced("end")),
        (
            &[1, 0, 2, 1, 0, 2, 9],
            68,
            BlobFault::Misplaced("begin-node"),
        ),
        (&[1, 0, 7], 64, BlobFault::Token(7)),
        (&[1, 0, 3, 5, 0, 0], 76, BlobFault::Ends("structure")),
        (&[1, 0, 3, 0, 2, 2, 9], 64, BlobFault::NameOffset(2)),
        (
            &[1, 0, 1, 0x6120_6200, 2, 2, 9],
            64,
            BlobFault::Name("a b".into()),
        ),
        (&[1, 0, 1, 0, 2, 2, 9], 64, BlobFault::Name(String::new())),
    ];
    // Bytes after the end token do not matter.
    assert!(Tree::parse(&around(&[1, 0, 2, 9, 0xFFFF_FFFF], b"p\0")).is_ok());
    for (structure, offset, fault) in cases {
        let blob = around(structure, b"p\0");
        assert_eq!(refusal(&blob), (offset, fault), "{structure:x?}");
    }
    let after_child = [1, 0, 1, 0x6100_0000, 2, 3, 0, 0, 2, 9];
    assert_eq!(
        refusal(&around(&after_child, b"p\0")).1,
        BlobFault::Misplaced("property")
    );
    assert_eq!(
        refusal(&around(&[1, 0, 3, 0, 0, 2, 9], b"p")).1,
        BlobFault::Ends("strings")
    );
}

#[test]
fn depth_and_names_are_bounded() {
    let nested = |depth: usize| {
        let mut structure = vec![1, 0];
        structure.extend([1, 0x6100_0000].repeat(depth - 1));
        structure.extend(vec![2; depth]);
        structure.push(9);
        around(&structure, b"")
    };
    assert!(Tree::parse(&nested(64)).is_ok());
    assert_eq!(refusal(&nested(65)).1, BlobFault::Depth);

    let property = [1, 0, 3, 0, 0, 2, 9];
    let name = |length: usize| [vec![b'n'; length], vec![0]].concat();
    assert!(Tree::parse(&around(&property, &name(255))).is_ok());
    assert_eq!(
        refusal(&around(&property, &name(256))).1,
        BlobFault::NameLength
    );
}

#[test]
fn version_16_needs_no_structure_size() {
    let blob = with_word(with_word(blob(), VERSION, 16), STRUCTURE_SIZE, 0xFFFF_FFFF);
    assert_eq!(Tree::parse(&blob), Tree::parse(&self::blob()));
}

#[test]
fn bytes_after_the_blob_are_ignored() {
    let padded = [blob(), vec![0xAA; 100]].concat();
    assert_eq!(Tree::parse(&padded), Tree::parse(&blob()));
}

fn patch() -> Patch<'static> {
    Patch {
        memory_bytes: 64 << 20,
        bootargs: Some("quiet"),
        initrd: Some((0x3000000, 0x3001000)),
        clocks: None,
    }
}

fn user(change: impl FnOnce(&mut Node)) -> UserTree {
    let mut tree = Tree::parse(&blob()).expect("the blob is well formed");
    change(&mut tree.root);
    UserTree::parse(&tree.to_blob().expect("small")).expect("we write blobs")
}

fn patched(user: &UserTree, patch: &Patch<'_>) -> Tree {
    Tree::parse(&user.patched(patch).expect("it can be filled in")).expect("we write blobs")
}

#[test]
fn filling_in_changes_nothing_else() {
    let user = user(|root| root.set("vendor,own", b"\x01\x02\x03".to_vec()));
    let mut expected = user.tree().clone();
    let memory = expected.root.child_mut("memory").expect("there is one");
    memory.set_cells("reg", &[0, 0, 64 << 20]);
    let chosen = expected.root.child_mut("chosen").expect("there is one");
    chosen.set_string("bootargs", "quiet");
    chosen.set_cells("linux,initrd-start", &[0x3000000]);
    chosen.set_cells("linux,initrd-end", &[0x3001000]);
    assert_eq!(patched(&user, &patch()), expected);
}

#[test]
fn bootargs_of_the_tree_stay_where_none_are_given() {
    let own = |root: &mut Node| {
        let chosen = root.child_mut("chosen").expect("there is one");
        chosen.set_string("bootargs", "its own");
        chosen.set_cells("linux,initrd-start", &[1]);
        chosen.set_cells("linux,initrd-end", &[2]);
    };
    let tree = patched(
        &user(own),
        &Patch {
            bootargs: None,
            initrd: None,
            ..patch()
        },
    );
    let chosen = tree.node("/chosen").expect("there is one");
    assert_eq!(chosen.strings("bootargs"), ["its own"]);
    assert_eq!(
        chosen.property("linux,initrd-start"),
        None,
        "a stale initrd is forgotten"
    );
    assert_eq!(chosen.property("linux,initrd-end"), None);
}

#[test]
fn nodes_that_are_missing_are_made() {
    let bare = user(|root| root.children.clear());
    let tree = patched(&bare, &patch());
    let memory = tree.node("/memory").expect("it was made");
    assert_eq!(memory.strings("device_type"), ["memory"]);
    assert_eq!(memory.cells("reg"), Some(vec![0, 0, 64 << 20]));
    assert_eq!(
        tree.node("/chosen")
            .expect("it was made")
            .strings("bootargs"),
        ["quiet"]
    );
}

#[test]
fn memory_follows_the_root_cells() {
    let wide = user(|root| {
        root.set_cells("#size-cells", &[2]);
        root.child_mut("memory").expect("there is one").name = "memory@0".into();
    });
    let tree = patched(&wide, &patch());
    let memory = tree.node("/memory@0").expect("its name stays");
    assert_eq!(memory.cells("reg"), Some(vec![0, 0, 0, 64 << 20]));

    let odd = user(|root| root.set_cells("#address-cells", &[3]));
    let error = odd.patched(&patch()).expect_err("three cells are too many");
    assert_eq!(
        error,
        PatchError::CellCount {
            property: "#address-cells",
            value: 3
        }
    );

    let twice = user(|root| root.children.push(Node::new("memory@10000000")));
    let error = twice.patched(&patch()).expect_err("two nodes");
    assert!(matches!(error, PatchError::MemoryNodes { .. }), "{error}");
    let nul = Patch {
        bootargs: Some("\0"),
        ..patch()
    };
    assert_eq!(user(|_| ()).patched(&nul), Err(PatchError::Bootargs(0)));
}

#[test]
fn clocks_left_open_are_filled_in_and_others_stay() {
    let zeros = user(|root| {
        let plb = root.child_mut("plb").expect("there is one");
        plb.set_cells("clock-frequency", &[0]);
        let opb = plb.child_mut("opb").expect("there is one");
        opb.set_cells("clock-frequency", &[0]);
        opb.child_mut("ebc")
            .expect("there is one")
            .set_cells("clock-frequency", &[0]);
        let uart = opb.child_mut("serial@ef600300").expect("there is one");
        uart.set_cells("clock-frequency", &[0]);
        let uart = opb.child_mut("serial@ef600400").expect("there is one");
        uart.set_cells("clock-frequency", &[1_843_200]);
        let cpus = root.child_mut("cpus").expect("there is one");
        let cpu = cpus.child_mut("cpu@0").expect("there is one");
        cpu.set_cells("timebase-frequency", &[25_000_000]);
    });
    let clocks = Board::bamboo().clocks;
    let tree = patched(
        &zeros,
        &Patch {
            clocks: Some(&clocks),
            ..patch()
        },
    );
    let clock = |path: &str, name: &str| tree.node(path).and_then(|node| node.cell(name));
    assert_eq!(clock("/plb", "clock-frequency"), Some(133_333_332));
    assert_eq!(clock("/plb/opb", "clock-frequency"), Some(66_666_666));
    assert_eq!(clock("/plb/opb/ebc", "clock-frequency"), Some(66_666_666));
    assert_eq!(
        clock("/plb/opb/serial@ef600300", "clock-frequency"),
        Some(11_059_200)
    );
    assert_eq!(
        clock("/plb/opb/serial@ef600400", "clock-frequency"),
        Some(1_843_200)
    );
    assert_eq!(
        clock("/cpus/cpu@0", "timebase-frequency"),
        Some(533_333_328)
    );

    let untouched = patched(&zeros, &patch());
    assert_eq!(
        untouched
            .node("/plb")
            .and_then(|node| node.cell("clock-frequency")),
        Some(0)
    );
}

#[test]
fn the_board_and_a_fit_can_be_told_apart() {
    let user = self::user(|root| {
        root.set("compatible", b"other,board\0ibm,other\0".to_vec());
    });
    assert_eq!(user.compatible(), ["other,board", "ibm,other"]);
    assert!(!user.is_fit());
    assert!(self::user(|root| root.children.push(Node::new("images"))).is_fit());
    assert!(
        self::user(|root| root.remove("compatible"))
            .compatible()
            .is_empty()
    );
}

/// Trees of names and values that the format can hold.
fn any_node() -> impl Strategy<Value = Node> {
    let property = (
        "[a-z#,?@*._+-]{1,12}",
        proptest::collection::vec(any::<u8>(), 0..20),
    );
    let properties = proptest::collection::vec(property, 0..4);
    let leaf = ("[a-z][a-z0-9@]{0,9}", properties.clone()).prop_map(|(name, properties)| {
        let mut node = Node::new(&name);
        for (name, value) in properties {
            node.set(&name, value);
        }
        node
    });
    leaf.prop_recursive(4, 24, 4, move |inner| {
        (
            "[a-z][a-z0-9@]{0,9}",
            properties.clone(),
            proptest::collection::vec(inner, 0..4),
        )
            .prop_map(|(name, properties, children)| {
                let mut node = Node::new(&name);
                for (name, value) in properties {
                    node.set(&name, value);
                }
                node.children = children;
                node
            })
    })
}

/// What follows a successful parse must not fail or panic either.
fn use_it(bytes: &[u8]) {
    if let Ok(user) = UserTree::parse(bytes) {
        let clocks = Board::bamboo().clocks;
        let _text = user.tree().to_dts();
        let patched = user.patched(&Patch {
            clocks: Some(&clocks),
            ..patch()
        });
        if let Ok(blob) = patched {
            Tree::parse(&blob).expect("we write blobs");
        }
    }
}

proptest! {
    #[test]
    fn any_tree_survives_writing_and_reading(mut root in any_node()) {
        root.name.clear();
        let tree = Tree { reservations: Vec::new(), boot_cpuid: 3, root };
        let blob = tree.to_blob().expect("small");
        prop_assert_eq!(Tree::parse(&blob).expect("we write blobs"), tree);
    }

    #[test]
    fn mutated_blobs_never_panic(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        keep in any::<proptest::sample::Index>(),
        truncate in proptest::bool::weighted(0.2),
    ) {
        let mut bytes = blob();
        for (index, value) in changes {
            let position = index.index(bytes.len());
            bytes[position] = value;
        }
        if truncate {
            let length = keep.index(bytes.len());
            bytes.truncate(length);
            if length >= 8 {
                bytes = with_word(bytes, TOTAL_SIZE, u32::try_from(length).expect("small"));
            }
        }
        use_it(&bytes);
    }

    #[test]
    fn mutated_words_never_panic(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), 0u32..0x200), 1..6),
    ) {
        let mut bytes = blob();
        for (index, value) in changes {
            let position = index.index(bytes.len() / 4) * 4;
            bytes = with_word(bytes, position, value);
        }
        use_it(&bytes);
    }

    #[test]
    fn random_structures_never_panic(
        structure in proptest::collection::vec(prop_oneof![0u32..10, any::<u32>()], 0..64),
        strings in proptest::collection::vec(any::<u8>(), 0..16),
    ) {
        use_it(&around(&structure, &strings));
    }
}
