"""The parts of the demo by themselves: what they promise to a person and to the tests."""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path
import signal
import sys

import numpy as np
import pytest
from rich.console import Console
import soundfile

from demo import audio, scenes
from demo.air import RATE, Air, Playback, on_air
from demo.devices import Act, Device
from demo.home import HomeError, run_flow
from demo.journal import Entry, Journal, Message, State
from demo.microphone import own_microphone
from demo.outcome import NOTHING, Outcome, Trace, missing, observed
from demo.processes import Process, StartError, accepts, free_port
from demo.stack import ROOT
from demo.stage import Played
from demo.timeline import Timeline, picture, step, summary

NOW = 1_800_000_000.0


def _message(topic: str, payload: str, time: float = NOW) -> Message:
    return Message(time, topic, payload, 1, False, None)


async def _never() -> bool:
    return False


def _python(program: str, log: Path, ready, timeout_s: float = 10.0) -> Process:
    return Process(
        "the program",
        [sys.executable, "-c", program],
        log,
        ready=ready,
        timeout_s=timeout_s,
        cwd=log.parent,
    )


async def test_a_part_that_ends_at_once_is_reported_with_its_last_words(
    tmp_path: Path,
) -> None:
    part = _python("raise SystemExit('no weights')", tmp_path / "log", _never)
    with pytest.raises(StartError, match=r"(?s)ended with status 1.*no weights"):
        await part.start()


async def test_a_part_that_never_gets_ready_is_reported_and_can_be_stopped(
    tmp_path: Path,
) -> None:
    program = "print('still loading', flush=True); import time; time.sleep(60)"
    part = _python(program, tmp_path / "log", _never, 2.0)
    with pytest.raises(StartError, match=r"(?s)not ready after 2 s.*still loading"):
        await part.start()
    pid = part.pid
    await part.stop()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(StartError, match="not running"):
        _ = part.pid


async def test_a_killed_part_starts_again_on_its_port(tmp_path: Path) -> None:
    port = free_port()
    program = (
        "import socket, time; s = socket.create_server(('127.0.0.1', "
        f"{port})); time.sleep(60)"
    )
    part = _python(program, tmp_path / "log", lambda: accepts(port))
    await part.start()
    first = part.pid
    await part.kill()
    assert not await accepts(port)
    await part.start()
    assert part.pid != first
    assert await accepts(port)
    await part.stop()
    await part.stop()


async def _decoded(url: str, seconds: float) -> np.ndarray:
    child = await asyncio.create_subprocess_exec(
        *("ffmpeg", "-loglevel", "error", "-i", url, "-t", str(seconds)),
        *("-f", "s16le", "-ar", "16000", "-ac", "1", "pipe:1"),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await child.communicate()
    return np.frombuffer(out, "<i2") / 32768


async def test_ffmpeg_hears_what_is_played_and_the_household_s_noise_around_it() -> (
    None
):
    air = Air(np.full(800, 0.001, dtype=np.float32))
    async with on_air(air) as url:
        listening = asyncio.create_task(_decoded(url, 3.0))
        while not air.listeners:
            await asyncio.sleep(0.01)
        played = air.play(np.full(RATE // 2, 0.5, dtype=np.float32))
        heard = await listening
    assert played.end - played.start == pytest.approx(0.5)
    assert np.count_nonzero(heard > 0.4) == RATE // 2
    assert np.all(np.abs(heard) > 0)
    assert air.listeners == 0


async def test_when_the_air_hangs_up_the_listener_s_stream_ends() -> None:
    air = Air(np.zeros(800, dtype=np.float32))
    async with on_air(air) as url:
        listening = asyncio.create_task(_decoded(url, 60.0))
        while not air.listeners:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        air.hang_up()
        assert len(await listening) < RATE


async def test_sounds_that_overlap_are_mixed_and_hush_ends_them() -> None:
    air = Air(np.zeros(10, dtype=np.float32))
    playback = air.play(np.full(100, 0.25, dtype=np.float32))
    air.play(np.full(100_000, 0.25, dtype=np.float32))
    at = int((playback.start - air.began) * RATE) + 50
    assert air.samples(at, 20).max() == pytest.approx(0.5)
    air.hush()
    assert not air.samples(at, 20).any()


async def test_the_journal_tells_waiters_of_what_other_threads_write() -> None:
    journal = Journal()
    told: list[Entry] = []

    async def follow() -> None:
        async for entry in journal.follow(NOW):
            told.insert(0, entry)

    following = asyncio.create_task(follow())
    await asyncio.to_thread(journal.add, _message("a", "old", NOW - 1))
    await asyncio.to_thread(journal.add, _message("a", "new"))
    assert await journal.until(lambda entries: len(entries) == 1, NOW, 5.0)
    assert not await journal.until(lambda entries: len(entries) == 2, NOW, 0.05)
    assert [entry.payload for entry in journal.messages(NOW, "a")] == ["new"]
    await asyncio.sleep(0.05)
    assert [e.payload for e in told if isinstance(e, Message)] == ["new"]
    following.cancel()


def test_what_is_published_twice_is_observed_twice() -> None:
    start = '{"state": "start", "label": "smoke"}'
    end = '{"state": "end", "label": "smoke"}'
    intent = '{"intent": "HassTurnOn", "refused": null}'
    refused = '{"intent": null, "refused": "not_understood"}'
    entries: list[Entry] = [
        _message("earshot/kitchen/sound", start),
        _message("earshot/kitchen/sound", start),
        _message("earshot/kitchen/sound", end),
        _message("earshot/kitchen/intent", intent),
        _message("earshot/intent/HassTurnOn", intent),
        _message("earshot/kitchen/intent", refused),
        Act(NOW, "siren", "command", "ON"),
        Act(NOW, "siren", "report", "ON"),
        State(NOW, "siren.siren", "on", {}),
    ]
    assert observed(entries, "kitchen") == Outcome(
        ("HassTurnOn", "refused: not_understood"),
        ("smoke", "smoke"),
        (("siren", "ON"),),
    )
    assert observed(entries, "hall").sounds == ()


def test_a_trace_that_nothing_left_is_missing() -> None:
    wanted = [
        Trace("message", "earshot/kitchen/sound/smoke", "ON"),
        Trace("state", "siren.siren", "on"),
        Trace("report", "siren", "ON"),
    ]
    entries: list[Entry] = [
        _message("earshot/kitchen/sound/smoke", "ON"),
        State(NOW, "siren.siren", "off", {}),
        Act(NOW, "siren", "command", "ON"),
    ]
    assert [str(trace) for trace in missing(wanted, entries)] == [
        "siren.siren on",
        "siren ON",
    ]


def test_a_folder_of_recordings_says_itself_what_to_expect(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "cry.wav", np.full((8000, 2), 0.1), 8000)
    (tmp_path / "scenes.csv").write_text(
        "file,title,intent,device,state,sound\n"
        "cry.wav,,,,,baby_cry\n"
        "cry.wav,on,HassTurnOn,kitchen_lights,ON,\n"
    )
    cry, on = scenes.recorded(tmp_path)
    assert (cry.title, cry.expected.sounds, cry.reference) == (
        "cry.wav",
        ("baby_cry",),
        "start",
    )
    assert on.expected == scenes.switch("kitchen_lights", "ON")
    assert len(cry.audio) == RATE


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({}, "there is no speech_tts"),
        ({"scenes.csv": "file,title\nx.wav,x\n"}, "needs the columns"),
        (
            {
                "scenes.csv": "file,title,intent,device,state,sound\nx.wav,,,,,\n",
                "x.wav": "no sound",
            },
            "cannot read x.wav",
        ),
    ],
)
def test_unusable_recordings_are_refused_with_a_reason(
    tmp_path: Path, files: dict[str, str], complaint: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(audio.AudioError, match=complaint):
        scenes.recorded(tmp_path)


def test_a_folder_that_is_not_there_is_said_not_to_be(tmp_path: Path) -> None:
    with pytest.raises(audio.AudioError, match="is not a folder"):
        scenes.recorded(tmp_path / "nothing")


def test_a_voice_that_fails_is_an_error_and_not_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "flite"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(audio.AudioError, match="flite slt cannot speak"):
        audio.speak("hello", audio.VOICES[0])


@pytest.mark.parametrize("program", ["espeak-ng", "flite"])
def test_a_synthesiser_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(audio.AudioError, match=f"{program} is not installed"):
        audio.speak("hello", audio.Voice(program, "slt"))


@pytest.mark.parametrize(
    ("ffmpeg", "result"),
    [
        ("exit 0", "pulse:default"),
        ('[ "$6" = alsa ]', "alsa:default"),
        ("echo no such device >&2; exit 1", "pulse: no such device; alsa: no such"),
        ("exit 3", "ffmpeg ends with status 3"),
    ],
)
async def test_the_machine_s_own_microphone_is_found_or_its_absence_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ffmpeg: str, result: str
) -> None:
    fake = tmp_path / "ffmpeg"
    fake.write_text(f"#!/bin/sh\n{ffmpeg}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    if result.endswith("default"):
        assert await own_microphone() == result
    else:
        with pytest.raises(StartError, match=result):
            await own_microphone()


async def test_without_ffmpeg_the_person_is_told_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StartError, match="ffmpeg is not installed"):
        await own_microphone()


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (
            _message("earshot/kitchen/transcript", '{"text": "on", "confidence": 0.9}'),
            ("heard", "“on” (0.90)"),
        ),
        (
            _message(
                "earshot/kitchen/sound",
                '{"state": "start", "label": "co", "score": 0.5}',
            ),
            ("heard", "co (0.50)"),
        ),
        (
            _message("earshot/kitchen/sound", '{"state": "end", "label": "co"}'),
            ("heard", "co is over"),
        ),
        (
            _message(
                "earshot/kitchen/intent",
                '{"intent": "HassTurnOn", "refused": null, "slots": {"name": "Lamp"}}',
            ),
            ("understood", "HassTurnOn name: Lamp"),
        ),
        (
            _message(
                "earshot/kitchen/intent",
                '{"intent": null, "refused": "not_understood", "slots": {}}',
            ),
            ("understood", "refused: not_understood"),
        ),
        (
            _message("earshot/kitchen/sound/co", "ON"),
            ("published", "earshot/kitchen/sound/co ON"),
        ),
        (
            _message("earshot/intent/HassTurnOn", "{}"),
            ("published", "earshot/intent/HassTurnOn"),
        ),
        (_message("earshot/kitchen/level", "{}"), None),
        (Act(NOW, "lamp", "command", "ON"), ("device", "Lamp receives ON")),
        (Act(NOW, "lamp", "report", "ON"), ("device", "Lamp reports ON")),
        (State(NOW, "light.lamp", "on", {}), ("home", "light.lamp is on")),
        (
            State(NOW, "light.lamp", "2026", {"event_type": "co"}),
            ("home", "light.lamp is co"),
        ),
        (State(NOW, "sun.sun", "up", {}), None),
    ],
)
def test_the_timeline_tells_what_is_news(
    entry: Entry, told: tuple[str, str] | None
) -> None:
    names = {"lamp": "Lamp", "light.lamp": "light.lamp"}
    assert step(entry, "kitchen", names) == told


def test_latencies_count_from_the_reference_and_only_while_it_sounds() -> None:
    console = Console(file=io.StringIO(), width=100)
    timeline = Timeline([console], "kitchen", {"lamp": "Lamp"})
    timeline.scene(1, 2, "a command", "a voice")
    timeline.playing(NOW, 2.0, NOW + 2.0)
    timeline.tell(Act(NOW - 1.0, "lamp", "report", "OFF"))
    timeline.tell(Act(NOW + 2.5, "lamp", "command", "ON"))
    timeline.tell(_message("earshot/status", "online"))
    _, head, played, before, after, *rest = console.file.getvalue().split("\n")
    assert "1/2 a command  a voice" in head
    assert "2.0 s of sound" in played
    assert "reports OFF" in before
    assert " s  device" not in before
    assert "+0.50 s  device     Lamp receives ON" in after
    assert rest == [""]


def test_the_table_shows_what_is_not_as_expected_and_why() -> None:
    scene = scenes.Scene("smoke", "generator", np.zeros(1), scenes.alarm("smoke"))
    right = Played(scene, _playback(), (), scene.expected, ())
    lost = Trace("state", "siren.siren", "on")
    wrong = Played(scene, _playback(), (), scene.expected, (lost,), ("smoke",))
    quiet = Played(scene, _playback(), (), NOTHING, (lost,))
    assert [p.as_expected for p in (right, wrong, quiet)] == [True, False, False]
    console = Console(file=io.StringIO(), width=120)
    console.print(summary([right, wrong, quiet], "kitchen"))
    text = console.file.getvalue()
    assert text.count("✓") == 1
    assert text.count("✗") == 2
    assert text.count("siren.siren on") == 1
    assert "smoke stays on" in text
    assert "nothing" in text


def test_the_picture_of_the_timeline_fetches_nothing() -> None:
    painter = Console(record=True, file=io.StringIO(), width=80)
    Timeline([painter], "kitchen", {}).scene(1, 1, "a smoke alarm", "a generator")
    svg = picture(painter)
    assert "smoke" in svg
    assert "url(http" not in svg
    assert 'url("' not in svg


def _playback() -> Playback:
    return Playback(NOW, NOW + 1)


class _Flow:
    """A Home Assistant whose flows stop at a form."""

    async def request(self, *_: object) -> dict[str, object]:
        return {
            "type": "form",
            "flow_id": "1",
            "step_id": "user",
            "errors": {"base": "invalid_auth"},
        }


async def test_a_flow_that_does_not_end_is_an_error_with_its_reason() -> None:
    with pytest.raises(HomeError, match=r"step user: .*invalid_auth"):
        await run_flow(_Flow(), "flow", "earshot", {})


async def test_a_device_without_a_broker_says_that_it_is_not_connected() -> None:
    device = Device("lamp", "Lamp", "light", free_port(), lambda _: None)
    device.connect()
    assert not await asyncio.to_thread(device.wait, 0.2)
    device.disconnect()


async def _demo(*words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "demo", *words),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


async def test_a_demo_that_cannot_begin_says_why_and_fails() -> None:
    demo = await _demo("--recordings", "/nowhere")
    out, _ = await demo.communicate()
    assert demo.returncode == 1
    assert b"/nowhere is not a folder" in out


async def test_ctrl_c_ends_every_part_and_removes_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    demo = await _demo("--recordings", str(_no_recordings(tmp_path)))
    assert demo.stdout is not None
    async for line in demo.stdout:
        if b"Home Assistant is up" in line:
            break
    (folder,) = tmp_path.glob("earshot-*")
    demo.send_signal(signal.SIGINT)
    out, _ = await demo.communicate()
    assert demo.returncode == 130, out
    assert not folder.exists()
    assert not _processes_mentioning(str(folder))


def _no_recordings(folder: Path) -> Path:
    """A folder that asks for no recording, to begin sooner."""
    chosen = folder / "recordings"
    chosen.mkdir()
    (chosen / "scenes.csv").write_text("file,title,intent,device,state,sound\n")
    return chosen


def _processes_mentioning(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if text in command:
            found.append(command)
    return found
