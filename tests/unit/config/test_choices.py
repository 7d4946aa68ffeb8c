"""Words that Python callers misspell are refused as the command line refuses them."""

import pytest

import headstart as hs
from headstart.errors import ConfigError


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hs.TuneConfig(optimizer="SGD"), r"--optimizer must be one of sgd, adamw, not SGD \(did you"),
        (lambda: hs.TuneConfig(schedule="cosin"), r"did you mean cosine\?"),
        (lambda: hs.TuneConfig(batch_size="big"), r"--batch-size must be one of auto, not big"),
        (lambda: hs.TrainConfig(recipe="finetun"), r"did you mean finetune\?"),
        (lambda: hs.TrainConfig(head="mlpp", mirror="maybe"), r"--head must .*; --mirror must be one of"),
        (lambda: hs.LrFindConfig(recipe="probe"), r"--recipe must be one of scratch, finetune"),
        (lambda: hs.CheckConfig(runtime="cuda"), r"--runtime must be one of auto, openvino-bf16"),
        (lambda: hs.ExportConfig(to="onx"), r"did you mean onnx\?"),
    ],
)
def test_a_word_that_is_none_of_the_choices(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_numbers_do_beside_words() -> None:
    assert hs.TuneConfig(batch_size=7).settled(3).batch_size == 7
    assert hs.TuneConfig(batch_size="auto").settled(3).batch_size == "auto"
    assert [hs.TuneConfig().settled(n).batch_size for n in (3, 500)] == [3, 32]
