//! The instruction table of the 440EP: Book E's user set, the 440's 16-bit multiplies, the
//! cache, TLB, DCR and interrupt instructions, and the floating-point unit.
//!
//! One row an instruction: its variant, its mnemonic, its 32 bits from the most significant end,
//! its operands in assembler order, and its flags. In the bits a digit is fixed, a letter belongs
//! to an operand, and `-` is reserved: the hardware ignores it. Forms that differ in OE, Rc, AA or
//! LK are one row. The decoder and the disassembler come from here.
//!
//! What is not here is an illegal instruction: 64-bit instructions, `mfdcrx`, `mtdcrx`, `tlbiva`,
//! `mfapidi` and more. `lwsync` and `ptesync` are `msync` with reserved bits set.

use crate::operand::Operand;
use crate::pattern::Pattern;

/// Calls the macro `$with` once with every row of the instruction table.
///
/// A row is `Variant = "mnemonic" "bits" (operands) [flags];`.
#[macro_export]
macro_rules! for_each_insn {
    ($with:ident) => {
        $with! {
            // Branches and system linkage.
            B        = "b"        "010010 dddddddddddddddddddddddd a l" (Li Lk Aa) [BRANCH];
            Bc       = "bc"       "010000 ooooo iiiii dddddddddddddd a l" (Bo Bi Bd Lk Aa) [BRANCH];
            Bclr     = "bclr"     "010011 ooooo iiiii ----- 0000010000 l" (Bo Bi Lk) [BRANCH];
            Bcctr    = "bcctr"    "010011 ooooo iiiii ----- 1000010000 l" (Bo Bi Lk) [BRANCH];
            Sc       = "sc"       "010001 ----- ----- -------------- 1 -" () [ENDS_BLOCK MAY_TRAP];
            Rfi      = "rfi"      "010011 ----- ----- ----- 0000110010 -" () [PRIVILEGED ENDS_BLOCK];
            Rfci     = "rfci"     "010011 ----- ----- ----- 0000110011 -" () [PRIVILEGED ENDS_BLOCK];
            Rfmci    = "rfmci"    "010011 ----- ----- ----- 0000100110 -" () [PRIVILEGED ENDS_BLOCK];
            Tw       = "tw"       "011111 ooooo aaaaa bbbbb 0000000100 -" (To Ra Rb) [MAY_TRAP];
            Twi      = "twi"      "000011 ooooo aaaaa iiiiiiiiiiiiiiii" (To Ra Si) [MAY_TRAP];
            Isync    = "isync"    "010011 ----- ----- ----- 0010010110 -" () [ENDS_BLOCK];
            // Condition register.
            Crand    = "crand"    "010011 ttttt aaaaa bbbbb 0100000001 -" (Bt Ba Bb) [];
            Crandc   = "crandc"   "010011 ttttt aaaaa bbbbb 0010000001 -" (Bt Ba Bb) [];
            Creqv    = "creqv"    "010011 ttttt aaaaa bbbbb 0100100001 -" (Bt Ba Bb) [];
            Crnand   = "crnand"   "010011 ttttt aaaaa bbbbb 0011100001 -" (Bt Ba Bb) [];
            Crnor    = "crnor"    "010011 ttttt aaaaa bbbbb 0000100001 -" (Bt Ba Bb) [];
            Cror     = "cror"     "010011 ttttt aaaaa bbbbb 0111000001 -" (Bt Ba Bb) [];
            Crorc    = "crorc"    "010011 ttttt aaaaa bbbbb 0110100001 -" (Bt Ba Bb) [];
            Crxor    = "crxor"    "010011 ttttt aaaaa bbbbb 0011000001 -" (Bt Ba Bb) [];
            Mcrf     = "mcrf"     "010011 ddd-- sss-- ----- 0000000000 -" (Crfd Crfs) [];
            Mcrxr    = "mcrxr"    "011111 ddd-- ----- ----- 1000000000 -" (Crfd) [];
            Mfcr     = "mfcr"     "011111 ttttt ----- ----- 0000010011 -" (Rt) [];
            Mtcrf    = "mtcrf"    "011111 sssss - mmmmmmmm - 0010010000 -" (Crm Rs) [];
            // Integer arithmetic.
            Addi     = "addi"     "001110 ttttt aaaaa iiiiiiiiiiiiiiii" (Rt Ra0 Si) [];
            Addis    = "addis"    "001111 ttttt aaaaa iiiiiiiiiiiiiiii" (Rt Ra0 Si) [];
            Addic    = "addic"    "001100 ttttt aaaaa iiiiiiiiiiiiiiii" (Rt Ra Si) [];
            AddicDot = "addic."   "001101 ttttt aaaaa iiiiiiiiiiiiiiii" (Rt Ra Si) [];
            Subfic   = "subfic"   "001000 ttttt aaaaa iiiiiiiiiiiiiiii" (Rt Ra Si) [];
            Mulli    = "mulli"    "000111 ttttt aaaaa iiiiiiiiiiiiiiii" (Rt Ra Si) [];
            Add      = "add"      "011111 ttttt aaaaa bbbbb o100001010 r" (Rt Ra Rb Oe Rc) [];
            Addc     = "addc"     "011111 ttttt aaaaa bbbbb o000001010 r" (Rt Ra Rb Oe Rc) [];
            Adde     = "adde"     "011111 ttttt aaaaa bbbbb o010001010 r" (Rt Ra Rb Oe Rc) [];
            Subf     = "subf"     "011111 ttttt aaaaa bbbbb o000101000 r" (Rt Ra Rb Oe Rc) [];
            Subfc    = "subfc"    "011111 ttttt aaaaa bbbbb o000001000 r" (Rt Ra Rb Oe Rc) [];
            Subfe    = "subfe"    "011111 ttttt aaaaa bbbbb o010001000 r" (Rt Ra Rb Oe Rc) [];
            Addme    = "addme"    "011111 ttttt aaaaa ----- o011101010 r" (Rt Ra Oe Rc) [];
            Addze    = "addze"    "011111 ttttt aaaaa ----- o011001010 r" (Rt Ra Oe Rc) [];
            Subfme   = "subfme"   "011111 ttttt aaaaa ----- o011101000 r" (Rt Ra Oe Rc) [];
            Subfze   = "subfze"   "011111 ttttt aaaaa ----- o011001000 r" (Rt Ra Oe Rc) [];
            Neg      = "neg"      "011111 ttttt aaaaa ----- o001101000 r" (Rt Ra Oe Rc) [];
            Mullw    = "mullw"    "011111 ttttt aaaaa bbbbb o011101011 r" (Rt Ra Rb Oe Rc) [];
            Divw     = "divw"     "011111 ttttt aaaaa bbbbb o111101011 r" (Rt Ra Rb Oe Rc) [];
            Divwu    = "divwu"    "011111 ttttt aaaaa bbbbb o111001011 r" (Rt Ra Rb Oe Rc) [];
            Mulhw    = "mulhw"    "011111 ttttt aaaaa bbbbb -001001011 r" (Rt Ra Rb Rc) [];
            Mulhwu   = "mulhwu"   "011111 ttttt aaaaa bbbbb -000001011 r" (Rt Ra Rb Rc) [];
            // Compare and select.
            Cmp      = "cmp"      "011111 ddd-- aaaaa bbbbb 0000000000 -" (Crfd Ra Rb) [];
            Cmpi     = "cmpi"     "001011 ddd-- aaaaa iiiiiiiiiiiiiiii" (Crfd Ra Si) [];
            Cmpl     = "cmpl"     "011111 ddd-- aaaaa bbbbb 0000100000 -" (Crfd Ra Rb) [];
            Cmpli    = "cmpli"    "001010 ddd-- aaaaa uuuuuuuuuuuuuuuu" (Crfd Ra Ui) [];
            Isel     = "isel"     "011111 ttttt aaaaa bbbbb ccccc 01111 -" (Rt Ra0 Rb Bc) [];
            // Logic.
            Andi     = "andi."    "011100 sssss aaaaa uuuuuuuuuuuuuuuu" (Ra Rs Ui) [];
            Andis    = "andis."   "011101 sssss aaaaa uuuuuuuuuuuuuuuu" (Ra Rs Ui) [];
            Ori      = "ori"      "011000 sssss aaaaa uuuuuuuuuuuuuuuu" (Ra Rs Ui) [];
            Oris     = "oris"     "011001 sssss aaaaa uuuuuuuuuuuuuuuu" (Ra Rs Ui) [];
            Xori     = "xori"     "011010 sssss aaaaa uuuuuuuuuuuuuuuu" (Ra Rs Ui) [];
            Xoris    = "xoris"    "011011 sssss aaaaa uuuuuuuuuuuuuuuu" (Ra Rs Ui) [];
            And      = "and"      "011111 sssss aaaaa bbbbb 0000011100 r" (Ra Rs Rb Rc) [];
            Andc     = "andc"     "011111 sssss aaaaa bbbbb 0000111100 r" (Ra Rs Rb Rc) [];
            Eqv      = "eqv"      "011111 sssss aaaaa bbbbb 0100011100 r" (Ra Rs Rb Rc) [];
            Nand     = "nand"     "011111 sssss aaaaa bbbbb 0111011100 r" (Ra Rs Rb Rc) [];
            Nor      = "nor"      "011111 sssss aaaaa bbbbb 0001111100 r" (Ra Rs Rb Rc) [];
            Or       = "or"       "011111 sssss aaaaa bbbbb 0110111100 r" (Ra Rs Rb Rc) [];
            Orc      = "orc"      "011111 sssss aaaaa bbbbb 0110011100 r" (Ra Rs Rb Rc) [];
            Xor      = "xor"      "011111 sssss aaaaa bbbbb 0100111100 r" (Ra Rs Rb Rc) [];
            Cntlzw   = "cntlzw"   "011111 sssss aaaaa ----- 0000011010 r" (Ra Rs Rc) [];
            Extsb    = "extsb"    "011111 sssss aaaaa ----- 1110111010 r" (Ra Rs Rc) [];
            Extsh    = "extsh"    "011111 sssss aaaaa ----- 1110011010 r" (Ra Rs Rc) [];
            Dlmzb    = "dlmzb"    "011111 sssss aaaaa bbbbb 0001001110 r" (Ra Rs Rb Rc) [];
            // Rotate and shift.
            Rlwimi   = "rlwimi"   "010100 sssss aaaaa hhhhh mmmmm eeeee r" (Ra Rs Sh Mb Me Rc) [];
            Rlwinm   = "rlwinm"   "010101 sssss aaaaa hhhhh mmmmm eeeee r" (Ra Rs Sh Mb Me Rc) [];
            Rlwnm    = "rlwnm"    "010111 sssss aaaaa bbbbb mmmmm eeeee r" (Ra Rs Rb Mb Me Rc) [];
            Slw      = "slw"      "011111 sssss aaaaa bbbbb 0000011000 r" (Ra Rs Rb Rc) [];
            Sraw     = "sraw"     "011111 sssss aaaaa bbbbb 1100011000 r" (Ra Rs Rb Rc) [];
            Srw      = "srw"      "011111 sssss aaaaa bbbbb 1000011000 r" (Ra Rs Rb Rc) [];
            Srawi    = "srawi"    "011111 sssss aaaaa hhhhh 1100111000 r" (Ra Rs Sh Rc) [];
            // 16-bit multiplies and multiply-accumulates.
            Mulchw   = "mulchw"   "000100 ttttt aaaaa bbbbb 0010101000 r" (Rt Ra Rb Rc) [];
            Mulchwu  = "mulchwu"  "000100 ttttt aaaaa bbbbb 0010001000 r" (Rt Ra Rb Rc) [];
            Mulhhw   = "mulhhw"   "000100 ttttt aaaaa bbbbb 0000101000 r" (Rt Ra Rb Rc) [];
            Mulhhwu  = "mulhhwu"  "000100 ttttt aaaaa bbbbb 0000001000 r" (Rt Ra Rb Rc) [];
            Mullhw   = "mullhw"   "000100 ttttt aaaaa bbbbb 0110101000 r" (Rt Ra Rb Rc) [];
            Mullhwu  = "mullhwu"  "000100 ttttt aaaaa bbbbb 0110001000 r" (Rt Ra Rb Rc) [];
            Macchw   = "macchw"   "000100 ttttt aaaaa bbbbb o010101100 r" (Rt Ra Rb Oe Rc) [];
            Macchws  = "macchws"  "000100 ttttt aaaaa bbbbb o011101100 r" (Rt Ra Rb Oe Rc) [];
            Macchwu  = "macchwu"  "000100 ttttt aaaaa bbbbb o010001100 r" (Rt Ra Rb Oe Rc) [];
            Macchwsu = "macchwsu" "000100 ttttt aaaaa bbbbb o011001100 r" (Rt Ra Rb Oe Rc) [];
            Machhw   = "machhw"   "000100 ttttt aaaaa bbbbb o000101100 r" (Rt Ra Rb Oe Rc) [];
            Machhws  = "machhws"  "000100 ttttt aaaaa bbbbb o001101100 r" (Rt Ra Rb Oe Rc) [];
            Machhwu  = "machhwu"  "000100 ttttt aaaaa bbbbb o000001100 r" (Rt Ra Rb Oe Rc) [];
            Machhwsu = "machhwsu" "000100 ttttt aaaaa bbbbb o001001100 r" (Rt Ra Rb Oe Rc) [];
            Maclhw   = "maclhw"   "000100 ttttt aaaaa bbbbb o110101100 r" (Rt Ra Rb Oe Rc) [];
            Maclhws  = "maclhws"  "000100 ttttt aaaaa bbbbb o111101100 r" (Rt Ra Rb Oe Rc) [];
            Maclhwu  = "maclhwu"  "000100 ttttt aaaaa bbbbb o110001100 r" (Rt Ra Rb Oe Rc) [];
            Maclhwsu = "maclhwsu" "000100 ttttt aaaaa bbbbb o111001100 r" (Rt Ra Rb Oe Rc) [];
            Nmacchw  = "nmacchw"  "000100 ttttt aaaaa bbbbb o010101110 r" (Rt Ra Rb Oe Rc) [];
            Nmacchws = "nmacchws" "000100 ttttt aaaaa bbbbb o011101110 r" (Rt Ra Rb Oe Rc) [];
            Nmachhw  = "nmachhw"  "000100 ttttt aaaaa bbbbb o000101110 r" (Rt Ra Rb Oe Rc) [];
            Nmachhws = "nmachhws" "000100 ttttt aaaaa bbbbb o001101110 r" (Rt Ra Rb Oe Rc) [];
            Nmaclhw  = "nmaclhw"  "000100 ttttt aaaaa bbbbb o110101110 r" (Rt Ra Rb Oe Rc) [];
            Nmaclhws = "nmaclhws" "000100 ttttt aaaaa bbbbb o111101110 r" (Rt Ra Rb Oe Rc) [];
            // Integer loads.
            Lbz      = "lbz"      "100010 ttttt aaaaa dddddddddddddddd" (Rt D) [LOAD];
            Lbzu     = "lbzu"     "100011 ttttt aaaaa dddddddddddddddd" (Rt D) [LOAD];
            Lhz      = "lhz"      "101000 ttttt aaaaa dddddddddddddddd" (Rt D) [LOAD];
            Lhzu     = "lhzu"     "101001 ttttt aaaaa dddddddddddddddd" (Rt D) [LOAD];
            Lha      = "lha"      "101010 ttttt aaaaa dddddddddddddddd" (Rt D) [LOAD];
            Lhau     = "lhau"     "101011 ttttt aaaaa dddddddddddddddd" (Rt D) [LOAD];
            Lwz      = "lwz"      "100000 ttttt aaaaa dddddddddddddddd" (Rt D) [LOAD];
            Lwzu     = "lwzu"     "100001 ttttt aaaaa dddddddddddddddd" (Rt D) [LOAD];
            Lmw      = "lmw"      "101110 ttttt aaaaa dddddddddddddddd" (Rt D) [LOAD];
            Lbzx     = "lbzx"     "011111 ttttt aaaaa bbbbb 0001010111 -" (Rt Ra0 Rb) [LOAD];
            Lbzux    = "lbzux"    "011111 ttttt aaaaa bbbbb 0001110111 -" (Rt Ra0 Rb) [LOAD];
            Lhzx     = "lhzx"     "011111 ttttt aaaaa bbbbb 0100010111 -" (Rt Ra0 Rb) [LOAD];
            Lhzux    = "lhzux"    "011111 ttttt aaaaa bbbbb 0100110111 -" (Rt Ra0 Rb) [LOAD];
            Lhax     = "lhax"     "011111 ttttt aaaaa bbbbb 0101010111 -" (Rt Ra0 Rb) [LOAD];
            Lhaux    = "lhaux"    "011111 ttttt aaaaa bbbbb 0101110111 -" (Rt Ra0 Rb) [LOAD];
            Lhbrx    = "lhbrx"    "011111 ttttt aaaaa bbbbb 1100010110 -" (Rt Ra0 Rb) [LOAD];
            Lwzx     = "lwzx"     "011111 ttttt aaaaa bbbbb 0000010111 -" (Rt Ra0 Rb) [LOAD];
            Lwzux    = "lwzux"    "011111 ttttt aaaaa bbbbb 0000110111 -" (Rt Ra0 Rb) [LOAD];
            Lwbrx    = "lwbrx"    "011111 ttttt aaaaa bbbbb 1000010110 -" (Rt Ra0 Rb) [LOAD];
            Lwarx    = "lwarx"    "011111 ttttt aaaaa bbbbb 0000010100 -" (Rt Ra0 Rb) [LOAD];
            Lswx     = "lswx"     "011111 ttttt aaaaa bbbbb 1000010101 -" (Rt Ra0 Rb) [LOAD];
            Lswi     = "lswi"     "011111 ttttt aaaaa nnnnn 1001010101 -" (Rt Ra0 Nb) [LOAD];
            // Integer stores.
            Stb      = "stb"      "100110 sssss aaaaa dddddddddddddddd" (Rs D) [STORE];
            Stbu     = "stbu"     "100111 sssss aaaaa dddddddddddddddd" (Rs D) [STORE];
            Sth      = "sth"      "101100 sssss aaaaa dddddddddddddddd" (Rs D) [STORE];
            Sthu     = "sthu"     "101101 sssss aaaaa dddddddddddddddd" (Rs D) [STORE];
            Stw      = "stw"      "100100 sssss aaaaa dddddddddddddddd" (Rs D) [STORE];
            Stwu     = "stwu"     "100101 sssss aaaaa dddddddddddddddd" (Rs D) [STORE];
            Stmw     = "stmw"     "101111 sssss aaaaa dddddddddddddddd" (Rs D) [STORE];
            Stbx     = "stbx"     "011111 sssss aaaaa bbbbb 0011010111 -" (Rs Ra0 Rb) [STORE];
            Stbux    = "stbux"    "011111 sssss aaaaa bbbbb 0011110111 -" (Rs Ra0 Rb) [STORE];
            Sthx     = "sthx"     "011111 sssss aaaaa bbbbb 0110010111 -" (Rs Ra0 Rb) [STORE];
            Sthux    = "sthux"    "011111 sssss aaaaa bbbbb 0110110111 -" (Rs Ra0 Rb) [STORE];
            Sthbrx   = "sthbrx"   "011111 sssss aaaaa bbbbb 1110010110 -" (Rs Ra0 Rb) [STORE];
            Stwx     = "stwx"     "011111 sssss aaaaa bbbbb 0010010111 -" (Rs Ra0 Rb) [STORE];
            Stwux    = "stwux"    "011111 sssss aaaaa bbbbb 0010110111 -" (Rs Ra0 Rb) [STORE];
            Stwbrx   = "stwbrx"   "011111 sssss aaaaa bbbbb 1010010110 -" (Rs Ra0 Rb) [STORE];
            Stwcx    = "stwcx."   "011111 sssss aaaaa bbbbb 0010010110 1" (Rs Ra0 Rb) [STORE];
            Stswx    = "stswx"    "011111 sssss aaaaa bbbbb 1010010101 -" (Rs Ra0 Rb) [STORE];
            Stswi    = "stswi"    "011111 sssss aaaaa nnnnn 1011010101 -" (Rs Ra0 Nb) [STORE];
            // Cache management and storage synchronisation.
            Dcba     = "dcba"     "011111 ----- aaaaa bbbbb 1011110110 -" (Ra0 Rb) [];
            Dcbf     = "dcbf"     "011111 ----- aaaaa bbbbb 0001010110 -" (Ra0 Rb) [MAY_TRAP];
            Dcbst    = "dcbst"    "011111 ----- aaaaa bbbbb 0000110110 -" (Ra0 Rb) [MAY_TRAP];
            Dcbz     = "dcbz"     "011111 ----- aaaaa bbbbb 1111110110 -" (Ra0 Rb) [MAY_TRAP];
            Icbi     = "icbi"     "011111 ----- aaaaa bbbbb 1111010110 -" (Ra0 Rb) [MAY_TRAP];
            Dcbi     = "dcbi"     "011111 ----- aaaaa bbbbb 0111010110 -" (Ra0 Rb) [PRIVILEGED];
            Dcbt     = "dcbt"     "011111 ----- aaaaa bbbbb 0100010110 -" (Ra0 Rb) [];
            Dcbtst   = "dcbtst"   "011111 ----- aaaaa bbbbb 0011110110 -" (Ra0 Rb) [];
            Icbt     = "icbt"     "011111 ccccc aaaaa bbbbb 0000010110 -" (Ct Ra0 Rb) [];
            Dccci    = "dccci"    "011111 ----- aaaaa bbbbb 0111000110 -" (Ra Rb) [PRIVILEGED];
            Iccci    = "iccci"    "011111 ----- aaaaa bbbbb 1111000110 -" (Ra Rb) [PRIVILEGED];
            Dcread   = "dcread"   "011111 ttttt aaaaa bbbbb 0111100110 -" (Rt Ra0 Rb) [PRIVILEGED];
            Icread   = "icread"   "011111 ----- aaaaa bbbbb 1111100110 -" (Ra0 Rb) [PRIVILEGED];
            Mbar     = "mbar"     "011111 mmmmm ----- ----- 1101010110 -" (Mo) [];
            Msync    = "msync"    "011111 ----- ----- ----- 1001010110 -" () [];
            // TLB management.
            Tlbre    = "tlbre"    "011111 ttttt aaaaa wwwww 1110110010 -" (Rt Ra Ws) [PRIVILEGED];
            Tlbsx    = "tlbsx"    "011111 ttttt aaaaa bbbbb 1110010010 r" (Rt Ra0 Rb Rc) [PRIVILEGED];
            Tlbsync  = "tlbsync"  "011111 ----- ----- ----- 1000110110 -" () [PRIVILEGED];
            Tlbwe    = "tlbwe"    "011111 sssss aaaaa wwwww 1111010010 -" (Rs Ra Ws) [PRIVILEGED ENDS_BLOCK];
            // Special registers.
            Mfdcr    = "mfdcr"    "011111 ttttt nnnnn nnnnn 0101000011 -" (Rt Dcr) [PRIVILEGED];
            Mtdcr    = "mtdcr"    "011111 sssss nnnnn nnnnn 0111000011 -" (Dcr Rs) [PRIVILEGED];
            Mfmsr    = "mfmsr"    "011111 ttttt ----- ----- 0001010011 -" (Rt) [PRIVILEGED];
            Mtmsr    = "mtmsr"    "011111 sssss ----- ----- 0010010010 -" (Rs) [PRIVILEGED ENDS_BLOCK];
            Mfspr    = "mfspr"    "011111 ttttt nnnnn nnnnn 0101010011 -" (Rt Spr) [MAY_TRAP];
            Mtspr    = "mtspr"    "011111 sssss nnnnn nnnnn 0111010011 -" (Spr Rs) [MAY_TRAP];
            Mftb     = "mftb"     "011111 ttttt nnnnn nnnnn 0101110011 -" (Rt Tbr) [MAY_TRAP];
            Wrtee    = "wrtee"    "011111 sssss ----- ----- 0010000011 -" (Rs) [PRIVILEGED ENDS_BLOCK];
            Wrteei   = "wrteei"   "011111 ----- ----- e---- 0010100011 -" (E) [PRIVILEGED ENDS_BLOCK];
            // Floating-point loads and stores.
            Lfs      = "lfs"      "110000 ttttt aaaaa dddddddddddddddd" (Frt D) [LOAD FLOAT];
            Lfsu     = "lfsu"     "110001 ttttt aaaaa dddddddddddddddd" (Frt D) [LOAD FLOAT];
            Lfd      = "lfd"      "110010 ttttt aaaaa dddddddddddddddd" (Frt D) [LOAD FLOAT];
            Lfdu     = "lfdu"     "110011 ttttt aaaaa dddddddddddddddd" (Frt D) [LOAD FLOAT];
            Lfsx     = "lfsx"     "011111 ttttt aaaaa bbbbb 1000010111 -" (Frt Ra0 Rb) [LOAD FLOAT];
            Lfsux    = "lfsux"    "011111 ttttt aaaaa bbbbb 1000110111 -" (Frt Ra0 Rb) [LOAD FLOAT];
            Lfdx     = "lfdx"     "011111 ttttt aaaaa bbbbb 1001010111 -" (Frt Ra0 Rb) [LOAD FLOAT];
            Lfdux    = "lfdux"    "011111 ttttt aaaaa bbbbb 1001110111 -" (Frt Ra0 Rb) [LOAD FLOAT];
            Stfs     = "stfs"     "110100 sssss aaaaa dddddddddddddddd" (Frs D) [STORE FLOAT];
            Stfsu    = "stfsu"    "110101 sssss aaaaa dddddddddddddddd" (Frs D) [STORE FLOAT];
            Stfd     = "stfd"     "110110 sssss aaaaa dddddddddddddddd" (Frs D) [STORE FLOAT];
            Stfdu    = "stfdu"    "110111 sssss aaaaa dddddddddddddddd" (Frs D) [STORE FLOAT];
            Stfsx    = "stfsx"    "011111 sssss aaaaa bbbbb 1010010111 -" (Frs Ra0 Rb) [STORE FLOAT];
            Stfsux   = "stfsux"   "011111 sssss aaaaa bbbbb 1010110111 -" (Frs Ra0 Rb) [STORE FLOAT];
            Stfdx    = "stfdx"    "011111 sssss aaaaa bbbbb 1011010111 -" (Frs Ra0 Rb) [STORE FLOAT];
            Stfdux   = "stfdux"   "011111 sssss aaaaa bbbbb 1011110111 -" (Frs Ra0 Rb) [STORE FLOAT];
            Stfiwx   = "stfiwx"   "011111 sssss aaaaa bbbbb 1111010111 -" (Frs Ra0 Rb) [STORE FLOAT];
            // Floating-point arithmetic.
            Fadd     = "fadd"     "111111 ttttt aaaaa bbbbb ----- 10101 r" (Frt Fra Frb Rc) [FLOAT];
            Fadds    = "fadds"    "111011 ttttt aaaaa bbbbb ----- 10101 r" (Frt Fra Frb Rc) [FLOAT];
            Fsub     = "fsub"     "111111 ttttt aaaaa bbbbb ----- 10100 r" (Frt Fra Frb Rc) [FLOAT];
            Fsubs    = "fsubs"    "111011 ttttt aaaaa bbbbb ----- 10100 r" (Frt Fra Frb Rc) [FLOAT];
            Fdiv     = "fdiv"     "111111 ttttt aaaaa bbbbb ----- 10010 r" (Frt Fra Frb Rc) [FLOAT];
            Fdivs    = "fdivs"    "111011 ttttt aaaaa bbbbb ----- 10010 r" (Frt Fra Frb Rc) [FLOAT];
            Fmul     = "fmul"     "111111 ttttt aaaaa ----- ccccc 11001 r" (Frt Fra Frc Rc) [FLOAT];
            Fmuls    = "fmuls"    "111011 ttttt aaaaa ----- ccccc 11001 r" (Frt Fra Frc Rc) [FLOAT];
            Fmadd    = "fmadd"    "111111 ttttt aaaaa bbbbb ccccc 11101 r" (Frt Fra Frc Frb Rc) [FLOAT];
            Fmadds   = "fmadds"   "111011 ttttt aaaaa bbbbb ccccc 11101 r" (Frt Fra Frc Frb Rc) [FLOAT];
            Fmsub    = "fmsub"    "111111 ttttt aaaaa bbbbb ccccc 11100 r" (Frt Fra Frc Frb Rc) [FLOAT];
            Fmsubs   = "fmsubs"   "111011 ttttt aaaaa bbbbb ccccc 11100 r" (Frt Fra Frc Frb Rc) [FLOAT];
            Fnmadd   = "fnmadd"   "111111 ttttt aaaaa bbbbb ccccc 11111 r" (Frt Fra Frc Frb Rc) [FLOAT];
            Fnmadds  = "fnmadds"  "111011 ttttt aaaaa bbbbb ccccc 11111 r" (Frt Fra Frc Frb Rc) [FLOAT];
            Fnmsub   = "fnmsub"   "111111 ttttt aaaaa bbbbb ccccc 11110 r" (Frt Fra Frc Frb Rc) [FLOAT];
            Fnmsubs  = "fnmsubs"  "111011 ttttt aaaaa bbbbb ccccc 11110 r" (Frt Fra Frc Frb Rc) [FLOAT];
            Fsel     = "fsel"     "111111 ttttt aaaaa bbbbb ccccc 10111 r" (Frt Fra Frc Frb Rc) [FLOAT];
            Fsqrt    = "fsqrt"    "111111 ttttt ----- bbbbb ----- 10110 r" (Frt Frb Rc) [FLOAT];
            Fsqrts   = "fsqrts"   "111011 ttttt ----- bbbbb ----- 10110 r" (Frt Frb Rc) [FLOAT];
            Fres     = "fres"     "111011 ttttt ----- bbbbb ----- 11000 r" (Frt Frb Rc) [FLOAT];
            Frsqrte  = "frsqrte"  "111111 ttttt ----- bbbbb ----- 11010 r" (Frt Frb Rc) [FLOAT];
            // Floating-point moves, conversions and compares.
            Fmr      = "fmr"      "111111 ttttt ----- bbbbb 0001001000 r" (Frt Frb Rc) [FLOAT];
            Fneg     = "fneg"     "111111 ttttt ----- bbbbb 0000101000 r" (Frt Frb Rc) [FLOAT];
            Fabs     = "fabs"     "111111 ttttt ----- bbbbb 0100001000 r" (Frt Frb Rc) [FLOAT];
            Fnabs    = "fnabs"    "111111 ttttt ----- bbbbb 0010001000 r" (Frt Frb Rc) [FLOAT];
            Frsp     = "frsp"     "111111 ttttt ----- bbbbb 0000001100 r" (Frt Frb Rc) [FLOAT];
            Fctiw    = "fctiw"    "111111 ttttt ----- bbbbb 0000001110 r" (Frt Frb Rc) [FLOAT];
            Fctiwz   = "fctiwz"   "111111 ttttt ----- bbbbb 0000001111 r" (Frt Frb Rc) [FLOAT];
            Fcmpu    = "fcmpu"    "111111 ddd-- aaaaa bbbbb 0000000000 -" (Crfd Fra Frb) [FLOAT];
            Fcmpo    = "fcmpo"    "111111 ddd-- aaaaa bbbbb 0000100000 -" (Crfd Fra Frb) [FLOAT];
            // Floating-point status and control.
            Mcrfs    = "mcrfs"    "111111 ddd-- sss-- ----- 0001000000 -" (Crfd Crfs) [FLOAT];
            Mffs     = "mffs"     "111111 ttttt ----- ----- 1001000111 r" (Frt Rc) [FLOAT];
            Mtfsb0   = "mtfsb0"   "111111 ttttt ----- ----- 0001000110 r" (Bt Rc) [FLOAT];
            Mtfsb1   = "mtfsb1"   "111111 ttttt ----- ----- 0000100110 r" (Bt Rc) [FLOAT];
            Mtfsf    = "mtfsf"    "111111 - mmmmmmmm - bbbbb 1011000111 r" (Fm Frb Rc) [FLOAT];
            Mtfsfi   = "mtfsfi"   "111111 ddd-- ----- iiii - 0010000110 r" (Crfd Imm4 Rc) [FLOAT];
        }
    };
}

macro_rules! define_insn {
    ($($name:ident = $mnemonic:literal $bits:literal ($($operand:ident)*) [$($flag:ident)*];)*) => {
        /// An instruction of the 440EP, whatever its OE, Rc, AA and LK bits.
        #[repr(u16)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Insn {
            $(#[doc = concat!("`", $mnemonic, "`: `", $bits, "`.")] $name),*
        }

        impl Insn {
            /// Every instruction, in the table's order: `ALL[insn as usize]` is `insn`.
            pub const ALL: &'static [Insn] = &[$(Insn::$name),*];
        }

        const MNEMONICS: [&str; Insn::ALL.len()] = [$($mnemonic),*];
        pub(crate) const PATTERNS: [Pattern; Insn::ALL.len()] = [$(Pattern::of_row($bits)),*];
        const OPERANDS: [&[Operand]; Insn::ALL.len()] = [$(&[$(Operand::$operand),*]),*];
        const FLAGS: [Flags; Insn::ALL.len()] =
            [$(Flags::NONE$(.union(Flags::$flag))*.with_implied()),*];
    };
}

for_each_insn!(define_insn);

/// What an instruction does that its surroundings must know. A set; [`Flags::contains`] asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// Nothing of note.
    pub const NONE: Flags = Flags(0);
    /// Privileged whatever its operands: in problem state a Program interrupt with ESR\[PPR\].
    /// `mfspr` and `mtspr` depend on the register number: [`crate::spr::is_privileged`].
    pub const PRIVILEGED: Flags = Flags(1 << 0);
    /// What runs next may not be the instruction after it, or may run in another mode or under
    /// another translation.
    pub const ENDS_BLOCK: Flags = Flags(1 << 1);
    /// May cause an interrupt, so the machine's state must be exact when it starts.
    /// [`PRIVILEGED`](Flags::PRIVILEGED), [`LOAD`](Flags::LOAD), [`STORE`](Flags::STORE) and
    /// [`FLOAT`](Flags::FLOAT) imply it.
    pub const MAY_TRAP: Flags = Flags(1 << 2);
    /// Loads registers from storage. Cache instructions, which only translate, are not loads here.
    pub const LOAD: Flags = Flags(1 << 3);
    /// Stores registers to storage. `dcbz` and `dcbi` are not stores here.
    pub const STORE: Flags = Flags(1 << 4);
    /// Needs MSR\[FP\].
    pub const FLOAT: Flags = Flags(1 << 5);
    /// A branch. Implies [`ENDS_BLOCK`](Flags::ENDS_BLOCK).
    pub const BRANCH: Flags = Flags(1 << 6);

    /// Whether every flag of `other` is in the set.
    #[inline(always)]
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any flag of `other` is in the set.
    #[inline(always)]
    pub const fn intersects(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// The flags of both sets.
    pub const fn union(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    const fn with_implied(self) -> Flags {
        const TRAPPING: Flags = Flags::PRIVILEGED
            .union(Flags::LOAD)
            .union(Flags::STORE)
            .union(Flags::FLOAT);
        let mut all = self;
        if self.intersects(TRAPPING) {
            all = all.union(Flags::MAY_TRAP);
        }
        if self.contains(Flags::BRANCH) {
            all = all.union(Flags::ENDS_BLOCK);
        }
        all
    }
}

impl Insn {
    /// The manual's mnemonic without the suffixes that OE, Rc, AA and LK add: `add`, `stwcx.`.
    #[inline]
    pub const fn mnemonic(self) -> &'static str {
        MNEMONICS[self as usize]
    }

    /// The fixed bits, as (mask, value): a word is this instruction if `word & mask == value`.
    #[inline]
    pub const fn pattern(self) -> (u32, u32) {
        let pattern = PATTERNS[self as usize];
        (pattern.mask, pattern.value)
    }

    /// The bits that belong to operands; bits neither here nor in the pattern's mask are reserved.
    #[inline]
    pub const fn operand_bits(self) -> u32 {
        PATTERNS[self as usize].operands
    }

    /// The operands in assembler order, then the suffix bits.
    #[inline]
    pub const fn operands(self) -> &'static [Operand] {
        OPERANDS[self as usize]
    }

    /// What the surroundings must know about it.
    #[inline]
    pub const fn flags(self) -> Flags {
        FLAGS[self as usize]
    }
}

// Two rows that match the same word, or operands that do not cover a row's letters exactly, do not
// compile.
const _: () = {
    let mut i = 0;
    while i < Insn::ALL.len() {
        let mut covered = 0;
        let operands = OPERANDS[i];
        let mut o = 0;
        while o < operands.len() {
            let bits = operands[o].bits();
            assert!(covered & bits == 0, "two operands of one row share bits");
            covered |= bits;
            o += 1;
        }
        assert!(
            covered == PATTERNS[i].operands,
            "a row's operands do not cover its letters exactly"
        );
        let mut j = 0;
        while j < i {
            assert!(
                !PATTERNS[i].overlaps(PATTERNS[j]),
                "two rows match the same word"
            );
            j += 1;
        }
        i += 1;
    }
};
