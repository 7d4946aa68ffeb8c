"""Times as people write them."""

import re
from math import inf


def parse_duration(text: str) -> float | None:
    """Seconds of a time such as `90`, `90s`, `5m`, `1.5h`; None of what is none, or below a second."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|)\s*", text)
    seconds = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    return seconds if 1 <= seconds < inf else None
