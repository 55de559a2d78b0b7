"""Studies: small experiments whose tables carry claims; the union is the registry."""

from typing import Annotated, TypeAlias

from koopcast.spec import Family
from koopcast.studies.bandlimited_features import BandlimitedFeaturesSpec
from koopcast.studies.base import Findings as Findings
from koopcast.studies.base import StudySpec as StudySpec
from koopcast.studies.exact_transfer import ExactTransferSpec
from koopcast.studies.least_squares import LeastSquaresSpec
from koopcast.studies.relaxation import RelaxationSpec
from koopcast.studies.residual_estimator import ResidualEstimatorSpec
from koopcast.studies.solvers import SolversSpec
from koopcast.studies.state_space import StateSpaceSpec
from koopcast.studies.subspace_embedding import SubspaceEmbeddingSpec

AnyStudy: TypeAlias = Annotated[
    BandlimitedFeaturesSpec
    | ExactTransferSpec
    | LeastSquaresSpec
    | RelaxationSpec
    | ResidualEstimatorSpec
    | SolversSpec
    | StateSpaceSpec
    | SubspaceEmbeddingSpec,
    Family("studies"),
]
