"""`isolated`: the decorator."""

from __future__ import annotations

from collections.abc import Callable

from isolate_fn._api.bound import Bound
from isolate_fn._api.function import Isolated, plain_function
from isolate_fn._api.suspending import generates
from isolate_fn._transport.coroutines import is_coroutine_function
from isolate_fn.errors import PolicyError
from isolate_fn.policy.policy import Policy
from isolate_fn.policy.unsupported import refuse_unbuilt

TYPE_CHECKING = False
if not TYPE_CHECKING:
    from isolate_fn._api.other_ways import overload
else:
    from typing import Any, ParamSpec, TypeVar, overload

    P = ParamSpec("P")
    R = TypeVar("R")


@overload
def isolated(function: Callable[P, R], /) -> Isolated[P, R]: ...


@overload
def isolated(*, policy: Policy | str | None = None, **options: Any) -> Callable[[Callable[P, R]], Isolated[P, R]]: ...


def isolated(function: Any = None, /, *, policy: Policy | str | None = None, **options: Any) -> Any:
    """Run a function inside its own Linux sandbox: same call, same result, nothing of the host within reach.

    Args:
        function: when used without parentheses.
        policy: options to start from, which the others override: a `Policy`, or the name of a preset or of a policy in
            the project's pyproject.toml.
        **options: see `Policy`, whose fields they are.

    Returns:
        An `Isolated` that is called like the function, or a decorator.

    Raises:
        PolicyError: an option does not exist, has the wrong type or is out of range; the decorated object is a class
            or no function. Nothing was started.
        Unsupported: an option that this version cannot enforce.
    """
    made = Policy.from_options(policy, **options)
    refuse_unbuilt(made)
    if function is None:
        return lambda target: _decorate(target, made)
    return _decorate(function, made)


def _decorate(function: Any, policy: Policy) -> Isolated[Any, Any]:
    if isinstance(function, type):
        raise PolicyError(
            "isolated",
            f"{function.__qualname__} is a class",
            "decorate its methods one by one, or a function that uses it",
        )
    plain = plain_function(function)
    if isinstance(plain, (Isolated, Bound)):
        raise PolicyError("isolated", f"{plain!r} is isolated already", "use .options(...) to change its policy")
    if not callable(plain):
        raise PolicyError("isolated", f"{function!r:.100} is no function", "decorate a function or a method")
    if policy.name is None:
        policy = Policy.from_options(policy, name=getattr(plain, "__qualname__", None))
    kind = generates(plain)
    if kind:
        from isolate_fn._api.generators import IsolatedAsyncGenerator, IsolatedGenerator

        return (IsolatedAsyncGenerator if kind == "async generator" else IsolatedGenerator)(function, policy)
    if is_coroutine_function(plain):
        from isolate_fn._api.asynchronous import IsolatedCoroutine

        return IsolatedCoroutine(function, policy)
    return Isolated(function, policy)
