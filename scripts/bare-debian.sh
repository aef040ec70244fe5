# SPDX-License-Identifier: GPL-2.0-or-later
# Bare Debian systems in folders, which need root; sourced after common.sh.
# shellcheck shell=sh disable=SC2154

# debian_in FOLDER SUITE [OPTION...]: make one from the machine's mirror, with
# debootstrap's OPTIONs.
debian_in() {
    debian=$1
    suite=$2
    shift 2
    mirror=$("$top/scripts/apt-private" --mirrors | head -n 1)
    say "making a Debian $suite in $debian"
    rm -rf "$debian"
    mkdir -p "$debian"
    debootstrap --variant=minbase "$@" "$suite" "$debian" "$mirror" >&2
}

# inside ROOT SHARE COMMAND...: with what programs in ROOT need mounted there, and
# SHARE run before; the mounts and all processes end with the command.
inside() {
    # shellcheck disable=SC2016 # the inner shell expands it; it has to reap
    unshare --mount --pid --fork --kill-child /bin/sh -euc '
        root=$1 share=$2
        shift 2
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount --rbind /sys "$root/sys"
        eval "$share"
        "$@"
        exit $?' sh "$@"
}
