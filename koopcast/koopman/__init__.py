"""Koopman models."""

from typing import Annotated, TypeAlias

from koopcast.koopman.dmd import DMDSpec
from koopcast.koopman.edmd import EDMDSpec
from koopcast.koopman.info_kae import InfoKAESpec
from koopcast.koopman.koopman_ae import KoopmanAESpec
from koopcast.koopman.ssm import SSMSpec
from koopcast.spec import Family

AnyKoopman: TypeAlias = Annotated[
    DMDSpec | EDMDSpec | InfoKAESpec | KoopmanAESpec | SSMSpec, Family("koopman")
]

__all__ = ["AnyKoopman", "DMDSpec", "EDMDSpec", "InfoKAESpec", "KoopmanAESpec", "SSMSpec"]
