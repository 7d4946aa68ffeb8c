"""Whatever its own description allows, and what it does not, the server answers as it says it does."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from serving import Server, serving


@pytest.fixture(scope="module")
def server(pets_run: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(pets_run, cache, tmp_path_factory.mktemp("serve") / "log") as running:
        yield running


@pytest.fixture
def api(server: Server) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{server.address}/openapi.json")


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_every_operation_keeps_what_the_description_promises(case: schemathesis.Case) -> None:
    case.call_and_validate()
