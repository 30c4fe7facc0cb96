"""Fresh isolates back to back, nothing prewarmed: how many is the argument. Says its pid first."""

import os
import sys

from measured import add

from isolate_fn import isolated

print(os.getpid(), flush=True)
function = isolated(prewarm=0)(add)
for number in range(int(sys.argv[1])):
    assert function(number) == number + 1
function.close()
