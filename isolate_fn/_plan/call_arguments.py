"""What the arguments of system calls mean: a word for each, so that a report can name flags and paths.

Only calls that somebody may want to read of are here; arguments of any other are written as numbers. The words:

    path        pointer to a path; text: pointer to other text
    address     pointer to a socket address, its length in the next argument
    pointer     pointer to something else, whose value says nothing
    fd, dirfd, int, size, hex, mode, pid, and names of the tables in `isolate_fn._plan.argument_names`
"""

from __future__ import annotations

_WORDS = """
accept: fd pointer pointer
accept4: fd pointer pointer socktype
acct: path
add_key: text text pointer size int
bind: fd address size
bpf: int pointer size
capset: pointer pointer
chmod: path mode
chown: path int int
chroot: path
clock_nanosleep: int int pointer pointer
clone: clone pointer pointer pointer pointer
clone3: pointer size
connect: fd address size
creat: path mode
execve: path pointer pointer
execveat: dirfd path pointer pointer hex
faccessat: dirfd path int
faccessat2: dirfd path int hex
fanotify_init: hex hex
fchmod: fd mode
fchmodat: dirfd path mode
fchmodat2: dirfd path mode hex
fchown: fd int int
fchownat: dirfd path int int hex
fcntl: fd fcntl hex
fork:
fsopen: text hex
getsockopt: fd int int pointer pointer
inotify_add_watch: fd path hex
inotify_init:
inotify_init1: hex
io_setup: int pointer
ioctl: fd ioctl pointer
ioprio_set: int int int
kcmp: pid pid int int int
keyctl: int hex hex hex hex
kill: pid int
lchown: path int int
link: path path
linkat: dirfd path dirfd path hex
listen: fd int
lsetxattr: path text pointer size int
madvise: pointer size int
mbind: pointer size int pointer int hex
memfd_create: text hex
memfd_secret: hex
mkdir: path mode
mkdirat: dirfd path mode
mknod: path mode hex
mknodat: dirfd path mode hex
mlockall: hex
mmap: pointer size protection hex fd size
mount: path path text hex pointer
mprotect: pointer size protection
mq_open: text open mode pointer
mq_unlink: text
msgctl: int int pointer
msgget: int hex
name_to_handle_at: dirfd path pointer pointer hex
newfstatat: dirfd path pointer hex
nanosleep: pointer pointer
open: path open mode
open_tree: dirfd path hex
openat: dirfd path open mode
openat2: dirfd path pointer size
perf_event_open: pointer pid int fd hex
personality: hex
pidfd_getfd: fd fd hex
pidfd_open: pid hex
pidfd_send_signal: fd int pointer hex
pivot_root: path path
prctl: prctl hex hex hex hex
prlimit64: pid int pointer pointer
process_vm_readv: pid pointer size pointer size hex
process_vm_writev: pid pointer size pointer size hex
ptrace: int pid pointer pointer
quotactl: hex path int pointer
read: fd pointer size
readlink: path pointer size
reboot: hex hex hex pointer
recvfrom: fd pointer size hex pointer pointer
recvmsg: fd pointer hex
rename: path path
renameat: dirfd path dirfd path
renameat2: dirfd path dirfd path hex
request_key: text text pointer int
rmdir: path
sched_setaffinity: pid size pointer
sched_setattr: pid pointer hex
sched_setparam: pid pointer
sched_setscheduler: pid int pointer
semctl: int int int hex
semget: int int hex
semop: int pointer size
semtimedop: int pointer size pointer
sendmmsg: fd pointer size hex
sendmsg: fd pointer hex
sendto: fd pointer size hex address size
set_mempolicy: int pointer int
setdomainname: text size
setfsgid: int
setfsuid: int
setgid: int
setgroups: int pointer
sethostname: text size
setns: fd clone
setpgid: pid pid
setpriority: int pid int
setregid: int int
setresgid: int int int
setresuid: int int int
setreuid: int int
setrlimit: int pointer
setsid:
setsockopt: fd int int pointer size
settimeofday: pointer pointer
setuid: int
setxattr: path text pointer size int
shmat: int pointer hex
shmctl: int int pointer
shmdt: pointer
shmget: int size hex
signalfd: fd pointer size
signalfd4: fd pointer size hex
socket: family socktype protocol
socketpair: family socktype protocol pointer
splice: fd pointer fd pointer size hex
stat: path pointer
statx: dirfd path hex hex pointer
swapoff: path
swapon: path hex
symlink: path path
symlinkat: path dirfd path
sync:
syncfs: fd
syslog: int pointer int
tee: fd fd size hex
truncate: path size
umount2: path hex
unlink: path
unlinkat: dirfd path hex
unshare: clone
userfaultfd: hex
vfork:
vmsplice: fd pointer size hex
write: fd pointer size
"""

ARGUMENTS: dict[str, tuple[str, ...]] = {
    name: tuple(words.split()) for name, _, words in (line.partition(":") for line in _WORDS.split("\n") if line)
}
"""Name of the call -> a word for each of its arguments."""

FREE = frozenset({"pointer", "path", "text", "address", "size"})
"""Words whose value may differ between two calls that are the same to whoever reads of them."""
