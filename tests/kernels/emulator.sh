#!/bin/sh
# Look with the doctor at an emulator (qemu-user), in namespaces of our own; changes nothing on the machine. Linux 6.7.
#
#   sh emulator.sh QEMU ROOT PACKAGES
#
# QEMU: a static qemu-aarch64. ROOT: file tree of an arm64 Debian with Python. PACKAGES: isolate_fn and cloudpickle.
set -eu
if [ "${4:-}" != inside ]; then
    exec unshare --user --map-root-user --mount --propagation private sh "$0" "$@" inside
fi
mount -t tmpfs tmpfs /mnt
mkdir /mnt/binfmt /mnt/root
mount -t binfmt_misc binfmt_misc /mnt/binfmt # since Linux 6.7 one for each user namespace
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
printf '%s\n' ":qemu-aarch64:M::$magic:$mask:$1:FP" > /mnt/binfmt/register
mount --rbind "$2" /mnt/root
for name in proc dev sys; do mount --rbind "/$name" "/mnt/root/$name"; done
mount -t tmpfs tmpfs /mnt/root/tmp
mkdir /mnt/root/tmp/packages
mount --bind "$3" /mnt/root/tmp/packages
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 PYTHONPATH=/tmp/packages PYTHONDONTWRITEBYTECODE=1 \
    chroot /mnt/root /usr/bin/python3 -c 'from isolate_fn.cli import main; raise SystemExit(main(["doctor"]))'
