"""Koopman models."""

from typing import Annotated, TypeAlias

from koopcast.koopman.dmd import DMDSpec
from koopcast.koopman.dmdc import DMDcSpec
from koopcast.koopman.edmd import EDMDSpec
from koopcast.koopman.fb_dmd import FBDMDSpec
from koopcast.koopman.gedmd import GEDMDSpec
from koopcast.koopman.info_kae import InfoKAESpec
from koopcast.koopman.info_kvae import InfoKVAESpec
from koopcast.koopman.kernel_edmd import KernelEDMDSpec
from koopcast.koopman.koopman_ae import KoopmanAESpec
from koopcast.koopman.mr_dmd import MRDMDSpec
from koopcast.koopman.opt_dmd import OptDMDSpec
from koopcast.koopman.pi_dmd import PiDMDSpec
from koopcast.koopman.resdmd import ResDMDSpec
from koopcast.koopman.ssm import SSMSpec
from koopcast.koopman.tls_dmd import TLSDMDSpec
from koopcast.spec import Family

AnyKoopman: TypeAlias = Annotated[
    DMDSpec
    | DMDcSpec
    | EDMDSpec
    | FBDMDSpec
    | GEDMDSpec
    | InfoKAESpec
    | InfoKVAESpec
    | KernelEDMDSpec
    | KoopmanAESpec
    | MRDMDSpec
    | OptDMDSpec
    | PiDMDSpec
    | ResDMDSpec
    | SSMSpec
    | TLSDMDSpec,
    Family("koopman"),
]

__all__ = [
    "AnyKoopman",
    "DMDSpec",
    "DMDcSpec",
    "EDMDSpec",
    "FBDMDSpec",
    "GEDMDSpec",
    "InfoKAESpec",
    "InfoKVAESpec",
    "KernelEDMDSpec",
    "KoopmanAESpec",
    "MRDMDSpec",
    "OptDMDSpec",
    "PiDMDSpec",
    "ResDMDSpec",
    "SSMSpec",
    "TLSDMDSpec",
]
