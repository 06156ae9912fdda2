# Runs a program as a container's: the machine's files under it, its own changes, volumes and names on top.
# Called in a mount namespace of its own as: sandbox.sh BOX HOSTS WORKDIR [SOURCE PLACE ro|rw]... -- PROGRAM [ARG]...
set -e

# Holds every source under /.volumes: a volume that is mounted at /tmp must not hide the source of the next.
hold() {
    shift 3
    number=0
    mkdir -p "$root/.volumes"
    while [ "$1" != -- ]; do
        number=$((number + 1))
        if [ -d "$1" ]; then mkdir -p "$root/.volumes/$number"; else touch "$root/.volumes/$number"; fi
        mount --bind "$1" "$root/.volumes/$number"
        shift 3
    done
}

if [ "$SPOTSCALE_SANDBOX" != entered ]; then
    box=$1
    root=$box/root
    mounts=$(cut -d ' ' -f 5 /proc/self/mountinfo | sort -u)
    mkdir -p "$box/changes" "$box/scratch" "$root"
    mount -t overlay -o "lowerdir=/,upperdir=$box/changes,workdir=$box/scratch" overlay "$root"
    # Other file systems are seen through as they are, but for those that hold what a container has of its own. The
    # list is taken before, because it grows with what is mounted here.
    for at in $mounts; do
        case $at in
            / | /run | /run/* | /etc/*) ;;
            *) if [ -e "$root$at" ]; then mount --bind "$at" "$root$at"; fi ;;
        esac
    done
    hold "$@"
    exec env SPOTSCALE_SANDBOX=entered chroot "$root" /bin/sh "$0" "$@"
fi
hosts=$2 workdir=$3
shift 3
# The link's target is exchanged as Services change; a name that is not in it must not be asked of anybody else.
ln -sf "$hosts" /etc/hosts
echo 'multi on' >/etc/host.conf
echo 'hosts: files' >/etc/nsswitch.conf
number=0
while [ "$1" != -- ]; do
    number=$((number + 1))
    if [ -d "/.volumes/$number" ]; then
        mkdir -p "$2"
    else
        mkdir -p "$(dirname "$2")"
        touch "$2"
    fi
    mount --bind -o "$3" "/.volumes/$number" "$2"
    shift 3
done
shift
cd "$workdir"
unset SPOTSCALE_SANDBOX
exec "$@"
