"""Fingerprints of molecules by an adversarial autoencoder whose decoder sees their activity.

    python -m gan_jax.main --config=configs/aae_molecules.py --config.dataset=smiles_morgan:hiv.csv

After Kadurin et al. 2017, https://doi.org/10.18632/oncotarget.14073, whose code has a unit for the
inhibition of growth; here the decoder gets activity as a label (Makhzani et al. 2015). The splits
are for the HIV set of MoleculeNet, of which 41,906 molecules are valid.

Time: 4 minutes on one busy core. Result: worse than a similarity baseline, see docs/molecules.md.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    network = {"widths": (256, 256)}
    return ConfigDict(
        {
            "algorithm": "aae",
            "dataset": "smiles_morgan:hiv.csv",
            "split": "train[:30000]",
            "validation_split": "train[30000:33525]",
            "test_split": "train[33525:]",
            "condition": {"on": "label"},
            "num_steps": 5_000,
            "batch_size": 64,
            "z_dim": 4,
            "prior": {"name": "normal"},
            "encoder": network,
            "generator": network | {"output_bias": "data_mean"},
            "discriminator": network,
        }
    )
