# shellcheck shell=bash
# Debian packages for the guests, the tests and the benchmark; sourced by the scripts beside it,
# which also take their progress lines and the cache's place from here.
#
# The user's apt configuration is never changed: a second list of sources, made from the machine's
# own mirrors, lives with its index in a private folder under the cache and is named to apt on each
# call. It adds what a stock installation does not list: source packages and backports.

# Builds the test kernels and the root file system.
GUEST_PACKAGES="gcc gcc-powerpc-linux-gnu libc6-dev libc6-dev-powerpc-cross
binutils-powerpc-linux-gnu linux-source-6.1 make bc bison flex cpio xz-utils bzip2 gzip u-boot-tools
dpkg-dev"
# Packs kernels, checks device trees, makes and reads disk images, makes networks, reads captures,
# opens pages (a browser without a screen: 100 MB with what it needs), debugs guests.
TEST_PACKAGES="lz4 zstd device-tree-compiler e2fsprogs qemu-utils iproute2 tcpdump
chromium-headless-shell gdb-multiarch"

# Progress lines count from the start of the outermost script.
: "${PPCKVM_STARTED:=$(date +%s)}"
export PPCKVM_STARTED

say() {
    printf '[%3d s] %s\n' "$(($(date +%s) - PPCKVM_STARTED))" "$*" >&2
}

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

cache_folder() {
    printf '%s\n' "${PPCKVM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ppckvm}"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "installing packages needs root; run as root or install sudo"
    fi
}

# Prints "URI suite [options]" for each archive in the machine's own apt sources. Of the options,
# those count that say how the archive is signed.
machine_archives() {
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$list" ] || continue
        # deb [options] URI suite component...
        awk '$1 == "deb" {
            options = ""
            if (match($0, /\[[^]]*\]/)) {
                options = substr($0, RSTART, RLENGTH)
                $0 = substr($0, 1, RSTART - 1) substr($0, RSTART + RLENGTH)
            }
            print $2, $3, options
        }' "$list"
    done
    for stanzas in /etc/apt/sources.list.d/*.sources; do
        [ -f "$stanzas" ] || continue
        # A stanza may name several URIs and several suites.
        awk -v RS= '{
            split("", value)
            field = ""
            n = split($0, lines, "\n")
            for (i = 1; i <= n; i++) {
                line = lines[i]
                if (line ~ /^#/) continue
                if (match(line, /^[A-Za-z-]+:/)) {
                    field = tolower(substr(line, 1, RLENGTH - 1))
                    line = substr(line, RLENGTH + 1)
                }
                value[field] = value[field] " " line
            }
            if (value["enabled"] ~ /no/ || value["types"] !~ /(^| )deb( |$)/) next
            options = ""
            if (split(value["signed-by"], key, " ") == 1) options = "signed-by=" key[1]
            if (value["trusted"] ~ /yes/) options = options " trusted=yes"
            if (options != "") options = "[" options "]"
            u = split(value["uris"], uri, " ")
            s = split(value["suites"], suite, " ")
            for (i = 1; i <= u; i++) for (j = 1; j <= s; j++) print uri[i], suite[j], options
        }' "$stanzas"
    done
}

# Writes the private list of sources, and fetches its index when that is older than a day.
private_apt_ready() {
    local apt archives main
    apt=$(cache_folder)/apt
    private_apt=(
        -o "Dir::Etc::SourceList=$apt/sources.list" -o "Dir::Etc::SourceParts=$apt/parts"
        -o "Dir::State::Lists=$apt/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
        # The index lies in a home directory, which apt's own user may not read.
        -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 -o Acquire::Languages=none
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
    )
    mkdir -p "$apt/lists/partial" "$apt/parts"
    archives=$(machine_archives | sort -u | grep -E '^[^ ]+ bookworm(-updates|-security)? ' || :)
    main=$(grep -m1 -E '^[^ ]+ bookworm ' <<<"$archives" || :)
    [ -n "$main" ] || die "no Debian 12 (bookworm) archive in /etc/apt/sources.list or \
/etc/apt/sources.list.d; add one and run this again"
    while read -r uri suite options; do
        printf 'deb %s %s %s main\ndeb-src %s %s %s main\n' \
            "$options" "$uri" "$suite" "$options" "$uri" "$suite"
    done <<<"$archives" >"$apt/sources.list.new"
    read -r uri suite options <<<"$main"
    printf 'deb %s %s bookworm-backports main\n' "$options" "$uri" >>"$apt/sources.list.new"
    if cmp -s "$apt/sources.list.new" "$apt/sources.list" &&
        [ -n "$(find "$apt/updated" -mtime -1 2>/dev/null)" ]; then
        return
    fi
    mv "$apt/sources.list.new" "$apt/sources.list"
    say "apt: fetching the package index (private copy in $apt)"
    as_root apt-get -q "${private_apt[@]}" update >&2
    touch "$apt/updated"
}

# Arguments: packages and options for apt-get install.
apt_install() {
    private_apt_ready
    say "apt: installing $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq "${private_apt[@]}" install --yes \
        --no-install-recommends "$@" >&2
}

# Installs those of the named packages that are missing; an argument may hold several.
install_missing() {
    local installed package missing=()
    # shellcheck disable=SC2048,SC2086 # lists of words
    set -- $*
    # One query for all: this runs before each boot, where tenths of a second show.
    installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null || :)
    for package in "$@"; do
        grep -qxF "$package installed" <<<"$installed" || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
}

# Installs a package of QEMU 10.0, also over an older one. qemu-system-ppc is what the benchmark
# compares with; qemu-user is an oracle for the tests of single instructions.
install_qemu() {
    case $(dpkg-query -W -f='${db:Status-Status} ${Version}' "$1" 2>/dev/null || :) in
    "installed 1:10."*) ;;
    *) apt_install --target-release bookworm-backports "$1" ;;
    esac
}

# Downloads a source package into a folder.
fetch_source() {
    private_apt_ready
    (cd "$2" && apt-get -qq "${private_apt[@]}" source --download-only "$1" >&2)
}
