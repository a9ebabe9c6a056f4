"""What devices do to an example, and training that goes on from shipped weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from model_server.audio.mel import log_mel
from model_server.evaluation import synthesis
from model_server.evaluation.recordings import CLASSES, Clip, Recording
from model_server.training import devices, examples, export, sounds as training
from model_server.training.examples import Mixer
from model_server.training.network import SoundNet
from model_server.training.start import begin_with

RATE = 16_000


def _power(audio: devices.Audio, low: float, high: float) -> float:
    """Power between two frequencies."""
    lines = np.abs(np.fft.rfft(audio)) ** 2
    hertz = np.fft.rfftfreq(audio.size, 1 / RATE)
    return float(lines[(hertz >= low) & (hertz < high)].sum())


def test_a_telephone_passes_only_its_band_in_256_steps() -> None:
    noise = synthesis.noise(2.0, "white")

    heard = devices.telephone(noise)

    inside = _power(heard, 400, 3000)
    assert _power(heard, 5000, 8000) < 0.03 * inside
    assert _power(heard, 0, 150) < 0.01 * inside
    assert len(np.unique(heard)) <= 256
    assert not devices.telephone(synthesis.silence(1.0)).any()


def test_a_codec_drops_what_is_high_or_faint_and_keeps_the_rest() -> None:
    loud = 0.3 * synthesis.tone(2.0, 1000)
    faint = 0.003 * synthesis.tone(2.0, 2500)
    high = 0.3 * synthesis.tone(2.0, 7000)
    both = (loud + faint + high).astype(np.float32)

    heard = devices.codec(both, 5000, 30)

    assert heard.shape == both.shape
    assert heard[1000:-1000] == pytest.approx(loud[1000:-1000], abs=0.02)
    assert _power(heard, 6500, 7500) < 1e-3 * _power(both, 6500, 7500)
    assert _power(heard, 2400, 2600) < 0.1 * _power(both, 2400, 2600)


def test_clipping_cuts_peaks_and_coarse_steps_are_few() -> None:
    tone = 0.5 * synthesis.tone(1.0, 440)

    assert np.abs(devices.clipped(tone, 6.0)).max() == pytest.approx(0.25, abs=0.01)
    assert len(np.unique(devices.coarse(tone, 5))) <= 33
    assert np.array_equal(devices.coarse(tone * 0, 5), tone * 0)


def test_an_edge_is_digital_silence_on_one_side() -> None:
    noise = synthesis.noise(2.0, "pink")
    rng = np.random.default_rng(0)

    edges = [devices.unmuted(noise, rng) for _ in range(20)]

    begun = [not edge[:1000].any() and edge[-1000:].any() for edge in edges]
    ended = [edge[:1000].any() and not edge[-1000:].any() for edge in edges]
    assert all(one or other for one, other in zip(begun, ended, strict=True))
    assert any(begun)
    assert any(ended)


def test_clatter_is_short_strikes() -> None:
    rng = np.random.default_rng(1)

    made = [devices.clatter(2.0, rng) for _ in range(10)]

    for strikes in made:
        assert np.abs(strikes).max() == pytest.approx(0.5)
        # Most of the time nothing sounds.
        assert np.median(np.abs(strikes)) < 0.05


@pytest.mark.parametrize("seed", range(10))
def test_any_device_gives_as_many_samples_and_something_else(seed: int) -> None:
    music = synthesis.music(2.0, seed=seed)

    heard = devices.device(music, np.random.default_rng(seed))

    assert heard.shape == music.shape
    assert heard.dtype == np.float32
    assert not np.array_equal(heard, music)
    assert np.corrcoef(heard, music)[0, 1] > 0.3


def test_examples_go_through_devices_and_over_talk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    monkeypatch.setattr(
        examples, "device", lambda audio, rng: seen.append(audio.size) or audio
    )
    clips = [
        Clip(Recording(Path(name), "x", name, "", ""), synthesis.music(3.0))
        for name in ("siren", "speech")
    ]
    mixer = Mixer(clips, 2, songs=1)

    drawn = [mixer.draw().target for _ in range(60)]

    assert 8 < len(seen) < 40
    speech = CLASSES.index("speech")
    assert any(0 < one[speech] < 1 and one.max() == 1 for one in drawn)
    assert any(not one.any() for one in drawn)


def _exported(folder: Path, width: int = 4) -> tuple[SoundNet, Path]:
    torch.manual_seed(3)
    net = SoundNet(len(CLASSES), width)
    net.train()
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(8, 99, 64) * 15 - 58)
    export.export(net, folder)
    return net.eval(), folder / export.WEIGHTS


def test_training_goes_on_from_what_was_exported(tmp_path: Path) -> None:
    net, weights = _exported(tmp_path)
    heard = torch.from_numpy(
        np.stack([log_mel(synthesis.music(2.0, seed=seed)) for seed in range(8)])
    )

    again = SoundNet(len(CLASSES), 4)
    begin_with(again, weights, heard)

    with torch.inference_mode():
        expected, _ = net(heard)
        assert torch.allclose(again.eval()(heard)[0], expected, atol=1e-3)
        # In training the norms use the batch, which on these examples is the same.
        again.drop.p = 0.0
        assert torch.allclose(again.train()(heard)[0], expected, atol=0.05)


def test_a_run_started_from_weights_says_so(tmp_path: Path) -> None:
    net, weights = _exported(tmp_path)
    settings = training.Settings(examples=8, epochs=1, batch=4, width=4)
    mel = np.zeros((8, 99, 64), np.float16) - 58
    target = np.zeros((8, len(CLASSES)), np.float16)
    run = training.Run(settings, training.Examples(mel, target, None))

    run.begin_with(weights)

    run.save(tmp_path / "checkpoint.pt")
    averaged, state = training.averaged(tmp_path)
    assert state["continued"] is True
    assert torch.equal(averaged.head.weight, net.head.weight)


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    _, weights = _exported(tmp_path)
    net, heard = SoundNet(len(CLASSES), 8), torch.zeros(2, 99, 64)

    with pytest.raises(ValueError, match="another network"):
        begin_with(net, weights, heard)
    (tmp_path / "no.onnx").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no ONNX file"):
        begin_with(net, tmp_path / "no.onnx", heard)
    with pytest.raises(OSError, match=r"none\.onnx"):
        begin_with(net, tmp_path / "none.onnx", heard)
    onnx.save(onnx.ModelProto(), str(tmp_path / "empty.onnx"))
    with pytest.raises(ValueError, match="another network"):
        begin_with(net, tmp_path / "empty.onnx", heard)
