//! FIT images: a device tree that holds images with their hashes, and configurations that name a
//! kernel, a device tree and an initrd which belong together.
//!
//! Format: U-Boot's "Flat Image Tree Specification". Hashes are verified; signatures are not, for
//! there is no key here to trust.

use super::Target;
use super::detect::Compression;
use super::error::{BadChecksum, Fault, LoadError};
use super::report::{Section, size};
use super::source::Source;
use md5::Md5;
use ppckvm_fdt::Tree;
use ppckvm_fdt::blob::Node;
use sha1::Sha1;
use sha2::digest::Digest;
use sha2::{Sha256, Sha384, Sha512};
use std::path::PathBuf;

/// A FIT file, read whole.
pub(super) struct Fit {
    name: PathBuf,
    bytes: Vec<u8>,
    tree: Tree,
    /// Where external data starts: after the tree, on a boundary of 4 bytes.
    external: u64,
}

/// What a configuration starts, as stored.
pub(super) struct Configuration {
    pub name: String,
    pub kernel: Vec<u8>,
    pub compression: Option<Compression>,
    /// Where the kernel goes; none for one that runs where it lies.
    pub target: Option<Target>,
    /// The entry point in a kernel that runs where it lies, from its start.
    pub entry: u32,
    pub tree: Option<Vec<u8>>,
    pub initrd: Option<Vec<u8>>,
    /// Further images with their load addresses.
    pub loadables: Vec<(u32, Vec<u8>)>,
}

const REBUILD: &str = "correct the its file and build the image again with mkimage";

impl Fit {
    /// Takes up a tree that has `/images`.
    pub(super) fn new(source: Source, tree: Tree, ram: u32) -> Result<Fit, LoadError> {
        let name = source.name().to_owned();
        let bytes = source.into_bytes(ram)?;
        // The tree was read from these bytes, so they start with its header.
        let total = bytes.get(4..8).and_then(|word| word.try_into().ok());
        let total = u32::from_be_bytes(total.unwrap_or_default());
        Ok(Fit {
            name,
            bytes,
            tree,
            external: u64::from(total).next_multiple_of(4),
        })
    }

    fn error(&self, reason: String) -> LoadError {
        LoadError::new(&self.name, Fault::image(reason, REBUILD))
    }

    fn configurations(&self) -> &[Node] {
        let node = self.tree.root.child("configurations");
        node.map_or(&[], |node| &node.children)
    }

    /// The configuration that is asked for, or the default one, or the only one.
    fn choose(&self, wanted: Option<&str>) -> Result<&Node, LoadError> {
        let all = self.configurations();
        let names = all.iter().map(|node| node.name.as_str());
        let names = names.collect::<Vec<_>>().join(", ");
        let find = |name: &str| all.iter().find(|node| node.name == name);
        let refuse =
            |reason, remedy| Err(LoadError::new(&self.name, Fault::Image { reason, remedy }));
        if let Some(wanted) = wanted {
            return match find(wanted) {
                Some(node) => Ok(node),
                None => refuse(
                    format!("the FIT image has no configuration {wanted:?}, only {names}"),
                    "choose one of these with --fit-config",
                ),
            };
        }
        let default = self.tree.root.child("configurations");
        let default = default.and_then(|node| node.strings("default").into_iter().next());
        match (&default, all) {
            (Some(default), _) => find(default).ok_or_else(|| {
                self.error(format!("the default configuration {default:?} of the FIT image does not exist, only {names}"))
            }),
            (None, [only]) => Ok(only),
            (None, []) => Err(self.error("the FIT image has no configuration".to_owned())),
            (None, _) => refuse(
                format!("the FIT image has no default configuration, only {names}"),
                "choose one of these with --fit-config",
            ),
        }
    }

    /// Reads a configuration's images, their hashes verified.
    pub(super) fn configuration(&self, wanted: Option<&str>) -> Result<Configuration, LoadError> {
        let configuration = self.choose(wanted)?;
        let list = |property: &str| configuration.strings(property);
        let one = |property: &str| {
            let names = list(property);
            match names.as_slice() {
                [] => Ok(None),
                [name] => self.image(name).map(Some),
                several => Err(self.error(format!(
                    "configuration {:?} names {} images as its {property}, and only one can be used",
                    configuration.name,
                    several.len()
                ))),
            }
        };
        let Some(kernel) = one("kernel")? else {
            let reason = format!("configuration {:?} has no kernel", configuration.name);
            return Err(self.error(reason));
        };
        self.expect(kernel, "type", &["kernel", "kernel_noload"])?;
        self.expect(kernel, "arch", &["ppc", "powerpc"])?;
        self.expect(kernel, "os", &["linux"])?;
        let noload = kernel
            .strings("type")
            .iter()
            .any(|kind| kind == "kernel_noload");
        let entry = self.address(kernel, "entry")?;
        let target = match noload {
            true => None,
            false => Some(Target {
                load: self.address(kernel, "load")?,
                entry,
                marks: None,
            }),
        };
        let plain = |property| {
            let node = one(property)?;
            node.map(|node| self.uncompressed(node).map(<[u8]>::to_vec))
                .transpose()
        };
        let loadables = list("loadables")
            .iter()
            .map(|name| {
                let node = self.image(name)?;
                let bytes = self.uncompressed(node)?.to_vec();
                Ok((self.address(node, "load")?, bytes))
            })
            .collect::<Result<_, LoadError>>()?;
        Ok(Configuration {
            name: configuration.name.clone(),
            compression: self.compression(kernel)?,
            kernel: self.data(kernel)?.to_vec(),
            target,
            entry,
            tree: plain("fdt")?,
            initrd: plain("ramdisk")?,
            loadables,
        })
    }

    /// The data of an image that is used as it is stored.
    fn uncompressed<'a>(&'a self, node: &'a Node) -> Result<&'a [u8], LoadError> {
        let is_ramdisk = node.strings("type").iter().any(|kind| kind == "ramdisk");
        match self.compression(node)? {
            // The kernel unpacks its initrd itself.
            Some(known) if !is_ramdisk => {
                let reason = format!(
                    "image {:?} is {known} data, as only a kernel can be",
                    node.name
                );
                Err(self.error(reason))
            }
            _ => self.data(node),
        }
    }

    fn image(&self, name: &str) -> Result<&Node, LoadError> {
        let images = self.tree.root.child("images");
        images.and_then(|images| images.child(name)).ok_or_else(|| {
            self.error(format!(
                "the FIT image names image {name:?}, which it does not have"
            ))
        })
    }

    fn expect(&self, node: &Node, property: &str, wanted: &[&str]) -> Result<(), LoadError> {
        let found = node.strings(property);
        if found.iter().any(|value| wanted.contains(&value.as_str())) {
            return Ok(());
        }
        let reason = format!(
            "image {:?} of the FIT image has the {property} {:?}, not {:?}",
            node.name,
            found.first().map_or("", String::as_str),
            wanted[0]
        );
        let remedy = "pass a FIT image with a linux kernel for powerpc";
        Err(LoadError::new(&self.name, Fault::image(reason, remedy)))
    }

    fn compression(&self, node: &Node) -> Result<Option<Compression>, LoadError> {
        Ok(Some(
            match node.strings("compression").first().map(String::as_str) {
                None | Some("none") => return Ok(None),
                Some("gzip") => Compression::Gzip,
                Some("bzip2") => Compression::Bzip2,
                Some("lzma") => Compression::Lzma,
                Some("lzo") => Compression::Lzo,
                Some("lz4") => Compression::Lz4,
                Some("zstd") => Compression::Zstd,
                Some("xz") => Compression::Xz,
                Some(other) => {
                    let reason = format!(
                        "image {:?} has the unknown compression {other:?}",
                        node.name
                    );
                    return Err(self.error(reason));
                }
            },
        ))
    }

    /// An address of as many cells as it has.
    fn address(&self, node: &Node, property: &str) -> Result<u32, LoadError> {
        match node.cells(property).as_deref() {
            Some([address] | [0, address]) => Ok(*address),
            Some(cells) => {
                let reason = format!(
                    "the {property} address {cells:x?} of image {:?} is not one of 32 bits",
                    node.name
                );
                Err(self.error(reason))
            }
            None => Err(self.error(format!("image {:?} has no {property} address", node.name))),
        }
    }

    /// An image's data as stored, its hashes verified.
    fn data<'a>(&'a self, node: &'a Node) -> Result<&'a [u8], LoadError> {
        if node.child("cipher").is_some() || node.property("cipher").is_some() {
            let reason = format!("image {:?} is encrypted", node.name);
            let remedy = "pass an image that is not: there is no key here";
            return Err(LoadError::new(&self.name, Fault::image(reason, remedy)));
        }
        let data = self.stored(node)?;
        for hash in hashes(node) {
            let algorithm = hash.strings("algo").into_iter().next().unwrap_or_default();
            let Some(actual) = digest(&algorithm, data) else {
                let reason = format!(
                    "image {:?} has a hash of the unknown kind {algorithm:?}",
                    node.name
                );
                return Err(self.error(reason));
            };
            let expected = hash.property("value").unwrap_or_default();
            if actual != expected {
                let fault = Fault::Checksum(Box::new(BadChecksum {
                    sum: algorithm,
                    what: format!("image {:?}", node.name),
                    place: "the FIT image",
                    actual: hex(&actual),
                    expected: hex(expected),
                }));
                return Err(LoadError::new(&self.name, fault));
            }
        }
        Ok(data)
    }

    /// An image's data as stored: in the tree, or after it.
    fn stored<'a>(&'a self, node: &'a Node) -> Result<&'a [u8], LoadError> {
        if let Some(data) = node.property("data") {
            return Ok(data);
        }
        let cell = |property| node.cell(property).map(u64::from);
        let start = cell("data-position")
            .or_else(|| cell("data-offset").map(|offset| self.external + offset));
        let (Some(start), Some(needed)) = (start, cell("data-size")) else {
            let reason = format!("image {:?} of the FIT image has no data", node.name);
            return Err(self.error(reason));
        };
        let present = (self.bytes.len() as u64).saturating_sub(start);
        let position = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let range = position(start)..position(start + needed);
        self.bytes.get(range).ok_or_else(|| {
            let what = "FIT image's external data";
            let fault = Fault::Truncated {
                what,
                needed,
                present,
            };
            LoadError::at(&self.name, start, fault)
        })
    }

    /// Says what is in the image, also in a damaged one.
    pub(super) fn describe(&self, section: &mut Section) {
        section.title = "FIT image".to_owned();
        if let Some(text) = self.tree.root.strings("description").first() {
            section.field("description", text);
        }
        let default = self.tree.root.child("configurations");
        let default = default.and_then(|node| node.strings("default").into_iter().next());
        if let Some(default) = default {
            section.field("default", default);
        }
        for configuration in self.configurations() {
            let parts = ["kernel", "fdt", "ramdisk", "loadables"]
                .iter()
                .filter(|part| configuration.property(part).is_some())
                .map(|part| format!("{part} {}", configuration.strings(part).join(" ")));
            let parts = parts.collect::<Vec<_>>().join(", ");
            section.field(format!("configuration {}", configuration.name), parts);
        }
        let images = self.tree.root.child("images");
        for image in images.map_or(&[][..], |images| &images.children) {
            section.inside.push(self.describe_image(image));
        }
    }

    fn describe_image(&self, image: &Node) -> Section {
        let mut section = Section::new(format!("image {}", image.name));
        for property in ["description", "type", "arch", "os", "compression"] {
            if let Some(text) = image.strings(property).first() {
                section.field(property, text);
            }
        }
        for property in ["load", "entry"] {
            if let Ok(address) = self.address(image, property) {
                section.field(property, format!("{address:#010x}"));
            }
        }
        let data = match self.stored(image) {
            Ok(data) => data,
            Err(error) => {
                section.field("data", error.fault.to_string());
                return section;
            }
        };
        section.field("data", size(data.len() as u64));
        for hash in hashes(image) {
            let algorithm = hash.strings("algo").into_iter().next().unwrap_or_default();
            let expected = hash.property("value").unwrap_or_default();
            let value = match digest(&algorithm, data) {
                None => "unknown kind of hash".to_owned(),
                Some(actual) if actual == expected => format!("{} ok", hex(expected)),
                Some(actual) => format!("{} bad: the data has {}", hex(expected), hex(&actual)),
            };
            section.field(algorithm, value);
        }
        section
    }
}

/// An image's hash nodes.
fn hashes(image: &Node) -> impl Iterator<Item = &Node> {
    let is_hash = |node: &&Node| {
        node.name == "hash" || node.name.starts_with("hash-") || node.name.starts_with("hash@")
    };
    image.children.iter().filter(is_hash)
}

fn digest(algorithm: &str, data: &[u8]) -> Option<Vec<u8>> {
    Some(match algorithm {
        "crc32" => crc32fast::hash(data).to_be_bytes().to_vec(),
        "md5" => Md5::digest(data).to_vec(),
        "sha1" => Sha1::digest(data).to_vec(),
        "sha256" => Sha256::digest(data).to_vec(),
        "sha384" => Sha384::digest(data).to_vec(),
        "sha512" => Sha512::digest(data).to_vec(),
        _ => return None,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
