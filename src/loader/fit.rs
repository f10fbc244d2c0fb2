//! FIT images: a device tree that holds images with their hashes, and configurations that name a
//! kernel, device trees and an initrd which belong together.
//!
//! Format: U-Boot's "Flat Image Tree Specification", read as U-Boot's `bootm` reads it. Hashes are
//! verified; signatures are not, for there is no key here to trust.

use super::Target;
use super::detect::Compression;
use super::error::{BadChecksum, Fault, LoadError};
use super::report::{Section, shortened, size};
use super::source::Source;
use super::unpack::unpack;
use crate::remedy::Remedy;
use bytes::Bytes;
use md5::Md5;
use ppckvm_fdt::Tree;
use ppckvm_fdt::blob::Node;
use sha1::Sha1;
use sha2::digest::Digest;
use sha2::{Sha256, Sha384, Sha512};
use std::collections::{BTreeMap, HashMap, HashSet};

/// How many hashes an image may have: there are six kinds.
const HASHES: usize = 16;

/// How many images a configuration may name in one list.
const LIST: usize = 1024;

/// A FIT file, read whole.
pub(super) struct Fit {
    source: Source,
    /// The tree without the images' data.
    root: Node,
    /// What [`Image::number`] counts.
    images: Vec<Stored>,
    names: HashMap<String, usize>,
    ram: u32,
}

/// An image's data as it lies in the file.
enum Stored {
    Data(Bytes),
    Missing,
    Truncated {
        start: u64,
        needed: u64,
        present: u64,
    },
}

/// An image's hash.
struct Hash<'a> {
    algorithm: String,
    expected: &'a [u8],
    /// What the data has, if the kind is known.
    actual: Option<Vec<u8>>,
}

/// Images with their load addresses, and what is left out, one line each.
type Loadables = (Vec<(u32, Bytes)>, Vec<String>);

/// One of the images.
#[derive(Clone, Copy)]
struct Image<'a> {
    node: &'a Node,
    number: usize,
}

/// What a configuration starts.
pub(super) struct Configuration {
    pub name: String,
    /// The kernel as stored.
    pub kernel: Bytes,
    pub compression: Option<Compression>,
    /// Where the kernel goes; none for one that runs where it lies.
    pub target: Option<Target>,
    /// The entry point in a kernel that runs where it lies, from its start.
    pub entry: u32,
    /// A device tree, and the overlays to apply to it, each with its image's name.
    pub trees: Vec<(String, Bytes)>,
    pub initrd: Option<Bytes>,
    /// Further images with their load addresses.
    pub loadables: Vec<(u32, Bytes)>,
    /// What is left out, one line each.
    pub notes: Vec<String>,
}

const REBUILD: &str = "correct the its file and build the image again with mkimage";

impl Fit {
    /// Takes up a tree that has `/images`, and the file that it was read from.
    pub(super) fn new(source: Source, tree: Tree, ram: u32) -> Result<Fit, LoadError> {
        let bytes = source.bytes(ram)?;
        // The tree was read from these bytes, so they start with its header.
        let total = bytes.get(4..8).and_then(|word| word.try_into().ok());
        let total = u32::from_be_bytes(total.unwrap_or_default());
        // External data starts after the tree, on a boundary of 4 bytes.
        let external = u64::from(total).next_multiple_of(4);
        let mut root = tree.root;
        let images = root.child_mut("images").map(|node| &mut node.children);
        let images = images.map_or(&mut [][..], |images| images);
        let mut names = HashMap::new();
        for (number, image) in images.iter().enumerate() {
            names.entry(image.name.clone()).or_insert(number);
        }
        let images = images
            .iter_mut()
            .map(|image| stored(image, &bytes, external))
            .collect();
        Ok(Fit {
            source,
            root,
            images,
            names,
            ram,
        })
    }

    fn error(&self, reason: String) -> LoadError {
        self.source.error(Fault::image(reason, REBUILD))
    }

    fn configurations(&self) -> &[Node] {
        let node = self.root.child("configurations");
        node.map_or(&[], |node| &node.children)
    }

    fn default(&self) -> Option<String> {
        let node = self.root.child("configurations")?;
        Some(node.string("default")?.into_owned())
    }

    /// The configuration that is asked for, or the default one, or the only one.
    fn choose(&self, wanted: Option<&str>) -> Result<&Node, LoadError> {
        let all = self.configurations();
        let names = || shortened(all.iter().map(|node| node.name.as_str()), ", ");
        let find = |name: &str| all.iter().find(|node| node.name == name);
        let refuse = |reason, remedy| Err(self.source.error(Fault::Image { reason, remedy }));
        if let Some(wanted) = wanted {
            return match find(wanted) {
                Some(node) => Ok(node),
                None => refuse(
                    format!(
                        "the FIT image has no configuration {wanted:?}, only {}",
                        names()
                    ),
                    Remedy::ChooseFitConfig,
                ),
            };
        }
        match (self.default(), all) {
            (Some(default), _) => find(&default).ok_or_else(|| {
                let names = names();
                self.error(format!(
                    "the default configuration {default:?} of the FIT image does not exist, only \
                     {names}"
                ))
            }),
            (None, [only]) => Ok(only),
            (None, []) => Err(self.error("the FIT image has no configuration".to_owned())),
            (None, _) => refuse(
                format!(
                    "the FIT image has no default configuration, only {}",
                    names()
                ),
                Remedy::ChooseFitConfig,
            ),
        }
    }

    /// Reads a configuration's images, their hashes verified.
    pub(super) fn configuration(&self, wanted: Option<&str>) -> Result<Configuration, LoadError> {
        let configuration = self.choose(wanted)?;
        let Some(kernel) = self.one(configuration, "kernel")? else {
            let reason = format!("configuration {:?} has no kernel", configuration.name);
            return Err(self.error(reason));
        };
        self.expect(kernel.node, "type", &["kernel", "kernel_noload"])?;
        self.expect(kernel.node, "arch", &["ppc", "powerpc"])?;
        self.expect(kernel.node, "os", &["linux"])?;
        let noload = kernel
            .node
            .each_string("type")
            .any(|kind| kind == "kernel_noload");
        let entry = self.address(kernel.node, "entry")?;
        let target = match noload {
            true => None,
            false => Some(Target {
                load: self.address(kernel.node, "load")?,
                entry,
                marks: None,
            }),
        };
        let ramdisk = self.one(configuration, "ramdisk")?;
        let trees = self.list(configuration, "fdt")?;
        let mut used = HashSet::from([kernel.number]);
        used.extend(ramdisk.iter().chain(&trees).map(|image| image.number));
        let (loadables, notes) = self.loadables(configuration, used)?;
        let tree = |image: &Image<'_>| Ok((image.node.name.clone(), self.plain(*image)?));
        Ok(Configuration {
            name: configuration.name.clone(),
            compression: self.compression(kernel.node)?,
            kernel: self.data(kernel)?,
            target,
            entry,
            trees: trees.iter().map(tree).collect::<Result<_, LoadError>>()?,
            initrd: ramdisk.map(|image| self.data(image)).transpose()?,
            loadables,
            notes,
        })
    }

    /// The image that a configuration names where only one can be used.
    fn one<'a>(
        &'a self,
        configuration: &Node,
        property: &str,
    ) -> Result<Option<Image<'a>>, LoadError> {
        let images = self.list(configuration, property)?;
        match images.as_slice() {
            [] => Ok(None),
            [image] => Ok(Some(*image)),
            several => Err(self.error(format!(
                "configuration {:?} names {} images as its {property}, and only one can be used",
                configuration.name,
                several.len()
            ))),
        }
    }

    /// The images that a configuration names in a list.
    fn list<'a>(
        &'a self,
        configuration: &Node,
        property: &str,
    ) -> Result<Vec<Image<'a>>, LoadError> {
        let names = configuration.each_string(property).take(LIST + 1);
        let images = names
            .map(|name| self.image(&name))
            .collect::<Result<Vec<_>, _>>()?;
        if images.len() > LIST {
            return Err(self.error(format!(
                "configuration {:?} names more than {LIST} images as its {property}",
                configuration.name
            )));
        }
        Ok(images)
    }

    /// The further images of a configuration that have a place of their own, and a line for each
    /// that has none: U-Boot leaves those where they are in the file, which is not in memory here.
    /// What the configuration uses otherwise, as mkimage lists the kernel, is not loaded twice.
    fn loadables(
        &self,
        configuration: &Node,
        mut used: HashSet<usize>,
    ) -> Result<Loadables, LoadError> {
        let (mut loadables, mut notes) = (Vec::new(), Vec::new());
        let mut places = BTreeMap::new();
        for image in self.list(configuration, "loadables")? {
            let name = &image.node.name;
            if !used.insert(image.number) {
                continue;
            }
            if image.node.property("load").is_none() {
                notes.push(format!(
                    "loadable {name:?} of the FIT image has no load address and is left out"
                ));
                continue;
            }
            let gpa = self.address(image.node, "load")?;
            // Before its bytes are hashed or unpacked: what the places allow is at most RAM.
            self.check_place(&places, image, gpa, self.stored(image)?.len())?;
            let bytes = self.plain(image)?;
            let end = self.check_place(&places, image, gpa, bytes.len())?;
            places.insert(gpa, (end, image));
            loadables.push((gpa, bytes));
        }
        Ok((loadables, notes))
    }

    /// Checks that an image goes to memory that there is and that no other takes; returns the first
    /// address after it. The others are by address, each with the first address after it.
    fn check_place(
        &self,
        places: &BTreeMap<u32, (u64, Image<'_>)>,
        image: Image<'_>,
        gpa: u32,
        len: usize,
    ) -> Result<u64, LoadError> {
        let end = u64::from(gpa) + len as u64;
        let name = &image.node.name;
        if end > u64::from(self.ram) {
            let ram = self.ram;
            let reason =
                format!("image {name:?} goes to {gpa:#x} up to {end:#x}, but ram ends at {ram:#x}");
            let remedy = "give the guest more memory, or correct the load address in the its file";
            return Err(self.source.error(Fault::image(reason, remedy)));
        }
        let below = places.range(..=gpa).next_back();
        let above = places.range(gpa.saturating_add(1)..).next();
        let in_the_way = below
            .filter(|(_, (other, _))| *other > u64::from(gpa))
            .or(above.filter(|(start, _)| u64::from(**start) < end));
        if let Some((start, (_, owner))) = in_the_way {
            return Err(self.error(format!(
                "image {name:?} at {gpa:#x} overlaps image {:?} at {start:#x} in memory",
                owner.node.name
            )));
        }
        Ok(end)
    }

    /// The data of an image that U-Boot unpacks when it loads it: all but kernels and initrds.
    fn plain(&self, image: Image<'_>) -> Result<Bytes, LoadError> {
        let data = self.data(image)?;
        let is_ramdisk = image.node.each_string("type").any(|kind| kind == "ramdisk");
        match self.compression(image.node)? {
            Some(known) if !is_ramdisk => {
                let budget = self.source.budget();
                let unpacked = unpack(known, &data, self.ram.into(), budget);
                let unpacked = unpacked.map_err(|fault| {
                    let name = format!("image {:?}", image.node.name);
                    LoadError::new(&super::named(&self.source, &name), fault)
                });
                Ok(unpacked?.into())
            }
            _ => Ok(data),
        }
    }

    fn image(&self, name: &str) -> Result<Image<'_>, LoadError> {
        let found = self.names.get(name).and_then(|number| {
            let node = self.root.child("images")?.children.get(*number)?;
            Some(Image {
                node,
                number: *number,
            })
        });
        found.ok_or_else(|| {
            self.error(format!(
                "the FIT image names image {name:?}, which it does not have"
            ))
        })
    }

    fn expect(&self, node: &Node, property: &str, wanted: &[&str]) -> Result<(), LoadError> {
        if node
            .each_string(property)
            .any(|value| wanted.contains(&&*value))
        {
            return Ok(());
        }
        let reason = format!(
            "image {:?} of the FIT image has the {property} {:?}, not {:?}",
            node.name,
            node.string(property).unwrap_or_default(),
            wanted[0]
        );
        let remedy = "pass a FIT image with a linux kernel for powerpc";
        Err(self.source.error(Fault::image(reason, remedy)))
    }

    fn compression(&self, node: &Node) -> Result<Option<Compression>, LoadError> {
        Ok(Some(match node.string("compression").as_deref() {
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
        }))
    }

    /// An address of as many cells as it has.
    fn address(&self, node: &Node, property: &str) -> Result<u32, LoadError> {
        let value = node.property(property);
        match value.map(|value| value.as_chunks::<4>()) {
            Some(([address] | [[0, 0, 0, 0], address], [])) => Ok(u32::from_be_bytes(*address)),
            Some(_) => {
                let reason = format!(
                    "the {property} address of image {:?} is not one of 32 bits",
                    node.name
                );
                Err(self.error(reason))
            }
            None => Err(self.error(format!("image {:?} has no {property} address", node.name))),
        }
    }

    /// An image's data as stored, its hashes verified.
    fn data(&self, image: Image<'_>) -> Result<Bytes, LoadError> {
        let node = image.node;
        if node.child("cipher").is_some() || node.property("cipher").is_some() {
            let reason = format!("image {:?} is encrypted", node.name);
            let remedy = "pass an image that is not: there is no key here";
            return Err(self.source.error(Fault::image(reason, remedy)));
        }
        let data = self.stored(image)?;
        for hash in self.hashes(node, data)? {
            let Hash {
                algorithm,
                expected,
                actual,
            } = hash;
            let Some(actual) = actual else {
                let reason = format!(
                    "image {:?} has a hash of the unknown kind {algorithm:?}",
                    node.name
                );
                return Err(self.error(reason));
            };
            if actual != expected {
                let fault = Fault::Checksum(Box::new(BadChecksum {
                    sum: algorithm,
                    what: format!("image {:?}", node.name),
                    place: "the FIT image",
                    actual: hex(&actual),
                    expected: hex(expected),
                }));
                return Err(self.source.error(fault));
            }
        }
        Ok(data.clone())
    }

    /// An image's hashes; the data is hashed once for each kind.
    fn hashes<'a>(&self, node: &'a Node, data: &Bytes) -> Result<Vec<Hash<'a>>, LoadError> {
        let nodes = hash_nodes(node).take(HASHES + 1).collect::<Vec<_>>();
        if nodes.len() > HASHES {
            return Err(self.error(format!(
                "image {:?} has more than {HASHES} hashes, and there are six kinds",
                node.name
            )));
        }
        let mut known: HashMap<String, Option<Vec<u8>>> = HashMap::new();
        let mut hashes = Vec::new();
        for hash in nodes {
            let algorithm = hash.string("algo").unwrap_or_default().into_owned();
            let actual = match known.get(&algorithm) {
                Some(actual) => actual.clone(),
                None => {
                    self.source.spend(data.len() as u64)?;
                    let actual = digest(&algorithm, data);
                    known.insert(algorithm.clone(), actual.clone());
                    actual
                }
            };
            hashes.push(Hash {
                algorithm,
                expected: hash.property("value").unwrap_or_default(),
                actual,
            });
        }
        Ok(hashes)
    }

    /// An image's data as stored.
    fn stored(&self, image: Image<'_>) -> Result<&Bytes, LoadError> {
        match &self.images[image.number] {
            Stored::Data(bytes) => Ok(bytes),
            Stored::Missing => {
                let name = &image.node.name;
                Err(self.error(format!("image {name:?} of the FIT image has no data")))
            }
            Stored::Truncated {
                start,
                needed,
                present,
            } => Err(self.source.error_at(
                *start,
                Fault::Truncated {
                    what: "FIT image's external data",
                    needed: *needed,
                    present: *present,
                },
            )),
        }
    }

    /// Says what is in the image, also in a damaged one.
    pub(super) fn describe(&self, section: &mut Section) {
        section.title = "FIT image".to_owned();
        if let Some(text) = self.root.string("description") {
            section.field("description", text);
        }
        if let Some(default) = self.default() {
            section.field("default", default);
        }
        for configuration in self.configurations() {
            let parts = ["kernel", "fdt", "ramdisk", "loadables"]
                .iter()
                .filter(|part| configuration.property(part).is_some())
                .map(|part| {
                    let names = shortened(configuration.each_string(part), " ");
                    format!("{part} {names}")
                });
            let parts = parts.collect::<Vec<_>>().join(", ");
            section.field(format!("configuration {}", configuration.name), parts);
        }
        let images = self.root.child("images");
        let images = images.map_or(&[][..], |images| &images.children);
        for (number, node) in images.iter().enumerate() {
            let image = Image { node, number };
            section.inside.push(self.describe_image(image));
        }
    }

    fn describe_image(&self, image: Image<'_>) -> Section {
        let node = image.node;
        let mut section = Section::new(format!("image {}", node.name));
        for property in ["description", "type", "arch", "os", "compression"] {
            if let Some(text) = node.string(property) {
                section.field(property, text);
            }
        }
        for property in ["load", "entry"] {
            if let Ok(address) = self.address(node, property) {
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
        let hashes = match self.hashes(node, data) {
            Ok(hashes) => hashes,
            Err(error) => {
                section.field("hashes", error.fault.to_string());
                return section;
            }
        };
        for hash in hashes {
            let expected = hash.expected;
            let value = match hash.actual {
                None => "unknown kind of hash".to_owned(),
                Some(actual) if actual == expected => format!("{} ok", hex(expected)),
                Some(actual) => format!("{} bad: the data has {}", hex(expected), hex(&actual)),
            };
            section.field(hash.algorithm, value);
        }
        section
    }
}

/// An image's data, taken out of the tree, or found after it.
fn stored(image: &mut Node, bytes: &Bytes, external: u64) -> Stored {
    let inline = image.properties.iter_mut().find(|p| p.name == "data");
    if let Some(property) = inline {
        return Stored::Data(std::mem::take(&mut property.value).into());
    }
    let cell = |property| image.cell(property).map(u64::from);
    let start = cell("data-position")
        .or_else(|| cell("data-offset").map(|offset| external.saturating_add(offset)));
    let (Some(start), Some(needed)) = (start, cell("data-size")) else {
        return Stored::Missing;
    };
    let present = (bytes.len() as u64).saturating_sub(start);
    if needed > present {
        return Stored::Truncated {
            start,
            needed,
            present,
        };
    }
    // Both are inside the file, which is in memory.
    let position = |at: u64| usize::try_from(at).unwrap_or(bytes.len());
    Stored::Data(bytes.slice(position(start).min(bytes.len())..position(start + needed)))
}

/// An image's hash nodes.
fn hash_nodes(image: &Node) -> impl Iterator<Item = &Node> {
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

/// A hash as hexadecimal digits; the longest kind has 64 bytes.
fn hex(bytes: &[u8]) -> String {
    let bytes = bytes.iter().take(64);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}
