#!/bin/sh
# Builds the agent from agent.c with Debian's cross compiler (gcc-powerpc-linux-gnu): build.sh [OUTPUT].
# The result, agent.elf beside this script, is in the repository, so that cargo alone builds ppckvm;
# a test holds it equal to the source.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
output=${1:-$here/agent.elf}
powerpc-linux-gnu-gcc -std=gnu11 -O2 -Wall -Wextra -Werror -mcpu=440 -msoft-float -ffreestanding \
    -fno-builtin -fno-pic -fno-pie -no-pie -fno-stack-protector -fno-asynchronous-unwind-tables \
    -fno-tree-loop-distribute-patterns -fno-toplevel-reorder -fno-ident -nostdlib -static \
    -Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,-z,noseparate-code -Wl,-N -Wl,--no-warn-rwx-segments -s \
    -o "$output" "$here/agent.c"
