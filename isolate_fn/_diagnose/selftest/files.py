"""Promise 1, reading: attacks that look for files of the host, and for a way out of the isolate's tree."""

from __future__ import annotations

import ctypes
import errno
import os
import stat

from isolate_fn._diagnose.selftest.attack import Facts, Found, Promise
from isolate_fn._diagnose.selftest.native import AT_FDCWD, O_PATH, call, opened, read
from isolate_fn._diagnose.selftest.world import World, no_proc

FILES = Promise(
    1,
    "files",
    "No host file is readable unless mounted, none is writable unless mounted for writing; read-only is recursive.",
)

_UP = "../" * 40
GONE = "it does not exist inside"


@FILES.attack("absolute-path", "read a file of the host by its absolute path", held=GONE)
def absolute_path(facts: Facts) -> Found:
    """Open it and read."""
    return {"read the file": read(facts.secret)}


@FILES.attack("well-known", "look at files that every system keeps to itself", held="none of them is there")
def well_known(facts: Facts) -> Found:
    """Only that they can be seen, not what they hold."""
    places = [
        "/etc/shadow",
        "/etc/sudoers",
        "/var/log",
        "/boot",
        "/var/lib/dpkg",
        "/etc/gshadow",
    ]
    places += ["/var/run/docker.sock", "/var/spool", "/lost+found", "/.dockerenv", "/etc/ssh"]
    return {place: call("faccessat", AT_FDCWD, place, 0) for place in places}


@FILES.attack("climb", "climb above every directory that can be entered", held="above the root is the root")
def climb(facts: Facts) -> Found:
    """With many dot-dots, and from handles of directories."""
    up = _UP + facts.secret.lstrip("/")
    found: Found = {"here": read(up)}
    for directory in ("/", "/proc", "/proc/self", "/dev", "/dev/shm", "/tmp", "/work", facts.shared, facts.drop):
        base = call("openat", AT_FDCWD, directory, O_PATH | os.O_DIRECTORY)
        if base >= 0:
            found[f"from {directory}"] = read(up, base)
            found[f"below {directory}"] = read(facts.secret.lstrip("/"), base)
            call("close", base)
    return found


@FILES.attack("old-root", "look for the old root under the new one, where pivot_root(2) left it", held="it is detached")
def old_root(facts: Facts) -> Found:
    """Path lookup above the root reaches what is mounted over it."""
    return {start: read(f"{start}{facts.secret}") for start in ("/..", "/../..", "/.", "/proc/self/cwd/../..")}


def _follow(directory: str, secret: str) -> Found:
    found: Found = {}
    for name, target in (("absolute", secret), ("relative", _UP + secret.lstrip("/"))):
        link = f"{directory}/link-{name}"
        made = call("symlinkat", target, AT_FDCWD, link)
        found[name] = made if made < 0 else read(link)
        call("unlinkat", AT_FDCWD, link, 0)
    return found


@FILES.attack("planted-link", "plant a symbolic link that leads to the host, and follow it", held="it leads nowhere")
def planted_link(facts: Facts) -> Found:
    """In the isolate's own directory, and in one that is granted for writing."""
    return {
        f"{name} in {place}": result
        for place, directory in (("own", facts.scratch), ("granted", facts.drop))
        for name, result in _follow(directory, facts.secret).items()
    }


@FILES.attack("granted-link", "follow links to the host that lie in a granted directory", held="they lead nowhere")
def granted_link(facts: Facts) -> Found:
    """Links that the host's owner left there."""
    return {name: read(f"{facts.shared}/{name}") for name in ("absolute", "relative", "up/secret")}


@FILES.attack(
    "magic-link",
    "walk through the links of /proc to other roots and working directories",
    held="they lead to the isolate's own tree, or are refused",
    known="CVE-2022-0492",
)
def magic_link(facts: Facts) -> Found:
    """Of this process and of process 1."""
    links = ("self/root", "1/root", "1/cwd", "1/task/1/root", "thread-self/root", "self/task/1/cwd")
    return {link: read(f"/proc/{link}{facts.secret}") for link in links}


@FILES.attack(
    "directory-descriptor",
    "use every open descriptor as a directory to start from",
    held="no descriptor is a directory",
    alone=True,
    known="CVE-2024-21626",
)
def directory_descriptor(facts: Facts) -> Found:
    """The caller holds one open that its children may inherit."""
    found: Found = {}
    for base in range(256):
        about = call("fcntl", base, 1)
        if about >= 0:
            found[f"descriptor {base}"] = read(_UP + facts.secret.lstrip("/"), base)
    return found


@FILES.attack("working-directory", "read below the working directory", held="it lies in the isolate's tree")
def working_directory(facts: Facts) -> Found:
    """By a relative name, from wherever this is."""
    found: Found = {"relative": read(_UP + facts.secret.lstrip("/"))}
    here = os.getcwd()
    if not here.startswith("/") or here.startswith(os.path.dirname(facts.secret)):
        found["it is the host's"] = here
    return found


@FILES.attack(
    "handle",
    "open a file by its handle, whatever is mounted where",
    held="open_by_handle_at(2) is refused",
    known="the shocker exploit of 2014",
    needs=lambda world: "" if world.inside.handle() else "the file system of the temporary directory has no handles",
)
def handle(facts: Facts) -> Found:
    """The handle is known; any descriptor of the file system will do."""
    somewhere = call("openat", AT_FDCWD, facts.shared, os.O_RDONLY)
    buffer = ctypes.create_string_buffer(bytes.fromhex(facts.handle), 136)
    return {"opened": call("open_by_handle_at", somewhere, buffer, os.O_RDONLY)}


@FILES.attack(
    "devices", "find devices that lead to disks, memory, terminals or the kernel", held="/dev holds harmless ones"
)
def devices(facts: Facts) -> Found:
    """Every name in /dev that is none of those that every program may need."""
    harmless = {"null", "zero", "full", "random", "urandom", "fd", "stdin", "stdout", "stderr", "shm"}
    try:
        names = os.listdir("/dev")
    except PermissionError:  # where it is the host's
        return {"a list of them": -errno.EACCES}
    return {name: "present" for name in names if name not in harmless}


@FILES.attack(
    "sysfs", "look for /sys and control groups", held="there is neither", known="CVE-2022-0492 (release_agent)"
)
def sysfs(facts: Facts) -> Found:
    """What lies there is the machine's."""
    places = ("/sys", "/sys/kernel", "/sys/fs/cgroup", "/sys/class/net", "/sys/kernel/uevent_helper")
    return {place: call("faccessat", AT_FDCWD, place, 0) for place in places}


@FILES.attack("proc-reading", "read what /proc tells of the machine", held="nothing but processes is in /proc")
def proc_reading(facts: Facts) -> Found:
    """Kernel, memory, hardware, other people's connections."""
    names = (
        "kcore", "keys", "timer_list", "kallsyms", "interrupts", "cmdline", "meminfo", "version", "config.gz", "kmsg",
        "kpagecount", "scsi/scsi", "acpi/wakeup", "bus/pci/devices", "modules", "partitions", "sys/kernel/osrelease",
    )  # fmt: skip
    return {name: opened(f"/proc/{name}") for name in names}


@FILES.attack(
    "proc-writing",
    "open the switches in /proc by which root of the host runs code",
    held="they are not there",
    known="CVE-2025-52881, core_pattern",
)
def proc_writing(facts: Facts) -> Found:
    """Only opened: nothing is written to them."""
    names = (
        "sys/kernel/core_pattern",
        "sys/kernel/modprobe",
        "sysrq-trigger",
        "sys/fs/binfmt_misc/register",
        "sys/vm/drop_caches",
    )
    return {name: opened(f"/proc/{name}", os.O_WRONLY) for name in names}


@FILES.led(
    "other-isolate",
    "read what another isolate left in its /tmp, /dev/shm and /work",
    held="each isolate has its own",
    untried="two calls in one process see the same files, as everybody knows",
)
def other_isolate(world: World) -> Found:
    """Two isolates at once, of the same function and policy."""
    facts = world.facts_inside()
    first = world.call(leave_files, facts)
    second = world.call(find_files, facts)
    if first.error or second.error:
        return {"a call failed": f"{first.error or second.error}"}
    found: Found = second.value
    return found


def leave_files(facts: Facts) -> None:
    """Write a file in each writable place."""
    for place in _places(facts):
        with open(f"{place}/{facts.argument}", "w", encoding="ascii") as file:
            file.write("left behind")


def find_files(facts: Facts) -> dict[str, int | bytes]:
    """Look for them."""
    return {place: read(f"{place}/{facts.argument}") for place in _places(facts)}


def _places(facts: Facts) -> tuple[str, ...]:
    """Return the places that may be written: without mounts, in a directory whose name only the isolate knows."""
    return ("/tmp", "/dev/shm", "/work") if facts.scratch == "/tmp" else (facts.scratch, ".")


@FILES.attack(
    "mount-flags",
    "look for mounts that spread to the host, or give privileges",
    held="all are private, nosuid, and without devices but those of /dev",
    needs=no_proc,
)
def mount_flags(facts: Facts) -> Found:
    """As the kernel lists them."""
    found: Found = {}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as table:
        for line in table:
            fields = line.split()
            point, options, tags = fields[4], fields[5].split(","), fields[6 : fields.index("-")]
            if tags:
                found[f"{point} spreads"] = " ".join(tags)
            if "nosuid" not in options:
                found[f"{point} has set-id programs"] = "suid"
            if "nodev" not in options and not stat.S_ISCHR(os.stat(point).st_mode):
                found[f"{point} has devices"] = "dev"
    return found
