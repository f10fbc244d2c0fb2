//! Overlays: trees of additions and changes, applied to another tree as U-Boot and `fdtoverlay` do.
//!
//! An overlay's nodes lie in fragments, each with the place in the base tree where its
//! `__overlay__` node is merged. Its phandles are moved beyond the base's; `__local_fixups__` says
//! where it uses them, `__fixups__` where it uses labels of the base, which `__symbols__` there
//! leads to nodes.

use crate::blob::{Node, Tree};
use std::collections::HashMap;

/// The highest phandle that a node can have.
const MAX_PHANDLE: u32 = 0xFFFF_FFFE;

/// How deep an overlay may nest where it is merged, as a blob may.
const MAX_DEPTH: usize = 64;

/// Why an overlay cannot be applied. The base tree is then of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverlayError {
    /// The base has no symbols, and the overlay uses labels of it.
    #[error(
        "it refers to the label {0:?}, and the base tree has no __symbols__; compile the base with 'dtc -@'"
    )]
    NoSymbols(String),
    /// A label that the base does not have.
    #[error(
        "it refers to the label {0:?}, which the base tree does not have; correct the overlay, or add the label to the base"
    )]
    Label(String),
    /// A symbol of the base that leads to no node, or to one without a phandle.
    #[error(
        "the label {label:?} leads to {path}, which the base tree does not have or which has no phandle; compile the base with 'dtc -@'"
    )]
    Symbol {
        /// The label.
        label: String,
        /// Where it leads.
        path: String,
    },
    /// A place that a fixup names and the overlay does not have.
    #[error("the fixup {0:?} leads nowhere; compile the overlay again with 'dtc -@'")]
    Fixup(String),
    /// A fragment without a target, or with one that the base does not have.
    #[error(
        "the target of {0} is not in the base tree; correct the overlay, or pass the base that it is for"
    )]
    Target(String),
    /// An overlay without fragments.
    #[error("it has no fragment with an __overlay__ node; compile it with '/plugin/;'")]
    Empty,
    /// Phandles are used up.
    #[error("its phandles and those of the base are more than there can be; renumber them")]
    Phandles,
    /// Merged nodes would nest deeper than a blob can.
    #[error("nodes would nest deeper than {MAX_DEPTH}; correct the target paths")]
    Depth,
}

/// The way from the root to a node: the index of the child at each level.
type NodePath = Vec<usize>;

impl Tree {
    /// Applies an overlay to this tree.
    ///
    /// # Errors
    /// An overlay that does not fit the tree, which may then be changed in part.
    pub fn apply(&mut self, overlay: &Tree) -> Result<(), OverlayError> {
        let mut overlay = overlay.root.clone();
        let highest = highest_phandle(&self.root);
        if !add_to_phandles(&mut overlay, highest) {
            return Err(OverlayError::Phandles);
        }
        if let Some(fixups) = take_child(&mut overlay, "__local_fixups__") {
            change_references(&mut overlay, &fixups, &|phandle| {
                phandle.checked_add(highest)
            })?;
            self.resolve(&mut overlay)?;
            self.keep_phandles(&mut overlay, &fixups)?;
        } else {
            self.resolve(&mut overlay)?;
            self.keep_phandles(&mut overlay, &Node::default())?;
        }
        self.merge_fragments(overlay)
    }

    /// Writes the base's phandles where the overlay uses its labels.
    fn resolve(&self, overlay: &mut Node) -> Result<(), OverlayError> {
        let Some(fixups) = take_child(overlay, "__fixups__") else {
            return Ok(());
        };
        for fixup in &fixups.properties {
            let label = &fixup.name;
            let phandle = self.phandle_of(label)?;
            for reference in fixups.each_string(label) {
                let wrong = || OverlayError::Fixup(reference.clone().into_owned());
                let mut parts = reference.splitn(3, ':');
                let (Some(path), Some(property), Some(offset)) =
                    (parts.next(), parts.next(), parts.next())
                else {
                    return Err(wrong());
                };
                let place = place_of(overlay, path).ok_or_else(wrong)?;
                let offset = offset.parse().map_err(|_| wrong())?;
                let cell = cell_at(node_at(overlay, &place), property, offset);
                *cell.ok_or_else(wrong)? = phandle.to_be_bytes();
            }
        }
        Ok(())
    }

    fn phandle_of(&self, label: &str) -> Result<u32, OverlayError> {
        let symbols = self.root.child("__symbols__");
        let symbols = symbols.ok_or_else(|| OverlayError::NoSymbols(label.to_owned()))?;
        let path = symbols.string(label);
        let path = path.ok_or_else(|| OverlayError::Label(label.to_owned()))?;
        let phandle = self.node(&path).and_then(phandle);
        phandle.ok_or_else(|| OverlayError::Symbol {
            label: label.to_owned(),
            path: path.into_owned(),
        })
    }

    /// Gives nodes that both trees have, each with a phandle, the base's: its own users know it.
    fn keep_phandles(&self, overlay: &mut Node, local: &Node) -> Result<(), OverlayError> {
        let mut renamed = HashMap::new();
        for fragment in &mut overlay.children {
            let place = target(&self.root, fragment);
            if let (Some(place), Some(content)) = (place, fragment.child_mut("__overlay__")) {
                let base = place
                    .iter()
                    .fold(&self.root, |node, at| &node.children[*at]);
                keep_phandles(base, content, &mut renamed);
            }
        }
        if renamed.is_empty() {
            return Ok(());
        }
        change_references(overlay, local, &|phandle| {
            Some(renamed.get(&phandle).copied().unwrap_or(phandle))
        })
    }

    fn merge_fragments(&mut self, mut overlay: Node) -> Result<(), OverlayError> {
        let symbols = take_child(&mut overlay, "__symbols__");
        // Where each fragment went, for the symbols.
        let mut targets = HashMap::new();
        let is_fragment = |node: &Node| node.child("__overlay__").is_some();
        if !overlay.children.iter().any(is_fragment) {
            return Err(OverlayError::Empty);
        }
        for mut fragment in overlay.children {
            let Some(content) = take_child(&mut fragment, "__overlay__") else {
                continue;
            };
            let place = target(&self.root, &fragment);
            let place = place.ok_or_else(|| OverlayError::Target(fragment.name.clone()))?;
            targets.insert(fragment.name, path_of(&self.root, &place));
            let depth = MAX_DEPTH.checked_sub(place.len() + 1);
            let depth = depth.ok_or(OverlayError::Depth)?;
            merge(node_at(&mut self.root, &place), content, depth)?;
        }
        if let Some(symbols) = symbols {
            self.add_symbols(&symbols, &targets);
        }
        Ok(())
    }

    /// Adds the overlay's labels, which later overlays may use, with paths of the merged tree.
    fn add_symbols(&mut self, symbols: &Node, targets: &HashMap<String, String>) {
        if self.root.child("__symbols__").is_none() {
            self.root.children.push(Node::new("__symbols__"));
        }
        let own = self
            .root
            .child_mut("__symbols__")
            .expect("it was made above");
        for label in &symbols.properties {
            let path = symbols.string(&label.name).unwrap_or_default();
            let parts = path.strip_prefix('/').and_then(|rest| {
                let (fragment, rest) = rest.split_once('/')?;
                let inside = rest.strip_prefix("__overlay__")?;
                (inside.is_empty() || inside.starts_with('/')).then_some((fragment, inside))
            });
            // A label of something else than an overlay's content is of no use to others.
            let Some((fragment, inside)) = parts else {
                continue;
            };
            if let Some(target) = targets.get(fragment) {
                let path = format!("{}{inside}", target.trim_end_matches('/'));
                own.set_string(&label.name, if path.is_empty() { "/" } else { &path });
            }
        }
    }
}

fn phandle(node: &Node) -> Option<u32> {
    node.cell("phandle").or_else(|| node.cell("linux,phandle"))
}

fn highest_phandle(node: &Node) -> u32 {
    let below = node.children.iter().map(highest_phandle);
    let own = phandle(node).filter(|phandle| *phandle <= MAX_PHANDLE);
    below.max().unwrap_or(0).max(own.unwrap_or(0))
}

/// Moves all phandles of an overlay; false where that is beyond the highest.
fn add_to_phandles(node: &mut Node, delta: u32) -> bool {
    for name in ["phandle", "linux,phandle"] {
        if let Some(own) = node.cell(name) {
            match own.checked_add(delta).filter(|moved| *moved <= MAX_PHANDLE) {
                Some(moved) => node.set_cells(name, &[moved]),
                None => return false,
            }
        }
    }
    node.children
        .iter_mut()
        .all(|child| add_to_phandles(child, delta))
}

/// Changes the overlay's uses of its own phandles, which `fixups` lists: a tree of the same nodes,
/// whose properties hold offsets into the properties of that name.
fn change_references(
    node: &mut Node,
    fixups: &Node,
    change: &impl Fn(u32) -> Option<u32>,
) -> Result<(), OverlayError> {
    for fixup in &fixups.properties {
        let wrong = || OverlayError::Fixup(format!("{}:{}", node.name, fixup.name));
        let (offsets, []) = fixup.value.as_chunks::<4>() else {
            return Err(wrong());
        };
        for offset in offsets {
            let offset = u32::from_be_bytes(*offset) as usize;
            let wrong = || OverlayError::Fixup(format!("{}:{offset}", fixup.name));
            let cell = cell_at(node, &fixup.name, offset).ok_or_else(wrong)?;
            let changed = change(u32::from_be_bytes(*cell));
            *cell = changed.ok_or(OverlayError::Phandles)?.to_be_bytes();
        }
    }
    for child in &fixups.children {
        let node = node.child_mut(&child.name);
        let node = node.ok_or_else(|| OverlayError::Fixup(child.name.clone()))?;
        change_references(node, child, change)?;
    }
    Ok(())
}

/// The four bytes of a property at an offset, which need not be aligned.
fn cell_at<'a>(node: &'a mut Node, property: &str, offset: usize) -> Option<&'a mut [u8; 4]> {
    let mut properties = node.properties.iter_mut();
    let property = properties.find(|other| other.name == property)?;
    property.value.get_mut(offset..)?.first_chunk_mut::<4>()
}

fn take_child(node: &mut Node, name: &str) -> Option<Node> {
    let position = node.children.iter().position(|child| child.name == name)?;
    Some(node.children.remove(position))
}

fn node_at<'a>(root: &'a mut Node, place: &NodePath) -> &'a mut Node {
    place
        .iter()
        .fold(root, |node, index| &mut node.children[*index])
}

fn path_of(root: &Node, place: &NodePath) -> String {
    let (mut node, mut path) = (root, String::new());
    for index in place {
        node = &node.children[*index];
        path = format!("{path}/{}", node.name);
    }
    path
}

/// The child of a name, which may leave its unit address out where no child has none.
fn child_named(node: &Node, name: &str) -> Option<usize> {
    let exact = node.children.iter().position(|child| child.name == name);
    exact.or_else(|| {
        let short = |child: &Node| child.name.split('@').next() == Some(name);
        node.children.iter().position(short)
    })
}

/// The node at a path, or behind an alias where it does not begin with a slash.
fn place_of(root: &Node, path: &str) -> Option<NodePath> {
    let (mut node, mut place, mut path) = (root, NodePath::new(), path.to_owned());
    if !path.starts_with('/') {
        let (alias, rest) = path.split_once('/').unwrap_or((&path, ""));
        let target = root.child("aliases")?.string(alias)?;
        path = format!("{target}/{rest}");
        if !target.starts_with('/') {
            return None;
        }
    }
    for name in path.split('/').filter(|name| !name.is_empty()) {
        let index = child_named(node, name)?;
        place.push(index);
        node = &node.children[index];
    }
    Some(place)
}

/// Where a fragment goes: to the node with the phandle `target`, or to `target-path`.
fn target(root: &Node, fragment: &Node) -> Option<NodePath> {
    if let Some(wanted) = fragment.cell("target") {
        let mut place = NodePath::new();
        return find_phandle(root, wanted, &mut place).then_some(place);
    }
    place_of(root, &fragment.string("target-path")?)
}

fn find_phandle(node: &Node, wanted: u32, place: &mut NodePath) -> bool {
    if phandle(node) == Some(wanted) {
        return true;
    }
    node.children.iter().enumerate().any(|(index, child)| {
        place.push(index);
        let found = find_phandle(child, wanted, place);
        if !found {
            place.pop();
        }
        found
    })
}

fn keep_phandles(base: &Node, overlay: &mut Node, renamed: &mut HashMap<u32, u32>) {
    if let (Some(kept), Some(own)) = (phandle(base), phandle(overlay)) {
        renamed.insert(own, kept);
        for name in ["phandle", "linux,phandle"] {
            if overlay.property(name).is_some() {
                overlay.set_cells(name, &[kept]);
            }
        }
    }
    for child in &mut overlay.children {
        if let Some(index) = child_named(base, &child.name) {
            keep_phandles(&base.children[index], child, renamed);
        }
    }
}

/// Puts the content of a fragment into a node of the base.
fn merge(node: &mut Node, content: Node, depth: usize) -> Result<(), OverlayError> {
    for property in content.properties {
        node.set(&property.name, property.value);
    }
    let depth = depth.checked_sub(usize::from(!content.children.is_empty()));
    let depth = depth.ok_or(OverlayError::Depth)?;
    for child in content.children {
        let index = child_named(node, &child.name).unwrap_or_else(|| {
            node.children.push(Node::new(&child.name));
            node.children.len() - 1
        });
        merge(&mut node.children[index], child, depth)?;
    }
    Ok(())
}
