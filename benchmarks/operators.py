"""FNO beside neuraloperator's on the same weights: outputs, time of a spectral layer and of a training step.

Needs neuraloperator (benchmarks/requirements.txt) in an environment of its own. The two take turns; the
minimum of all rounds counts:  python benchmarks/operators.py [--widths 32 64] [--threads 1 2] [--rounds 20]
"""

import argparse
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from koopcast.layers.spectral_convolution import SpectralConvolution
from koopcast.operators.fno_network import FNO, Architecture
from koopcast.training import runs_at_once

BATCH, POINTS, MODES = 16, 64, 16


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
    network: nn.Module, inputs: Tensor, targets: Tensor, *, at_once: int = BATCH, fused: bool = False
) -> Callable[[], None]:
    """Forward, backward and AdamW on one batch, `at_once` members at a time."""
    optimizer = torch.optim.AdamW(network.parameters(), fused=fused)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        for x, y in zip(inputs.split(at_once), targets.split(at_once), strict=True):
            ((network(x) - y).square().mean() * (len(x) / len(inputs))).backward()
        optimizer.step()

    return step


def gradient(layer: nn.Module, x: Tensor, g: Tensor) -> Callable[[], None]:
    def run() -> None:
        layer.zero_grad(set_to_none=True)
        x.grad = None
        layer(x).backward(g)

    return run


def fastest(first: Callable[[], None], second: Callable[[], None], rounds: int) -> tuple[float, float]:
    """Return the least wall time of each, in milliseconds, taken in turns."""
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        for index, run in enumerate((first, second)):
            start = time.perf_counter()
            run()
            best[index] = min(best[index], time.perf_counter() - start)
    return 1e3 * best[0], 1e3 * best[1]


def compare(width: int, threads: int, rounds: int) -> None:
    """Print the times of both networks of one width."""
    import neuralop.models as peer

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    theirs = peer.FNO(n_modes=(MODES, MODES), hidden_channels=width, in_channels=1, out_channels=1)
    ours = FNO(Architecture(1, 1, (MODES, MODES), (True, True), width=width))
    copy_network(ours, theirs)
    x, y = torch.randn(2, BATCH, POINTS, POINTS, 1)
    first, first_y = x.movedim(-1, 1).contiguous(), y.movedim(-1, 1).contiguous()
    mine, other = ours(x).detach(), theirs(first).detach().movedim(1, -1)
    print(f"width {width}: outputs differ by {(mine - other).abs().max():.1e}, of {mine.abs().max():.2f}")

    features, slopes = torch.randn(2, BATCH, POINTS, POINTS, width)
    last = features.clone().requires_grad_()
    leading = features.movedim(-1, 1).contiguous().requires_grad_()
    at_once = min(BATCH, runs_at_once(POINTS**2, torch.device("cpu")))
    their_step = training_step(theirs, first, first_y)
    cases = {
        "spectral layer, forward and backward": (
            gradient(theirs.fno_blocks.convs[0], leading, slopes.movedim(-1, 1).contiguous()),
            gradient(ours.blocks[0].spectral, last, slopes),
        ),
        "training step, whole batch": (their_step, training_step(ours, x, y, fused=True)),
        f"training step, {at_once} members at once": (
            their_step,
            training_step(ours, x, y, at_once=at_once, fused=True),
        ),
    }
    for name, (their_run, our_run) in cases.items():
        slow, fast = fastest(their_run, our_run, rounds)
        print(f"{name:40s} {width:6d} {threads:8d} {slow:15.1f} {fast:9.1f} {slow / fast:6.2f}", flush=True)


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
