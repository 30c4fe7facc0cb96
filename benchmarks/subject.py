"""The function that is measured; in a module of its own, so that it travels by name."""


def add(number: int) -> int:
    """Return the next number."""
    return number + 1
