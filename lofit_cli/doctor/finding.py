"""What a check found, and how much it matters."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "FAILED"]


@dataclass(frozen=True)
class Finding:
    """What a check found, in words and figures; where it is not ok, one sentence with what to do."""

    check: str
    verdict: Verdict
    found: str
