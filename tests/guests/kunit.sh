#!/usr/bin/env bash
# Builds a kernel with some of Linux's own tests from Debian's linux-source-6.1: kunit.sh FOLDER.
# Writes FOLDER/{vmlinux,config}, kunit.py with its modules where it wants to be, below
# FOLDER/tools/testing, and selftests in FOLDER/selftests. build.sh calls this and owns the cache.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/packages.sh"

out=$1
tarball=/usr/src/linux-source-6.1.tar.xz
tree=$out/tree
export ARCH=powerpc CROSS_COMPILE=powerpc-linux-gnu- KBUILD_BUILD_USER=ppckvm \
    KBUILD_BUILD_HOST=test KBUILD_BUILD_VERSION=1
KBUILD_BUILD_TIMESTAMP=$(date -u -r "$tarball" '+%F %T UTC')
SOURCE_DATE_EPOCH=$(date -r "$tarball" +%s)
export KBUILD_BUILD_TIMESTAMP SOURCE_DATE_EPOCH
log=$out/build.log
logged() {
    "$@" >>"$log" 2>&1 ||
        { tail -n 30 "$log" >&2; die "building the KUnit kernel failed; log: $log"; }
}

say "kernel kunit: unpacking Linux 6.1"
mkdir -p "$tree"
# Kconfig needs every Kconfig file; of code, only what this kernel and its tests use.
tar -xf "$tarball" -C "$tree" --strip-components=1 --wildcards --exclude='*/Documentation/*/*' \
    --exclude='*/tools/testing/selftests/[!s]*' --exclude='*/tools/perf/*' \
    --exclude='*/arch/[!p]*/*.[chS]' --exclude='*/arch/[!p]*/*.dts*' \
    --exclude='*/drivers/gpu/*.[chS]' --exclude='*/drivers/iio/*.[chS]' \
    --exclude='*/drivers/infiniband/*.[chS]' --exclude='*/drivers/media/*.[chS]' \
    --exclude='*/drivers/net/*.[chS]' --exclude='*/drivers/scsi/*.[chS]' \
    --exclude='*/drivers/staging/*.[chS]' --exclude='*/sound/*.[chS]'

logged make -C "$tree" KCONFIG_ALLCONFIG="$here/kunit.config" allnoconfig
grep '^CONFIG_' "$here/kunit.config" | while read -r option; do
    grep -qxF "$option" "$tree/.config" || die "kunit.config asks for $option, but Kconfig gives \
$(grep -E "${option%%=*}[= ]" "$tree/.config" || echo nothing); add what it depends on"
done

say "kernel kunit: compiling"
compiling=$(date +%s)
# Nobody acts on a warning about this source, and looking for them takes time.
logged make -C "$tree" -j"$(nproc)" KCFLAGS=-w vmlinux
cp "$tree/vmlinux" "$out"
cp "$tree/.config" "$out/config"
mkdir -p "$out/tools/testing" "$out/selftests"
cp -r "$tree/tools/testing/kunit" "$out/tools/testing"
logged powerpc-linux-gnu-gcc -static -ffreestanding -nostartfiles -s -mcpu=440fp -O2 \
    "$tree/tools/testing/selftests/size/get_size.c" -o "$out/selftests/get_size"
rm -rf "$tree"
say "kernel kunit: built, compiled in $(($(date +%s) - compiling)) s"
