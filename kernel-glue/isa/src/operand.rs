//! Operands of the instruction table: which bits each occupies.

/// An operand of an instruction, named as the manual names its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// Target GPR.
    Rt,
    /// Source GPR.
    Rs,
    /// GPR in the RA field.
    Ra,
    /// GPR in the RA field, where 0 stands for the value 0.
    Ra0,
    /// GPR in the RB field.
    Rb,
    /// Target FPR.
    Frt,
    /// Source FPR of a store.
    Frs,
    /// First source FPR.
    Fra,
    /// Second source FPR.
    Frb,
    /// Multiplicand or selected FPR.
    Frc,
    /// Displacement and base of a load or store: `D(RA)`, where RA = 0 stands for the value 0.
    D,
    /// Signed 16-bit immediate.
    Si,
    /// Unsigned 16-bit immediate.
    Ui,
    /// Shift amount.
    Sh,
    /// First bit of a mask.
    Mb,
    /// Last bit of a mask.
    Me,
    /// Branch options.
    Bo,
    /// CR bit that a branch tests.
    Bi,
    /// Conditional branch displacement.
    Bd,
    /// Branch displacement.
    Li,
    /// Trap conditions.
    To,
    /// Bytes of a string; 0 stands for 32.
    Nb,
    /// Target CR bit, or target FPSCR bit.
    Bt,
    /// First source CR bit.
    Ba,
    /// Second source CR bit.
    Bb,
    /// CR bit that `isel` tests.
    Bc,
    /// Target CR field, or target FPSCR field.
    Crfd,
    /// Source CR field, or source FPSCR field.
    Crfs,
    /// CR fields of `mtcrf`, a bit each.
    Crm,
    /// FPSCR fields of `mtfsf`, a bit each.
    Fm,
    /// Four-bit immediate of `mtfsfi`.
    Imm4,
    /// Special purpose register number.
    Spr,
    /// Time base register number, numbered as SPRs are.
    Tbr,
    /// Device control register number.
    Dcr,
    /// TLB word select.
    Ws,
    /// The cache that a touch is for.
    Ct,
    /// Which storage accesses `mbar` orders.
    Mo,
    /// The value for MSR\[EE\].
    E,
    /// Suffix `o`: set XER\[OV\] and XER\[SO\].
    Oe,
    /// Suffix `.`: set CR0, or CR1 from the FPSCR.
    Rc,
    /// Suffix `a`: the branch target is absolute.
    Aa,
    /// Suffix `l`: set LR.
    Lk,
}

impl Operand {
    /// The bits of the instruction word that it occupies.
    pub const fn bits(self) -> u32 {
        use Operand::*;
        match self {
            Rt | Rs | Frt | Frs | Bo | To | Bt | Ct | Mo => 0x03E0_0000,
            Ra | Ra0 | Fra | Bi | Ba => 0x001F_0000,
            Rb | Frb | Sh | Nb | Bb | Ws => 0x0000_F800,
            Frc | Mb | Bc => 0x0000_07C0,
            Me => 0x0000_003E,
            D => 0x001F_FFFF,
            Si | Ui => 0x0000_FFFF,
            Bd => 0x0000_FFFC,
            Li => 0x03FF_FFFC,
            Crfd => 0x0380_0000,
            Crfs => 0x001C_0000,
            Crm => 0x000F_F000,
            Fm => 0x01FE_0000,
            Imm4 => 0x0000_F000,
            Spr | Tbr | Dcr => 0x001F_F800,
            E => 0x0000_8000,
            Oe => 0x0000_0400,
            Aa => 0x0000_0002,
            Rc | Lk => 0x0000_0001,
        }
    }
}
