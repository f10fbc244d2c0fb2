#!/usr/bin/env bash
# Wraps a kernel in Linux's boot wrappers: wrappers.sh KERNEL-FOLDER FOLDER.
# KERNEL-FOLDER has vmlinux and config; FOLDER gets cuImage.bamboo, treeImage.bamboo,
# simpleImage.bamboo and zImage.epapr. build.sh calls this and owns the cache.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/packages.sh"

kernel=$1 out=$2
tarball=/usr/src/linux-source-6.1.tar.xz
tree=$out/tree
boot=$tree/arch/powerpc/boot
export ARCH=powerpc CROSS_COMPILE=powerpc-linux-gnu-
# cuImages carry the time at which they were made.
SOURCE_DATE_EPOCH=$(date -r "$tarball" +%s)
export SOURCE_DATE_EPOCH
log=$out/build.log
logged() {
    "$@" >>"$log" 2>&1 ||
        { tail -n 30 "$log" >&2; die "wrapping the kernel failed; log: $log"; }
}

say "wrappers: unpacking Linux 6.1"
mkdir -p "$tree"
tar -xf "$tarball" -C "$tree" --strip-components=1 --wildcards --exclude='*/Documentation/*/*' \
    --exclude='*/tools/testing/*' --exclude='*/tools/perf/*' --exclude='*/drivers/*.[chS]' \
    --exclude='*/sound/*.[chS]' --exclude='*/fs/*.[chS]' --exclude='*/net/*.[chS]'

# Nothing fills in a simpleImage's device tree: memory and clocks must be in its source.
sed -e '/memory {/,/}/ s/reg = <.*>;/reg = <0 0 0x8000000>;/' \
    -e '/cpu@0 {/,/}/ s/-frequency = <0>/-frequency = <533333328>/' \
    -e '/plb {/,/SDRAM0/ s/clock-frequency = <0>/clock-frequency = <133333332>/' \
    -e '/serial@/,/}/ s/clock-frequency = <0>/clock-frequency = <11059200>/' \
    -e 's/clock-frequency = <0>/clock-frequency = <66666666>/' \
    "$boot/dts/bamboo.dts" >"$boot/dts/bamboo-filled.dts"

say "wrappers: compiling"
cp "$kernel/config" "$tree/.config"
cp "$kernel/vmlinux" "$tree/vmlinux"
logged make -s -C "$tree" -j"$(nproc)" olddefconfig prepare
# The kernel is compiled already: make must take it as it is. One image at a time, because make
# thinks that the rule for one makes all that end alike.
for image in cuImage.bamboo treeImage.bamboo simpleImage.bamboo-filled; do
    logged make -s -C "$tree" -o vmlinux "$image"
done
# Linux 6.1 puts an instruction of 64-bit processors in front of its ePAPR wrapper, which keeps it
# from every 32-bit board; the wrapper itself works.
logged make -s -C "$tree" -o vmlinux arch/powerpc/boot/epapr-wrapper.o
sed 's|\$object/pseries-head.o \$object/epapr.o|$object/epapr.o|' "$boot/wrapper" >"$boot/wrapper32"
(cd "$tree" && srctree=. logged sh arch/powerpc/boot/wrapper32 -p epapr -o "$out/zImage.epapr" \
    -C "$CROSS_COMPILE" -W arch/powerpc/boot -D arch/powerpc/boot vmlinux)
cp "$boot/cuImage.bamboo" "$boot/treeImage.bamboo" "$out"
cp "$boot/simpleImage.bamboo-filled" "$out/simpleImage.bamboo"
rm -rf "$tree"
say "wrappers: built"
