"""Methods of inversion; the union is the registry."""

from typing import Annotated, TypeAlias

from koopcast.inversion.base import InversionSpec as InversionSpec
from koopcast.inversion.base import Observed as Observed
from koopcast.inversion.base import Posterior as Posterior
from koopcast.inversion.dgno_inverse import DGNOInverseSpec
from koopcast.inversion.tikhonov import TikhonovSpec
from koopcast.spec import Family

AnyInversion: TypeAlias = Annotated[DGNOInverseSpec | TikhonovSpec, Family("inversion")]
