"""How far a point of the sampled region can be from the nearest sample."""

import numpy as np
from jaxtyping import Float
from scipy.spatial import ConvexHull, Delaunay, KDTree
from scipy.stats import qmc

TRIANGULATED = 4
"""Up to this dimension the hull of the samples is triangulated."""
PROBES = 2**12
OPTIONS = "QJ Qbb"
"""Of Qhull: samples on one plane or one circle are moved by round-off, so that there is a triangulation."""


def fill_distance(points: Float[np.ndarray, "point dim"]) -> float:
    """Return sup over x of min over m of ‖x - x_m‖, x in the convex hull of the samples.

    Up to 4 dimensions: the distance is greatest at the centre of an empty ball, a circumcentre of the
    Delaunay triangulation that lies in the hull, or on the boundary, which is probed at 4096 points. In more
    dimensions it is an estimate: the farthest of 4096 Sobol points of the bounding box.
    """
    points = np.unique(points, axis=0)
    points = points[:, np.ptp(points, axis=0) > 0]
    count, dims = points.shape
    if count < 2 or dims == 0:
        return 0.0
    if dims == 1:
        return float(np.diff(points[:, 0]).max() / 2)
    if dims > TRIANGULATED or count < dims + 2:
        low, high = points.min(axis=0), points.max(axis=0)
        probes = low + qmc.Sobol(dims, scramble=False).random(PROBES) * (high - low)
    else:
        probes = np.concatenate([_centres(points), _on_the_boundary(points)])
    return float(np.max(KDTree(points).query(probes)[0]))


def _centres(points: Float[np.ndarray, "point dim"]) -> Float[np.ndarray, "centre dim"]:
    """Return the circumcentres of the Delaunay simplices that lie in the hull."""
    mesh = Delaunay(points, qhull_options=OPTIONS)
    corners = points[mesh.simplices]
    edges = corners[:, 1:] - corners[:, :1]
    # 2 (x_k - x_0) · (c - x_0) = ‖x_k - x_0‖²; flat simplices have no centre.
    is_full = np.abs(np.linalg.det(edges)) > 1e-12 * np.linalg.norm(edges, axis=2).prod(axis=1)
    edges, corners = edges[is_full], corners[is_full]
    squared = (edges**2).sum(axis=2, keepdims=True)
    centres = corners[:, 0] + np.linalg.solve(2 * edges, squared)[..., 0]
    # Centres far away are told apart first: to look for their simplex takes long.
    centres = centres[((centres >= points.min(axis=0)) & (centres <= points.max(axis=0))).all(axis=1)]
    inside: Float[np.ndarray, "centre dim"] = centres[mesh.find_simplex(centres) >= 0]
    return inside


def _on_the_boundary(points: Float[np.ndarray, "point dim"]) -> Float[np.ndarray, "probe dim"]:
    """Return points spread evenly over the facets of the hull, by their size."""
    facets = points[ConvexHull(points, qhull_options=OPTIONS).simplices]
    dims = points.shape[1]
    edges = facets[:, 1:] - facets[:, :1]
    size = np.sqrt(np.maximum(np.linalg.det(edges @ edges.transpose(0, 2, 1)), 0.0))
    each = np.maximum(1, np.ceil(PROBES * size / size.sum())).astype(int)
    drawn = qmc.Halton(dims, scramble=False).random(int(each.sum()) + 1)[1:]
    shares = -np.log(1 - drawn * (1 - 1e-12))
    shares /= shares.sum(axis=1, keepdims=True)
    probes: Float[np.ndarray, "probe dim"] = np.einsum("pk,pkd->pd", shares, np.repeat(facets, each, axis=0))
    return probes
