"""Sliding windows of any rank, as convolution and pooling use them: sizes, padding, one strided slice per tap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from converter.graph.ops.registry import Attributes


class Windows(NamedTuple):
    """Kernel, strides, dilations and padding (before, after), one number for each spatial axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]

    @classmethod
    def of(cls, attributes: Attributes, kernel: Sequence[int]) -> Windows:
        """The windows that ONNX attributes describe; ValueError where they make no sense."""
        rank = len(kernel)
        if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            raise ValueError("auto_pad must have been turned into explicit pads")
        strides = tuple(attributes.get("strides", (1,) * rank))
        dilations = tuple(attributes.get("dilations", (1,) * rank))
        pads = tuple(attributes.get("pads", (0,) * (2 * rank)))
        if len(strides) != rank or len(dilations) != rank or len(pads) != 2 * rank:
            raise ValueError(f"a kernel of {rank} axes needs {rank} strides and dilations and {2 * rank} pads")
        if min((*kernel, *strides, *dilations), default=1) < 1 or min(pads, default=0) < 0:
            raise ValueError("kernel, strides and dilations must be positive, pads not negative")
        return cls(tuple(kernel), strides, dilations, pads[:rank], pads[rank:])

    @property
    def extents(self) -> tuple[int, ...]:
        """What one window spans, the gaps of the dilation included."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def output_sizes(self, sizes: Sequence[int], ceil_mode: bool = False) -> tuple[int, ...]:
        """Number of windows per axis. With ``ceil_mode`` a last window may hang over the end, if it starts inside
        the input or its front padding (PyTorch, ONNX Runtime and Caffe with padding agree)."""
        if len(sizes) != len(self.kernel):
            raise ValueError(f"a kernel of {len(self.kernel)} axes does not fit an input with {len(sizes)}")
        counts = []
        for size, extent, stride, begin, end in zip(
            sizes, self.extents, self.strides, self.begin, self.end, strict=True
        ):
            room = size + begin + end - extent
            count = (-(-room // stride) if ceil_mode else room // stride) + 1
            if ceil_mode and (count - 1) * stride >= size + begin:
                count -= 1
            if count < 1:
                raise ValueError(f"a window of {extent} does not fit an axis of {size} padded by {begin} and {end}")
            counts.append(count)
        return tuple(counts)

    def padded(self, x: np.ndarray, outputs: Sequence[int], fill: float) -> np.ndarray:
        """``x`` (N, C, ...) with its padding, and as much more at the end as the last windows reach."""
        spans = zip(x.shape[2:], outputs, self.strides, self.extents, self.begin, self.end, strict=True)
        after = [max(end, (n - 1) * s + extent - size - begin) for size, n, s, extent, begin, end in spans]
        if not any(self.begin) and not any(after):
            return x
        return np.pad(x, [(0, 0), (0, 0), *zip(self.begin, after, strict=True)], constant_values=fill)

    def taps(self, outputs: Sequence[int]) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """For each position in the kernel, in C order, the slice of the padded input that it reads for all windows."""
        for position in np.ndindex(*self.kernel):
            slices = (
                slice(p * d, p * d + s * (n - 1) + 1, s)
                for p, d, s, n in zip(position, self.dilations, self.strides, outputs, strict=True)
            )
            yield position, (..., *slices)

    def counts(self, axis: int, outputs: int, low: int, high: int) -> np.ndarray:
        """For each window along ``axis`` the number of taps at positions low <= p < high (0 = first input element)."""
        starts = np.arange(outputs) * self.strides[axis] - self.begin[axis]
        positions = starts[:, None] + np.arange(self.kernel[axis]) * self.dilations[axis]
        return ((positions >= low) & (positions < high)).sum(axis=1)
