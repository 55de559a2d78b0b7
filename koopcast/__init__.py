"""Learned dynamical systems: data, models, assimilation and scores; usable from a notebook alone."""

__version__ = "0.1.0"
