#!/usr/bin/env bash
# Builds ppckvm and the test guest, and boots the guest to a shell in this terminal.
#
#   tests/guests/boot.sh [OPTIONS FOR ppckvm run...]
#
# The first run installs packages and compiles for some minutes; later runs take seconds.
# Ctrl-a x leaves the guest; so does `exit` or `reboot -f` inside it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/packages.sh"
root=$here/../..

command -v cargo >/dev/null || die "cargo is missing; install Rust from rustup.rs"
# Before cargo: it needs a linker.
install_missing gcc libc6-dev

# ppckvm is built while the other packages come and the guest is built, so that no one-core stage
# leaves a core idle; the kernel, which takes longest and links on one core, goes first.
target=${CARGO_TARGET_DIR:-$root/target}
nice -n 10 cargo build --profile quick --manifest-path "$root/Cargo.toml" --bin ppckvm &
cargo=$!
paths=$(mktemp)
trap 'rm -f "$paths"; kill $cargo 2>/dev/null || :' EXIT
"$here/build.sh" slim >"$paths"
wait $cargo || die "building ppckvm failed; cargo's message is above"
. "$paths"
rm -f "$paths"
trap - EXIT

say "booting; Ctrl-a x leaves, Ctrl-a h helps"
exec "$target/quick/ppckvm" run --kernel "$KERNEL_UIMAGE" --initrd "$ROOTFS" \
    --append "console=ttyS0" "$@"
