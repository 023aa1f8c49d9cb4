"""How far a tensor is from what it should be, in units of what float32 can mean, gathered over batches."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

#: Smallest normal float32. Runtimes may flush what is smaller to zero, so no error below it counts.
SMALLEST_NORMAL = 2.0**-126
#: Above this a float32 result is infinite.
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Multiples:
    """The bounds of the verdict, all in standard deviations of float32's rounding; README.md says how they were chosen.

    ``rms`` bounds the root mean square of error/noise over a tensor and over each of its slices along every axis,
    ``largest`` the worst element, ``drift`` the distance of a whole tensor to the reference, end to end.
    """

    rms: float = 8.0
    largest: float = 64.0
    drift: float = 8.0


def ratios(actual: np.ndarray, value: np.ndarray, noise: np.ndarray | float) -> np.ndarray:
    """abs(actual - value) / noise by element, float64: 0 where both are the same NaN or infinity, inf where one is not.

    All of one shape (noise may broadcast). A float64 value beyond float32's range should be infinite in ``actual``.
    """
    with np.errstate(all="ignore"):
        actual = np.asarray(actual, dtype=np.float64)
        value = np.asarray(value, dtype=np.float64)
        value = np.where(np.abs(value) > LARGEST, np.copysign(np.inf, value), value)
        ratio = np.abs(actual - value) / np.maximum(noise, SMALLEST_NORMAL)
        ratio[(actual == value) | (np.isnan(actual) & np.isnan(value))] = 0.0
        # One NaN, two different infinities, or a noise that is no number: nothing that can be called right.
        ratio[np.isnan(ratio) | ((actual != value) & ~np.isnan(value) & ~np.isfinite(noise))] = np.inf
    return ratio


def slice_rms(squares: np.ndarray) -> float:
    """The largest root mean square over the slices along any axis: a wrong channel, border row or sample stands out."""
    worst = 0.0
    for axis in range(squares.ndim):
        others = tuple(other for other in range(squares.ndim) if other != axis)
        worst = max(worst, float(squares.mean(axis=others).max(initial=0.0)))
    return math.sqrt(worst)


@dataclass
class Agreement:
    """Error/noise of one tensor of one side against a float64 value, merged over batches.

    ``energy`` is kept besides: sums of squared error and squared noise, for the drift, where elements of almost no
    noise must not dominate.
    """

    count: int = 0
    squares: float = 0.0
    worst_slice: float = 0.0
    largest: float = 0.0
    error_energy: float = 0.0
    noise_energy: float = 0.0
    value_energy: float = 0.0
    problems: list[str] = field(default_factory=list)

    def add(self, actual: np.ndarray, value: np.ndarray, noise: np.ndarray | float) -> None:
        """Compare one batch; a wrong shape becomes a problem."""
        if actual.shape != value.shape:
            self.fail(f"its shape is {_shape(actual.shape)} and should be {_shape(value.shape)}")
            return
        if not actual.size:
            return
        ratio = ratios(actual, value, noise)
        if np.isinf(ratio).any() and not np.isfinite(actual).all():
            self.fail("it has NaN or infinity where the reference has none")
        with np.errstate(all="ignore"):
            squares = np.square(ratio)
            finite = np.isfinite(actual) & np.isfinite(value) & np.isfinite(np.broadcast_to(noise, value.shape))
            error = np.where(finite, actual - value.astype(np.float64), 0.0)
            self.error_energy += float(np.square(error).sum())
            self.noise_energy += float(np.square(np.where(finite, noise, 0.0)).sum())
            self.value_energy += float(np.square(np.where(finite, value, 0.0)).sum())
        self.count += ratio.size
        self.squares += float(squares.sum())
        self.worst_slice = max(self.worst_slice, slice_rms(squares))
        self.largest = max(self.largest, float(ratio.max()))

    def merge(self, other: Agreement) -> None:
        """Add what another batch found."""
        self.count += other.count
        self.squares += other.squares
        self.worst_slice = max(self.worst_slice, other.worst_slice)
        self.largest = max(self.largest, other.largest)
        self.error_energy += other.error_energy
        self.noise_energy += other.noise_energy
        self.value_energy += other.value_energy
        for problem in other.problems:
            self.fail(problem)

    def fail(self, problem: str) -> None:
        """Something that no figure expresses; the tensor is wrong."""
        if problem not in self.problems:
            self.problems.append(problem)

    @property
    def rms(self) -> float:
        """Root mean square of error/noise over all elements and batches."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0

    @property
    def drift(self) -> float:
        """Root mean square of the error over root mean square of the noise."""
        if self.error_energy == 0.0:
            return 0.0
        floor = self.count * SMALLEST_NORMAL**2
        return math.sqrt(self.error_energy / max(self.noise_energy, floor, 1e-300))

    @property
    def amplification(self) -> float:
        """Relative noise of the tensor in units of float32's unit roundoff: how ill-conditioned it is."""
        return math.sqrt(self.noise_energy / self.value_energy) * 2.0**24 if self.value_energy else 0.0

    def within(self, bound: Multiples) -> bool:
        """Whether every element, slice and the whole are what float32 can mean."""
        return not self.problems and max(self.rms, self.worst_slice) <= bound.rms and self.largest <= bound.largest


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
