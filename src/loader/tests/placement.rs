//! Where things go.

use super::*;

fn flat(gpa: u32, size: u32, slack: u32) -> Kernel {
    Kernel {
        file: "kernel".into(),
        format: "test".into(),
        segments: vec![Segment {
            gpa,
            bytes: Vec::new(),
            size,
        }],
        entry: gpa,
        slack,
    }
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
