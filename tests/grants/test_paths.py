"""Mount words as arguments: mounted for one call, received as a path."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from isolate_fn import Limits, dev, file, isolated, overlay, ro, rw, sandbox, symlink, tmpfs
from isolate_fn._api import prepare
from isolate_fn._runtime import pool
from isolate_fn.dangerous import NoLandlock
from isolate_fn.errors import CallRejected, PolicyError, SetupError
from isolate_fn.rules import BasicCapabilities, SystemIO

pytestmark = pytest.mark.needs("namespaces")


@isolated(prewarm=0)
def show(*paths, **named):
    found = []
    for path in (*paths, *named.values()):
        content = sorted(os.listdir(path)) if path.is_dir() else path.read_bytes()
        found.append((type(path) is type(Path()), str(path), content))
    return found


@isolated(prewarm=0)
def write(path, name=""):
    try:
        (path / name if name else path).write_bytes(b"written inside")
    except OSError as error:
        return error.errno
    return 0


@isolated
def first(path: Path) -> bytes:
    return path.read_bytes()


def kind_and_rest(found):
    assert all(is_path for is_path, _, _ in found)
    return [(path, content) for _, path, content in found]


def test_a_file_by_position_and_by_keyword(picture):
    assert kind_and_rest(show(ro(picture))) == [("/grants/0/a.png", b"picture")]
    assert kind_and_rest(show(path=ro(picture))) == [("/grants/0/a.png", b"picture")]


def test_directories_and_several_grants_among_other_arguments(host, picture):
    found = show(ro(host), ro(picture), other=ro(picture))
    assert kind_and_rest(found) == [
        ("/grants/0/" + host.name, ["a.png"]),
        ("/grants/1/a.png", b"picture"),
        ("/grants/2/a.png", b"picture"),
    ]


def test_one_word_passed_twice_is_one_mount(picture):
    word = ro(picture)
    assert [path for _, path, _ in show(word, word)] == ["/grants/0/a.png"] * 2


def test_read_only_and_writable_grants_of_one_file(picture):
    assert write(ro(picture)) != 0
    assert picture.read_bytes() == b"picture"

    @isolated(prewarm=0)
    def through_the_other(reading, writing):
        writing.write_bytes(b"changed")
        return reading.read_bytes()

    assert through_the_other(ro(picture), rw(picture)) == b"changed"
    assert picture.read_bytes() == b"changed"


def test_a_writable_directory(host):
    assert write(ro(host), "made") != 0
    assert not (host / "made").exists()
    host.chmod(0o777)
    assert write(rw(host), "made") == 0
    assert (host / "made").read_bytes() == b"written inside"


@pytest.mark.parametrize(
    "name", ["a b\tc\n.png", "a\\b#c.png", "\udcff.png", "-rf", "ä.tar.gz", "a\rb", "x" * 255, ".hidden", "0", "..."]
)
def test_the_name_is_kept(host, name):
    path = os.path.join(host, name)
    with open(path, "wb") as made:
        made.write(b"odd")
    assert kind_and_rest(show(ro(path))) == [(f"/grants/0/{name}", b"odd")]


def test_the_name_of_a_link_is_kept_and_its_target_is_mounted(host, picture):
    (host / "latest.jpg").symlink_to(picture)
    assert kind_and_rest(show(ro(host / "latest.jpg"))) == [("/grants/0/latest.jpg", b"picture")]


def test_noexec_is_kept(host):
    @isolated(prewarm=0)
    def options(path):
        with open("/proc/self/mountinfo") as table:
            return next(line.split()[5] for line in table if line.split()[4] == str(path))

    assert "noexec" in options(ro(host, noexec=True)).split(",")
    assert "noexec" not in options(ro(host)).split(",")


def test_methods_and_bound_arguments(picture):
    class Reader:
        @isolated(prewarm=0)
        def read(self, path):
            return path.read_bytes()

    assert Reader().read(ro(picture)) == b"picture"


def test_fresh_exec_and_no_landlock(picture):
    for options in ({"fresh_exec": True}, {"accept": (NoLandlock,)}):
        assert kind_and_rest(show.options(**options)(ro(picture))) == [("/grants/0/a.png", b"picture")]


@pytest.mark.parametrize(
    ("word", "match"),
    [
        (tmpfs("/x"), "only ro"),
        (file("/x", b""), "only ro"),
        (symlink("/x", "/y"), "only ro"),
        (dev("/dev/null"), "only ro"),
        (overlay("/tmp"), "only ro"),
        (ro("/tmp", "/elsewhere"), "where it lies inside"),
        (ro("/tmp", optional=True), "optional"),
        (ro("/nonexistent/file"), "does not exist"),
        (rw("/usr"), "import or run"),
    ],
    ids=repr,
)
def test_what_cannot_be_granted_is_told_by_its_parameter(word, match):
    with pytest.raises(PolicyError, match=match) as caught:
        first(word)
    assert caught.value.field == "argument 'path'"
    assert caught.value.ran is False
    with pytest.raises(PolicyError, match=match) as caught:
        show("plain", word)
    assert caught.value.field == "argument 'paths[1]'"


def test_sockets_and_devices_behind_a_path_are_not_granted(host):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(host / "socket"))
        with pytest.raises(PolicyError, match="is a socket"):
            first(ro(host / "socket"))
    (host / "null").symlink_to("/dev/null")
    with pytest.raises(PolicyError, match="is a device"):
        first(ro(host / "null"))


def test_code_may_be_granted_writable_where_the_word_says_so(host):
    (host / ".git").mkdir()
    host.chmod(0o777)
    with pytest.raises(PolicyError, match=r"\.git"):
        write(rw(host), "made")
    assert write(rw(host, allow_code=True), "made") == 0


@pytest.mark.parametrize("value", [[ro("/tmp")], {"path": ro("/tmp")}, (1, (ro("/tmp"),))], ids=["list", "dict", "tuple"])
def test_inside_another_value_it_is_refused(value):
    with pytest.raises(CallRejected, match="argument of its own") as caught:
        first(value)
    assert "'path'" in str(caught.value)


def test_more_grants_than_allowed(host):
    for number in range(17):
        (host / f"{number}").write_bytes(b"")
    assert len(show(*(ro(host / f"{number}") for number in range(16)))) == 16
    with pytest.raises(PolicyError, match="more than 16"):
        show(*(ro(host / f"{number}") for number in range(17)))


def test_workers_that_serve_more_calls_are_given_no_mount(picture):
    with pytest.raises(PolicyError, match="pass an open file"):
        first.options(reuse=True)(ro(picture))
    assert first.options(reuse=1)(ro(picture)) == first(ro(picture))  # it serves no other call
    with sandbox() as box:
        with pytest.raises(PolicyError, match="pass an open file"):
            box.call(first.__wrapped__, ro(picture))
        assert box.call(len, "goes on") == 7


def test_a_mount_of_the_policy_where_grants_lie(picture):
    taken = first.options(mounts=[tmpfs("/grants")])
    with pytest.raises(PolicyError, match="use another dst"):
        taken(ro(picture))


def test_policy_mounts_and_grants_stand_side_by_side(host, picture):
    @isolated(mounts=[ro(host, "/data")], prewarm=0)
    def both(path):
        return path.read_bytes() + Path("/data/a.png").read_bytes()

    assert both(ro(picture)) == b"picturepicture"


def test_under_rules_that_name_where_grants_lie(picture):
    files = SystemIO.nothing().allow_open_readonly().allow_read().allow_metadata().allow_close()

    def one_call(place):
        rules = [BasicCapabilities(), files.allow_read_path(place)]
        return first.options(rules=rules, prewarm=0)(ro(picture))

    assert one_call("/grants") == b"picture"
    with pytest.raises(PermissionError):
        one_call("/usr")


# --- what stays behind ------------------------------------------------------------------------------------------------


def test_calls_that_grant_other_files_share_plan_and_template(host):
    """No cache grows: neither the preparations, nor what the spawner was told, nor what waits."""
    for number in range(30):
        (host / f"{number}").write_bytes(b"%d" % number)
    one = first.options(idle_timeout=901)  # a spawner of its own
    assert one(ro(host / "0")) == b"0"
    spawner = pool.start_spawner(one._prepared())
    prepared = len(prepare._cache)
    for number in range(30):
        assert one(ro(host / f"{number}")) == b"%d" % number
    assert spawner.count == 1
    assert len(prepare._cache) == prepared
    one.close()


def test_isolates_of_grants_are_neither_built_ahead_nor_left_over(picture):
    one = first.options(prewarm=2, idle_timeout=902)
    assert one(ro(picture)) == b"picture"
    waiting = [each for key, each in pool._pool().waiting.items() if key[0] == id(one._prepared().plan)]
    assert not any(each.isolates for each in waiting)
    one.close()


def test_the_next_call_sees_nothing_of_it(picture):
    @isolated
    def listed(path=None):
        return [os.path.join(*found[:1], name) for found in os.walk("/grants") for name in found[1] + found[2]]

    assert listed(ro(picture)) == ["/grants/0", "/grants/0/a.png"]
    assert listed() == []


def test_a_grant_counts_towards_the_inodes_of_the_root_only(host):
    (host / "big").write_bytes(bytes(1 << 20))
    small = first.options(limits=Limits(rootfs_size="256K", rootfs_inodes=256))
    assert len(small(ro(host / "big"))) == 1 << 20


def test_a_call_whose_isolate_dies_leaves_the_file_alone(picture):
    @isolated(timeout=0.3)
    def hang(path):
        time.sleep(600)

    with pytest.raises(TimeoutError):
        hang(rw(picture))
    assert picture.read_bytes() == b"picture"


# --- attacks ----------------------------------------------------------------------------------------------------------


def beside(path):
    """Try to make, rename and remove things beside a grant, and the grant itself; return what worked."""
    worked = []
    above = os.path.dirname(path)
    for name, attempt in {
        "make beside": lambda: open(os.path.join(above, "made"), "w").close(),
        "make directory": lambda: os.mkdir("/grants/9"),
        "remove": lambda: os.unlink(path),
        "rename": lambda: os.rename(path, os.path.join(above, "other")),
        "rename above": lambda: os.rename(above, "/grants/other"),
        "replace": lambda: os.symlink("/tmp", os.path.join(above, "link")),
    }.items():
        try:
            attempt()
            worked.append(name)
        except OSError:
            pass
    return worked


def test_nothing_can_be_made_beside_a_grant(picture, give_and_run):
    assert give_and_run((), beside, rw(picture)) == []
    assert give_and_run(("landlock",), beside, rw(picture)) == []


def alter(path):
    """Try every way to change a file by its path; return those that worked."""
    worked = []
    for name, attempt in {
        "write": lambda: os.close(os.open(path, os.O_WRONLY)),
        "truncate": lambda: os.truncate(path, 0),
        "chmod": lambda: os.chmod(path, 0o644),
        "times": lambda: os.utime(path),
        "through its descriptor": lambda: os.close(
            os.open(f"/proc/self/fd/{os.open(path, os.O_RDONLY)}", os.O_WRONLY)
        ),
        "mode by descriptor": lambda: os.fchmod(os.open(path, os.O_RDONLY), 0o644),
    }.items():
        try:
            attempt()
            worked.append(name)
        except OSError:
            pass
    return worked


def test_a_read_only_grant_cannot_be_changed_in_any_way(picture, give_and_run):
    for walls in ((), ("landlock",), ("seccomp",)):
        assert give_and_run(walls, alter, ro(picture)) == []
    assert picture.read_bytes() == b"picture"
    assert {"write", "truncate", "through its descriptor"} <= set(give_and_run((), alter, rw(picture)))


def climb(path):
    found = []
    for start in (path, path.parent, Path("/proc/self/fd") / str(os.open(path, os.O_RDONLY))):
        for steps in range(1, 6):
            secret = Path(start, *[".."] * steps, "tmp", *os.environ["OUTSIDE"].split("/")[2:])
            try:
                found.append(secret.read_bytes())
            except OSError:
                pass
    return found


def test_what_lies_beside_it_on_the_host_is_not_there(host, picture, give_and_run):
    (host / "secret").write_bytes(b"secret")
    environment = {"OUTSIDE": str(host / "secret")}
    assert give_and_run((), climb, ro(picture), env=environment) == []
    assert give_and_run((), climb, ro(host), env=environment) == []

    def sibling(path):
        return (path / "secret").read_bytes()

    assert give_and_run((), sibling, ro(host)) == b"secret"  # the directory was granted


def test_a_source_that_becomes_a_link_after_the_check_is_not_followed(host, picture, monkeypatch):
    """Somebody who can write its directory swaps the file between the caller's look and the mount."""
    secret = host / "secret"
    secret.write_bytes(b"secret")
    started = pool.start

    def swap_and_start(*args, **named):
        picture.unlink()
        picture.symlink_to(secret)
        return started(*args, **named)

    monkeypatch.setattr(pool, "start", swap_and_start)
    with pytest.raises(SetupError, match="sources"):
        show(ro(picture))
    monkeypatch.undo()
    assert kind_and_rest(show(ro(picture))) == [("/grants/0/a.png", b"secret")]  # the link itself was granted
