"""The work of cold_by_value.py in one process: cloudpickle is imported, the function is taken apart and put together."""

import pickle

import cloudpickle


def add(number: int) -> int:
    return number + 1


assert pickle.loads(cloudpickle.dumps((add, 1)))[0](1) == 2
