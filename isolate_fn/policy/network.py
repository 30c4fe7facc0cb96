"""Which network destinations a call may reach."""

from __future__ import annotations

from collections.abc import Iterable

from isolate_fn._frozen import dataclass
from isolate_fn.errors import PolicyError

from . import checks
from .values import Value

_EXAMPLE = '["db.internal:5432", "*.example.org:443"]'


@dataclass(frozen=True, init=False, repr=False)
class Network(Value):
    """Only these destinations, enforced outside the isolate.

    ``Network()`` reaches nothing, as ``network=False``.

    Args:
        connect: destinations as ``"host:port"``; the host is a name, a name with a leading ``*.``, an
            address, or an IPv6 address in brackets; the port is 1 to 65535.
        loopback: TCP ports of the host's 127.0.0.1 that appear on the isolate's own.
        dns: let the isolate resolve names by itself; else only the names in ``connect`` are resolved,
            outside.

    Raises:
        PolicyError: a value has the wrong type or form.
    """

    _prefix = "network."

    connect: tuple[str, ...]
    loopback: tuple[int, ...]
    dns: bool

    def __init__(
        self, *, connect: Iterable[str] = (), loopback: Iterable[int] = (), dns: bool = False
    ) -> None:
        destinations = checks.items("network.connect", connect, _EXAMPLE)
        ports = checks.items("network.loopback", loopback, "[5432]")
        self._keep(
            connect=tuple(_destination(f"network.connect[{i}]", text) for i, text in enumerate(destinations)),
            loopback=tuple(_port(f"network.loopback[{i}]", port) for i, port in enumerate(ports)),
            dns=checks.boolean("network.dns", dns),
        )

    @property
    def reaches_something(self) -> bool:
        """Whether anything outside the isolate can be reached at all."""
        return bool(self.connect or self.loopback or self.dns)


def _port(field: str, value: object) -> int:
    return checks.number_of(field, value, maximum=65535)


def _destination(field: str, text: object) -> str:
    """Check ``host:port`` and return it in lower case."""
    if not isinstance(text, str):
        raise PolicyError(field, f"{checks.show(text)} is not a str", f"write connect={_EXAMPLE}")
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or len(port) > 5:
        raise PolicyError(field, f"{checks.show(text)} names no port", 'write "host:port"')
    _port(field, int(port))
    if not _is_host(host):
        remedy = 'use a name, "*.name", an address, or an IPv6 address in brackets, without scheme or path'
        raise PolicyError(field, f"{checks.show(host)} is not a host", remedy)
    return f"{host.lower()}:{int(port)}"


def _is_host(host: str) -> bool:
    if host.startswith("[") and host.endswith("]"):
        import ipaddress  # only for addresses in brackets

        try:
            return ipaddress.IPv6Address(host[1:-1]).version == 6
        except ValueError:
            return False
    labels = host.removeprefix("*.").split(".")
    return len(host) <= 253 and all(_is_label(label) for label in labels)


def _is_label(label: str) -> bool:
    plain = label.replace("-", "").replace("_", "")
    return 0 < len(label) <= 63 and plain.isascii() and plain.isalnum() and label[0] != "-" != label[-1]
