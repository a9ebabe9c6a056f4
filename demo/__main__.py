"""python -m demo: a house on this machine hears commands and alarms, and acts."""

from __future__ import annotations

import argparse
import asyncio
import io
from pathlib import Path
import signal
import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console

from demo import scenes
from demo.audio import AudioError
from demo.client import HomeError
from demo.house import House, running_house
from demo.microphone import own_microphone
from demo.processes import StartError
from demo.stack import ROOT
from demo.stage import Played, perform
from demo.timeline import Timeline, picture, summary

if TYPE_CHECKING:
    from collections.abc import Sequence

_PICTURE_WIDTH = 116
_PICTURED = (1, 5, 6, 7, 9)
"""Scenes of the picture: three commands, a smoke alarm, talk. All are in its table."""
_RECORDINGS = ROOT.parent / "shared" / "data"


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument(
        "--recordings",
        type=Path,
        metavar="FOLDER",
        help="also play real recordings, listed in FOLDER/scenes.csv",
    )
    parser.add_argument(
        "--microphone",
        action="store_true",
        help="listen to this machine's own microphone instead of playing scenes",
    )
    parser.add_argument(
        "--stay",
        action="store_true",
        help="leave everything running afterwards, to look around in Home Assistant",
    )
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="save the timeline as SVG"
    )
    return parser.parse_args(words)


async def run(options: argparse.Namespace, console: Console) -> int:
    """Run the demo; return its exit status. Raises StartError, HomeError, AudioError."""
    began = time.monotonic()

    def say(line: str) -> None:
        status.update(f"{line} …")
        console.print(f"[dim]{time.monotonic() - began:6.1f} s[/dim]  {line}")

    source = await own_microphone() if options.microphone else None
    with console.status("starting …") as status:
        acts = [] if options.microphone else await asyncio.to_thread(_scenes, options)
        async with running_house(say, source) as house:
            status.stop()
            names = {slug: device.name for slug, device in house.devices.items()}
            names |= {e: e for e in (*house.entities.values(), *house.sensors.values())}
            timeline = Timeline([console], house.microphone, names)
            if options.microphone:
                _invite(house, console)
                await _tell(house, timeline)
            painter = Console(record=True, file=io.StringIO(), width=_PICTURE_WIDTH)
            plays = []
            for number, scene in enumerate(acts, 1):
                pictured = number in _PICTURED
                timeline.consoles = [console, painter] if pictured else [console]
                timeline.scene(number, len(acts), scene.title, scene.by)
                plays.append(await _perform(house, timeline, scene))
            for shown in (console, painter):
                shown.print()
                shown.print(summary(plays, house.microphone))
            if options.picture:
                options.picture.write_text(picture(painter), encoding="utf-8")
            if options.stay:
                _invite(house, console)
                await asyncio.Event().wait()
    return 0 if plays and all(played.as_expected for played in plays) else 1


def _scenes(options: argparse.Namespace) -> list[scenes.Scene]:
    """Make the scenes; recordings join when they are asked for or at hand."""
    acts = scenes.made()
    if options.recordings or _RECORDINGS.is_dir():
        acts += scenes.recorded(options.recordings or _RECORDINGS)
    return acts


async def _tell(house: House, timeline: Timeline) -> None:
    """Tell of all that happens from now on."""
    async for entry in house.journal.follow(time.time()):
        timeline.tell(entry)


async def _perform(house: House, timeline: Timeline, scene: scenes.Scene) -> Played:
    """Play one scene while the timeline tells of it."""
    telling = asyncio.create_task(_tell(house, timeline))
    try:
        return await perform(house, scene, timeline.playing)
    finally:
        telling.cancel()
        # Awaited by itself, its end would hide that this is to end, too.
        await asyncio.wait([telling])


def _invite(house: House, console: Console) -> None:
    """Tell a person how to look around."""
    console.print()
    console.print(f"Home Assistant: [bold]{house.stack.url}[/bold]")
    console.print(f"user [bold]{house.owner.user}[/bold]", end="  ")
    console.print(f"password [bold]{house.owner.password}[/bold]")
    console.print("Ctrl-C ends everything.")


async def _until_stopped(options: argparse.Namespace, console: Console) -> int:
    """Run the demo; SIGTERM ends it as Ctrl-C does."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(options, console)


def main() -> None:
    """Run the demo and exit with 0 only if everything came as expected."""
    options = arguments()
    console = Console(highlight=False)
    if not console.is_terminal:
        # Nobody's window bounds a log.
        console = Console(highlight=False, width=_PICTURE_WIDTH)
    try:
        status = asyncio.run(_until_stopped(options, console))
    except (AudioError, HomeError, StartError) as error:
        console.print(f"error: {error}", style="red", markup=False)
        status = 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("stopped")
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
