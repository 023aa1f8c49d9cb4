"""Fixtures of the Caffe tests."""

import pytest

from parity_tests.frameworks.caffe.reading import real_caffe


@pytest.fixture(scope="session")
def caffe():
    """One process of the real Caffe for all nets."""
    with real_caffe() as runtime:
        yield runtime
