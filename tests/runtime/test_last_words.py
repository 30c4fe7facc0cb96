"""What init says last is heard, whatever it was asked meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.needs("namespaces")


def test_a_question_that_init_has_not_read_hides_no_cause(run: Callable[..., str]) -> None:
    """The kernel then says that the connection was reset before it gives what still lies in the socket."""
    printed = run("""
        import select, socket
        from isolate_fn import sandbox
        with sandbox() as box:
            box.call(len, "")
            isolate = box._isolate
            here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            there.send(b'{"limit": "memory"}')
            here.send(b"usage")
            there.close()
            isolate.poll.unregister(isolate.status)
            status, isolate.status = isolate.status, here
            isolate.poll.register(here, select.POLLIN)
            isolate.hear_all()
            print(isolate.told["limit"], isolate.told["end"])
            isolate.status = status
            here.close()
    """)
    assert printed == "memory ['', None]\n"
