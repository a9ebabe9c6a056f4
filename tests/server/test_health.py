"""A microphone that cannot hear is noticed within a minute; one that can never is."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
import time

from hypothesis import given, settings, strategies as st
import numpy as np
import numpy.typing as npt
from prometheus_client import Counter
import pytest

from model_server.api.checkup import MAX_REMEMBERED, REMEMBER_S, Checkups, Rounds
from model_server.audio import SAMPLE_RATE, Pcm
from model_server.audio.health import GATED_S, PROBLEMS, HealthMeter, Problem
from model_server.audio.repetition import Loops
from model_server.audio.supply import Supply
from model_server.evaluation import synthesis
from tests.server.client import House, Offset, Serve, of_kind
from tests.server.voices import say, silence

T0 = datetime(2026, 11, 22, 12, tzinfo=UTC)
Wave = npt.NDArray[np.float64]


def hiss(seconds: float, dbfs: float, seed: int = 0) -> Wave:
    """White noise of an RMS."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 10 ** (dbfs / 20), round(seconds * SAMPLE_RATE))


def recorded(wave: npt.NDArray[np.floating], *, dither: bool = True) -> Pcm:
    """A wave of -1 to 1 as a converter with a little noise of its own gives it."""
    noise = hiss(wave.size / SAMPLE_RATE, -96, seed=9) if dither else 0
    return synthesis.pcm(np.asarray(wave + noise, np.float32))


@cache
def music(seconds: int = 60) -> Wave:
    """Music at -20 dBFS."""
    return synthesis.music(seconds, seed=3).astype(np.float64)


@cache
def chatter(seconds: int = 60) -> Wave:
    """Speech with pauses of a second, each sentence a little louder or softer."""
    sentences = ("turn on the lights", "what is the weather", "seven apple pies")
    said = [
        np.concatenate([gain * say(text) / 32768, np.zeros(SAMPLE_RATE)])
        for gain in np.linspace(0.7, 1.0, 15)
        for text in sentences
    ]
    return np.concatenate(said)[: seconds * SAMPLE_RATE]


def household(seconds: int, dbfs: float) -> Wave:
    """A home's own noise."""
    return synthesis.household(seconds, seed=1, rms=10 ** (dbfs / 20)).astype(float)


def fridge(seconds: int) -> Wave:
    """Its compressor's hum, at -56 dBFS."""
    at = np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE
    return 0.002 * np.sin(2 * np.pi * 50 * at) + 0.001 * np.sin(2 * np.pi * 100 * at)


def course(pcm: Pcm, meter: HealthMeter | None = None) -> list[tuple[int, set[str]]]:
    """The seconds at which the problems changed, and to what."""
    meter = meter or HealthMeter()
    changes: list[tuple[int, set[str]]] = []
    before: frozenset[Problem] = frozenset()
    for second in range(pcm.size // SAMPLE_RATE):
        meter.push(pcm[second * SAMPLE_RATE : (second + 1) * SAMPLE_RATE])
        if meter.problems != before:
            before = meter.problems
            changes.append((second + 1, set(before)))
    return changes


def looped(wave: Wave, seconds: int = 60) -> Pcm:
    """A recording that begins anew whenever it ends."""
    once = recorded(wave)
    return np.tile(once, 1 + seconds * SAMPLE_RATE // once.size)


BROKEN: list[tuple[Problem, str, Pcm]] = [
    ("silent", "digital silence", silence(60)),
    ("silent", "an open input", recorded(np.zeros(60 * SAMPLE_RATE))),
    ("silent", "noise of a cheap converter", recorded(hiss(60, -87))),
    ("silent", "A-law's least value", np.full(60 * SAMPLE_RATE, 8, np.int16)),
    ("too_quiet", "talk 70 dB down", recorded(chatter() * 10 ** (-70 / 20))),
    (
        "too_quiet",
        "the same without dither",
        recorded(chatter() * 10 ** (-65 / 20), dither=False),
    ),
    ("clipped", "music 30 dB up", recorded(music() * 30)),
    ("clipped", "talk 30 dB up", recorded(chatter() * 30)),
    ("stuck", "one value", np.full(60 * SAMPLE_RATE, -7000, np.int16)),
    ("stuck", "full scale", np.full(60 * SAMPLE_RATE, 32767, np.int16)),
    ("stuck", "a block of 20 ms", looped(hiss(0.02, -40))),
    ("stuck", "a block of 0.1 s", looped(music()[:1600])),
    ("looped", "one second", looped(music()[:SAMPLE_RATE])),
    ("looped", "3.2 s", looped(chatter()[: 16 * 3200])),
    ("looped", "22.7 s", looped(household(60, -55)[: 227 * 1600])),
    ("dc", "an offset and noise", recorded(hiss(60, -90) + 0.05)),
    ("dc", "a large offset and hum", recorded(fridge(60) * 0.5 - 0.4)),
]


@pytest.mark.parametrize(
    ("problem", "pcm"),
    [(problem, pcm) for problem, _, pcm in BROKEN],
    ids=[what for _, what, _ in BROKEN],
)
def test_a_problem_is_noticed_within_45_s_and_is_the_only_one(
    problem: Problem, pcm: Pcm
) -> None:
    (change,) = course(pcm)

    assert change[0] <= 45
    assert change[1] == {problem}


HEARS: list[tuple[str, Pcm]] = [
    ("talk with pauses", recorded(chatter(120))),
    ("talk without any noise", recorded(chatter(), dither=False)),
    ("talk across the room", recorded(chatter() * 0.03)),
    ("talk over a noisy preamplifier", recorded(chatter() * 0.001 + hiss(60, -70))),
    ("music", recorded(music())),
    ("music that touches full scale", recorded(music() * 3)),
    ("a busy household", recorded(household(60, -40))),
    ("a quiet household", recorded(household(60, -75))),
    ("a fridge", recorded(fridge(60))),
    ("a fridge with an offset", recorded(fridge(60) + 0.03)),
    (
        "a bedroom at night",
        recorded(synthesis.noise(60, "brown", rms=10 ** (-80 / 20))),
    ),
    (
        "a bedroom at night, heard by a low-noise microphone",
        recorded(synthesis.noise(60, "pink", seed=4, rms=10 ** (-84 / 20))),
    ),
    ("a smoke alarm", recorded(synthesis.t3(60))),
    ("a smoke alarm at full scale", recorded(synthesis.t3(25) * 0.999)),
    ("rain", recorded(hiss(60, -30))),
]


@pytest.mark.parametrize("pcm", [pcm for _, pcm in HEARS], ids=[h for h, _ in HEARS])
def test_what_a_home_sounds_like_is_no_problem(pcm: Pcm) -> None:
    assert course(pcm) == []


def test_breath_in_a_room_as_quiet_as_the_converter_is_no_silence() -> None:
    breath = np.where(np.arange(60 * SAMPLE_RATE) // SAMPLE_RATE % 20 == 0, 6.0, 1.0)

    assert course(recorded(hiss(60, -93) * breath)) == []


def test_automatic_gain_is_no_problem() -> None:
    at = np.arange(60 * SAMPLE_RATE) / SAMPLE_RATE
    gain = 10 ** (np.abs(np.sin(at / 5)) * 2 - 2)

    assert course(recorded((chatter() + hiss(60, -60)) * gain)) == []


def test_a_noise_gate_is_learnt_and_then_may_be_silent_for_a_night(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert GATED_S >= 10 * 3600
    monkeypatch.setattr("model_server.audio.health.GATED_S", 1200)
    meter = HealthMeter()
    for number in range(4):
        talk = chatter()[number * 4 * SAMPLE_RATE :][: 2 * SAMPLE_RATE]
        assert course(np.concatenate([recorded(talk), silence(10)]), meter) == []
    assert course(silence(1189), meter) == []
    meter.push(silence(1))
    assert meter.problems == {"silent"}
    meter.push(recorded(chatter(6)))
    assert meter.problems == set()


def test_a_microphone_that_was_muted_now_and_then_has_no_noise_gate() -> None:
    heard = np.concatenate([recorded(chatter(10)), silence(2)])
    meter = HealthMeter()
    for _ in range(5):
        assert course(heard, meter) == []
        assert course(recorded(hiss(300, -60)), meter) == []
    assert [problems for _, problems in course(silence(40), meter)] == [{"silent"}]


@pytest.mark.parametrize(
    "problem", ["silent", "too_quiet", "clipped", "stuck", "looped", "dc"]
)
def test_a_problem_is_over_within_half_a_minute_of_sound(problem: Problem) -> None:
    broken = next(pcm for kind, _, pcm in BROKEN if kind == problem)
    healed = recorded(household(40, -50) + chatter(40))

    begun, ended = course(np.concatenate([broken, healed]))

    assert begun[1] == {problem}
    assert ended[1] == set()
    assert ended[0] <= broken.size // SAMPLE_RATE + 31


def test_one_click_does_not_heal_a_dead_microphone() -> None:
    pcm = silence(90)
    pcm[45 * SAMPLE_RATE : 45 * SAMPLE_RATE + 300] = 2000

    assert course(pcm) == [(30, {"silent"})]


def test_a_tone_of_some_seconds_and_a_cry_close_by_are_no_problem() -> None:
    tone = synthesis.pcm(0.5 * synthesis.tone(10, 1000.0))
    cry = recorded(chatter(12) * 30)
    room = recorded(household(30, -50))

    assert course(np.concatenate([room, tone, room, cry, room])) == []


@settings(max_examples=15)
@given(sizes=st.lists(st.integers(0, 3 * SAMPLE_RATE), min_size=1, max_size=25))
def test_the_cut_of_the_audio_changes_nothing(sizes: list[int]) -> None:
    pcm = np.concatenate([silence(31), recorded(hiss(8, -50))])
    meter = HealthMeter()
    for piece in np.split(pcm, np.minimum(np.cumsum(sizes), pcm.size)):
        meter.push(piece)
    whole = HealthMeter()
    whole.push(pcm)

    assert meter.problems == whole.problems == set()
    assert meter._seconds == whole._seconds


def test_a_loop_does_not_go_on_in_another_stream() -> None:
    loops = Loops()
    second = recorded(music()[:SAMPLE_RATE])
    loops.push(second)
    loops.push(second)
    assert loops.repeats(distinct=True)
    loops.forget()
    loops.push(second)
    assert not loops.repeats(distinct=True)


def test_it_costs_less_than_a_millisecond_per_second_of_audio() -> None:
    pcm = recorded(music())
    meter = HealthMeter()
    began = time.thread_time()
    meter.push(pcm)

    # Ten times what it takes: the machine may be busy.
    assert (time.thread_time() - began) / 60 < 0.005


def supply(rate: float, seconds: int, chunk_s: float = 0.5) -> list[float]:
    """The seconds at which a stream at `rate` of real time was found starved."""
    meter = Supply()
    found = []
    for number in range(round(seconds / chunk_s)):
        now = number * chunk_s
        meter.push(round(rate * chunk_s * SAMPLE_RATE), now)
        found += [now] if meter.starved else []
    return found


def test_too_little_audio_is_noticed_in_time() -> None:
    assert 20 < supply(0.5, 60)[0] <= 45
    assert 20 < supply(0.88, 60)[0] <= 50
    assert supply(0.97, 300) == []
    assert supply(1.03, 300) == []


def test_enough_audio_again_heals_it() -> None:
    meter = Supply()
    for second in range(120):
        meter.push(SAMPLE_RATE // 2 if second < 60 else SAMPLE_RATE, second)
        if second == 59:
            assert meter.starved
    assert not meter.starved


def test_what_comes_in_bursts_is_not_starved() -> None:
    assert supply(1.0, 300, chunk_s=10) == []
    meter = Supply()
    for second in range(0, 200, 25):
        meter.push(25 * SAMPLE_RATE, second)
        assert not meter.starved


def test_time_without_a_stream_does_not_count() -> None:
    meter = Supply()
    for second in range(100):
        if second % 10 == 0:
            meter.pause()
        meter.push(SAMPLE_RATE, second * 3 if second % 10 == 0 else second)
        meter._last = None if second % 10 == 9 else float(second)
        assert not meter.starved


def counter() -> Counter:
    """A counter that no other test sees."""
    return Counter("problems", "Problems.", ["problem"], registry=None)


def test_a_client_that_could_not_be_told_is_told_with_the_next_samples() -> None:
    rounds = Rounds(Checkups(), counter(), "hall", 0.0)
    told: list[int] = []

    def tell(sample: int, problems: tuple[Problem, ...]) -> bool:
        assert problems == ("silent",)
        told.append(sample)
        return len(told) > 2

    rounds.push(silence(40), 0.0, tell)

    assert [sample / SAMPLE_RATE for sample in told] == [30, 31, 32]


def test_only_so_many_microphones_are_remembered_and_not_for_ever() -> None:
    checkups = Checkups()
    first = checkups.take("mic_0", 0.0)
    for number in range(MAX_REMEMBERED + 1):
        checkups.keep(f"mic_{number}", checkups.take(f"mic_{number}", 0.0), 0.0)
    checkups.keep("hall", first, 0.0)
    assert checkups.take("hall", REMEMBER_S) is first
    # While it is taken, a second stream of the same name begins with nothing.
    assert checkups.take("hall", REMEMBER_S) is not first
    checkups.keep("hall", first, 0.0)
    assert checkups.take("hall", REMEMBER_S + 1) is not first
    assert len(checkups._kept) < MAX_REMEMBERED


async def test_a_stream_tells_what_is_wrong_and_when_it_is_well_again(
    house: House,
) -> None:
    pcm = np.concatenate([silence(35), recorded(household(20, -50))])
    async with house.stream("sounds", time=T0.isoformat()) as stream:
        messages = await (await stream.play(pcm)).end()

    broken, healed = of_kind(messages, "health")
    assert broken == {
        "type": "health",
        "time": "2026-11-22T12:00:30Z",
        "microphone": "hall",
        "problems": ["silent"],
    }
    assert healed["problems"] == []
    assert healed["time"] == "2026-11-22T12:00:38Z"
    metric = "earshot_microphone_problems_total"
    assert await house.metric(metric, problem="silent") == 1


async def test_the_next_stream_of_a_microphone_goes_on_with_what_is_known(
    house: House,
) -> None:
    async with house.stream("commands") as stream:
        await (await stream.play(silence(31))).end()
    async with house.stream("commands", microphone="cellar") as stream:
        messages = await (await stream.play(silence(2))).end()
        assert of_kind(messages, "health") == []
    async with house.stream("commands") as stream:
        await stream.play(silence(0.5))
        assert (await stream.next("health"))["problems"] == ["silent"]
        messages = await (await stream.play(silence(2))).end()
    assert of_kind(messages, "health") == []
    metric = "earshot_microphone_problems_total"
    assert await house.metric(metric, problem="silent") == 1


async def test_a_healthy_stream_and_one_utterance_are_told_nothing(
    house: House,
) -> None:
    async with house.stream("sounds") as stream:
        messages = await (await stream.play(recorded(chatter(40)))).end()
    assert of_kind(messages, "health") == []
    async with house.stream("transcribe") as stream:
        messages = await (await stream.play(silence(10))).end()
    assert [message["type"] for message in messages] == ["transcript", "stopped"]


async def test_a_stream_that_brings_too_little_is_starved_until_it_brings_enough(
    serve: Serve,
) -> None:
    offset = Offset()
    noise = recorded(hiss(200, -50))
    at = 0
    async with serve(clock=offset.clock) as house, house.stream("sounds") as stream:
        health = []
        for turn in range(80):
            offset.seconds += 2
            seconds = 2 if turn > 40 else 1
            size = seconds * SAMPLE_RATE
            await stream.play(noise[at : at + size], 1 << 17)
            at += size
            # The levels tell that the server has heard it all before its clock goes on.
            while seconds:
                message = await stream.next()
                health += of_kind([message], "health")
                seconds -= message["type"] == "level"
        health += of_kind(await stream.end(), "health")
    assert [each["problems"] for each in health] == [["starved"], []]


def test_every_problem_has_a_place_in_the_order() -> None:
    assert set(PROBLEMS) == {problem for problem, _, _ in BROKEN} | {"starved"}
