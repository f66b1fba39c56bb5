r"""Flowers from a caption at 64x64 pixels: GAN-INT-CLS with DiffAugment.

    python -m gan_jax.main --config=configs/text_flowers.py \
        --config.dataset=folder:flowers64/images \
        --config.condition.captions=flowers64/captions_by_class.tsv

Reed et al. 2016 (https://arxiv.org/abs/1605.05396) on Oxford-102: D also sees real images with the
texts of others, G also means of two texts. A quarter of DCGAN's widths. These captions are paired
with classes, not with images. Twenty random classes are left out of training:
`python -m gan_jax.evaluate --workdir=DIR --held_out` asks for them.

Time: 5 minutes on a shared H200. Result (one seed): R-precision 7.5 %, 7.1 % for classes left out
(chance 1 %).
"""

from ml_collections import ConfigDict

from gan_jax.configs import dcgan_flowers

# numpy.random.default_rng(0).choice(102, 20, replace=False) + 1, sorted. The published split has
# 20 others.
HELD_OUT = "3 5 8 17 25 28 45 49 55 56 58 60 62 64 72 73 76 87 96 97"


def get_config() -> ConfigDict:
    c = dcgan_flowers.get_config()
    c.update(
        {
            "split": "train[:7370]",
            "validation_split": "train[7370:]",
            "test_split": "train[7370:]",
            "condition": {
                "on": "text",
                "captions": "flowers64/captions_by_class.tsv",
                "held_out": tuple(HELD_OUT.split()),
                "mismatch": 0.5,
                "interpolation": 1.0,
            },
            "num_steps": 20_000,
            "generator": {"widths": (128, 64, 32, 16)},
            "discriminator": {"widths": (16, 32, 64, 128)},
            "augment": ("flip", "translation", "cutout"),  # captions are about colours
            "sample_grid": (8, 8),
        }
    )
    return c
