"""``report.html``: one self-contained page that a person opens to see whether, where and why two models part."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from converter.graph.model import Model, Origin
from converter.parity.certificate import hash_file
from converter.parity.side import Side
from converter.parity.verdict import LayerFigure, SideFigure, Verdict

#: Lines of source shown around the layer in question.
CONTEXT = 12
#: Longest file that is shown.
LONGEST_SOURCE = 4 << 20
#: Errors below this many roundings are drawn at this height: a logarithm has no zero.
FLOOR = 1e-2
#: Errors above it are drawn there and sorted together.
LAST = 1e8
#: As many layers may have become one in the target: a convolution, its normalisation, its scale.
MERGED = 3


def write(path: Path, verdict: Verdict, model: Model, sides: tuple[Side, Side]) -> None:
    """Write the report of ``verdict`` to ``path``. Needs no network when it is opened."""
    from jinja2 import Environment, PackageLoader

    from converter import __version__

    environment = Environment(loader=PackageLoader("converter.parity", "."), autoescape=True, trim_blocks=True)
    environment.filters["figure"] = _short
    environment.filters["key"] = _key
    page = environment.get_template("report.html").render(
        verdict=verdict,
        model=model,
        version=__version__,
        sides=sides,
        files=[[(file.name, file.stat().st_size, hash_file(file)) for file in side.files.values()] for side in sides],
        picture=_picture(verdict),
        rows=[_row(layer) for layer in verdict.layers],
        excerpts=_excerpts(verdict, model, sides),
        parameters=sum(value.const_value.size for value in model.graph.initializers.values() if _is_weight(value)),
    )
    path.write_text(page, encoding="utf-8")


def _is_weight(value: Any) -> bool:
    return value.const_value is not None and value.dtype.is_floating_point()


# -- the picture ------------------------------------------------------------------------------------------------------


def _picture(verdict: Verdict) -> str:
    """Every layer's error of both sides, in roundings of float32, as inline SVG."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    layers = verdict.layers
    settings = {"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10, "svg.hashsalt": "converter"}
    with rc_context(settings):
        figure = Figure(figsize=(10.4, 5.6), layout="constrained")
        FigureCanvasSVG(figure)
        local, drift = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        styles = (("source", verdict.source, "#2f88d0", "o"), ("target", verdict.target, "#e2711d", "s"))
        for which, label, colour, marker in styles:
            points = [(x, getattr(layer, which)) for x, layer in enumerate(layers) if getattr(layer, which)]
            local.plot(
                [x for x, _ in points],
                [_height(max(figure.rms, figure.slice_rms)) for _, figure in points],
                marker, color=colour, ms=4.5, alpha=0.85, label=label, mec="none",
            )  # fmt: skip
            ends = [(x, figure.drift) for x, figure in points if figure.drift is not None]
            drift.plot([x for x, _ in ends], [_height(y) for _, y in ends], "-", color=colour, lw=1.4, label=label)
        for axes, bound, title in (
            (local, verdict.multiples.rms, "error of each layer alone"),
            (drift, verdict.multiples.drift, "distance end to end"),
        ):
            axes.axhspan(FLOOR / 2, 1, color="#888888", alpha=0.14, lw=0)
            axes.axhline(bound, color="#cc0033", lw=1.2)
            axes.annotate(
                "bound", (1, bound), gid=f"limit {title}", xycoords=("axes fraction", "data"), xytext=(4, 0),
                textcoords="offset points", va="center", color="#cc0033", annotation_clip=False,
            )  # fmt: skip
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(lambda y, _: "exact" if y <= FLOOR else f"{y:g}")
            axes.minorticks_off()
            axes.set_ylabel(f"{title}\n(x the noise of float32)", color="#777777")
            axes.grid(True, axis="y", color="#888888", alpha=0.25, lw=0.6)
            axes.tick_params(colors="#777777")
            axes.patch.set_alpha(0)
            for spine in axes.spines.values():
                spine.set_visible(False)
        top = max([bound * 3, *(_height(_worst(layer)) * 2 for layer in layers)])
        local.set_ylim(FLOOR / 2, top)
        drift.set_ylim(bottom=FLOOR / 2, top=max(bound * 3, drift.get_ylim()[1]))
        if verdict.bad_layer:
            where = layers.index(verdict.bad_layer)
            for axes in (local, drift):
                axes.axvline(where, color="#cc0033", lw=1, ls=":")
            # Beside the line, on the side where there is room.
            side, offset = ("left", 5) if where < len(layers) / 2 else ("right", -5)
            local.annotate(
                f"first wrong: {verdict.bad_layer.origin.layer}", (where, top), gid="limit broken", ha=side, va="top",
                xytext=(offset, -4), textcoords="offset points", color="#cc0033", parse_math=False,
            )  # fmt: skip
        drift.set_xlabel("tensors in the order of execution", color="#777777")
        if len(layers) <= 40:
            names = [layer.name.replace("$", r"\$") for layer in layers]
            drift.set_xticks(range(len(layers)), names, rotation=55, ha="right", fontsize=8)
        local.legend(frameon=False, ncols=2, loc="upper left", bbox_to_anchor=(0, 1.14), labelcolor="#777777")
        figure.patch.set_alpha(0)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    svg = stream.getvalue()
    return svg[svg.index("<svg") :]


def _height(value: float) -> float:
    """A place on the logarithmic axis: nothing below FLOOR, and infinity where it can be seen."""
    return min(max(value, FLOOR), LAST)


def _worst(layer: LayerFigure) -> float:
    return max((max(side.rms, side.slice_rms) for side in (layer.source, layer.target) if side), default=0.0)


# -- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """One layer of the table, with the numbers that it is sorted by."""

    layer: LayerFigure
    where: str
    source: SideFigure | None
    target: SideFigure | None
    shape: str


def _row(layer: LayerFigure) -> _Row:
    origin = layer.origin
    where = f"{Path(origin.file).name}:{origin.line}" if origin.file and origin.line else ""
    return _Row(layer, where, layer.source, layer.target, "x".join(map(str, layer.shape)))


def _key(value: float | None) -> float:
    """What the page's script sorts a figure by: none as the smallest, infinity and NaN as the largest."""
    if not isinstance(value, float):
        return -1.0
    return value if value < LAST else LAST


def _short(value: float | None) -> str:
    """A figure of a few digits; empty where there is none."""
    if not isinstance(value, float):
        return ""
    return f"{value:.2f}" if 0.01 <= abs(value) < 1000 or value == 0 else f"{value:.1e}"


# -- the sources ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Excerpt:
    """Lines of a text file: (number, text, whether it is the layer in question)."""

    title: str
    lines: list[tuple[int, str, bool]]


def _excerpts(verdict: Verdict, model: Model, sides: tuple[Side, Side]) -> list[_Excerpt]:
    """The source's description beside the emitted source, around the first wrong layer (or the first layer)."""
    shown = verdict.bad_layer or (verdict.layers[0] if verdict.layers else None)
    if shown is None:
        return []
    origin, excerpts = shown.origin, []
    if origin.file and origin.line:
        excerpts += _excerpt(Path(origin.file), [origin.line])
    source = sides[1].files.get("source")
    if source is not None:
        excerpts += _excerpt(source, _lines_of(source, _layers_before(model, shown.name)))
    return excerpts


def _excerpt(path: Path, marked: list[int]) -> list[_Excerpt]:
    """The last of the ``marked`` lines (from 1) with those around it, after the other marked ones."""
    text = _text(path)
    if text is None or not marked:
        return []
    lines = text.splitlines()
    first = max(1, marked[-1] - CONTEXT // 3)
    around = range(first, min(len(lines) + 1, first + CONTEXT))
    numbers = [*(number for number in marked if number < first), *around]
    return [_Excerpt(path.name, [(number, lines[number - 1], number in marked) for number in numbers])]


def _layers_before(model: Model, name: str) -> Iterator[str]:
    """The layer that makes a tensor, then those before it: the target may have merged it into one of them."""
    producer = {value.name: node for node in model.graph for value in node.outputs}
    while name in producer:
        node = producer[name]
        yield Origin.of(node).layer
        name = next((value.name for value in node.inputs if value is not None and value.const_value is None), "")


def _lines_of(path: Path, layers: Iterable[str]) -> list[int]:
    """Where the first of ``layers`` that is an attribute of an emitted class is made, and where it is called.

    A layer within a repeated block has parts of its name there: "conv_stage1_block2_branch2b" is found in the call of
    "stage1_block2". Nothing where that leads nowhere: a wrong line is worse than none.
    """
    lines = list(enumerate((_text(path) or "").splitlines(), 1))
    calls = [(number, name) for number, line in lines for name in re.findall(r"\bself\.(\w+)\(", line)]
    for layer in islice(layers, MERGED):
        wanted = re.sub(r"\W", "_", layer)
        words = set(wanted.split("_"))
        parts = {name: set(name.split("_")) for _, name in calls}
        found = [
            (len(parts[name]), number, name)
            for number, name in calls
            if 1 < len(parts[name] & words) == len(parts[name])
        ]
        found = [(0, number, name) for number, name in calls if name == wanted] or found
        if found:
            _, call, name = max(found)
            made = [number for number, line in lines if number < call and line.lstrip().startswith(f"self.{name} = ")]
            return [*made[-1:], call]
    return []


def _text(path: Path) -> str | None:
    try:
        if path.stat().st_size > LONGEST_SOURCE:
            return None
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
