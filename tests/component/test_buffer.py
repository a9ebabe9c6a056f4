"""Audio that waits: what is kept, what is continuous, when it was."""

import asyncio
from datetime import UTC, datetime, timedelta

from custom_components.earshot.backoff import Backoff
from custom_components.earshot.buffer import PcmBuffer

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = bytes(32000)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


async def test_audio_is_taken_with_the_time_of_its_first_sample() -> None:
    buffer = PcmBuffer()
    buffer.append(SECOND, at(1))
    buffer.append(SECOND, at(2.4))
    assert await buffer.hold() == at(0)
    chunks = await buffer.take(at(0))
    # Jitter of the capture does not disturb a clock that counts samples.
    assert [chunk.time for chunk in chunks] == [at(0), at(1)]
    assert chunks[-1].end == at(2)


async def test_the_newest_audio_is_kept() -> None:
    buffer = PcmBuffer(capacity_s=3)
    for second in range(1, 10):
        buffer.append(SECOND, at(second))
    assert await buffer.hold() == at(6)
    assert len(await buffer.take(at(6))) == 3


async def test_held_audio_is_kept_until_it_is_taken() -> None:
    buffer = PcmBuffer(capacity_s=2)
    buffer.append(SECOND, at(1))
    start = await buffer.hold()
    for second in range(2, 6):
        buffer.append(SECOND, at(second))
    assert len(await buffer.take(start)) == 5
    for second in range(6, 10):
        buffer.append(SECOND, at(second))
    assert await buffer.hold() == at(7)


async def test_released_audio_makes_room_again() -> None:
    buffer = PcmBuffer(capacity_s=2)
    buffer.append(SECOND, at(1))
    await buffer.hold()
    for second in range(2, 6):
        buffer.append(SECOND, at(second))
    buffer.release()
    assert await buffer.hold() == at(3)


async def test_a_clock_that_ran_away_is_set_anew() -> None:
    buffer = PcmBuffer(tolerance_s=3)
    buffer.append(SECOND, at(1))
    buffer.append(SECOND, at(6))
    assert len(await buffer.take(at(0))) == 1
    assert await buffer.take(at(1)) == []
    assert await buffer.hold() == at(5)


async def test_what_a_source_gathered_while_it_opened_is_not_in_the_future() -> None:
    buffer = PcmBuffer(gather_s=0)
    for _ in range(6):
        buffer.append(SECOND, at(6))
    start = await buffer.hold()
    assert start == at(0)
    assert (await buffer.take(start))[-1].end == at(6)


async def test_once_audio_is_held_its_clock_does_not_give_way() -> None:
    buffer = PcmBuffer(gather_s=0)
    buffer.append(SECOND, at(1))
    start = await buffer.hold()
    buffer.append(SECOND, at(1))
    buffer.append(SECOND, at(1))
    assert [chunk.time for chunk in await buffer.take(start)] == [at(0), at(1), at(2)]


async def test_a_cut_ends_what_came_before() -> None:
    buffer = PcmBuffer()
    buffer.append(SECOND, at(1))
    assert len(await buffer.take(at(0))) == 1
    waiting = asyncio.ensure_future(buffer.take(at(1)))
    await asyncio.sleep(0)
    assert not waiting.done()
    buffer.cut()
    assert await waiting == []


async def test_waiting_for_audio_ends_when_some_comes() -> None:
    buffer = PcmBuffer()
    held = asyncio.ensure_future(buffer.hold())
    await asyncio.sleep(0)
    buffer.append(SECOND, at(1))
    assert await held == at(0)
    await buffer.take(at(0))
    taking = asyncio.ensure_future(buffer.take(at(1)))
    await asyncio.sleep(0)
    buffer.append(SECOND, at(2))
    assert [chunk.time for chunk in await taking] == [at(1)]


def test_waits_grow_to_a_cap_with_jitter_and_begin_anew() -> None:
    backoff = Backoff(first_s=1, cap_s=8)
    waits = [backoff.next() for _ in range(100)]
    for wait, longest in zip(waits, [1, 2, 4, 8, 8, 8], strict=False):
        assert longest / 2 <= wait <= longest
    assert len(set(waits)) > 1
    backoff.reset()
    assert backoff.next() <= 1
