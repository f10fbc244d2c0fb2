#!/usr/bin/env bash
# Runs every check there is: formatting, lints, unit tests, boot tests. Ends with counts.
#
#   tests/run.sh [FILTER...]     arguments go to `cargo test`, so a name runs only its tests
#
# The first run installs packages and compiles three kernels: about twenty minutes on two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tests/guests/packages.sh

for tool in cargo cargo-fmt cargo-clippy; do
    command -v $tool >/dev/null || die "$tool is missing; install Rust from rustup.rs, with \
\`rustup component add rustfmt clippy\`"
done
install_missing "$GUEST_PACKAGES" "$TEST_PACKAGES"
install_qemu qemu-user

say "formatting"
cargo fmt --all --check

say "lints"
cargo clippy --workspace --all-targets --quiet -- -D warnings
# The library as a program takes it that wants no command, and then no options as text either.
cargo clippy --lib --no-default-features --features config --quiet -- -D warnings
cargo clippy --lib --no-default-features --quiet -- -D warnings

say "guests"
paths=$(tests/guests/build.sh all)
# The tests read these; alone, they ask build.sh themselves.
set -a
eval "$paths"
set +a

say "tests"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
# The test profile is optimised (Cargo.toml), so units and boot tests share one build.
cargo test --workspace --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?

say "$(awk '/^test result:/ { passed += $4; failed += $6; ignored += $8; suites++ }
    END { printf "%d passed, %d failed, %d ignored in %d suites", passed, failed, ignored, suites }
' "$log")"
# What the tests of the CPU counted, by kind, and where QEMU is another than the manual.
grep -E '^(cases( under qemu-ppc)?|random (programs|machines|guests|TLBs|timers|interrupts)[^:]*|bare-metal guest [a-z]*|user programs): |^  (wrong in|not run) ' \
    "$log" >&2 || :
grep -E '^test .* FAILED$' "$log" >&2 || :
if [ $status != 0 ]; then
    say "FAILED"
    exit 1
fi
say "all passed"
