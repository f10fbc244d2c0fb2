#!/usr/bin/env bash
# Compiles the guests without an operating system: bare.sh FOLDER writes FOLDER/NAME.elf for each
# test file in bare/. They are told from the shared part by defining `tests`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/packages.sh"

out=$1
mkdir -p "$out"
# No instruction of the multiply-accumulate group, so that QEMU can run them too.
flags=(-mcpu=440 -msoft-float -mno-mulhw -mno-dlmzb -mno-multiple -mbig-endian
    -O2 -ffreestanding -nostdlib -fno-pic -fno-pie -no-pie -static -fno-stack-protector
    -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -fno-strict-aliasing
    -fno-delete-null-pointer-checks -msdata=none -mregnames -Wall -Wextra -Werror -Wl,--build-id=none
    -Wl,-z,noexecstack -Wl,-z,max-page-size=4096 -Wl,--no-warn-rwx-segments)
for source in "$here"/bare/*.c; do
    grep -q 'struct test tests\[\]' "$source" || continue
    [ "$(basename "$source")" != bare.c ] || continue
    name=$(basename "$source" .c)
    powerpc-linux-gnu-gcc "${flags[@]}" -T "$here/bare/link.ld" -o "$out/$name.elf" \
        "$here/bare/start.S" "$here/bare/bare.c" "$source"
done
say "bare guests: $(ls "$out" | wc -l) compiled"
