"""Server for tests that send raw HTTP."""

from collections.abc import Iterator

import pytest

from tests.serving.server.raw_http import serve_protocol


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Server with the default limits."""
    with serve_protocol() as (_, port):
        yield port
