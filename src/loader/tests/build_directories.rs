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

fn symbols_file(kernel: &Kernel) -> Option<PathBuf> {
    let symbols = kernel.symbols.as_ref()?;
    Some(symbols.file().to_owned())
}

const GOOD: &[u8] = b"CONFIG_44x=y\nCONFIG_BAMBOO=y\nCONFIG_SERIAL_8250_CONSOLE=y\nCONFIG_SERIAL_OF_PLATFORM=y\nCONFIG_BLK_DEV_INITRD=y\n";

#[test]
fn the_freshest_image_boots_and_its_symbols_are_known() {
    let vmlinux = elf_with_symbols(0xC000_0000, &[text(CODE)], &[("_stext", 0xC000_0000)]);
    let uimage = Uimage::kernel(CODE).build();
    let both = folder(&[
        ("vmlinux", &vmlinux),
        ("System.map", b"c0000000 T _stext\n"),
        ("arch/powerpc/boot/uImage", &uimage),
        (".config", GOOD),
    ]);
    let kernel = read(&both).expect("it has kernels");
    assert_eq!(kernel.file, both.path().join("vmlinux"));
    assert_eq!(symbols_file(&kernel), Some(both.path().join("vmlinux")));
    assert_eq!(kernel.warnings(true, &[]), Vec::<String>::new());
    fs::remove_file(both.path().join("vmlinux")).expect("it is there");
    let kernel = read(&both).expect("it has a kernel");
    assert_eq!(kernel.file, both.path().join("arch/powerpc/boot/uImage"));
    assert_eq!(symbols_file(&kernel), Some(both.path().join("System.map")));
}

#[test]
fn a_lone_vmlinux_has_its_own_symbols() {
    let vmlinux = elf_with_symbols(0xC000_0000, &[text(CODE)], &[("f", 0xC000_0000)]);
    let folder = folder(&[("vmlinux", &vmlinux)]);
    let path = folder.path().join("vmlinux");
    let kernel = Kernel::read(&path, &options(), RAM).expect("it is good");
    assert_eq!(symbols_file(&kernel), Some(path));
    let place = kernel.symbols.expect("it has some").locate(0xC000_0002);
    assert_eq!(place.expect("it is code").to_string(), "f+0x2");
}

#[test]
fn a_configuration_that_lacks_something_is_told() {
    let with = |config: &[u8]| {
        let uimage = Uimage::kernel(CODE).build();
        read(&folder(&[("uImage", &uimage), (".config", config)])).expect("it has a kernel")
    };
    assert!(with(GOOD).warnings(true, &[]).is_empty());
    let no_console = with(b"CONFIG_44x=y\nCONFIG_PPC44x_SIMPLE=y\nCONFIG_SERIAL_8250_CONSOLE=m\n# CONFIG_SERIAL_OF_PLATFORM is not set\n");
    let warnings = no_console.warnings(false, &[]);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains(
        ".config: CONFIG_SERIAL_8250_CONSOLE is not set: the console will stay silent; "
    ));
    assert!(warnings[1].contains("CONFIG_SERIAL_OF_PLATFORM"));
    assert!(
        no_console.warnings(true, &[])[2]
            .contains("CONFIG_BLK_DEV_INITRD is not set: the initrd will be ignored")
    );
    let other = with(b"CONFIG_PPC64=y\n").warnings(false, &[]);
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

#[test]
fn what_devices_need_is_looked_up_in_the_configuration() {
    let need = |names: &'static [&'static str], module| Need {
        names,
        why: "it is missed",
        module,
    };
    let uimage = Uimage::kernel(CODE).build();
    let config = [GOOD, b"CONFIG_A=m\nCONFIG_B=y\n# CONFIG_C is not set\n"].concat();
    let kernel = read(&folder(&[("uImage", &uimage), (".config", &config)])).expect("a kernel");
    let lacks = |need| kernel.warnings(false, &[need]).len();
    assert_eq!(lacks(need(&["CONFIG_A"], true)), 0);
    assert_eq!(lacks(need(&["CONFIG_A"], false)), 1, "a module is too late");
    assert_eq!(lacks(need(&["CONFIG_C", "CONFIG_B"], false)), 0);
    let warnings = kernel.warnings(false, &[need(&["CONFIG_C"], true)]);
    assert!(
        warnings[0].ends_with(".config: CONFIG_C is not set: it is missed; set it and build again"),
        "{warnings:?}"
    );
}

#[test]
fn the_kernels_own_command_line_counts_where_it_uses_it() {
    let line = |options: &str, given: &str| {
        let uimage = Uimage::kernel(CODE).build();
        let text = format!("CONFIG_CMDLINE=\"mem=8M a=\\\"b\\\"\"\n{options}");
        let kernel = read(&folder(&[
            ("uImage", &uimage),
            (".config", text.as_bytes()),
        ]));
        let config = kernel.expect("a kernel").config.expect("it has one");
        config.command_line(given)
    };
    let own = "mem=8M a=\"b\"";
    assert_eq!(line("", ""), own);
    assert_eq!(line("", "quiet"), "quiet");
    assert_eq!(line("CONFIG_CMDLINE_FORCE=y", "quiet"), own);
    assert_eq!(
        line("CONFIG_CMDLINE_EXTEND=y", "quiet"),
        format!("quiet {own}")
    );
}

#[test]
fn a_system_map_beside_a_uimage_is_found_when_it_is_of_that_kernel() {
    let image = [CODE, b"Linux version 6.1"].concat();
    let uimage = Uimage::kernel(&image).build();
    let right = format!(
        "c0000000 T _stext\n{:08x} D linux_banner\n",
        0xC000_0000u32 + CODE.len() as u32
    );
    let wrong = "c0000000 T _stext\nc0000004 D linux_banner\n";
    let kernel = |folder: &tempfile::TempDir, name: &str| {
        let path = folder.path().join(name);
        Kernel::read(&path, &options(), RAM).expect("it is good")
    };
    let folder = folder(&[
        ("one/uImage", &uimage),
        ("one/System.map", right.as_bytes()),
        ("two/uImage", &uimage),
        ("two/System.map", wrong.as_bytes()),
        ("three/arch/powerpc/boot/uImage", &uimage),
        ("three/System.map", right.as_bytes()),
    ]);
    let found = |name| symbols_file(&kernel(&folder, name));
    assert_eq!(
        found("one/uImage"),
        Some(folder.path().join("one/System.map"))
    );
    assert_eq!(found("two/uImage"), None, "of another kernel");
    let top = folder.path().join("three/System.map");
    assert_eq!(found("three/arch/powerpc/boot/uImage"), Some(top));
}
