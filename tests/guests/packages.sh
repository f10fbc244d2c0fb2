# Debian packages for the guests, the tests and the benchmark; sourced by the scripts beside it.
#
# The user's apt configuration is never changed: a second list of sources, made from the machine's
# own mirrors, lives with its index in a private folder under the cache and is named to apt on each
# call. It adds what a stock installation does not list: source packages and backports.

# Builds the test kernels and the root file system, and checks device trees.
GUEST_PACKAGES="gcc gcc-powerpc-linux-gnu libc6-dev libc6-dev-powerpc-cross
binutils-powerpc-linux-gnu linux-source-6.1 make bc bison flex libssl-dev libelf-dev cpio xz-utils
bzip2 gzip u-boot-tools device-tree-compiler dpkg-dev"

# The peer that tests and benchmarks compare with; 10.0 comes from backports.
QEMU_PACKAGES="qemu-system-ppc qemu-user"

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

# Prints "URI suite" for each Debian archive in the machine's own apt sources.
machine_archives() {
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$list" ] || continue
        # deb [options] URI suite component...
        sed -n 's/^[[:space:]]*deb[[:space:]]\+\(\[[^]]*\][[:space:]]*\)\?//p' "$list" |
            while read -r uri suite _; do printf '%s %s\n' "$uri" "$suite"; done
    done
    for stanzas in /etc/apt/sources.list.d/*.sources; do
        [ -f "$stanzas" ] || continue
        # A stanza may name several URIs and several suites.
        awk -v RS= '{
            uris = suites = field = ""
            n = split($0, lines, "\n")
            for (i = 1; i <= n; i++) {
                line = lines[i]
                if (line ~ /^#/) continue
                if (match(line, /^[A-Za-z-]+:/)) {
                    field = tolower(substr(line, 1, RLENGTH - 1))
                    line = substr(line, RLENGTH + 1)
                }
                if (field == "uris") uris = uris " " line
                if (field == "suites") suites = suites " " line
                if (field == "enabled" && line ~ /no/) next
            }
            u = split(uris, uri, " "); s = split(suites, suite, " ")
            for (i = 1; i <= u; i++) for (j = 1; j <= s; j++) print uri[i], suite[j]
        }' "$stanzas"
    done
}

# Writes the private list of sources once, and fetches its index when that is older than a day.
private_apt_ready() {
    apt_folder=$(cache_folder)/apt
    mkdir -p "$apt_folder/lists/partial" "$apt_folder/parts"
    mirror=$(machine_archives | awk '$2 == "bookworm" { print $1; exit }')
    [ -n "$mirror" ] || die "no Debian 12 (bookworm) archive in /etc/apt/sources.list or \
/etc/apt/sources.list.d; add one and run this again"
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    {
        machine_archives | awk '$2 ~ /^bookworm(-updates|-security)?$/' | sort -u |
            while read -r uri suite; do
                printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$uri" "$suite"
                printf 'deb-src [signed-by=%s] %s %s main\n' "$keyring" "$uri" "$suite"
            done
        printf 'deb [signed-by=%s] %s bookworm-backports main\n' "$keyring" "$mirror"
    } >"$apt_folder/sources.list.new"
    if cmp -s "$apt_folder/sources.list.new" "$apt_folder/sources.list" &&
        [ -n "$(find "$apt_folder/updated" -mtime -1 2>/dev/null)" ]; then
        return
    fi
    mv "$apt_folder/sources.list.new" "$apt_folder/sources.list"
    say "apt: fetching the package index (private copy in $apt_folder)"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq $(private_apt_options) update >&2
    touch "$apt_folder/updated"
}

private_apt_options() {
    apt_folder=$(cache_folder)/apt
    printf -- '-o Dir::Etc::SourceList=%s ' "$apt_folder/sources.list"
    printf -- '-o Dir::Etc::SourceParts=%s ' "$apt_folder/parts"
    printf -- '-o Dir::State::Lists=%s ' "$apt_folder/lists"
    printf -- '-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= '
    # The index belongs to whoever runs this; apt's own user may not read a home directory.
    printf -- '-o APT::Sandbox::User=root\n'
}

# Installs those of the named packages that are missing. Further arguments to apt come in APT_MORE.
install_missing() {
    # One query for all: this runs before each boot, where tenths of a second show.
    installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null || :)
    missing=
    for package in "$@"; do
        case "
$installed
" in
        *"
$package installed
"*) ;;
        *) missing="$missing $package" ;;
        esac
    done
    [ -n "$missing" ] || return 0
    private_apt_ready
    say "apt: installing$missing"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq $(private_apt_options) ${APT_MORE:-} \
        install --yes --no-install-recommends $missing >&2
}

install_guest_packages() {
    install_missing $GUEST_PACKAGES
}

# Installs QEMU 10.0, also over an older one.
install_qemu() {
    case $(dpkg-query -W -f='${db:Status-Status} ${Version}' qemu-system-ppc 2>/dev/null || :) in
    "installed 1:10."*) ;;
    *)
        private_apt_ready
        say "apt: installing qemu-system-ppc 10.0 from bookworm-backports"
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq $(private_apt_options) \
            install --yes --no-install-recommends -t bookworm-backports $QEMU_PACKAGES >&2
        ;;
    esac
}

# Fetches a source package into a folder.
fetch_source() {
    package=$1 folder=$2
    private_apt_ready
    (cd "$folder" && apt-get -qq $(private_apt_options) source --download-only "$package" >&2)
}
