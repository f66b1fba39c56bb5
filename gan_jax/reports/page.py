"""Blocks of a report, and their rendering to one HTML file."""

import base64
import functools
import hashlib
import io
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jinja2
import numpy as np
import vl_convert
from ml_collections import ConfigDict
from PIL import Image

from gan_jax import config as config_lib
from gan_jax import provenance, workdir
from gan_jax.plots import Panel
from gan_jax.reports import charts
from gan_jax.sweeps.ranking import format_number

_MAX_SIDE = 16_383  # pixels of WebP
_IMAGE_BYTES = 200_000  # of an image, unless said otherwise
_VEGA_LITE = "6.4"  # version, see charts
_TABLE_ROWS = 20  # of the table that repeats a chart

# Blocks of a section. The template renders each by the name of its class.


class Text(NamedTuple):
    """A paragraph."""

    text: str


class Code(NamedTuple):
    """A command or file; `name` is that of a file to save it as."""

    text: str
    title: str = ""
    name: str = ""


class Interval(NamedTuple):
    """A cell of a table with an interval drawn below its text; numbers are per cent, or NaN."""

    text: str
    value: float
    low: float
    high: float


class Table(NamedTuple):
    """Rows below a header, which may be empty; the first column holds the headers of the rows."""

    caption: str
    header: list[str]
    rows: Sequence[Sequence[str | Interval]]
    numeric: bool = False  # right-aligned
    sortable: bool = False


class Figure(NamedTuple):
    """An image as a data URI."""

    src: str
    alt: str
    caption: str


class Figures(NamedTuple):
    """Images side by side, or one at a time behind a slider."""

    figures: list[Figure]
    printed: list[int] | None = None  # with a slider: indices of the images to print


class Chart(NamedTuple):
    """A Vega-Lite chart, and a table of the same numbers."""

    title: str
    spec: dict[str, Any]
    table: Table


class Charts(NamedTuple):
    """Charts side by side."""

    charts: list[Chart]


Block = Text | Code | Table | Figures | Charts


class Page(NamedTuple):
    """A report; `status` is that of run.json, or "killed"."""

    title: str
    status: str
    state: str
    done: float  # fraction
    sections: dict[str, list[Block]]


# Blocks


def figure(image: Image.Image, alt: str, caption: str, limit: int = _IMAGE_BYTES) -> Figure:
    """A figure of at most `limit` bytes: lossless if possible, else lossy, smaller if needed."""

    def webp(**options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", **options)
        return buffer.getvalue()

    while max(image.size) > _MAX_SIDE:
        image = image.reduce(2)
    content = webp(lossless=True)
    while len(content) > limit:
        content = webp(quality=80)
        image = image.reduce(2)
    return Figure(f"data:image/webp;base64,{_base64(content)}", alt, caption)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def json_text(value: Any) -> str:
    """A JSON value as text; strings without quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def pairs(caption: str, values: Mapping[str, Any]) -> Table:
    """A table of names and JSON values."""
    return Table(caption, [], [[name, json_text(value)] for name, value in values.items()])


def chart(panel: Panel, kind: str) -> Chart:
    """A chart of lines over iterations, with a table of some of its points."""
    steps = np.unique(np.concatenate([line.x for line in panel.lines])).tolist()
    shown = [steps[i] for i in charts.evenly(len(steps), _TABLE_ROWS)]
    values = [dict(zip(line.x.tolist(), line.y.tolist(), strict=True)) for line in panel.lines]
    rows = [
        [f"{step:,}", *(format_number(value.get(step, math.nan)) for value in values)]
        for step in shown
    ]
    caption = f"{panel.title}: {len(shown)} of {len(steps)} measured iterations"
    header = ["iteration", *(line.name for line in panel.lines)]
    table = Table(caption, header, rows, numeric=True)
    title = panel.title + " (dotted: chance)" * (panel.chance is not None)
    return Chart(title, charts.spec(panel, kind), table)


def config_blocks(config: ConfigDict) -> list[Block]:
    """The fields that differ from their defaults, and all fields."""
    rows = [
        [name, repr(value), repr(field.default), field.doc]
        for name, (value, field) in config_lib.changed(config).items()
    ]
    header = ["field", "value", "default", "meaning"]
    complete = json.dumps(config.to_dict(), indent=2)
    table = Table("Config fields that differ from their defaults", header, rows)
    return [*([table] if rows else []), Code(complete, "The complete config", "config.json")]


def provenance_blocks(record: dict[str, Any]) -> list[Block]:
    """What run.json records about code, machine and data."""
    shown = {name: value for name, value in record.items() if name not in ("status", "earlier")}
    blocks: list[Block] = [pairs("Contents of run.json", config_lib.flatten(shown))]
    earlier = record.get("earlier")
    for segment in earlier if isinstance(earlier, list) else ():
        if isinstance(segment, dict):
            changes = "; ".join(provenance.differences(segment, record))
            until = segment.get("until")
            blocks.append(Text(f"Until iteration {until}, in another environment: {changes}"))
    return blocks


def run_status(directory: pathlib.Path, record: dict[str, Any]) -> str:
    """Status in run.json; "killed" if it says running but no process holds the lock."""
    status = str(record.get("status", "unknown"))
    return "killed" if status == "running" and not workdir.is_locked(directory) else status


# The file


@functools.cache
def _script() -> str:
    """page.js, together with Vega-Lite."""
    own = pathlib.Path(__file__).with_name("page.js").read_text()
    return vl_convert.javascript_bundle(own, _VEGA_LITE).replace("</script", "<\\/script")


def html(page: Page, directory: pathlib.Path, reload: bool = False) -> bytes:
    """A report as a self-contained file; deterministic.

    Args:
      page: its contents.
      directory: what it is about.
      reload: whether the page reloads itself.
    """
    template = pathlib.Path(__file__).with_name("page.html.jinja").read_text()
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}  # keeps the order
    text = environment.from_string(template).render(
        page=page,
        directory=str(directory),
        reload=reload,
        script=_script(),
        # The content security policy allows only this script, whatever names the page contains.
        script_hash=_base64(hashlib.sha256(_script().encode()).digest()),
    )
    return text.encode(errors="backslashreplace")
