"""Landlock's ports and scopes, and restricting all threads: as far as this kernel's ABI goes, and refusals beyond it.

Every check runs in a child of its own, in an empty directory, with the kernel's ABI.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from functools import partial

from landlock_checks import check, context, only, reach, read, rights, write
from throwaway import Failed, Other, denied, expect, here, in_child, native, refused, status

from isolate_fn import SafetyContext
from isolate_fn._sys.features import probe
from isolate_fn.errors import IsolationError, SetupError, Unsupported
from isolate_fn.rules import Custom, Networking, PortRule, Signals, SystemIO

# --- ports and scopes ------------------------------------------------------------------------------------------------


def _tcp(connect: int = 0, bind: int = 0) -> int:
    with socket.socket() as one:
        if connect:
            return one.connect_ex(("127.0.0.1", connect))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return _errno(lambda: one.bind(("127.0.0.1", bind)))


def _errno(action: Callable[[], object]) -> int:
    try:
        action()
    except OSError as error:
        return error.errno or 0
    return 0


@check(since=4)
def tcp_ports(abi: int) -> None:
    """TCP ports: connecting and binding to those that are named"""
    free = socket.create_server(("127.0.0.1", 0))
    with socket.create_server(("127.0.0.1", 0)) as named, socket.create_server(("127.0.0.1", 0)) as other:
        port, denied_port, unused = (each.getsockname()[1] for each in (named, other, free))
        free.close()
        sets = Networking().allow_start_tcp_clients().allow_connect_ports(port).allow_bind_ports(unused)
        done = SafetyContext().enable(sets).apply_to_current_thread()
        expect(done.landlock_abi, abi)
        expect((_tcp(connect=port), _tcp(connect=denied_port)), (0, errno.EACCES))
        expect((_tcp(bind=unused), _tcp(bind=unused - 1)), (0, errno.EACCES))


@check(since=10)
def udp_ports(abi: int) -> None:
    """UDP ports: binding and sending to those that are named"""
    server, other = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
    server.bind(("127.0.0.1", 0)), other.bind(("127.0.0.1", 0))
    port, denied_port = server.getsockname()[1], other.getsockname()[1]
    ports = PortRule(port, {"connect_send_udp"}), PortRule(0, {"bind_udp"})
    only(abi, Custom("udp", *ports))
    client = socket.socket(type=socket.SOCK_DGRAM)
    denied(lambda: client.sendto(b"x", ("127.0.0.1", denied_port)), errno.EACCES)
    denied(lambda: client.connect(("127.0.0.1", denied_port)), errno.EACCES)
    denied(lambda: client.bind(("127.0.0.1", port - 1)), errno.EACCES)
    expect(client.sendto(b"x", ("127.0.0.1", port)), 1)
    expect(server.recv(9), b"x")


@check(since=6)
def abstract_sockets(abi: int) -> None:
    """scope of abstract sockets: none of another process"""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(b"\0isolate-fn-rules-%d" % os.getpid())
        server.listen()
        name = server.getsockname()
        sets = Networking().allow_start_unix_clients()
        expect(in_child(lambda: (SafetyContext().enable(sets).apply_to_current_thread(), reach(name))[1]), 0)
        SafetyContext().enable(sets.keep_abstract_sockets_inside()).apply_to_current_thread()
        expect(reach(name), errno.EPERM)


@check(since=6)
def signals(abi: int) -> None:
    """scope of signals: none to another process, any to this one"""
    parent = os.getpid()

    def scoped() -> None:
        SafetyContext().enable(Signals().allow_kill().keep_inside()).apply_to_current_thread()
        os.kill(os.getpid(), 0)
        denied(lambda: os.kill(parent, 0))

    in_child(lambda: (SafetyContext().enable(Signals().allow_kill()).apply_to_current_thread(), os.kill(parent, 0)))
    in_child(scoped)


@check(before=10)
def lacking_ports_and_scopes(abi: int) -> None:
    """ports and scopes that the ABI lacks: refused, whatever is required"""
    lacking = {
        4: [Networking().allow_connect_ports(443), Networking().allow_bind_ports(443)],
        6: [Networking().keep_abstract_sockets_inside(), Signals().keep_inside()],
        10: [Custom("udp", PortRule(53, {word})) for word in ("bind_udp", "connect_send_udp")],
    }
    for needed, sets in lacking.items():
        words = [f"Landlock ABI {needed}", f"ABI {abi}"] if abi else ["Landlock", probe().landlock_cause]
        for each in sets if needed > abi else ():
            refused(Unsupported, SafetyContext().enable(each).apply_to_current_thread, *words)
            refused(Unsupported, SafetyContext().enable(each).require("read_file").apply_to_current_thread, *words)


@check(before=1)
def no_landlock(abi: int) -> None:
    """no Landlock: paths are refused with the cause, unless left to other means"""
    write("f")
    paths = SystemIO().allow_read_path("/dev/null"), Custom("cwd", "getcwd")
    for made in (SafetyContext().enable(*paths), SafetyContext().enable(*paths).landlock_only()):
        words = "Landlock", probe().landlock_cause, "seccomp_only()"
        refused(Unsupported, made.apply_to_current_thread, *words)
        refused(Unsupported, made.apply_to_all_threads, *words)
    done = SafetyContext().enable(*paths).seccomp_only().apply_to_all_threads()
    expect((done.seccomp, done.landlock_abi, read("f")), (True, 0, "x"))
    denied(lambda: os.mkdir("new"))


# --- all threads -----------------------------------------------------------------------------------------------------


@check(since=8)
def threads_landlock_alone(abi: int) -> None:
    """all threads, Landlock alone: a running thread is restricted as well"""
    os.mkdir("in")
    write("in/f"), write("out")
    other = Other()
    expect(other.run(lambda: read("out")), "x")
    done = context(abi, rights("in", "read_file"), rights("/proc", "read_file")).landlock_only().apply_to_all_threads()
    expect((done.threads, done.seccomp, done.landlock_abi), ("all", False, abi))
    for there in (here, other.run):
        expect(there(lambda: read("in/f")), "x")
        denied(partial(there, partial(read, "out")), errno.EACCES)
        expect(there(lambda: status("NoNewPrivs")), "1")


@check(since=8)
def threads_filter_and_landlock(abi: int) -> None:
    """all threads, filter and Landlock: a running thread is under both"""
    os.mkdir("in")
    write("in/f"), write("out")
    other = Other()
    done = context(abi, SystemIO().allow_read_path("in")).apply_to_all_threads()
    expect((done.threads, done.seccomp, done.landlock_abi), ("all", True, abi))
    for there in (here, other.run):
        expect(there(lambda: read("in/f")), "x")
        denied(partial(there, partial(read, "out")), errno.EACCES)
        expect(there(lambda: native("mkdirat", -100, 0, 0)), (-1, errno.EPERM))


@check(since=8)
def thread_with_own_filter(abi: int) -> None:
    """all threads, one with a filter of its own: refused by name, and Landlock is not in force either"""
    write("out")
    other = Other()
    own = SystemIO.everything(), "getpgid"
    other.run(lambda: SafetyContext().enable(*own).apply_to_current_thread())
    wanted = context(abi, SystemIO().allow_read_path("/proc"))
    try:
        wanted.apply_to_all_threads()
    except SetupError as error:
        expect((getattr(error, "thread", 0), "nothing is restricted" in str(error)), (other.thread.native_id, True))
    else:
        raise Failed("SetupError was not raised")
    expect((status("Seccomp"), read("out"), other.run(lambda: read("out"))), ("0", "x", "x"))


@check(since=8)
def thread_with_own_landlock(abi: int) -> None:
    """all threads, one under Landlock of its own: that is not loosened"""
    for name in ("a", "b"):
        os.mkdir(name)
        write(f"{name}/f")
    other = Other()
    other.run(lambda: only(abi, rights("a", "read_file")))
    denied(lambda: other.run(lambda: read("b/f")), errno.EACCES)
    wanted = context(abi, rights("a", "read_file"), rights("b", "read_file")).landlock_only()
    try:
        wanted.apply_to_all_threads()
    except IsolationError:
        pass  # as good: it is said, and the thread is as it was
    denied(lambda: other.run(lambda: read("b/f")), errno.EACCES)


@check(since=1, before=8)
def threads_refused(abi: int) -> None:
    """all threads with Landlock: refused before anything is applied to any thread"""
    write("out")
    other = Other()
    sets = rights(".", "read_file")
    for made in (SafetyContext().enable(sets), SafetyContext().enable(sets).landlock_only()):
        words = ("Landlock does not support syncing to all threads", "Landlock ABI 8 (Linux 7.0)", f"ABI {abi}")
        refused(Unsupported, made.require("read_file").apply_to_all_threads, *words)
        expect(other.run(lambda: (status("Seccomp"), status("NoNewPrivs"), read("out"))), ("0", "0", "x"))
