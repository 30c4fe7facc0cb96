"""Numbers of seccomp(2), classic BPF and the system call arguments that the filters look at.

One class per header; values that came after Linux 4.14 (the first kernel with SECCOMP_RET_KILL_PROCESS) carry
the version that added them. Every value here is the same on x86_64 and aarch64, except where it says
otherwise.
"""

from __future__ import annotations

import enum

# --- <linux/filter.h>, <linux/bpf_common.h> -----------------------------------------------------------------

#: Longest program the kernel accepts (BPF_MAXINSNS), in instructions.
BPF_MAXINSNS = 4096

BPF_LD_W_ABS = 0x20  #: A = the 32-bit word of struct seccomp_data at byte k
BPF_ALU_AND_K = 0x54  #: A &= k
BPF_ALU_XOR_K = 0xA4  #: A ^= k
BPF_JMP_JA = 0x05  #: skip k instructions
BPF_JMP_JEQ_K = 0x15  #: A == k ? skip jt : skip jf
BPF_JMP_JGT_K = 0x25  #: A > k, unsigned
BPF_JMP_JGE_K = 0x35  #: A >= k, unsigned
BPF_JMP_JSET_K = 0x45  #: A & k
BPF_RET_K = 0x06  #: the verdict is k

# --- struct seccomp_data of <linux/seccomp.h>: offsets in bytes ---------------------------------------------

DATA_NR = 0
DATA_ARCH = 4
DATA_IP = 8
DATA_ARGS = 16
#: Both architectures are little-endian: the low word of a 64-bit field comes first.
LOW_WORD, HIGH_WORD = 0, 4
#: Arguments of a system call.
ARGUMENTS = 6

# --- <linux/seccomp.h>: what a filter may return ------------------------------------------------------------

SECCOMP_RET_KILL_PROCESS = 0x80000000
SECCOMP_RET_KILL_THREAD = 0x00000000
SECCOMP_RET_TRAP = 0x00030000
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_USER_NOTIF = 0x7FC00000  #: Linux 5.0
SECCOMP_RET_TRACE = 0x7FF00000
SECCOMP_RET_LOG = 0x7FFC0000
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_ACTION_FULL = 0xFFFF0000
SECCOMP_RET_DATA = 0x0000FFFF

#: Largest errno the kernel passes on (MAX_ERRNO of <linux/err.h>).
MAX_ERRNO = 4095


class SeccompOperation(enum.IntEnum):
    """First argument of seccomp(2)."""

    SET_MODE_STRICT = 0
    SET_MODE_FILTER = 1
    GET_ACTION_AVAIL = 2
    GET_NOTIF_SIZES = 3  # Linux 5.0


class FilterFlag(enum.IntFlag):
    """SECCOMP_FILTER_FLAG_*, second argument of seccomp(SECCOMP_SET_MODE_FILTER)."""

    TSYNC = 1 << 0
    LOG = 1 << 1
    SPEC_ALLOW = 1 << 2  # Linux 4.17
    NEW_LISTENER = 1 << 3  # Linux 5.0
    TSYNC_ESRCH = 1 << 4  # Linux 5.7
    WAIT_KILLABLE_RECV = 1 << 5  # Linux 5.19


# --- <linux/audit.h> ----------------------------------------------------------------------------------------

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
#: The 32-bit personalities of the same processors, for tests.
AUDIT_ARCH_I386 = 0x40000003
AUDIT_ARCH_ARM = 0x40000028

#: Bit 30 of a number selects the x32 ABI on x86_64 (<asm/unistd.h>, __X32_SYSCALL_BIT).
X32_SYSCALL_BIT = 0x40000000

# --- system call arguments ----------------------------------------------------------------------------------


class Family(enum.IntEnum):
    """AF_* of <linux/socket.h>: an enumeration, never a set of bits."""

    UNIX = 1
    INET = 2
    INET6 = 10
    NETLINK = 16
    PACKET = 17
    ALG = 38
    VSOCK = 40


class SockType(enum.IntEnum):
    """SOCK_* of <linux/net.h>: an enumeration, in the low four bits of socket(2)'s second argument."""

    STREAM = 1
    DGRAM = 2
    RAW = 3
    SEQPACKET = 5


SOCK_TYPE_MASK = 0xF


class Protocol(enum.IntEnum):
    """IPPROTO_* of <linux/in.h>; also the levels of setsockopt(2)."""

    DEFAULT = 0
    TCP = 6
    UDP = 17
    IPV6 = 41


SOL_SOCKET = 1


class SocketOption(enum.IntEnum):
    """SO_* of <asm-generic/socket.h>."""

    REUSEADDR = 2
    TYPE = 3
    ERROR = 4
    BROADCAST = 6
    SNDBUF = 7
    RCVBUF = 8
    KEEPALIVE = 9
    LINGER = 13
    REUSEPORT = 15
    RCVLOWAT = 18
    RCVTIMEO = 20
    SNDTIMEO = 21
    ATTACH_FILTER = 26
    PEERSEC = 31
    PASSSEC = 34
    PEEK_OFF = 42
    ATTACH_BPF = 50
    ATTACH_REUSEPORT_CBPF = 51
    ATTACH_REUSEPORT_EBPF = 52
    PEERGROUPS = 59
    RCVTIMEO_NEW = 66
    SNDTIMEO_NEW = 67
    PASSPIDFD = 76  # Linux 6.5
    PEERPIDFD = 77  # Linux 6.5


class TcpOption(enum.IntEnum):
    """TCP_* of <linux/tcp.h>."""

    MD5SIG = 14
    REPAIR = 19
    ULP = 31
    AO_ADD_KEY = 38  # Linux 6.7
    AO_DEL_KEY = 39  # Linux 6.7
    AO_INFO = 40  # Linux 6.7
    AO_REPAIR = 42  # Linux 6.7


class NetfilterOption(enum.IntEnum):
    """{IPT,IP6T,ARPT}_SO_SET_* of <linux/netfilter_ipv4/ip_tables.h> and its neighbours."""

    IPT_REPLACE = 64
    IPT_ADD_COUNTERS = 65
    ARPT_REPLACE = 96
    ARPT_ADD_COUNTERS = 97


class MessageFlag(enum.IntFlag):
    """MSG_* of <linux/socket.h>."""

    OOB = 0x1


class CloneFlag(enum.IntFlag):
    """CLONE_* of <linux/sched.h>; the low byte of clone(2)'s first argument is the exit signal."""

    VM = 0x00000100
    FS = 0x00000200
    FILES = 0x00000400
    SIGHAND = 0x00000800
    VFORK = 0x00004000
    PARENT = 0x00008000
    THREAD = 0x00010000
    NEWNS = 0x00020000
    NEWCGROUP = 0x02000000
    NEWUTS = 0x04000000
    NEWIPC = 0x08000000
    NEWUSER = 0x10000000
    NEWPID = 0x20000000
    NEWNET = 0x40000000


#: Every namespace that clone(2) can make (0x7E020000). CLONE_NEWTIME lies in the signal byte: clone3(2) only.
CLONE_NAMESPACES = (
    CloneFlag.NEWNS
    | CloneFlag.NEWCGROUP
    | CloneFlag.NEWUTS
    | CloneFlag.NEWIPC
    | CloneFlag.NEWUSER
    | CloneFlag.NEWPID
    | CloneFlag.NEWNET
)


class OpenFlag(enum.IntFlag):
    """O_* of <asm-generic/fcntl.h>, those that are equal on both architectures.

    O_TMPFILE is __O_TMPFILE | O_DIRECTORY and O_DIRECTORY differs, so the filters look at __O_TMPFILE alone.
    """

    WRONLY = 0o1
    RDWR = 0o2
    CREAT = 0o100
    EXCL = 0o200
    TRUNC = 0o1000
    APPEND = 0o2000
    TMPFILE = 0o20000000


class ModeBit(enum.IntFlag):
    """S_IS* of <linux/stat.h>."""

    SET_GROUP_ID = 0o2000
    SET_USER_ID = 0o4000


class Protection(enum.IntFlag):
    """PROT_* of <asm-generic/mman-common.h>."""

    READ = 1
    WRITE = 2
    EXEC = 4


class Ioctl(enum.IntEnum):
    """Requests of ioctl(2), from <asm-generic/ioctls.h>."""

    TCGETS = 0x5401
    TIOCSTI = 0x5412
    TIOCGWINSZ = 0x5413
    FIONREAD = 0x541B
    TIOCLINUX = 0x541C
    FIONBIO = 0x5421
    FIONCLEX = 0x5450
    FIOCLEX = 0x5451
    TCGETS2 = 0x802C542A  # what isatty(3) asks from glibc 2.42 on


class Fcntl(enum.IntEnum):
    """Commands of fcntl(2), from <asm-generic/fcntl.h> and <linux/fcntl.h>."""

    DUPFD = 0
    GETFD = 1
    SETFD = 2
    GETFL = 3
    SETFL = 4
    GETLK = 5
    SETLK = 6
    SETLKW = 7
    SETOWN = 8
    SETSIG = 10
    OFD_GETLK = 36
    OFD_SETLK = 37
    OFD_SETLKW = 38
    SETLEASE = 1024
    NOTIFY = 1026
    DUPFD_QUERY = 1027  # Linux 6.10
    DUPFD_CLOEXEC = 1030
    GETPIPE_SZ = 1032
    ADD_SEALS = 1033
    GET_SEALS = 1034


class Prctl(enum.IntEnum):
    """Options of prctl(2), from <linux/prctl.h>."""

    GET_PDEATHSIG = 2
    GET_DUMPABLE = 3
    SET_DUMPABLE = 4
    GET_KEEPCAPS = 7
    GET_TIMING = 13
    SET_NAME = 15
    GET_NAME = 16
    GET_SECCOMP = 21
    CAPBSET_READ = 23
    GET_TSC = 25
    GET_SECUREBITS = 27
    GET_TIMERSLACK = 30
    SET_CHILD_SUBREAPER = 36
    GET_CHILD_SUBREAPER = 37
    SET_NO_NEW_PRIVS = 38
    GET_NO_NEW_PRIVS = 39
    GET_TID_ADDRESS = 40
    GET_THP_DISABLE = 42
    CAP_AMBIENT = 47
    SVE_GET_VL = 51
    GET_SPECULATION_CTRL = 52  # Linux 4.17
    GET_TAGGED_ADDR_CTRL = 56  # Linux 5.4
    GET_IO_FLUSHER = 58  # Linux 5.6
    SME_GET_VL = 64  # Linux 6.0
    GET_AUXV = 0x41555856  # Linux 6.4
    SET_VMA = 0x53564D41  # Linux 5.17


#: The only PR_SET_VMA operation: name an anonymous mapping.
PR_SET_VMA_ANON_NAME = 0
#: PR_CAP_AMBIENT's only operation that reads.
PR_CAP_AMBIENT_IS_SET = 1


class ArchPrctl(enum.IntEnum):
    """Codes of arch_prctl(2), from <asm/prctl.h>; x86_64 only."""

    SET_GS = 0x1001
    SET_FS = 0x1002
    GET_FS = 0x1003
    GET_GS = 0x1004
    GET_CPUID = 0x1011
    SET_CPUID = 0x1012
    GET_XCOMP_SUPP = 0x1021  # Linux 5.16
    GET_XCOMP_PERM = 0x1022  # Linux 5.16
    REQ_XCOMP_PERM = 0x1023  # Linux 5.16
    CET_STATUS = 0x3001  # asked by glibc 2.28-2.38; never in a released kernel
    SHSTK_ENABLE = 0x5001  # Linux 6.6
    SHSTK_DISABLE = 0x5002  # Linux 6.6
    SHSTK_LOCK = 0x5003  # Linux 6.6
    SHSTK_STATUS = 0x5005  # Linux 6.6


class RandomFlag(enum.IntFlag):
    """GRND_* of <linux/random.h>."""

    NONBLOCK = 1
    RANDOM = 2
    INSECURE = 4  # Linux 5.6
