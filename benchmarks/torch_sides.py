"""The PyTorch sides of the speed comparisons: a config's training, as fast as short code makes it.

Same networks, initialisation, losses, optimizers and batch size, and fresh noise for each player;
convolutions in channels_last. Shortcuts make it faster: examples are drawn with replacement, G's
step computes no gradient for D's weights, and an MLP sees real and fake examples in one batch.
"""

import copy
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from ml_collections import ConfigDict
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import softplus

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

Steps = Callable[[int], None]  # trains that many iterations, and returns when they are done


def _dcgan(config: ConfigDict, size: int, channels: int) -> tuple[nn.Module, nn.Module]:
    g_widths, d_widths = config.generator.widths, config.discriminator.widths
    first, start = g_widths[0], size // 2 ** len(g_widths)
    layers: list[nn.Module] = [nn.ConvTranspose2d(config.z_dim, first, start, bias=False)]
    for before, after in zip(g_widths, [*g_widths[1:], channels], strict=True):
        layers += [nn.BatchNorm2d(before), nn.ReLU(True)]
        layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)]
    g = nn.Sequential(nn.Unflatten(1, (config.z_dim, 1, 1)), *layers, nn.Tanh())
    layers = []
    for i, (before, after) in enumerate(zip([channels, *d_widths], d_widths, strict=False)):
        layers.append(nn.Conv2d(before, after, 4, 2, 1, bias=False))
        norm = i > 0 and config.discriminator.batch_norm
        layers += [nn.BatchNorm2d(after)] * norm + [nn.LeakyReLU(0.2, True)]
    end = size // 2 ** len(d_widths)
    d = nn.Sequential(*layers, nn.Conv2d(d_widths[-1], 1, end, bias=False), nn.Flatten(0))
    for module in (*g.modules(), *d.modules()):
        if hasattr(module, "weight"):
            mean = 1.0 if isinstance(module, nn.BatchNorm2d) else 0.0
            nn.init.normal_(module.weight, mean, 0.02)
    return g, d


class _Block(nn.Module):
    def __init__(self, channels: int, group_size: int):
        super().__init__()
        wide = 2 * channels
        self.layers = nn.Sequential(
            nn.Conv2d(channels, wide, 1),
            nn.LeakyReLU(0.2, True),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide // group_size),
            nn.LeakyReLU(0.2, True),
            nn.Conv2d(wide, channels, 1, bias=False),
        )
        nn.init.zeros_(self.layers[-1].weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


class _Resample(nn.Module):
    """[1, 3, 3, 1] along both axes, as a depthwise convolution."""

    def __init__(self, channels: int, up: bool):
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / (4 if up else 8)
        kernel = torch.outer(taps, taps).expand(channels, 1, 4, 4).clone()
        self.register_buffer("kernel", kernel)
        self.up = up

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        f = nn.functional.conv_transpose2d if self.up else nn.functional.conv2d
        return f(x, self.kernel, stride=2, padding=1, groups=len(self.kernel))


class _Basis(nn.Module):
    def __init__(self, z_dim: int, channels: int, start: int):
        super().__init__()
        self.basis = nn.Parameter(torch.randn(channels, start, start))
        self.linear = nn.Linear(z_dim, channels, bias=False)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.basis * self.linear(z)[..., None, None]


def _r3gan(config: ConfigDict, size: int, channels: int) -> tuple[nn.Module, nn.Module]:
    def stages(widths: Sequence[int], blocks: int, group_size: int, up: bool) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for i, width in enumerate(widths):
            if i:
                one = [nn.Conv2d(widths[i - 1], width, 1, bias=False)] * (width != widths[i - 1])
                layers += (
                    [*one, _Resample(width, True)]
                    if up
                    else [_Resample(widths[i - 1], False), *one]
                )
            layers += [_Block(width, group_size) for _ in range(blocks)]
        return layers

    g, d = config.generator, config.discriminator
    start = size // 2 ** (len(g.widths) - 1)
    return (
        nn.Sequential(
            _Basis(config.z_dim, g.widths[0], start),
            *stages(g.widths, g.blocks, g.group_size, True),
            nn.Conv2d(g.widths[-1], channels, 1, bias=False),
        ),
        nn.Sequential(
            nn.Conv2d(channels, d.widths[0], 1, bias=False),
            *stages(d.widths, d.blocks, d.group_size, False),
            nn.Conv2d(d.widths[-1], d.widths[-1], start, groups=d.widths[-1], bias=False),
            nn.Flatten(),
            nn.Linear(d.widths[-1], 1, bias=False),
            nn.Flatten(0),
        ),
    )


def _mlp(config: ConfigDict, size: int, channels: int) -> tuple[nn.Module, nn.Module]:
    def layers(*widths: int) -> list[nn.Module]:
        dense = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
        for layer in dense:
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        return [module for layer in dense for module in (layer, nn.ReLU())][:-1]

    pixels = size * size * channels
    g = nn.Sequential(*layers(config.z_dim, *config.generator.widths, pixels), nn.Sigmoid())
    return g, nn.Sequential(*layers(pixels, *config.discriminator.widths, 1), nn.Flatten(0))


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


def _make(
    config: ConfigDict, images: np.ndarray, fused: bool, compiled: bool, graph: bool
) -> Steps:
    torch.manual_seed(0)
    if DEVICE == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, which is JAX's default
        torch.backends.cudnn.benchmark = True
    kind, mlp = config.generator.name, config.generator.name == "mlp"
    networks = {"mlp": _mlp, "dcgan": _dcgan, "r3gan": _r3gan}[kind]
    g, d = (
        network.to(DEVICE).to(memory_format=torch.channels_last)
        for network in networks(config, images.shape[1], images.shape[3])
    )
    flat = images.reshape(len(images), -1) if mlp else images.transpose(0, 3, 1, 2)
    data = torch.from_numpy(flat.copy()).to(DEVICE)
    average = copy.deepcopy(g) if config.ema else None
    relativistic = config.loss == "relativistic_pairing"
    weights = [config.penalties[name].weight for name in ("r1", "r2")]
    interval, batch = config.penalties.r1.interval, config.batch_size
    ones, zeros = torch.ones(batch, device=DEVICE), torch.zeros(batch, device=DEVICE)

    def noise() -> torch.Tensor:
        if config.prior.name == "uniform":
            return torch.rand(batch, config.z_dim, device=DEVICE) * 2 - 1
        return torch.randn(batch, config.z_dim, device=DEVICE)

    def real() -> torch.Tensor:
        x = data[torch.randint(len(data), (batch,), device=DEVICE)].float()
        return x / 255 if mlp else (x / 127.5 - 1).contiguous(memory_format=torch.channels_last)

    def penalty(x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        return gradient.square().sum((1, 2, 3)).mean() / 2

    def d_loss(penalised: bool) -> torch.Tensor:
        x = real()
        with torch.no_grad():
            fake = g(noise())
        if penalised:
            x.requires_grad_()
            fake.requires_grad_()
        if mlp:
            on_real, on_fake = d(torch.cat([x, fake])).chunk(2)
        else:  # batch normalisation of each by itself
            on_real, on_fake = d(x), d(fake)
        if not relativistic:
            return bce(on_real, ones) + bce(on_fake, zeros)
        loss = softplus(on_fake - on_real).mean()
        if penalised:
            r1, r2 = penalty(x, on_real), penalty(fake, on_fake)
            loss = loss + interval * (weights[0] * r1 + weights[1] * r2)
        return loss

    def g_loss(penalised: bool) -> torch.Tensor:
        on_fake = d(g(noise()))
        return softplus(d(real()) - on_fake).mean() if relativistic else bce(on_fake, ones)

    def descent(
        loss: Callable[[bool], torch.Tensor], network: nn.Module, o: Any
    ) -> Callable[[bool], None]:
        params = list(network.parameters())
        adam = torch.optim.Adam(
            params, o.learning_rate, (o.b1, o.b2), fused=fused or None, capturable=graph
        )
        fast = torch.compile(loss) if compiled else loss

        def step(penalised: bool) -> None:
            now = loss if penalised else fast  # torch.compile has no second derivatives
            adam.zero_grad()
            now(penalised).backward(inputs=params)  # gradients with the layout of params
            adam.step()

        return step

    d_step, g_step = descent(d_loss, d, config.d_optimizer), descent(g_loss, g, config.g_optimizer)

    def iteration(i: int = 0) -> None:
        d_step(relativistic and (i + 1) % interval == 0)
        g_step(False)
        if average is not None:
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(average.parameters()), list(g.parameters()), 1 - config.ema
                )

    one = iteration
    if graph:
        plain, penalised = (_captured(functools.partial(iteration, i)) for i in (0, interval - 1))

        def one(i: int) -> None:
            penalised() if (i + 1) % interval == 0 else plain()

    def steps(num: int) -> None:
        for i in range(num):
            one(i)
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return steps


# Each makes the training of a config on uint8 images, (n, height, width, channels).
VARIANTS: dict[str, Callable[[ConfigDict, np.ndarray], Steps]] = {
    "torch eager": functools.partial(_make, fused=False, compiled=False, graph=False),
    "torch fused Adam": functools.partial(_make, fused=True, compiled=False, graph=False),
    "torch compile": functools.partial(_make, fused=True, compiled=True, graph=False),
}
if DEVICE == "cuda":
    VARIANTS["torch CUDA graph"] = functools.partial(_make, fused=True, compiled=False, graph=True)
