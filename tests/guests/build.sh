#!/usr/bin/env bash
# Builds the test guests into a cache outside the checkout, and prints where they are.
#
#   tests/guests/build.sh [slim|bamboo|all]
#
# Progress goes to stderr. Stdout gets lines NAME=PATH that a script can `eval`: KERNEL_UIMAGE,
# KERNEL_VMLINUX, SYSTEM_MAP and ROOTFS for slim, BAMBOO_UIMAGE, BAMBOO_VMLINUX, BAMBOO_SYSTEM_MAP,
# BAMBOO_CUIMAGE, BAMBOO_TREEIMAGE, BAMBOO_SIMPLEIMAGE, BAMBOO_EPAPR and ROOTFS for bamboo; for all,
# also BARE_GUESTS, a folder of guests without an operating system, USER_PROGRAMS, one of user programs
# with what they print, and KUNIT_VMLINUX, a kernel with tests of its own. What is in the cache already
# is not built again.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/packages.sh"

which=${1:-slim}
case $which in
slim | bamboo) kernels=$which ;;
all) kernels="slim bamboo" ;;
*) die "guest '$which' is unknown; choose slim, bamboo or all" ;;
esac

cache=$(cache_folder)
mkdir -p "$cache"
install_missing "$GUEST_PACKAGES"

# The first 16 digits of a hash over the named files and the versions of the named packages.
key_of() {
    files=$1 packages=$2
    { cd "$here" && cat $files && dpkg-query -W -f='${Package} ${Version}\n' $packages; } |
        sha256sum | cut -c1-16
}

compiler="gcc-12-powerpc-linux-gnu binutils-powerpc-linux-gnu"
# cached NAME KEY COMMAND...: sets `folder`; runs COMMAND with an unfinished folder on a miss, which
# gets its final name only when everything in it is complete.
cached() {
    name=$1 key=$2
    shift 2
    folder=$cache/$name-$key
    [ ! -d "$folder" ] || return 0
    exec 9>"$cache/$name.lock"
    flock -n 9 || { say "another build of $name is running; waiting for it"; flock 9; }
    if [ ! -d "$folder" ]; then
        rm -rf "$folder.unfinished"
        mkdir -p "$folder.unfinished"
        "$@" "$folder.unfinished" 9>&-
        mv -T "$folder.unfinished" "$folder"
    fi
    exec 9>&-
}

root_file_system() {
    cached rootfs "$(key_of "rootfs.sh busybox.config files/* programs/*" \
        "libc6-dev-powerpc-cross $compiler")" nice -n 5 bash "$here/rootfs.sh"
}
# Beside the kernel, because each has stages that keep only one core.
root_file_system &
building=$!

for kernel in $kernels; do
    case $kernel in
    slim) files="kernel.sh slim.config" prefix=KERNEL map=SYSTEM_MAP ;;
    bamboo) files=kernel.sh prefix=BAMBOO map=BAMBOO_SYSTEM_MAP ;;
    esac
    cached "$kernel" "$(key_of "$files" "linux-source-6.1 $compiler")" \
        bash "$here/kernel.sh" "$kernel"
    printf '%s_UIMAGE=%q\n%s_VMLINUX=%q\n%s=%q\n' \
        $prefix "$folder/uImage" $prefix "$folder/vmlinux" $map "$folder/System.map"
    [ $kernel = bamboo ] || continue
    key=$(key_of "kernel.sh wrappers.sh" "linux-source-6.1 $compiler")
    cached wrappers "$key" bash "$here/wrappers.sh" "$folder"
    printf 'BAMBOO_%s=%q\n' CUIMAGE "$folder/cuImage.bamboo" TREEIMAGE \
        "$folder/treeImage.bamboo" SIMPLEIMAGE "$folder/simpleImage.bamboo" \
        EPAPR "$folder/zImage.epapr"
done
wait $building || exit 1
root_file_system
printf 'ROOTFS=%q\n' "$folder/rootfs.cpio.gz"
[ $which = all ] || exit 0
cached bare "$(key_of "bare.sh bare/*" "$compiler")" bash "$here/bare.sh"
printf 'BARE_GUESTS=%q\n' "$folder"
cached user "$(key_of "user.sh user/*" "libc6-dev-powerpc-cross $compiler")" bash "$here/user.sh"
printf 'USER_PROGRAMS=%q\n' "$folder"
cached kunit "$(key_of "kunit.sh kunit.config" "linux-source-6.1 $compiler")" bash "$here/kunit.sh"
printf 'KUNIT_VMLINUX=%q\n' "$folder/vmlinux"
