"""Rules: what a call, or this process, may ask of the kernel.

Three layers, from ready to made by hand:

    SystemIO.nothing().allow_stdout()        rule sets by activity, each method returning a new value
    Custom("mine", "reboot", Rule(...))      sets made in place; or inherit from RuleSet
    Arg(0) == AF_INET, ERRNO(code)           conditions on arguments, and answers to what is denied

docs/rules.md lists what every set and method permits.
"""

from __future__ import annotations

from .policy.actions import ALLOW as ALLOW
from .policy.actions import ERRNO as ERRNO
from .policy.actions import KILL_PROCESS as KILL_PROCESS
from .policy.actions import LOG as LOG
from .policy.actions import NOTIFY as NOTIFY
from .policy.actions import TRAP as TRAP
from .policy.actions import Action as Action
from .policy.conditions import Arg as Arg
from .policy.landlock_words import LandlockRule as LandlockRule
from .policy.landlock_words import PortRule as PortRule
from .policy.rule_sets import access as access
from .policy.rule_sets.base import Custom as Custom
from .policy.rule_sets.base import Rule as Rule
from .policy.rule_sets.base import RuleSet as RuleSet
from .policy.rule_sets.basic import BasicCapabilities as BasicCapabilities
from .policy.rule_sets.basic import Memory as Memory
from .policy.rule_sets.compare import Compare as Compare
from .policy.rule_sets.compare import CompareOp as CompareOp
from .policy.rule_sets.compare import sysno as sysno
from .policy.rule_sets.file_changes import FileChanges as FileChanges
from .policy.rule_sets.networking import Networking as Networking
from .policy.rule_sets.processes import ForkAndExec as ForkAndExec
from .policy.rule_sets.processes import Pipes as Pipes
from .policy.rule_sets.python import Asyncio as Asyncio
from .policy.rule_sets.python import Interpreter as Interpreter
from .policy.rule_sets.python import Multiprocessing as Multiprocessing
from .policy.rule_sets.python import Sqlite as Sqlite
from .policy.rule_sets.signals import Signals as Signals
from .policy.rule_sets.system_io import SystemIO as SystemIO
from .policy.rule_sets.threads import Threads as Threads
from .policy.rule_sets.threads import Time as Time
from .policy.rule_sets.user_id import UserId as UserId

__all__ = [
    "ALLOW",
    "ERRNO",
    "KILL_PROCESS",
    "LOG",
    "NOTIFY",
    "TRAP",
    "Action",
    "Arg",
    "Asyncio",
    "BasicCapabilities",
    "Compare",
    "CompareOp",
    "Custom",
    "FileChanges",
    "ForkAndExec",
    "Interpreter",
    "LandlockRule",
    "Memory",
    "Multiprocessing",
    "Networking",
    "Pipes",
    "PortRule",
    "Rule",
    "RuleSet",
    "Signals",
    "Sqlite",
    "SystemIO",
    "Threads",
    "Time",
    "UserId",
    "access",
    "sysno",
]
