"""Whatever its own description allows, and what it does not, the server answers as it says it does."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from serving import Server, serving


@pytest.fixture(scope="module")
def server(pets_run: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(pets_run, cache, tmp_path_factory.mktemp("serve") / "log") as running:
        yield running


def test_every_operation_keeps_what_the_description_promises(server: Server) -> None:
    api = schemathesis.openapi.from_url(f"{server.address}/openapi.json")
    operations = [found.ok() for found in api.get_all_operations()]
    assert len(operations) == 5
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        # a description can't say that bytes must be a picture, so that check alone is left out
        def holds(case: schemathesis.Case) -> None:
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        holds()
