"""Changes to files beyond what is written into them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from isolate_fn.policy.conditions import Arg

from .builtin import Builtin, Permission, rules
from .groups import LINK, MODE, OWNER, RENAME, TIMES
from .kernel_words import AtFlag

_RENAME = Permission("allow_rename()", RENAME)
_LINKS = Permission("allow_links()", LINK)
_DIRECTORIES = Permission(
    "allow_directories()",
    "mkdir mkdirat rmdir",
    rules("unlinkat", Arg(2, 32).has_all(AtFlag.REMOVEDIR), reason="AT_REMOVEDIR", need=True),
)
_TRUNCATE = Permission("allow_truncate()", "truncate ftruncate fallocate")
_MODES = Permission("allow_modes()", f"{MODE} umask")
_OWNERS = Permission("allow_owners()", OWNER)
_TIMES = Permission("allow_times()", TIMES)
_ATTRIBUTES = Permission(
    "allow_attributes()",
    "getxattr lgetxattr fgetxattr getxattrat listxattr llistxattr flistxattr listxattrat "
    "setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat",
)
_COPY = Permission("allow_copy()", "copy_file_range sendfile")


@dataclass(frozen=True, init=False, repr=False)
class FileChanges(Builtin):
    """Changes to files and directories beyond what is written into them.

    ``FileChanges()`` permits nothing; choose with its methods, or ``FileChanges.everything()``. Paths are those that
    Landlock leaves (see ``SystemIO().allow_move_in_dir()`` and its neighbours), else all. Landlock does not look at
    modes, owners, times and attributes, nor at the truncation of files before Linux 6.2.
    """

    _EVERYTHING = (
        _RENAME,
        _LINKS,
        _DIRECTORIES,
        _TRUNCATE,
        _MODES,
        _OWNERS,
        _TIMES,
        _ATTRIBUTES,
        _COPY,
    )

    def allow_rename(self) -> Self:
        """Permit to rename and move: os.rename(), os.replace(), shutil.move().

        Permits:
            rename renameat renameat2
        """
        return self._with(_RENAME)

    def allow_links(self) -> Self:
        """Permit to make hard and symbolic links.

        Permits:
            link linkat symlink symlinkat
        """
        return self._with(_LINKS)

    def allow_directories(self) -> Self:
        """Permit to make and remove directories: os.mkdir(), os.rmdir().

        Permits:
            mkdir mkdirat rmdir
            unlinkat: AT_REMOVEDIR
        """
        return self._with(_DIRECTORIES)

    def allow_truncate(self) -> Self:
        """Permit to change the size of files: file.truncate(), os.truncate(), os.posix_fallocate().

        Permits:
            truncate ftruncate fallocate
        """
        return self._with(_TRUNCATE)

    def allow_modes(self) -> Self:
        """Permit to change modes, set-user-ID among them: os.chmod(), shutil.copy().

        Permits:
            chmod fchmod fchmodat fchmodat2 umask
        """
        return self._with(_MODES)

    def allow_owners(self) -> Self:
        """Permit to change owners and groups, as far as the user may.

        Permits:
            chown fchown lchown fchownat
        """
        return self._with(_OWNERS)

    def allow_times(self) -> Self:
        """Permit to change the times of files: os.utime(), shutil.copystat().

        Permits:
            utimensat utime utimes futimesat
        """
        return self._with(_TIMES)

    def allow_attributes(self) -> Self:
        """Permit to read and change extended attributes: shutil.copystat() tries to.

        Permits:
            getxattr lgetxattr fgetxattr getxattrat listxattr llistxattr flistxattr listxattrat
            setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat
        """
        return self._with(_ATTRIBUTES)

    def allow_copy(self) -> Self:
        """Permit to copy in the kernel between descriptors that are open: shutil.copyfile() uses it where it can.

        Permits:
            copy_file_range sendfile
        """
        return self._with(_COPY)
