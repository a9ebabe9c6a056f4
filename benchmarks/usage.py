"""What a program costs: CPU seconds and memory of a process and its children, from /proc."""

from __future__ import annotations

from dataclasses import dataclass
import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Usage:
    """CPU seconds since the processes began, and bytes of memory they hold now."""

    cpu_s: float
    rss_bytes: int


def session_usage(session: int) -> Usage:
    """Add up all processes of a session; children that ended count with their parents."""
    cpu = 0.0
    rss = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The command's name, in parentheses, may itself hold blanks and parentheses.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session:
            cpu += sum(int(field) for field in fields[11:15]) / _TICKS
            rss += int(fields[21]) * _PAGE
    return Usage(cpu, rss)
