"""What a stage works with: its inputs opened, its random streams, and the place for its result."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue, TypeAdapter

from koopcast.devices import resolve
from koopcast.dynamics import Dynamics
from koopcast.errors import StoreMissing
from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.models import Model, ModelSpec
from koopcast.rng import torch_generator
from koopcast.stores import Artefact, Slot, Store
from koopcast.stores.arrays import open_data
from koopcast.stores.tensors import read_tensors
from schemas.references import Ref
from schemas.stages import AnyModel, GenerateStep
from tasks.generate import true_model
from tasks.job import Input, Job

ANY_MODEL: TypeAdapter[ModelSpec] = TypeAdapter(AnyModel)
