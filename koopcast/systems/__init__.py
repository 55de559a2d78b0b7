"""Systems that evolve: the union is the registry."""

from typing import Annotated, TypeAlias

from koopcast.spec import Family
from koopcast.systems.base import SystemSpec as SystemSpec
from koopcast.systems.kuramoto_sivashinsky import KuramotoSivashinskySpec
from koopcast.systems.lorenz63 import Lorenz63Spec
from koopcast.systems.lorenz96 import Lorenz96Spec

AnySystem: TypeAlias = Annotated[KuramotoSivashinskySpec | Lorenz63Spec | Lorenz96Spec, Family("systems")]
