"""FNO beside neuraloperator's on the same weights: outputs, time of a spectral layer and of a training step.

Needs neuraloperator (benchmarks/requirements.txt) in an environment of its own. Each has its own process,
and they take turns; the minimum of all rounds counts.

  python benchmarks/operators.py [--widths 32 64] [--threads 1 2] [--rounds 20]
"""

import argparse
import time
import warnings
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch
from torch import Tensor, nn

from koopcast.layers.spectral_convolution import SpectralConvolution
from koopcast.operators.fno_network import FNO, Architecture

BATCH, POINTS, MODES = 16, 64, 16
TURN = 4
"""Runs in a turn; the first finds the other's data in the cache."""


def copy_spectral(ours: SpectralConvolution, theirs: nn.Module) -> None:
    """Theirs is complex (in, out, k1, k2), k1 from -M/2 up; ours (2, k1, k2, in, out), k1 in FFT order."""
    weight = torch.fft.ifftshift(theirs.weight.tensor.detach(), dim=2).permute(2, 3, 0, 1)
    with torch.no_grad():
        ours.weight.copy_(torch.stack([weight.real, weight.imag]))
        ours.bias.copy_(theirs.bias.flatten())


def copy_mlp(ours: nn.Module, theirs: nn.Module) -> None:
    with torch.no_grad():
        for mine, other in zip((ours.first, ours.second), theirs.fcs, strict=True):
            mine.weight.copy_(other.weight[..., 0].T)
            mine.bias.copy_(other.bias)


def copy_network(ours: FNO, theirs: nn.Module) -> None:
    blocks = theirs.fno_blocks
    copy_mlp(ours.lift, theirs.lifting)
    copy_mlp(ours.project, theirs.projection)
    with torch.no_grad():
        for index, block in enumerate(ours.blocks):
            copy_spectral(block.spectral, blocks.convs[index])
            block.skip.weight.copy_(blocks.fno_skips[index].conv.weight[..., 0].T)
            copy_mlp(block.mlp, blocks.channel_mlp[index])
            block.gate.weight.copy_(blocks.channel_mlp_skips[index].weight.flatten())


def training_step(
    network: nn.Module, inputs: Tensor, targets: Tensor, *, fused: bool = False
) -> Callable[[], None]:
    """Forward, backward and AdamW on one batch."""
    optimizer = torch.optim.AdamW(network.parameters(), fused=fused)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        (network(inputs) - targets).square().mean().backward()
        optimizer.step()

    return step


def gradient(layer: nn.Module, x: Tensor, g: Tensor) -> Callable[[], None]:
    def run() -> None:
        layer.zero_grad(set_to_none=True)
        x.grad = None
        layer(x).backward(g)

    return run


def peer_networks(width: int) -> tuple[nn.Module, nn.Module]:
    """Return neuraloperator's FNO and a spectral layer of it."""
    import neuralop.models as peer

    network = peer.FNO(n_modes=(MODES, MODES), hidden_channels=width, in_channels=1, out_channels=1)
    return network, network.fno_blocks.convs[0]


def our_network(width: int) -> FNO:
    return FNO(Architecture(1, 1, (MODES, MODES), (True, True), width=width))


def check(width: int) -> None:
    """Print how far both networks of one width are apart on the same weights."""
    torch.manual_seed(0)
    theirs, ours = peer_networks(width)[0], our_network(width)
    copy_network(ours, theirs)
    x = torch.randn(BATCH, POINTS, POINTS, 1)
    mine, other = ours(x).detach(), theirs(x.movedim(-1, 1)).detach().movedim(1, -1)
    print(f"width {width}: outputs differ by {(mine - other).abs().max():.1e}, of {mine.abs().max():.2f}")


def cases(side: str, width: int) -> list[Callable[[], None]]:
    """Return what is timed: a spectral layer forward and backward, and a training step."""
    x, y = torch.randn(2, BATCH, POINTS, POINTS, 1)
    features, slopes = torch.randn(2, BATCH, POINTS, POINTS, width)
    if side == "ours":
        ours = our_network(width)
        layer = gradient(ours.blocks[0].spectral, features.requires_grad_(), slopes)
        return [layer, training_step(ours, x, y, fused=True)]
    theirs, convolution = peer_networks(width)
    leading = features.movedim(-1, 1).contiguous().requires_grad_()
    layer = gradient(convolution, leading, slopes.movedim(-1, 1).contiguous())
    return [layer, training_step(theirs, x.movedim(-1, 1).contiguous(), y.movedim(-1, 1).contiguous())]


def serve(line: Connection, side: str, width: int, threads: int) -> None:
    """Time a case each time its place arrives."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    runs = cases(side, width)
    for run in runs:
        run()
    line.send(None)
    while (place := line.recv()) is not None:
        times = []
        for _ in range(TURN):
            start = time.perf_counter()
            runs[place]()
            times.append(time.perf_counter() - start)
        line.send(min(times))


def compare(width: int, threads: int, rounds: int) -> None:
    """Print the least times of two processes that take turns."""
    check(width)
    context = get_context("spawn")
    lines = []
    for side in ("peer", "ours"):
        line, end = context.Pipe()
        context.Process(target=serve, args=(end, side, width, threads), daemon=True).start()
        lines.append(line)
    for line in lines:
        line.recv()
    for place, name in enumerate(("spectral layer, forward and backward", "training step")):
        best = [float("inf")] * len(lines)
        for _ in range(rounds):
            for index, line in enumerate(lines):
                line.send(place)
                best[index] = min(best[index], 1e3 * line.recv())
        peer, ours = best
        figures = f"{peer:15.1f} {ours:9.1f} {peer / ours:6.2f}"
        print(f"{name:40s} {width:6d} {threads:8d} {figures}", flush=True)
    for line in lines:
        line.send(None)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    columns = f"{'width':>6s} {'threads':>8s} {'neuraloperator':>15s} {'koopcast':>9s} {'ratio':>6s}"
    print(f"{'milliseconds':40s} {columns}")
    for threads in options.threads:
        for width in options.widths:
            compare(width, threads, options.rounds)


if __name__ == "__main__":
    main()
