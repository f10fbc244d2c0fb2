//! What an image is, and whether it would boot here: the answer of `ppckvm inspect`.

use std::fmt;

use ppckvm_devices::sdram;
use ppckvm_fdt::Board;

use crate::loader::{Placement, Section};
use crate::machine::error::BuildError;
use crate::machine::slots::OnMmio;
use crate::machine::virtio::needs;
use crate::machine::{Machine, boot, virtio};

/// The facts that are known about an image.
#[derive(Debug)]
pub struct Inspection {
    /// The image's layers, with their headers, sizes and checksums.
    pub contents: Section,
    /// The way it would be started, or the reason why it would not be.
    pub plan: Result<BootPlan, BuildError>,
}

/// The way an image would be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootPlan {
    /// The format that it was taken for.
    pub format: String,
    /// The contents of memory, and the registers.
    pub placement: Placement,
    /// Warnings about what it lacks, one line each.
    pub warnings: Vec<String>,
}

impl Machine {
    /// Looks at the kernel without starting it. All that [`Machine::build`] would check about files
    /// is checked, for a machine with these options.
    ///
    /// # Errors
    /// No file, or one that cannot be read at all. A file that cannot be booted is no error, but the
    /// answer.
    pub fn inspect(&self) -> Result<Inspection, BuildError> {
        let (board, spec) = (Board::bamboo(), &self.spec);
        sdram::banks(spec.memory.bytes())?;
        let ram = spec.ram_bytes();
        // Opened once: what comes through a pipe cannot be read again.
        let kernel = spec.boot.open(ram)?;
        let contents = spec.boot.describe(kernel.as_ref(), ram)?;
        let on_mmio = OnMmio::new(
            &board,
            &virtio::named(spec, &self.additions),
            &self.additions.nodes,
        )?;
        let plan = spec.boot.plan(kernel, ram).map_err(BuildError::from);
        let plan = plan.and_then(|plan| {
            let kernel = plan.kernel();
            let format = kernel.format.clone();
            let warnings = kernel.warnings(plan.initrd_range().is_some(), &needs::of(spec));
            let placement = boot::finish(spec, &board, plan, &on_mmio)?;
            Ok(BootPlan {
                format,
                placement,
                warnings,
            })
        });
        Ok(Inspection { contents, plan })
    }
}

impl Inspection {
    /// Whether the image would boot here.
    pub fn boots(&self) -> bool {
        self.plan.is_ok()
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.contents)?;
        match &self.plan {
            Ok(plan) => {
                let entry = plan.placement.registers.pc;
                writeln!(f, "boots here: yes, as {}, from {entry:#010x}", plan.format)?;
                for segment in &plan.placement.segments {
                    let (start, end) = (segment.gpa, segment.end());
                    writeln!(f, "  memory {start:#010x} to {end:#010x}  {}", segment.what)?;
                }
                for warning in &plan.warnings {
                    writeln!(f, "  but {warning}")?;
                }
                Ok(())
            }
            Err(error) => writeln!(f, "boots here: no: {error}"),
        }
    }
}
