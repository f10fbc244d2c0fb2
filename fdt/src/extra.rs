//! Nodes of the embedder's in the generated tree.

use crate::blob::{Node, Tree, checked_name};
use crate::board::{Controller, Interrupt, MmioRange};
use crate::phandle::Phandle;

/// The bus under which the nodes stand: Linux finds a device there, and not directly under `/`.
const BUS: [&str; 2] = ["plb", "opb"];

/// Why a node cannot be added to the generated tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the extra node {path:?} cannot be in the device tree: {fault}")]
pub struct ExtraNodeError {
    /// The node, as a path below `/plb/opb`.
    pub path: String,
    /// What is wrong with it.
    pub fault: ExtraNodeFault,
}

/// What is wrong with a node of the embedder's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtraNodeFault {
    /// A name is empty, or has a character that device trees do not allow.
    #[error("{0}")]
    Name(String),
    /// Two nodes or two properties of one name.
    #[error("there are two of the name {0:?}; rename one")]
    Twice(String),
    /// A phandle that another node of the tree has.
    #[error("phandle {0} is another node's; the board has 1 to {last}", last = Phandle::LAST)]
    Phandle(u32),
}

/// The node of a device with one range of registers: `name@address` with `compatible`, `reg`, and
/// with `interrupts` where it has some. More properties can be set on what is returned.
pub fn device_node(
    name: &str,
    compatible: &str,
    mmio: MmioRange,
    interrupt: Option<Interrupt>,
) -> Node {
    let mut node = Node::new(&format!("{name}@{:x}", mmio.base));
    node.set_string("compatible", compatible);
    node.set_cells("reg", &[mmio.base, mmio.size]);
    if let Some(Interrupt {
        controller,
        input,
        trigger,
    }) = interrupt
    {
        node.set_cells("interrupt-parent", &[controller_phandle(controller)]);
        node.set_cells("interrupts", &[input.into(), trigger.flags()]);
    }
    node
}

/// The phandle of an interrupt controller in the generated tree, for `interrupt-parent`.
pub fn controller_phandle(controller: Controller) -> u32 {
    Phandle::from(controller) as u32
}

/// Puts the nodes under `/plb/opb`, after those of the board.
pub(crate) fn add(tree: &mut Tree, nodes: &[Node]) -> Result<(), ExtraNodeError> {
    let mut phandles: Vec<u32> = (1..=Phandle::LAST).collect();
    let mut bus = Some(&mut tree.root);
    for name in BUS {
        bus = bus.and_then(|node| node.child_mut(name));
    }
    let bus = bus.expect("the generated tree has its buses");
    let mut siblings: Vec<String> = bus.children.iter().map(|node| node.name.clone()).collect();
    for node in nodes {
        check(node, "", &mut siblings, &mut phandles)?;
        bus.children.push(node.clone());
    }
    Ok(())
}

/// Checks a node and those below; its name goes to its `siblings`.
fn check(
    node: &Node,
    parent: &str,
    siblings: &mut Vec<String>,
    phandles: &mut Vec<u32>,
) -> Result<(), ExtraNodeError> {
    let path = format!("{parent}{}", node.name);
    let wrong = |fault| ExtraNodeError {
        path: path.clone(),
        fault,
    };
    let unique = |names: &mut Vec<String>, name: &String| {
        checked_name(name.as_bytes())
            .map_err(|fault| wrong(ExtraNodeFault::Name(fault.to_string())))?;
        if names.contains(name) {
            return Err(wrong(ExtraNodeFault::Twice(name.clone())));
        }
        names.push(name.clone());
        Ok(())
    };
    unique(siblings, &node.name)?;
    let mut properties = Vec::new();
    for property in &node.properties {
        unique(&mut properties, &property.name)?;
    }
    if let Some(phandle) = node.cell("phandle") {
        if phandles.contains(&phandle) {
            return Err(wrong(ExtraNodeFault::Phandle(phandle)));
        }
        phandles.push(phandle);
    }
    let mut children = Vec::new();
    for child in &node.children {
        check(child, &format!("{path}/"), &mut children, phandles)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Trigger;
    use crate::{Board, TreeError, TreeOptions, generate};

    const MMIO: MmioRange = MmioRange::new(0xEF71_0000, 0x100);

    fn with(nodes: Vec<Node>) -> Result<Vec<u8>, TreeError> {
        let options = TreeOptions {
            virtio: vec![0],
            extra_nodes: nodes,
            ..TreeOptions::default()
        };
        generate(&Board::bamboo(), &options)
    }

    #[test]
    fn nodes_of_the_embedders_come_back_and_the_boards_are_as_without() {
        let wire = Interrupt::uic1(3, Trigger::RisingEdge);
        let mut device = device_node("timer", "acme,timer", MMIO, Some(wire));
        device.set_cells("phandle", &[0x100]);
        let mut inner = Node::new("channel@0");
        inner.set_string("label", "first");
        device.children.push(inner);
        let plain = device_node("plain", "acme,plain", MmioRange::new(0xEF71_1000, 4), None);
        let nodes = vec![device.clone(), plain.clone()];

        let mut tree = Tree::parse(&with(nodes).expect("the nodes are right")).expect("a tree");
        assert_eq!(tree.node("/plb/opb/timer@ef710000"), Some(&device));
        assert_eq!(tree.node("/plb/opb/plain@ef711000"), Some(&plain));
        let uic1 = tree.node("/interrupt-controller1").expect("UIC1");
        assert_eq!(uic1.cell("phandle"), device.cell("interrupt-parent"));
        assert_eq!(device.cells("interrupts"), Some(vec![3, 1]));

        let bus = tree
            .root
            .child_mut("plb")
            .and_then(|plb| plb.child_mut("opb"));
        bus.expect("a bus")
            .children
            .retain(|node| ![&device, &plain].contains(&node));
        let without = Tree::parse(&with(Vec::new()).expect("no nodes")).expect("a tree");
        assert_eq!(tree, without);
    }

    #[test]
    fn nodes_that_would_spoil_the_tree_are_refused() {
        let fault = |nodes: Vec<Node>| match with(nodes) {
            Err(TreeError::ExtraNode(error)) => error.to_string(),
            other => panic!("{other:?}"),
        };
        let node = |name: &str| Node::new(name);
        assert_eq!(
            fault(vec![node("a"), node("a")]),
            "the extra node \"a\" cannot be in the device tree: there are two of the name \"a\"; \
             rename one"
        );
        assert!(fault(vec![node("virtio@ef700000")]).contains("two of the name"));
        assert!(fault(vec![node("")]).contains("is empty"));
        assert!(fault(vec![node("a b")]).contains("do not allow"));
        let mut taken = node("a");
        let mut below = node("b");
        below.set_cells("phandle", &[2]);
        taken.children.push(below);
        assert!(fault(vec![taken]).contains("\"a/b\" cannot be in the device tree: phandle 2"));
    }
}
