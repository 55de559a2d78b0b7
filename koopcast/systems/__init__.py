"""Systems that evolve: the union is the registry."""

from typing import Annotated, TypeAlias

from koopcast.spec import Family
from koopcast.systems.advection import AdvectionSpec
from koopcast.systems.annulus_shear import AnnulusShearSpec
from koopcast.systems.base import SystemSpec as SystemSpec
from koopcast.systems.burgers import BurgersSpec
from koopcast.systems.cat_map import CatMapSpec
from koopcast.systems.circle_doubling import CircleDoublingSpec
from koopcast.systems.circle_rotation import CircleRotationSpec
from koopcast.systems.convection_diffusion import ConvectionDiffusionSpec
from koopcast.systems.darcy import DarcySpec
from koopcast.systems.diffusion_reaction import DiffusionReactionSpec
from koopcast.systems.diffusion_sorption import DiffusionSorptionSpec
from koopcast.systems.double_pendulum import DoublePendulumSpec
from koopcast.systems.driven_advection import DrivenAdvectionSpec
from koopcast.systems.duffing import DuffingSpec
from koopcast.systems.dynamic_signal import DynamicSignalSpec
from koopcast.systems.forced_ode import ForcedODESpec
from koopcast.systems.forced_reaction import ForcedReactionSpec
from koopcast.systems.hard_nonconvex import HardNonconvexSpec
from koopcast.systems.helmholtz import HelmholtzSpec
from koopcast.systems.kdv import KdVSpec
from koopcast.systems.kuramoto_sivashinsky import KuramotoSivashinskySpec
from koopcast.systems.legendre_transform import LegendreTransformSpec
from koopcast.systems.limit_cycle_waves import LimitCycleWavesSpec
from koopcast.systems.lorenz63 import Lorenz63Spec
from koopcast.systems.lorenz96 import Lorenz96Spec
from koopcast.systems.lorenz96_two_scale import Lorenz96TwoScaleSpec
from koopcast.systems.navier_stokes import NavierStokesSpec
from koopcast.systems.pca_automaton import PCAAutomatonSpec
from koopcast.systems.poisson import PoissonSpec
from koopcast.systems.quasi_geostrophic import QuasiGeostrophicSpec
from koopcast.systems.shallow_water import ShallowWaterSpec
from koopcast.systems.thermal import ThermalSpec
from koopcast.systems.van_der_pol import VanDerPolSpec

AnySystem: TypeAlias = Annotated[
    AdvectionSpec
    | AnnulusShearSpec
    | BurgersSpec
    | CatMapSpec
    | CircleDoublingSpec
    | CircleRotationSpec
    | ConvectionDiffusionSpec
    | DarcySpec
    | DiffusionReactionSpec
    | DiffusionSorptionSpec
    | DoublePendulumSpec
    | DrivenAdvectionSpec
    | DuffingSpec
    | DynamicSignalSpec
    | ForcedODESpec
    | ForcedReactionSpec
    | HardNonconvexSpec
    | HelmholtzSpec
    | KdVSpec
    | KuramotoSivashinskySpec
    | LegendreTransformSpec
    | LimitCycleWavesSpec
    | Lorenz63Spec
    | Lorenz96Spec
    | Lorenz96TwoScaleSpec
    | NavierStokesSpec
    | PCAAutomatonSpec
    | PoissonSpec
    | QuasiGeostrophicSpec
    | ShallowWaterSpec
    | ThermalSpec
    | VanDerPolSpec,
    Family("systems"),
]
