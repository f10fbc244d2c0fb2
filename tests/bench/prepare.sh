#!/usr/bin/env bash
# Gets everything that the benchmark compares with and runs: QEMU 10.0, the slim guest and the
# one-instruction guest, and programs/ for the guest and for the host. Prints NAME=PATH lines as
# tests/guests/build.sh does, and FIRST_ELF, INITRD (the root file system with the programs),
# HOST_PROGRAMS (a folder) and GUEST_BUSYBOX.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../guests/packages.sh"

install_qemu qemu-system-ppc
paths=$("$here/../guests/build.sh" slim)
printf '%s\n' "$paths"
eval "$paths"
cache=$(cache_folder)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

key_of() {
    cat "$@" | sha256sum | cut -c1-16
}

first=$cache/first-$(key_of "$here/first.S").elf
if [ ! -f "$first" ]; then
    powerpc-linux-gnu-gcc -c -mcpu=440 -o "$work/first.o" "$here/first.S"
    powerpc-linux-gnu-ld -N --no-warn-rwx-segments -Ttext=0 -o "$work/first.elf" "$work/first.o"
    mv "$work/first.elf" "$first"
fi
printf 'FIRST_ELF=%q\n' "$first"

# Compiles every program: compile FOLDER COMPILER FLAGS...
compile() {
    local folder=$1 source name
    shift
    mkdir -p "$folder"
    for source in "$here"/programs/*.c "$here/../guests/programs/forkexec.c"; do
        name=$(basename "$source" .c)
        case $name in
        floats)
            "$@" -DREAL=double -o "$folder/floats-double" "$source" -lm
            "$@" -DREAL=float -o "$folder/floats-single" "$source" -lm
            ;;
        *) "$@" -o "$folder/$name" "$source" ;;
        esac
    done
}

# The guest's BusyBox on the host, with the programs that are timed.
host_busybox() {
    local folder=$1 config log=$work/busybox.log
    local applets="STATIC|LFS|SHA256SUM|GZIP|GZIP_FAST|TRUE"
    mkdir "$work/source"
    fetch_source busybox "$work/source"
    (cd "$work/source" && dpkg-source --no-check -x busybox_*.dsc busybox >"$log" 2>&1)
    config=$work/source/busybox/.config
    # The guest's configuration would do, but takes a minute.
    make -s -C "$work/source/busybox" allnoconfig >>"$log" 2>&1
    {
        # Only the refusals: allnoconfig's empty strings and zeroes would replace defaults.
        grep ' is not set$' "$config" | grep -vE "CONFIG_($applets) "
        grep -E "^CONFIG_($applets)=" "$here/../guests/busybox.config"
    } >"$work/config"
    mv "$work/config" "$config"
    (yes '' || :) | make -s -C "$work/source/busybox" oldconfig >>"$log" 2>&1
    make -s -C "$work/source/busybox" -j"$(nproc)" busybox >>"$log" 2>&1 ||
        { tail -n 30 "$log" >&2; die "building BusyBox for the host failed"; }
    install -m 755 "$work/source/busybox/busybox" "$folder/busybox"
    for name in sha256sum gzip true; do
        ln -sf busybox "$folder/$name"
    done
}

programs=$cache/bench-$(key_of "$here/prepare.sh" "$here"/programs/*.c \
    "$here/../guests/programs/forkexec.c" "$ROOTFS")
if [ ! -d "$programs" ]; then
    say "benchmark: compiling the programs"
    mkdir -p "$work/all/host" "$work/guest/bin"
    compile "$work/all/host" gcc -O2 -static -Wall -Wextra -Werror
    compile "$work/guest/bin" powerpc-linux-gnu-gcc -O2 -mcpu=440fp -static -s -Wall -Wextra -Werror
    say "benchmark: compiling BusyBox for the host"
    host_busybox "$work/all/host"
    # Linux unpacks one archive after another; the root file system has a bin/ already.
    (cd "$work/guest" && find bin -type f | cpio --quiet -o -H newc --owner=0:0) |
        gzip -n | cat "$ROOTFS" - >"$work/all/initrd.cpio.gz"
    rm -rf "$programs.unfinished"
    mv "$work/all" "$programs.unfinished"
    mv -T "$programs.unfinished" "$programs"
fi
printf 'INITRD=%q\nHOST_PROGRAMS=%q\nGUEST_BUSYBOX=%q\n' "$programs/initrd.cpio.gz" \
    "$programs/host" "$(dirname "$ROOTFS")/files/bin/busybox"
