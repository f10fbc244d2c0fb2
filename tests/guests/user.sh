#!/usr/bin/env bash
# Compiles the user programs: user.sh FOLDER writes
#   FOLDER/user.cpio.gz        an archive for behind the root file system, with /user/{O0,O2,O3,run}
#   FOLDER/expected/LEVEL/NAME what each program prints under qemu-ppc, and its exit status
# The programs of one level of optimisation are one file, which runs the one that it is told.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/packages.sh"

install_qemu qemu-user

out=$1
build=$out/build
archive=$out/archive/user
mkdir -p "$build" "$archive"
names=$(cd "$here/user" && basename -s .c -- *.c)

{
    echo '#include <stdio.h>'
    echo '#include <string.h>'
    for name in $names; do echo "int ${name}_main(void);"; done
    echo 'int main(int count, char **words) {'
    for name in $names; do
        echo "    if (count == 2 && !strcmp(words[1], \"$name\")) return ${name}_main();"
    done
    echo '    fputs("which program?\n", stderr); return 99;'
    echo '}'
} >"$build/choose.c"

# compile LEVEL FILE FLAGS...
compile() {
    level=$1 file=$2
    shift 2
    objects=()
    for name in $names; do
        case $name in
        # What a generator writes is strange on purpose.
        generated_*) warnings=-w ;;
        *) warnings="-Wall -Wextra -Werror" ;;
        esac
        powerpc-linux-gnu-gcc -mcpu=440fp -fno-pie -no-pie "-$level" -std=gnu11 -fwrapv $warnings \
            -frounding-math -fno-builtin-printf "$@" "-Dmain=${name}_main" \
            -c -o "$build/$name.o" "$here/user/$name.c"
        objects+=("$build/$name.o")
    done
    powerpc-linux-gnu-gcc -mcpu=440fp -fno-pie -no-pie "-$level" "$@" -static -s -pthread -o "$file" \
        "$build/choose.c" "${objects[@]}" -lm
}

ulimit -c 0

# Whether a program has an instruction of the group.
accumulates() {
    powerpc-linux-gnu-objdump -M440 -d "$1" | grep -cE '\sn?mac(hhw|lhw|chw)u?\.?\s' >/dev/null
}

for level in O0 O2 O3; do
    say "user programs: $level"
    compile $level "$archive/$level"
    # QEMU does not execute the multiply-accumulate group rightly (QEMU 10.0; manual, chapter 9), so
    # what it runs is compiled without.
    compile $level "$build/reference" -mno-mulhw
    if accumulates "$build/reference"; then
        die "the reference at -$level uses multiply-accumulate instructions"
    elif [ $level != O0 ] && ! accumulates "$archive/$level"; then
        die "no multiply-accumulate instruction in the programs at -$level"
    fi
    mkdir -p "$out/expected/$level"
    for name in $names; do
        status=0
        # One program has children that abort.
        timeout 120 qemu-ppc -cpu 440epb "$build/reference" "$name" \
            >"$out/expected/$level/$name" 2>/dev/null || status=$?
        echo "status $status" >>"$out/expected/$level/$name"
    done
done
{
    echo 'ulimit -c 0'
    for level in O0 O2 O3; do
        for name in $names; do
            echo "echo '=== $level $name'; /user/$level $name; echo \"status \$?\""
        done
    done
    echo "echo '=== end'"
} >"$archive/run"
(cd "$out/archive" && find user | LC_ALL=C sort |
    cpio --quiet --create --format=newc --owner=0:0 --reproducible | gzip -9n) >"$out/user.cpio.gz"
rm -rf "$build" "$out/archive"
say "user programs: $(wc -w <<<"$names") at 3 levels, $(du -k "$out/user.cpio.gz" | cut -f1) KiB"
