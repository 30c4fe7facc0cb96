"""Ready policies: start from one and override what differs: ``@isolated(policy=READ_FILES, timeout=5)``."""

from __future__ import annotations

from .policy import Limits, Policy
from .rules import BasicCapabilities, Memory, RuleSet, SystemIO, Threads, Time

__all__ = ["COMPUTE", "IMAGES", "MEDIA", "NETWORK_CLIENT", "PDF", "READ_FILES", "TOOLS", "XML"]

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

# What parsers in Python need: their modules and the granted files, read only, and memory.
_READING: tuple[RuleSet, ...] = (
    BasicCapabilities(),
    SystemIO.nothing().allow_open_readonly().allow_read().allow_metadata().allow_close(),
    Time.nothing().allow_gettime(),
)

IMAGES = Policy(
    timeout=30,
    rules=(*_READING, Threads.nothing().allow_create()),
    limits=Limits(rootfs_size="1M", memory="1G", processes=16, open_files=64, output="1M", result="64M"),
)
"""Pillow on one picture, from and to bytes: files are read and none is written, threads for AVIF; half a minute, a gigabyte."""

XML = Policy(
    timeout=10,
    rules=_READING,
    limits=Limits(rootfs_size="1M", memory="512M", processes=4, open_files=32, output="1M", result="64M"),
)
"""lxml on one document: files are read and none is written, no threads; ten seconds, half a gigabyte."""

PDF = Policy(
    timeout=60,
    rules=_READING,
    limits=Limits(rootfs_size="1M", memory="1G", processes=4, open_files=32, output="1M", result="64M"),
)
"""pypdf and its like on one document: files are read and none is written, no threads; a minute, a gigabyte."""

MEDIA = Policy(
    timeout=600,
    rules=(
        BasicCapabilities(),
        SystemIO.nothing().allow_open().allow_read().allow_write().allow_metadata().allow_close().allow_ioctl(),
        Threads.nothing().allow_create().allow_sleep().allow_affinity(),
        Time.nothing().allow_gettime().allow_cpu_time(),
        Memory.nothing().allow_placement().allow_locking(),
    ),
    limits=Limits(rootfs_size="1G", rootfs_inodes=4096, memory="2G", processes=128, open_files=256, output="64M"),
)
"""ffmpeg, ffprobe and ImageMagick in a `sandbox` block: they read and write files and start threads, but no program."""
