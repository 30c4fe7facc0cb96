"""A whole script with one isolated call of a function of its own: it travels by value."""

from isolate_fn import isolated


@isolated
def add(number: int) -> int:
    return number + 1


assert add(1) == 2
