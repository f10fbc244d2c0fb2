//! Where things go.

use super::*;

fn flat(gpa: u32, size: u32, slack: u32) -> Kernel {
    let segment = Segment {
        gpa,
        bytes: Vec::new(),
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
        bytes: vec![1; 5000],
    };
    let plan = Plan::new(wrapper(Start::Uboot), Some(initrd), RAM).expect("there is room");
    let placement = plan
        .finish_without_tree(&firmware(board, Some("quiet")), None)
        .expect("there is room");
    let [_, info, line, disk] = &placement.segments[..] else {
        panic!("four parts")
    };
    assert_eq!((info.gpa, info.size), (RAM - 128, 128));
    assert_eq!(line.bytes, b"quiet\0");
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
    let plan = Plan::new(wrapper(Start::Uboot), None, RAM).expect("there is room");
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
        bytes: vec![1; size as usize],
    };
    let kernel = wrapper(Start::Uboot);
    assert!(Plan::new(kernel.clone(), Some(initrd(5 * MIB)), ram).is_ok());
    let error = Plan::new(kernel, Some(initrd(5 * MIB + 1)), ram).expect_err("no room");
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
        bytes: vec![1; 5000],
    };
    let error = Plan::new(wrapper(Start::Nothing), Some(initrd), RAM).expect_err("no way in");
    assert!(
        error
            .to_string()
            .starts_with("disk: the kernel kernel takes no initrd"),
        "{error}"
    );
    let plan = |start| Plan::new(wrapper(start), None, RAM).expect("there is room");
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
