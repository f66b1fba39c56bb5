"""configs/mnist.py in PyTorch, as fast as short code makes it, for `speed.py`.

Same networks, initialisation, losses, optimizers and batch size, and fresh noise for each player.
Three shortcuts make it faster: examples are drawn with replacement, D sees real and fake in one
batch, and G's step computes no gradient for D's weights.
"""

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce

BATCH, Z_DIM, HIDDEN = 128, 100, 128
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

Steps = Callable[[int], None]  # trains that many iterations, and returns when they are done


def _network(*layers: nn.Module) -> nn.Sequential:
    """On the device, with weights N(0, 2 / fan_in) and biases zero."""
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers).to(DEVICE)


def _captured(iteration: Callable[[], None]) -> Callable[[], None]:
    """The iteration as a CUDA graph: a single launch."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):  # allocates memory and optimizer state before the capture
        for _ in range(3):
            iteration()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        iteration()
    return graph.replay


def _make(images: np.ndarray, fused: bool, compiled: bool, graph: bool) -> Steps:
    torch.manual_seed(0)
    if DEVICE == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, which is JAX's default
    data = torch.from_numpy(images.reshape(len(images), -1).copy()).to(DEVICE)
    pixels = data.shape[1]
    g = _network(nn.Linear(Z_DIM, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, pixels), nn.Sigmoid())
    d = _network(nn.Linear(pixels, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
    ones, zeros = torch.ones(BATCH, 1, device=DEVICE), torch.zeros(BATCH, 1, device=DEVICE)

    def noise() -> torch.Tensor:
        return torch.rand(BATCH, Z_DIM, device=DEVICE) * 2 - 1

    def d_loss() -> torch.Tensor:
        real = data[torch.randint(len(data), (BATCH,), device=DEVICE)].float() / 255
        with torch.no_grad():
            fake = g(noise())
        logits = d(torch.cat([real, fake]))
        return bce(logits[:BATCH], ones) + bce(logits[BATCH:], zeros)

    def g_loss() -> torch.Tensor:
        return bce(d(g(noise())), ones)

    def descent(loss: Callable[[], torch.Tensor], network: nn.Sequential) -> Callable[[], None]:
        params = list(network.parameters())
        adam = torch.optim.Adam(params, fused=fused or None, capturable=graph)
        loss = torch.compile(loss) if compiled else loss

        def step() -> None:
            for p, grad in zip(params, torch.autograd.grad(loss(), params), strict=True):
                p.grad = grad
            adam.step()

        return step

    d_step, g_step = descent(d_loss, d), descent(g_loss, g)

    def iteration() -> None:
        d_step()
        g_step()

    once = _captured(iteration) if graph else iteration

    def steps(num: int) -> None:
        for _ in range(num):
            once()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return steps


# Each makes the training of a uint8 data set of shape (n, ...).
VARIANTS: dict[str, Callable[[np.ndarray], Steps]] = {
    "torch eager": functools.partial(_make, fused=False, compiled=False, graph=False),
    "torch fused Adam": functools.partial(_make, fused=True, compiled=False, graph=False),
    "torch compile": functools.partial(_make, fused=True, compiled=True, graph=False),
}
if DEVICE == "cuda":
    VARIANTS["torch CUDA graph"] = functools.partial(_make, fused=True, compiled=False, graph=True)
