"""Claim: a small slip in a reference solution fails a check of its exercise, or computes the same and has its reason.

python benchmarks/mutants.py        120 mutants of all there are, drawn with seed 0; grading/mutation.py runs any others
"""

import re
import subprocess
import sys
from pathlib import Path

import results

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [ROOT / "grading" / "mutation.py", "--sample", "120", "--seed", "0"]


def main():
    output = subprocess.run([sys.executable, "-W", "ignore", *COMMAND], cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout
    print(output)
    rejected, different, same = map(int, re.findall(r"mutants rejected: (\d+) of (\d+), and (\d+) equivalent", output)[0])
    claim = "mutants of the reference solutions, a sample: rejected by the checks of their exercise"
    row = results.row(
        claim, rejected, f"of {different}", least=different, note=f"{same} more compute the same as the reference"
    )
    results.record("grading", [row])
    sys.exit(rejected < different)


if __name__ == "__main__":
    main()
