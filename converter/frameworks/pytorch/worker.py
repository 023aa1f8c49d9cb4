"""Runs a PyTorch module from its source and its safetensors. The protocol: converter/environments/worker_protocol.py.

Taps are the values that the statements of ``forward`` assign. "blocks.0:3" is what statement 3 (counted from 0,
assignments alone, in the order of the source) assigns in ``forward`` of the submodule ``blocks.0``; ":3" is the root's.
Where the statement unpacks, "blocks.0:3.1" is the second of its targets, ":3.1.0" the first within it.

To see them, a call is inserted behind each assignment before the source is compiled; the statements stay as they are.
"""

from __future__ import annotations

import ast
import inspect
import json
import mmap
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy
import torch

MODULE = "converted_model"
TAP = "__tap__"
# https://github.com/huggingface/safetensors, "Format": names of the types, all little-endian.
SAFETENSORS_TYPES = {
    **{"BOOL": "|b1", "U8": "|u1", "I8": "|i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"},
    **{"F16": "<f2", "F32": "<f4", "F64": "<f8"},
}
LONGEST_HEADER = 100_000_000


def versions() -> dict[str, str]:
    return {"torch": torch.__version__, "numpy": numpy.__version__}


def load(files: dict[str, str], options: dict) -> Model:
    """``files``: "source", "weights". ``options``: "class", "outputs" (names of what forward returns), "threads"."""
    if "threads" in options:
        torch.set_num_threads(int(options["threads"]))
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing is written beside the user's files.
    sys.dont_write_bytecode = True
    return Model(files["source"], files["weights"], options)


class Model:
    """An instance of the class, with its weights, in evaluation mode."""

    def __init__(self, source: str, weights: str, options: dict) -> None:
        taps_of_class: dict[str, list[str]] = {}
        self.code = types.ModuleType(MODULE)
        self.code.__file__ = source
        self.code.__dict__[TAP] = self.tap
        sys.modules[MODULE] = self.code
        with open(source, "rb") as file:
            tree = Instrument(taps_of_class).visit(ast.parse(file.read(), source))
        exec(compile(ast.fix_missing_locations(tree), source, "exec"), self.code.__dict__)
        self.module = getattr(self.code, options["class"])()
        self.module.load_state_dict(read_safetensors(weights), strict=True)
        self.module.eval()
        parameters = inspect.signature(self.module.forward).parameters.values()
        self.inputs = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
        self.outputs = list(options.get("outputs", ["output"]))
        self.paths = {module: path for path, module in self.module.named_modules()}
        self.taps = [
            f"{path}:{address}"
            for module, path in self.paths.items()
            for address in taps_of_class.get(class_of_forward(module), ())
        ]
        self.wanted, self.found = set(), {}

    def tap(self, module: torch.nn.Module, address: str, value: Any) -> None:
        """Called behind each assignment of each forward. Cloned, for a later statement may write into it."""
        name = f"{self.paths[module]}:{address}"
        if name not in self.wanted:
            return
        if name in self.found:
            raise ValueError(f"{name} has no single value: its module is called more than once")
        self.found[name] = value.detach().clone() if isinstance(value, torch.Tensor) else value

    def run(self, inputs: dict, names: list[str], lenient: bool) -> dict[str, numpy.ndarray]:
        self.wanted, self.found = set(names), {}
        tensors = {name: as_tensor(array) for name, array in inputs.items()}
        with torch.no_grad():
            returned = self.module(**tensors)
        values = dict(self.found, **self.named_outputs(returned))
        self.found = {}
        arrays = {}
        for name in names:
            if isinstance(values.get(name), torch.Tensor):
                arrays[name] = values[name].numpy()
            elif not lenient:
                kind = type(values[name]).__name__ if name in values else "never reached"
                raise TypeError(f"{name} is no tensor: {kind}")
        return arrays

    def named_outputs(self, returned: Any) -> dict[str, Any]:
        if isinstance(returned, dict):
            return {name: returned[name] for name in self.outputs}
        several = returned if isinstance(returned, (tuple, list)) else [returned]
        if len(several) != len(self.outputs):
            raise ValueError(f"forward returns {len(several)} values, {len(self.outputs)} are named")
        return dict(zip(self.outputs, several, strict=True))


class Instrument(ast.NodeTransformer):
    """Inserts a call behind each assignment in the body of every ``forward``, and lists their addresses by class."""

    def __init__(self, taps_of_class: dict[str, list[str]]) -> None:
        self.taps_of_class = taps_of_class
        self.classes: list[str] = []

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.classes.append(node.name)
        self.generic_visit(node)
        self.classes.pop()
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        if not self.classes or node.name != "forward":
            return node
        addresses, body, ordinal = [], [], 0
        for statement in node.body:
            body.append(statement)
            if isinstance(statement, (ast.Assign, ast.AugAssign, ast.AnnAssign)) and statement.value is not None:
                target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
                for address, name in named_targets(target, str(ordinal)):
                    addresses.append(address)
                    body.append(ast.copy_location(tap_call(node.args.args[0].arg, address, name), statement))
                ordinal += 1
        node.body = body
        self.taps_of_class[".".join(self.classes)] = addresses
        return node


def named_targets(target: ast.expr, address: str) -> Iterator[tuple[str, str]]:
    """Yields the address and the name of each variable that an assignment to ``target`` sets."""
    if isinstance(target, ast.Name):
        yield address, target.id
    elif isinstance(target, (ast.Tuple, ast.List)):
        for number, element in enumerate(target.elts):
            yield from named_targets(element, f"{address}.{number}")


def tap_call(instance: str, address: str, name: str) -> ast.Expr:
    """The statement ``__tap__(instance, "address", name)``."""
    arguments = [ast.Name(instance, ast.Load()), ast.Constant(address), ast.Name(name, ast.Load())]
    return ast.Expr(ast.Call(ast.Name(TAP, ast.Load()), arguments, []))


def class_of_forward(module: torch.nn.Module) -> str | None:
    """The qualified name of the class of the model's source that ``module`` has its forward from, or None."""
    for kind in type(module).__mro__:
        if "forward" in vars(kind):
            return kind.__qualname__ if kind.__module__ == MODULE else None
    return None


def as_tensor(array: numpy.ndarray) -> torch.Tensor:
    """Floats become float32; integers and booleans stay what they are."""
    return torch.from_numpy(numpy.ascontiguousarray(array, "<f4" if array.dtype.kind == "f" else None))


def read_safetensors(path: str) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file by name, mapped from it; ValueError where its header does not fit the file."""
    with open(path, "rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    length = int.from_bytes(data[:8], "little")
    if length > min(LONGEST_HEADER, len(data) - 8):
        raise ValueError(f"{path} is no safetensors file: its header would take {length} bytes")
    header, data = json.loads(bytes(data[8 : 8 + length])), data[8 + length :]
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        dtype = numpy.dtype(SAFETENSORS_TYPES[entry["dtype"]])
        if not 0 <= begin <= end <= len(data):
            raise ValueError(f"{path}: {name} lies outside the file")
        # Headers of odd length leave tensors unaligned, which PyTorch does not expect.
        flat = numpy.require(numpy.frombuffer(data[begin:end], dtype), requirements=["A", "W"])
        tensors[name] = torch.from_numpy(flat.reshape(entry["shape"]))
    return tensors
