"""An isolate that is ready has been introduced, however slow the spawner is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.needs("namespaces")

# An isolate whose walls stand, and a socket in place of its own: what was said of it is told in another order.
TOLD_ANEW = """
        import json, select, socket
        from isolate_fn._runtime.talk import to_the_end
        prepared = prepare(Policy())
        isolate = pool.start(prepared)
        said = {}
        while said.keys() < {"hello", "built"}:
            data, rights, _, _ = isolate.status.recvmsg(1 << 16, 64)
            said[next(iter(json.loads(data)))] = data, rights
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        there.send(said["built"][0])
        isolate.poll.unregister(isolate.status)
        status, isolate.status = isolate.status, here
        isolate.poll.register(here, select.POLLIN)
        select.select([isolate.channel], [], [])
"""


def test_a_spawner_that_is_slower_than_the_worker(run: Callable[..., str]) -> None:
    """Its message, with the handle of init, comes here after all that init and the worker say."""
    printed = run(
        TOLD_ANEW
        + """
        making = call.make_ready(isolate, prepared)
        wait = next(making)
        try:
            while True:
                if not isolate.poll.poll(0) and "built" in isolate.told:
                    there.sendmsg([said["hello"][0]], said["hello"][1])
                wait = making.send(isolate.poll.poll(wait))
        except StopIteration:
            print(isolate.pidfd >= 0)
        isolate.status = status
        isolate.end()
        """
    )
    assert printed == "True\n"


def test_one_that_has_ended_before_it_was_introduced(run: Callable[..., str]) -> None:
    """By what its function's module did at import, for example: its walls stood, and the call tells how it ended."""
    printed = run(
        TOLD_ANEW
        + """
        there.send(b'{"end": ["worker", 768]}')
        to_the_end(isolate, call.make_ready(isolate, prepared))
        print(isolate.ready is not None, isolate.told["end"])
        isolate.status = status
        isolate.end()
        """
    )
    assert printed == "True ['worker', 768]\n"
