"""Encoders of latent models, each with its decoder."""

from typing import Annotated, TypeAlias

from koopcast.koopman.encoders.base import EncoderSpec as EncoderSpec
from koopcast.koopman.encoders.base import Ends as Ends
from koopcast.koopman.encoders.conv import ConvSpec
from koopcast.koopman.encoders.identity import IdentitySpec
from koopcast.koopman.encoders.mlp import MLPSpec
from koopcast.spec import Family

AnyEncoder: TypeAlias = Annotated[ConvSpec | IdentitySpec | MLPSpec, Family("encoders")]
