"""What the judge found, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from converter.graph.model import Origin
from converter.parity.figures import Multiples


@dataclass(frozen=True)
class SideFigure:
    """One tensor of one side, in standard deviations of float32's rounding.

    ``rms``, ``slice_rms`` and ``largest`` compare it with the float64 value of this layer computed from the inputs that
    this side really had; ``drift`` compares it with the reference end to end (None where that has no meaning).
    """

    rms: float
    slice_rms: float
    largest: float
    drift: float | None
    right: bool
    problem: str = ""
    ties: int = 0


@dataclass(frozen=True)
class LayerFigure:
    """One hub value that at least one side could give, in execution order.

    ``difference`` is the largest absolute difference between the sides (None where one has no such tensor);
    ``amplification`` the relative end-to-end noise in units of float32's unit roundoff (1 = perfectly conditioned).
    """

    name: str
    origin: Origin
    op: str
    shape: tuple[int, ...]
    source: SideFigure | None
    target: SideFigure | None
    difference: float | None
    amplification: float | None
    is_output: bool = False

    @property
    def right(self) -> bool:
        return all(figure is None or figure.right for figure in (self.source, self.target))


@dataclass(frozen=True)
class Cause:
    """What was tried and explains a wrong layer: ``text`` in words, the largest rms ratio before and with it."""

    text: str
    before: float
    after: float


@dataclass
class Verdict:
    """The whole judgement. ``side`` is "source", "target" or "both", where the first wrong layer is."""

    right: bool
    source: str
    target: str
    layers: list[LayerFigure]
    samples: int
    seconds: float
    seed: int
    multiples: Multiples = field(default_factory=Multiples)
    first_bad: str | None = None
    side: str | None = None
    cause: Cause | None = None
    recorded: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    @property
    def outputs(self) -> list[LayerFigure]:
        """The figures of the graph outputs."""
        return [layer for layer in self.layers if layer.is_output]

    @property
    def conditioning(self) -> float:
        """The largest relative noise of an output, in units of float32's unit roundoff."""
        return max((layer.amplification or 0.0 for layer in self.outputs), default=0.0)

    @property
    def worst(self) -> float:
        """The largest local rms ratio (of a tensor or a slice of it) on either side."""
        figures = [figure for layer in self.layers for figure in (layer.source, layer.target) if figure]
        return max((max(figure.rms, figure.slice_rms) for figure in figures), default=0.0)

    @property
    def bad_layer(self) -> LayerFigure | None:
        """The first wrong layer."""
        return next((layer for layer in self.layers if layer.name == self.first_bad), None)

    def summary(self) -> str:
        """One line for right, two for wrong."""
        images = f"{self.samples} sample{'s' if self.samples != 1 else ''}"
        if self.right:
            recorded = f"; {' and '.join(self.recorded)} as recorded, not run" if self.recorded else ""
            return (
                f"{len(self.layers)} tensors agree on {images}: worst {self.worst:.1f}x the rounding of float32 "
                f"(bound {self.multiples.rms:g}x), outputs amplify rounding {self.conditioning:.3g}x{recorded}"
            )
        if (bad := self.bad_layer) is None:
            return f"wrong on {images}"
        who = {"source": self.source, "target": self.target}.get(self.side or "", f"{self.source} and {self.target}")
        return f"{bad.origin} is wrong in {who}: {self.reason()}\n" + (
            f"likely cause: {self.cause.text}" if self.cause else "none of the usual causes explains it"
        )

    def reason(self) -> str:
        """Why the first wrong layer is wrong."""
        bad = self.bad_layer
        figures = [figure for figure in (bad.source, bad.target) if figure and not figure.right] if bad else []
        if not figures:
            return "it differs"
        if problem := next((figure.problem for figure in figures if figure.problem), ""):
            return problem
        local = max(max(figure.rms, figure.slice_rms) for figure in figures)
        largest = max(figure.largest for figure in figures)
        if local > self.multiples.rms or largest > self.multiples.largest:
            if local > self.multiples.rms:
                size, bound = local, self.multiples.rms
            else:
                size, bound = largest, self.multiples.largest
            return f"its inputs agree and its output is off by {size:.3g}x the rounding of float32 (bound {bound:g}x)"
        drift = max(figure.drift or 0.0 for figure in figures)
        return f"end to end it is off by {drift:.3g}x the noise of float32 (bound {self.multiples.drift:g}x)"
