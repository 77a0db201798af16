"""python -m tinyshrink.cli, for where the command is not on the path."""

from . import app

app()
