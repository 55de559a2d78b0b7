"""Carry out one job: lock its key, call the stage, publish the artefact."""

import platform
import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import version

import torch

from koopcast.stores import Store
from tasks.assimilate import assimilate
from tasks.evaluate import evaluate
from tasks.generate import generate
from tasks.ingest import ingest
from tasks.job import Job, Outcome
from tasks.room import Room
from tasks.train import train

STAGES: dict[str, Callable[[Room], None]] = {
    "assimilate": assimilate,
    "evaluate": evaluate,
    "generate": generate,
    "ingest": ingest,
    "train": train,
}
