"""What the convolutional operators share: the kind of convolution, its size, the grid it refers to."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt, field_validator

from koopcast.layers.base_grid import BaseGrid
from koopcast.layers.convolutions import ConvolutionChoice, ConvolutionKind, DomainNorm
from koopcast.mapping import Signature
from koopcast.operators.base import OperatorSpec
from koopcast.operators.cnn_no_network import ConvolutionalArchitecture
from koopcast.operators.discs import DISC, Disc, Radius, faulty_disc, usual_radius
from koopcast.operators.grids import grid_faults
from koopcast.spec import Problem

MAX_AXES = 2


class ConvolutionalSpec(OperatorSpec):
    """Options of the operators that are made of convolutions."""

    conv: ConvolutionKind = "kernel_interp"
    """`plain`: taps on the points of whatever grid; its weights belong to the training grid. Converted ones,
    which see the same part of the domain on any grid: `kernel_interp`, taps interpolated between those of the
    base grid; `disco`, an integral over a disc; `finite_diff`, a value and a derivative: for smooth fields,
    since a network of k such layers holds derivatives of order k, and is sure to converge with the grid on
    periodic axes alone."""
    kernel: Annotated[int, Field(ge=3, le=15)] | None = None
    """Taps of each axis on the base grid, odd. Default: 5; for `finite_diff` 3."""
    radius: Radius | None = None
    """Of the disc, in units of the domain's shortest axis. Default: 1.5 base spacings a ring."""
    disc: Disc | None = None
    """Rings (the centre counts as one) and sectors of the disc's basis. Default: 2 and 4."""
    base_resolution: PositiveInt | tuple[PositiveInt, ...] | None = None
    """Points of each axis of the grid to which a converted kernel refers: one number, or one an axis.
    Default: the training grid."""
    allow_resolution_shift: bool = False
    """Let `conv: plain` act on another grid than that of training, where its kernel covers another part of
    the domain."""
    width: PositiveInt = 24
    """Channels inside."""
    norm: DomainNorm = "none"
    """Give features mean 0 and variance 1 over the domain before each convolution: each channel by itself
    (`instance`), all together (`group`)."""
    positional: Literal["grid", "none"] = "grid"
    """`grid`: places are extra input channels: x from 0 to 1 on closed axes, sin 2πx and cos 2πx on periodic
    ones, where x itself would jump and its differences grow with the grid."""

    transfer_hint: ClassVar[str] = "take another conv, or set resample_io or allow_resolution_shift"

    @field_validator("kernel")
    @classmethod
    def _is_odd(cls, kernel: int | None) -> int | None:
        if kernel is not None and kernel % 2 == 0:
            raise ValueError(f"{kernel} taps have no middle; take {kernel - 1} or {kernel + 1}")
        return kernel

    def transfers(self) -> bool:
        """Return whether the convolutions are converted, or their shift of scale is allowed or avoided."""
        keeps_scale = self.conv != "plain" or self.resample_io != "none"
        return super().transfers() and (keeps_scale or self.allow_resolution_shift)

    def faults(self, signature: Signature) -> Iterator[Problem]:
        """Refuse what is not a line or a plane, options of another kind of convolution, and discs between
        points.
        """
        yield from super().faults(signature)
        yield from self._foreign_options()
        problems = [*grid_faults(self.kind, signature), *self._faulty_base(signature)]
        if not problems and len(signature.axes) > MAX_AXES:
            problems = [Problem((), f"{len(signature.axes)} space axes; {self.kind} takes 1 or {MAX_AXES}")]
        yield from problems
        if not problems and self.conv == "disco":
            choice, option = self.choice(signature), "disc" if self.radius is None else "radius"
            yield from faulty_disc(
                self.base(signature), choice.radius, (choice.rings, choice.sectors), option, signature
            )

    def _foreign_options(self) -> Iterator[Problem]:
        owners = {
            "kernel": self.conv != "disco",
            "radius": self.conv == "disco",
            "disc": self.conv == "disco",
            "base_resolution": self.conv != "plain",
        }
        for option, is_used in owners.items():
            if getattr(self, option) is not None and not is_used:
                yield Problem((option,), f"has no meaning for conv '{self.conv}'; remove it")
        if self.allow_resolution_shift and self.conv != "plain":
            yield Problem(("allow_resolution_shift",), f"conv '{self.conv}' works on any grid; remove it")

    def _faulty_base(self, signature: Signature) -> Iterator[Problem]:
        axes = len(signature.axes)
        if isinstance(self.base_resolution, tuple) and len(self.base_resolution) != axes:
            yield Problem(
                ("base_resolution",),
                f"{len(self.base_resolution)} numbers for {axes} space axes; give one an axis",
            )

    def base(self, signature: Signature) -> BaseGrid:
        """Return the grid to which the weights refer."""
        given = self.base_resolution
        shape = (given,) * len(signature.axes) if isinstance(given, int) else given
        return BaseGrid.of(signature.axes, shape)

    def choice(self, signature: Signature) -> ConvolutionChoice:
        """Return the convolution."""
        base = self.base(signature)
        rings, sectors = self.disc or DISC
        return ConvolutionChoice(
            kind=self.conv,
            kernel=self.kernel or (3 if self.conv == "finite_diff" else 5),
            radius=self.radius or usual_radius(rings, base),
            rings=rings,
            sectors=sectors,
        )

    def architecture(self, signature: Signature) -> ConvolutionalArchitecture:
        """Return what the networks are built of."""
        return ConvolutionalArchitecture(
            channels_in=signature.channels_in,
            channels_out=signature.channels_out,
            grid=self.base(signature),
            convolution=self.choice(signature),
            width=self.width,
            norm=self.norm,
            has_positions=self.positional == "grid",
        )
