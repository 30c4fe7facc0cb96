"""Words: what a call may do, said as frozen values.

Nothing here touches the kernel, and nothing but ``toml/`` the file system. Every value compares, hashes, pickles and
prints as the call that makes it; a wrong one is refused where it is written, by `PolicyError`, before any process exists.
"""

from __future__ import annotations

from .limits import Limits as Limits
from .mounts import Mount as Mount
from .mounts import dev as dev
from .mounts import file as file
from .mounts import overlay as overlay
from .mounts import ro as ro
from .mounts import rw as rw
from .mounts import symlink as symlink
from .mounts import tmpfs as tmpfs
from .network import Network as Network
from .policy import Policy as Policy
from .unsupported import refuse_unbuilt as refuse_unbuilt
from .values import FrozenDict as FrozenDict
