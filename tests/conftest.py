"""Settings of the test run: no window, no progress bars; tests of real data only where the data is."""

import os

import pytest

os.environ["MPLBACKEND"] = "agg"
os.environ["TQDM_DISABLE"] = "1"


def pytest_collection_modifyitems(items):
    from tinyshrink import data

    missing = [name for name in ("mnist", "cifar10") if not (data.data_dir() / f"{name}.npz").exists()]
    for item in items:
        if missing and item.get_closest_marker("realdata"):
            item.add_marker(pytest.mark.skip(f"{', '.join(missing)} not in {data.data_dir()}: see README, Data"))
