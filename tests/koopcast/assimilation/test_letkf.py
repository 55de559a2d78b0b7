"""The local transforms at sizes where matrices are gathered, iterated or decomposed: one answer."""

import pytest
import torch

from koopcast.assimilation import letkf
from koopcast.assimilation.base import Observed, Setting
from koopcast.assimilation.localization import GaspariCohnSpec
from koopcast.grids import Axis
from koopcast.numerics.ensembles import split
from koopcast.numerics.geometry import Domain, implied_coordinates
from tests.koopcast.assimilation.test_analyses import method, seeded

AXES = (Axis("y", 8), Axis("x", 10, periodic=True))
DOMAIN = Domain(AXES, tuple(implied_coordinates(axis) for axis in AXES))
NEAR = {"kind": "gaspari_cohn", "radius": 3.0, "radius_kind": "support"}


def case(members, own_sites=False):
    """Smooth members on a grid of 80 points and two channels, half of the points observed in one of them."""
    g = seeded(5)
    fields = torch.randn(2, members, 8, 10, 2, generator=g, dtype=torch.float64).cumsum(2).cumsum(3) / 3
    ensemble = fields.flatten(2)
    index = torch.stack([2 * torch.randperm(80, generator=g)[:40] for _ in range(2)])
    index = index if own_sites else index[:1].expand(2, -1)
    value = torch.randn(2, 40, generator=g, dtype=torch.float64)
    value[0, 3] = torch.nan
    predicted = ensemble.gather(2, index[:, None].expand(-1, members, -1))
    return ensemble, Observed.of(value, torch.full((2, 40), 0.3).double(), predicted, index)


def direct(ensemble, seen, number, point):
    """The analysis at a point by eigenvectors of the whole matrix, as in Hunt et al. (2007)."""
    members = ensemble.shape[1]
    mean, A = (part[number] for part in split(ensemble))
    centre, S = (part[number] for part in split(seen.predicted))
    place = torch.tensor([[cell // 2 // 10, cell // 2 % 10] for cell in seen.cell[number].tolist()])
    gap = (place - torch.tensor([point // 10, point % 10])).abs()
    gap[:, 1] = torch.minimum(gap[:, 1], 10 - gap[:, 1])
    rho = GaspariCohnSpec(radius=3.0, radius_kind="support").weight(gap.double().square().sum(1).sqrt())
    rho = rho.masked_fill(rho < 1e-3, 0) * seen.scale[number].square()
    L, V = torch.linalg.eigh((members - 1) * torch.eye(members).double() + (S * rho) @ S.T)
    w = V @ ((V.T @ (S @ (rho * (seen.value[number] - centre[0])))) / L)
    T = (V * ((members - 1) / L).sqrt()) @ V.T
    cells = slice(2 * point, 2 * point + 2)
    return mean[:, cells] + (T + w) @ A[:, cells]


@pytest.mark.parametrize("members", [5, 12, 30])
@pytest.mark.parametrize("own_sites", [False, True])
@pytest.mark.parametrize(
    ("chunk", "many", "pairs"),
    [(1, 400, 2**26), (2**26, 400, 2**26), (2**26, 1, 2**26), (1, 1, 1), (2**26, 400, 1)],
)
def test_every_point_has_the_analysis_of_its_own_neighbourhood(
    members, own_sites, chunk, many, pairs, monkeypatch
):
    # 30 members are more than the observations near a point, 5 are fewer.
    monkeypatch.setattr(letkf, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(letkf, "MANY", many)
    monkeypatch.setattr(letkf, "MOST_PAIRS", pairs)
    ensemble, seen = case(members, own_sites)
    setting = Setting(domain=DOMAIN, num_channels=2)
    after = method("letkf", setting, members=members, localization=NEAR)(ensemble, seen, seeded()).ensemble
    for number in range(2):
        for point in (0, 17, 42, 79):
            expected = direct(ensemble, seen, number, point)
            cells = slice(2 * point, 2 * point + 2)
            assert torch.allclose(after[number, :, cells], expected, atol=1e-9)


@pytest.mark.parametrize("steps", [60, 5])
def test_lanczos_and_what_it_leaves_to_eigenvectors_agree(steps, monkeypatch):
    wide = {"kind": "gauss", "radius": 30.0}
    setting = Setting(domain=DOMAIN, num_channels=2)
    ensemble, seen = case(26)
    results = []
    for order in (1000, 24):
        monkeypatch.setattr(letkf, "ITERATED", order)
        monkeypatch.setattr(letkf, "MANY", order)
        monkeypatch.setattr(letkf, "STEPS", steps)
        results.append(
            method("letkf", setting, members=26, localization=wide)(ensemble, seen, seeded()).ensemble
        )
    assert torch.allclose(*results, atol=1e-9)


def test_masked_cells_stay_as_they_are():
    ensemble, seen = case(12)
    masked = torch.arange(0, 160, 7)
    kept = ensemble.clone()
    kept[..., masked] = 0.0
    setting = Setting(domain=DOMAIN, num_channels=2)
    for kind in ("letkf", "enkf", "ensrf", "denkf"):
        for inflation in ("none", "adaptive", {"kind": "rtps", "factor": 0.5}):
            options = {"members": 12, "localization": NEAR, "inflation": inflation}
            after = method(kind, setting, **options)(kept, seen, seeded()).ensemble
            assert not after[..., masked].any()
            assert torch.isfinite(after).all()
