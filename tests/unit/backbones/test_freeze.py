"""Which parameters learn is decided by names alone."""

import pytest

from headstart.backbones.freeze import Rule, make_plan, parse_rules
from headstart.errors import FreezeRuleError

NAMES = ["backbone.stem.weight", "backbone.blocks.0.weight", "head.weight", "head.bias"]


def test_the_first_match_wins() -> None:
    plan = make_plan(NAMES, parse_rules([r"head\..*=1", r"backbone\.blocks\..*=0.1", ".*=0"]))
    assert list(plan.values()) == [0.0, 0.1, 1.0, 1.0]


def test_an_uncovered_parameter_is_an_error() -> None:
    with pytest.raises(FreezeRuleError, match=r"No rule covers 'backbone\.stem\.weight'"):
        make_plan(NAMES, (Rule(r"head\..*", 1.0),))


def test_a_rule_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(FreezeRuleError, match="haed"):
        make_plan(NAMES, (Rule(r"haed\..*", 1.0), Rule(".*", 0.0)))


@pytest.mark.parametrize("text", ["head", "head=fast", "head=-1", "(=1"])
def test_a_malformed_rule_is_named(text: str) -> None:
    with pytest.raises(FreezeRuleError) as raised:
        parse_rules([text])
    assert text in str(raised.value)
