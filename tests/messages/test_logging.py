"""What isolated code logs arrives in the caller's logging, by the caller's levels, and as plain text."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., str]
pytestmark = pytest.mark.needs("namespaces")

LOGS = """
import logging
log = logging.getLogger("shop.images")

def f(number=1):
    log.debug("debugging %d", number)
    log.info("informing %d", number)
    log.warning("warning %d", number, extra={"order": 7, "thing": object()})
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("failing")
    return number
"""


def test_records_keep_name_level_place_and_failure(run: Run) -> None:
    printed = run(
        """
        f = isolated(name="thumbnails")(work.f)
        assert f(3) == 3
        warning, failure = kept.records
        assert (warning.name, warning.levelname, warning.getMessage()) == ("shop.images", "WARNING", "warning 3")
        assert warning.isolate == failure.isolate == "thumbnails" and warning.order == 7 and not hasattr(warning, "thing")
        assert warning.pathname.endswith("work.py") and warning.funcName == "f" and warning.lineno == 8, warning.lineno
        assert warning.args == () and failure.exc_info is None
        assert failure.exc_text.startswith("Traceback") and "ZeroDivisionError" in failure.exc_text
        text = logging.Formatter("%(name)s %(levelname)s %(module)s %(message)s %(threadName)s").format(failure)
        print(text.splitlines()[0], text.splitlines()[-1])
        """,
        LOGS,
    )
    assert printed == "shop.images ERROR work failing MainThread ZeroDivisionError: division by zero\n"


def test_records_of_what_has_no_name_of_its_own(run: Run) -> None:
    printed = run(
        """
        from isolate_fn import IsolatedExecutor, sandbox

        def told():
            names = {record.isolate for record in kept.records}
            kept.records.clear()
            return names

        for options in ({}, {"name": "mine"}):
            with sandbox(**options) as box:
                box.call(work.f, 1)
            print(told(), box.policy.name)
            with IsolatedExecutor(1, **options) as pool:
                pool.submit(work.f, 1).result()
            print(told(), pool.policy.name)
        """,
        LOGS,
    )
    assert printed == "{'sandbox'} None\n{'IsolatedExecutor'} None\n{'mine'} mine\n{'mine'} mine\n"


@pytest.mark.parametrize("reuse", [False, True])
def test_the_callers_levels_decide_what_is_sent(reuse: bool, run: Run) -> None:
    printed = run(
        f"""
        from isolate_fn._runtime import log_levels, notices
        log_levels._LOOK_AGAIN = 0
        heard, hear = [], notices.hear
        def listen(*given):
            heard.append(given)
            return hear(*given)
        notices.hear = listen
        f = isolated(reuse={reuse}, prewarm=0)(work.f)
        def arrived():
            f(1 if {reuse} else 2)
            seen = [record.levelname[0] for record in kept.records], len(heard)
            kept.records.clear(), heard.clear()
            if {reuse}:
                f.close()  # a worker keeps to what it was told last
            return seen
        assert arrived() == (["W", "E"], 2), "as Python starts"
        logging.root.setLevel(logging.DEBUG)
        assert arrived() == (["D", "I", "W", "E"], 4), "the root's"
        logging.getLogger("shop").setLevel(logging.ERROR)
        assert arrived() == (["E"], 1), "a logger's between"
        logging.getLogger("shop.images").setLevel(logging.INFO)
        assert arrived() == (["I", "W", "E"], 3), "its own"
        logging.disable(logging.WARNING)
        assert arrived() == (["E"], 1), "disabled"
        logging.disable(logging.NOTSET)
        logging.getLogger("shop.images").addFilter(lambda record: "warn" in record.getMessage())
        assert arrived()[0] == ["W"], "filters are the caller's"
        print("all")
        """,
        LOGS,
    )
    assert printed == "all\n"


def test_every_thread_of_the_function_may_log_and_none_after_the_answer(run: Run) -> None:
    printed = run(
        """
        f = isolated(reuse=True)(work.f)
        for _ in range(5):
            assert f() == 400
            said = sorted(record.getMessage() for record in kept.records)
            assert said == sorted(f"{thread} {number}" for thread in range(8) for number in range(50))
            kept.records.clear()
        g = isolated(reuse=True)(work.leaves_a_thread)
        pids = {g() for _ in range(20)}
        print(len(pids))  # what it says between calls is not sent: the worker would be ended for it
        """,
        """
        import logging, os, threading, time
        log = logging.getLogger("threads")
        def many(number):
            for each in range(50):
                log.warning("%d %d", number, each)
        def f():
            threads = [threading.Thread(target=many, args=(number,)) for number in range(8)]
            [each.start() for each in threads]
            [each.join() for each in threads]
            return 400
        def for_ever():
            while True:
                log.warning("still here")
                time.sleep(0.0005)
        started = []
        def leaves_a_thread():
            if not started:
                started.append(threading.Thread(target=for_ever, daemon=True))
                started[0].start()
            return os.getpid(), id(started)
        """,
    )
    assert printed == "1\n"


def test_a_sandbox_logs_too(run: Run) -> None:
    printed = run(
        """
        with sandbox(name="box") as box:
            box.call(work.f, 5)
            box.call(work.f, 6)
        print(*[record.getMessage() for record in kept.records], kept.records[0].isolate)
        """,
        LOGS,
    )
    assert printed == "warning 5 failing warning 6 failing box\n"


def test_code_that_configures_logging_itself_logs_to_its_own_stderr(run: Run) -> None:
    printed = run(
        """
        f = isolated(output="capture")(work.f)
        with sandbox(output="capture") as box:
            box.call(work.f)
        print(box.report().stderr.decode().strip(), len(kept.records))
        """,
        """
        import logging
        def f():
            logging.root.handlers.clear()
            logging.basicConfig(format="mine: %(message)s")
            logging.warning("here")
        """,
    )
    assert printed == "mine: here 0\n"


def test_terminals_are_not_commanded_and_made_up_loggers_make_none(run: Run) -> None:
    printed = run(
        """
        logging.getLogger("known.here")
        before = set(logging.root.manager.loggerDict)
        isolated(work.f)()
        assert set(logging.root.manager.loggerDict) == before
        names = [record.name for record in kept.records]
        assert names[0] == "known.here.deeper" and len(names) == 201
        assert all("\\x1b" not in logging.Formatter("%(name)s %(message)s %(funcName)s").format(each) for each in kept.records)
        print(ascii(kept.records[0].getMessage()))
        """,
        r"""
        import logging
        def f():
            logging.getLogger("known.here.deeper").warning("\x1b[2Jgone \u202e")
            for number in range(200):
                logging.getLogger(f"made.up\x1b{number}").warning("x")
        """,
    )
    assert printed == ascii(r"\x1b[2Jgone \u202e") + "\n"


def test_a_flood_ends_the_call(run: Run) -> None:
    printed = run(
        """
        error = caught(isolated(limits=Limits(output="100k"))(work.f))
        print(type(error).__name__, error.limit, error.used > 100_000, 100 < len(kept.records) < 2000)
        """,
        """
        import logging
        def f():
            while True:
                logging.warning("x" * 200)
        """,
    )
    assert printed == "LimitExceeded output True True\n"


LIES = {
    "no mapping": ('"text"', "TransportError"),
    "nothing in it": ("{}", "TransportError"),
    "another kind": ('{"what": "exec"}', "TransportError"),
    "wrong types": (
        '{"what": "record", "name": 5, "level": "high", "text": [1], "path": null, "line": -1, "extra": [1], "function": {}}',
        "1",
    ),
    "names of ours": (
        '{"what": "record", "name": "a", "level": 30, "text": "t", "extra": {"args": 5, "isolate": "no", "__class__": 1}}',
        "1",
    ),
    "a level beyond all": ('{"what": "record", "level": 99999999999999999999, "text": "t"}', "1"),
    "a bigger number": ('{"what": "record", "level": 5000, "text": "t"}', "1"),
    "a class of ours": ('{"what": "warning", "classes": ["SystemExit", "object", "os:system"], "text": "t"}', "1"),
    "deep": ('{"what": "record", "extra": ' + "[" * 500 + "]" * 500 + "}", "TransportError"),
    "a tag": ('{"what": {"$": "b", "v": 0}}', "TransportError"),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_a_worker_makes_up(lie: str, run: Run) -> None:
    text, expected = LIES[lie]
    printed = run(
        f"""
        logging.root.setLevel(0)
        warnings.simplefilter("ignore")
        f = isolated(work.f)
        try:
            print(f({text!r}))
        except IsolationError as error:
            print(type(error).__name__)
        for record in kept.records:
            assert record.isolate == "f" and record.args == () and logging.Formatter("%(name)s %(message)s").format(record)
        """,
        """
        import os, struct
        def f(text):
            data = text.encode()
            os.write(3, struct.pack("<4sBBHIQQ", b"IFN1", 13, 0, 0, 0, len(data), 0) + data)
            return 1
        """,
    )
    assert printed == expected + "\n"
