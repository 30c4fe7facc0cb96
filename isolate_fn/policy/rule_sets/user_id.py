"""User and group ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from .builtin import Builtin, Permission

_GET = ("geteuid", "getresuid", "getuid")
_SET = ("setfsuid", "setresuid", "setreuid", "setuid")
_ALL_GET = Permission("allow_get()", " ".join(_GET))
_ALL_SET = Permission("allow_set()", " ".join(_SET))
_GET_GROUPS = Permission("allow_get_groups()", "getgid getegid getresgid getgroups")
_SET_GROUPS = Permission("allow_set_groups()", "setgid setregid setresgid setfsgid setgroups")
_EACH = {call: Permission(f"allow_{call}()", call) for call in (*_GET, *_SET)}


@dataclass(frozen=True, init=False, repr=False)
class UserId(Builtin):
    """Asking for user and group ids, and changing them.

    ``UserId()`` permits nothing; choose with its methods, or with ``UserId.get()``, ``UserId.set()`` or
    ``UserId.everything()``. BasicCapabilities has getuid, geteuid, getgid and getegid already. Changing ids takes
    privileges as well, or goes back to an id that the process had before.
    """

    _EVERYTHING = (_ALL_GET, _ALL_SET, _GET_GROUPS, _SET_GROUPS)

    @classmethod
    def get(cls) -> Self:
        """Return the set that permits to ask for user ids; see allow_get()."""
        return cls().allow_get()

    @classmethod
    def set(cls) -> Self:
        """Return the set that permits to change user ids; see allow_set()."""
        return cls().allow_set()

    def allow_everything(self) -> Self:
        """Permit to ask for and to change user ids.

        Permits:
            geteuid getresuid getuid setfsuid setresuid setreuid setuid
        """
        return self.allow_get().allow_set()

    def allow_get(self) -> Self:
        """Permit to ask for user ids.

        Permits:
            geteuid getresuid getuid
        """
        return self._with(_ALL_GET)

    def allow_set(self) -> Self:
        """Permit to change user ids.

        Permits:
            setfsuid setresuid setreuid setuid
        """
        return self._with(_ALL_SET)

    def allow_getuid(self) -> Self:
        """Permit to ask for the real user id.

        Permits:
            getuid
        """
        return self._with(_EACH["getuid"])

    def allow_geteuid(self) -> Self:
        """Permit to ask for the effective user id.

        Permits:
            geteuid
        """
        return self._with(_EACH["geteuid"])

    def allow_getresuid(self) -> Self:
        """Permit to ask for the real, effective and saved user ids.

        Permits:
            getresuid
        """
        return self._with(_EACH["getresuid"])

    def allow_setuid(self) -> Self:
        """Permit to change the user id.

        Permits:
            setuid
        """
        return self._with(_EACH["setuid"])

    def allow_setreuid(self) -> Self:
        """Permit to change the real and the effective user id.

        Permits:
            setreuid
        """
        return self._with(_EACH["setreuid"])

    def allow_setresuid(self) -> Self:
        """Permit to change the real, effective and saved user ids.

        Permits:
            setresuid
        """
        return self._with(_EACH["setresuid"])

    def allow_setfsuid(self) -> Self:
        """Permit to change the user id that file accesses are checked with.

        Permits:
            setfsuid
        """
        return self._with(_EACH["setfsuid"])

    def allow_get_groups(self) -> Self:
        """Permit to ask for group ids.

        Permits:
            getgid getegid getresgid getgroups
        """
        return self._with(_GET_GROUPS)

    def allow_set_groups(self) -> Self:
        """Permit to change group ids.

        Permits:
            setgid setregid setresgid setfsgid setgroups
        """
        return self._with(_SET_GROUPS)
