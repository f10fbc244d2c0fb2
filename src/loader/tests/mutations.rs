//! Random and mutated images: they are refused or consistent, and nothing panics.

use super::*;
use ppckvm_fdt::{Board, TreeOptions, generate};
use proptest::prelude::*;

/// Whatever is accepted must be consistent.
fn check(bytes: Vec<u8>, ram: u32) {
    let _initrd = Initrd::from_bytes(name(), bytes.clone(), ram);
    let _tree = dtb_from_bytes(name(), &bytes);
    let Ok(kernel) = Kernel::from_bytes(name(), bytes, ram) else {
        return;
    };
    let Ok(placement) = place(kernel, Some(5000), 3000, ram) else {
        return;
    };
    let mut ranges: Vec<_> = placement
        .segments
        .iter()
        .map(|s| (s.gpa, s.end()))
        .collect();
    assert!(
        placement
            .segments
            .iter()
            .all(|s| s.bytes.len() <= s.size as usize)
    );
    ranges.sort_unstable();
    assert!(
        ranges
            .windows(2)
            .all(|pair| pair[0].1 <= u64::from(pair[1].0)),
        "{ranges:x?}"
    );
    assert!(ranges.iter().all(|(_, end)| *end <= u64::from(ram)));
    let pc = placement.registers.pc;
    assert!(
        ranges
            .iter()
            .any(|(start, end)| *start <= pc && u64::from(pc) < *end)
    );
}

fn images() -> Vec<Vec<u8>> {
    let bss = Load {
        paddr: 0x2000,
        memsz: 0x3000,
        flags: 6,
        ..text(b"data")
    };
    let vmlinux = elf(0xC000_0000, &[text(CODE), bss]);
    vec![
        Uimage::kernel(CODE).build(),
        Uimage::gzip(CODE).build(),
        Uimage::ramdisk(CODE).build(),
        gzip(&vmlinux),
        vmlinux,
        generate(&Board::bamboo(), &TreeOptions::default()).expect("valid"),
    ]
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(bytes, 16 * MIB);
    }

    #[test]
    fn mutated_images_never_panic(
        image in 0usize..6,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        length in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut bytes = images().swap_remove(image);
        for (index, value) in changes {
            let position = index.index(bytes.len());
            bytes[position] = value;
        }
        if let Some(length) = length {
            bytes.truncate(length.index(bytes.len()));
        }
        check(bytes.clone(), 16 * MIB);
        // With the header's checksum made right, the change gets past the first check.
        if bytes.starts_with(&[0x27, 0x05, 0x19, 0x56]) && bytes.len() >= 64 {
            check(sealed(bytes), 16 * MIB);
        }
    }

    #[test]
    fn elf_fields_of_any_value_never_panic(
        fields in proptest::collection::vec((0usize..8, 0usize..2, any::<u32>()), 1..4),
        entry in any::<u32>(),
        small in any::<bool>(),
    ) {
        let mut file = elf(entry, &[text(CODE), Load { paddr: 0x100, ..text(CODE) }]);
        for (field, header, value) in fields {
            let value = if small { value % 0x200 } else { value };
            let offset = 52 + header * 32 + field * 4;
            file[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
        }
        check(file, 16 * MIB);
    }

    #[test]
    fn uimage_fields_of_any_value_never_panic(
        load in any::<u32>(), entry in any::<u32>(), small in any::<bool>(),
        compression in 0u8..2, size in proptest::option::of(any::<u32>()),
    ) {
        let reduce = |value: u32| if small { value % 0x40 * 4 } else { value };
        let data = if compression == 1 { gzip(CODE) } else { CODE.to_vec() };
        let (load, entry) = (reduce(load), reduce(entry));
        let image = Uimage { load, entry, compression, ..Uimage::kernel(&data) };
        let mut bytes = image.build();
        if let Some(size) = size {
            bytes[12..16].copy_from_slice(&size.to_be_bytes());
            bytes = sealed(bytes);
        }
        check(bytes, 16 * MIB);
    }
}
