"""Trainings of the whole way, from photographs to a run, killed at any moment again and again."""

import json
import os
from pathlib import Path

import pytest

from networks import TINY, run_python, save_random
from support import digest

_KILLED = """
import json, os, random, signal, sys, time
from pathlib import Path
import headstart as hs
import headstart.api.tune, headstart.api.train, torch  # here, not in each child

torch.set_num_threads(1)
photos, model, cache, out = sys.argv[1:]
out = Path(out)
config = hs.TrainConfig(recipe="partial", model=model)
tuning = hs.TuneConfig(epochs=4, input_px=64, batch_size=4, precision="fp32", val_fraction=0.25, views=2)

def attempt(name, seconds=None):
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            resume = any(out.glob(f".{name}.training-*/history.jsonl"))
            hs.train(photos, config, tuning, out=out / name, cache=cache, resume=resume)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), time.monotonic() - started

assert attempt("first")[0] == 0  # converts, times and embeds
end, whole_s = attempt("whole")
assert end == 0
draw, ends = random.Random(0), []
while len(ends) < 4 and 0 not in ends:
    ends.append(attempt("killed", draw.uniform(0, (0.4 + 0.15 * len(ends)) * whole_s))[0])
while 0 not in ends:
    ends.append(attempt("killed")[0])
print(json.dumps(ends))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the trainings that it kills")
def test_killed_trainings_end_in_the_run_that_they_would_have_been(
    small_set: Path, cache: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    done = run_python(_KILLED, small_set, f"{TINY}@{save_random(tmp_path)}", cache, out)
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout.splitlines()[-1])
    assert set(ends) <= {-9, 0}, done.stderr
    assert ends.count(-9) >= 2
    weights = [digest(out / name / "model.safetensors") for name in ("first", "whole", "killed")]
    assert weights[0] == weights[1] == weights[2]
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]
