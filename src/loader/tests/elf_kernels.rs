//! ELF files.

use super::*;

#[test]
fn a_vmlinux_goes_to_its_physical_addresses() {
    let data = Load {
        vaddr: 0xC010_0000,
        paddr: 0x10_0000,
        bytes: vec![7; 100],
        memsz: 0x20_0000,
        flags: 6,
    };
    let nothing = Load {
        bytes: Vec::new(),
        memsz: 0,
        ..data.clone()
    };
    let loads = [data.clone(), nothing, text(CODE)];
    let kernel = kernel(elf(0xC000_0004, &loads)).expect("the file is good");
    assert_eq!(kernel.entry, 4);
    assert_eq!((kernel.slack, kernel.format.as_str()), (0, "elf"));
    let sizes: Vec<_> = kernel
        .segments
        .iter()
        .map(|s| (s.gpa, s.bytes.len(), s.size))
        .collect();
    assert_eq!(sizes, [(0, 36, 36), (0x10_0000, 100, 0x20_0000)]);
    assert_eq!(kernel.segments[1].bytes, data.bytes);
}

#[test]
fn a_segment_without_bytes_is_all_zeros() {
    let bss = Load {
        paddr: 0x8000,
        bytes: Vec::new(),
        memsz: 0x100,
        ..text(&[])
    };
    let kernel = kernel(elf(0xC000_0000, &[text(CODE), bss])).expect("the file is good");
    assert_eq!(
        kernel.segments[1],
        Segment {
            gpa: 0x8000,
            bytes: Bytes::new(),
            what: "kernel",
            size: 0x100
        }
    );
}

#[test]
fn a_relocatable_kernel_is_accepted() {
    let mut file = elf(0xC000_0000, &[text(CODE)]);
    file[17] = 3;
    assert_eq!(kernel(file).expect("ET_DYN is fine").entry, 0);
}

#[test]
fn foreign_elf_files_are_refused_by_name() {
    let with = |offset: usize, bytes: &[u8]| {
        let mut file = elf(0xC000_0000, &[text(CODE)]);
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
        file
    };
    assert_refused(
        with(4, &[2]),
        "image: offset 0x4: elf class is 2 (64-bit), not 1 (32-bit); ",
    );
    assert_refused(
        with(5, &[1]),
        "image: offset 0x5: elf byte order is 1 (little-endian), not 2 (big-endian); ",
    );
    assert_refused(
        with(18, &[0, 62]),
        "image: offset 0x12: elf machine is 62 (x86-64), not 20 (powerpc); ",
    );
    assert_refused(
        with(18, &[9, 9]),
        "image: offset 0x12: elf machine is 2313, not 20",
    );
    assert_refused(
        with(16, &[0, 1]),
        "image: offset 0x10: elf type 1 (an object file) cannot be loaded",
    );
    assert_refused(
        with(6, &[9]),
        "image: offset 0x0: the elf file is malformed",
    );
}

#[test]
fn malformed_elf_files_are_refused() {
    let file = elf(0xC000_0000, &[text(CODE)]);
    assert_refused(
        file[..51].to_vec(),
        "image: offset 0x0: the elf header needs 52 bytes",
    );
    assert_refused(
        file[..80].to_vec(),
        "image: offset 0x34: the elf file is malformed",
    );
    assert_refused(
        file[..file.len() - 1].to_vec(),
        "image: offset 0x54: the elf segment needs 36 bytes from here, but the file ends after 35; ",
    );
    assert_refused(
        elf(0, &[]),
        "image: offset 0x1c: the elf file has no segment to load; ",
    );
    assert_refused(
        elf(
            0xC000_0000,
            &[Load {
                memsz: 10,
                ..text(CODE)
            }],
        ),
        "image: offset 0x54: the elf segment at 0x0 has 36 bytes in the file but only 10 in memory",
    );
}

#[test]
fn an_elf_entry_must_be_in_executable_memory() {
    assert_refused(
        elf(0xC000_0024, &[text(CODE)]),
        "image: offset 0x18: the entry point 0xc0000024 is not inside an executable segment; ",
    );
    assert_refused(
        elf(
            0xC000_0000,
            &[Load {
                flags: 6,
                ..text(CODE)
            }],
        ),
        "image: offset 0x18: the entry point 0xc0000000 is not inside an executable segment; ",
    );
    assert_refused(
        elf(0xC000_0001, &[text(CODE)]),
        "image: offset 0x18: the entry point 0xc0000001 is not a multiple of 4; ",
    );
}

#[test]
fn elf_segments_stay_inside_ram_and_apart() {
    assert_refused(
        elf(
            0xC000_0000,
            &[Load {
                memsz: RAM + 1,
                ..text(CODE)
            }],
        ),
        "image: the kernel occupies 0x0 to 0x4000001, but ram ends at 0x4000000; ",
    );
    assert_refused(
        elf(
            0xC000_0000,
            &[Load {
                paddr: 0xFFFF_FFF0,
                ..text(CODE)
            }],
        ),
        "image: the kernel occupies 0xfffffff0 to 0x100000014, but ram ends",
    );
    assert_refused(
        elf(
            0xC000_0000,
            &[
                text(CODE),
                Load {
                    paddr: 35,
                    ..text(CODE)
                },
            ],
        ),
        "image: the segments at 0x0 and 0x23 overlap in physical memory; ",
    );
}

#[test]
fn programs_linked_elsewhere_start_there() {
    let program = Load {
        vaddr: 0x1000_0000,
        paddr: 0x1000_0000,
        ..text(CODE)
    };
    let file = elf(0x1000_0004, &[program]);
    let kernel = Kernel::from_bytes(name(), file.clone(), &options(), 512 * MIB);
    let kernel = kernel.expect("there is memory, and all of it is mapped at the start");
    assert_eq!((kernel.entry, kernel.linux), (0x1000_0004, false));
    assert_refused(
        file,
        "image: the kernel occupies 0x10000000 to 0x10000024, but ram ends at 0x4000000; give",
    );
}

#[test]
fn physical_addresses_that_are_virtual_are_told_apart() {
    let load = Load {
        paddr: 0xC000_0000,
        ..text(CODE)
    };
    assert_refused(
        elf(0xC000_0000, &[load]),
        "image: the physical address 0xc0000000 is a virtual one: linux maps memory there, and the file was linked without physical addresses; link it with AT(",
    );
    let load = Load {
        vaddr: 0x8000_0000,
        paddr: 0x8000_0000,
        ..text(CODE)
    };
    assert_refused(
        elf(0x8000_0000, &[load]),
        "image: the kernel occupies 0x80000000 to 0x80000024, but ram ends at 0x4000000; link the kernel lower: the board holds at most 1 GiB",
    );
}

/// An ELF file whose first segment holds its headers and a note, as linkers make it.
pub(super) fn with_note(note_flags: u32) -> Vec<u8> {
    let note = Load {
        vaddr: 0x1000_0000,
        paddr: 0x1000_0000,
        bytes: b"a note\0\0".to_vec(),
        memsz: 8,
        flags: note_flags,
    };
    let mut file = elf(
        0x100,
        &[
            note,
            Load {
                vaddr: 0x100,
                paddr: 0x100,
                ..text(CODE)
            },
        ],
    );
    // The same bytes as a PT_NOTE.
    let headers = 52 + 2 * 32;
    let offset = u32::from_be_bytes([file[56], file[57], file[58], file[59]]) + 32;
    let mut entry = file[52..84].to_vec();
    entry[..4].copy_from_slice(&4u32.to_be_bytes());
    file.splice(headers..headers, entry.clone());
    file[headers + 4..headers + 8].copy_from_slice(&offset.to_be_bytes());
    for header in [52, 84] {
        let at = header + 4;
        let moved = u32::from_be_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]) + 32;
        file[at..at + 4].copy_from_slice(&moved.to_be_bytes());
    }
    file[45] = 3;
    file
}

#[test]
fn a_note_outside_ram_does_not_keep_a_program_from_starting() {
    let kernel = kernel(with_note(4)).expect("the program is inside");
    assert_eq!(kernel.segments.len(), 1);
    let warnings = kernel.warnings(false, &[]);
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].starts_with("image: the segment at 0x10000000 is outside ram and left out: "),
        "{warnings:?}"
    );
    assert_refused(with_note(6), "image: the kernel occupies 0x10000000");
}
