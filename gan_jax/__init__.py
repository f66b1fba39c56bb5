"""The 2014 GAN (Goodfellow et al., https://arxiv.org/abs/1406.2661) as pure functions in JAX."""

__version__ = "0.1.0"
