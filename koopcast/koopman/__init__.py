"""Koopman models."""

from typing import Annotated, TypeAlias

from koopcast.koopman.dmd import DMDSpec
from koopcast.koopman.edmd import EDMDSpec
from koopcast.koopman.gedmd import GEDMDSpec
from koopcast.koopman.kernel_edmd import KernelEDMDSpec
from koopcast.koopman.resdmd import ResDMDSpec
from koopcast.spec import Family

AnyKoopman: TypeAlias = Annotated[
    DMDSpec | EDMDSpec | GEDMDSpec | KernelEDMDSpec | ResDMDSpec, Family("koopman")
]

__all__ = ["AnyKoopman", "DMDSpec", "EDMDSpec", "GEDMDSpec", "KernelEDMDSpec", "ResDMDSpec"]
