"""Real work: learn it, take the policy that is printed, run under that. And with any one grant taken away it does not work."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
import threading

import lessons
import pytest

import isolate_fn
from isolate_fn import Policy, isolated, learn, rules

pytestmark = pytest.mark.needs("namespaces", "landlock")


def prepare(name, host):
    """Make what one workload needs; return its arguments and the mounts that are expected."""
    if name == "thumbnail":
        from PIL import Image

        Image.new("RGB", (64, 64)).save(host / "a.png")
        return [str(host / "a.png")], [f"ro('{host}/a.png')"]
    if name == "count_certificates":
        (host / "bundle.pem").write_text(CERTIFICATE)
        return [str(host)], [f"ro('{host}/bundle.pem')"]
    if name == "offset":
        return ["Europe/Paris"], []
    if name == "list_by_a_program":
        (host / "x").write_text("")
        return [str(host)], [f"ro('{host}')", "ro('/usr/bin/ls')"]
    if name == "insert":
        connection = sqlite3.connect(host / "db")
        with connection:
            connection.execute("create table t (x)")
        connection.close()
        return [str(host / "db")], [f"rw('{host}')"]
    if name == "write_files":
        return [str(host)], [f"rw('{host}')"]
    if name == "import_by_path":
        (host / "learned_helper.py").write_text("def answer():\n    return 42\n")
        return [str(host)], [f"ro('{host}')"]
    for number in range(6):
        (host / str(number)).write_text("text")
    return [str(host)], [f"ro('{host}')"] if name == "read_many" else [f"ro('{host}/2')"]


WORKLOADS = [
    lessons.thumbnail, lessons.count_certificates, lessons.offset, lessons.list_by_a_program, lessons.insert,
    lessons.write_files, lessons.import_by_path, lessons.read_many, lessons.in_threads,
]  # fmt: skip


def fresh(name, host):
    """Make the workload's files anew, at the same place."""
    for path in sorted(host.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    host.chmod(0o755)
    return prepare(name, host)


@pytest.mark.parametrize("function", WORKLOADS, ids=lambda each: each.__name__)
def test_learned_policy_is_enough_and_none_of_it_too_much(function, elsewhere, under, as_toml):
    name = function.__name__
    if name == "thumbnail":
        pytest.importorskip("PIL")
    if name == "count_certificates" and not works_here("import ssl"):
        pytest.skip("this interpreter cannot import ssl")
    args, expected = prepare(name, elsewhere)
    before = {path: path.stat().st_mtime_ns for path in elsewhere.rglob("*")}
    with learn(trim=True) as seen:
        wanted = seen.call(function, *args)
    assert before == {path: path.stat().st_mtime_ns for path in elsewhere.rglob("*")}  # learning has changed nothing
    assert sorted(map(repr, seen.policy.mounts)) == sorted(expected)
    policy = as_toml(seen.policy, seen.toml())
    fresh(name, elsewhere)
    assert under(policy, function, *args) == wanted
    for mount in policy.mounts:
        fresh(name, elsewhere)
        less = Policy.from_options(policy, mounts=[each for each in policy.mounts if each is not mount])
        assert differs(under, less, function, args, wanted), f"{mount!r} is not needed"
    if policy.rules is not None:
        fresh(name, elsewhere)
        assert differs(under, Policy.from_options(policy, rules=None), function, args, wanted)


def works_here(statement):
    return subprocess.run([sys.executable, "-c", statement], capture_output=True, check=False).returncode == 0


def differs(under, policy, function, args, wanted):
    try:
        return under(policy, function, *args) != wanted
    except Exception:
        return True


def test_decorator_is_python_for_the_same_policy(elsewhere):
    args, _ = prepare("list_by_a_program", elsewhere)
    with learn() as seen:
        wanted = seen.call(lessons.list_by_a_program, *args)
    names = {}
    exec(seen.imports(), names)
    decorate = eval(seen.decorator().removeprefix("@"), names)
    assert Policy.from_options(decorate(lessons.list_by_a_program).policy, name=None) == seen.policy
    assert isolated(policy=seen.policy)(lessons.list_by_a_program)(*args) == wanted
    assert {*names} - {"__builtins__"} <= {*isolate_fn.__all__, *vars(rules)}


def test_what_is_not_used_is_not_granted(elsewhere):
    (elsewhere / "used").write_text("a")
    (elsewhere / "unused").write_text("b")
    with learn() as seen:
        seen.call(lambda path: open(path).read(), str(elsewhere / "used"))
    assert list(map(repr, seen.policy.mounts)) == [f"ro('{elsewhere}/used')"]
    assert seen.policy.network is False
    assert seen.policy.rules is None


def test_a_file_in_tmp_that_an_argument_names(host, under):
    (host / "a").write_text("text")
    with learn() as seen:
        assert seen.call(lambda path: open(path).read(), str(host / "a")) == "text"
    assert list(map(repr, seen.policy.mounts)) == [f"ro('{host}/a')"]
    assert under(seen.policy, lambda path: open(path).read(), str(host / "a")) == "text"


def test_writes_in_tmp_go_to_a_copy(host):
    with learn() as seen:
        assert seen.call(lessons.write_files, str(host)) == ["b", "c"]
    assert list(host.iterdir()) == []
    assert list(map(repr, seen.policy.mounts)) == [f"rw('{host}')"]


def test_its_own_places_need_no_grant():
    def write():
        with open("/tmp/x", "w") as file:
            file.write("x")
        with open("here", "w") as file:
            file.write("x")
        return open("/tmp/x").read() + open("here").read()

    with learn() as seen:
        assert seen.call(write) == "xx"
    assert seen.policy.mounts == ()


def test_links_lead_to_what_is_granted(elsewhere, under):
    (elsewhere / "data").mkdir()
    (elsewhere / "data" / "file").write_text("text")
    (elsewhere / "link").symlink_to(elsewhere / "data")

    def read(directory):
        return open(f"{directory}/link/../data/file").read() + open(f"{directory}/link/file").read()

    with learn() as seen:
        wanted = seen.call(read, str(elsewhere))
    assert under(seen.policy, lambda directory: open(f"{directory}/link/file").read() * 2, str(elsewhere)) == wanted


def test_a_script_needs_its_interpreter(elsewhere, under):
    script = elsewhere / "script"
    script.write_text("#!/bin/sh\necho from $0\n")
    script.chmod(0o755)

    def start(path):
        return subprocess.run([path], capture_output=True, text=True, check=True).stdout

    with learn() as seen:
        wanted = seen.call(start, str(script))
    assert "from" in wanted
    assert under(seen.policy, start, str(script)) == wanted


def test_a_link_to_a_program_stays_one(elsewhere, under):
    (elsewhere / "bin").mkdir()
    (elsewhere / "tool").write_text("#!/bin/sh\nreadlink $0\n")
    (elsewhere / "tool").chmod(0o755)
    (elsewhere / "bin" / "tool").symlink_to("../tool")

    def start(path):
        return subprocess.run([path], capture_output=True, text=True, check=True).stdout

    with learn() as seen:
        wanted = seen.call(start, f"{elsewhere}/bin/tool")
    assert wanted == "../tool\n"
    assert f"symlink('{elsewhere}/bin/tool', '../tool')" in map(repr, seen.policy.mounts)
    assert under(seen.policy, start, f"{elsewhere}/bin/tool") == wanted


def test_limits_have_head_room(under):
    def work():
        held = bytearray(40 << 20)
        held[::4096] = b"x" * len(held[::4096])
        files = [open("/dev/null") for _ in range(40)]
        threads = [threading.Thread(target=threading.Event().wait, args=(0.05,)) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(held) + len(files)

    with learn() as seen:
        wanted = seen.call(work)
    limits = seen.policy.limits
    assert seen.peaks["memory"] >= 40 << 20
    assert limits.memory >= 2 * seen.peaks["memory"]
    assert limits.open_files >= 80
    assert limits.processes >= 20
    assert under(seen.policy, work) == wanted


def test_addresses_are_recorded_and_refused():
    def reach():
        refused = []
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as client:
                try:
                    client.connect(("192.0.2.7", 443))
                except OSError as error:
                    refused.append(error.errno)
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            client.sendall(b"x")
        return refused

    import errno

    with learn() as seen:
        assert seen.call(reach) == [errno.ENETUNREACH] * 2
    assert seen.addresses["192.0.2.7", 443, "connect"] is False
    assert seen.policy.network is False
    assert [flag.subject for flag in seen.flags if flag.kind == "network"] == ["192.0.2.7:443"]


def test_the_network_is_granted_where_it_was_reached(under):
    with socket.create_server(("127.0.0.1", 0)) as server:
        def reach(port):
            with socket.create_connection(("127.0.0.1", port)) as client:
                return client.getpeername()[1] == port

        with learn(net=True) as seen:
            assert seen.call(reach, server.getsockname()[1])
        assert under(seen.policy, reach, server.getsockname()[1])
    assert seen.policy.network is True


CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBtjCCAVugAwIBAgITBmyf1XSXNmY/Owua2eiedgPySjAKBggqhkjOPQQDAjA5
MQswCQYDVQQGEwJVUzEPMA0GA1UEChMGQW1hem9uMRkwFwYDVQQDExBBbWF6b24g
Um9vdCBDQSAzMB4XDTE1MDUyNjAwMDAwMFoXDTQwMDUyNjAwMDAwMFowOTELMAkG
A1UEBhMCVVMxDzANBgNVBAoTBkFtYXpvbjEZMBcGA1UEAxMQQW1hem9uIFJvb3Qg
Q0EgMzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABCmXp8ZBf8ANm+gBG1bG8lKl
ui2yEujSLtf6ycXYqm0fc4E7O5hrOXwzpcVOho6AF2hiRVd9RFgdszflZwjrZt6j
QjBAMA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgGGMB0GA1UdDgQWBBSr
ttvXBp43rDCGB5Fwx5zEGbF4wDAKBggqhkjOPQQDAgNJADBGAiEA4IWSoxe3jfkr
BqWTrBqYaGFy+uGh0PsceGCmQ5nFuMQCIQCcAu/xlJyzlvnrxir4tiz+OpAUFteM
YyRIHN8wfdVoOw==
-----END CERTIFICATE-----
"""
