"""Draws the training curves of a reference model from its card: python reference_models/curves.py caffe"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent


def draw_curves(card: dict, file: Path) -> None:
    """Writes ``file``: loss and validation accuracy over the iterations, from the ``curve`` of ``card``."""
    curve = card["curve"]
    iterations = [point["iteration"] for point in curve]
    figure = Figure(figsize=(7, 3), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    loss.plot(iterations, [point["loss"] for point in curve], label="training")
    loss.plot(iterations, [point["validation_loss"] for point in curve], label="validation")
    loss.set(xlabel="iteration", ylabel="cross-entropy", yscale="log")
    loss.legend()
    accuracy.plot(iterations, [point["validation_accuracy"] for point in curve], color="tab:orange")
    accuracy.set(xlabel="iteration", ylabel="validation accuracy", ylim=(0.45, 1.02))
    figure.suptitle(f"The smile net in {card['framework']}: test accuracy {card['accuracy']['mouths']['test']:.2f}")
    figure.savefig(file, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("framework", help="folder of the model, e.g. caffe")
    folder = HERE / parser.parse_args().framework
    draw_curves(json.loads((folder / "card.json").read_text()), folder / "curves.png")


if __name__ == "__main__":
    main()
