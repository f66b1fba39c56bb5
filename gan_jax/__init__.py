"""GANs, autoencoders and Boltzmann machines in JAX, as pure functions."""

__version__ = "0.1.0"
