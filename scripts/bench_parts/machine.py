"""What the figures were measured on, and whether it was idle."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vertloc.versions import versions

_IDLE_LOAD_PER_CORE = 0.3


def describe_machine() -> dict[str, Any]:
    """Return the processor, its cores, and the versions of everything that matters."""
    return {"cpu": _cpu_model(), "cores": os.cpu_count(), "platform": platform.platform(), "versions": versions()}


def load_average() -> float:
    """Return the load average of the last minute."""
    return round(os.getloadavg()[0], 2)


def idle_warning(load_before: float, busy_seconds: Sequence[float]) -> str:
    """Say so if others used the machine; empty if it seems to have been idle.

    busy_seconds : seconds of processor time that other processes took during the run, and that there were
    """
    cores = os.cpu_count() or 1
    taken, available = busy_seconds
    share = taken / available if available else 0.0
    if load_before <= _IDLE_LOAD_PER_CORE * cores and share < 0.1:
        return ""
    return (
        f"WARNING: the machine was not idle (load {load_before} on {cores} cores before the run; others took"
        f" {100 * share:.0f} % of the processor time during it). Trust the ratios, not the seconds."
    )


def processor_seconds() -> tuple[float, float]:
    """Return the processor seconds that all processes have used, and those that passed, since the machine started."""
    try:
        fields = [int(v) for v in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return 0.0, 0.0
    tick = os.sysconf("SC_CLK_TCK")
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / tick, sum(fields) / tick


def own_seconds() -> float:
    """Return the processor seconds of this process and its finished children."""
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
