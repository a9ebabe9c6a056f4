"""The three engines over a tiny model: results, and the work they cost."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from torch import Tensor

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.catalogue import load_catalogue
from model_server.engines.base import (
    CUT,
    AudioDescriber,
    EngineBusyError,
    EngineError,
    Engines,
    SoundClassifier,
    SpeechRecognizer,
    UnusableRequestError,
    Vocabulary,
)
from model_server.engines.midashenglm import labels, recognizer as recognizer_module
from model_server.engines.midashenglm.answers import Question
from model_server.engines.midashenglm.clips import Clip, Kept
from model_server.engines.midashenglm.engine import MiDasheng
from model_server.engines.midashenglm.hearing import Ahead, Begin
from model_server.engines.midashenglm.labels import HOP, WINDOW
from model_server.engines.midashenglm.scheduler import LATER, Work as Steps
from model_server.engines.prompts import CAPTION, LABELS, transcribe
from model_server.engines.understanding import intent_instruction, read_intent
from model_server.settings import MiDashengSettings
from tests.server.checkpoints import write_midashenglm
from tests.server.homes import lamp_home
from tests.server.midasheng import (
    CHUNK_FRAMES,
    core,
    hum,
    loaded,
    serving,
    talk,
    watched,
)
from tests.server.voices import say, silence

MUSIC = {
    "type": "object",
    "properties": {
        "music": {"type": "boolean"},
        "speech": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "sounds": {"type": "array", "items": {"enum": ["dog", "rain"]}},
    },
    "required": ["music", "speech", "sounds"],
    "additionalProperties": False,
}


@pytest.fixture
def engine() -> Iterator[MiDasheng]:
    with serving() as made:
        yield made


def window(pcm: Pcm) -> np.ndarray:
    return pcm[None, :WINDOW].astype(np.float32) / 32768


def plainly(
    pcm: Pcm, before: Sequence[int], after: Sequence[int], kind: Any = "7b"
) -> Tensor:
    """Log-probabilities of what follows, by transformers without any cache."""
    model = loaded(kind).model
    embed = model.decoder.get_input_embeddings()
    audio = model.audio_embeddings(torch.from_numpy(pcm.astype(np.float32) / 32768))
    with torch.no_grad():
        whole = torch.cat(
            [embed(torch.tensor(before)), audio, embed(torch.tensor(after))]
        )
        return model.decoder(inputs_embeds=whole[None]).logits[0].log_softmax(-1)


@pytest.mark.parametrize("kind", ["7b", "0.6b"])
@pytest.mark.parametrize("seconds", [0.1, 3.0, 21.0])
def test_an_answer_is_the_likeliest_one_of_the_plain_model(
    kind: Any, seconds: float
) -> None:
    pcm = hum(seconds)
    with serving(kind) as engine:
        said = "".join(engine.describer.describe(pcm, CAPTION, max_tokens=12))
        inside = core(engine)
        prompt = inside.prompts.instruction(CAPTION)
        allowed = inside.ears._writable

    tokens: list[int] = []
    while len(tokens) < 12:
        found = plainly(pcm, prompt.before, [*prompt.after, *tokens], kind)[-1]
        best = int(found.masked_fill(~allowed, -math.inf).argmax())
        if best in inside.ends:
            break
        tokens.append(best)
    # Half a character at the end is not said.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    assert said == decoder.decode(inside.grammars.tokens.decode_bytes(tokens))


def test_sound_scores_are_those_of_the_plain_model_against_silence(
    engine: MiDasheng,
) -> None:
    pcm = talk(4)
    prompt = core(engine).prompts.instruction(LABELS)
    end = core(engine).ends[0]

    def mean(heard: Pcm, name: str) -> float:
        ids = [*core(engine).prompts.encode(name), end]
        found = plainly(heard, prompt.before, [*prompt.after, *ids])
        return float(found[-len(ids) - 1 : -1].gather(1, torch.tensor([ids]).T).mean())

    classifier = engine.classifier
    found = classifier.classify(window(pcm)).scores[0]

    assert "smoke" not in classifier.labels
    assert "bark" in classifier.labels
    for slug, score in list(zip(classifier.labels, found, strict=True))[::5]:
        name = load_catalogue()[slug].name
        raised = mean(pcm, name) - mean(silence(4), name)
        expected = 1 / (1 + math.exp(-labels.SLOPE * (raised - labels.MIDDLE)))
        assert score == pytest.approx(expected, abs=1e-4)


def test_silence_tells_nothing_about_any_label(engine: MiDasheng) -> None:
    found = engine.classifier.classify(np.zeros((2, WINDOW), np.float32))

    none = 1 / (1 + math.exp(labels.SLOPE * labels.MIDDLE))
    assert found.scores == pytest.approx(
        np.full((2, len(engine.classifier.labels)), none)
    )


def test_windows_are_scored_alike_alone_and_together(engine: MiDasheng) -> None:
    windows = np.stack([window(hum(4, seed))[0] for seed in range(11)])
    classifier = engine.classifier

    together = classifier.classify(windows)
    alone = [classifier.classify(each[None]) for each in windows]

    assert together.scores.shape == (11, len(classifier.labels))
    assert together.scores.dtype == together.embeddings.dtype == np.float32
    assert together.scores == pytest.approx(
        np.concatenate([each.scores for each in alone]), abs=1e-4
    )
    mean = (
        core(engine)
        .model.encode_clip(core(engine).model.front_end(torch.from_numpy(windows[3])))[
            0
        ]
        .mean(0)
    )
    assert together.embeddings[3] == pytest.approx(mean.numpy(), abs=1e-5)
    with pytest.raises(ValueError, match="64000"):
        classifier.classify(windows[:, :-1])


def test_one_clip_is_encoded_and_filled_in_once_for_four_tasks(
    engine: MiDasheng,
) -> None:
    pcm = talk(WINDOW / SAMPLE_RATE)
    classifier = engine.classifier
    with watched(engine) as work:
        "".join(engine.describer.describe(pcm, CAPTION, max_tokens=5))
        classifier.classify(window(pcm))
        engine.recognizer.recognize(pcm, "en")
        "".join(engine.describer.describe(pcm, "Who is it?", max_tokens=5))

    prompts = core(engine).prompts
    asked = [
        prompts.instruction(CAPTION),
        prompts.instruction(LABELS),
        prompts.transcription("en"),
        prompts.instruction("Who is it?"),
    ]
    audio = core(engine).model.audio_tokens(pcm.size)
    assert work.passes == 1
    # Only the first one fills in the audio; the others begin after it.
    assert work.prefilled == [
        len(asked[0].before) + audio + len(asked[0].after),
        *(len(prompt.after) for prompt in asked[1:]),
    ]


def test_questions_that_come_at_once_share_the_clip_too(engine: MiDasheng) -> None:
    pcm = talk(3)
    with watched(engine) as work:
        first = engine.describer.describe(pcm, CAPTION, max_tokens=30)
        next(first)
        calls = [engine.describer.describe(pcm, CAPTION, max_tokens=30) for _ in "ab"]
        texts = ["".join(call) for call in calls]
        rest = "".join(first)

    assert work.passes == 1
    assert len(set(texts)) == 1
    assert texts[0].endswith(rest)


def test_of_two_questions_about_a_new_clip_one_waits_for_the_other(
    engine: MiDasheng,
) -> None:
    ears, prompts = core(engine).ears, core(engine).prompts
    clip = Clip.of(talk(3))
    first, second = (Begin(row, clip, prompts.instruction("Who?")) for row in range(2))
    with watched(engine) as work:
        choice, waits = ears.perform([first, second])
        assert waits is LATER
        assert ears.decoder.filled(second.row) == 0
        (later,) = ears.perform([second])

    assert later.token == choice.token
    assert later.logprob == pytest.approx(choice.logprob, abs=1e-4)
    assert work.passes == 1
    assert work.prefilled[1] == len(second.prompt.after)


def test_of_many_long_clips_some_wait_for_the_next_pass(engine: MiDasheng) -> None:
    prompt = core(engine).prompts.instruction("Who?")
    needs = [Begin(row, Clip.of(hum(60, row)), prompt) for row in range(5)]

    answers = core(engine).ears.perform(needs)

    assert [answer is LATER for answer in answers] == [False] * 4 + [True]


def test_with_the_text_first_the_encoding_is_shared_all_the_same() -> None:
    pcm = talk(3)
    with serving(audio_first=False) as engine, watched(engine) as work:
        for question in ("What?", "Who?"):
            assert "".join(engine.describer.describe(pcm, question, max_tokens=5))
        engine.recognizer.foresee(talk(12))

    assert work.chunks[:1] == [301]
    assert work.chunks[1:] in ([], [CHUNK_FRAMES])


def foreseen(engine: MiDasheng, pcm: Pcm) -> None:
    """Wait until what was begun ahead is done."""

    def wait(row: int, say: Any) -> Steps[None]:
        yield Ahead(Clip.of(pcm[: SAMPLE_RATE // 5], open=True), None)

    core(engine).submit("ahead", wait).result()


@pytest.mark.parametrize("quiet", [False, True])
def test_after_the_end_of_speech_only_the_open_chunk_remains(quiet: bool) -> None:
    pcm = talk(25)
    if quiet:
        # A noise gate, and the loudest sound, on which the quietest depends, is early.
        pcm[4 * SAMPLE_RATE :] //= 2
        pcm[5 * SAMPLE_RATE : 6 * SAMPLE_RATE] = 0
    with serving() as engine, watched(engine) as work:
        plain = engine.recognizer.recognize(pcm, "en")
    assert work.chunks == [CHUNK_FRAMES, CHUNK_FRAMES, 485]

    with serving() as engine:
        with watched(engine) as ahead:
            for seconds in (8, 11, 16, 21):
                engine.recognizer.foresee(pcm[: seconds * SAMPLE_RATE])
                foreseen(engine, pcm)
        with watched(engine) as after:
            found = engine.recognizer.recognize(pcm, "en")
        prompt = core(engine).prompts.transcription("en")

    assert ahead.chunks == [CHUNK_FRAMES, CHUNK_FRAMES]
    assert ahead.prefilled[0] == len(prompt.before) + 50
    assert after.chunks == [485]
    # 100 tokens were filled in ahead; what remains is the audio's end and the question.
    assert after.prefilled == [25 + len(prompt.after)]
    assert found.text == plain.text != ""
    assert found.confidence == pytest.approx(plain.confidence, abs=1e-4)


def test_what_was_foreseen_of_another_utterance_changes_nothing() -> None:
    pcm, other = talk(12), hum(12)
    with serving() as engine:
        plain = engine.recognizer.recognize(pcm, "en")
    with serving() as engine:
        engine.recognizer.foresee(other)
        engine.recognizer.foresee(np.concatenate([pcm[: 11 * SAMPLE_RATE], hum(10)]))
        engine.recognizer.foresee(talk(31))
        found = engine.recognizer.recognize(pcm, "en")

    assert found.text == plain.text
    assert found.confidence == pytest.approx(plain.confidence, abs=1e-4)


def test_a_chunk_is_encoded_again_where_a_louder_sound_moves_the_floor() -> None:
    pcm = talk(20)
    pcm[:SAMPLE_RATE] = 0
    pcm[15 * SAMPLE_RATE :] = np.clip(
        pcm[15 * SAMPLE_RATE :].astype(int) * 9, -32768, 32767
    )
    with serving() as engine:
        plain = engine.recognizer.recognize(pcm, "en")
    with serving() as engine:
        engine.recognizer.foresee(pcm[: 11 * SAMPLE_RATE])
        foreseen(engine, pcm)
        with watched(engine) as after:
            found = engine.recognizer.recognize(pcm, "en")

    assert after.chunks == [CHUNK_FRAMES, 993]
    assert found.text == plain.text


def test_without_a_voice_the_model_is_not_asked(engine: MiDasheng) -> None:
    with watched(engine) as work:
        for pcm in (silence(2), hum(2, level=300), silence(0)):
            found = engine.recognizer.recognize(pcm, "en")
            assert (found.text, found.rejected) == ("", "silence")
    assert work.passes == 0


def test_speech_has_text_and_a_confidence_in_every_language(engine: MiDasheng) -> None:
    pcm = say("turn on the kitchen lights")
    for language in engine.recognizer.languages:
        found = engine.recognizer.recognize(pcm, language)
        assert found.text
        assert 0 < found.confidence < 1
        assert found.intent is None
    with pytest.raises(ValueError, match="'fr'"):
        engine.recognizer.recognize(pcm, "fr")


def test_long_speech_is_recognised_in_pieces(engine: MiDasheng) -> None:
    pcm = talk(70)
    with watched(engine) as work:
        found = engine.recognizer.recognize(pcm, "en")

    assert found.text
    # Three pieces of up to 30 s, each of up to three chunks.
    assert sum(work.chunks) == pytest.approx(70 * 100, abs=12)
    assert 6 <= len(work.chunks) <= 9
    assert max(work.prefilled) < 250


def test_speech_without_end_is_refused(engine: MiDasheng) -> None:
    endless = np.zeros(601 * SAMPLE_RATE, np.int16)

    assert engine.recognizer.recognize(endless, "en").rejected == "too_long"


def test_a_model_that_goes_in_circles_is_stopped(engine: MiDasheng) -> None:
    # Random weights do little else.
    found = engine.recognizer.recognize(talk(25), "en")
    tokens = core(engine).prompts.encode(found.text)

    assert 0 < len(tokens) < 200
    said = "".join(engine.describer.describe(talk(4), CAPTION, max_tokens=2000))
    assert len(core(engine).prompts.encode(said)) < 400


def test_a_vocabulary_is_reported_honestly(engine: MiDasheng) -> None:
    report = engine.recognizer.set_vocabulary(lamp_home())
    again = engine.recognizer.set_vocabulary(lamp_home())
    other = engine.recognizer.set_vocabulary(Vocabulary(language="th"))

    assert (report.words, report.sentences, report.guessed) == (2, 0, ())
    assert report.version == again.version != other.version
    with pytest.raises(ValueError, match="'xx'"):
        engine.recognizer.set_vocabulary(Vocabulary(language="xx"))


def test_with_a_vocabulary_words_and_intent_come_in_one_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recognizer_module, "SURE", 0.0)
    pcm = say("turn on the kitchen lights")
    understood = []
    for seed in range(4):
        with serving(seed=seed) as engine:
            engine.recognizer.set_vocabulary(lamp_home())
            with watched(engine) as work:
                found = engine.recognizer.recognize(pcm, "en")
            assert work.passes == 1
            assert max(work.prefilled) > 500
            understood.append(found)

    intents = [found.intent for found in understood if found.intent is not None]
    assert intents
    for intent in intents:
        answer = {"text": "x", "intent": {"name": intent.name, "slots": intent.slots}}
        assert read_intent(json.dumps(answer), lamp_home())[1] == intent


def test_an_intent_that_is_not_sure_is_not_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pcm = say("turn on the kitchen lights")
    for sure, passed in ((0.0, True), (1.0, False)):
        monkeypatch.setattr(recognizer_module, "SURE", sure)
        found = []
        for seed in range(4):
            with serving(seed=seed) as engine:
                engine.recognizer.set_vocabulary(lamp_home())
                found.append(engine.recognizer.recognize(pcm, "en"))
        assert any(each.intent is not None for each in found) is passed


def test_an_answer_that_is_no_intent_is_an_error_and_no_command(
    engine: MiDasheng, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(answer: str, vocabulary: Vocabulary) -> Any:
        raise ValueError(answer)

    monkeypatch.setattr(recognizer_module, "read_intent", unreadable)
    engine.recognizer.set_vocabulary(lamp_home())
    with pytest.raises(EngineError, match="no intent"):
        engine.recognizer.recognize(say("turn on the kitchen lights"), "en")


def test_speech_in_another_language_than_the_home_is_only_written_down(
    engine: MiDasheng,
) -> None:
    engine.recognizer.set_vocabulary(lamp_home())
    with watched(engine) as work:
        engine.recognizer.recognize(say("turn on the kitchen lights"), "vi")

    assert max(work.prefilled) < 200


@pytest.mark.parametrize("missing", [1, 10**4])
def test_a_home_too_large_to_be_told_is_only_written_down(
    caplog: pytest.LogCaptureFixture, missing: int
) -> None:
    with serving() as engine:
        prompt = core(engine).prompts.instruction(intent_instruction(lamp_home()))
        seconds, chunks = 30, 150
        needed = len(prompt.before) + chunks + len(prompt.after)
        needed += 24 + 16 * seconds + 128
    for row_tokens, told in ((needed, True), (max(900, needed - missing), False)):
        caplog.clear()
        with serving(row_tokens=row_tokens) as engine:
            engine.recognizer.set_vocabulary(lamp_home())
            found = engine.recognizer.recognize(say("turn on the kitchen lights"), "en")
        assert ("too large to be understood" not in caplog.text) is told
        assert found.text or told


@pytest.mark.parametrize("max_tokens", [40, 60, 200])
def test_json_is_valid_by_its_schema_whatever_the_weights(max_tokens: int) -> None:
    for seed in range(3):
        with serving(seed=seed) as engine:
            said = "".join(
                engine.describer.describe(talk(2), "JSON", MUSIC, max_tokens)
            )
        jsonschema.validate(json.loads(said), MUSIC)


def test_json_that_goes_in_circles_is_closed(engine: MiDasheng) -> None:
    said = "".join(engine.describer.describe(talk(2), "?", {"type": "string"}, 2000))

    assert len(core(engine).prompts.encode(json.loads(said))) < 1000
    assert recognizer_module._once("to the door " * 30) == "to the door"
    assert recognizer_module._once("no no no") == "no no no"


def test_json_with_one_possible_answer_needs_no_model(engine: MiDasheng) -> None:
    with watched(engine) as work:
        assert list(engine.describer.describe(talk(1), "JSON", {"const": 1})) == ["1"]
    assert work.passes == 0


def ending(describing: Any) -> tuple[str, str | None]:
    text = ""
    while True:
        try:
            text += next(describing)
        except StopIteration as stop:
            return text, stop.value


def test_an_answer_tells_whether_it_was_cut(engine: MiDasheng) -> None:
    describe = engine.describer.describe
    text, end = ending(describe(talk(2), CAPTION, max_tokens=3))
    assert end == CUT
    assert text
    assert ending(describe(talk(2), "JSON", MUSIC, 36))[1] == CUT
    assert ending(describe(talk(2), "JSON", {"type": "boolean"}))[1] is None


def test_no_half_character_is_ever_said() -> None:
    for seed in range(6):
        with serving(seed=seed) as engine:
            for piece in engine.describer.describe(hum(1), "?", max_tokens=60):
                assert piece
                assert piece.encode("utf-8").decode("utf-8") == piece


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"pcm": hum(61)}, "60 s"),
        ({"pcm": silence(0)}, "0.0 s"),
        ({"instruction": " \n"}, "empty"),
        ({"instruction": "why " * 4000}, "tokens"),
        ({"max_tokens": 0}, "one token"),
        ({"schema": {"not": {}}}, "not"),
        ({"schema": MUSIC, "max_tokens": 9}, "9 are allowed"),
    ],
)
def test_a_request_that_cannot_be_served_is_refused_without_work(
    engine: MiDasheng, request_: dict[str, Any], reason: str
) -> None:
    with (
        watched(engine) as work,
        pytest.raises(UnusableRequestError, match=reason),
    ):
        "".join(
            engine.describer.describe(
                **({"pcm": hum(1), "instruction": CAPTION} | request_)
            )
        )
    assert work.passes == 0


def test_the_longest_clip_can_be_described(engine: MiDasheng) -> None:
    assert "".join(engine.describer.describe(hum(60), CAPTION, max_tokens=5))


def test_an_instruction_to_transcribe_is_the_one_of_speech_recognition(
    engine: MiDasheng,
) -> None:
    with watched(engine) as work:
        list(engine.describer.describe(talk(2), transcribe("th"), max_tokens=2))

    prompt = core(engine).prompts.transcription("th")
    assert prompt != core(engine).prompts.instruction(transcribe("th"))
    assert work.prefilled == [len(prompt.before) + 10 + len(prompt.after)]


def test_closing_an_answer_frees_its_row(engine: MiDasheng) -> None:
    for _ in range(30):
        answer = engine.describer.describe(talk(2), "JSON", MUSIC)
        next(answer)
        answer.close()
    assert "".join(engine.describer.describe(talk(2), CAPTION, max_tokens=2))
    assert sorted(core(engine)._scheduler._free) == list(range(10))


def test_numbers_that_are_none_are_an_error_and_no_text(engine: MiDasheng) -> None:
    weight = core(engine).model.audio_projector.net[0].weight
    whole = weight.clone()
    weight.fill_(torch.nan)
    try:
        with pytest.raises(EngineError, match="no numbers"):
            engine.recognizer.recognize(talk(2), "en")
        with pytest.raises(EngineError, match="no numbers"):
            engine.classifier.classify(window(talk(4)))
    finally:
        weight.copy_(whole)
    assert engine.recognizer.recognize(talk(3), "en").text


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_too_little_memory_names_the_way_out_and_the_engine_goes_on(
    engine: MiDasheng, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = engine.recognizer.recognize(talk(3), "en").text

    def full(rows: Sequence[int], embeddings: Sequence[Tensor]) -> Tensor:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(core(engine).ears.decoder, "prefill", full)
        with pytest.raises(EngineError, match="smaller variant.*max_batch"):
            engine.recognizer.recognize(talk(2), "en")
        engine.recognizer.foresee(talk(12))
        foreseen(engine, talk(1))
    # What was kept is gone, so the clip is encoded again; nothing else changed.
    with watched(engine) as work:
        assert engine.recognizer.recognize(talk(3), "en").text == plain
    assert work.passes == 1


def test_what_is_kept_is_bounded_and_the_oldest_makes_room() -> None:
    kept: Kept[str, bytes] = Kept(10, len)
    for key in "abc":
        kept.put(key, b"1234"[: 3 if key == "c" else 4])
        kept.get("a")
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (b"1234", None, b"123")
    kept.put("a", b"12")
    assert kept.bytes == 5
    kept.put("huge", b"1" * 11)
    assert (kept.get("huge"), kept.bytes) == (None, 0)


def test_more_clips_than_are_kept_are_answered_all_the_same(engine: MiDasheng) -> None:
    said = {}
    for _ in range(2):
        for seed in range(20):
            text = "".join(engine.describer.describe(hum(1, seed), "?", max_tokens=4))
            assert said.setdefault(seed, text) == text


def test_a_defect_in_the_model_fails_its_call_only(
    engine: MiDasheng, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(waveform: Tensor) -> Tensor:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(core(engine).model.front_end, "forward", broken)
        with pytest.raises(ZeroDivisionError):
            engine.recognizer.recognize(talk(2), "en")
    assert engine.recognizer.recognize(talk(2), "en").text


def test_a_full_lane_refuses_and_is_counted() -> None:
    with serving(max_batch=1, max_waiting=1) as engine:
        describe = engine.describer.describe
        endless = {"type": "array", "items": {"type": "integer"}, "minItems": 300}
        answers = [describe(talk(1), "JSON", endless, 2500) for _ in "ab"]
        next(answers[0])
        inside = core(engine)
        asked = inside.prompts.instruction(CAPTION)
        first = inside.ask("descriptions", Question(Clip.of(talk(1)), asked, 5))
        with pytest.raises(EngineBusyError, match="descriptions"):
            next(answers[1])
        assert engine.describer.load()["descriptions"].dropped == 1
        first.cancel()
        answers[0].close()


def test_after_its_end_the_engine_answers_with_an_error() -> None:
    with serving() as engine:
        answer = engine.describer.describe(talk(1), CAPTION, max_tokens=500)
        next(answer)
        Engines(engine.recognizer, None, engine.describer).close()
        with pytest.raises(EngineError, match="shut down"):
            list(answer)
        with pytest.raises(EngineError, match="shut down"):
            engine.recognizer.recognize(talk(2), "en")
        engine.recognizer.foresee(talk(12))


def test_the_engine_is_loaded_from_a_folder(tmp_path: Path) -> None:
    folder = write_midashenglm(tmp_path / "tiny")
    settings = MiDashengSettings(model=str(folder), device="auto")
    engine = MiDasheng(settings, tmp_path)
    try:
        recognizer: SpeechRecognizer = engine.recognizer
        classifier: SoundClassifier = engine.classifier
        describer: AudioDescriber = engine.describer
        assert recognizer.info == classifier.info == describer.info
        assert recognizer.info.name == "midashenglm"
        assert (classifier.window, classifier.hop) == (WINDOW, HOP)
        assert describer.max_seconds == 60
        assert recognizer.parallel == 8
    finally:
        engine.close()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said(tmp_path: Path) -> None:
    folder = write_midashenglm(tmp_path / "tiny")
    with pytest.raises(EngineError, match=r"midashenglm\.device"):
        MiDasheng(MiDashengSettings(model=str(folder), device="cuda"), tmp_path)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError(), EngineError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), EngineError),
        (RuntimeError("something else"), RuntimeError),
    ],
)
def test_memory_too_small_for_the_weights_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    told: type[Exception],
) -> None:
    def full(*_: Any) -> None:
        raise error

    monkeypatch.setattr("model_server.engines.midashenglm.engine.load", full)
    folder = write_midashenglm(tmp_path / "tiny")
    with pytest.raises(told, match="smaller variant|something else"):
        MiDasheng(MiDashengSettings(model=str(folder)), tmp_path)
