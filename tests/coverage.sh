#!/usr/bin/env bash
# Line coverage of the instruction table, the core and the software CPU with its translator, by their
# tests.
#
#   tests/coverage.sh [ARGUMENT...]   arguments go to `cargo test` in place of the usual ones, which
#                                     are the three crates' own tests, those of ppckvm-api over
#                                     them, the instruction tests, and guests in
#                                     lockstep
#
# What no test reaches, and why:
#   isa/decode.rs, isa/insn.rs, isa/pattern.rs, jit/frontend.rs   run while compiling: the tables are
#                        constants
#   isa/disasm.rs        operands that are part of the mnemonic (BO, OE, Rc, AA, LK) are not printed
#   core/emulate.rs      a CPU that calls privileged or illegal what is not, a word 3 of a TLB entry
#   core/tlb.rs          (no such instruction decodes), a `dcbi` that accesses nothing
#   core/trap.rs         a CPU that lets floating point through with MSR[FP] = 0, or traps an access
#                        for an instruction that has none
#   core/mmio.rs         a load of the one kind that only stores
#   core/spr.rs          a timer register that is none
#   core/vcpu.rs         a watchdog that runs out between an entry and the wait behind it: host time
#   cpu440/mmu.rs, fast.rs, code.rs, jit/blocks.rs, interp/thread.rs   a space, a page, or a place in
#                        a page that the callers never name; closing braces after a diverging arm
#   cpu440/lib.rs        an engine that this host does not have
#   cpu440/watch.rs, table.rs, window.rs, jit/memory.rs   a query of vm-memory's bitmap trait that
#                        nothing of ours makes; a host without memory or address space
#   cpu440/supervisor.rs a space that one context takes from another while code runs: boots do
#   cpu440/jit/signal.rs a kernel without SIGSEGV; a process that ends by it, and leaves no record
#   cpu440/jit/calls.rs  branches and what goes to the core, which translated code never leaves to the
#                        interpreter
#   cpu440/jit/mod.rs    a translator without its tables; a guest that has code in 4096 pages
#   cpu440/jit/unshown.rs   code with 65,536 accesses that were refused
#   jit/x64/mod.rs, isa/context.rs   how things are shown when a test fails
# Prints lines reached by file, then the lines that no test reached, and leaves both with the lcov
# record in target/coverage. Needs LLVM's tools of the version that rustc is built with: a rustup
# component (llvm-tools) or Debian's package, which bookworm-security has for rustc's own sake and
# which this installs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tests/guests/packages.sh

sources=(kernel-glue/isa/src kernel-glue/core/src kernel-glue/cpu440/src kernel-glue/silicon/src)

major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
tools=$(echo "$(rustc --print sysroot)"/lib/rustlib/*/bin)
find_tool() {
    for tool in "$tools/$1" "$1-$major"; do
        if command -v "$tool" >/dev/null; then
            command -v "$tool"
            return
        fi
    done
    return 1
}
find_tool llvm-cov >/dev/null || install_missing "llvm-$major"
profdata=$(find_tool llvm-profdata) && cov=$(find_tool llvm-cov) ||
    die "no llvm-cov of version $major, which rustc has; install the rustup component llvm-tools"

out=$PWD/target/coverage
mkdir -p "$out"
# Only the workspace's crates are instrumented: what they depend on is that of any other build.
export RUSTC_WORKSPACE_WRAPPER=$out/instrumented
cat >"$RUSTC_WORKSPACE_WRAPPER" <<'WRAPPER'
#!/bin/sh
exec "$@" -C instrument-coverage
WRAPPER
chmod +x "$RUSTC_WORKSPACE_WRAPPER"
export LLVM_PROFILE_FILE=$out/raw/%p-%m.profraw
rm -rf "$out/raw"

# The crates' tests and, of the package's, those of instructions: others boot whole kernels.
run() {
    cargo test "$@"
    # Names the test programs, all of them built by now.
    cargo test --no-run --message-format=json "$@" 2>/dev/null |
        grep -o '"executable":"[^"]*"' | cut -d '"' -f 4 >>"$out/programs"
}
: >"$out/programs"
if [ $# = 0 ]; then
    say "tests of the crates"
    run -p ppc440-isa -p ppc440-kvm -p ppc440-cpu -p ppc440-silicon -p ppckvm-api --tests
    say "tests of instructions"
    install_qemu qemu-user
    run -p ppckvm --test isa --test qemu_user --test lockstep
else
    run "$@"
fi

say "report"
"$profdata" merge -sparse -o "$out/all.profdata" "$out"/raw/*.profraw
programs=()
while read -r program; do
    programs+=(-object "$program")
done < <(sort -u "$out/programs")
# The first is not an option's value.
"$cov" export -format=lcov -instr-profile "$out/all.profdata" "${programs[@]:1}" \
    "${sources[@]/#/$PWD/}" >"$out/lcov.info" 2>"$out/warnings"
rm -rf "$out/raw"

# lcov: SF: names a file, DA:line,count a line.
awk -v root="$PWD/" -F '[:,]' '
    /^SF:/ { file = substr($0, 4); sub(root, "", file) }
    /^DA:/ { lines[file]++; if ($3 > 0) reached[file]++ }
    END { for (file in lines) printf "%5.1f%%  %5d of %5d  %s\n",
        100 * reached[file] / lines[file], reached[file], lines[file], file }
' "$out/lcov.info" | sort -k 5 | tee "$out/files.txt"
awk '{ split($5, part, "/"); crate = part[2]; reached[crate] += $2; all[crate] += $4 }
    END { for (crate in all) printf "%5.1f%%  %5d of %5d  %s in all\n",
        100 * reached[crate] / all[crate], reached[crate], all[crate], crate }
' "$out/files.txt" | sort -k 5

# Unreached lines, neighbours as one range, with the first one's text.
awk -v root="$PWD/" -F '[:,]' '
    function flush() {
        if (first) {
            command = "sed -n " first "p " root file
            command | getline text
            close(command)
            sub(/^ +/, "", text)
            printf "%s:%s  %s\n", file, first == last ? first : first "-" last, text
        }
        first = 0
    }
    /^SF:/ { flush(); file = substr($0, 4); sub(root, "", file) }
    /^DA:/ && $3 == 0 { if (first && $2 == last + 1) last = $2; else { flush(); first = last = $2 } }
    /^DA:/ && $3 > 0 { flush() }
    END { flush() }
' "$out/lcov.info" >"$out/unreached.txt"
say "not reached, also in target/coverage/unreached.txt:"
cat "$out/unreached.txt"
