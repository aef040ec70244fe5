# SPDX-License-Identifier: GPL-2.0-or-later
# Paths and messages that the shell scripts share; sourced, not run.
# shellcheck shell=sh disable=SC2034

top=$(cd "$(dirname "$0")/.." && pwd)
BASE=${BASE:-$(cat "$top/scripts/default-base")}
build=$top/build/$BASE
src=$build/src                  # git: tag `base`, branch `series` on top
base_file=$top/base/$BASE
cache=${XDG_CACHE_HOME:-$HOME/.cache}/qemu-memory-debug

# Where Debian, Ubuntu and Fedora have the firmware that QEMU loads
firmware=/usr/share/seabios:/usr/share/seavgabios:/usr/lib/ipxe/qemu
firmware=$firmware:/usr/share/ipxe/qemu:/usr/share/qemu

say() { printf '==> %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# base_field NAME: the rest of each line of base/$BASE that starts with NAME.
base_field() { sed -n "s/^$1 //p" "$base_file"; }

# as_root COMMAND...: run it as root, or fail where sudo would have to ask nobody.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }
    then
        sudo "$@"
    else
        return 1
    fi
}

[ -f "$base_file" ] ||
    die "there is no base '$BASE'; BASE= takes one of: $(ls "$top/base")"
