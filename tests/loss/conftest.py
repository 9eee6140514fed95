"""Hypothesis draws the same examples on every run, and takes the time it needs on a busy machine."""

from hypothesis import settings

settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")
