"""The file tree as orders: pure, with made-up sources."""

from __future__ import annotations

import pytest

from isolate_fn._plan.mounts import CodeRoot, ResolvedSource, compile_mounts, through_links
from isolate_fn._plan.orders import MountOrder
from isolate_fn.errors import ConflictingRules, PolicyError
from isolate_fn.policy import Mount, Policy, dev, file, ro, rw, symlink, tmpfs

RUNTIME = (
    MountOrder(
        "bind", "/etc/ld.so.cache", "/etc/ld.so.cache", is_directory=False, origin="runtime: system files"
    ),
    MountOrder("bind", "/usr/lib", "/usr/lib", origin="runtime: shared libraries"),
    MountOrder("file", "/etc/hosts", data=b"127.0.0.1 localhost\n", origin="runtime: names of hosts"),
    MountOrder("symlink", "/lib", "usr/lib", origin="runtime: a symbolic link of the host"),
)
CODE = (
    CodeRoot("/usr", "the system's", True),
    CodeRoot("/home/me", "the home directory", False),
    CodeRoot("/project", "the sys.path entry", False),
    CodeRoot("/project/venv", "sys.prefix", True),
)


def compiled(*mounts: Mount, found: dict[str, ResolvedSource | None] | None = None) -> list[MountOrder]:
    """Compile mounts whose sources are directories at the place as written, unless said otherwise."""
    policy = Policy(mounts=mounts)
    sources = [
        (found or {}).get(mount.source, ResolvedSource(mount.source, "directory")) if mount.source else None
        for mount in mounts
    ]
    return list(compile_mounts(policy, RUNTIME, resolved_sources=sources, importable=CODE))


def granted(*mounts: Mount, found: dict[str, ResolvedSource | None] | None = None) -> list[MountOrder]:
    return [order for order in compiled(*mounts, found=found) if order.granted]


WORDS = [
    (
        ro("/data"),
        MountOrder("bind", "/data", "/data", granted=True, origin="mounts[0] ro('/data')"),
    ),
    (
        ro("/data", "/in", noexec=True),
        MountOrder(
            "bind",
            "/in",
            "/data",
            noexec=True,
            granted=True,
            origin="mounts[0] ro('/data', '/in', noexec=True)",
        ),
    ),
    (
        rw("/out"),
        MountOrder("bind", "/out", "/out", read_only=False, granted=True, origin="mounts[0] rw('/out')"),
    ),
    (
        tmpfs("/t", "1M"),
        MountOrder(
            "tmpfs",
            "/t",
            read_only=False,
            size=1 << 20,
            granted=True,
            origin="mounts[0] tmpfs('/t', size='1M')",
        ),
    ),
    (
        file("/etc/x", b"hi"),
        MountOrder("file", "/etc/x", data=b"hi", granted=True, origin="mounts[0] file('/etc/x', b'hi')"),
    ),
    (
        symlink("/now", "in/3"),
        MountOrder("symlink", "/now", "in/3", granted=True, origin="mounts[0] symlink('/now', 'in/3')"),
    ),
]


@pytest.mark.parametrize(("mount", "order"), WORDS, ids=[repr(mount) for mount, _ in WORDS])
def test_each_word(mount: Mount, order: MountOrder) -> None:
    assert granted(mount) == [order]


def test_a_device() -> None:
    found = {"/dev/gpu": ResolvedSource("/dev/dri/card0", "device")}
    (order,) = granted(dev("/dev/gpu"), found=found)
    assert (order.kind, order.source, order.destination) == ("device", "/dev/dri/card0", "/dev/gpu")
    assert not order.read_only
    assert not order.is_directory


def test_a_file_by_its_real_path() -> None:
    found = {"/a": ResolvedSource("/real/a", "file")}
    (order,) = granted(ro("/a"), found=found)
    assert (order.source, order.destination, order.is_directory) == ("/real/a", "/a", False)


def test_the_runtime_comes_first_and_the_order_is_kept() -> None:
    orders = compiled(ro("/z"), tmpfs("/b"), ro("/a"))
    assert [order.destination for order in orders] == [
        *(order.destination for order in RUNTIME),
        "/z",
        "/b",
        "/a",
    ]


def test_missing_optional_mounts_are_left_out() -> None:
    assert granted(ro("/a", optional=True), ro("/b"), found={"/a": None})[0].destination == "/b"


REFUSED = [
    ("/usr/share/x", "lies in the system's '/usr'"),
    ("/usr", "it is the system's"),
    ("/", "contains the system's"),
    ("/home", "contains the home directory '/home/me'"),
    ("/home/me", "it is the home directory"),
    ("/project", "it is the sys.path entry"),
    ("/project/venv/share", "lies in sys.prefix"),
    ("/git", "it holds a .git"),
]


@pytest.mark.parametrize(("path", "reason"), REFUSED)
def test_writable_code_is_refused(path: str, reason: str) -> None:
    found = {path: ResolvedSource(path, "directory", "it holds a .git" if path == "/git" else "")}
    with pytest.raises(PolicyError) as caught:
        compiled(ro("/first"), rw(path, "/out"), found=found)
    assert caught.value.field == "mounts[1]"
    assert reason in caught.value.problem
    assert "allow_code=True" in caught.value.remedy
    assert granted(rw(path, "/out", allow_code=True), found=found)
    assert granted(ro(path, "/out"), found=found)


@pytest.mark.parametrize("path", ["/home/me/out", "/project/data", "/home2", "/usrx", "/srv"])
def test_writable_data_is_not(path: str) -> None:
    assert granted(rw(path))[0].source == path


def test_the_real_path_decides_what_is_code() -> None:
    with pytest.raises(PolicyError, match=r"sys\.prefix"):
        compiled(rw("/innocent"), found={"/innocent": ResolvedSource("/project/venv/bin", "directory")})


def test_the_users_own_etc_replaces_the_synthetic_one() -> None:
    orders = compiled(file("/etc/hosts", b"mine"))
    assert [order.data for order in orders if order.destination == "/etc/hosts"] == [b"mine"]

    orders = compiled(ro("/etc"))
    assert [order.destination for order in orders] == ["/usr/lib", "/lib", "/etc"]


def test_the_same_thing_around_a_runtime_mount_replaces_it() -> None:
    assert [order.destination for order in compiled(ro("/usr"))] == [
        "/etc/ld.so.cache",
        "/etc/hosts",
        "/lib",
        "/usr",
    ]


def test_a_mount_point_behind_a_link_of_the_runtime_lies_where_that_leads() -> None:
    found = {"/lib/cc": ResolvedSource("/usr/lib/cc-13", "file")}
    (order,) = granted(ro("/lib/cc"), found=found)
    assert (order.source, order.destination) == ("/usr/lib/cc-13", "/usr/lib/cc")
    assert order.origin == "mounts[0] ro('/lib/cc')"


def test_a_mount_in_the_place_of_the_link_has_no_link_behind_it() -> None:
    assert [order.destination for order in granted(tmpfs("/lib"), ro("/in", "/lib/in"))] == ["/lib", "/lib/in"]


def test_one_mount_by_two_paths_is_made_once() -> None:
    found = {path: ResolvedSource("/usr/lib/cc-13", "file") for path in ("/lib/cc", "/usr/lib/cc")}
    orders = granted(ro("/lib/cc"), ro("/usr/lib/cc"), found=found)
    assert [order.origin for order in orders] == ["mounts[0] ro('/lib/cc')"]


@pytest.mark.parametrize(
    ("mounts", "what"),
    [
        ((ro("/a", "/lib/x"), ro("/b", "/usr/lib/x")), "has the same place inside as mounts[0]"),
        ((ro("/a", "/lib/x"), ro("/a", "/usr/lib/x", noexec=True)), "has the same place inside as mounts[0]"),
        ((ro("/a", "/lib/t/x"), tmpfs("/usr/lib/t")), "would hide mounts[0]"),
        ((ro("/a", "/usr/lib/t/x"), tmpfs("/lib/t")), "would hide mounts[0]"),
    ],
)
def test_mounts_that_only_a_link_brings_together_are_refused(mounts: tuple[Mount, Mount], what: str) -> None:
    with pytest.raises(ConflictingRules) as caught:
        compiled(*mounts)
    assert caught.value.field == "mounts[1]"
    assert f"{mounts[1]!r} {what}" in caught.value.problem


HIDING = [
    tmpfs("/usr"),
    ro("/elsewhere", "/usr"),
    ro("/elsewhere", "/usr/lib"),
    ro("/usr", noexec=True),
    ro("/mine", "/etc"),
]


@pytest.mark.parametrize("mount", HIDING, ids=repr)
def test_hiding_the_runtime_is_refused(mount: Mount) -> None:
    with pytest.raises(ConflictingRules) as caught:
        compiled(mount)
    assert caught.value.field == "mounts[0]"
    assert repr(mount) in caught.value.problem
    assert caught.value.sets[1].startswith("runtime: ")


@pytest.mark.parametrize("mount", [file("/usr/lib/x", b""), symlink("/lib/x", "y")], ids=repr)
def test_files_cannot_be_made_in_the_runtimes_mounts(mount: Mount) -> None:
    with pytest.raises(ConflictingRules, match="written into runtime: shared libraries"):
        compiled(mount)


LINKS = {
    "/lib": "usr/lib",
    "/venv/bin/python": "python3",
    "/home": "/usr/home",
    "/up/x": "../y",
    "/loop": "loop",
}


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/lib/x", "/usr/lib/x"),
        ("/lib", "/lib"),
        ("/home/me", "/usr/home/me"),
        ("/up/x/z", "/y/z"),
        ("/plain/x", "/plain/x"),
        ("/loop/x", "/loop/x"),
    ],
)
def test_through_links(path: str, place: str) -> None:
    assert through_links(path, LINKS) == place
