"""What the check cells of the notebooks use: a student's function is plugged into the framework, tested, and stays if right.

    with plug(magnitude, "magnitude_mask"):
        test_mask_removes_exactly_the_asked_number()

The student's `magnitude_mask` is taken from the notebook. After a passed check the whole framework runs on it; after a
failed one the reference is put back, in the package and in the notebook, so that later cells go on.
"""

import inspect
import os
import types

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
            self._put_back()
            raise AssertionError(
                f"the notebook holds no {self.name} of yours: run the exercise cell above, then this check again"
            )
        setattr(self.module, self.name, function)

    def __exit__(self, error_type, error, traceback):
        if error is None:
            print(f"{self.name}: passed. From here on the framework runs on yours.")
        else:
            self._put_back()
            said = "not solved yet" if error_type is NotImplementedError else f"not yet right: {error}"
            print(f"{self.name}: {said}")
            print("Later cells run on the reference. Mend your cell, run it, then this check again.")
        return False

    def _put_back(self):
        setattr(self.module, self.name, self.reference)
        self.notebook[self.name] = self.reference
