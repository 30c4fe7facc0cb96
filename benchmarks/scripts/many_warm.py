"""Calls of a reused worker back to back: how many is the argument."""

import sys

from measured import add

from isolate_fn import isolated

function = isolated(reuse=True)(add)
for number in range(int(sys.argv[1])):
    assert function(number) == number + 1
function.close()
