//! What the guest starts with: files, symbols and the device tree of this machine.

use std::sync::Arc;

use ppckvm_devices::sdram;
use ppckvm_fdt::Board;

use crate::loader::symbols::Symbols;
use crate::loader::{Placement, Plan, Start};
use crate::machine::custom::Additions;
use crate::machine::error::BuildError;
use crate::machine::slots::OnMmio;
use crate::machine::spec::Spec;
use crate::machine::virtio::{self, needs};

/// The device tree that the guest would be given.
pub(crate) fn device_tree(
    board: &Board,
    spec: &Spec,
    additions: &Additions,
) -> Result<Vec<u8>, BuildError> {
    sdram::banks(spec.memory.bytes())?;
    let plan = spec.boot.plan_of_tree(spec.ram_bytes())?;
    let on_mmio = OnMmio::new(board, &virtio::named(spec, additions), &additions.nodes)?;
    tree(spec, board, &plan, &on_mmio)
}

/// Reads all files and gives them their places; also returns the symbols found with the kernel,
/// and warns of what it lacks, also of what the devices need.
pub(crate) fn place(
    spec: &Spec,
    board: &Board,
    on_mmio: &OnMmio,
) -> Result<(Placement, Option<Arc<Symbols>>), BuildError> {
    let ram = spec.ram_bytes();
    let plan = spec.boot.plan(spec.boot.open(ram)?, ram)?;
    let kernel = plan.kernel();
    tracing::info!("kernel: {}, {}", kernel.file.display(), kernel.format);
    for warning in kernel.warnings(plan.initrd_range().is_some(), &needs::of(spec)) {
        tracing::warn!("{warning}");
    }
    let symbols = kernel.symbols.clone();
    Ok((finish(spec, board, plan, on_mmio)?, symbols))
}

/// The kernel's symbols: the user's, which must be right, or those found with the kernel.
pub(crate) fn symbols(
    spec: &Spec,
    found: Option<Arc<Symbols>>,
) -> Result<Option<Arc<Symbols>>, BuildError> {
    match &spec.symbols {
        Some(path) => Ok(Some(Arc::new(Symbols::read(path)?))),
        None => Ok(found),
    }
}

/// Adds what the kernel is told: a device tree, or what it takes in its place.
pub(crate) fn finish(
    spec: &Spec,
    board: &Board,
    plan: Plan,
    on_mmio: &OnMmio,
) -> Result<Placement, BuildError> {
    if plan.kernel().start == Start::DeviceTree {
        let fdt = tree(spec, board, &plan, on_mmio)?;
        return Ok(plan.finish(fdt)?);
    }
    on_mmio.warn_of_hidden_tree();
    Ok(spec.boot.finish_without_tree(board, plan)?)
}

fn tree(spec: &Spec, board: &Board, plan: &Plan, on_mmio: &OnMmio) -> Result<Vec<u8>, BuildError> {
    let ram = spec.ram_bytes();
    if let Some((file, tree)) = plan.tree() {
        on_mmio.check(tree, file)?;
    }
    let tree = spec
        .boot
        .tree(board, plan, &on_mmio.slots, &on_mmio.nodes, ram)?;
    Ok(tree)
}
