"""Captions of images, by image or by class, from a TSV file."""

import csv
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from gan_jax.data.cache import expand_user
from gan_jax.data.dataset import Captions, Dataset
from gan_jax.errors import InputError, brief

_PLURAL = {"image": "images", "class": "classes"}


def load(path: str, dataset: Dataset) -> Captions:
    """Reads the captions of a data set.

    The header of the file names its columns: the first is `image` (a path below the data set's
    folder, or the end of one, with or without suffix) or `class` (a class's name, or the number in
    it); those that start with `caption` hold captions, empty cells none; others are ignored.

    Args:
      path: of the TSV file, in UTF-8.
      dataset: with names of images, or with labels.

    Raises:
      InputError: the file is damaged, names images or classes that do not exist, or leaves one of
        the data set without a caption.
    """
    column, rows = _read(path)
    if column == "image":
        if dataset.names is None:
            raise InputError(
                f"{path} has captions by image, but only folder:DIR has images with names: "
                "expected captions by class"
            )
        keys, groups = _images(dataset.names), np.arange(len(dataset.images), dtype=np.int32)
    else:
        if dataset.labels is None or dataset.class_names is None:
            raise InputError(f"{path} has captions by class, but the data set has no named classes")
        keys, groups = class_numbers(dataset.class_names), dataset.labels
    found: defaultdict[int, list[str]] = defaultdict(list)
    unknown = []
    for key, texts in rows:
        if key in keys:
            found[keys[key]] += texts
        else:
            unknown.append(key)
    if unknown:
        distinct = list(dict.fromkeys(unknown))
        raise InputError(
            f"{path} has captions of {len(distinct)} {_PLURAL[column]} that the data set lacks: "
            f"{_listed(distinct)}"
        )
    names = dataset.names if column == "image" else dataset.class_names
    assert names is not None
    if missing := [str(names[g]) for g in np.unique(groups).tolist() if not found[g]]:
        raise InputError(
            f"{path} has no captions of {len(missing)} {_PLURAL[column]} of the data set: "
            f"{_listed(missing)}"
        )
    count = int(groups.max()) + 1
    first = np.cumsum([0, *(len(found[g]) for g in range(count))], dtype=np.int32)
    ordered = tuple(text for g in range(count) for text in found[g])
    digest = hashlib.sha256(repr((ordered, first.tolist())).encode())
    return Captions(ordered, first, groups, digest.hexdigest())


def _read(path: str) -> tuple[str, list[tuple[str, list[str]]]]:
    """The name of the first column, and its value and the captions of each row."""
    try:
        with expand_user(path).open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except FileNotFoundError as error:
        raise InputError(f"config.condition.captions: there is no file {path}") from error
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"config.condition.captions: {path}: {brief(error)}") from error
    header = lines[0] if lines else []
    chosen = [i for i, name in enumerate(header) if name.lower().startswith("caption")]
    if header[:1] not in (["image"], ["class"]) or not chosen:
        raise InputError(
            f"{path}: expected a header of tab-separated columns, `image` or `class` and then "
            f"`caption`, found {', '.join(header)[:80]!r}"
        )
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        if len(line) != len(header):
            raise InputError(
                f"{path}, line {number}: {len(line)} columns, but the header has {len(header)}"
            )
        rows.append((line[0].strip(), [text for i in chosen if (text := line[i].strip())]))
    return header[0], rows


def _images(names: Iterable[str]) -> dict[str, int]:
    """Image by its path, or by an end of it, with and without suffix, that no other shares."""
    whole: dict[str, int | None] = {}
    ends: dict[str, int | None] = {}
    for i, name in enumerate(names):
        parts = name.split("/")
        for start in range(len(parts)):
            keys, key = ends if start else whole, "/".join(parts[start:])
            for form in {key, re.sub(r"\.\w+$", "", key)}:
                keys[form] = None if form in keys else i
    return {key: i for key, i in (ends | whole).items() if i is not None}


def class_numbers(names: Iterable[str]) -> dict[str, int]:
    """Class by name, or by the number in its name if no other has it: 12 for `class_00012`."""
    keys: dict[str, int | None] = {}
    for i, name in enumerate(names):
        if number := re.fullmatch(r"\D*0*(\d+)\D*", name):
            keys[number[1]] = None if number[1] in keys else i
    return {key: i for key, i in keys.items() if i is not None} | {
        name: i for i, name in enumerate(names)
    }


def _listed(items: list[str]) -> str:
    return ", ".join(items[:3]) + (", ..." if len(items) > 3 else "")
