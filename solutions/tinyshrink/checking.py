"""What the check cells of the notebooks use: a student's function is plugged into the framework, tested, and stays if right.

    with plug(magnitude, "magnitude_mask"):
        test_mask_removes_exactly_the_asked_number()

The student's `magnitude_mask` is taken from the notebook. After a passed check the whole framework runs on it; after a
failed one the reference is put back, in the package and in the notebook, so that later cells go on.
"""

import inspect
import os
import types
from collections.abc import Callable

import numpy as np
import torch

from . import panel

panel.watch_questions()
_references = {}


def hidden_seed() -> int:
    """The seed from which hidden checks draw their cases: $TINYSHRINK_HIDDEN_SEED of the instructor, 0 elsewhere."""
    return int(os.environ.get("TINYSHRINK_HIDDEN_SEED", "0"))


class plug:
    """A context in which `module.name` is the student's function of that name; see the module's docstring.

    Raises AssertionError where the notebook holds no function of that name, or the reference itself.
    """

    def __init__(self, module: types.ModuleType, name: str):
        self.module, self.name = module, name
        self.notebook = inspect.currentframe().f_back.f_globals
        self.reference = _references.setdefault((module.__name__, name), getattr(module, name))

    def __enter__(self):
        function = self.notebook.get(self.name)
        if function is None or function is self.reference:
            said = f"the notebook holds no {self.name} of yours: run the exercise cell above, then this check again"
            error = AssertionError(said)
            self._failed(error)
            raise error
        setattr(self.module, self.name, function)

    def __exit__(self, error_type, error, traceback):
        if error is None:
            panel.show(panel.Panel(self.name, "passed", after="From here on the framework runs on yours."))
        else:
            self._failed(error)
        return False

    def _failed(self, error):
        self._put_back()
        blank = isinstance(error, NotImplementedError)
        mend = "Write yours in place of raise NotImplementedError()" if blank else "Mend your cell"
        after = f"Later cells run on the reference. {mend}, run it, then this check again."
        panel.explain(self.name, error, after, panel.hint(self.reference))

    def _put_back(self):
        setattr(self.module, self.name, self.reference)
        self.notebook[self.name] = self.reference


def slow_motion(f: Callable, *arguments):
    """f(*arguments) in plain Python, even where Numba compiles f, so that mistakes show which machine code hides.

    IndexError for an index out of range, where machine code reads somebody else's memory or crashes. What np.empty gives
    is NaN until it is written. AssertionError for a number that two iterations of a loop over prange write: threads
    would lose one of both, now and then.
    """
    import numba  # takes half a second, which only notebooks with compiled code should wait for

    arrays = []

    def recorded(make, fill):
        def made(*args, **kwargs):
            array = make(*args, **kwargs)
            if fill and array.dtype.kind == "f":
                array.fill(np.nan)
            arrays.append(array)
            return array

        return made

    def prange(*bounds):
        shared = list(arrays)
        written = [np.zeros(array.shape, bool) for array in shared]
        for iteration in range(*bounds):
            before = [array.copy() for array in shared]
            yield iteration
            for array, old, other in zip(shared, before, written):
                now = (array != old) & ~(np.isnan(array) & np.isnan(old))
                clash = np.argwhere(now & other).tolist()
                assert not clash, f"two iterations of prange write to the same place, {clash[0]}: threads would clash there"
                other |= now

    def plain(function):
        if function not in seen:
            seen[function] = made = types.FunctionType(
                function.__code__, {}, function.__name__, function.__defaults__, function.__closure__
            )
            for name, value in function.__globals__.items():
                made.__globals__[name] = plain(value.py_func) if hasattr(value, "py_func") else stand_ins.get(id(value), value)
        return seen[function]

    seen = {}
    makers = {name: recorded(getattr(np, name), "empty" in name) for name in ("zeros", "empty", "zeros_like", "empty_like")}
    stand_ins = {
        id(np): types.SimpleNamespace(**vars(np) | makers),
        id(numba): types.SimpleNamespace(**vars(numba) | {"prange": prange}),
        id(numba.prange): prange,
    }
    return plain(getattr(f, "py_func", f))(*arguments)


def answering(labels: torch.Tensor, wrong_before=(), wrong_after=()):
    """(model, original, (x, labels)): two networks of one layer each that answer with the labels, but for the examples named.

    Arguments: labels, int64 (N,); wrong_before, indices (or a mask) of what the original gets wrong, wrong_after, of what
    the model does.
    """
    answers, classes = labels.repeat(2, 1), int(labels.max()) + 1
    for row, wrong in zip(answers, (wrong_before, wrong_after)):
        wrong = torch.as_tensor(wrong if isinstance(wrong, torch.Tensor) else list(wrong))
        wrong = wrong if wrong.dtype == torch.bool else wrong.long()
        row[wrong] = (labels[wrong] + 1) % classes
    networks = []
    for row in range(2):
        network = torch.nn.Linear(2 * classes, classes, bias=False)
        network.weight.data = torch.eye(2 * classes)[row * classes :][:classes].clone()
        networks.append(network)
    return *networks[::-1], (torch.cat([torch.nn.functional.one_hot(row, classes) for row in answers], 1).float(), labels)


def check_product(multiply: Callable, arguments: tuple, expected: np.ndarray) -> None:
    """Assert that multiply(*arguments), values, indices, indptr and X of a sparse product, is `expected`, in float32.

    A product that is small enough runs in slow motion first. The arguments must stay as they are.
    """
    *_, X = arguments
    said = f"a sparse {len(expected)} x {len(X)} with {arguments[0].size} nonzeros, times {len(X)} x {X.shape[1]}"
    runs = [multiply]
    if arguments[0].size * X.shape[1] < 200_000:
        runs.insert(0, lambda *given: slow_motion(multiply, *given))
    for run in runs:
        given = [array.copy() for array in arguments]
        Y = run(*given)
        got = f"{getattr(Y, 'dtype', type(Y).__name__)} {getattr(Y, 'shape', '')}"
        assert isinstance(Y, np.ndarray) and Y.shape == expected.shape, f"{said}: {expected.shape} expected, got {got}"
        assert Y.dtype == np.float32, f"{said}: expected float32, got {got}"
        same = all(np.array_equal(*pair, equal_nan=True) for pair in zip(given, arguments))
        assert same, f"{said}: the arrays that were given to you were changed"
        wrong = ~np.isclose(Y, expected, rtol=1e-4, atol=1e-4 * max(1, np.abs(expected).max(initial=0)))
        if wrong.any():
            place = tuple(np.argwhere(wrong)[0].tolist())
            raise AssertionError(
                f"{said}: {wrong.sum()} of {wrong.size} numbers are wrong, the first in row {place[0]}, column {place[1]}: "
                f"expected {expected[place]:.5g}, got {Y[place]:.5g}"
            )


def sparse_products(seed: int, rows: int = 1):
    """Pairs W (m, k), X (k, n) of float32 tensors for a sparse product: odd shapes, all zero, all dense, empty rows.

    `rows`, 4 for 4x1 block rows, neighbours have the same columns.
    """
    generator = torch.Generator().manual_seed(seed)
    for m, k, n, density in ((3, 2, 1, 0.5), (4, 5, 3, 0), (5, 3, 7, 1), (9, 23, 17, 0.3), (12, 1, 4, 0.5), (40, 150, 65, 0.1)):
        kept = torch.rand(m, k, generator=generator) < density
        if m > 5:
            kept[[0, m // 2, m - 2]] = False
        kept = kept.repeat_interleave(rows, 0)
        yield torch.randn(len(kept), k, generator=generator) * kept, torch.randn(k, n, generator=generator)
