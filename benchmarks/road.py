"""How fast and at what cost: from the end of speech to the lamp, from an alarm to its event.

One run of the demo's own house: python -m benchmarks.road [--json]
"""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import dataclass
import json
import os
from pathlib import Path
import platform
import sys
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from benchmarks.usage import session_usage
from demo import audio
from demo.house import House, furnished_house, give_ears
from demo.scenes import KITCHEN_LIGHTS, Scene, alarm, switch
from demo.stage import Played, perform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from demo.processes import Process

_HOUR_S = 3600.0


@dataclass(frozen=True)
class Cost:
    """What a part costs: CPU seconds per hour, and MB of memory."""

    cpu_s_per_hour: float
    memory_mb: float


async def cost(parts: Sequence[Process], seconds: float) -> list[Cost]:
    """Measure parts for some seconds."""
    before = [session_usage(part.pid) for part in parts]
    await asyncio.sleep(seconds)
    after = [session_usage(part.pid) for part in parts]
    return [
        Cost(
            (last.cpu_s - first.cpu_s) * _HOUR_S / seconds,
            last.rss_bytes / 1e6,
        )
        for first, last in zip(before, after, strict=True)
    ]


def percentiles(values: Sequence[float]) -> dict[str, float | int | None]:
    """p50 and p95 of seconds, and of how many."""
    if not values:
        return {"p50_s": None, "p95_s": None, "count": 0}
    p50, p95 = np.percentile(values, (50, 95))
    return {"p50_s": round(p50, 2), "p95_s": round(p95, 2), "count": len(values)}


def command(number: int) -> Scene:
    """Return the nth command: every voice says both, the state changes each time."""
    state: Literal["ON", "OFF"] = "OFF" if number % 2 else "ON"
    voice = audio.VOICES[number // 2 % len(audio.VOICES)]
    text = f"turn {state.lower()} the kitchen lights"
    return Scene(
        text, str(voice), audio.speak(text, voice), switch(KITCHEN_LIGHTS, state)
    )


def alert(number: int) -> Scene:
    """Return the nth alarm: smoke and CO in turn."""
    if number % 2:
        return Scene("T4", "", audio.co_alarm(), alarm("co"), "start")
    return Scene("T3", "", audio.smoke_alarm(), alarm("smoke"), "start")


async def act(house: House, scene: Scene) -> Played:
    """Play a scene, let its sounds end, and say so."""
    played = await perform(house, scene)
    wrong = "" if played.as_expected else f"  observed {played.observed}"
    print(f"  {scene.title} {scene.by}{wrong}", file=sys.stderr)
    return played


async def measure(commands: int, alarms: int, quiet_s: float) -> dict[str, Any]:
    """Measure everything in one house."""

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    async with furnished_house(say) as deaf:
        parts = (deaf.stack.server, deaf.stack.home_assistant)
        await asyncio.sleep(10)
        idle = await cost(parts, quiet_s)
        house = await give_ears(deaf, say)
        await asyncio.sleep(10)
        listening = await cost(parts, quiet_s)
        spoken = [await act(house, command(n)) for n in range(commands)]
        alarmed = [await act(house, alert(n)) for n in range(alarms)]
        return {
            "machine": machine(),
            "command_to_lamp": percentiles(
                [s for p in spoken if (s := p.command_latency_s()) is not None]
            )
            | {"as_expected": sum(p.as_expected for p in spoken), "played": commands},
            "alarm_to_event": {
                label: percentiles(
                    [
                        s
                        for p in alarmed
                        if p.scene.expected.sounds == (label,)
                        and (s := p.event_latency_s(house.microphone)) is not None
                    ]
                )
                for label in ("smoke", "co")
            }
            | {"as_expected": sum(p.as_expected for p in alarmed), "played": alarms},
            "cost": {
                name: {
                    "without_microphone": vars(before),
                    "with_microphone": vars(after),
                    "microphone_cpu_s_per_hour": after.cpu_s_per_hour
                    - before.cpu_s_per_hour,
                    "microphone_memory_mb": after.memory_mb - before.memory_mb,
                }
                for name, before, after in zip(
                    ("server", "home_assistant"), idle, listening, strict=True
                )
            },
        }


def machine() -> str:
    """Name the processor, its cores and the Python."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def report(result: dict[str, Any]) -> str:
    """Write the result as a person reads it."""
    lines = [result["machine"], ""]
    rows = [("end of speech → lamp command", result["command_to_lamp"])]
    rows += [
        (f"onset of {label} alarm → event", result["alarm_to_event"][label])
        for label in ("smoke", "co")
    ]
    for title, row in rows:
        if row["count"]:
            lines.append(
                f"{title:<32} p50 {row['p50_s']:6.2f} s   p95 {row['p95_s']:6.2f} s"
                f"   of {row['count']}"
            )
        else:
            lines.append(f"{title:<32} nothing was measured")
    for title in ("command_to_lamp", "alarm_to_event"):
        row = result[title]
        lines.append(f"{title}: {row['as_expected']} of {row['played']} as expected")
    lines.append("")
    lines.extend(
        f"{name:<16} one microphone: {row['microphone_cpu_s_per_hour']:6.0f} CPU s per hour,"
        f" {row['microphone_memory_mb']:5.0f} MB;"
        f" in all {row['with_microphone']['cpu_s_per_hour']:6.0f} CPU s per hour,"
        f" {row['with_microphone']['memory_mb']:5.0f} MB"
        for name, row in result["cost"].items()
    )
    return "\n".join(lines)


def main() -> int:
    """Measure and print; fail when something did not come as expected."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=16)
    parser.add_argument("--alarms", type=int, default=6)
    parser.add_argument("--quiet", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = asyncio.run(measure(options.commands, options.alarms, options.quiet))
    print(json.dumps(result, indent=2) if options.json else report(result))
    expected = result["command_to_lamp"]["as_expected"]
    expected += result["alarm_to_event"]["as_expected"]
    return 0 if expected == options.commands + options.alarms else 1


if __name__ == "__main__":
    sys.exit(main())
