"""The nbgrader course: this folder is its root, so every stock nbgrader command works from here.

source/ (made by build.py), release/, submitted/, autograded/, feedback/ and gradebook.db lie beside this file.
"""

import os

c = get_config()  # noqa: F821 (nbgrader provides it)

seed = os.environ.get("TINYSHRINK_HIDDEN_SEED", "0")
if not seed.isdecimal():
    raise SystemExit(f"TINYSHRINK_HIDDEN_SEED must be a whole number, got {seed!r}: hidden checks draw their cases from it")

c.CourseDirectory.course_id = "tinyshrink"

# A warning on stderr is no wrong answer: without this a correct exercise that prints one gets 0 points.
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = ".*"

# Seconds for one cell, and then on to the next cell.
c.Execute.timeout = 120
c.Execute.interrupt_on_timeout = True

# An output of many megabytes helps nobody who reads feedback.
c.LimitOutput.max_lines = 1000
c.LimitOutput.max_traceback = 100
