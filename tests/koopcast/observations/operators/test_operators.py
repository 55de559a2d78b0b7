import math

import numpy as np
import pytest
import torch
import xarray as xr
from pydantic import TypeAdapter, ValidationError

from koopcast.errors import InvalidInput
from koopcast.fields import FieldData
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.numerics.formulas import Formula
from koopcast.numerics.geometry import domain_of
from koopcast.numerics.interpolation import stencil
from koopcast.observations import AnyObservations

ADAPTER = TypeAdapter(AnyObservations)


def data(axes, coordinates, values, mask=None):
    """Fields of the given values `(time, *space, channel)` on a grid."""
    dims = ("sample", "time", *(axis.name for axis in axes))
    names = [f"v{channel}" for channel in range(values.shape[-1])]
    variables = {name: (dims, values[None, ..., i]) for i, name in enumerate(names)}
    if mask is not None:
        variables["mask"] = (dims[2:], mask)
    info = FieldsInfo(dict.fromkeys(names, "1"), axes, TimeAxis(len(values), 1.0), is_masked=mask is not None)
    coords = {axis.name: held for axis, held in zip(axes, coordinates, strict=True) if held is not None}
    return FieldData(xr.Dataset(variables, coords={**coords, "time": np.arange(len(values)) * 1.0}), info)


def globe(function, mask=None, times=3, longitudes=None):
    """A field of latitude and longitude in degrees, the north first."""
    latitude = np.arange(80, -81, -20.0)
    longitude = np.arange(0, 360, 30.0) if longitudes is None else longitudes
    axes = (
        Axis("latitude", latitude.size, "latitude"),
        Axis("longitude", longitude.size, "longitude", periodic=longitudes is None),
    )
    grid = np.meshgrid(latitude, longitude, indexing="ij")
    frame = function(*grid) * np.ones_like(grid[0])
    values = np.stack([(t + 1) * frame for t in range(times)])[..., None]
    return data(axes, (latitude, longitude), values, mask)


def ring(size=16, length=None, channels=1, times=4, seed=0):
    values = np.random.default_rng(seed).normal(size=(times, size, channels))
    return data((Axis("x", size, periodic=True, length=length),), (None,), values)


def observe(truth, seed=0, **options):
    spec = ADAPTER.validate_python({"kind": "synthetic", "error": {"std": 1e-12}, **options})
    assert list(spec.check(truth.info)) == []
    return spec.observe(truth, 1, torch.Generator().manual_seed(seed))


def frames(truth):
    return truth.tensor(dtype=torch.float64)


def points(*places):
    return {"kind": "points", "coordinates": list(places)}


def test_interpolation_is_exact_for_functions_linear_in_each_coordinate():
    truth = globe(lambda a, b: 2 + 3 * a - b + 0.1 * a * b)
    places = [[33.3, 47.1], [-71.0, 12.5], [80.0, 330.0], [0.0, -60.0 + 720]]
    seen = observe(truth, locations=points(*places), operator="interpolate")
    for number, (a, b) in enumerate(places):
        exact = 2 + 3 * a - (b % 360) + 0.1 * a * (b % 360)
        # Record 1 is the frame times 2.
        assert float(seen.value[0, 0, number]) == pytest.approx(2 * exact, abs=1e-9)


def test_interpolation_goes_on_past_the_seam_of_a_longitude():
    truth = globe(lambda a, b: np.cos(np.deg2rad(b)))
    seen = observe(truth, locations=points([0.0, 345.0], [0.0, -15.0]), operator="interpolate")
    middle = (math.cos(math.radians(330)) + 1) / 2
    assert seen.value[0, 0].tolist() == pytest.approx([2 * middle] * 2, abs=1e-9)


def test_a_regional_longitude_has_no_seam():
    truth = globe(lambda a, b: a + b, longitudes=np.arange(10, 100, 10.0))
    domain = domain_of(truth)
    around = stencil(domain, torch.tensor([[0.0, 95.0], [0.0, 15.0], [0.0, 375.0], [0.0, 5.0]]).double())
    assert around.inside.tolist() == [False, True, True, False]


def test_interpolation_along_a_closed_axis_of_any_length():
    truth = ring(8, length=2.0)
    seen = observe(truth, locations=points([1.875], [0.125 - 2.0]), operator="interpolate")
    frame = frames(truth)[0, 1, :, 0]
    expected = [float(frame[7] + frame[0]) / 2, float(frame[0] + frame[1]) / 2]
    assert seen.value[0, 0].tolist() == pytest.approx(expected, abs=1e-9)


def test_a_grid_point_is_seen_as_it_is_whichever_operator_looks():
    truth = globe(lambda a, b: np.sin(a) + np.cos(b))
    at = points([20.0, 90.0], [-80.0, 0.0])
    direct = observe(truth, locations=at)
    between = observe(truth, locations=at, operator="interpolate")
    assert torch.allclose(direct.value, between.value, atol=1e-10)
    assert torch.equal(direct.index, between.index)


def test_places_beside_land_report_nothing_and_random_ones_avoid_it():
    mask = np.ones((9, 12))
    mask[4, 3] = 0
    truth = globe(lambda a, b: 1 + 0 * a, mask)
    seen = observe(truth, locations=points([5.0, 70.0], [0.0, 120.0]), operator="interpolate")
    assert torch.isnan(seen.value[0, 0]).tolist() == [True, False]
    many = observe(truth, locations={"kind": "random", "count": 60}, operator="interpolate")
    assert not torch.isnan(many.value).any()
    assert many.value[0, 0].tolist() == pytest.approx([2.0] * 60)


def test_identity_sees_the_whole_frame():
    truth = ring(channels=2)
    seen = observe(truth, operator="identity")
    assert seen.operator is None
    assert torch.allclose(seen.value[0], frames(truth)[0, 1:].flatten(1), atol=1e-10)
    spec = ADAPTER.validate_python({"kind": "synthetic", "operator": "identity", "locations": "all"})
    assert [problem.path for problem in spec.check(truth.info)] == [("locations",)]


def test_a_matrix_multiplies_the_frame():
    truth = ring(3, channels=2)
    matrix = [[1, 0, 0, 0, 0, 2.5], [0, 1, 1, 0, -1, 0]]
    seen = observe(truth, operator={"kind": "linear", "matrix": matrix})
    expected = frames(truth)[0, 1:].flatten(1) @ torch.tensor(matrix).double().mT
    assert torch.allclose(seen.value[0], expected, atol=1e-10)
    assert not seen.types[0].is_located


def test_a_matrix_may_stand_in_a_file_of_the_folder_and_nowhere_else(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "rows.csv").write_text("1, 0, 0\n0, 0.5, 0.5\n")
    (tmp_path / "words.csv").write_text("1, a\n")

    def spec(path, folder=tmp_path):
        options = {"kind": "synthetic", "operator": {"kind": "linear", "matrix": path}}
        return ADAPTER.validate_python(options, context={"folder": folder})

    assert spec("rows.csv").operator.matrix == [[1, 0, 0], [0, 0.5, 0.5]]
    assert list(spec("rows.csv").check(ring(3).info)) == []
    (problem,) = spec("rows.csv").check(ring(4).info)
    assert problem.path == ("operator", "matrix")
    assert "3 numbers, and a frame 4" in problem.message
    for path, folder, said in (
        ("../rows.csv", tmp_path / "inner", "outside"),
        (str(tmp_path / "rows.csv"), tmp_path / "inner", "outside"),
        ("none.csv", tmp_path, "no file"),
        ("words.csv", tmp_path, "no table"),
        ("rows.csv", None, "no folder"),
    ):
        with pytest.raises(ValidationError, match=said):
            spec(path, folder)


def test_fourier_coefficients_are_those_of_the_fast_transform():
    truth = ring(16, channels=2)
    seen = observe(truth, operator={"kind": "spectral", "wavenumbers": [0, 3, -2, 8]}, variables=["v1"])
    c = np.fft.fft(frames(truth)[0, 1, :, 1].numpy()) / 16
    expected = [c[0].real, c[3].real, c[3].imag, c[-2].real, c[-2].imag, c[8].real]
    assert seen.value[0, 0].tolist() == pytest.approx(expected, abs=1e-10)


def test_fourier_coefficients_of_an_open_axis_or_above_nyquist_are_refused():
    spec = ADAPTER.validate_python(
        {"kind": "synthetic", "operator": {"kind": "spectral", "wavenumbers": [9, [1, 2]]}}
    )
    paths = [problem.path for problem in spec.check(ring(16).info)]
    assert paths == [("operator", "wavenumbers", 0), ("operator", "wavenumbers", 1)]
    assert any("not periodic" in problem.message for problem in spec.check(globe(lambda a, b: a).info))


@pytest.mark.parametrize(("function", "of"), [("abs", torch.abs), ("square", torch.square)])
def test_functions_of_each_variable(function, of):
    truth = ring(channels=2)
    seen = observe(truth, operator={"kind": "nonlinear", "function": function})
    assert torch.allclose(seen.value[0], of(frames(truth)[0, 1:].flatten(1)), atol=1e-10)


@pytest.mark.parametrize("interpolate", [False, True])
def test_a_formula_makes_one_number_of_the_variables_at_a_site(interpolate):
    truth = ring(channels=3)
    operator = {"kind": "nonlinear", "formula": "sqrt(v2**2 + v0**2)", "interpolate": interpolate}
    seen = observe(truth, operator=operator, locations=points([2.0], [5.0]))
    v = frames(truth)[0, 1:][:, [2, 5]]
    assert torch.allclose(seen.value[0], (v[..., 0] ** 2 + v[..., 2] ** 2).sqrt(), atol=1e-10)
    assert seen.value.shape == (1, 3, 2)


@pytest.mark.parametrize(
    "operator",
    [
        "interpolate",
        {"kind": "linear", "matrix": np.random.default_rng(1).normal(size=(3, 16)).tolist()},
        {"kind": "spectral", "wavenumbers": [1, 2]},
        {"kind": "nonlinear", "formula": "exp(v0/5) * sin(v0) - cos(v0)**2 + log(abs(v0) + 2)"},
        {"kind": "nonlinear", "function": "square", "interpolate": True},
    ],
    ids=lambda o: o if isinstance(o, str) else o["kind"],
)
def test_operators_are_differentiable_and_treat_members_one_by_one(operator):
    truth = ring(16, length=16.0)
    sites = {} if not isinstance(operator, str) and operator["kind"] in ("linear", "spectral") else {
        "locations": points([0.3], [7.9], [15.5])
    }  # fmt: skip
    seen = observe(truth, operator=operator, **sites)
    cells = torch.randn(1, 5, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    whole = seen.seen(cells, 2)
    each = torch.cat([seen.seen(cells[:, [member]], 2) for member in range(5)], dim=1)
    assert torch.allclose(whole, each, atol=1e-14)
    assert torch.autograd.gradcheck(lambda x: seen.seen(x, 2), cells.requires_grad_())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("u +", "position"),
        ("__import__('os')", "'__import__' is no function"),
        ("u.real", "position 1: 'u.real'"),
        ("2 * u[0]", "position 5"),
        ("exp(u, v)", "'exp' takes one argument"),
        ("u if v else 1", "not part of the grammar"),
        ("lambda: 1", "not part of the grammar"),
        ("(u := 3)", "not part of the grammar"),
        ("True", "not part of the grammar"),
        ("1e999 * u", "not part of the grammar"),
        ("'a' * u", "not part of the grammar"),
        ("u" * 301, "301 characters"),
        ("+".join(["u"] * 90), "terms"),
        ("(" * 250 + "u" + ")" * 40, "cannot be read"),
        ("u\x00", "cannot be read"),
    ],
)
def test_what_is_no_formula_is_refused_with_its_place(text, said):
    with pytest.raises(InvalidInput, match=said.replace("(", r"\(")) as caught:
        Formula.parse(text)
    assert len(str(caught.value)) < 400
    with pytest.raises(ValidationError):
        ADAPTER.validate_python({"kind": "synthetic", "operator": {"kind": "nonlinear", "formula": text}})


def test_a_formula_follows_the_usual_order_of_operations():
    u, v = torch.tensor([2.0, 3.0]).double(), torch.tensor([5.0, -1.0]).double()
    found = Formula.parse("-u**2 + 3*v/2 - (u - v)*2").of({"u": u, "v": v})
    assert found.tolist() == [-(2.0**2) + 7.5 + 6.0, -9.0 - 1.5 - 8.0]
    # A tower of powers is arithmetic of floats: it overflows instead of growing without end.
    assert Formula.parse("u*0 + 9**9**9**9").of({"u": u})[0] == math.inf


def test_a_formula_with_an_unknown_variable_names_the_known_ones():
    spec = ADAPTER.validate_python(
        {"kind": "synthetic", "operator": {"kind": "nonlinear", "formula": "v0 + wind"}}
    )
    (problem,) = spec.check(ring().info)
    assert problem.message == "unknown variable 'wind' at position 6 (known: v0)"


@pytest.mark.parametrize("operator", ["interpolate", {"kind": "nonlinear", "function": "abs"}])
def test_sites_that_stay_are_one_row_and_may_be_observed_at_some_times_alone(operator):
    truth = ring(16, length=16.0, times=6)
    seen = observe(truth, operator=operator, locations=points([0.25], [7.0]))
    assert seen.index.stride(1) == 0
    some = seen.at(torch.tensor([0, 3]))
    assert some.index.stride(1) == 0
    cells = frames(truth)[0, [4]].flatten(1)[:, None]
    assert torch.equal(some.seen(cells, 1), seen.seen(cells, 3))
    assert torch.allclose(some.seen(cells, 1)[:, 0], seen.value[:, 3], atol=1e-10)
