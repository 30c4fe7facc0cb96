"""Fresh isolates, nothing prewarmed; marks in the trace around the last one."""

import os

from measured import MARK_BEGIN, MARK_END, seen_by_strace

from isolate_fn import isolated

function = isolated(prewarm=0)(seen_by_strace)
for number in range(3):  # the spawner is started, all is imported, what isolates of a policy share is there
    assert function(number) == number + 1
os.access(MARK_BEGIN, os.F_OK)
assert function(1) == 2
os.access(MARK_END, os.F_OK)
function.close()
