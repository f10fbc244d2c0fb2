//! The generated tree against dtc, and value by value against the board's documentation.
//!
//! Needs `dtc` from Debian's package device-tree-compiler.

use ppckvm_fdt::blob::{Node, Reservation};
use ppckvm_fdt::{Board, Tree, TreeOptions, generate};
use std::io::Write;
use std::process::{Command, Stdio};

/// What dtc 1.6.1 says of Linux 6.1's own source for the board, in both directions: wrappers and
/// bus code look for nodes of exactly these names, so they have no unit addresses.
const WARNINGS_OF_LINUX: [(&str, &str); 2] = [
    ("unit_address_vs_reg", "/memory"),
    ("unit_address_vs_reg", "/plb/opb"),
];

/// Runs dtc over `input` and gives its output and its messages.
fn dtc(from: &str, to: &str, input: &[u8]) -> (Vec<u8>, String) {
    let mut child = Command::new("dtc")
        .args(["-I", from, "-O", to, "-o", "-", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("dtc runs (install Debian's package device-tree-compiler)");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("dtc ends");
    feeder
        .join()
        .expect("the feeder does not panic")
        .expect("dtc reads all its input");
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "dtc refuses the tree: {messages}");
    (output.stdout, messages)
}

fn everything() -> TreeOptions {
    TreeOptions {
        memory_bytes: 512 << 20,
        bootargs: "console=ttyS0 root=\"x\\y\"".into(),
        initrd: Some((0x0100_0000, 0x0123_4567)),
        stdout: 1,
        virtio: (0..10).collect(),
        poweroff: true,
        pci: true,
        iic: true,
        gpio: true,
        pvpanic: true,
        ethernet: Some([[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]]),
        usb: true,
        extra_nodes: Vec::new(),
    }
}

fn blob(options: &TreeOptions) -> Vec<u8> {
    generate(&Board::bamboo(), options).expect("the options are valid")
}

fn tree(options: &TreeOptions) -> Tree {
    Tree::parse(&blob(options)).expect("the blob is well formed")
}

fn node<'a>(tree: &'a Tree, path: &str) -> &'a Node {
    tree.node(path)
        .unwrap_or_else(|| panic!("{path} is missing"))
}

fn assert_no_new_warning(messages: &str) {
    for message in messages.lines() {
        let known = WARNINGS_OF_LINUX
            .iter()
            .any(|(kind, path)| message.contains(&format!("Warning ({kind}): {path}: ")));
        assert!(known, "{message}");
    }
}

#[test]
fn dtc_says_nothing_that_it_does_not_say_of_linux_own_tree() {
    for options in [TreeOptions::default(), everything()] {
        let blob = blob(&options);
        assert_no_new_warning(&dtc("dtb", "dts", &blob).1);
        let source = Tree::parse(&blob).expect("well formed").to_dts();
        assert_no_new_warning(&dtc("dts", "dtb", source.as_bytes()).1);
    }
}

#[test]
fn the_source_text_compiles_back_to_the_same_tree() {
    for options in [TreeOptions::default(), everything()] {
        let tree = tree(&options);
        let compiled = dtc("dts", "dtb", tree.to_dts().as_bytes()).0;
        assert_eq!(Tree::parse(&compiled).expect("dtc writes blobs"), tree);
    }
}

#[test]
fn values_of_every_form_survive_the_source_text() {
    let mut tree = tree(&TreeOptions::default());
    tree.reservations = vec![
        Reservation {
            address: 0x1000,
            size: 0x2000,
        },
        Reservation {
            address: 0x1_0000_0000,
            size: u64::MAX / 2,
        },
    ];
    let values: [&[u8]; 12] = [
        b"",
        b"\0",
        b"\0\0\0\0",
        b"plain\0",
        b"two\0strings\0",
        b"an empty one\0\0between\0",
        b"\\back \"quote\" \x07\x08\t\n\x0b\x0c\r0 \x1f\0",
        b"tab\tand bell\x07before 0f digits\0",
        b"no end",
        b"\xff\xfe\xfd",
        b"\x80\x00\x00\x01\x7f\xff\xff\xff",
        b"latin \xe9\0",
    ];
    for (index, value) in values.iter().enumerate() {
        tree.root
            .set(&format!("test,form-{index}#?"), value.to_vec());
    }
    let (compiled, messages) = dtc("dts", "dtb", tree.to_dts().as_bytes());
    assert_no_new_warning(&messages);
    assert_eq!(Tree::parse(&compiled).expect("dtc writes blobs"), tree);
    let rewritten = tree.to_blob().expect("small");
    assert_eq!(Tree::parse(&rewritten).expect("we write blobs"), tree);
    assert_no_new_warning(&dtc("dtb", "dts", &rewritten).1);
}

#[test]
fn the_core_is_a_440ep_with_clocks_and_dcrs() {
    let tree = tree(&TreeOptions::default());
    assert_eq!(tree.root.strings("compatible"), ["amcc,bamboo"]);
    assert_eq!(
        (
            tree.root.cell("#address-cells"),
            tree.root.cell("#size-cells")
        ),
        (Some(2), Some(1))
    );
    let cpu = node(&tree, "/cpus/cpu@0");
    assert_eq!(cpu.strings("model"), ["PowerPC,440EP"]);
    assert_eq!(cpu.cell("clock-frequency"), Some(533_333_328));
    assert_eq!(cpu.cell("timebase-frequency"), Some(533_333_328));
    assert_eq!(cpu.cell("d-cache-line-size"), Some(32));
    assert_eq!(cpu.cell("i-cache-size"), Some(32768));
    assert_eq!(cpu.property("dcr-controller"), Some(&[][..]));
    assert_eq!(cpu.strings("dcr-access-method"), ["native"]);
    assert_eq!(tree.root.cell("dcr-parent"), cpu.cell("phandle"));
}

#[test]
fn dcr_units_stand_at_their_numbers() {
    let tree = tree(&everything());
    for (path, base, count) in [
        ("/interrupt-controller0", 0x0C0, 9),
        ("/interrupt-controller1", 0x0D0, 9),
        ("/sdr", 0x00E, 2),
        ("/cpr", 0x00C, 2),
        ("/plb/sdram", 0x010, 2),
        ("/plb/dma", 0x100, 0x27),
        ("/plb/mcmal", 0x180, 0x62),
        ("/plb/opb/ebc", 0x012, 2),
    ] {
        assert_eq!(
            node(&tree, path).cells("dcr-reg"),
            Some(vec![base, count]),
            "{path}"
        );
    }
}

#[test]
fn interrupts_go_to_their_controllers() {
    let tree = tree(&everything());
    let uic = [0, 1].map(|n| node(&tree, &format!("/interrupt-controller{n}")).cell("phandle"));
    for (path, controller, specifier) in [
        ("/interrupt-controller1", 0, &[30, 4, 31, 4][..]),
        ("/plb/opb", 1, &[7, 4]),
        ("/plb/opb/ebc", 1, &[5, 1]),
        ("/plb/opb/serial@ef600300", 0, &[0, 4]),
        ("/plb/opb/serial@ef600400", 0, &[1, 4]),
        ("/plb/opb/serial@ef600500", 0, &[3, 4]),
        ("/plb/opb/serial@ef600600", 0, &[4, 4]),
        ("/plb/opb/i2c@ef600700", 0, &[2, 4]),
        ("/plb/opb/i2c@ef600800", 0, &[7, 4]),
        ("/plb/opb/ethernet@ef600e00", 1, &[28, 4, 29, 4]),
        ("/plb/opb/ethernet@ef600f00", 1, &[30, 4, 31, 4]),
        ("/plb/opb/usb@ef601000", 1, &[8, 1, 9, 1]),
        ("/plb/opb/virtio@ef700000", 0, &[15, 4]),
        ("/plb/opb/virtio@ef701200", 0, &[24, 4]),
    ] {
        let node = node(&tree, path);
        assert_eq!(
            node.cells("interrupts").as_deref(),
            Some(specifier),
            "{path}"
        );
        assert_eq!(node.cell("interrupt-parent"), uic[controller], "{path}");
    }
    let [uic0, uic1] = uic.map(|phandle| phandle.expect("controllers have phandles"));
    let mal = node(&tree, "/plb/mcmal");
    assert_eq!(
        mal.cells("interrupt-map"),
        Some(vec![
            0, uic0, 10, 4, 1, uic0, 11, 4, 2, uic1, 0, 4, 3, uic1, 1, 4, 4, uic1, 2, 4
        ])
    );
    assert_eq!(mal.cell("interrupt-parent"), mal.cell("phandle"));
    assert_eq!(
        node(&tree, "/interrupt-controller0").property("interrupts"),
        None
    );
}

#[test]
fn buses_and_ports_have_their_clocks_and_ranges() {
    let tree = tree(&TreeOptions::default());
    let clock = |path| node(&tree, path).cell("clock-frequency");
    assert_eq!(clock("/plb"), Some(133_333_332));
    assert_eq!(clock("/plb/opb"), Some(66_666_666));
    assert_eq!(clock("/plb/opb/ebc"), Some(66_666_666));
    for (base, speed) in [
        (0xEF60_0300, 115_200),
        (0xEF60_0400, 0),
        (0xEF60_0500, 0),
        (0xEF60_0600, 0),
    ] {
        let uart = node(&tree, &format!("/plb/opb/serial@{base:x}"));
        assert_eq!(uart.cells("reg"), Some(vec![base, 8]));
        assert_eq!(uart.cell("virtual-reg"), Some(base));
        assert_eq!(uart.cell("clock-frequency"), Some(11_059_200));
        assert_eq!(uart.cell("current-speed"), Some(speed));
        assert_eq!(uart.strings("compatible"), ["ns16550"]);
    }
    assert_eq!(node(&tree, "/plb").property("ranges"), Some(&[][..]));
    assert_eq!(
        node(&tree, "/plb/opb").cells("ranges"),
        Some(vec![
            0,
            0,
            0,
            0x8000_0000,
            0x8000_0000,
            0,
            0x8000_0000,
            0x8000_0000
        ])
    );
}

#[test]
fn the_pci_bridge_has_its_windows_and_slots() {
    let tree = tree(&TreeOptions::default());
    let pci = node(&tree, "/plb/pci@ec000000");
    assert_eq!(
        pci.cells("reg"),
        Some(vec![
            0,
            0xEEC0_0000,
            8,
            0,
            0xEED0_0000,
            4,
            0,
            0xEED0_0000,
            4,
            0,
            0xEF40_0000,
            0x40
        ])
    );
    assert_eq!(
        pci.cells("ranges"),
        Some(vec![
            0x0200_0000,
            0,
            0xA000_0000,
            0,
            0xA000_0000,
            0,
            0x2000_0000, //
            0x0200_0000,
            0,
            0,
            0,
            0xE000_0000,
            0,
            0x0010_0000, //
            0x0100_0000,
            0,
            0,
            0,
            0xE800_0000,
            0,
            0x0001_0000,
        ])
    );
    assert_eq!(
        pci.cells("dma-ranges"),
        Some(vec![0x4200_0000, 0, 0, 0, 0, 0, 0x8000_0000])
    );
    assert_eq!(pci.cells("interrupt-map-mask"), Some(vec![0xF800, 0, 0, 0]));
    let uic0 = node(&tree, "/interrupt-controller0")
        .cell("phandle")
        .expect("UIC0 has a phandle");
    let slot = |device: u32, input| vec![device << 11, 0, 0, 0, uic0, input, 8];
    let map = [slot(1, 28), slot(2, 27), slot(3, 26), slot(4, 25)].concat();
    assert_eq!(pci.cells("interrupt-map"), Some(map));
    let without = TreeOptions {
        pci: false,
        ..TreeOptions::default()
    };
    assert!(self::tree(&without).node("/plb/pci@ec000000").is_none());
}

#[test]
fn only_hardware_that_the_machine_has_is_described() {
    let tree = tree(&TreeOptions::default());
    let opb = node(&tree, "/plb/opb");
    let names: Vec<&str> = opb
        .children
        .iter()
        .map(|child| child.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "ebc",
            "serial@ef600300",
            "serial@ef600400",
            "serial@ef600500",
            "serial@ef600600",
            "i2c@ef600700",
            "i2c@ef600800",
            "gpio@ef600b00",
            "gpio@ef600c00",
            "pvpanic@ef7fe000",
            "syscon@ef7ff000",
            "poweroff"
        ]
    );
    assert!(tree.node("/plb/mcmal").is_none());
    let aliases = node(&tree, "/aliases");
    assert_eq!(aliases.properties.len(), 4);
    assert_eq!(aliases.strings("serial2"), ["/plb/opb/serial@ef600500"]);
}

#[test]
fn the_clock_chip_is_on_the_first_iic_bus() {
    let tree = tree(&TreeOptions::default());
    let rtc = node(&tree, "/plb/opb/i2c@ef600700/rtc@68");
    assert_eq!(rtc.strings("compatible"), ["dallas,ds1307"]);
    assert_eq!(rtc.cell("reg"), Some(0x68));
    let bus = node(&tree, "/plb/opb/i2c@ef600700");
    assert_eq!(bus.cell("#address-cells"), Some(1));
    assert_eq!(bus.cell("#size-cells"), Some(0));
    assert!(
        node(&tree, "/plb/opb/i2c@ef600800").children.is_empty(),
        "nothing is on the second"
    );
}

#[test]
fn gpio_and_panic_reports_are_there_unless_they_are_switched_off() {
    let with = tree(&TreeOptions::default());
    for (path, base, size, compatible) in [
        ("gpio@ef600b00", 0xEF60_0B00, 0x48, "ibm,ppc4xx-gpio"),
        ("gpio@ef600c00", 0xEF60_0C00, 0x48, "ibm,ppc4xx-gpio"),
        ("pvpanic@ef7fe000", 0xEF7F_E000, 2, "qemu,pvpanic-mmio"),
    ] {
        let node = node(&with, &format!("/plb/opb/{path}"));
        assert_eq!(node.cells("reg"), Some(vec![base, size]), "{path}");
        assert_eq!(node.strings("compatible"), [compatible], "{path}");
    }
    let without = tree(&TreeOptions {
        iic: false,
        gpio: false,
        pvpanic: false,
        ..TreeOptions::default()
    });
    let rest = node(&without, "/plb/opb").children.len();
    assert_eq!(node(&with, "/plb/opb").children.len(), rest + 5);
}

#[test]
fn power_off_writes_big_endian_to_the_page() {
    let tree = tree(&TreeOptions::default());
    let syscon = node(&tree, "/plb/opb/syscon@ef7ff000");
    assert_eq!(syscon.cells("reg"), Some(vec![0xEF7F_F000, 0x1000]));
    assert!(syscon.property("big-endian").is_some());
    let poweroff = node(&tree, "/plb/opb/poweroff");
    assert_eq!(poweroff.strings("compatible"), ["syscon-poweroff"]);
    assert_eq!(poweroff.cell("regmap"), syscon.cell("phandle"));
    assert_eq!(
        (poweroff.cell("offset"), poweroff.cell("value")),
        (Some(0), Some(0x5555))
    );
    let without = TreeOptions {
        poweroff: false,
        ..TreeOptions::default()
    };
    assert!(self::tree(&without).node("/plb/opb/poweroff").is_none());
}

#[test]
fn chosen_and_memory_follow_the_options() {
    let plain = tree(&TreeOptions::default());
    assert_eq!(
        node(&plain, "/memory").cells("reg"),
        Some(vec![0, 0, 0x1000_0000])
    );
    let chosen = node(&plain, "/chosen");
    assert_eq!(chosen.strings("stdout-path"), ["/plb/opb/serial@ef600300"]);
    assert_eq!(
        chosen.property("stdout-path"),
        chosen.property("linux,stdout-path")
    );
    assert_eq!(chosen.properties.len(), 2, "neither bootargs nor initrd");

    let full = tree(&everything());
    assert_eq!(
        node(&full, "/memory").cells("reg"),
        Some(vec![0, 0, 0x2000_0000])
    );
    let chosen = node(&full, "/chosen");
    assert_eq!(chosen.strings("stdout-path"), ["/plb/opb/serial@ef600400"]);
    assert_eq!(chosen.strings("bootargs"), ["console=ttyS0 root=\"x\\y\""]);
    assert_eq!(chosen.cell("linux,initrd-start"), Some(0x0100_0000));
    assert_eq!(chosen.cell("linux,initrd-end"), Some(0x0123_4567));
    assert_eq!(
        node(&full, "/plb/opb/ethernet@ef600f00").property("local-mac-address"),
        Some(&[2, 0, 0, 0, 0, 2][..])
    );
}

#[test]
fn virtio_nodes_stand_by_address_in_any_order_of_options() {
    let options = TreeOptions {
        virtio: vec![3, 0],
        ..TreeOptions::default()
    };
    let tree = tree(&options);
    let opb = node(&tree, "/plb/opb");
    let windows: Vec<_> = opb
        .children
        .iter()
        .filter(|child| child.strings("compatible") == ["virtio,mmio"])
        .map(|child| child.cells("reg").expect("virtio nodes have windows"))
        .collect();
    assert_eq!(windows, [[0xEF70_0000, 0x200], [0xEF70_0600, 0x200]]);
}

#[test]
fn options_that_the_board_cannot_have_are_refused() {
    let refusal = |options: TreeOptions| {
        generate(&Board::bamboo(), &options)
            .expect_err("the options are invalid")
            .to_string()
    };
    let base = TreeOptions::default;
    assert_eq!(
        refusal(TreeOptions {
            virtio: vec![10],
            ..base()
        }),
        "virtio slot 10 is used twice or does not exist; the board has slots 0 to 9"
    );
    assert!(
        refusal(TreeOptions {
            virtio: vec![2, 2],
            ..base()
        })
        .contains("slot 2 is used twice")
    );
    assert!(
        refusal(TreeOptions {
            stdout: 4,
            ..base()
        })
        .contains("uart 4")
    );
    assert!(
        refusal(TreeOptions {
            bootargs: "a\0b".into(),
            ..base()
        })
        .contains("NUL byte at 1")
    );
    let initrd = Some((0x0FFF_F000, 0x1000_0001));
    assert!(refusal(TreeOptions { initrd, ..base() }).contains("is not inside"));
}
