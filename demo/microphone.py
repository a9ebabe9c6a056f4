"""Finds the machine's own microphone, as a URL that the integration's ffmpeg opens."""

from __future__ import annotations

import asyncio

from demo.processes import StartError

_PROBE_S = 10.0


async def own_microphone() -> str:
    """Return the URL of the default microphone. Raises StartError when there is none."""
    reasons = []
    for system in ("pulse", "alsa"):
        reason = await _tries(system)
        if reason is None:
            return f"{system}:default"
        reasons.append(f"{system}: {reason}")
    raise StartError(
        "this machine has no microphone that ffmpeg can open ("
        + "; ".join(reasons)
        + ")"
    )


async def _tries(system: str) -> str | None:
    """Record a moment; return why it does not work."""
    try:
        child = await asyncio.create_subprocess_exec(
            *("ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "error"),
            *("-f", system, "-i", "default", "-t", "0.2", "-f", "null", "-"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        return "ffmpeg is not installed: run scripts/setup --demo"
    try:
        async with asyncio.timeout(_PROBE_S):
            _, complaint = await child.communicate()
    except TimeoutError:
        child.kill()
        await child.wait()
        return f"silent for {_PROBE_S:.0f} s"
    if child.returncode == 0:
        return None
    lines = complaint.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"ffmpeg ends with status {child.returncode}"
