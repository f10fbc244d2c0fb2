#!/usr/bin/env bash
# Builds the root file system: rootfs.sh FOLDER writes FOLDER/{rootfs.cpio.gz,files/}.
# BusyBox from Debian's source package, static for the 440, with files/ and programs/ beside this
# script. Needs no root: the device nodes are written as archive entries, not as files.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/packages.sh"

out=$1
files=$out/files
flags="-O2 -mcpu=440fp"
log=$out/build.log
mkdir -p "$out/source" "$files"/{bin,sbin,dev,proc,sys,tmp,root,etc,mnt}

say "rootfs: fetching BusyBox's source package"
fetch_source busybox "$out/source"
(cd "$out/source" && dpkg-source --no-check -x busybox_*.dsc busybox >>"$log" 2>&1)

# BusyBox prints its build date: the source's, so that the same inputs give the same archive.
SOURCE_DATE_EPOCH=$(date -r "$(ls "$out"/source/busybox_*.dsc)" +%s)
export SOURCE_DATE_EPOCH

say "rootfs: compiling BusyBox"
bbmake() {
    make -s -C "$out/source/busybox" ARCH=powerpc "$@" >>"$log" 2>&1 </dev/null ||
        { tail -n 30 "$log" >&2; die "building BusyBox failed; log: $log"; }
}
bbmake allnoconfig
config=$out/source/busybox/.config
# From allnoconfig only the refusals: its empty strings and zeroes would replace real defaults.
grep ' is not set$' "$config" |
    awk -v wanted="$here/busybox.config" '
        BEGIN { while ((getline line < wanted) > 0) if (line ~ /^CONFIG_/) {
            split(line, part, "="); listed[part[1]] = 1 } }
        !($2 in listed)' >"$config.base"
{ cat "$config.base"; grep '^CONFIG_' "$here/busybox.config"; } >"$config"
(yes '' || :) | make -s -C "$out/source/busybox" ARCH=powerpc oldconfig >>"$log" 2>&1
grep '^CONFIG_' "$here/busybox.config" | while read -r option; do
    grep -qxF "$option" "$config" || die "busybox.config asks for $option, but Kconfig gives \
$(grep -E "${option%%=*}[= ]" "$config" || echo nothing)"
done
bbmake -j"$(nproc)" busybox busybox.links
install -m 755 "$out/source/busybox/busybox" "$files/bin/busybox"
while read -r link; do
    # /usr/bin/x becomes /bin/x: one folder of programs is enough here.
    [ -e "$files/${link#/usr}" ] || ln -s /bin/busybox "$files/${link#/usr}"
done <"$out/source/busybox/busybox.links"

for program in "$here"/programs/*.c; do
    name=$(basename "$program" .c)
    say "rootfs: compiling $name"
    powerpc-linux-gnu-gcc -static -s $flags -Wall -Wextra -Werror -o "$files/bin/$name" "$program"
done

install -m 755 "$here/files/init" "$files/init"
for name in halt poweroff reboot; do
    ln -sf /bin/now "$files/sbin/$name"
done
install -m 755 "$here/files/now" "$files/bin/now"
install -D -m 755 "$here/files/udhcpc.script" "$files/usr/share/udhcpc/default.script"
echo 'root::0:0:root:/root:/bin/sh' >"$files/etc/passwd"
echo 'root:x:0:' >"$files/etc/group"

# Prints a header of the "new ASCII" cpio format: archive_entry NAME MODE MAJOR MINOR, for entries
# without contents.
archive_entry() {
    size=$((${#1} + 1))
    printf '070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\0' \
        0 "$(($2))" 0 0 1 0 0 0 0 "$3" "$4" "$size" 0 "$1"
    # A header with its name is a multiple of four bytes long.
    pad=$(((4 - (110 + size) % 4) % 4))
    [ $pad = 0 ] || head -c $pad /dev/zero
}

say "rootfs: packing"
find "$files" -exec touch -h -d @0 {} +
{
    # Linux opens /dev/console before anything is mounted.
    archive_entry dev 0040755 0 0
    archive_entry dev/console 0020600 5 1
    archive_entry dev/null 0020666 1 3
    archive_entry dev/ttyS0 0020600 4 64
    cd "$files"
    find . -mindepth 1 ! -path ./dev -printf '%P\n' | LC_ALL=C sort |
        cpio --quiet --create --format=newc --owner=0:0 --reproducible
} | gzip -9n >"$out/rootfs.cpio.gz"
(cd "$out/source" && echo busybox_*.dsc) | sed 's/busybox_\(.*\)\.dsc/\1/' >"$out/busybox-version"
rm -rf "$out/source"
say "rootfs: packed, $(du -k "$out/rootfs.cpio.gz" | cut -f1) KiB"
