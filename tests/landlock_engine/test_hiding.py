"""Use that hides from those who watch it is found, or cannot be hidden."""

from __future__ import annotations

import errno
import os

import hiding
import pytest

from isolate_fn import Limits, isolated
from isolate_fn.errors import LimitExceeded

pytestmark = [pytest.mark.needs("landlock>=6", "interpreter"), pytest.mark.usefixtures("without_namespaces")]


def hide(function, *args, **limits):
    return isolated(function, limits=Limits(**limits), timeout=20, prewarm=0, output="discard")(*args)


@pytest.mark.parametrize(
    ("attack", "limit"),
    [
        (hiding.without_first_thread, {"rootfs_size": "8M"}),
        (hiding.memory_without_first_thread, {"memory": "200M"}),
        (hiding.moved_ahead_of_who_looks, {"memory": "200M"}),
        (hiding.long_maps, {"memory": "200M", "rootfs_size": "8M"}),
        (hiding.locked_memory, {"memory": "200M"}),
        (hiding.closed_directories, {"rootfs_size": "8M"}),
        (hiding.closed_again_and_again, {"rootfs_size": "8M"}),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_use_is_found(attack, limit):
    """Modes can be changed under an id of their own alone: any other isolate of an ordinary user's leaves them open."""
    with pytest.raises(LimitExceeded) as stopped:
        hide(attack, **limit)
    assert stopped.value.limit in limit
    assert stopped.value.report.peak_memory < 400 * hiding.MIB  # nobody was kept from looking for long


def test_how_far_a_look_has_come_cannot_be_read():
    """Or files were moved behind whoever measures, from where he has not been yet."""
    assert hide(hiding.access_times, rootfs_size="8M") == set()


def test_blocks_that_no_limit_counts_cannot_be_kept():
    assert hide(hiding.blocks_beyond_the_end, rootfs_size="8M") == f"fallocate gave {-errno.EOPNOTSUPP}"


def test_every_thread_has_the_table_of_descriptors_of_its_process():
    apart, together, range_, table = hide(hiding.own_table_of_descriptors)
    assert (apart, together) == (-errno.EPERM, -errno.EINVAL)
    assert (range_, table) == (-errno.EPERM, -errno.EPERM)


def test_nothing_of_a_closed_directory_stays(tmp_path_factory, monkeypatch):
    place = tmp_path_factory.mktemp("scratch")
    os.chmod(place, 0o777)
    monkeypatch.setenv("TMPDIR", str(place))
    if os.geteuid() == 0:
        for above in (place, *place.parents[:-1]):
            if not above.stat().st_mode & 0o001:
                pytest.skip("an isolate's own id may not come here")
    with pytest.raises(LimitExceeded):
        hide(hiding.closed_directories, rootfs_size="8M")
    assert os.listdir(place) == []
