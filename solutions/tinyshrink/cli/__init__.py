"""The command `tinyshrink`."""

from . import doctor, engineer, instructor, student  # each adds its commands, in this order
from .terminal import app

__all__ = ["app", "doctor", "engineer", "instructor", "student"]
