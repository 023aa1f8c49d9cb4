"""Damaged and hostile files: nothing but ConverterError ever comes out, and no model of absurd size."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converter.errors import ConverterError
from parity_tests.frameworks.caffe.reading import read
from parity_tests.traps import traps

mutations = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "splice", "number"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=4),
        st.sampled_from([b"0", b"-1", b"7", b"99999999", b"4294967295", b"18446744073709551615", b"1e40", b"nan"]),
    ),
    min_size=1,
    max_size=3,
)


def mutate(data: bytes, steps: list) -> bytes:
    for kind, where, patch, number in steps:
        at = int(where * len(data))
        if kind == "flip":
            data = data[:at] + patch + data[at + len(patch) :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "splice":
            data = data[:at] + data[at // 2 : at // 2 + 40] + data[at:]
        else:  # the next number of a text becomes another one
            start = next((i for i in range(at, len(data)) if data[i : i + 1].isdigit()), at)
            data = data[:start] + number + data[start + 1 :]
    return data


@pytest.mark.parametrize("trap", traps("caffe"))
@pytest.mark.parametrize("which", [0, 1], ids=["prototxt", "weights"])
@settings(max_examples=20, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=mutations)
def test_a_mutated_file_gives_a_model_or_a_converter_error(trap, which, steps):
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, path.name) for path in trap.files]
        for index, (path, original) in enumerate(zip(paths, trap.files, strict=True)):
            data = original.read_bytes()
            path.write_bytes(mutate(data, steps) if index == which else data)
        try:
            model = read(paths)
        except ConverterError as error:
            assert "\x00" not in str(error)
        else:
            assert model.graph.outputs
