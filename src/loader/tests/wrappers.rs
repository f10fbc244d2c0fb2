//! Boot wrappers, in all the files that they come in, and flat programs.

use super::packed::pack;
use super::*;
use ppckvm_fdt::blob::Node;
use ppckvm_fdt::{Board, TreeOptions, generate};

const LINK: u32 = 4 * MIB;
/// Where the code is that a wrapper is known by.
const CODE_OFFSET: u32 = 0x40;

/// A wrapper's parts.
#[derive(Clone)]
pub(super) struct Wrapper {
    pub own_stack: bool,
    pub reads_flash: bool,
    pub tree: Option<Vec<u8>>,
    pub kernel: Vec<u8>,
    pub bss: u32,
}

impl Wrapper {
    pub(super) fn new() -> Wrapper {
        let blob = generate(&Board::bamboo(), &TreeOptions::default()).expect("valid");
        Wrapper {
            own_stack: false,
            reads_flash: false,
            tree: Some(blob),
            kernel: elf(
                0xC000_0000,
                &[Load {
                    memsz: 2 * MIB,
                    ..text(CODE)
                }],
            ),
            bss: 0x2000,
        }
    }

    /// The program as it is in memory from [`LINK`] on, without bss.
    pub(super) fn flat(&self) -> Vec<u8> {
        let mut bytes = vec![0; 0x1000];
        let mut put = |offset: u32, word: u32| {
            let offset = offset as usize;
            bytes[offset..offset + 4].copy_from_slice(&word.to_be_bytes());
        };
        put(0, 0x4800_0000 | CODE_OFFSET);
        put(CODE_OFFSET, 0x4800_0005);
        put(CODE_OFFSET + 4, 0x7D48_02A6);
        if self.reads_flash {
            put(0x80, 0x3C60_FFFC);
        }
        let tree = self.tree.clone().unwrap_or_default();
        let end = (0x1000 + tree.len().next_multiple_of(0x1000) + self.kernel.len()) as u32;
        let stack = if self.own_stack { LINK + 0x900 } else { 0 };
        let words = [LINK, LINK + 0x100, LINK + end, LINK + end + self.bss, stack];
        for (index, word) in words.into_iter().enumerate() {
            put(CODE_OFFSET - 20 + 4 * index as u32, word);
        }
        bytes.extend(tree);
        bytes.resize(bytes.len().next_multiple_of(0x1000), 0);
        bytes.extend(&self.kernel);
        bytes
    }

    pub(super) fn uimage(&self) -> Uimage {
        Uimage {
            load: LINK,
            entry: LINK + CODE_OFFSET,
            ..Uimage::gzip(&self.flat())
        }
    }

    pub(super) fn tree_image(&self) -> Vec<u8> {
        tree_image(&self.flat(), LINK, LINK + CODE_OFFSET)
    }

    pub(super) fn elf(&self) -> Vec<u8> {
        let bytes = self.flat();
        let memsz = bytes.len() as u32 + self.bss;
        elf(
            LINK + CODE_OFFSET,
            &[Load {
                vaddr: LINK,
                paddr: LINK,
                bytes,
                memsz,
                flags: 7,
            }],
        )
    }
}

/// A boot block and its program, summed in little-endian order as on most builders.
fn tree_image(program: &[u8], load: u32, entry: u32) -> Vec<u8> {
    let mut data = program.to_vec();
    data.resize(data.len().next_multiple_of(512), 0);
    let blocks = data.len() as u32 / 512 + 128;
    let mut image: Vec<u8> = [0x0052_504F, load, blocks, 0, entry, 0, 0, 0]
        .into_iter()
        .flat_map(u32::to_be_bytes)
        .collect();
    image.extend(data);
    let words = image.as_chunks::<4>().0.iter();
    let sum = words.fold(0u32, |sum, word| {
        sum.wrapping_add(u32::from_le_bytes(*word))
    });
    image[20..24].copy_from_slice(&sum.to_be_bytes());
    image
}

#[test]
fn newer_wrappers_start_with_another_branch() {
    let mut bytes = Wrapper {
        own_stack: true,
        ..Wrapper::new()
    }
    .flat();
    let older = kernel(bytes.clone()).expect("the image is good");
    // `bcl 20,31,.+4`
    let code = CODE_OFFSET as usize;
    bytes[code..code + 4].copy_from_slice(&0x429F_0005_u32.to_be_bytes());
    let newer = kernel(bytes).expect("the image is good");
    assert_eq!((newer.start, newer.entry), (older.start, older.entry));
    assert_eq!(newer.format, older.format);
}

#[test]
fn a_cuimage_is_told_from_a_kernel_by_its_code() {
    let wrapper = Wrapper::new();
    let found = kernel(wrapper.uimage().build()).expect("the image is good");
    assert_eq!(found.start, Start::Uboot);
    assert_eq!(found.unpacks_to, 2 * MIB);
    assert_eq!(
        found.segments[0].size,
        wrapper.flat().len() as u32 + wrapper.bss
    );
    assert!(
        found.format.ends_with("boot wrapper for U-Boot (cuImage)"),
        "{}",
        found.format
    );
    let plain = Uimage {
        load: LINK,
        entry: LINK,
        ..Uimage::gzip(CODE)
    };
    assert_eq!(
        kernel(plain.build()).expect("good").start,
        Start::DeviceTree
    );
}

#[test]
fn a_wrapper_is_known_in_every_file() {
    let tree = Wrapper {
        own_stack: true,
        reads_flash: true,
        ..Wrapper::new()
    };
    let simple = Wrapper {
        own_stack: true,
        ..Wrapper::new()
    };
    let epapr = Wrapper {
        own_stack: true,
        tree: None,
        ..Wrapper::new()
    };
    for (wrapper, start, name) in [
        (Wrapper::new(), Start::Uboot, "(cuImage)"),
        (tree, Start::Nothing, "(treeImage)"),
        (simple, Start::Nothing, "(simpleImage)"),
        (epapr, Start::DeviceTree, "ePAPR"),
    ] {
        for bytes in [
            wrapper.uimage().build(),
            wrapper.tree_image(),
            wrapper.elf(),
            wrapper.flat(),
            gzip(&wrapper.flat()),
            Uimage::gzip(&wrapper.elf()).build(),
            Uimage {
                kind: 14,
                entry: 0,
                ..Uimage::kernel(&wrapper.flat())
            }
            .build(),
        ] {
            let found = kernel(bytes).expect("the image is good");
            assert_eq!(
                (found.start, found.unpacks_to),
                (start, 2 * MIB),
                "{}",
                found.format
            );
            assert!(found.format.ends_with(name), "{}", found.format);
            assert_eq!(found.segments[0].gpa, LINK);
        }
    }
}

#[test]
fn the_kernel_inside_may_be_compressed() {
    let kernel_inside = Wrapper::new().kernel;
    for kind in super::packed::KINDS {
        let wrapper = Wrapper {
            kernel: pack(kind, &kernel_inside),
            ..Wrapper::new()
        };
        let found = kernel(wrapper.uimage().build()).expect("the image is good");
        assert_eq!(
            (found.start, found.unpacks_to),
            (Start::Uboot, 2 * MIB),
            "{kind}"
        );
    }
    let mut damaged = gzip(&kernel_inside);
    let last = damaged.len() - 6;
    damaged[last] ^= 1;
    let wrapper = Wrapper {
        kernel: damaged,
        ..Wrapper::new()
    };
    assert_refused(wrapper.elf(), "image: the gzip data is corrupt: ");
}

#[test]
fn a_wrapper_that_would_stop_is_refused_before_it_starts() {
    let mut other = ppckvm_fdt::Tree::parse(&Wrapper::new().tree.expect("set")).expect("good");
    other.root.set_string("compatible", "amcc,yosemite");
    let wrong = Wrapper {
        tree: Some(other.to_blob().expect("small")),
        ..Wrapper::new()
    };
    assert_refused(
        wrong.uimage().build(),
        "image: the device tree is for \"amcc,yosemite\", ",
    );

    let huge = Load {
        memsz: RAM + 1,
        ..text(CODE)
    };
    let large = Wrapper {
        kernel: elf(0xC000_0000, &[huge]),
        ..Wrapper::new()
    };
    assert_refused(
        large.uimage().build(),
        "image: the kernel occupies 0x0 to 0x4000001, but ram ends at ",
    );

    let long = vec![0; 5 * MIB as usize];
    let over = Wrapper {
        kernel: elf(0xC000_0000, &[text(&long)]),
        ..Wrapper::new()
    };
    assert_refused(
        over.uimage().build(),
        "image: the kernel inside reaches to 0x500000, over the boot wrapper at 0x400000; ",
    );

    let bss = Wrapper {
        bss: RAM,
        ..Wrapper::new()
    };
    assert_refused(
        bss.uimage().build(),
        "image: the kernel occupies 0x400000 to ",
    );
}

/// A simpleImage whose tree was changed so, with as much room as it then takes.
fn simple_image(change: impl FnOnce(&mut Node)) -> Wrapper {
    let whole = Wrapper::new().tree.expect("set");
    let mut tree = ppckvm_fdt::Tree::parse(&whole).expect("good");
    change(&mut tree.root);
    Wrapper {
        own_stack: true,
        tree: Some(tree.to_blob().expect("small")),
        ..Wrapper::new()
    }
}

fn is_memory(node: &Node) -> bool {
    node.name.starts_with("memory")
}

#[test]
fn a_simpleimage_gets_the_memory_and_the_clocks_that_its_tree_leaves_open() {
    let simple = simple_image(|root| {
        for node in &mut root.children {
            match node.name.as_str() {
                "cpus" => node.children[0].set_cells("timebase-frequency", &[0]),
                _ if is_memory(node) => node.set_cells("reg", &[0, 0, 0]),
                _ => {}
            }
        }
    });
    let found = kernel(simple.flat()).expect("what is missing is filled in");
    let bytes = &found.segments[0].bytes[0x1000..];
    let tree = ppckvm_fdt::Tree::parse(bytes).expect("still a tree");
    let memory = tree.root.children.iter().find(|node| is_memory(node));
    assert_eq!(
        memory.and_then(|node| node.cells("reg")),
        Some(vec![0, 0, RAM])
    );
    let cpu = &tree.root.child("cpus").expect("it has them").children[0];
    let clocks = ppckvm_fdt::Board::bamboo().clocks;
    assert_eq!(cpu.cell("timebase-frequency"), Some(clocks.timebase_hz));

    // One that says what its board has keeps that.
    let told = simple_image(|root| {
        let memory = root.children.iter_mut().find(|node| is_memory(node));
        memory
            .expect("it has one")
            .set_cells("reg", &[0, 0, 0x10_0000]);
    });
    let found = kernel(told.flat()).expect("nothing is missing");
    assert_eq!(found.segments[0].bytes, told.flat());

    let without = simple_image(|root| root.children.retain(|node| !is_memory(node)));
    assert_refused(
        without.flat(),
        "image: the device tree inside the simpleImage describes no memory, and has no room",
    );
    let flashed = Wrapper {
        reads_flash: true,
        ..without
    };
    let found = kernel(flashed.tree_image()).expect("a treeImage asks the memory controller");
    let program = flashed.flat();
    assert_eq!(found.segments[0].bytes[..program.len()], program);
}

#[test]
fn a_tree_image_is_checked() {
    let image = Wrapper {
        own_stack: true,
        reads_flash: true,
        ..Wrapper::new()
    }
    .tree_image();
    for position in [8, 33, image.len() - 1] {
        let mut changed = image.clone();
        changed[position + 2 - 2] ^= 0x40;
        assert!(kernel(changed).is_err(), "{position}");
    }
    let mut changed = image.clone();
    changed[100] ^= 1;
    assert_refused(
        changed,
        "image: offset 0x14: the sum of the treeImage is 0x",
    );
    assert_refused(
        image[..image.len() - 1].to_vec(),
        "image: offset 0x20: the treeImage's program needs ",
    );
    assert_refused(
        image[..40].to_vec(),
        "image: offset 0x20: the treeImage's program needs ",
    );
    let mut big_endian = image.clone();
    big_endian[20..24].fill(0);
    let words = big_endian.as_chunks::<4>().0.iter();
    let sum = words.fold(0u32, |sum, word| {
        sum.wrapping_add(u32::from_be_bytes(*word))
    });
    big_endian[20..24].copy_from_slice(&sum.to_be_bytes());
    assert!(kernel(big_endian).is_ok(), "made on a big-endian machine");
    assert_refused(
        tree_image(CODE, RAM, RAM),
        "image: offset 0x4: the kernel occupies 0x4000000 to ",
    );
    assert_refused(
        tree_image(CODE, LINK, LINK - 4),
        "image: offset 0x10: the entry point 0x3ffffc is outside",
    );
}

#[test]
fn a_position_independent_file_is_moved_into_memory() {
    let mut file = elf(
        0x2000_0040,
        &[Load {
            vaddr: 0x2000_0000,
            paddr: 0x2000_0000,
            bytes: vec![0; 0x100],
            memsz: 0x1000,
            flags: 7,
        }],
    );
    assert_refused(
        file.clone(),
        "image: the kernel occupies 0x20000000 to 0x20001000, but ram ends at ",
    );
    file[17] = 3;
    let kernel = kernel(file).expect("it relocates itself");
    assert_eq!(
        (kernel.segments[0].gpa, kernel.entry),
        (RAM / 2, RAM / 2 + 0x40)
    );
}

fn at(bytes: Vec<u8>, address: u32) -> Result<Kernel, LoadError> {
    let options = KernelOptions {
        load_address: Some(address),
        ..options()
    };
    Kernel::from_bytes(name(), bytes, &options, RAM)
}

#[test]
fn a_raw_program_goes_where_the_user_says() {
    let kernel = at(CODE.to_vec(), 0x20_0000).expect("it fits");
    assert_eq!(
        (kernel.segments[0].gpa, kernel.entry),
        (0x20_0000, 0x20_0000)
    );
    assert!(at(gzip(CODE), 0).is_ok(), "also when it is compressed");
    for (address, part) in [
        (RAM - 4, "but ram ends at"),
        (2, "is not a multiple of 4"),
        (u32::MAX - 3, "but ram ends at"),
    ] {
        let error = at(CODE.to_vec(), address)
            .expect_err("it cannot be there")
            .to_string();
        assert!(error.contains(part), "{error}");
        assert!(at(gzip(CODE), address).is_err());
    }
}

#[test]
fn options_that_would_be_ignored_are_refused() {
    for bytes in [
        Uimage::kernel(CODE).build(),
        elf(0xC000_0000, &[text(CODE)]),
        gzip(&Uimage::kernel(CODE).build()),
    ] {
        let error = at(bytes.clone(), 0)
            .expect_err("it has an address")
            .to_string();
        assert!(error.contains("leave the load address out"), "{error}");
        let options = KernelOptions {
            fit_config: Some("conf".to_owned()),
            ..options()
        };
        let error = Kernel::from_bytes(name(), bytes, &options, RAM).expect_err("no FIT");
        assert!(
            error
                .to_string()
                .contains("leave the name of a configuration out"),
            "{error}"
        );
    }
}

#[test]
fn what_is_inside_is_described_also_when_it_cannot_start() {
    let describe = |bytes: Vec<u8>| {
        let source = Source::memory(name(), bytes, RAM).expect("not empty");
        describe_source(&source, &options(), RAM)
    };
    let text = describe(Wrapper::new().uimage().build()).to_string();
    for line in [
        "uImage \"Linux-test\"",
        "load          0x00400000",
        "boot wrapper for U-Boot",
        "amcc,bamboo",
        "0x00000000 to 0x00200000",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let mut damaged = Uimage::gzip(CODE).build();
    damaged[70] ^= 1;
    let text = describe(damaged).to_string();
    assert!(
        text.contains("header crc    0x") && text.contains(" bad: the crc of what is there is 0x"),
        "{text}"
    );
    let text = describe(super::fits::fit(|_| {})).to_string();
    assert!(
        text.contains("configuration conf-1  kernel kernel-1, fdt fdt-1, ramdisk ramdisk-1"),
        "{text}"
    );
    assert!(text.contains("sha256") && text.contains(" ok"), "{text}");
    let text = describe(b"070701....".to_vec()).to_string();
    assert!(text.starts_with("cpio archive\n"), "{text}");
}

#[test]
fn a_start_that_no_440_can_execute_is_refused() {
    let mut program = Wrapper::new().flat();
    program[..4].copy_from_slice(&0x0800_0048u32.to_be_bytes());
    let image = Uimage::kernel(&program).build();
    assert_refused(image, "image: the first instruction is tdi, ");
}
