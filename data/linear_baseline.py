"""How far a linear classifier gets on the raw pixels: the figure that a net has to beat.

    python data/linear_baseline.py [--data DIR]

Logistic regression with a squared penalty, fitted by Newton's method in the space that the training images span; the
penalty is the one that does best on the validation images.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from converter.graph.model import Preprocessing  # noqa: E402
from converter.images import dataset, load_images, split  # noqa: E402

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1e0, 1e1)


def fit_logistic(samples: np.ndarray, labels: np.ndarray, penalty: float, steps: int = 25) -> np.ndarray:
    """Weights, (K,), minimising mean log loss + penalty * |weights|^2 / 2; labels are 0 and 1, samples (N, K)."""
    weights = np.zeros(samples.shape[1])
    for _ in range(steps):
        probability = 1 / (1 + np.exp(-np.clip(samples @ weights, -30, 30)))
        slope = samples.T @ (probability - labels) / len(labels) + penalty * weights
        curvature = (samples.T * (probability * (1 - probability))) @ samples / len(labels)
        weights = weights - np.linalg.solve(curvature + penalty * np.eye(len(weights)), slope)
    return weights


def linear_accuracy(folder: Path) -> dict[str, float]:
    """Accuracy of the best penalty on the images of ``folder``, cropped to 48x48: {"validation": ..., "test": ...}."""
    parts = split(dataset(folder))
    pixels = {
        part: load_images(data.files, Preprocessing(crop=(48, 48), scale=1 / 255)).reshape(len(data), -1).astype(float)
        for part, data in parts.items()
    }
    centre = pixels["train"].mean(axis=0)
    _, _, span = np.linalg.svd(pixels["train"] - centre, full_matrices=False)
    features = {part: np.c_[(values - centre) @ span.T, np.ones(len(values))] for part, values in pixels.items()}
    results = []
    for penalty in PENALTIES:
        weights = fit_logistic(features["train"], parts["train"].labels, penalty)
        results.append(
            {
                part: float(np.mean((features[part] @ weights > 0) == parts[part].labels))
                for part in ("validation", "test")
            }
        )
    return max(results, key=lambda result: result["validation"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "mouths", help="folder with class folders 0 and 1")
    for part, accuracy in linear_accuracy(parser.parse_args().data).items():
        print(f"{part} accuracy {accuracy:.2f}")


if __name__ == "__main__":
    main()
