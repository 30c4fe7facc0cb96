"""What every isolate sees of the system itself: shared libraries, a small /etc, and on request programs."""

from __future__ import annotations

import os
import sys

from isolate_fn._runtime.discover_tree import Tree

# Top-level names that are links into /usr on merged systems and directories elsewhere (file-hierarchy(7)).
_TOP_LIBRARIES = ("/lib", "/lib64", "/lib32", "/libx32")
_TOP_PROGRAMS = ("/bin", "/sbin")
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/lib32", "/usr/libx32")
# A package's own libraries lie all over these; mounting single entries of them would miss some.
_STORES = ("/nix/store", "/gnu/store")

_SYSTEM = ("/etc/ld.so.cache", "/etc/alternatives", "/usr/share/zoneinfo")

# For programs run inside. /usr/local holds what the administrator built; the rest of it (etc, src, share)
# stays out.
_TOOLS = ("/usr/bin", "/usr/sbin", "/usr/libexec", "/usr/share", "/usr/local/bin", "/usr/local/lib")
_TOOL_SETTINGS = (
    "/etc/fonts",
    "/etc/ImageMagick-*",
    "/etc/ghostscript",
    "/etc/java-*",
    "/etc/libreoffice",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/papersize",
)

# Public certificates and names of services; /etc/ssl/private is not among them.
_NETWORK = (
    "/etc/ca-certificates",
    "/etc/gai.conf",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/usr/lib/ssl",
    "/usr/share/ca-certificates",
)

# glibc's getpwuid, getaddrinfo and LibreOffice fail without these; the host's own would name its people and
# machines.
_PASSWD = (
    b"isolate:x:1000:1000:isolate:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
)
_GROUP = b"isolate:x:1000:\nnogroup:x:65534:\n"
_HOSTS = b"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
_NSSWITCH = b"passwd: files\ngroup: files\nshadow: files\nhosts: files\nservices: files\nprotocols: files\n"
_NSSWITCH_DNS = _NSSWITCH.replace(b"hosts: files", b"hosts: files dns")


def add_system(tree: Tree, *, tools: bool) -> None:
    """Show shared libraries, and recreate the links of merged systems as they are.

    Args:
        tree: where to add them.
        tools: on systems without these links, show ``/bin`` and ``/sbin`` as well.
    """
    for path in (*_TOP_LIBRARIES, *_TOP_PROGRAMS):
        if not tree.add_link(path) and (tools or path in _TOP_LIBRARIES):
            tree.add(path, "shared libraries" if path in _TOP_LIBRARIES else "programs")
    for path in _LIBRARIES:
        tree.add(path, "shared libraries")
    for path in _SYSTEM:
        tree.add(path, "system files")
    for store in _STORES:
        if os.path.realpath(sys.base_prefix).startswith(f"{store}/"):
            tree.add(store, "the package store")


def add_etc(tree: Tree, *, network: bool) -> None:
    """Make a small /etc that names nothing of the host; with ``network`` also what its clients need."""
    tree.add_file("/etc/passwd", _PASSWD, "users")
    tree.add_file("/etc/group", _GROUP, "groups")
    tree.add_file("/etc/hosts", _HOSTS, "names of hosts")
    tree.add_file("/etc/nsswitch.conf", _NSSWITCH_DNS if network else _NSSWITCH, "name services")
    # By content: where it is a link, its target is not necessarily shown.
    copied = ("/etc/localtime", "/etc/resolv.conf", "/etc/hosts") if network else ("/etc/localtime",)
    for path in copied:
        data = _read(path)
        if data:
            tree.add_file(path, data, "time zone and name servers")
    for path in _NETWORK if network else ():
        tree.add(path, "certificates and services")


def _read(path: str, most: int = 1 << 20) -> bytes:
    """Return a file's content, nothing if it is missing or larger than ``most`` bytes."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(most + 1)
    except OSError:
        return b""
    return data if len(data) <= most else b""


def add_tools(tree: Tree) -> None:
    """Show the system's programs with their data and settings, and those of the environment."""
    for path in _TOOLS:
        tree.add(path, "programs")
    # Programs of a conda or virtual environment.
    for prefix in (sys.prefix, sys.base_prefix):
        tree.add(f"{prefix}/bin", "programs")
    import glob  # most calls run no programs

    for pattern in _TOOL_SETTINGS:
        for path in sorted(glob.glob(pattern)):
            tree.add(path, "settings of programs")
