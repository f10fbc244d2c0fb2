//! Files that cost far more than they are large: the work that they ask for is counted and bounded.

use super::packed::pack;
use super::wrappers::Wrapper;
use super::*;
use ppckvm_fdt::blob::Node;

/// What reading a kernel ends with, and the bytes that were spent on it.
fn read(bytes: Vec<u8>) -> (Result<Kernel, LoadError>, u64) {
    let source = Source::memory(name(), bytes, RAM).expect("not empty");
    let reader = Reader {
        options: &options(),
        ram: RAM,
    };
    let read = reader.read(source.clone());
    (read, source.budget().spent())
}

/// The file is refused with this reason, and little was done to find out.
fn assert_cheap(bytes: Vec<u8>, reason: &str) {
    let size = bytes.len() as u64;
    let (read, spent) = read(bytes.clone());
    let message = read.expect_err("the file is refused").to_string();
    assert!(message.contains(reason), "{message}");
    assert!(message.contains("; "), "no remedy: {message}");
    assert!(
        spent <= 5 * u64::from(RAM) + size,
        "{spent} bytes for {size}"
    );
    // To look at it costs no more.
    let source = Source::memory(name(), bytes, RAM).expect("not empty");
    describe_source(&source, &options(), RAM);
    let spent = source.budget().spent();
    assert!(
        spent <= 5 * u64::from(RAM) + size,
        "{spent} bytes for {size}"
    );
}

fn kernel_image(root: &mut Node) -> &mut Node {
    let images = root.child_mut("images").expect("it is there");
    images.child_mut("kernel-1").expect("it is there")
}

#[test]
fn an_image_that_is_named_often_is_loaded_once() {
    let bytes = super::fits::fit(|root| {
        let mut more = Node::new("l");
        more.set("data", vec![7; MIB as usize]);
        more.set_cells("load", &[16 * MIB]);
        let images = root.child_mut("images").expect("it is there");
        images.children.push(more);
        let all = root.child_mut("configurations").expect("it is there");
        let configuration = all.child_mut("conf-1").expect("it is there");
        configuration.set("loadables", b"l\0".repeat(100_000));
    });
    assert_cheap(bytes, "names more than 1024 images as its loadables");
}

#[test]
fn an_image_is_hashed_once_for_each_kind() {
    const SIZE: u64 = 4 << 20;
    let with = |count: usize| {
        super::fits::fit(|root| {
            let kernel = kernel_image(root);
            let data = vec![0x60; SIZE as usize];
            let crc = crc32fast::hash(&data).to_be_bytes().to_vec();
            kernel.set("data", data);
            kernel.set_string("compression", "none");
            kernel.children.clear();
            for index in 0..count {
                let mut hash = Node::new(&format!("hash-{index}"));
                hash.set_string("algo", "crc32");
                hash.set("value", crc.clone());
                kernel.children.push(hash);
            }
        })
    };
    let (few, spent_on_few) = read(with(1));
    let (many, spent_on_many) = read(with(16));
    assert!(few.is_ok() && many.is_ok());
    assert!(spent_on_many - spent_on_few < SIZE, "{spent_on_many}");
    assert_cheap(with(5000), "has more than 16 hashes");
}

#[test]
fn a_wrapper_full_of_compressed_zeros_is_given_up() {
    for kind in [Compression::Bzip2, Compression::Xz, Compression::Gzip] {
        let mut page = pack(kind, &vec![0; 4 * MIB as usize]);
        page.resize(page.len().next_multiple_of(4096), 0);
        let kernel = page.repeat(100);
        let wrapper = Wrapper {
            kernel,
            ..Wrapper::new()
        };
        assert_cheap(
            wrapper.elf(),
            "more than 16 places in the boot wrapper look like a kernel",
        );
    }
}

#[test]
fn a_wrapper_full_of_tree_headers_is_given_up() {
    let count = 1u32 << 14;
    let headers = (0..count).flat_map(|index| {
        let total = (count - index) * 64;
        let words = [0xD00D_FEED, total, 40, 40, 40, 17, 16, 0, 0, 0];
        let words = words.into_iter().flat_map(u32::to_be_bytes);
        words.chain([1; 24])
    });
    let wrapper = Wrapper {
        tree: Some(headers.collect()),
        ..Wrapper::new()
    };
    assert_cheap(
        wrapper.elf(),
        "more than 16 places in the boot wrapper look like a device tree",
    );
}

#[test]
fn streams_that_unpack_to_nothing_are_counted() {
    let empty = pack(Compression::Gzip, b"").repeat(10_000);
    assert_cheap(empty, "takes more than 268435456 bytes of work");
}

#[test]
fn layers_share_one_budget() {
    let budget = budget();
    let packed = gzip(&vec![0; MIB as usize]);
    assert!(unpack::unpack(Compression::Gzip, &packed, MIB.into(), &budget).is_ok());
    let spent = budget.spent();
    assert!(
        spent >= u64::from(MIB) && spent < 2 * u64::from(MIB),
        "{spent}"
    );
    // Deep inside, as much is counted for each layer.
    let image = gzip(&gzip(&Uimage::gzip(&vec![0x60; MIB as usize]).build()));
    let (kernel, spent) = read(image);
    assert!(
        kernel.is_ok() && spent > u64::from(MIB) && spent < 4 * u64::from(MIB),
        "{spent}"
    );
}

#[test]
fn a_symbols_name_is_not_copied_for_each_that_has_it() {
    let long = "a".repeat(4000);
    let same: Vec<(&str, u32)> = (0..1000)
        .map(|n| (long.as_str(), 0xC000_0000 + 4 * (n % 9)))
        .collect();
    let file = elf_with_symbols(0xC000_0000, &[text(CODE)], &same);
    let (kernel, spent) = read(file);
    let symbols = kernel
        .expect("it is a good kernel")
        .symbols
        .expect("it has some");
    assert_eq!(spent, 0, "symbols that nobody asks for cost nothing");
    let place = symbols.locate(0xC000_0005).expect("it is code");
    assert_eq!((place.name.len(), place.offset), (512, 1));
}

#[test]
fn a_part_of_an_image_is_not_copied() {
    let data = Bytes::from(Uimage::kernel(CODE).build());
    let kernel = Kernel::from_bytes(name(), data.clone(), &options(), RAM).expect("it is good");
    assert_eq!(kernel.segments[0].bytes.as_ptr(), data[64..].as_ptr());
}
