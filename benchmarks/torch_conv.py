"""DCGAN and R3GAN in PyTorch, as fast as short code makes them, for `convolutions.py`.

The networks, losses and optimizers of a config. Examples are drawn with replacement, and G's step
computes no gradient for D's weights.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from ml_collections import ConfigDict
from torch import nn
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


def make(config: ConfigDict, images: np.ndarray, compiled: bool) -> Steps:
    """Training in channels_last with fused Adam: non-saturating, or RpGAN with R1 and R2."""
    torch.manual_seed(0)
    kind = {"dcgan": _dcgan, "r3gan": _r3gan}[config.generator.name]
    g, d = (
        net.to(DEVICE).to(memory_format=torch.channels_last)
        for net in kind(config, images.shape[1], images.shape[3])
    )
    data = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(DEVICE)
    average = copy.deepcopy(g) if config.ema else None
    relativistic = config.loss == "relativistic_pairing"
    weights = [config.penalties[name].weight for name in ("r1", "r2")]
    interval = config.penalties.r1.interval

    def noise() -> torch.Tensor:
        return torch.randn(config.batch_size, config.z_dim, device=DEVICE)

    def real() -> torch.Tensor:
        index = torch.randint(len(data), (config.batch_size,), device=DEVICE)
        x = data[index].float() / 127.5 - 1
        return x.contiguous(memory_format=torch.channels_last)

    def penalty(x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        return gradient.square().sum((1, 2, 3)).mean() / 2

    def d_loss(penalised: bool) -> torch.Tensor:
        x = real()
        with torch.no_grad():
            fake = g(noise())
        if not relativistic:
            return softplus(-d(x)).mean() + softplus(d(fake)).mean()
        if penalised:
            x.requires_grad_()
            fake.requires_grad_()
        on_real, on_fake = d(x), d(fake)
        loss = softplus(on_fake - on_real).mean()
        if penalised:
            r1, r2 = penalty(x, on_real), penalty(fake, on_fake)
            loss = loss + interval * (weights[0] * r1 + weights[1] * r2)
        return loss

    def g_loss(penalised: bool) -> torch.Tensor:
        on_fake = d(g(noise()))
        return softplus(d(real()) - on_fake).mean() if relativistic else softplus(-on_fake).mean()

    def descent(
        loss: Callable[[bool], torch.Tensor], net: nn.Module, o: Any
    ) -> Callable[[bool], None]:
        params = list(net.parameters())
        adam = torch.optim.Adam(params, o.learning_rate, (o.b1, o.b2), fused=True)
        fast = torch.compile(loss) if compiled else loss

        def step(penalised: bool) -> None:
            now = loss if penalised else fast  # torch.compile has no second derivatives
            for p, gradient in zip(
                params, torch.autograd.grad(now(penalised), params), strict=True
            ):
                p.grad = gradient
            adam.step()

        return step

    d_step, g_step = descent(d_loss, d, config.d_optimizer), descent(g_loss, g, config.g_optimizer)

    def steps(num: int) -> None:
        for i in range(num):
            d_step(relativistic and (i + 1) % interval == 0)
            g_step(False)
            if average is not None:
                with torch.no_grad():
                    torch._foreach_lerp_(
                        list(average.parameters()), list(g.parameters()), 1 - config.ema
                    )
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return steps
