import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from koopcast.report import Clock, figures
from koopcast.report.figures.fields import error_scale, field_scale, panels
from koopcast.report.style import FIELD_MAP, SIGNED_MAP, raised

CLOCK = Clock(1.0, "months")
RNG = np.random.default_rng(0)


def example(shape, sources=("truth", "forecast"), leads=(1, 3), times=1, sites=False):
    names = ("latitude", "longitude") if len(shape) == 2 else ("x",)
    dataset = xr.Dataset(
        {
            "t": (
                ("source", "time", "lead", *names),
                RNG.normal(size=(len(sources), times, len(leads), *shape)),
            )
        },
        coords={"source": list(sources), "lead": list(leads), "time": np.arange(float(times))}
        | {name: np.arange(float(size)) for name, size in zip(names, shape, strict=True)},
    )
    dataset["t"].attrs["units"] = "K"
    if sites:
        channel = np.tile([0, 0, -1], (times, 1))
        dataset["site_channel"] = (("time", "obs"), channel, {"flag_meanings": "t"})
        for name in names:
            dataset[f"site_{name}"] = (("time", "obs"), np.tile([1.0, 2.0, np.nan], (times, 1)))
    return dataset


def samples(**sizes):
    coords = {name: np.arange(float(size)) for name, size in sizes.items() if name != "sample"}
    shape = tuple(sizes.values())
    variables = {name: (tuple(sizes), RNG.normal(size=shape), {"units": "m"}) for name in ("a", "u")}
    return xr.Dataset(variables, coords=coords)


EIGENVALUES = xr.Dataset(
    {
        "eigenvalue_real": ("mode", np.cos([np.pi / 6, -np.pi / 6, 0.0]) * [0.9, 0.9, 1.2]),
        "eigenvalue_imag": ("mode", np.sin([np.pi / 6, -np.pi / 6, 0.0]) * [0.9, 0.9, 1.2]),
        "mode_field": (("mode", "latitude", "longitude"), RNG.normal(size=(3, 6, 30))),
    }
)
CERTIFIED = EIGENVALUES.assign(
    residual=("mode", [0.01, 0.01, 0.8]),
    verified=("mode", np.array([1, 1, 0], dtype="int8")),
    pseudospectrum=(("re", "im"), RNG.random((6, 5))),
    spectral_density=("angle", np.exp(-((np.linspace(-3, 3, 61) - 0.5) ** 2))),
).assign_coords(re=np.linspace(-1, 1, 6), im=np.linspace(-1, 1, 5), angle=np.linspace(-3, 3, 61))
VALUES = np.array([np.exp(0.5j), np.exp(-0.5j), 0.9])
EIGENFUNCTIONS = xr.Dataset(
    {"eigenfunction": (("sample", "time", "mode"), VALUES ** np.arange(30.0)[None, :, None])},
    coords={
        "time": np.arange(30.0),
        "eigenvalue": ("mode", VALUES),
        "data_residual": ("mode", [0.0, 0.0, 0.1]),
    },
)
CERTIFIED.attrs["certificate"] = "residual only"
SPECTRUM = xr.DataArray(
    RNG.random((1, 2, 2, 9)) + 0.1,
    dims=("subject", "source", "lead", "wavenumber"),
    coords={
        "subject": ["m"],
        "source": ["forecast", "truth"],
        "lead": [1, 3],
        "wavenumber": np.arange(1.0, 10),
    },
    attrs={"units": "K2"},
).assign_coords(variable="t")
RANKS = xr.DataArray(
    np.full((2, 1, 5), 0.2),
    dims=("subject", "lead", "rank"),
    coords={"subject": ["a", "a.background"], "lead": [0]},
).assign_coords(variable="t")
SCORES = pd.DataFrame(
    {
        "metric": "rmse", "variable": "t", "units": "K", "sense": "lower", "perfect": 0.0,
        "cases": [12, 7] * 2,
        "subject": ["m", "m", "persistence", "persistence"], "role": ["forecast"] * 2 + ["baseline"] * 2,
        "lead": [1, 3] * 2, "value": [0.5, 0.8, 0.7, np.inf],
    }
)  # fmt: skip
CYCLES = pd.DataFrame({"time": range(600), "rmse": 0.5, "spread": 0.4, "background_rmse": 0.7})
SIZES = pd.DataFrame(
    {"metric": "error", "subject": ["a", "a", "b", "b"], "n": [20, 40] * 2, "value": [9.0, 0.1, 2.0, np.inf],
     "units": "1"}
)  # fmt: skip
TRAINING = pd.DataFrame({"epoch": [1, 2, 3], "train_loss": [1.0, 0.5, 0.2], "valid_loss": [1.1, 0.6, 0.9]})
REFINEMENT = pd.DataFrame(
    {"case": [0, 0, 0, 1, 1], "iteration": [0, 5, 10, 0, 5], "error": [0.1, 0.01, 0.001, 0.2, 0.02],
     "residual_dual": [1.0, 0.1, 0.01, 2.0, 0.1], "residual_l2": [3.0, 0.5, 0.1, 4.0, 0.2]}
)  # fmt: skip
ANALYSIS = ("truth", "analysis", "background", "spread")

PICTURES = {
    "leads": lambda: figures.error_against_lead(SCORES, CLOCK, "p"),
    "band": lambda: figures.field_maps(example((4, 60)), "t", CLOCK, "m", "p"),
    "maps": lambda: figures.field_maps(example((9, 12), ANALYSIS, (0,), sites=True), "t", CLOCK, "m", "p"),
    "space_time": lambda: figures.space_time(example((12,), times=9), "t", CLOCK, "m", "p"),
    "fixed_sites": lambda: figures.space_time(
        example((12,), ANALYSIS, (0,), 9, sites=True), "t", CLOCK, "m", "p"
    ),
    "components": lambda: figures.space_time(example((3,), times=9), "t", CLOCK, "m", "p"),
    "spectrum": lambda: figures.energy_spectra(SPECTRUM, ["m"], CLOCK, "p"),
    "ranks": lambda: figures.rank_histograms(RANKS, "p"),
    "circle": lambda: figures.unit_circle(EIGENVALUES, CLOCK, "m", "p"),
    "residuals": lambda: figures.residual_plane(CERTIFIED, "m", "p"),
    "residuals_alone": lambda: figures.residual_plane(CERTIFIED.drop_vars("pseudospectrum"), "m", "p"),
    "density": lambda: figures.spectral_density(CERTIFIED, "m", "p"),
    "eigenfunctions": lambda: figures.eigenfunction_series(EIGENFUNCTIONS, CLOCK, "m", "p"),
    "modes": lambda: figures.mode_maps(EIGENVALUES, CLOCK, "m", "p"),
    "cycles": lambda: figures.cycle_series(CYCLES, {"climatology": 1.0}, "K", "a", "p"),
    "samples_of_maps": lambda: figures.sample_fields(samples(sample=3, y=6, x=8), "darcy", "p"),
    "times_of_maps": lambda: figures.sample_fields(samples(sample=1, time=4, y=6, x=8), "flow", "p"),
    "strips": lambda: figures.sample_fields(samples(sample=2, time=30, x=16), "waves", "p"),
    "sample_components": lambda: figures.sample_fields(samples(sample=2, time=30, state=3), "lorenz", "p"),
    "profiles": lambda: figures.sample_fields(samples(sample=2, x=16), "profile", "p"),
    "real_maps": lambda: figures.sample_fields(samples(time=2, latitude=6, longitude=8), "sst", "p"),
    "sizes": lambda: figures.value_against_size(SIZES, "comparison", "p"),
    "refinement": lambda: figures.refinement_curve(REFINEMENT, "lbfgs", "p"),
    "training": lambda: figures.training_curve(TRAINING, "m", "p"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_every_figure_has_title_caption_label_and_a_drawing_that_parses(name, tmp_path):
    picture = PICTURES[name]()
    assert picture.title
    assert len(picture.caption) > 30
    assert len(picture.alt) > 10
    saved = ElementTree.parse(picture.save(tmp_path)).getroot()
    assert saved.tag.endswith("svg")
    assert saved[0].attrib["fill"].startswith("#")
    inline = ElementTree.fromstring(picture.inline())
    assert inline.attrib["aria-label"] == picture.alt
    assert "#1b2228" not in picture.inline()
    assert "var(--ink)" in picture.inline()


def test_identifiers_of_two_figures_differ():
    first = PICTURES["training"]()
    ids = {part.split('"')[0] for part in first.inline().split('id="')[1:]}
    assert all(item.startswith("p-") for item in ids)


def test_figures_know_periods_best_epoch_and_units():
    assert "periods 12 months" in PICTURES["circle"]().alt
    assert "1 outside the circle grow" in PICTURES["circle"]().caption
    assert "3 eigenvalues, 2 verified" in PICTURES["residuals"]().alt
    assert "Certificate: residual only." in PICTURES["residuals"]().caption
    assert "Lines:" not in PICTURES["residuals_alone"]().caption
    assert "highest at 0.50" in PICTURES["density"]().alt
    assert "The dot is the best epoch, 2." in PICTURES["training"]().caption
    assert "(K²)" in PICTURES["spectrum"]().svg
    assert "m 0.5 at 1 month, 0.8 at 3 months" in PICTURES["leads"]().alt
    assert "observation sites" in PICTURES["maps"]().caption


def test_drawing_leaves_no_global_state_behind():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    PICTURES["training"]()
    assert dict(mpl.rcParams) == before


def test_scales_are_signed_only_where_both_signs_matter():
    signed, positive = (xr.DataArray(np.linspace(low, 1.0, 1001)) for low in (-1.0, -0.1))
    assert field_scale([signed]).colours == SIGNED_MAP
    assert field_scale([signed]).low == -field_scale([signed]).high
    assert field_scale([positive]).colours == FIELD_MAP
    assert error_scale([positive]).low == -error_scale([positive]).high


def test_of_many_leads_the_first_the_middle_and_the_last_are_shown():
    fields = example((12,), leads=(1, 2, 3, 4, 8), times=2)["t"]
    shown = panels(fields, is_forecast=True, lead_text={lead: f"+{lead}" for lead in (1, 2, 3, 4, 8)})
    assert [panel.title for panel in shown if panel.group == "error"] == [
        f"error of forecast, +{lead}" for lead in (1, 3, 8)
    ]


@pytest.mark.parametrize(
    ("units", "text"), [("K2", "K²"), ("m s-1", "m s⁻¹"), ("(m s-1)2", "(m s⁻¹)²"), ("1", "1")]
)
def test_powers_of_units_are_raised(units, text):
    assert raised(units) == text


@pytest.mark.parametrize("shape", [(9, 12), (12,)])
def test_sites_are_drawn_whatever_the_order_of_the_variables(shape):
    # Stores give variables back by name, so that the sites come before a field named `t`.
    def drawn(given):
        times = 9 if len(shape) == 1 else 1
        dataset = example(shape, ANALYSIS, (0,), times, sites=given)
        dataset = dataset[sorted(dataset.data_vars)]
        draw = figures.field_maps if len(shape) == 2 else figures.space_time
        return draw(dataset, "t", CLOCK, "m", "p").svg.count("<use")

    assert drawn(True) > drawn(False)


def test_the_increment_of_an_analysis_is_what_it_adds_to_its_background():
    fields = example((12,), ANALYSIS, (0,), 3)["t"]
    shown = {
        panel.group: panel for panel in panels(fields, is_forecast=False, lead_text={0: "now"}) if panel.group
    }
    change = fields.sel(source="analysis", lead=0) - fields.sel(source="background", lead=0)
    assert np.array_equal(shown["increment"].values.values, change.values)
    assert shown["increment"].scale.low == -shown["increment"].scale.high
