"""``convert``, ``verify``, ``inspect`` and ``read``: what the command line and other programs call."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from converter import __version__, frameworks, storage
from converter.errors import ReadError, UnsupportedLayers, UsageError
from converter.frameworks.options import ReadOptions, WriteOptions
from converter.graph import passes
from converter.graph.model import Artifact, Model, Origin, shape_of
from converter.pair import parse_pair
from converter.reference import DATA, Reference, reference_model

if TYPE_CHECKING:
    from converter.proof import Proof

Say = Callable[[str], None]


def _silent(message: str) -> None:
    pass


@dataclass
class Conversion:
    """What came of a conversion or of a verification.

    ``status`` is "right", "wrong", "unproven" (a runtime is missing; ``reason`` says which and what installs it) or
    "unverified" (nobody asked). ``directory`` holds the files, None where nothing was written.
    """

    source: str
    target: str
    status: str
    directory: Path | None = None
    artifact: Artifact | None = None
    proof: Proof | None = None
    reason: str = ""
    loading: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 proven or not asked to, 1 proven wrong, 3 not proven."""
        return {"right": 0, "unverified": 0, "wrong": 1, "unproven": 3}[self.status]

    @property
    def verdict(self) -> Any:
        """The judge's :class:`converter.parity.verdict.Verdict`, or None."""
        return self.proof.verdict if self.proof else None

    @property
    def headline(self) -> str:
        """The verdict in one line."""
        return self.verdict.summary().splitlines()[0] if self.verdict else self.reason

    @property
    def details(self) -> list[str]:
        """What else a user should know, a line each."""
        return (self.verdict.summary().splitlines()[1:] + self.verdict.notes if self.verdict else []) + self.notes

    @property
    def listing(self) -> list[str]:
        """Names of the files in the result's folder."""
        return sorted(path.name for path in self.directory.iterdir()) if self.directory else []

    @property
    def report(self) -> Path | None:
        """The HTML report, where there is one."""
        path = self.directory / "report.html" if self.directory else None
        return path if path and path.exists() else None

    def to_json(self) -> dict[str, Any]:
        """The machine's answer; per-layer figures are in ``parity.json``."""
        return {
            "source": self.source,
            "target": self.target,
            "status": self.status,
            "exit_code": self.exit_code,
            "message": self.headline,
            "details": self.details,
            "directory": str(self.directory) if self.directory else None,
            "files": self.listing,
            "load": self.loading,
            "first_bad_layer": self.verdict.first_bad if self.verdict else None,
            "side": self.verdict.side if self.verdict else None,
        }


def convert(
    pair: str,
    files: Sequence[str | os.PathLike[str]] = (),
    out: str | os.PathLike[str] | None = None,
    *,
    force: bool = False,
    flat: bool = False,
    images: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    no_verify: bool = False,
    progress: Say = _silent,
    **read_options: Any,
) -> Conversion:
    """Convert ``files`` (or the repository's own reference model) and prove that both sides compute the same.

    ``pair`` is "caffe->pytorch"; ``read_options`` are those of :class:`converter.frameworks.options.ReadOptions`.
    The result folder holds the target's files, ``conversion.json``, and where it was judged ``parity.json`` and
    ``report.html``; it appears whole or not at all. Raises ConverterError; a wrong result is returned, not raised.
    """
    source, target = parse_pair(pair)
    reader, writer = frameworks.load(source, "reader"), frameworks.load(target, "writer")
    reference = reference_model(source) if not files else None
    options = _read_options(reference, read_options)
    if out is not None:
        storage.check_destination(Path(out), force)
    progress("reading")
    folder = _images(images)
    model = reader.read(_roles(reader, source, reference.files if reference else files), options)
    destination = Path(out) if out is not None else Path("converted") / f"{_file_name(model.name)}-{target}"
    storage.check_destination(destination, force)
    legal = _legalise(model, writer, target)
    with storage.new_directory(destination, force) as directory:
        progress("writing")
        artifact = writer.write(legal, directory, WriteOptions(flat=flat, preprocessing=model.preprocessing))
        if no_verify:
            proof, status, reason = None, "unverified", "not verified, as asked"
        else:
            from converter.proof import prove

            with tempfile.TemporaryDirectory(prefix="converter-") as temporary:
                proof = prove(
                    model,
                    lambda: reader.runtime_artifact(model, Path(temporary)),
                    artifact,
                    images=folder,
                    preprocessing=model.preprocessing,
                    limit=limit,
                    recorded=(lambda: reference.recorded(model)) if reference else None,
                    progress=progress,
                )
            status, reason = proof.status, proof.reason
            _write_evidence(proof, model, directory, progress)
        _write_card(directory, model, artifact, target, status, reason)
    artifact.files = {role: destination / path.relative_to(directory) for role, path in artifact.files.items()}
    loading = writer.loading_lines(artifact)
    return Conversion(source, target, status, destination, artifact, proof, reason, loading, list(model.notes))


def verify(
    first: Sequence[str | os.PathLike[str]],
    second: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str] | None = None,
    *,
    force: bool = False,
    images: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    progress: Say = _silent,
    **read_options: Any,
) -> Conversion:
    """Judge two models on disk. ``first`` is read; ``second`` is a conversion's folder, or files that can be read.

    With ``out``, ``parity.json`` and ``report.html`` are written there.
    """
    from converter.proof import prove

    options = ReadOptions(**read_options)
    source, reader, roles = _identify(first)
    folder = _images(images)
    model = reader.read(roles, options)
    with tempfile.TemporaryDirectory(prefix="converter-") as temporary:
        other = _other_artifact(second, model, options, Path(temporary))
        proof = prove(
            model,
            lambda: reader.runtime_artifact(model, Path(temporary)),
            other,
            images=folder,
            preprocessing=model.preprocessing,
            limit=limit,
            progress=progress,
        )
        directory = None
        if out is not None and proof.verdict:
            directory = Path(out)
            with storage.new_directory(directory, force) as result:
                _write_evidence(proof, model, result, progress)
                _write_card(result, model, None, other.framework, proof.status, proof.reason)
    return Conversion(source, other.framework, proof.status, directory, None, proof, proof.reason, [], model.notes)


def read(files: Sequence[str | os.PathLike[str]], framework: str | None = None, **read_options: Any) -> Model:
    """The hub graph of a model on disk, with ``framework`` found by content where it is not given."""
    if framework is None:
        _, reader, roles = _identify(files)
    else:
        reader = frameworks.load(frameworks.canonical(framework), "reader")
        roles = _roles(reader, framework, files)
    return reader.read(roles, ReadOptions(**read_options))


def inspect(files: Sequence[str | os.PathLike[str]], **read_options: Any) -> dict[str, Any]:
    """A description of a model as plain data: its layers with shapes, parameters and origins, and who can take it."""
    model = read(files, **read_options)
    layers: dict[tuple[str, int | None], dict[str, Any]] = {}
    for node in model.graph:
        origin = Origin.of(node)
        where = f"{Path(origin.file).name}:{origin.line}" if origin.file else ""
        row = layers.setdefault(
            (origin.layer, origin.line),
            {"layer": origin.layer, "type": origin.type, "where": where, "ops": [], "shapes": [], "parameters": 0},
        )
        row["ops"].append(node.op_type)
        row["shapes"] = [list(shape_of(value)) for value in node.outputs]
        row["parameters"] += sum(value.const_value.size for value in node.inputs if _is_parameter(value))
    targets: dict[str, list[str]] = {}
    for name in frameworks.ALIASES:
        if name != model.framework and frameworks.can(name, "writer"):
            try:
                _legalise(model, frameworks.load(name, "writer"), name)
                targets[name] = []
            except UnsupportedLayers as error:
                targets[name] = [str(layer) for layer in error.layers]
    return {
        "framework": model.framework,
        "name": model.name,
        "inputs": {value.name: list(shape_of(value)) for value in model.graph.inputs},
        "outputs": {value.name: list(shape_of(value)) for value in model.graph.outputs},
        "layers": list(layers.values()),
        "parameters": sum(
            value.const_value.size for value in model.graph.initializers.values() if _is_parameter(value)
        ),
        "preprocessing": model.preprocessing.to_json() if model.preprocessing else None,
        "notes": model.notes,
        "targets": targets,
    }


def _is_parameter(value: Any) -> bool:
    """A weight of the model, not a constant operand such as a shape."""
    return value is not None and value.const_value is not None and value.dtype.is_floating_point()


def _legalise(model: Model, writer: ModuleType, target: str) -> Model:
    legal = passes.run(model, writer.PASSES)
    if unsupported := writer.check(legal):
        raise UnsupportedLayers(unsupported, side=target)
    return legal


def _read_options(reference: Reference | None, given: Mapping[str, Any]) -> ReadOptions:
    """The caller's options; the reference model's card fills in its preprocessing."""
    options = dict(given)
    if reference:
        for key, value in asdict(reference.preprocessing).items():
            if options.get(key) is None:
                options[key] = value
    return ReadOptions(**options)


def _roles(reader: ModuleType, framework: str, files: Sequence[str | os.PathLike[str]]) -> dict[str, Path]:
    """Each file's role, told by its content. Raises ReadError for a file that has none, or a role taken twice."""
    roles: dict[str, Path] = {}
    for path in map(Path, files):
        try:
            if not path.is_file():
                raise ReadError("is a folder, not a file" if path.is_dir() else "there is no such file", path)
        except (OSError, ValueError) as error:  # a name that no file can have
            raise ReadError(getattr(error, "strerror", None) or str(error), path) from error
        role = reader.classify(path)
        if role is None:
            raise ReadError(f"is no file of a {framework} model", path)
        if role in roles:
            raise ReadError(f"is a second {role}, beside {roles[role]}; give one", path)
        roles[role] = path
    return roles


def _identify(files: Sequence[str | os.PathLike[str]]) -> tuple[str, ModuleType, dict[str, Path]]:
    """The framework that knows every one of ``files``, by content."""
    reasons = []
    for name in frameworks.ALIASES:
        if frameworks.can(name, "reader"):
            reader = frameworks.load(name, "reader")
            try:
                return name, reader, _roles(reader, name, files)
            except ReadError as error:
                reasons.append(error)
    raise reasons[0] if len(reasons) == 1 else ReadError("is no model that can be read here", files[0])


def _other_artifact(
    files: Sequence[str | os.PathLike[str]], model: Model, options: ReadOptions, temporary: Path
) -> Artifact:
    """The second model of a verification, with its tensors under the first one's names where both have them."""
    paths = list(map(Path, files))
    if len(paths) == 1 and paths[0].is_dir():
        model.notes += _changes_since(paths[0])
        return _from_card(paths[0])
    framework, reader, roles = _identify(paths)
    other = reader.read(roles, options)
    artifact = reader.runtime_artifact(other, _subfolder(temporary, "other"))
    for kind in ("inputs", "outputs"):
        ours = [value.name for value in getattr(model.graph, kind)]
        theirs = [value.name for value in getattr(other.graph, kind)]
        if len(ours) != len(theirs):
            raise UsageError(f"the models have {len(ours)} and {len(theirs)} {kind}; cut one with --output")
        names = getattr(artifact, kind)
        setattr(artifact, kind, {our: names[their] for our, their in zip(ours, theirs, strict=True)})
    return artifact


def _from_card(directory: Path) -> Artifact:
    path = directory / storage.CARD
    try:
        card = json.loads(path.read_text())
        target = card["artifact"]
        files = {role: directory / name for role, name in target["files"].items()}
        return Artifact(
            target["framework"], files, target["inputs"], target["outputs"], target["taps"], target["options"]
        )
    except OSError as error:
        raise ReadError(f"has no {storage.CARD}; give a folder that a conversion wrote", directory) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReadError("is no card of a conversion", path) from error


def _changes_since(directory: Path) -> list[str]:
    """Files of a conversion that are no longer those of its certificate, a line each."""
    from converter.parity.certificate import changed_files

    path = directory / "parity.json"
    return [f"since the certificate: {change}" for change in changed_files(path)] if path.exists() else []


def _images(images: str | os.PathLike[str] | None) -> Path | None:
    """The folder of test images: the caller's, or the repository's where it is there."""
    if images is not None:
        folder = Path(images)
        if not folder.is_dir():
            raise ReadError("there is no such folder of images", folder)
        return folder
    return DATA if DATA.is_dir() else None


def _write_evidence(proof: Proof, model: Model, directory: Path, progress: Say) -> None:
    if proof.verdict is None or proof.inputs is None or proof.sides is None:
        return
    from converter.parity import certificate, report

    progress("writing the report")
    certificate.write(directory / "parity.json", proof.verdict, proof.sides, proof.inputs)
    report.write(directory / "report.html", proof.verdict, model, proof.sides)


def _write_card(
    directory: Path, model: Model, artifact: Artifact | None, target: str, status: str, reason: str
) -> None:
    """``conversion.json``: what was converted, where its tensors are, how images go in, and the verdict."""
    card: dict[str, Any] = {
        "converter": __version__,
        "source": {"framework": model.framework, "name": model.name, "files": [path.name for path in model.files]},
        "target": target,
        "verdict": status,
        "reason": reason or None,
        "preprocessing": model.preprocessing.to_json() if model.preprocessing else None,
        "notes": model.notes,
    }
    if artifact:
        card["artifact"] = asdict(artifact) | {
            "files": {role: str(path.relative_to(directory)) for role, path in artifact.files.items()}
        }
    (directory / storage.CARD).write_text(json.dumps(card, indent=1) + "\n")


def _subfolder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


def _file_name(name: str) -> str:
    """A net's name as a folder's name."""
    return "".join(char if char.isalnum() or char in "-_." else "_" for char in name).strip("._") or "net"


__all__ = ["Conversion", "convert", "inspect", "read", "verify"]
