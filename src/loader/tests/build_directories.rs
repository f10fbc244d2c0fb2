//! Kernel build directories.

use super::*;
use std::fs;

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("the folder is writable");
        fs::write(path, bytes).expect("the folder is writable");
    }
    folder
}

fn read(folder: &tempfile::TempDir) -> Result<Kernel, LoadError> {
    Kernel::read(folder.path(), &options(), RAM)
}

const GOOD: &[u8] = b"CONFIG_44x=y\nCONFIG_BAMBOO=y\nCONFIG_SERIAL_8250_CONSOLE=y\nCONFIG_SERIAL_OF_PLATFORM=y\nCONFIG_BLK_DEV_INITRD=y\n";

#[test]
fn the_freshest_image_boots_and_its_symbols_are_known() {
    let vmlinux = elf(0xC000_0000, &[text(CODE)]);
    let uimage = Uimage::kernel(CODE).build();
    let both = folder(&[
        ("vmlinux", &vmlinux),
        ("System.map", b""),
        ("arch/powerpc/boot/uImage", &uimage),
        (".config", GOOD),
    ]);
    let kernel = read(&both).expect("it has kernels");
    assert_eq!(kernel.file, both.path().join("vmlinux"));
    assert_eq!(kernel.symbols, Some(both.path().join("vmlinux")));
    assert_eq!(kernel.warnings(true), Vec::<String>::new());
    fs::remove_file(both.path().join("vmlinux")).expect("it is there");
    let kernel = read(&both).expect("it has a kernel");
    assert_eq!(kernel.file, both.path().join("arch/powerpc/boot/uImage"));
    assert_eq!(kernel.symbols, Some(both.path().join("System.map")));
}

#[test]
fn a_lone_vmlinux_has_its_own_symbols() {
    let folder = folder(&[("vmlinux", &elf(0xC000_0000, &[text(CODE)]))]);
    let path = folder.path().join("vmlinux");
    let kernel = Kernel::read(&path, &options(), RAM).expect("it is good");
    assert_eq!(kernel.symbols, Some(path));
}

#[test]
fn a_configuration_that_lacks_something_is_told() {
    let with = |config: &[u8]| {
        let uimage = Uimage::kernel(CODE).build();
        read(&folder(&[("uImage", &uimage), (".config", config)])).expect("it has a kernel")
    };
    assert!(with(GOOD).warnings(true).is_empty());
    let no_console = with(b"CONFIG_44x=y\nCONFIG_PPC44x_SIMPLE=y\nCONFIG_SERIAL_8250_CONSOLE=m\n# CONFIG_SERIAL_OF_PLATFORM is not set\n");
    let warnings = no_console.warnings(false);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains(
        ".config: CONFIG_SERIAL_8250_CONSOLE is not set: the console will stay silent; "
    ));
    assert!(warnings[1].contains("CONFIG_SERIAL_OF_PLATFORM"));
    assert!(
        no_console.warnings(true)[2]
            .contains("CONFIG_BLK_DEV_INITRD is not set: the initrd will be ignored")
    );
    let other = with(b"CONFIG_PPC64=y\n").warnings(false);
    assert!(other[0].contains("CONFIG_44x is not set: the kernel is for another processor"));
    assert!(other[1].contains("CONFIG_BAMBOO or CONFIG_PPC44x_SIMPLE"));
}

#[test]
fn a_directory_without_a_kernel_is_refused() {
    let empty = folder(&[("README", b"nothing")]);
    let error = read(&empty).expect_err("no kernel").to_string();
    assert!(
        error.contains("the directory has no kernel: none of vmlinux, arch/powerpc/boot/uImage, "),
        "{error}"
    );
    assert!(
        error.ends_with("; build the kernel there with 'make ARCH=powerpc', or name a file"),
        "{error}"
    );
}

#[test]
fn a_directory_is_described_by_its_image() {
    let folder = folder(&[("uImage", &Uimage::kernel(CODE).build())]);
    let text = describe(folder.path(), &options(), RAM)
        .expect("it has a kernel")
        .to_string();
    assert!(
        text.starts_with("kernel build directory\n  image    "),
        "{text}"
    );
    assert!(
        text.contains("symbols  none\n  uImage \"Linux-test\"\n"),
        "{text}"
    );
}
