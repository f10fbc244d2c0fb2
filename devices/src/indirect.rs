//! Units that show many registers through two DCRs: CFGADDR at +0 holds an index, CFGDATA at +1 is
//! the register there.

use crate::bus::AccessError;

/// The offset of CFGADDR.
pub(crate) const CFGADDR: u32 = 0;
/// The offset of CFGDATA.
pub(crate) const CFGDATA: u32 = 1;

/// A unit behind CFGADDR and CFGDATA.
pub(crate) trait Indirect {
    /// Where the unit keeps CFGADDR.
    fn index(&mut self) -> &mut u32;

    /// Returns what the register at an index holds.
    fn get(&self, index: u32) -> Result<u32, AccessError>;

    /// Takes a write to the register at an index.
    fn put(&mut self, index: u32, value: u32) -> Result<(), AccessError>;
}

/// `mfdcr` of either of the two.
pub(crate) fn read(unit: &mut impl Indirect, offset: u32) -> Result<u32, AccessError> {
    match offset {
        CFGADDR => Ok(*unit.index()),
        CFGDATA => {
            let index = *unit.index();
            unit.get(index)
        }
        _ => Err(AccessError::NoRegister { offset }),
    }
}

/// `mtdcr` to either of the two.
pub(crate) fn write(unit: &mut impl Indirect, offset: u32, value: u32) -> Result<(), AccessError> {
    match offset {
        CFGADDR => *unit.index() = value,
        CFGDATA => {
            let index = *unit.index();
            unit.put(index, value)?;
        }
        _ => return Err(AccessError::NoRegister { offset }),
    }
    Ok(())
}

/// For tests: reads the register at an index as software does.
#[cfg(test)]
pub(crate) fn get(unit: &mut impl crate::bus::DcrDevice, index: u32) -> Result<u32, AccessError> {
    unit.write(CFGADDR, index)?;
    unit.read(CFGDATA)
}

/// For tests: writes the register at an index as software does.
#[cfg(test)]
pub(crate) fn put(
    unit: &mut impl crate::bus::DcrDevice,
    index: u32,
    value: u32,
) -> Result<(), AccessError> {
    unit.write(CFGADDR, index)?;
    unit.write(CFGDATA, value)
}
