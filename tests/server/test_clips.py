"""Clips: what is kept of a sound, what never is, and who may hear it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
import errno
from io import BytesIO
import logging
from pathlib import Path
import struct
from typing import Any
from uuid import UUID, uuid4
import zlib

from hypothesis import given, strategies as st
import numpy as np
import pytest

from model_server.api import recorder, service as service_module
from model_server.api.clip_store import ClipStore
from model_server.api.ids import uuid7
from model_server.api.messages import KeptClip
from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.decode import decode_audio
from model_server.audio.flac import flac
from model_server.audio.picture import spectrogram_png
from model_server.listen import talk
from model_server.monitor.rhythm import RhythmRecognizer
from model_server.settings import ClipSettings
from tests.server.client import House, Serve, of_kind
from tests.server.pitches import HERTZ, Pitches, scene, tone
from tests.server.test_api_stream import T0, alarm, at
from tests.server.voices import say, silence

ON = ClipSettings(enabled=True)


def decoded(data: bytes) -> Pcm:
    """A FLAC file's samples."""
    with decode_audio(BytesIO(data), "The clip", 10**7) as audio:
        return np.concatenate(list(audio.blocks))


def pitch(pcm: Pcm) -> int:
    """The strongest frequency, in Hz."""
    return round(float(np.argmax(np.abs(np.fft.rfft(pcm)))) * SAMPLE_RATE / pcm.size)


async def hear(
    house: House, pcm: Pcm, *, clips: bool = True, **fields: Any
) -> list[dict[str, Any]]:
    """Stream samples to the end."""
    async with house.stream(
        "sounds", clips=clips, time=T0.isoformat(), **fields
    ) as stream:
        return await (await stream.play(pcm, 65536)).end()


async def kept(house: House, microphone: str = "hall") -> list[dict[str, Any]]:
    """What the server lists."""
    async with house.http() as http:
        answer = await http.get("/v1/clips", params={"microphone": microphone})
        assert answer.status_code == 200, answer.text
        clips: list[dict[str, Any]] = answer.json()["clips"]
        return clips


def files(house: House) -> list[str]:
    """All that is below the server's clips."""
    folder = house.service.settings.data_dir / "clips"
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    )


# A clip's contents


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=9000))
def test_flac_loses_nothing(samples: list[int]) -> None:
    pcm = np.array(samples, np.int16)

    assert np.array_equal(decoded(flac(pcm)), pcm)


def test_the_picture_shows_low_sounds_at_the_bottom_and_when_they_were() -> None:
    png = spectrogram_png(np.concatenate([tone("bark", 1), tone("glass_break", 1)]))

    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, *_ = struct.unpack(">IIBBBBB", png[16:29])
    assert (width, height) == (99, 192)
    begin = png.index(b"IDAT")
    (size,) = struct.unpack(">I", png[begin - 4 : begin])
    lines = np.frombuffer(zlib.decompress(png[begin + 4 : begin + 4 + size]), np.uint8)
    image = lines.reshape(height, width + 1)[:, 1:]
    brightest = np.argmax(image, axis=0)
    assert (brightest[:48] > 120).all()
    assert (brightest[51:] < 80).all()


def test_a_moment_of_silence_has_a_picture_too() -> None:
    assert spectrogram_png(silence(0.025)).endswith(b"IEND\xaeB`\x82")


def test_a_voice_is_heard_and_an_alarm_is_none() -> None:
    assert talk.has_voice(np.concatenate([silence(2), say("who is there"), silence(2)]))
    assert not talk.has_voice(alarm(8))
    assert not talk.has_voice(tone("bark", 0.01))


# What is kept of a stream


async def test_a_smoke_alarm_is_kept_with_what_came_before_it(serve: Serve) -> None:
    pcm = np.concatenate([silence(8), alarm(16), silence(15)])
    async with serve(clips=ON) as house:
        async with house.stream("sounds", clips=True, time=T0.isoformat()) as stream:
            await stream.play(pcm[: 24 * SAMPLE_RATE])
            begin = await stream.next("sound")
            told = await stream.next("clip")
            messages = await (await stream.play(pcm[24 * SAMPLE_RATE :])).end()

        (end,) = of_kind(messages, "sound")
        assert of_kind(messages, "clip") == []
        assert (begin["label"], begin["clip"]) == ("smoke", None)
        assert told["id"] == begin["id"] == end["clip"]
        assert (told["label"], told["microphone"]) == ("smoke", "hall")
        assert at(told["start"]) == pytest.approx(3, abs=0.3)
        assert told["seconds"] == pytest.approx(15, abs=0.1)
        assert at(told["time"]) == at(told["start"]) + told["seconds"]

        (clip,) = await kept(house)
        assert clip == {
            "id": told["id"],
            "microphone": "hall",
            "label": "smoke",
            "start": told["start"],
            "seconds": told["seconds"],
            "score": begin["score"],
        }
        async with house.http() as http:
            answer = await http.get(f"/v1/clips/{told['id']}?microphone=hall")
            part = await http.get(
                f"/v1/clips/{told['id']}?microphone=hall",
                headers={"Range": "bytes=0-3"},
            )
            picture = await http.get(f"/v1/clips/{told['id']}.png?microphone=hall")
        assert answer.headers["Content-Type"] == "audio/flac"
        assert (part.status_code, part.content) == (206, b"fLaC")
        assert picture.headers["Content-Type"] == "image/png"
        assert picture.content.startswith(b"\x89PNG")
        heard = decoded(answer.content)
        first = round(at(told["start"]) * SAMPLE_RATE)
        assert np.array_equal(heard, pcm[first : first + heard.size])
        (found,) = RhythmRecognizer(["smoke"]).push(heard)
        assert found.label == "smoke"
        assert await house.metric("earshot_clips_total", outcome="kept") == 1


async def test_a_short_sound_has_a_short_clip(serve: Serve) -> None:
    pcm = scene(8, ("bark", 3), 12)
    async with serve(clips=ON, classifier=Pitches()) as house:
        messages = await hear(house, pcm, labels=["bark"])

        (told,) = of_kind(messages, "clip")
        sound = of_kind(messages, "sound")[-1]
        assert 8.5 < told["seconds"] < 10.5
        assert told["seconds"] == pytest.approx(
            at(sound["end"]) + 1 - at(told["start"]), abs=0.01
        )
        assert sound["state"] == "end"
        async with house.http() as http:
            answer = await http.get(f"/v1/clips/{told['id']}?microphone=hall")
        heard = decoded(answer.content)
        assert pitch(heard[6 * SAMPLE_RATE : 7 * SAMPLE_RATE]) == HERTZ["bark"]
        assert not heard[: 4 * SAMPLE_RATE].any()


@pytest.mark.parametrize(
    ("settings", "clips", "count"),
    [
        (ClipSettings(), True, 0),
        (ON, False, 0),
        (ClipSettings(enabled=True, microphones=("attic",)), True, 0),
        (ClipSettings(enabled=True, microphones=("attic", "hall")), True, 1),
        (ClipSettings(enabled=True, labels=("meow",)), True, 0),
        (ClipSettings(enabled=True, labels=("bark",)), True, 1),
    ],
)
async def test_the_server_and_the_client_must_both_want_clips(
    serve: Serve, settings: ClipSettings, clips: bool, count: int
) -> None:
    async with serve(clips=settings, classifier=Pitches()) as house:
        messages = await hear(
            house, scene(2, ("bark", 2), 6), clips=clips, labels=["bark"]
        )

        assert len(of_kind(messages, "sound")) == 2
        assert len(of_kind(messages, "clip")) == count
        assert len(files(house)) == 3 * count
        async with house.http() as http:
            info = (await http.get("/v1/info")).json()
        assert info["clips"] is settings.enabled


@pytest.mark.parametrize("speech", [False, True])
async def test_a_clip_with_speech_is_kept_only_if_asked_for(
    serve: Serve, speech: bool
) -> None:
    voice = say("please open the door for me")
    pcm = scene(8, ("bark", 2), 10)
    pcm[6 * SAMPLE_RATE : 6 * SAMPLE_RATE + voice.size] += voice // 2
    settings = ClipSettings(enabled=True, speech=speech)
    async with serve(clips=settings, classifier=Pitches()) as house:
        messages = await hear(house, pcm, labels=["bark"])

        assert len(of_kind(messages, "sound")) == 2
        assert len(of_kind(messages, "clip")) == speech
        assert bool(files(house)) == speech
        outcome = "kept" if speech else "speech"
        assert await house.metric("earshot_clips_total", outcome=outcome) == 1


async def test_what_the_classifier_calls_speaking_is_speech_too(serve: Serve) -> None:
    async with serve(clips=ON, classifier=Pitches()) as house:
        pcm = scene(4, ("speaking", 1), 2, ("bark", 2), 8)
        assert not talk.has_voice(pcm)

        messages = await hear(house, pcm, labels=["bark"])

        assert of_kind(messages, "clip") == []
        assert await house.metric("earshot_clips_total", outcome="speech") == 1


async def test_a_stream_that_breaks_keeps_its_clip(serve: Serve) -> None:
    async with serve(clips=ON, classifier=Pitches()) as house:
        async with house.stream("sounds", clips=True, labels=["bark"]) as stream:
            await stream.play(scene(2, ("bark", 3)))
            begun = await stream.next("sound")
        while not (found := await kept(house)):
            await asyncio.sleep(0.01)

        assert [clip["id"] for clip in found] == [begun["id"]]


async def test_a_server_that_stops_keeps_its_clips(serve: Serve) -> None:
    async with (
        serve(clips=ON, classifier=Pitches()) as house,
        house.stream("sounds", clips=True, labels=["bark"]) as stream,
    ):
        await stream.play(scene(2, ("bark", 3)))
        begun = await stream.next("sound")
        house.server.should_exit = True
        assert (await stream.rest())[-1]["reason"] == "shutdown"
    while house.service._keeping:
        await asyncio.sleep(0.01)

    assert files(house) == [
        f"hall/{begun['id']}.{suffix}" for suffix in ("flac", "json", "png")
    ]


async def test_clips_that_wait_too_long_are_lost_and_the_stream_goes_on(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MAX_SAVING", 0)
    async with serve(clips=ON, classifier=Pitches()) as house:
        messages = await hear(house, scene(2, ("bark", 2), 8), labels=["bark"])

        assert len(of_kind(messages, "sound")) == 2
        assert messages[-1]["reason"] == "ended"
        assert await house.metric("earshot_clips_total", outcome="lost") == 1
        assert files(house) == []


async def test_a_full_disk_costs_the_clips_and_is_said_once(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full = True
    write = service_module.ClipStore.keep.__globals__["write_private"]

    def write_private(path: Path, content: bytes) -> None:
        if full and path.suffix != ".flac":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    monkeypatch.setattr("model_server.api.clip_store.write_private", write_private)
    caplog.set_level(logging.INFO)
    pcm = scene(2, ("bark", 2), 6, ("bark", 2), 6)
    async with serve(clips=ON, classifier=Pitches()) as house:
        messages = await hear(house, pcm, labels=["bark"])
        assert len(of_kind(messages, "sound")) == 4
        assert of_kind(messages, "clip") == []
        assert files(house) == []
        full = False
        await hear(house, pcm[: 10 * SAMPLE_RATE], labels=["bark"])
        assert len(await kept(house)) == 1

    told = [record.message for record in caplog.records if "lips are" in record.message]
    assert len(told) == 2
    assert "No space left on device" in told[0]
    assert told[1] == "Clips are kept again"


async def test_whatever_else_fails_costs_the_clip_only(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr("model_server.api.clip_store.flac", fails)
    async with serve(clips=ON, classifier=Pitches()) as house:
        messages = await hear(house, scene(2, ("bark", 2), 8), labels=["bark"])

        assert len(of_kind(messages, "sound")) == 2
        assert await house.metric("earshot_clips_total", outcome="lost") == 1


# The doors


def kept_clip(microphone: str = "hall", made: datetime | None = None) -> KeptClip:
    """A clip, made now or then."""
    clip = uuid7()
    if made is not None:
        milliseconds = f"{int(made.timestamp() * 1000):012x}"
        clip = f"{milliseconds[:8]}-{milliseconds[8:]}{clip[13:]}"
    return KeptClip(
        id=clip, microphone=microphone, label="bark", start=T0, seconds=1, score=0.9
    )


async def test_a_clip_is_found_only_under_its_own_microphone(serve: Serve) -> None:
    clip = kept_clip("bedroom")
    async with serve() as house, house.http() as http:
        assert house.service.clips.keep(clip, tone("bark", 1))
        doors = [f"/v1/clips/{clip.id}", f"/v1/clips/{clip.id}.png"]
        for door in doors:
            mine = await http.get(door, params={"microphone": "bedroom"})
            others = await http.get(door, params={"microphone": "hall"})
            nobodys = await http.get(door)
            assert (mine.status_code, others.status_code) == (200, 404)
            assert others.json()["code"] == "unknown_clip"
            assert nobodys.status_code == 422
            assert "microphone=" in nobodys.json()["message"]
        assert await kept(house, "hall") == []
        elsewhere = await http.delete(doors[0], params={"microphone": "hall"})
        assert elsewhere.status_code == 404
        assert len(await kept(house, "bedroom")) == 1

        gone = await http.delete(doors[0], params={"microphone": "bedroom"})
        again = await http.delete(doors[0], params={"microphone": "bedroom"})
        assert (gone.status_code, again.status_code) == (204, 404)
        assert files(house) == []
        assert (await http.delete(doors[0])).status_code == 422


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_without_the_token_nothing_is_served(serve: Serve, method: str) -> None:
    clip = kept_clip()
    async with serve() as house, house.http(headers={}) as http:
        assert house.service.clips.keep(clip, tone("bark", 1))
        for door in ("", f"/{clip.id}", f"/{clip.id}.png"):
            answer = await http.request(method, f"/v1/clips{door}?microphone=hall")
            assert answer.status_code == 401
        assert len(files(house)) == 3


async def test_no_request_leads_out_of_a_microphones_folder(serve: Serve) -> None:
    known = kept_clip()
    names = ["..%2f..%2ftoken", "..", "*", str(uuid4()), f"{known.id}.json"]
    asked = [(name, "hall") for name in (*names, f"{known.id}.flac")]
    strangers = ("..", ".", "../hall", "hall/", "Hall", "\0")
    asked += [(known.id, microphone) for microphone in strangers]
    async with serve() as house, house.http() as http:
        assert house.service.clips.keep(known, tone("bark", 1))
        for name, microphone in asked:
            for kind in ("", ".png"):
                answer = await http.get(
                    f"/v1/clips/{name}{kind}", params={"microphone": microphone}
                )
                assert answer.status_code == 404, (name, microphone)
            if microphone != "hall":
                assert await kept(house, microphone) == []
        assert len(files(house)) == 3


async def test_clips_are_listed_newest_first_in_pages(serve: Serve) -> None:
    clips = [
        kept_clip(made=datetime.now(UTC) - timedelta(minutes=minutes))
        for minutes in range(4)
    ]
    async with serve() as house, house.http() as http:
        for clip in clips:
            assert house.service.clips.keep(clip, tone("bark", 0.1))
        damaged = house.service.clips.file("hall", clips[1].id, "flac")
        assert damaged is not None
        damaged.with_suffix(".json").write_text("{")

        async def page(**query: str) -> list[str]:
            answer = await http.get("/v1/clips", params={"microphone": "hall"} | query)
            assert answer.status_code == 200, answer.text
            return [clip["id"] for clip in answer.json()["clips"]]

        assert await page() == [clips[0].id, clips[2].id, clips[3].id]
        assert await page(limit="2") == [clips[0].id, clips[2].id]
        assert await page(before=clips[2].id) == [clips[3].id]
        for wrong in ({"limit": "-1"}, {"limit": "²"}, {"before": "yesterday"}):
            answer = await http.get("/v1/clips", params={"microphone": "hall"} | wrong)
            assert answer.status_code == 422


# What is forgotten


@pytest.fixture
def store(tmp_path: Path) -> Callable[..., ClipStore]:
    """A store of a test's own."""

    def make(now: datetime | None = None, **settings: Any) -> ClipStore:
        made = ClipSettings.model_construct(**settings)
        return ClipStore(tmp_path / "clips", made, lambda: now or datetime.now(UTC))

    return make


def test_files_are_private_and_ids_are_the_events(
    store: Callable[..., ClipStore], tmp_path: Path
) -> None:
    clip = kept_clip()
    assert store().keep(clip, tone("bark", 1))

    folder = tmp_path / "clips"
    assert {oct(each.stat().st_mode & 0o777) for each in (folder, folder / "hall")} == {
        "0o700"
    }
    written = list((folder / "hall").iterdir())
    assert {path.suffix for path in written} == {".flac", ".png", ".json"}
    assert {oct(path.stat().st_mode & 0o777) for path in written} == {"0o600"}
    assert {UUID(path.stem).version for path in written} == {7}


def test_old_clips_are_forgotten(store: Callable[..., ClipStore]) -> None:
    now = datetime.now(UTC)
    old, recent = (kept_clip(made=now - timedelta(days=days)) for days in (8, 6))
    clips = store(max_days=30.0)
    assert clips.keep(old, tone("bark", 0.1))
    assert clips.keep(recent, tone("bark", 0.1))

    store(max_days=7.0).tidy()

    assert clips.clips("hall", 9) == [recent]
    store(now + timedelta(days=2), max_days=7.0).tidy()
    assert clips.clips("hall", 9) == []


def test_the_oldest_make_room_of_whatever_microphone(
    store: Callable[..., ClipStore], tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    clips = [
        kept_clip(microphone, now - timedelta(hours=hours))
        for microphone, hours in (("attic", 3), ("hall", 2), ("attic", 1))
    ]
    noise = np.random.default_rng(0).integers(-9999, 9999, SAMPLE_RATE, np.int16)
    bounded = store(max_bytes=0)
    one = len(flac(noise)) + len(spectrogram_png(noise)) + 300
    bounded = store(max_bytes=2 * one)

    for clip in clips:
        assert bounded.keep(clip, noise)

    assert bounded.clips("attic", 9) == [clips[2]]
    assert bounded.clips("hall", 9) == [clips[1]]
    total = sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
    assert total <= 2 * one
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 6


def test_what_a_crash_left_is_cleared_and_what_is_a_persons_stays(
    store: Callable[..., ClipStore], tmp_path: Path
) -> None:
    clip, half = kept_clip(), kept_clip()
    clips = store()
    assert clips.keep(clip, tone("bark", 0.1))
    folder = tmp_path / "clips" / "hall"
    (folder / f"{half.id}.flac").write_bytes(b"half")
    (folder / f".{half.id}.png.x1y2").write_bytes(b"half")
    (folder / "mine").mkdir()
    (tmp_path / "clips" / "README.txt").write_text("mine")

    clips.tidy()

    assert {path.name for path in folder.iterdir()} == {
        *(f"{clip.id}.{suffix}" for suffix in ("flac", "png", "json")),
        "mine",
    }
    assert (tmp_path / "clips" / "README.txt").exists()


async def test_age_is_looked_at_when_the_server_starts_and_every_hour(
    serve: Serve,
    store: Callable[..., ClipStore],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service_module, "TIDY_S", 0.01)
    old = kept_clip(made=datetime.now(UTC) - timedelta(days=99))
    before = ClipStore(
        tmp_path / "data" / "clips",
        ClipSettings(max_days=3650),
        lambda: datetime.now(UTC),
    )
    assert before.keep(old, tone("bark", 0.1))
    async with serve() as house:
        for _ in range(2):
            while files(house):
                await asyncio.sleep(0.01)
            assert before.keep(old, tone("bark", 0.1))


async def test_a_folder_that_cannot_be_tidied_stops_nothing(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def tidy(_: ClipStore) -> None:
        calls.append(1)
        raise PermissionError

    monkeypatch.setattr(service_module, "TIDY_S", 0.01)
    monkeypatch.setattr(ClipStore, "tidy", tidy)
    async with serve() as house, house.http() as http:
        while len(calls) < 2:
            await asyncio.sleep(0.01)
        assert (await http.get("/health")).status_code == 200
