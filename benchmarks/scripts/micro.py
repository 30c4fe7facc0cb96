"""What happens in the caller alone, for pyperf: python micro.py -o FILE."""

import pyperf
from measured import add

from isolate_fn import Limits, Policy, isolated, ro


def make() -> Policy:
    return Policy(mounts=[ro("/usr")], limits=Limits(memory="512M"), timeout=10)


def main() -> None:
    """Hand everything to pyperf, which starts this file again for each of its processes."""
    runner = pyperf.Runner()
    reused = isolated(reuse=True)(add)
    one, other = make(), make()
    runner.bench_func("decorate a function", isolated, add)
    runner.bench_func("make a policy", make)
    runner.bench_func("compare two equal policies", lambda: one == other)
    runner.bench_func("warm call", reused, 1)
    reused.close()


main()
