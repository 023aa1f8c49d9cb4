"""Runs an inference model on real PaddlePaddle. The protocol: converter/environments/worker_protocol.py.

Both kinds of file are run by the static executor, each in the mode of its kind. A ``.pdmodel`` (version 2) names its
variables, and so are its taps named. A ``.json`` (version 3, "PIR") does not: there "conv2d_9" is what the operation at
place 9 of the program makes, counted from 0 and with the parameters, as in the file; "split_9:1" is its second result.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy
import paddle
from paddle.base.data_feeder import convert_dtype
from paddle.pir_utils import OldIrGuard

paddle.enable_static()

# Operations of a program that would write or read files, or run Python.
REFUSED = {"save", "save_combine", "load", "load_combine", "read_file", "py_func"}
# NumPy has no such numbers; Paddle would give their bits.
NO_NUMBERS = {"bfloat16", "uint16"}


def versions() -> dict[str, str]:
    return {"paddle": paddle.__version__, "numpy": numpy.__version__}


def load(files: dict[str, str], options: dict) -> Program | OldProgram:
    """``files``: "model" (``.json`` or ``.pdmodel``, told apart by content), "params" (``.pdiparams``; absent where the
    net has none). ``options``: none.
    """
    with open(files["model"], "rb") as file:
        kind = Program if file.read(1) == b"{" else OldProgram
    # In a folder of its own there is no .pdiparams.info beside it: that is a pickle, which Paddle may run.
    prefix = os.path.join(tempfile.mkdtemp(dir=os.getcwd()), "model")
    os.symlink(files["model"], prefix + kind.suffix)
    if "params" in files:
        os.symlink(files["params"], prefix + ".pdiparams")
    return kind(prefix)


class Program:
    """A program of version 3. ``places`` says of each tensor which result of which operation it is."""

    suffix = ".json"
    mode = nullcontext

    def __init__(self, prefix: str) -> None:
        self.executor = paddle.static.Executor(paddle.CPUPlace())
        # Of its own: two models may have parameters of the same name.
        self.scope = paddle.static.Scope()
        with self.mode(), paddle.static.scope_guard(self.scope):
            self.program, self.inputs, results = paddle.static.load_inference_model(prefix, self.executor)
            refuse(self.kinds())
            for name, shape in self.parameters():
                found = self.scope.find_var(name).get_tensor().shape()
                if list(found) != list(shape):
                    raise ValueError(f"the parameter {name} has the shape {found} where the program has {list(shape)}")
            self.dtypes: dict[str, str] = {}
            self.describe(results)
        if impossible := [name for name in self.outputs if self.dtypes[name] in NO_NUMBERS]:
            raise ValueError(f"the output {impossible[0]} is of the type {self.dtypes[impossible[0]]}")
        self.taps = [name for name in self.taps if self.dtypes[name] not in NO_NUMBERS]
        self.prepared: tuple[list[str], Any, list] = ([], None, [])

    def kinds(self) -> Iterator[str]:
        """The kinds of all operations, those of branches and loops too."""
        rest = [self.program.global_block()]
        while rest:
            for operation in rest.pop().ops:
                yield operation.name().partition(".")[2]
                rest += operation.blocks()

    def parameters(self) -> Iterator[tuple[str, list[int]]]:
        for operation in self.program.global_block().ops:
            if operation.name() == "builtin.parameter":
                yield operation.attrs()["parameter_name"], operation.result(0).shape

    def describe(self, results: list) -> None:
        """Fills in the names, places and types; what nothing reads may never get a value and is no tap."""
        self.places: dict[str, tuple[int, int]] = {}
        fetched = {}
        operations = self.program.global_block().ops
        for place, operation in enumerate(operations):
            kind = operation.name().partition(".")[2]
            if kind == "fetch":
                fetched[operation.attrs()["name"]] = operation.operand_source(0)
            for number, value in enumerate(operation.results()):
                name = f"{kind}_{place}" if number == 0 else f"{kind}_{place}:{number}"
                if kind == "data":
                    self.dtypes[operation.attrs()["name"]] = convert_dtype(value.dtype)
                elif kind not in ("parameter", "fetch") and value.is_dense_tensor_type() and not value.use_empty():
                    self.places[name] = place, number
                    self.dtypes[name] = convert_dtype(value.dtype)
        self.outputs, self.taps = list(fetched), list(self.places)
        for name, value in fetched.items():
            maker = value.get_defining_op()
            (place,) = (place for place, operation in enumerate(operations) if operation == maker)
            self.places[name] = place, value.index()
            self.dtypes[name] = convert_dtype(value.dtype)

    def fetching(self, names: list[str]) -> tuple[Any, list]:
        """A program and what to fetch from it. A copy: fetching twice from one program crashes Paddle."""
        program = self.program.clone()
        block = program.global_block()
        operations = block.ops
        values = [operations[place].result(number) for place, number in map(self.places.get, names)]
        for operation in operations:
            if operation.name() == "pd_op.fetch":
                block.remove_op(operation)
        return program, values

    def run(self, inputs: dict, names: list[str], lenient: bool) -> dict[str, numpy.ndarray]:
        feeds = {name: array.astype(self.dtypes[name], copy=False) for name, array in inputs.items()}
        with self.mode(), paddle.static.scope_guard(self.scope):
            if self.prepared[0] != names:
                self.prepared = (names, *self.fetching(names))
            _, program, fetched = self.prepared
            return dict(zip(names, self.executor.run(program, feeds, fetched), strict=True))


class OldProgram(Program):
    """A program of version 2. A variable that is written several times has its last value."""

    suffix = ".pdmodel"
    mode = OldIrGuard

    def kinds(self) -> Iterator[str]:
        return (operation.type for block in self.program.blocks for operation in block.ops)

    def parameters(self) -> Iterator[tuple[str, list[int]]]:
        # The places of inputs and outputs are variables of the same kind, but without a shape.
        return (
            (v.name, v.shape) for v in self.program.list_vars() if v.persistable and v.name not in ("feed", "fetch")
        )

    def describe(self, results: list) -> None:
        """Fills in the names and types; what nothing reads may never get a value and is no tap."""
        block = self.program.global_block()
        self.outputs = [variable.name for variable in results]
        operations = [operation for operation in block.ops if operation.type not in ("feed", "fetch")]
        read = {name for operation in operations for name in operation.input_arg_names}
        made = dict.fromkeys(name for operation in operations for name in operation.output_arg_names)
        variables = {name: block.var(name) for name in (*self.inputs, *self.outputs, *made)}
        self.taps = [n for n in made if n in read and n not in self.outputs and not variables[n].persistable]
        self.dtypes = {name: convert_dtype(variable.dtype) for name, variable in variables.items()}

    def fetching(self, names: list[str]) -> tuple[Any, list]:
        return self.program, names


def refuse(kinds: Iterator[str]) -> None:
    """ValueError for an operation that reaches files or runs Python."""
    if found := REFUSED.intersection(kinds):
        raise ValueError(f"{min(found)} reaches files or runs Python, which no model may")
