"""Molecules: fingerprints of the SMILES in a CSV file, and whether they are active.

Needs the extra `molecules` (RDKit), which is imported where it is used.
"""

import csv
import functools
import hashlib
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from gan_jax.data.cache import cached, entries_dir, expand_user
from gan_jax.data.dataset import Dataset, from_arrays
from gan_jax.errors import InputError, brief

log = logging.getLogger(__name__)

CLASSES = ("inactive", "active")
_INVALID = -1  # in place of a scaffold
_SHOWN = 3  # invalid lines that the summary names


def _maccs() -> Callable[[Any], np.ndarray]:
    from rdkit.Chem import rdMolDescriptors

    # Bit 0 is unused: keys are numbered from 1.
    return lambda molecule: np.array(rdMolDescriptors.GetMACCSKeysFingerprint(molecule))[1:]


def _morgan() -> Callable[[Any], np.ndarray]:
    from rdkit.Chem import rdFingerprintGenerator

    return rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024).GetFingerprintAsNumPy


# By kind of data set: the 166 MACCS keys (Durant et al. 2002, https://doi.org/10.1021/ci010132r),
# and Morgan fingerprints (Rogers and Hahn 2010, https://doi.org/10.1021/ci100050t).
FINGERPRINTS: dict[str, Callable[[], Callable[[Any], np.ndarray]]] = {
    "smiles": _maccs,
    "smiles_morgan": _morgan,
}


class _Table(NamedTuple):
    """Rows of a CSV file."""

    smiles: list[str]
    labels: np.ndarray | None  # int32 (rows,)
    lines: list[int]  # where each row ends, for messages
    sha256: str


def load(kind: str, path: str) -> Dataset:
    """Reads molecules as points, float32 (n, bits) of 0 and 1; their names are the SMILES.

    The first column named `smiles` has the molecules. Labels, 0 or 1, are from the first column
    named `active` or `..._active`, else from `activity`. Lines with invalid SMILES are left out and
    reported in one line of the log.

    Scaffolds (Bemis and Murcko 1996, https://doi.org/10.1021/jm9602928) are in pseudorandom order
    and the molecules of one are adjacent, so that two slices share at most one scaffold.

    Args:
      kind: key of FINGERPRINTS.
      path: of the CSV file, in UTF-8.

    Raises:
      InputError: RDKit or the file is missing, the file has no valid molecule, or its columns are
        not as above.
    """
    try:
        import rdkit
    except ImportError as error:
        raise InputError(f"{kind}:{path} needs RDKit: pip install 'gan_jax[molecules]'") from error
    table = _read(path)
    key = hashlib.sha256(f"{table.sha256} {rdkit.__version__}".encode()).hexdigest()[:32]
    entry = entries_dir() / kind / f"{key}.npz"
    decoded = cached(entry, lambda: _decode(kind, table.smiles))
    scaffolds = decoded.labels
    assert scaffolds is not None
    invalid = [table.lines[i] for i in np.flatnonzero(scaffolds == _INVALID)]
    found = ", ".join(map(str, invalid[:_SHOWN])) + ", ..." * (len(invalid) > _SHOWN)
    if len(invalid) == len(scaffolds):
        raise InputError(f"{path}: none of {len(scaffolds)} SMILES is valid (lines {found})")
    place = np.random.default_rng(0).permutation(scaffolds.max() + 1)
    order = np.argsort(np.where(scaffolds == _INVALID, -1, place[scaffolds]), kind="stable")
    order = order[len(invalid) :]
    labels = None if table.labels is None else table.labels[order]
    summary = f"{kind}:{path}: {len(order)} molecules"
    if labels is not None:
        summary += f", {labels.sum()} of them active"
    if invalid:
        summary += f"; {len(invalid)} invalid SMILES left out, in lines {found}"
    _log_once(summary)
    return from_arrays(
        decoded.images[order].astype(np.float32),
        labels,
        None if labels is None else CLASSES,
        np.array(table.smiles, dtype=object)[order],
    )


@functools.cache
def _log_once(line: str) -> None:
    log.info("%s", line)


def _read(path: str) -> _Table:
    try:
        content = expand_user(path).read_bytes()
        reader = csv.reader(content.decode("utf-8-sig").splitlines(keepends=True), strict=True)
        rows = [(reader.line_num, row) for row in reader if row]
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a CSV file: {brief(error)}") from error
    if len(rows) < 2:
        raise InputError(f"{path}: expected a header and at least one line")
    header = [name.strip().lower() for name in rows[0][1]]
    if "smiles" not in header:
        found = ", ".join(rows[0][1])[:80]
        raise InputError(f"{path}: expected a column named smiles, found {found!r}")
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise InputError(
                f"{path}, line {line}: {len(row)} columns, but the header has {len(header)}"
            )
    lines, cells = [line for line, _ in rows[1:]], [row for _, row in rows[1:]]
    marks = [name for name in header if name == "active" or name.endswith("_active")]
    marks += ["activity"] * ("activity" in header)
    labels = None
    if marks:
        column = [row[header.index(marks[0])].strip() for row in cells]
        for line, cell in zip(lines, column, strict=True):
            if cell not in ("0", "1"):
                raise InputError(
                    f"{path}, line {line}: {marks[0]} is {cell[:40]!r}, but must be 0 or 1"
                )
        labels = np.array(column, np.int32)
    smiles = [row[header.index("smiles")].strip() for row in cells]
    return _Table(smiles, labels, lines, hashlib.sha256(repr(smiles).encode()).hexdigest())


def _decode(kind: str, smiles: list[str]) -> Dataset:
    """Fingerprints, uint8 (n, bits), with the number of each molecule's scaffold as its label."""
    from rdkit import Chem, rdBase
    from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

    fingerprint = FINGERPRINTS[kind]()
    images = np.zeros((len(smiles), len(fingerprint(Chem.Mol()))), np.uint8)
    labels = np.full(len(smiles), _INVALID, np.int32)
    scaffolds: dict[str, int] = {}
    with rdBase.BlockLogs():
        for i, text in enumerate(tqdm(smiles, desc="fingerprints", disable=None)):
            molecule = Chem.MolFromSmiles(text)
            if molecule is None or not molecule.GetNumAtoms():
                continue
            images[i] = fingerprint(molecule)
            labels[i] = scaffolds.setdefault(MurckoScaffoldSmiles(mol=molecule), len(scaffolds))
    return from_arrays(images, labels)
