"""Ready policies: start from one and override what differs: ``@isolated(policy=READ_FILES, timeout=5)``."""

from __future__ import annotations

from .policy import Limits, Policy

__all__ = ["COMPUTE", "NETWORK_CLIENT", "READ_FILES", "TOOLS"]

COMPUTE = Policy(timeout=60, limits=Limits(rootfs_size="16M", memory="1G", open_files=128, file_size="16M"))
"""Pure computation on the arguments: no files but the runtime, a minute, a gigabyte of memory."""

READ_FILES = Policy(timeout=60, limits=Limits(memory="1G", file_size="64M"))
"""Parsers and decoders of files, given with ``mounts=`` or as `ro` arguments: a minute, a gigabyte."""

TOOLS = Policy(
    timeout=600,
    limits=Limits(
        rootfs_size="1G", rootfs_inodes=65536, memory="4G", processes=256, open_files=1024, output="64M"
    ),
)
"""Programs such as ffmpeg or LibreOffice: room for temporary files, helpers and output; ten minutes."""

NETWORK_CLIENT = Policy(network=True, timeout=120, limits=Limits(memory="1G", open_files=1024))
"""A client of services on the network: the host's network, and no files but the runtime; two minutes."""
