"""Engines, Prefect flows and the command line: who runs a plan, and where."""
