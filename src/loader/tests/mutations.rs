//! Random and mutated images: they are refused or consistent, and nothing panics.

use super::wrappers::Wrapper;
use super::*;
use ppckvm_fdt::{Board, TreeOptions, generate};
use proptest::prelude::*;

/// Whatever is accepted must be consistent.
fn check(bytes: Vec<u8>, ram: u32) {
    let _initrd = Initrd::from_bytes(name(), bytes.clone(), ram);
    let _tree = dtb_from_bytes(name(), &bytes);
    let Ok(source) = Source::memory(name(), bytes, ram) else {
        return;
    };
    let reader = Reader {
        options: &options(),
        ram,
    };
    let read = reader.read(source.clone());
    let budget = budget::Budget::new(ram);
    // The step that uses it up may be a whole file or a whole unpacked image.
    assert!(source.budget().spent() <= budget.left() + 2 * u64::from(ram));
    let Ok(kernel) = read else {
        return;
    };
    if let Some(symbols) = &kernel.symbols {
        let _ = (symbols.locate(0xC000_0010), symbols.address("start"));
    }
    // The initrd of zeros is none that Linux takes.
    let kernel = Kernel {
        linux: false,
        ..kernel
    };
    if let Ok(placement) = place(kernel, Some(5000), 3000, ram) {
        check_placement(&placement, ram);
    }
}

fn check_placement(placement: &Placement, ram: u32) {
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
        super::fits::fit(|_| {}),
        super::fits::with_list(),
        super::elf_kernels::with_note(4),
        Wrapper::new().uimage().build(),
        Wrapper::new().flat(),
        Wrapper {
            own_stack: true,
            ..Wrapper::new()
        }
        .tree_image(),
    ]
}

/// Data in the middle of what a compressor wrote, changed and cut, is unpacked or refused.
fn check_unpack(kind: Compression, data: &[u8], changes: &[(usize, u8)], length: usize) {
    let mut packed = super::packed::pack(kind, data);
    for (index, value) in changes {
        let position = index % packed.len();
        packed[position] = *value;
    }
    packed.truncate(packed.len().min(length));
    let limit = 1 << 20;
    if let Ok(bytes) = unpack::unpack(kind, &packed, limit, &budget()) {
        assert!(bytes.len() as u64 <= limit);
    }
}

proptest! {
    #[test]
    fn command_lines_of_any_kind_never_panic(
        words in proptest::collection::vec(
            "(mem|crashkernel|cma|ramoops.mem_address|ramoops.mem_size)=[0-9a-zA-Z@,:-]{0,12}",
            0..6,
        ),
        size in 1u32..200,
    ) {
        let told = Told { tree: None, bootargs: Some(words.join(" ")) };
        let kernel = Kernel::program(name(), 0, vec![0x60; 4096]);
        if let Ok(plan) = Plan::new(kernel, None, told, size * MIB)
            && let Ok(placement) = plan.finish(vec![1; 5000])
        {
            check_placement(&placement, size * MIB);
        }
    }

    #[test]
    fn mutated_symbol_tables_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let symbols = [("start", 0xC000_0000), ("linux_banner", 0xC000_0010)];
        let mut bytes = elf_with_symbols(0xC000_0000, &[text(CODE)], &symbols);
        for (index, value) in changes {
            let position = index.index(bytes.len());
            bytes[position] = value;
        }
        check(bytes, 16 * MIB);
    }

    #[test]
    fn mutated_compressed_data_never_panics(
        kind in 0usize..6,
        data in proptest::collection::vec(0u8..4, 1..3000),
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
        length in 0usize..2000,
    ) {
        check_unpack(super::packed::KINDS[kind], &data, &changes, length);
    }

    #[test]
    fn random_bytes_after_a_magic_never_panic(
        kind in 0usize..6,
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let kind = super::packed::KINDS[kind];
        let mut packed = super::packed::pack(kind, CODE);
        packed.truncate(6);
        packed.extend(bytes);
        let _ = unpack::unpack(kind, &packed, 1 << 20, &budget());
    }

    #[test]
    fn mutated_images_inside_a_compressor_never_panic(
        image in 0usize..12,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = images().swap_remove(image);
        for (index, value) in changes {
            let position = index.index(bytes.len());
            bytes[position] = value;
        }
        check(gzip(&bytes), 16 * MIB);
        check(Uimage::gzip(&bytes).build(), 16 * MIB);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(bytes, 16 * MIB);
    }

    #[test]
    fn mutated_images_never_panic(
        image in 0usize..12,
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
