"""`sandbox`: one isolate for the length of a ``with`` block."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, TypeVar, overload

from isolate_fn._api.box_tasks import ForTasks
from isolate_fn._api.contents import content_of, inside
from isolate_fn._api.grants import give_in_box
from isolate_fn._api.in_order import InOrder
from isolate_fn._api.nested import refuse_nested
from isolate_fn._api.prepare import prepare
from isolate_fn._api.programs import Programs
from isolate_fn._api.starts import ended_before
from isolate_fn._api.streams import SharedOutput
from isolate_fn._runtime import call, outcome, pool
from isolate_fn._runtime.conversation import converse
from isolate_fn._runtime.endings import Cancelled, Ended, Foreign, OutOfTime, TooMuchOutput
from isolate_fn._runtime.isolate import Isolate
from isolate_fn._runtime.report import Report
from isolate_fn._runtime.signature import Signature, sign
from isolate_fn._runtime.talk import to_the_end
from isolate_fn._runtime.toolbox import Toolbox
from isolate_fn._transport.calls import EncodedCall, encode_call, function_part, function_reference, unbind
from isolate_fn.errors import CallRejected, PolicyError, ResultRejected, TransportError
from isolate_fn.policy.inside import inside as in_isolate
from isolate_fn.policy.policy import Policy
from isolate_fn.policy.unsupported import refuse_unbuilt

if TYPE_CHECKING:
    from isolate_fn._runtime.talk import Talk
    from isolate_fn._transport.frames import Frame

T = TypeVar("T")


class Sandbox(Programs, InOrder, ForTasks):
    """One isolate with a persistent worker and a file system of its own, until the block ends; made by `sandbox`.

    State lives in it: what one call leaves in memory or in files, the next one finds. It is one trust domain.
    Calls of several threads and tasks take turns; programs run side by side, and beside a call.

    Args:
        policy: what may be done inside.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy
        named = policy if policy.name else Policy.from_options(policy, name="sandbox")  # as its log records are told
        if not in_isolate():  # where a module that makes one when it is imported can be imported nevertheless
            self._prepared = prepare(named, tools=True, by_value=True)
        self._isolate: Isolate | None = None
        self._toolbox: Toolbox | None = None
        self._output = SharedOutput(policy.output, policy.limits.output)
        self._signatures: dict[Any, Signature] = {}
        self._report: Report | None = None
        self._why: BaseException | None = None
        self._running = {}

    def __enter__(self) -> Sandbox:
        """Build the isolate and check its walls.

        Raises:
            Unsupported, SetupError: it cannot be built here; says why. LimitExceeded: a limit is too small for it.
        """
        self._only_once()
        isolate = pool.start(self._prepared)
        try:
            isolate.output = self._output
            to_the_end(isolate, call.make_ready(isolate, self._prepared))
            self._toolbox = Toolbox(isolate, self._prepared)
            self._toolbox.make_ready()
        except BaseException:
            isolate.end()
            raise
        self._isolate = isolate
        return self

    def _only_once(self) -> None:
        refuse_nested("a sandbox block", "open it in the program that makes the call; what runs here is isolated already")
        if self._isolate is not None or self._report is not None:
            raise PolicyError("sandbox", "this block was entered before", "write with sandbox(...) again")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for calls that were submitted, or cancel them, then kill everything inside and wait until it is gone."""
        self._finish_submitted(kill=kind is not None)
        if self._isolate is not None:
            if self._isolate.alive():
                self._isolate.ask_usage()
            self._close()
            self._output.finish()

    def _close(self) -> None:
        isolate, self._isolate = self._isolate, None
        if isolate is None or self._toolbox is None:
            return
        isolate.hear_all()
        isolate.condemn()
        self._stop_running()
        with self._toolbox.lock:  # whoever waits for an answer sees the end of it first
            isolate.end()
        self._report = outcome.report_of(isolate, self._prepared, output=self._output)

    def _open(self) -> tuple[Isolate, Toolbox]:
        if self._isolate is None or self._toolbox is None:
            if self._why is not None:
                raise ended_before(self._why) from self._why
            raise PolicyError("sandbox", "the block is not open", "use it as `with sandbox(...) as box:`")
        if self._isolate.owner != os.getpid():
            raise PolicyError("sandbox", "the block is open in the process that forked this one", "open another one here")
        return self._isolate, self._toolbox

    @overload
    def call(self, function: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **kwargs: Any) -> T: ...

    @overload
    def call(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T: ...

    def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function in the sandbox's worker and return its value or raise its exception.

        Args:
            function: any function that `isolated` could decorate.
            *args: its arguments.
            **kwargs: its keyword arguments.

        Raises:
            TimedOut, LimitExceeded, Crashed, TransportError: the sandbox is gone then.
            CallRejected: function or argument cannot be sent; the sandbox goes on.
        """
        return self._call(function, args, kwargs)

    def _call(self, function: Callable[..., Any], args: Any, kwargs: Any, cancel: Any = None) -> Any:
        with self._lock:
            isolate, _ = self._open()
            if cancel is not None and cancel.thrown:  # while other calls had their turn
                raise Cancelled
            signature, _, talk = self._conversation(isolate, function, args, kwargs)
            try:
                isolate.cancelled_by(cancel)
                answer = to_the_end(isolate, talk)
                isolate.cancelled_by(None)
                if isolate.wrote:
                    isolate.drain()
            except PolicyError:  # nothing was sent
                isolate.cancelled_by(None)
                raise
            except BaseException as reason:
                raise self._ended_by(reason, isolate) from None
            return self._judged(answer, isolate, signature)

    def _conversation(
        self, isolate: Isolate, function: Callable[..., Any], args: Any, kwargs: Any
    ) -> tuple[Signature, EncodedCall, Talk[Frame]]:
        """Return what one call is made of, and the conversation that it will be.

        Raises:
            IsolationError: the isolate has died since the last call.
        """
        if not isolate.alive():
            raise ended_before(self._ended_by(Ended(), isolate))
        function, args, kwargs = unbind(function, args, kwargs)
        signature = self._sign(function)
        args, kwargs, loan = give_in_box(function, args, kwargs, self._prepared)
        encoded = encode_call(signature.reference, args, kwargs, loan=loan)
        part = signature.part or function_part(signature.reference)
        deadline = None if self.policy.timeout is None else time.monotonic() + self.policy.timeout
        return signature, encoded, converse(isolate, self._prepared, signature, part, encoded, deadline)

    def _judged(self, answer: Frame, isolate: Isolate, signature: Signature) -> Any:
        """Return the value of an answer or raise its exception; one that breaks the protocol ends the sandbox."""
        try:
            return outcome.judge(answer, isolate, self._prepared, signature)
        except (CallRejected, ResultRejected):
            raise
        except TransportError as broken:
            raise self._ended_by(broken, isolate) from None

    def _sign(self, function: Callable[..., Any]) -> Signature:
        try:
            known = self._signatures.get(function)
        except TypeError:  # a callable that cannot be a key
            return sign(function_reference(function), self._prepared)
        if known is None:
            known = self._signatures[function] = sign(function_reference(function), self._prepared)
        return known

    def _ended_by(self, reason: BaseException, isolate: Isolate) -> BaseException:
        """End the sandbox for a reason, and return the error that names it."""
        if isinstance(reason, OutOfTime):
            reason = outcome.timed_out(self.policy.timeout or 0.0, isolate, self._prepared)
        elif isinstance(reason, TooMuchOutput):
            reason = outcome.too_much_output(isolate, self._prepared)
        elif isinstance(reason, TransportError):
            reason = outcome.too_big(reason, isolate, self._prepared) or reason
        elif isinstance(reason, Ended):
            reason = outcome.ended(isolate, self._prepared)
        elif isinstance(reason, Foreign):
            reason = outcome.with_report(reason.error, isolate, self._prepared)
        elif isinstance(reason, Cancelled):
            from isolate_fn._runtime.deaths import cancelled

            reason = cancelled(outcome.report_now(isolate, self._prepared))
        else:
            outcome.with_report(reason, isolate, self._prepared)
        self._why = reason if isinstance(reason, Exception) else self._why
        self._close()
        return reason

    def put(self, path_inside: str, content: bytes | bytearray | memoryview | os.PathLike[str] | IO[bytes]) -> None:
        """Write a file inside.

        Args:
            path_inside: where; relative to the working directory. Missing directories are made.
            content: bytes, the path of a file of the caller's, or an open binary file.

        Raises:
            OSError: it cannot be written there.
            LimitExceeded: the sandbox's file system is full.
        """
        data, path = content_of(content), inside("put", path_inside)
        with self._lock:
            isolate, toolbox = self._open()
            try:
                toolbox.put(path, data)
            except Ended:
                raise self._ended_by(toolbox.gone(), isolate) from None

    def get(self, path_inside: str) -> bytes:
        """Return the content of a regular file inside. It is hostile data, whatever its name says.

        Args:
            path_inside: relative to the working directory.

        Raises:
            OSError: it does not exist, or is a directory, a link, a device or a pipe.
            LimitExceeded: it is bigger than ``limits.result``.
        """
        path = inside("get", path_inside)
        with self._lock:
            isolate, toolbox = self._open()
            try:
                return toolbox.get(path)
            except Ended:
                raise self._ended_by(toolbox.gone(), isolate) from None

    def report(self) -> Report:
        """Return what is in force and what was used so far; also after the block."""
        with self._lock:
            if self._isolate is None:
                if self._report is None:
                    raise PolicyError("sandbox", "the block was never open", "use `with sandbox(...) as box:`")
                return self._report
            self._isolate.ask_usage()
            self._isolate.drain()
            return outcome.report_of(self._isolate, self._prepared, output=self._output)


def sandbox(*, policy: Policy | str | None = None, **options: Any) -> Sandbox:
    """Open a sandbox for the length of a ``with`` block.

    Args:
        policy: options to start from, which the others override: a `Policy`, or the name of a preset or of a policy in
            the project's pyproject.toml.
        **options: as for `isolated`.

    Raises:
        PolicyError: an option does not exist, has the wrong type or is out of range; a mount's source is missing.
        Unsupported: an option that this version or this machine cannot enforce.
    """
    made = Policy.from_options(policy, **options)
    refuse_unbuilt(made)
    return Sandbox(made)
