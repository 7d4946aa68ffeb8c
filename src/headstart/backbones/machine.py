"""Which machine this is, as far as speed is concerned."""

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

from headstart.run.environment import available_cores


def processor_name() -> str:
    """The processor's model name, such as `AMD EPYC`, with the features that decide its speed."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = fields.get("flags", fields.get("Features", "")).split()
    wanted = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "bf16") if flag in flags]
    family = f"family {fields.get('cpu family', '?')} model {fields.get('model', '?')}"
    return " ".join([fields.get("model name", platform.machine()), f"({family})", *wanted])


def machine_key() -> str:
    """Short digest of all that decides which runtime is fastest: processor, cores, library versions."""
    parts = [
        processor_name(),
        str(available_cores()),
        version("openvino"),
        version("torch"),
        platform.system(),
    ]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:12]
