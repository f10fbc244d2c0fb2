#!/usr/bin/env bash
# Builds one test kernel from Debian's linux-source-6.1: kernel.sh slim|bamboo FOLDER.
# Writes FOLDER/{uImage,vmlinux,System.map,config}. build.sh calls this and owns the cache.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/packages.sh"

which=$1 out=$2
tarball=/usr/src/linux-source-6.1.tar.xz
tree=$out/tree
export ARCH=powerpc CROSS_COMPILE=powerpc-linux-gnu- KBUILD_BUILD_USER=ppckvm \
    KBUILD_BUILD_HOST=test KBUILD_BUILD_VERSION=1
# The same inputs give the same kernel: its banner carries the source's date, not today's.
KBUILD_BUILD_TIMESTAMP=$(date -u -r "$tarball" '+%F %T UTC')
SOURCE_DATE_EPOCH=$(date -r "$tarball" +%s)
export KBUILD_BUILD_TIMESTAMP SOURCE_DATE_EPOCH
log=$out/build.log
kmake() {
    make -C "$tree" "$@" >>"$log" 2>&1 ||
        { tail -n 30 "$log" >&2; die "building the $which kernel failed; log: $log"; }
}

say "kernel $which: unpacking Linux 6.1"
mkdir -p "$tree"
# Kconfig needs every Kconfig file, but what follows holds only code and text that no 440 uses.
tar -xf "$tarball" -C "$tree" --strip-components=1 --wildcards --exclude='*/Documentation/*/*' \
    --exclude='*/tools/testing/*' --exclude='*/tools/perf/*' --exclude='*/arch/[!p]*/*.[chS]' \
    --exclude='*/arch/[!p]*/*.dts*' --exclude='*/drivers/gpu/*.[chS]' \
    --exclude='*/drivers/iio/*.[chS]' --exclude='*/drivers/infiniband/*.[chS]' \
    --exclude='*/drivers/media/*.[chS]' --exclude='*/drivers/net/wireless/*.[chS]' \
    --exclude='*/drivers/scsi/*.[chS]' --exclude='*/drivers/staging/*.[chS]' \
    --exclude='*/sound/*.[chS]'

case $which in
slim)
    targets=vmlinux
    kmake KCONFIG_ALLCONFIG="$here/slim.config" allnoconfig
    kmake olddefconfig
    grep '^CONFIG_' "$here/slim.config" | while read -r option; do
        grep -qxF "$option" "$tree/.config" || die "slim.config asks for $option, but Kconfig gives \
$(grep -E "${option%%=*}[= ]" "$tree/.config" || echo nothing); add what it depends on"
    done
    ;;
bamboo)
    targets="vmlinux uImage"
    kmake 44x/bamboo_defconfig
    ;;
*) die "kernel '$which' is unknown; choose slim or bamboo" ;;
esac

say "kernel $which: compiling"
compiling=$(date +%s)
while sleep 15 >/dev/null 2>&1; do
    say "kernel $which: $(grep -c '^  CC ' "$log") files compiled after \
$(($(date +%s) - compiling)) s"
done &
ticker=$!
trap 'kill $ticker 2>/dev/null || :' EXIT
# Nobody acts on a warning about this source, and looking for them takes time.
kmake -j"$(nproc)" KCFLAGS=-w $targets
cp "$tree/vmlinux" "$tree/System.map" "$out"
case $which in
slim)
    # What `make uImage` does, without compiling the boot wrappers first.
    powerpc-linux-gnu-objcopy -O binary -R .note -R .comment -S "$out/vmlinux" "$out/flat"
    gzip -9n "$out/flat"
    mkimage -A ppc -O linux -T kernel -C gzip -a 0 -e 0 -n "Linux 6.1 slim" \
        -d "$out/flat.gz" "$out/uImage" >>"$log"
    rm "$out/flat.gz"
    ;;
*) cp "$tree/arch/powerpc/boot/uImage" "$out" ;;
esac
cp "$tree/.config" "$out/config"
rm -rf "$tree"
say "kernel $which: built, compiled in $(($(date +%s) - compiling)) s"
