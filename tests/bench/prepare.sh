#!/usr/bin/env bash
# Gets everything that the benchmark compares with and runs: QEMU 10.0, the slim guest and the
# one-instruction guest. Prints NAME=PATH lines as tests/guests/build.sh does, and FIRST_ELF.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../guests/packages.sh"

install_qemu qemu-system-ppc
"$here/../guests/build.sh" slim
first=$(cache_folder)/first-$(sha256sum <"$here/first.S" | cut -c1-16).elf
if [ ! -f "$first" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    powerpc-linux-gnu-gcc -c -mcpu=440 -o "$work/first.o" "$here/first.S"
    powerpc-linux-gnu-ld -N --no-warn-rwx-segments -Ttext=0 -o "$work/first.elf" "$work/first.o"
    mv "$work/first.elf" "$first"
fi
printf 'FIRST_ELF=%q\n' "$first"
