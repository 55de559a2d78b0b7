"""Figures of a report: each a function of xarray or pandas objects that returns a `Picture`."""

from koopcast.report.figures.calibration import (
    departure_histogram,
    forecast_skill,
    spread_against_error,
)
from koopcast.report.figures.certificates import residual_plane, spectral_density
from koopcast.report.figures.cycles import cycle_series
from koopcast.report.figures.eigenfunctions import eigenfunction_series
from koopcast.report.figures.eigenvalues import unit_circle
from koopcast.report.figures.hovmoller import space_time
from koopcast.report.figures.leads import error_against_lead
from koopcast.report.figures.maps import field_maps
from koopcast.report.figures.modes import mode_maps
from koopcast.report.figures.ranks import rank_histograms
from koopcast.report.figures.refinement import refinement_curve
from koopcast.report.figures.samples import sample_fields
from koopcast.report.figures.sizes import value_against_size
from koopcast.report.figures.spectrum import energy_spectra
from koopcast.report.figures.training import training_curve
from koopcast.report.figures.windows import (
    bias_series,
    chi_square_series,
    increment_fields,
    monitor_series,
    report_counts,
    window_fields,
)

__all__ = [
    "bias_series",
    "chi_square_series",
    "cycle_series",
    "departure_histogram",
    "eigenfunction_series",
    "energy_spectra",
    "error_against_lead",
    "field_maps",
    "forecast_skill",
    "increment_fields",
    "mode_maps",
    "monitor_series",
    "rank_histograms",
    "refinement_curve",
    "report_counts",
    "residual_plane",
    "sample_fields",
    "space_time",
    "spectral_density",
    "spread_against_error",
    "training_curve",
    "unit_circle",
    "value_against_size",
    "window_fields",
]
