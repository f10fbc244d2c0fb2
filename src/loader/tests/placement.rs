//! Where things go.

use super::*;

fn flat(gpa: u32, size: u32, slack: u32) -> Kernel {
    let segment = Segment {
        gpa,
        bytes: Bytes::new(),
        what: "kernel",
        size,
    };
    let kernel = Kernel::new("kernel".as_ref(), "test".into(), vec![segment], gpa);
    Kernel { slack, ..kernel }
}

#[test]
fn initrd_goes_to_the_top_and_the_tree_just_below() {
    let placement = place(flat(0, 8 * MIB, 0), Some(10_000), 5001, RAM).expect("there is room");
    let [_, initrd, fdt] = &placement.segments[..] else {
        panic!("three parts")
    };
    assert_eq!(initrd.gpa, RAM - 3 * 4096);
    assert_eq!(fdt.gpa, (initrd.gpa - 5001) / 8 * 8);
    let registers = BootRegisters {
        pc: 0,
        r1: 16 * MIB - 8,
        r3: fdt.gpa,
        r6: 0x4550_4150,
        r7: RAM,
        ..BootRegisters::default()
    };
    assert_eq!(placement.registers, registers);
}

#[test]
fn without_an_initrd_the_tree_is_at_the_top() {
    let placement = place(flat(0x40_0000, 100, 0), None, 4096, RAM).expect("there is room");
    assert_eq!(placement.registers.r3, RAM - 4096);
    assert_eq!(placement.registers.pc, 0x40_0000);
}

#[test]
fn much_ram_does_not_move_things_out_of_reach() {
    let placement = place(flat(0, MIB, 0), Some(4096), 4096, 1024 * MIB).expect("there is room");
    assert_eq!(placement.segments[1].gpa, 512 * MIB - 4096);
    assert_eq!(placement.registers.r3, 256 * MIB - 4096);
    assert_eq!(placement.registers.r7, 256 * MIB);
    let large = place(flat(0, MIB, 0), Some(300 << 20), 4096, 1024 * MIB).expect("there is room");
    assert_eq!(large.segments[1].gpa, 212 * MIB);
    assert_eq!(large.registers.r3, 212 * MIB - 4096);
}

#[test]
fn a_kernel_at_the_top_pushes_the_rest_down() {
    let top = flat(RAM - MIB, MIB, 0);
    let placement = place(top, Some(4096), 8, RAM).expect("there is room below");
    assert_eq!(placement.segments[1].gpa, RAM - MIB - 4096);
    assert_eq!(placement.registers.r3, RAM - MIB - 4096 - 8);
}

#[test]
fn a_flat_kernel_keeps_room_for_its_bss() {
    let ram = 16 * MIB;
    let free = (ram - 10 * MIB) as usize;
    let with = |initrd| place(flat(0, 6 * MIB, 4 * MIB), Some(initrd), 4096, ram);
    assert!(with(free - 4096).is_ok());
    let error = with(free).expect_err("no room for the tree").to_string();
    assert_eq!(
        error,
        "kernel: no room for the 4096 bytes of the device tree below 0xa00000 in 16777216 bytes of ram: the kernel occupies 0x0 to 0x600000 and 4194304 bytes after it are kept for its bss, whose size only the vmlinux tells; give the guest more memory"
    );
    let error = with(free + 1).expect_err("no room").to_string();
    assert!(
        error.starts_with("disk: no room for the 6291457 bytes of the initrd below"),
        "{error}"
    );
    let error = with(ram as usize + 1)
        .expect_err("larger than ram")
        .to_string();
    assert!(error.starts_with("disk: no room"), "{error}");
    assert!(
        place(flat(0, 6 * MIB, 0), Some(free + 1), 4096, ram).is_ok(),
        "an elf file knows"
    );
}

fn firmware<'a>(board: &'a ppckvm_fdt::Board, bootargs: Option<&'a str>) -> Firmware<'a> {
    Firmware { board, bootargs }
}

fn wrapper(start: Start) -> Kernel {
    Kernel {
        start,
        unpacks_to: 6 * MIB,
        ..flat(6 * MIB, 3 * MIB, MIB)
    }
}

#[test]
fn what_u_boot_leaves_is_in_the_last_mebibyte() {
    let board = &ppckvm_fdt::Board::bamboo();
    let initrd = Initrd {
        file: "disk".into(),
        bytes: vec![1; 5000].into(),
    };
    let plan = Plan::new(wrapper(Start::Uboot), Some(initrd), Told::default(), RAM)
        .expect("there is room");
    let placement = plan
        .finish_without_tree(&firmware(board, Some("quiet")), None)
        .expect("there is room");
    let [_, info, line, disk] = &placement.segments[..] else {
        panic!("four parts")
    };
    assert_eq!((info.gpa, info.size), (RAM - 128, 128));
    assert_eq!(line.bytes, &b"quiet\0"[..]);
    assert_eq!(disk.gpa, RAM - MIB - 2 * 4096);
    let expected = BootRegisters {
        pc: 6 * MIB,
        r1: line.gpa - 16,
        r3: info.gpa,
        r4: disk.gpa,
        r5: disk.gpa + 5000,
        r6: line.gpa,
        r7: line.gpa + 6,
    };
    assert_eq!(placement.registers, expected);
    assert!(expected.r1.is_multiple_of(16));
}

#[test]
fn without_a_command_line_the_registers_for_it_are_empty() {
    let board = &ppckvm_fdt::Board::bamboo();
    let plan = Plan::new(wrapper(Start::Uboot), None, Told::default(), RAM).expect("there is room");
    let placement = plan
        .finish_without_tree(&firmware(board, None), None)
        .expect("there is room");
    let r = placement.registers;
    assert_eq!((r.r4, r.r5, r.r6, r.r7), (0, 0, 0, 0));
    assert_eq!(placement.segments.len(), 2);
}

#[test]
fn nothing_lies_where_a_wrapper_unpacks_its_kernel() {
    let ram = 16 * MIB;
    let initrd = |size: u32| Initrd {
        file: "disk".into(),
        bytes: vec![1; size as usize].into(),
    };
    let kernel = wrapper(Start::Uboot);
    assert!(Plan::new(kernel.clone(), Some(initrd(5 * MIB)), Told::default(), ram).is_ok());
    let error =
        Plan::new(kernel, Some(initrd(5 * MIB + 1)), Told::default(), ram).expect_err("no room");
    assert!(
        error
            .to_string()
            .contains("no room for the 5242881 bytes of the initrd"),
        "{error}"
    );
}

#[test]
fn what_a_wrapper_cannot_take_is_refused() {
    let board = &ppckvm_fdt::Board::bamboo();
    let initrd = Initrd {
        file: "disk".into(),
        bytes: vec![1; 5000].into(),
    };
    let error = Plan::new(wrapper(Start::Nothing), Some(initrd), Told::default(), RAM)
        .expect_err("no way in");
    assert!(
        error
            .to_string()
            .starts_with("disk: the kernel kernel takes no initrd"),
        "{error}"
    );
    let plan =
        |start| Plan::new(wrapper(start), None, Told::default(), RAM).expect("there is room");
    let error = plan(Start::Nothing)
        .finish_without_tree(&firmware(board, Some("quiet")), None)
        .expect_err("no way in");
    assert!(
        error.to_string().contains("takes no command line"),
        "{error}"
    );
    let error = plan(Start::Uboot)
        .finish_without_tree(&firmware(board, None), Some("tree".as_ref()))
        .expect_err("no way in");
    assert!(
        error
            .to_string()
            .starts_with("tree: the kernel kernel has a device tree"),
        "{error}"
    );
    let placement = plan(Start::Nothing)
        .finish_without_tree(&firmware(board, None), None)
        .expect("nothing to place");
    assert_eq!(placement.segments.len(), 1);
    assert_eq!(placement.registers.r3, 0);
}

fn told(bootargs: &str, change: impl FnOnce(&mut ppckvm_fdt::Tree)) -> Told {
    let board = ppckvm_fdt::Board::bamboo();
    let blob = ppckvm_fdt::generate(&board, &Default::default()).expect("valid");
    let mut tree = ppckvm_fdt::Tree::parse(&blob).expect("well formed");
    change(&mut tree);
    let blob = tree.to_blob().expect("small");
    let tree = dtb_from_bytes("tree".as_ref(), &blob).expect("ours");
    Told {
        tree: Some(("tree".into(), tree)),
        bootargs: (!bootargs.is_empty()).then(|| bootargs.to_owned()),
    }
}

/// Where the initrd of 1 MiB and the tree go.
fn places(told: Told) -> Result<(u32, u32), LoadError> {
    let initrd = Initrd {
        file: "disk".into(),
        bytes: vec![1; MIB as usize].into(),
    };
    let plan = Plan::new(flat(0, 8 * MIB, 0), Some(initrd), told, RAM)?;
    let (start, _) = plan.initrd_range().expect("it has one");
    Ok((start, plan.finish(vec![2; 4096])?.registers.r3))
}

#[test]
fn nothing_is_placed_beyond_the_memory_that_the_kernel_is_told_to_use() {
    let at = |bootargs: &str| places(told(bootargs, |_| {})).expect("there is room");
    assert_eq!(at("mem=32M"), (31 * MIB, 31 * MIB - 4096));
    // 16 MiB and one byte: the kernel takes the whole page.
    assert_eq!(at("mem=16777217").0, 15 * MIB + 4096);
    assert_eq!(at("mem=128M"), (RAM - MIB, RAM - MIB - 4096));
    assert_eq!(at("mem=32M mem=0"), (RAM - MIB, RAM - MIB - 4096));
    let error = places(told("mem=8M", |_| {}))
        .expect_err("no room")
        .to_string();
    assert!(
        error.ends_with(
            ", mem= ends memory at 0x800000; leave more free there, or give the guest more memory"
        ),
        "{error}"
    );
    let error = places(told("mem=4M", |_| {}))
        .expect_err("no room")
        .to_string();
    assert_eq!(
        error,
        "kernel: mem= lets the kernel use memory up to 0x400000, but it occupies 0x0 to 0x800000; raise that limit, or leave it out"
    );
}

#[test]
fn a_limit_in_the_trees_own_command_line_counts_unless_there_is_another() {
    let tree = |tree: &mut ppckvm_fdt::Tree| {
        let chosen = tree.root.child_mut("chosen").expect("it is there");
        chosen.set_string("bootargs", "mem=32M");
    };
    let at = |bootargs| places(told(bootargs, tree)).expect("there is room").0;
    assert_eq!(at(""), 31 * MIB);
    assert_eq!(at("quiet"), RAM - MIB);
    let limit = |tree: &mut ppckvm_fdt::Tree| {
        let chosen = tree.root.child_mut("chosen").expect("it is there");
        chosen.set_cells("linux,memory-limit", &[24 * MIB]);
    };
    let at = |bootargs| places(told(bootargs, limit)).expect("there is room").0;
    assert_eq!(at("quiet"), 23 * MIB);
    assert_eq!(at("mem=0"), RAM - MIB, "it takes that of the tree back");
}

#[test]
fn nothing_is_placed_over_reserved_memory() {
    use ppckvm_fdt::blob::{Node, Reservation};
    let by_list = |tree: &mut ppckvm_fdt::Tree| {
        tree.reservations.push(Reservation {
            address: u64::from(RAM - 4 * MIB),
            size: u64::from(4 * MIB),
        });
    };
    let by_node = |tree: &mut ppckvm_fdt::Tree| {
        let mut reserved = Node::new("reserved-memory");
        let mut log = Node::new("log@3c00000");
        let cells = |name| tree.root.cell(name).expect("it has both") as usize;
        let (address, size) = (cells("#address-cells"), cells("#size-cells"));
        let mut reg = vec![0; address + size];
        (reg[address - 1], reg[address + size - 1]) = (RAM - 4 * MIB, 4 * MIB);
        log.set_cells("reg", &reg);
        let mut off = Node::new("off@0");
        off.set_cells("reg", &vec![0; address + size]);
        off.set_string("status", "disabled");
        let mut dynamic = Node::new("pool");
        dynamic.set_cells("size", &[8 * MIB]);
        reserved.children.extend([log, off, dynamic]);
        tree.root.children.push(reserved);
    };
    let by_ranges = |tree: &mut ppckvm_fdt::Tree| {
        tree.root
            .set_cells("reserved-ranges", &[0, RAM - 4 * MIB, 0, 4 * MIB]);
    };
    let expected = (RAM - 5 * MIB, RAM - 5 * MIB - 4096);
    assert_eq!(places(told("", by_list)).expect("there is room"), expected);
    assert_eq!(places(told("", by_node)).expect("there is room"), expected);
    assert_eq!(
        places(told("", by_ranges)).expect("there is room"),
        expected
    );
    let crash = places(told("crashkernel=32M", |_| {})).expect("there is room");
    assert_eq!(crash.0, 31 * MIB, "below the crash kernel");
    let all = |tree: &mut ppckvm_fdt::Tree| {
        tree.reservations.push(Reservation {
            address: 0,
            size: u64::MAX,
        });
    };
    let error = places(told("", all)).expect_err("no room").to_string();
    assert!(error.contains("is kept by /memreserve/; "), "{error}");
}

#[test]
fn a_command_line_that_the_kernel_would_cut_is_refused() {
    let line = |length: usize| places(told(&"a".repeat(length), |_| {}));
    assert!(line(2047).is_ok());
    let error = line(2048).expect_err("too long").to_string();
    assert_eq!(
        error,
        "kernel: the command line has 2048 bytes, and linux cuts off what comes after the first 2047; shorten it"
    );
}

#[test]
fn linux_is_given_no_initrd_that_it_cannot_use() {
    let initrd = || Initrd {
        file: "passwd".into(),
        bytes: Bytes::from_static(b"root:x:0:0::/root:/bin/sh\n"),
    };
    let plan = |linux| {
        let kernel = Kernel {
            linux,
            ..flat(0, MIB, 0)
        };
        Plan::new(kernel, Some(initrd()), Told::default(), RAM)
    };
    let error = plan(true).expect_err("no archive").to_string();
    assert!(
        error.starts_with("passwd: linux cannot use this as an initrd: "),
        "{error}"
    );
    assert!(plan(false).is_ok(), "another program knows what it wants");
}
