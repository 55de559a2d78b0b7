"""Studies: small experiments whose tables carry claims; the union is the registry."""

from typing import Annotated, TypeAlias

from koopcast.spec import Family
from koopcast.studies.adversarial_pair import AdversarialPairSpec
from koopcast.studies.bandlimited_features import BandlimitedFeaturesSpec
from koopcast.studies.base import Findings as Findings
from koopcast.studies.base import StudySpec as StudySpec
from koopcast.studies.doubling_spectrum import DoublingSpectrumSpec
from koopcast.studies.evidence_of_stacks import EvidenceOfStacksSpec
from koopcast.studies.exact_proximal import ExactProximalSpec
from koopcast.studies.exact_transfer import ExactTransferSpec
from koopcast.studies.feature_space_classification import FeatureSpaceClassificationSpec
from koopcast.studies.gauss_markov import GaussMarkovSpec
from koopcast.studies.invariant_moves import InvariantMovesSpec
from koopcast.studies.laplace_proximal import LaplaceProximalSpec
from koopcast.studies.least_squares import LeastSquaresSpec
from koopcast.studies.one_mover import OneMoverSpec
from koopcast.studies.optics import OpticsSpec
from koopcast.studies.rational_kernel import RationalKernelSpec
from koopcast.studies.relaxation import RelaxationSpec
from koopcast.studies.residual_estimator import ResidualEstimatorSpec
from koopcast.studies.residual_spectrum import ResidualSpectrumSpec
from koopcast.studies.solvers import SolversSpec
from koopcast.studies.state_space import StateSpaceSpec
from koopcast.studies.static_state import StaticStateSpec
from koopcast.studies.subspace_embedding import SubspaceEmbeddingSpec
from koopcast.studies.torus_kernels import TorusKernelsSpec

AnyStudy: TypeAlias = Annotated[
    AdversarialPairSpec
    | BandlimitedFeaturesSpec
    | DoublingSpectrumSpec
    | EvidenceOfStacksSpec
    | ExactProximalSpec
    | ExactTransferSpec
    | FeatureSpaceClassificationSpec
    | GaussMarkovSpec
    | InvariantMovesSpec
    | LaplaceProximalSpec
    | LeastSquaresSpec
    | OneMoverSpec
    | OpticsSpec
    | RationalKernelSpec
    | RelaxationSpec
    | ResidualEstimatorSpec
    | ResidualSpectrumSpec
    | SolversSpec
    | StateSpaceSpec
    | StaticStateSpec
    | SubspaceEmbeddingSpec
    | TorusKernelsSpec,
    Family("studies"),
]
