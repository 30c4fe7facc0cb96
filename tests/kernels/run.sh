#!/bin/sh
# Runs inside a virtual machine, as root, from the directory the payload was unpacked to. As root and as an ordinary user: the
# checks of rules, the smoke checks, those of the other engine; then those of the doctor, and the smoke checks once more with a
# delegated cgroup (v2) for each. The exit status is the number of failed runs.
here=$(pwd)
chmod -R a+rX "$here"
chmod 755 "$here"
export PYTHONPATH="$here/packages" LANG=C.UTF-8 HOME=/tmp PYTHONDONTWRITEBYTECODE=1
failed=0

check() {
    echo "== $*"
    "$@" || failed=$((failed + 1))
}

as_user="setpriv --reuid 1000 --regid 1000 --clear-groups"
# Ports are tried on the loopback device; not every guest has ip(8). 0x8914 is SIOCSIFFLAGS, 0x49 is up, loopback, running.
up='import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh22x", b"lo", 0x49))'
ip link set lo up 2>/dev/null || python3 -c "$up"

check python3 "$here/rules.py" --no-filters
check $as_user python3 "$here/rules.py"
check python3 "$here/smoke.py"
check $as_user python3 "$here/smoke.py"

check python3 "$here/other_engine.py"
check $as_user python3 "$here/other_engine.py"

check python3 "$here/doctor.py"

group=/sys/fs/cgroup
if [ -e "$group/cgroup.subtree_control" ] && grep -qw memory "$group/cgroup.controllers"; then
    echo +memory > "$group/cgroup.subtree_control"
    mkdir -p "$group/delegated"
    # As a service manager delegates: the directory and its three files belong to the user, who starts in a leaf.
    echo +memory > "$group/delegated/cgroup.subtree_control"
    mkdir -p "$group/delegated/leaf"
    chown 1000:1000 "$group/delegated" "$group/delegated/leaf"
    for file in cgroup.procs cgroup.subtree_control cgroup.threads; do
        chown 1000:1000 "$group/delegated/$file" "$group/delegated/leaf/$file"
    done
    echo $$ > "$group/delegated/leaf/cgroup.procs"
    check python3 "$here/smoke.py" --cgroup
    check $as_user python3 "$here/smoke.py" --cgroup
else
    echo "no cgroup v2 memory controller here"
fi
exit $failed
