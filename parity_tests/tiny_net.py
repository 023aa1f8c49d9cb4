"""One small net and what it computes, in float64: the measure for the runtimes of all frameworks.

conv (3x3, padded by 1) - norm (batch normalisation) - relu - pool (2x2 maximum) - fc - softmax, channels first.
Height, width and numbers of channels all differ, so that exchanged axes cannot go unseen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

CHANNELS, HEIGHT, WIDTH = 2, 6, 8
EPSILON = 1e-3
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def images(batch: int) -> np.ndarray:
    """Float32 of shape (batch, CHANNELS, HEIGHT, WIDTH), others for each batch."""
    return np.random.default_rng(batch).normal(size=(batch, CHANNELS, HEIGHT, WIDTH)).astype(np.float32)


def weights() -> dict[str, np.ndarray]:
    """Float32: conv_weight (out, in, height, width), fc_weight (out, in) behind a flattened (4, 3, 4), and vectors."""
    rng = np.random.default_rng(0)
    values = {
        "conv_weight": rng.normal(size=(4, CHANNELS, 3, 3)),
        "conv_bias": rng.normal(size=4),
        "gamma": rng.normal(size=4) + 2,
        "beta": rng.normal(size=4),
        "mean": rng.normal(size=4),
        "variance": rng.uniform(0.5, 2, size=4),
        "fc_weight": rng.normal(size=(3, 48)) / 7,
        "fc_bias": rng.normal(size=3),
    }
    return {name: value.astype(np.float32) for name, value in values.items()}


def save_weights(folder: Path) -> None:
    """Writes `weights` as ``weights.npz``, for a script that builds the net in a framework's own environment."""
    np.savez(folder / "weights.npz", **weights())


def layers(x: np.ndarray) -> dict[str, np.ndarray]:
    """What each layer makes of ``x`` (batch, CHANNELS, HEIGHT, WIDTH), by its name, in float64."""
    w = {name: value.astype(np.float64) for name, value in weights().items()}
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    conv = np.einsum("nchwij,ocij->nohw", windows, w["conv_weight"]) + w["conv_bias"][:, None, None]
    scale = w["gamma"] / np.sqrt(w["variance"] + EPSILON)
    norm = scale[:, None, None] * (conv - w["mean"][:, None, None]) + w["beta"][:, None, None]
    relu = np.maximum(norm, 0)
    pool = relu.reshape(len(x), 4, HEIGHT // 2, 2, WIDTH // 2, 2).max(axis=(3, 5))
    fc = pool.reshape(len(x), -1) @ w["fc_weight"].T + w["fc_bias"]
    exponentials = np.exp(fc - fc.max(axis=1, keepdims=True))
    softmax = exponentials / exponentials.sum(axis=1, keepdims=True)
    return {"conv": conv, "norm": norm, "relu": relu, "pool": pool, "fc": fc, "softmax": softmax}
