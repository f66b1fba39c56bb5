r"""Birds from a caption at 64x64 pixels, for owners of CUB-200-2011.

    python -m gan_jax.evaluation.text_encoder --dataset=folder:CUB_200_2011/images \
        --image_size=64 --captions=CUB_200_2011/captions.tsv --out=CUB_200_2011/encoder.npz
    python -m gan_jax.main --config=configs/text_birds.py

The objective of configs/text_flowers.py. The TSV file has a row per image: its path below the
folder, then captions, such as the ten of Reed et al. 2016 (https://arxiv.org/abs/1605.05395). With
`--config.dataset=caltech_birds2011`, captions are by class.

Time: not measured. Result: not run.
"""

from ml_collections import ConfigDict

from gan_jax.configs import text_flowers


def get_config() -> ConfigDict:
    c = text_flowers.get_config()
    c.update(
        {
            "dataset": "folder:CUB_200_2011/images",
            "split": "train[:10600]",
            "validation_split": "train[10600:]",
            "test_split": "train[10600:]",
        }
    )
    c.condition.update(
        {
            "captions": "CUB_200_2011/captions.tsv",
            "encoder": "CUB_200_2011/encoder.npz",
            "held_out": (),
        }
    )
    return c
