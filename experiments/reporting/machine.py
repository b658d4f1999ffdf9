"""The commit, the versions and the machine that results were computed with."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def about() -> dict[str, Any]:
    """Return commit, versions, machine and date, as JSON values; nothing that names a person, a host or a folder."""
    return {
        "commit": commit(),
        "versions": versions(),
        "machine": machine(),
        "devices": devices(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results may depend on, as far as they are installed."""
    from jvae.runs.checkpoint import current_versions

    found = current_versions()
    for name in ("scikit-learn", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """Return the processor, its cores that may be used, the memory and the system, in words."""
    return f"{processor_name()}, {cores()} core{'s' * (cores() > 1)}, {memory()}, {platform.system()}"


def commit(folder: Path | None = None) -> str:
    """Return the commit of a checkout, by default of this file's, with `-dirty` where files differ; "" without Git."""
    command = ["git", "-C", str(folder or Path(__file__).parent), "describe", "--always", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def devices() -> str:
    """Return the devices that jax computes on."""
    import jax

    return ", ".join(sorted({f"{device.platform} ({device.device_kind})" for device in jax.devices()}))


def processor_name() -> str:
    """Return the processor's name, as far as the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> str:
    """Return the machine's memory."""
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (AttributeError, ValueError, OSError):
        return "memory unknown"
