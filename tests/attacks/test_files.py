"""Promise 1: no host file is readable unless mounted, none writable unless mounted ``rw``, and read-only is recursive.

Each attack is made twice: with all walls, where it must fail, and without the walls that stand in its way, where the
very same calls succeed; so a test that cannot fail any more shows.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import native
import pytest
from native import AT_FDCWD
from support import IDLE_TIMEOUT, open_without, run_without

from isolate_fn import ro, rw, sandbox
from isolate_fn._api import prepare
from isolate_fn.errors import PolicyError, SetupError

pytestmark = pytest.mark.needs("namespaces")

# Behind the mounts stands Landlock, which denies paths that are in no mount.
FILES = ("mounts", "landlock")
ENOENT, EPERM, EROFS, EACCES = -errno.ENOENT, -errno.EPERM, -errno.EROFS, -errno.EACCES
SECRET = b"the host's secret"


def test_a_host_file_cannot_be_read_by_its_path(secret):
    assert run_without((), native.read, str(secret)) == ENOENT
    assert run_without(("landlock",), native.read, str(secret)) == ENOENT
    assert run_without(FILES, native.read, str(secret)) == SECRET


def test_a_host_file_cannot_be_made_or_written(host, secret):
    host.chmod(0o777)
    made = str(host / "made")
    create = os.O_WRONLY | os.O_CREAT
    assert run_without((), native.write, made, b"attack", create) == ENOENT
    assert run_without((), native.write, str(secret), b"attack") == ENOENT
    assert not os.path.exists(made)
    assert secret.read_bytes() == SECRET
    assert run_without(FILES, native.write, made, b"attack", create) == 6
    assert os.path.exists(made)


def test_the_runtime_cannot_be_written(weaken):
    names = ("/", "/usr/lib", "/dev", "/etc", os.path.dirname(os.__file__), os.path.dirname(pytest.__file__))
    paths = [f"{name.rstrip('/')}/attack-made" for name in names]
    create = [("openat", AT_FDCWD, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600) for path in paths]
    for walls in ((), ("landlock",)):
        assert set(run_without(walls, native.calls, *create)) <= {EROFS, EACCES}
    assert not any(map(os.path.lexists, paths))
    # Without the flag, what is left are the permissions of the files themselves. The root is a tmpfs of ours.
    weak = weaken("k.MS_RDONLY = k.MOUNT_ATTR_RDONLY = 0")
    made = run_without(("landlock", "user namespace", "capabilities"), native.call, *create[0], **weak)
    assert made >= 0


def test_a_read_only_mount_is_read_only_for_every_way_to_write(host, secret):
    """The mount's own flag keeps it; behind that, Landlock denies what it knows of."""
    mounts = [ro(host, "/data")]
    host.chmod(0o777)
    for walls in ((), ("landlock",)):
        tried = run_without(walls, native.alter, "/data/secret", mounts=mounts)
        allowed = {EROFS, EACCES, EPERM} if not walls else {EROFS, EPERM}
        assert set(tried.values()) <= allowed, tried
        assert {tried["chmod"], tried["utime"], tried["chmod again"], tried["utime again"]} == {EROFS}
    assert secret.read_bytes() == SECRET
    tried = run_without(("landlock",), native.alter, "/data/secret", mounts=[rw(host, "/data")])
    assert {name for name, result in tried.items() if result < 0} <= {"setxattr"}, tried
    assert not secret.exists()


def test_no_climbing_out_of_any_directory(secret):
    assert set(run_without((), native.climb, str(secret))) == {ENOENT}
    assert set(run_without(("landlock",), native.climb, str(secret))) == {ENOENT}
    assert SECRET in run_without(FILES, native.climb, str(secret))


@pytest.mark.parametrize("target", ["absolute", "relative"])
def test_a_symbolic_link_planted_inside_leads_nowhere(host, secret, target):
    text = str(secret) if target == "absolute" else "../" * 40 + str(secret).lstrip("/")
    assert run_without((), native.plant, "/tmp/link", text) == ENOENT
    writable = host / "writable"
    writable.mkdir()
    writable.chmod(0o777)
    granted = [rw(writable, "/data")]
    assert run_without((), native.plant, "/data/link", text, mounts=granted) == ENOENT
    (writable / "link").unlink()
    assert run_without(FILES, native.plant, str(writable / "link"), text) == SECRET


def test_a_symbolic_link_in_a_granted_directory_leads_nowhere(host, secret):
    shared = host / "shared"
    shared.mkdir()
    (shared / "absolute").symlink_to(secret)
    (shared / "relative").symlink_to("../secret")
    (shared / "up").symlink_to("..")
    names = ("absolute", "relative", "up/secret")
    for name in names:
        assert run_without((), native.read, f"/data/{name}", mounts=[ro(shared, "/data")]) == ENOENT
    for name in names:
        assert run_without(FILES, native.read, f"{shared}/{name}") == SECRET


def test_magic_links_of_proc_lead_nowhere(secret):
    denied = run_without((), native.magic_links, str(secret))
    assert set(denied) <= {ENOENT, EACCES}, denied
    # Init's root is the isolate's own; that it cannot be entered shows init's second wall.
    assert denied[1:4] == [EACCES] * 3
    assert run_without(("landlock",), native.magic_links, str(secret))[1:4] == [EACCES] * 3
    assert run_without(FILES, native.magic_links, str(secret))[0] == SECRET


def test_no_descriptor_is_a_way_out(host, secret, weaken):
    """FS-08, FS-09: a directory that the caller left open would be a path to everything."""
    assert run_without((), native.through_descriptors, str(secret)) == {}
    # Descriptors are closed twice: when the spawner starts, and in each isolate.
    directory = os.open(host, os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(directory, True)
    try:
        source = "first_calls.close_from = calls.close_from = lambda first: None"
        found = run_without(("landlock",), native.through_descriptors, str(secret), **weaken(source))
        assert SECRET in found.values()
        assert run_without((), native.through_descriptors, str(secret), env={"FRESH": host.name}) == {}
    finally:
        os.close(directory)


def test_the_working_directory_lies_inside(secret):
    def where(path):
        return os.getcwd(), native.read("../" * 40 + path.lstrip("/"))

    assert run_without((), where, str(secret)) == ("/work", ENOENT)
    assert run_without(FILES, where, str(secret))[1] == SECRET


@pytest.mark.needs("interpreter")
def test_the_old_root_is_gone(weaken):
    """After pivot_root(".", ".") the host's tree lies on top of ours until it is detached."""
    # Not in /tmp, where our own lies over it.
    path = next(path for path in ("/etc/os-release", "/etc/hostname", "/etc/fstab") if os.path.isfile(path))
    over = [("openat", AT_FDCWD, start + path, os.O_RDONLY) for start in ("", "/..", "/../..")]
    assert run_without((), native.calls, *over) == [ENOENT] * 3
    weak = weaken("calls.umount = lambda target, flags=0: None")
    assert max(run_without(("landlock",), native.calls, *over, **weak)) >= 0


def test_every_mount_is_private_and_carries_no_privilege(host, weaken):
    mounts = [ro(host, "/data"), rw(host, "/more")]
    for root, point, options, propagation in run_without((), native.mountinfo, mounts=mounts):
        assert propagation == "", point
        assert root != "/" or point in ("/", "/proc", "/dev/shm"), point
        assert "nosuid" in options.split(","), point
        assert "nodev" in options.split(",") or point.startswith("/dev/"), point
    weak = weaken("k.MOUNT_ATTR_NOSUID = k.MOUNT_ATTR_NODEV = 0")
    options = {point: options for _, point, options, _ in run_without(("self-check",), native.mountinfo, mounts=mounts, **weak)}
    assert not {"nosuid", "nodev"} & set(options["/data"].split(","))


AUTHORITY = ("seccomp", "landlock", "capabilities", "user namespace")


def test_the_mount_tree_cannot_be_changed(secret):
    """FS-13 to FS-17. Four walls stand here: filter, Landlock, capabilities, and who owns the mount namespace."""
    denied = run_without((), native.mount_family, "/tmp")
    assert set(denied.values()) <= {EPERM, -errno.ENOSYS}, denied
    unfiltered = run_without(("seccomp",), native.mount_family, "/tmp")
    last = run_without(("seccomp", "landlock", "capabilities"), native.mount_family, "/tmp")
    for results in (unfiltered, last):
        for name in ("mount tmpfs", "mount proc", "bind", "remount", "mount_setattr", "umount2", "pivot_root"):
            assert results[name] == EPERM, results
    bare = run_without(AUTHORITY, native.mount_family, "/tmp")
    for name in ("mount tmpfs", "bind", "remount", "mount_setattr", "umount2", "chroot", "fsopen", "fspick", "open_tree"):
        assert bare[name] >= 0, bare
    assert bare["pivot_root"] == ENOENT


def test_a_read_only_mount_cannot_be_made_writable(host):
    def remount(path):
        return native.call("mount", 0, "/data", 0, 32 | 4096, 0), native.write(path, b"x", os.O_WRONLY | os.O_CREAT)

    host.chmod(0o777)
    mounts = [ro(host, "/data")]
    assert run_without((), remount, "/data/made", mounts=mounts) == (EPERM, EROFS)
    assert run_without(AUTHORITY[:3], remount, "/data/made", mounts=mounts) == (EPERM, EROFS)
    assert run_without(AUTHORITY, remount, "/data/made", mounts=mounts) == (0, 1)


def test_no_device_can_be_made():
    character, fifo = 0o020666, 0o010666

    def make():
        return native.calls(
            ("mknodat", AT_FDCWD, "/tmp/null", character, 0x103),
            ("mknodat", AT_FDCWD, "/tmp/whiteout", character, 0),
            ("mknodat", AT_FDCWD, "/tmp/fifo", fifo, 0),
        )

    assert run_without((), make) == [EPERM] * 3
    unfiltered = run_without(("seccomp",), make)
    assert unfiltered[0] in (EPERM, EACCES)
    assert unfiltered[1] == EACCES  # needs no privilege; Landlock's MAKE_CHAR
    bare = run_without(AUTHORITY, make)
    assert bare[1:] == [0, 0]
    assert bare[0] == (0 if os.geteuid() == 0 else EPERM)


def test_dev_holds_five_harmless_devices():
    def look():
        wanted = ("mem", "kmsg", "tty", "console", "ptmx", "fuse", "kvm", "net/tun", "vda", "sda", "port")
        return sorted(os.listdir("/dev")), [native.read(f"/dev/{name}") for name in wanted]

    names, opened = run_without((), look)
    assert set(names) == {"null", "zero", "full", "random", "urandom", "fd", "stdin", "stdout", "stderr", "shm"}
    assert set(opened) == {ENOENT}
    names, _ = run_without(FILES, look)
    assert set(names) == set(os.listdir("/dev"))


@pytest.mark.needs("root")
def test_a_device_file_in_a_granted_directory_is_dead(host, weaken):
    os.mknod(host / "zero", 0o020666, os.makedev(1, 5))
    os.chmod(host / "zero", 0o666)
    mounts = [rw(host, "/data")]
    assert run_without((), native.read, "/data/zero", mounts=mounts) == EACCES
    weak = weaken("k.MOUNT_ATTR_NODEV = 0")
    assert run_without(("self-check",), native.read, "/data/zero", mounts=mounts, **weak) == bytes(4096)


def test_there_is_no_sysfs_and_no_cgroup_tree():
    paths = [path for path in ("/sys", "/sys/fs/cgroup", "/sys/kernel", "/sys/kernel/uevent_helper") if os.path.exists(path)]
    assert run_without((), native.calls, *(("faccessat", AT_FDCWD, path, 0) for path in paths)) == [ENOENT] * len(paths)
    assert run_without(FILES, native.calls, *(("faccessat", AT_FDCWD, path, 0) for path in paths)) == [0] * len(paths)


PROC = (
    "sys/kernel/core_pattern", "sys/kernel/modprobe", "sys/vm/panic_on_oom", "sys/fs/binfmt_misc/register",
    "sysrq-trigger", "kcore", "keys", "timer_list", "kallsyms", "interrupts", "cmdline", "meminfo", "mounts", "version",
    "net/tcp", "config.gz", "kmsg", "kpagecount", "latency_stats", "scsi/scsi", "acpi/wakeup", "bus/pci/devices",
)  # fmt: skip


def test_proc_shows_nothing_of_the_machine():
    paths = [f"/proc/{name}" for name in PROC if name not in ("mounts", "net/tcp")]
    assert {path: run_without((), native.read, path) for path in paths[:3]} == dict.fromkeys(paths[:3], ENOENT)
    wanted = [("openat", AT_FDCWD, path, flags) for path in paths for flags in (os.O_RDONLY, os.O_WRONLY)]
    assert set(run_without((), native.calls, *wanted)) == {ENOENT}
    assert set(run_without(("landlock",), native.calls, *wanted)) == {ENOENT}
    known = [("openat", AT_FDCWD, f"/proc/{name}", os.O_RDONLY) for name in ("cmdline", "meminfo")]
    assert min(run_without(FILES, native.calls, *known)) >= 0


@pytest.mark.needs("root")
def test_root_of_the_host_does_not_come_along(monkeypatch):
    """core_pattern is root's by plain owner permission: with no capability at all, id 0 of the host can write it."""
    from isolate_fn._runtime import ids

    attack = ("openat", AT_FDCWD, "/proc/sys/kernel/core_pattern", os.O_WRONLY)
    assert run_without((), native.call, *attack) == ENOENT
    assert run_without(FILES, native.call, *attack) == EACCES
    monkeypatch.setattr(ids, "outer_ids", lambda features: (0, 0))
    assert run_without((), native.call, *attack) == ENOENT
    assert run_without(FILES, native.call, *attack) >= 0


@pytest.mark.parametrize("walls", [(), ("landlock",)])
def test_no_set_id_file_can_be_left_behind(host, walls):
    def leave():
        with open("/data/plain", "wb"):
            pass
        plain = os.open("/data/plain", os.O_RDWR)
        return native.calls(
            ("fchmodat", AT_FDCWD, "/data/plain", 0o4755),
            ("fchmodat2", AT_FDCWD, "/data/plain", 0o6755, 0),
            ("fchmod", plain, 0o4755),
            ("fchmodat", AT_FDCWD, f"/proc/self/fd/{plain}", 0o2755),
            ("openat", AT_FDCWD, "/data/created", os.O_WRONLY | os.O_CREAT, 0o4755),
            ("openat", AT_FDCWD, "/data", os.O_WRONLY | 0o20200000, 0o4755),  # O_TMPFILE
            ("mkdirat", AT_FDCWD, "/data/directory", 0o2755),
            ("openat", AT_FDCWD, "/data/high", os.O_WRONLY | os.O_CREAT | 1 << 40, 0o4755 | 1 << 40),
        )

    host.chmod(0o777)
    mounts = [rw(host, "/data")]
    denied = run_without(walls, leave, mounts=mounts)
    assert denied == [EPERM] * len(denied)
    assert not any(os.lstat(host / name).st_mode & 0o6000 for name in os.listdir(host))
    left = run_without(("seccomp",), leave, mounts=mounts)
    assert left[0] == 0
    assert any(os.lstat(host / name).st_mode & 0o4000 for name in os.listdir(host))


@pytest.mark.parametrize("place", ["/tmp", "/work", "/dev/shm"])
def test_what_was_written_cannot_be_mapped_executable(place, weaken):
    assert run_without((), native.map_executable, f"{place}/code") == EPERM
    assert run_without(("self-check",), native.map_executable, f"{place}/code", **weaken("k.MS_NOEXEC = 0")) == 0


def test_a_file_cannot_be_opened_by_its_handle(host, secret):
    """FS-30: a handle finds a file whatever is mounted where; any descriptor of the file system will do."""
    import ctypes

    handle = ctypes.create_string_buffer(b"\x80\0\0\0", 136)
    mount_id = ctypes.c_int()
    if native.call("name_to_handle_at", AT_FDCWD, str(secret), handle, ctypes.byref(mount_id), 0) < 0:
        pytest.skip("this file system has no handles")
    shared = host / "shared"
    shared.mkdir()

    def attack(raw):
        import ctypes

        somewhere = native.call("openat", AT_FDCWD, "/data", os.O_RDONLY)
        opened = native.call("open_by_handle_at", somewhere, ctypes.create_string_buffer(raw, 136), os.O_RDONLY)
        return opened if opened < 0 else os.pread(opened, 100, 0)

    mounts = [ro(shared, "/data")]
    assert run_without((), attack, handle.raw, mounts=mounts) == EPERM
    assert run_without(("seccomp", "landlock", "capabilities"), attack, handle.raw, mounts=mounts) == EPERM
    expected = SECRET if os.geteuid() == 0 else EPERM  # asks for privilege over the whole machine
    assert run_without(AUTHORITY, attack, handle.raw, mounts=mounts) == expected


def test_a_shared_file_cannot_be_leased_or_watched(host, secret):
    set_lease, notify, set_owner, set_signal = 1024, 1026, 8, 10

    def watch():
        file = native.call("openat", AT_FDCWD, "/data/secret", os.O_RDONLY)
        directory = native.call("openat", AT_FDCWD, "/data", os.O_RDONLY)
        notifier = native.call("inotify_init1", 0)
        return {
            "lease": native.call("fcntl", file, set_lease, 0),
            "dnotify": native.call("fcntl", directory, notify, 1),
            "owner": native.call("fcntl", file, set_owner, os.getpid()),
            "signal": native.call("fcntl", file, set_signal, 10),
            "inotify": notifier if notifier < 0 else native.call("inotify_add_watch", notifier, "/data", 0xFFF),
            "fanotify": native.call("fanotify_init", 0x200, 0),
        }

    secret.chmod(0o644)
    mounts = [ro(host, "/data")]
    denied = run_without((), watch, mounts=mounts)
    assert set(denied.values()) == {EPERM}, denied
    held = run_without(("seccomp",), watch, mounts=mounts)
    assert min(held["lease"], held["dnotify"], held["inotify"], held["owner"], held["signal"]) >= 0, held


def test_a_pipe_in_a_read_only_mount_is_not_written_to(host):
    """A read-only mount lets writers of named pipes pass: only Landlock keeps it."""
    os.mkfifo(host / "pipe")
    (host / "pipe").chmod(0o666)
    reader = os.open(host / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        mounts = [ro(host, "/data")]
        assert run_without((), native.write, "/data/pipe", b"attack", mounts=mounts) == EACCES
        assert run_without(("landlock",), native.write, "/data/pipe", b"attack", mounts=mounts) == 6
        assert os.read(reader, 100) == b"attack"
    finally:
        os.close(reader)


def test_no_hard_link_leads_from_a_read_only_mount_to_a_writable_one(host, secret):
    writable = host / "writable"
    writable.mkdir()
    writable.chmod(0o777)
    mounts = [ro(secret, "/secret"), rw(writable, "/data")]
    link = ("linkat", AT_FDCWD, "/secret", AT_FDCWD, "/data/link", 0)
    assert run_without((), native.call, *link, mounts=mounts) == -errno.EXDEV
    assert run_without(("landlock",), native.call, *link, mounts=mounts) == -errno.EXDEV
    outside = ("linkat", AT_FDCWD, str(secret), AT_FDCWD, str(writable / "link"), 0)
    assert run_without(FILES, native.call, *outside) == 0


# --- who owns what ---------------------------------------------------------------------------------------------------


@pytest.mark.needs("root")
def test_files_of_root_are_the_isolates_own_where_granted_and_nobody_elses(host):
    """The isolate runs under an id that owns nothing; granted files become its own by an id-mapped mount."""
    (host / "mine").write_bytes(b"root's")
    (host / "mine").chmod(0o600)
    (host / "theirs").write_bytes(b"another user's")
    (host / "theirs").chmod(0o600)
    os.chown(host / "theirs", 12345, 12345)
    mounts = [rw(host, "/data")]
    look = [("openat", AT_FDCWD, f"/data/{name}", os.O_RDWR) for name in ("mine", "theirs")]
    opened, denied = run_without((), native.calls, *look, mounts=mounts)
    assert opened >= 0
    assert denied == EACCES
    assert run_without((), native.write, "/data/made", b"attack", os.O_WRONLY | os.O_CREAT, mounts=mounts) == 6
    assert os.stat(host / "made").st_uid == os.stat(host / "made").st_gid == 0
    assert run_without((), native.call, "fchownat", AT_FDCWD, "/data/mine", 12345, 12345, 0, mounts=mounts) == EPERM


@pytest.mark.needs("root")
def test_without_the_id_mapping_granted_files_of_root_stay_closed(host, weaken):
    (host / "mine").write_bytes(b"root's")
    (host / "mine").chmod(0o600)
    weak = weaken("trees.needs_own_ids = lambda order: False")
    assert run_without(("self-check",), native.read, "/data/mine", mounts=[ro(host, "/data")], **weak) == EACCES


# --- races and submounts ---------------------------------------------------------------------------------------------


def test_a_source_that_becomes_a_link_is_not_followed(host, secret, weaken):
    """FS-37, deterministic: looked at as a directory, a symbolic link by the time it is opened."""
    source, other = host / "source", host / "other"
    source.mkdir()
    other.mkdir()
    (other / "secret").write_bytes(SECRET)
    mounts = [ro(source, "/data")]
    weak = weaken("k.RESOLVE_NO_SYMLINKS = 0")
    assert run_without((), native.read, "/data/secret", mounts=mounts) == ENOENT
    assert run_without(("self-check",), native.read, "/data/secret", mounts=mounts, **weak) == ENOENT
    source.rmdir()
    source.symlink_to(other)
    with pytest.raises((SetupError, PolicyError)):
        run_without((), native.read, "/data/secret", mounts=mounts)
    # Whoever follows it shows what was never granted.
    assert run_without(("self-check",), native.read, "/data/secret", mounts=mounts, **weak) == SECRET


def test_a_race_for_the_source_is_lost(host):
    """FS-37: whoever can write next to a source swaps it for a link, as fast as possible."""
    (host / "other").mkdir()
    (host / "other" / "secret").write_bytes(SECRET)
    (host / "source").mkdir()
    (host / "link").symlink_to(host / "other")
    stop = threading.Event()

    def swap():
        while not stop.is_set():  # RENAME_EXCHANGE: always there, always the one or the other
            native.call("renameat2", AT_FDCWD, f"{host}/source", AT_FDCWD, f"{host}/link", 2)

    mounts = [ro(host / "source", "/data")]
    assert run_without((), native.read, "/data/secret", mounts=mounts) == ENOENT
    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = []
    try:
        for _ in range(30):
            try:
                seen.append(run_without((), native.read, "/data/secret", mounts=mounts))
            except (SetupError, PolicyError):
                seen.append("refused")
    finally:
        stop.set()
        swapper.join()
    assert set(seen) <= {ENOENT, "refused"}


SUBMOUNT = """
    import sys
    sys.path[:0] = {path!r}
    import conftest, native, os
    from pathlib import Path
    from support import run_without
    from isolate_fn import ro
    from isolate_fn._runtime import launch

    attack = (native.write, "/data/sub/made", b"x", os.O_WRONLY | os.O_CREAT, 0o666)
    mounts = [ro({shared!r}, "/data")]
    for walls in ((), ("landlock",)):
        print(run_without(walls, *attack, mounts=mounts))
        print(run_without(walls, native.read, "/data/sub/below", mounts=mounts))
        table = run_without(walls, native.mountinfo, mounts=mounts)
        options = [options for _, point, options, _ in table if point == "/data/sub"]
        print(sorted({{"ro", "nosuid", "nodev"}} & set(options[0].split(","))))
    launch.LAUNCHER = conftest.weak_launcher(Path({host!r}), "weak", '''
        set_attributes = calls.mount_setattr
        calls.mount_setattr = lambda *a, recursive, **more: set_attributes(*a, recursive=False, **more)
    ''')
    print(run_without(("landlock",), *attack, mounts=mounts, env={{"FRESH": "1"}}))
"""


def test_a_mount_point_that_becomes_a_link_is_refused(host, weaken, monkeypatch):
    """An earlier isolate, which was granted the outer directory alone, plants a link where the next one mounts.

    One that was prepared before is refused when the mount is made, a new policy already with words.
    """
    outer, inner = host / "outer", host / "inner"
    (outer / "in").mkdir(parents=True)
    outer.chmod(0o777)
    inner.mkdir()
    (inner / "mark").write_bytes(b"granted")
    mounts = [rw(outer, "/data"), ro(inner, "/data/in")]
    assert run_without((), native.read, "/data/in/mark", mounts=mounts) == b"granted"

    def swap():
        import native

        return native.calls(
            ("renameat", AT_FDCWD, "/data/in", AT_FDCWD, "/data/old"), ("symlinkat", "/usr/lib", AT_FDCWD, "/data/in")
        )

    assert run_without((), swap, mounts=mounts) == [-errno.EBUSY, -errno.EEXIST]
    assert run_without((), swap, mounts=mounts[:1]) == [0, 0]
    with pytest.raises(SetupError) as refused:
        run_without((), native.read, "/usr/lib/mark", mounts=mounts)
    assert refused.value.errno == errno.ELOOP
    assert not refused.value.ran
    with pytest.raises(PolicyError, match="a symbolic link is on the way") as told:
        run_without((), native.read, "/usr/lib/mark", mounts=mounts, timeout=50)
    assert "/usr/lib" not in str(told.value)  # the words of whoever planted it
    monkeypatch.setattr(prepare, "settle_mount_points", tuple)
    weak = weaken("k.RESOLVE_NO_SYMLINKS = 0")

    def look():  # with what is built in: the mount now hides the rest of an interpreter in /usr
        with open("/usr/lib/mark", "rb") as file:
            return file.read()

    assert run_without(("self-check",), look, mounts=mounts, **weak) == b"granted"


def test_a_source_with_the_hosts_processes_below_it_is_refused():
    with pytest.raises(PolicyError, match="processes"):
        run_without((), native.read, "/host/proc/1/cmdline", mounts=[ro("/", "/host")])


@pytest.mark.needs("tool:unshare")
def test_read_only_reaches_mounts_below_the_source(host):
    """FS-39: in a mount namespace of the test's own, so that nothing is mounted on the host."""
    shared = host / "shared"
    (shared / "sub").mkdir(parents=True)
    path = [str(Path(native.__file__).parents[2]), str(Path(native.__file__).parent)]
    script = textwrap.dedent(SUBMOUNT).format(path=path, shared=str(shared), host=str(host))
    prepare = 'mount -t tmpfs -o mode=777 tmpfs "$0/sub" && echo below > "$0/sub/below" && exec "$1" -c "$2"'
    command = ["unshare", "-m", "--", "sh", "-c", prepare, str(shared), sys.executable, script]
    if os.geteuid() != 0:
        command.insert(1, "-r")
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    expected = [str(EROFS), str(b"below\n"), "['nodev', 'nosuid', 'ro']"]
    assert done.stdout.splitlines() == [*expected, *expected, "1"]


# --- the interpreter -------------------------------------------------------------------------------------------------


@pytest.fixture
def own_python(host, monkeypatch):
    """Give an interpreter that belongs to the caller, as in a virtual environment made with copies, and start from it.

    Returns its path, and options for `run_without`.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    copy = host / "bin" / version
    library = host / "lib"
    copy.parent.mkdir()
    library.mkdir()
    shutil.copy(os.path.realpath(f"/proc/{os.getpid()}/exe"), copy)
    copy.chmod(0o755)
    for line in Path("/proc/self/maps").read_text().splitlines():
        mapped = Path(line.split(maxsplit=5)[-1])
        if mapped.name.startswith("libpython3."):
            shutil.copy(mapped, library)
    (library / version).symlink_to(os.path.dirname(os.__file__))
    monkeypatch.setattr(sys, "executable", str(copy))
    monkeypatch.setattr(sys, "_base_executable", str(copy), raising=False)
    return copy, {"env": {"LD_LIBRARY_PATH": str(library)}}


def test_the_hosts_interpreter_cannot_be_changed(own_python, weaken):
    """FS-40: /proc/self/exe leads to where the interpreter was executed, whatever has been mounted since."""
    python, options = own_python

    def state():
        found = python.stat()
        return found.st_mode, found.st_mtime_ns, found.st_size, python.read_bytes()[:4096]

    before = state()
    for walls in ((), ("landlock",), ("landlock", "seccomp")):
        assert run_without(walls, os.readlink, "/proc/self/exe", **options) == str(python)
        tried = run_without(walls, native.overwrite_interpreter, **options)
        assert {tried["link: chmod"], tried["link: utime"], tried["handle: chmod"], tried["handle: utime"]} == {EROFS}
        assert set(tried.values()) <= {EROFS, EACCES, EPERM, -errno.ETXTBSY}, tried
        assert state() == before
    # Without the mount that the launcher makes, the link leads to the host's writable one.
    weak = weaken(f"""
        launcher_mount = first_calls.mount
        def mount(source, target, *rest, **flags):
            if target != {str(python)!r}:
                launcher_mount(source, target, *rest, **flags)
        first_calls.mount = mount
    """)
    options["env"] |= weak["env"]
    walls = ("landlock", "user namespace") if os.geteuid() == 0 else ("landlock",)
    tried = run_without(walls, native.overwrite_interpreter, **options)
    assert tried["link: chmod"] == tried["handle: utime"] == 0, tried
    assert state() != before


# --- programs --------------------------------------------------------------------------------------------------------


def test_a_program_that_was_written_is_not_executed(weaken):
    """FS-29 in a block that may run programs: only what is mounted, and not what was made there."""
    script = "#!/bin/sh\necho executed\n"
    lines = (f"printf '{script}' > /tmp/made", "cat /bin/true > /tmp/true", "chmod 755 /tmp/made /tmp/true")
    write = ["sh", "-c", f"{' && '.join(lines)}; /tmp/made; /tmp/true && echo executed"]
    with sandbox(idle_timeout=IDLE_TIMEOUT) as box:
        assert box.run(write, capture_output=True, text=True).stdout == ""
    with open_without(("landlock",)) as box:
        assert box.run(write, capture_output=True, text=True).stdout == ""
    with open_without(("landlock",), **weaken("k.MS_NOEXEC = 0")) as box:
        assert "executed" in box.run(write, capture_output=True, text=True).stdout


@pytest.mark.needs("root")
def test_a_set_user_id_program_gives_nothing(host):
    """FS-28: no_new_privs, nosuid, and an owner who is somebody else here."""
    program = host / "id"
    shutil.copy(shutil.which("id"), program)
    os.chown(program, 12345, 12345)
    program.chmod(0o4755)
    with sandbox(mounts=[ro(host, "/data")], idle_timeout=IDLE_TIMEOUT) as box:
        shown = box.run(["/data/id", "-u"], capture_output=True, text=True)
        assert shown.stdout == "1000\n"
        assert box.run(["/data/id", "-ru"], capture_output=True, text=True).stdout == "1000\n"
    assert subprocess.run([program, "-u"], capture_output=True, text=True).stdout == "12345\n"


def test_code_of_the_caller_is_not_granted_for_writing(host, monkeypatch):
    """FS-35: what the caller imports later would be the way out."""
    modules = host / "modules"
    (modules / "package").mkdir(parents=True)
    (modules / "package" / "__init__.py").write_text("")
    modules.chmod(0o777)
    monkeypatch.syspath_prepend(str(modules))
    for source in (modules, modules / "package", os.path.dirname(os.__file__), os.path.dirname(sys.executable)):
        with pytest.raises(PolicyError):
            run_without((), native.read, "/nothing", mounts=[rw(source, "/code")])
    granted = [rw(modules, "/code", allow_code=True)]
    assert run_without((), native.write, "/code/planted.py", b"1", os.O_WRONLY | os.O_CREAT, mounts=granted) == 1
