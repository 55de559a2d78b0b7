"""What is mapped to what: records, variables, and what is refused."""

import numpy as np
import pytest
import torch
import xarray as xr

from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis, Window
from koopcast.mapping import MappingSpec, Signature

INFO = FieldsInfo({"a": "1", "u": "K", "v": "K"}, (Axis("x", 4),), TimeAxis(10, 0.5), samples=3)
NAMES = tuple(INFO.variables)
RUN = torch.arange(2 * 10 * 4 * 3, dtype=torch.float32).reshape(2, 10, 4, 3)


def test_a_map_between_variables_takes_both_of_the_same_record() -> None:
    signature = MappingSpec(inputs=("v", "a"), outputs=("u",)).signature(INFO)
    run = RUN[:, :1]
    assert signature.num_frames == 1
    assert torch.equal(signature.given(run, NAMES), run[..., [2, 0]])
    assert torch.equal(signature.target(run, NAMES), run[..., [1]])
    assert (signature.channels_in, signature.channels_out) == (2, 1)


def test_a_map_along_a_trajectory_takes_the_records_after_those_given() -> None:
    signature = MappingSpec(given=2, predicted=5, inputs=("u", "v"), outputs=("u",)).signature(INFO)
    assert signature.num_frames == 7
    assert torch.equal(signature.given(RUN, NAMES), RUN[:, :2, :, 1:])
    assert torch.equal(signature.target(RUN, NAMES), RUN[:, 2:7, :, 1:2])
    assert (signature.channels_in, signature.channels_out) == (4, 5)


def test_dynamics_are_the_map_from_the_last_records_to_the_next() -> None:
    signature = Signature.of_dynamics(INFO, 3)
    assert signature.is_dynamics
    assert torch.equal(signature.given(RUN, NAMES), RUN[:, :3])
    assert torch.equal(signature.target(RUN, NAMES), RUN[:, 3:4])


def test_pairs_begin_at_the_first_record_unless_any_is_asked_for() -> None:
    dataset = xr.Dataset({name: (("sample", "time", "x"), np.zeros((3, 10, 4))) for name in NAMES})
    data = FieldData(dataset, INFO, Window((0, 3), (2, 10)))
    first = MappingSpec(given=2, predicted=3).signature(INFO).seen(data).view
    assert (first.samples, first.times) == ((0, 3), (2, 7))
    anywhere = MappingSpec(given=2, predicted=3, starts="any").signature(INFO).seen(data).view
    assert anywhere.times == (2, 10)


@pytest.mark.parametrize(
    ("mapping", "path", "words"),
    [
        ({"inputs": ("b",), "outputs": ("u",)}, ("inputs", 0), "no variable 'b' (there are: a, u, v)"),
        ({"inputs": ("a", "a"), "outputs": ("u",)}, ("inputs", 1), "named before"),
        ({"inputs": ("a",)}, (), "'a' is given and asked for at the same times"),
        ({"given": 4, "predicted": 7}, ("predicted",), "11 records do not fit into the 10"),
    ],
)
def test_what_cannot_be_mapped_is_refused(
    mapping: dict[str, object], path: tuple[str | int, ...], words: str
) -> None:
    (problem,) = MappingSpec.model_validate(mapping).faults(INFO)
    assert problem.path == path
    assert words in problem.message
