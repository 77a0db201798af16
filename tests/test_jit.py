"""Compiled functions where Numba has no folder for its cache."""

import numba
import numpy as np
import pytest

from tinyshrink import jit


def double(x):
    return 2 * x


@pytest.mark.parametrize("signature", [None, "f8(f8)"])
@pytest.mark.parametrize("error", [RuntimeError("cannot cache function: no locator available"), OSError("disk full")])
def test_without_a_cache_a_function_is_compiled_all_the_same(signature, error, monkeypatch):
    njit, asked = numba.njit, []

    def refuses_to_cache(*arguments, **options):
        asked.append(options.get("cache", False))
        if asked[-1]:
            raise error
        return njit(*arguments, **options)

    monkeypatch.setattr(numba, "njit", refuses_to_cache)
    compiled = jit.cached(signature)(double)
    assert asked == [True, False]
    assert compiled(np.float64(1.5)) == 3.0
    assert compiled.signatures  # it was compiled, not called as Python
