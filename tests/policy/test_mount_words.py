"""The mount words: what they keep, how they print, what they refuse."""

from __future__ import annotations

import pathlib
import pickle

import pytest

from isolate_fn.errors import PolicyError
from isolate_fn.policy import Mount, dev, file, overlay, ro, rw, symlink, tmpfs

WORDS = {"ro": ro, "rw": rw, "tmpfs": tmpfs, "overlay": overlay, "file": file, "dev": dev, "symlink": symlink}

PRINTED = [
    (ro("/data"), "ro('/data')"),
    (ro(pathlib.Path("/data//x/./y/")), "ro('/data/x/y')"),
    (ro("/data", "/in"), "ro('/data', '/in')"),
    (ro("/data/../x", "/in"), "ro('/data/../x', '/in')"),
    (ro("/data", noexec=True, optional=True), "ro('/data', noexec=True, optional=True)"),
    (ro("/dev/shm/x", "/x"), "ro('/dev/shm/x', '/x')"),
    (rw("/out", allow_code=True), "rw('/out', allow_code=True)"),
    (rw("/out", pathlib.Path("/o")), "rw('/out', '/o')"),
    (overlay("/var/db"), "overlay('/var/db')"),
    (tmpfs("/scratch"), "tmpfs('/scratch', size='64M')"),
    (tmpfs("/scratch", 5000, noexec=True), "tmpfs('/scratch', size='5000', noexec=True)"),
    (file("/etc/app.conf", "é"), "file('/etc/app.conf', b'\\xc3\\xa9')"),
    (file("/x", bytearray(b"ab")), "file('/x', b'ab')"),
    (dev("/dev/fuse"), "dev('/dev/fuse')"),
    (dev("/dev/dri/card0", "/dev/gpu", optional=True), "dev('/dev/dri/card0', '/dev/gpu', optional=True)"),
    (symlink("/latest", "releases/3"), "symlink('/latest', 'releases/3')"),
]


@pytest.mark.parametrize(("mount", "text"), PRINTED, ids=[text for _, text in PRINTED])
def test_prints_as_the_call_that_makes_it(mount: Mount, text: str) -> None:
    assert repr(mount) == text
    again = eval(text, dict(WORDS))
    assert again == mount
    assert hash(again) == hash(mount)
    assert pickle.loads(pickle.dumps(mount)) == mount


def test_values_are_frozen_and_distinct() -> None:
    with pytest.raises(AttributeError):
        ro("/data").destination = "/other"  # type: ignore[misc]
    assert ro("/data") != rw("/data")
    assert ro("/data") != ro("/data", noexec=True)
    assert repr(file("/x", b"a" * 1000)) == "file('/x', <1000 bytes>)"


REFUSED = [
    # call, field, in the problem, in the remedy
    (lambda: ro("data"), "ro(src)", "relative path", "resolve()"),
    (lambda: ro("."), "ro(src)", "relative path", "resolve()"),
    (lambda: rw(pathlib.Path("out")), "rw(src)", "relative path", "resolve()"),
    (lambda: ro("~/data"), "ro(src)", "~ is not expanded", "expanduser"),
    (lambda: ro("/data", "~"), "ro(dst)", "~ is not expanded", "expanduser"),
    (lambda: ro("/data", "in"), "ro(dst)", "relative path", "absolute"),
    (lambda: ro("/data/../etc"), "ro(dst)", "'..'", "resolve()"),
    (lambda: ro("/data", "/a/../../b"), "ro(dst)", "'..'", "without '..'"),
    (lambda: ro("/"), "ro(dst)", "own root", "below it"),
    (lambda: ro("/data", "//"), "ro(dst)", "own root", "below it"),
    (lambda: tmpfs("/"), "tmpfs(dst)", "own root", "below it"),
    (lambda: ro("/data", "/proc"), "ro(dst)", "lies in /proc", "another dst"),
    (lambda: ro("/data", "/proc/self/x"), "ro(dst)", "lies in /proc", "another dst"),
    (lambda: ro("/data", "/dev/x"), "ro(dst)", "lies in /dev", "dev()"),
    (lambda: tmpfs("/dev/shm"), "tmpfs(dst)", "lies in /dev", "dev()"),
    (lambda: file("/dev/x", b""), "file(dst)", "lies in /dev", "dev()"),
    (lambda: symlink("/proc/x", "y"), "symlink(dst)", "lies in /proc", "another dst"),
    (lambda: dev("/dev/x", "/proc/x"), "dev(dst)", "lies in /proc", "another dst"),
    (lambda: dev("/dev"), "dev(dst)", "own", "one device"),
    (lambda: ro("/proc", "/hostproc"), "ro(src)", "host's processes", "file("),
    (lambda: ro("/proc/self/environ", "/x"), "ro(src)", "host's processes", "file("),
    (lambda: rw("/dev", "/x"), "rw(src)", "devices", "dev()"),
    (lambda: ro("/dev/sda", "/x"), "ro(src)", "devices", "dev()"),
    (lambda: ro(""), "ro(src)", "is empty", "name a file"),
    (lambda: ro("/a\0b"), "ro(src)", "NUL", "name a file"),
    (lambda: ro("/a", "/b\0"), "ro(dst)", "NUL", "name a file"),
    (lambda: ro(3), "ro(src)", "not a path", "pathlib"),
    (lambda: ro(b"/data"), "ro(src)", "not a path", "pathlib"),
    (lambda: ro(ro("/data")), "ro(src)", "already", "by itself"),
    (lambda: ro("/" + "a" * 256), "ro(dst)", "too long", "255"),
    (lambda: ro("/data", "/a" * 2048), "ro(dst)", "too long", "4095"),
    (lambda: ro("/data", noexec=1), "ro(noexec=)", "not a bool", "True or False"),
    (lambda: ro("/data", optional="yes"), "ro(optional=)", "not a bool", "True or False"),
    (lambda: rw("/data", allow_code=None), "rw(allow_code=)", "not a bool", "True or False"),
    (lambda: tmpfs("/x", size=0), "tmpfs(size=)", "out of range", "from 4K"),
    (lambda: tmpfs("/x", size=-1), "tmpfs(size=)", "out of range", "from 4K"),
    (lambda: tmpfs("/x", size="64Q"), "tmpfs(size=)", "not a size", '"512M"'),
    (lambda: file("/x", 12), "file(data)", "neither bytes", "content"),
    (lambda: file("/x", None), "file(data)", "neither bytes", "content"),
    (lambda: symlink("/x", ""), "symlink(target)", "is empty", "name"),
    (lambda: symlink("/x", "a" * 4096), "symlink(target)", "too long", "4095"),
]


@pytest.mark.parametrize(("call", "field", "problem", "remedy"), REFUSED)
def test_refuses(call: object, field: str, problem: str, remedy: str) -> None:
    with pytest.raises(PolicyError) as caught:
        call()  # type: ignore[operator]
    error = caught.value
    assert error.field == field
    assert problem in error.problem
    assert remedy in error.remedy
    assert error.ran is False
    assert str(error).endswith(error.remedy)
