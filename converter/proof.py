"""The proof of a conversion: both real runtimes on the same inputs, judged against the float64 hub graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from converter import environments
from converter.errors import EnvironmentMissing, WorkerFailed
from converter.graph.model import Artifact, Model, Preprocessing, shape_of
from converter.parity.inputs import inputs_for
from converter.parity.judge import judge
from converter.parity.side import Side
from converter.parity.verdict import Verdict
from converter.reference import Recorded

Say = Callable[[str], None]

#: Multiply-adds that a proof may spend in one float64 pass, unless the caller sets the number of images: about a
#: minute in all on two cores (a ResNet-50 of half width, 14 samples: 74 s; a smile net, 1,005 samples: 15 s).
BUDGET = 1e10


@dataclass(frozen=True)
class Proof:
    """``status`` is "right", "wrong" or "unproven"; ``reason`` says why nothing is proven."""

    status: str
    verdict: Verdict | None = None
    reason: str = ""
    inputs: dict[str, np.ndarray] | None = None
    sides: tuple[Side, Side] | None = None


def prove(
    model: Model,
    source: Callable[[], Artifact],
    target: Artifact,
    *,
    images: Path | None,
    preprocessing: Preprocessing | None,
    limit: int | None = None,
    recorded: Callable[[], list[Recorded]] | None = None,
    progress: Say = lambda message: None,
) -> Proof:
    """Run both artefacts of ``model`` and judge them. ``source()`` prepares the source's, for its real runtime.

    ``recorded`` gives what the source's runtime answered earlier, for where it is not installed. A runtime that is
    missing or fails makes the proof "unproven". Raises ReadError for a broken image and UsageError where the images do
    not fit the net.
    """
    with ExitStack() as stack:
        try:
            progress(f"starting {target.framework}")
            target_side = _live(stack, target, target.files)
            try:
                progress(f"starting {model.framework}")
                source_side = _live(stack, source(), {path.name: path for path in model.files})
                questions = [
                    Recorded(source_side, inputs_for(model, images, preprocessing, limit or affordable(model)))
                ]
                missing = ""
            except EnvironmentMissing as error:
                if recorded is None:
                    raise
                questions = recorded()
                missing = f"judged by its recorded outputs: {error}"
            verdicts = [judge(model, side, target_side, inputs, progress=progress) for side, inputs in questions]
        except (EnvironmentMissing, WorkerFailed) as error:
            return Proof("unproven", reason=str(error))
    # The first question asks for every tensor; the others are told only when they find what it did not.
    told = next((number for number, verdict in enumerate(verdicts) if not verdict.right), 0)
    verdict, question = verdicts[told], questions[told]
    if missing:
        verdict.notes.append(missing)
    if verdict.right:
        verdict.notes += [
            f"the {len(other.layers)} recorded outputs agree on {other.samples} samples too" for other in verdicts[1:]
        ]
    status = "right" if verdict.right else "wrong"
    return Proof(status, verdict, inputs=question.inputs, sides=(question.side, target_side))


def affordable(model: Model) -> int:
    """How many samples a proof takes by default: all that fit the budget, at least 2 and at most 1,000."""
    return int(min(1000, max(2, BUDGET / max(1, multiply_adds(model)))))


def multiply_adds(model: Model) -> int:
    """Multiply-adds of one sample: every output element of a product costs one for each term of its sum."""
    total = 0
    for node in model.graph:
        if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            weight = shape_of(node.inputs[1])
            # A convolution has one term per weight of a filter; transposed, each *input* element meets one filter.
            if node.op_type == "Conv":
                total += prod(shape_of(node.outputs[0])) * prod(weight[1:])
            elif node.op_type == "ConvTranspose":
                total += prod(shape_of(node.inputs[0])) * prod(weight[1:])
            else:
                total += prod(shape_of(node.outputs[0])) * shape_of(node.inputs[0])[-1]
    batch = max((shape[0] for shape in model.input_shapes().values() if shape), default=1)
    return total // max(1, batch)


def _live(stack: ExitStack, artifact: Artifact, files: Mapping[str, Path]) -> Side:
    """The side that a real runtime is; its process ends with ``stack``. ``files`` are what its user knows it by."""
    runtime = stack.enter_context(environments.open_runtime(artifact.framework))
    session = stack.enter_context(runtime.open(artifact))
    names = artifact.taps | artifact.outputs

    def run(inputs: dict[str, np.ndarray], wanted: list[str]) -> dict[str, np.ndarray]:
        given = {artifact.inputs[name]: array for name, array in inputs.items()}
        arrays = session.run(given, [names[name] for name in wanted])
        return {name: arrays[names[name]] for name in wanted}

    versions = runtime.versions()
    label = " ".join([artifact.framework, versions.get(artifact.framework, "")]).strip()
    return Side(artifact.framework, label, run, frozenset(names), versions, dict(files))
