"""What readers build hub graphs with: shapes are inferred and origins recorded as each node is added."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx_ir as ir

from converter.graph import ops
from converter.graph.model import IR_VERSION, OPSET, Origin
from converter.graph.shapes import operand


class GraphBuilder:
    """Builds one hub graph, node by node in execution order.

    >>> builder = GraphBuilder("net")
    >>> x = builder.input("data", (1, 3, 8, 8))
    >>> with builder.layer(Origin("relu1", "ReLU", "deploy.prototxt", 12)):
    ...     y = builder.op("Relu", [x], "relu1")
    >>> model = builder.build([y])
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._inputs: list[ir.Value] = []
        self._nodes: list[ir.Node] = []
        self._initializers: dict[str, ir.Value] = {}
        self._names: set[str] = set()
        self._next_number: dict[str, int] = {}
        self._origin: Origin | None = None

    @contextmanager
    def layer(self, origin: Origin) -> Iterator[None]:
        """Nodes added inside carry ``origin``."""
        previous, self._origin = self._origin, origin
        try:
            yield
        finally:
            self._origin = previous

    def input(self, name: str, shape: Sequence[int], dtype: str = "float32") -> ir.Value:
        """Declare a graph input of a static shape."""
        value = self._value(self._unique(name), tuple(shape), np.dtype(dtype))
        self._inputs.append(value)
        return value

    def initializer(
        self,
        name: str,
        array: np.ndarray | Callable[[], np.ndarray],
        shape: Sequence[int] | None = None,
        dtype: str = "float32",
    ) -> ir.Value:
        """A named weight. Pass a function (with ``shape``) to read it only when it is needed."""
        name = self._unique(name)
        if callable(array):
            read, size = array, tuple(shape or ())

            def tensor() -> ir.TensorProtocol:
                values = np.asarray(read(), dtype=dtype)
                return ir.Tensor(values.reshape(size), name=name)

            constant: ir.TensorProtocol = ir.LazyTensor(
                tensor, dtype=ir.DataType.from_numpy(np.dtype(dtype)), shape=ir.Shape(size), name=name
            )
        else:
            array = np.asarray(array)
            size, dtype = array.shape, array.dtype.name
            constant = ir.Tensor(array, name=name)
        value = self._value(name, size, np.dtype(dtype))
        value.const_value = constant
        self._initializers[name] = value
        return value

    def constant(self, array: Any, dtype: str = "int64") -> ir.Value:
        """A small constant operand (a shape, axes, a scalar); named after the current layer."""
        layer = self._origin.layer if self._origin else "constant"
        return self.initializer(f"{layer}.constant", np.asarray(array, dtype=dtype))

    def op(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        outputs: str | Sequence[str] | None = None,
        *,
        domain: str = "",
        **attributes: Any,
    ) -> Any:
        """Add one node; returns its output value, or a tuple where several output names are given.

        ``outputs`` are the hub names of the results. An intermediate that the source's runtime has no name for
        is left unnamed (None): it gets a private name that parity does not align.
        """
        layer = self._origin.layer if self._origin else op_type
        several = not (outputs is None or isinstance(outputs, str))
        names = list(outputs) if several else [outputs]
        infos = ops.infer(op_type, domain, attributes, [None if value is None else operand(value) for value in inputs])
        values = []
        for index, name in enumerate(names):
            shape, dtype = infos[index]
            private = name is None
            value = self._value(self._unique(f"{layer}.value" if private else name), shape, np.dtype(dtype))
            if private:
                value.metadata_props["converter.private"] = "1"
            values.append(value)
        node = ir.node(
            op_type,
            list(inputs),
            {key: value for key, value in attributes.items() if value is not None},
            domain=domain,
            outputs=values,
            name=self._unique(f"{layer}:{op_type}"),
        )
        if self._origin:
            self._origin.mark(node)
        self._nodes.append(node)
        return tuple(values) if several else values[0]

    def build(self, outputs: Sequence[ir.Value]) -> ir.Model:
        """The finished model, with ``outputs`` as graph outputs."""
        domains = {"": OPSET} | {node.domain: 1 for node in self._nodes if node.domain}
        graph = ir.Graph(
            self._inputs,
            list(outputs),
            nodes=self._nodes,
            initializers=list(self._initializers.values()),
            opset_imports=domains,
            name=self.name,
        )
        return ir.Model(graph, ir_version=IR_VERSION, producer_name="converter")

    def _value(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> ir.Value:
        kind = ir.TensorType(ir.DataType.from_numpy(dtype))
        return ir.Value(name=name, shape=ir.Shape(shape), type=kind)

    def _unique(self, name: str) -> str:
        candidate, number = name, self._next_number.get(name, 2)
        while candidate in self._names:
            candidate, number = f"{name}_{number}", number + 1
        self._next_number[name] = number
        self._names.add(candidate)
        return candidate
