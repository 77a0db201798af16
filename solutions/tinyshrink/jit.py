"""Numba's compiler, with its cache on disk where there can be one."""

import functools

import numba


def cached(signature=None, **options):
    """A decorator: numba.njit(signature, **options), whose machine code is kept on disk for the next run.

    Where Numba finds no folder to write to (NUMBA_CACHE_DIR names another), or the disk is full, each run compiles anew:
    slower, never an error. Without a signature the function is compiled when it is first called.
    """

    def decorate(function):
        compiler = functools.partial(numba.njit, *([] if signature is None else [signature]), **options)
        try:
            return compiler(cache=True)(function)
        except (RuntimeError, OSError):  # "cannot cache function: no locator available"
            return compiler()(function)

    return decorate
