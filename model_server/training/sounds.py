"""Training of the sound network: examples, epochs, checkpoints, and what it scores unseen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
import logging
import multiprocessing
from pathlib import Path
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from model_server.audio.mel import FLOOR_DB, log_mel
from model_server.evaluation.recordings import (
    CLASSES,
    ESC50,
    HELD_OUT,
    Clip,
    Recording,
    load,
    read_manifest,
    split,
)
from model_server.evaluation.sounds import windows
from model_server.training.examples import WINDOW, Mixer
from model_server.training.network import SoundNet
from model_server.training.start import begin_with
from model_server.training.teacher import EMBEDDING, Yamnet

_LOGGER = logging.getLogger(__name__)

_EMA = 0.998
_MEASURED = 512
"""So many examples tell the statistics of a network that is started from a file."""


@dataclass(frozen=True)
class Settings:
    """What decides the outcome of a training run, besides the recordings."""

    examples: int = 24_000
    epochs: int = 24
    batch: int = 64
    width: int = 32
    rate: float = 3e-3
    seed: int = 1
    half: bool = False
    """bfloat16 where torch deems it safe; twice as fast on a CPU that multiplies in it."""


@dataclass(frozen=True)
class Examples:
    """Examples in memory: log-mel (n, frames, 64), targets (n, classes), teacher (n, 1024)."""

    mel: npt.NDArray[np.float16]
    target: npt.NDArray[np.float16]
    teacher: npt.NDArray[np.float16] | None


def train(
    data: Path,
    out: Path,
    settings: Settings,
    *,
    teacher: Path | None = None,
    start: Path | None = None,
    processes: int = 1,
) -> SoundNet:
    """Train, or go on where the checkpoint in `out` stopped; returns the averaged network.

    `start` are weights that were exported before, to begin with instead of random ones.
    """
    out.mkdir(parents=True, exist_ok=True)
    learn, unseen = split(read_manifest(data))
    examples = prepare(learn, out, settings, teacher, processes)
    held_out = [load(one) for one in unseen if one.subset == HELD_OUT]
    run = Run(settings, examples)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        run.restore(checkpoint)
    elif start is not None:
        run.begin_with(start)
    while run.epoch < settings.epochs:
        began = time.monotonic()
        loss = run.one_epoch()
        run.save(checkpoint)
        right = accuracy(run.averaged, held_out) if held_out else float("nan")
        _LOGGER.info(
            "epoch %d of %d: loss %.4f, held-out accuracy %.3f, %.0f s",
            run.epoch,
            settings.epochs,
            loss,
            right,
            time.monotonic() - began,
        )
    return run.averaged


class Run:
    """One training run: network, its running average, optimiser, schedule."""

    def __init__(self, settings: Settings, examples: Examples) -> None:
        """Start from random weights."""
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.epoch = 0
        self.continued = False
        self._examples = examples
        self._net = SoundNet(len(CLASSES), settings.width)
        # torch's annotations lack memory_format.
        self._net = self._net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._pupil = nn.Linear(self._net.embedding, EMBEDDING)
        self.averaged = SoundNet(len(CLASSES), settings.width)
        self.averaged.load_state_dict(self._net.state_dict())
        self.averaged.eval()
        self._optimiser = torch.optim.AdamW(
            [*self._net.parameters(), *self._pupil.parameters()], weight_decay=0.02
        )
        steps = settings.epochs * -(-len(examples.mel) // settings.batch)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, settings.rate, total_steps=steps, pct_start=0.2
        )
        if examples.teacher is not None:
            known = torch.from_numpy(examples.teacher).float()
            self._teacher_mean = known.mean(dim=0)
            self._teacher_scale = 1 / (known.std(dim=0) + 0.02)

    def begin_with(self, weights: Path) -> None:
        """Start from exported weights. Raises OSError or ValueError."""
        some = torch.from_numpy(self._examples.mel[:_MEASURED]).float()
        begin_with(self._net, weights, some)
        self.averaged.load_state_dict(self._net.state_dict())
        self.continued = True

    def one_epoch(self) -> float:
        """Go once through the examples; returns the mean loss."""
        self._net.train()
        rng = np.random.default_rng((self.settings.seed, self.epoch))
        torch.manual_seed(self.settings.seed * 1000 + self.epoch)
        losses = []
        for chosen in _batches(len(self._examples.mel), self.settings.batch, rng):
            loss = self._loss(chosen, rng)
            self._optimiser.zero_grad()
            # torch ships no annotation for backward.
            loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
            self._optimiser.step()
            self._schedule.step()
            self._average()
            losses.append(float(loss.detach()))
        self.epoch += 1
        return float(np.mean(losses))

    def save(self, path: Path) -> None:
        """Write everything that going on needs, whole or not at all."""
        partial = path.with_suffix(".partial")
        torch.save(
            {
                "settings": asdict(self.settings),
                "epoch": self.epoch,
                "taught": self._examples.teacher is not None,
                "continued": self.continued,
                "net": self._net.state_dict(),
                "pupil": self._pupil.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimiser": self._optimiser.state_dict(),
                "schedule": self._schedule.state_dict(),
            },
            partial,
        )
        partial.replace(path)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint. Raises ValueError if its settings were others."""
        state = torch.load(path, weights_only=True)
        if state["settings"] != asdict(self.settings):
            raise ValueError(
                f"{path} was made with other settings: {state['settings']}"
            )
        self.epoch = state["epoch"]
        self.continued = state["continued"]
        self._net.load_state_dict(state["net"])
        self._pupil.load_state_dict(state["pupil"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])

    def _loss(self, chosen: npt.NDArray[np.intp], rng: np.random.Generator) -> Tensor:
        mel = torch.from_numpy(self._examples.mel[chosen]).float()
        target = torch.from_numpy(self._examples.target[chosen]).float()
        half = len(chosen) // 2
        # The second half are mixtures, of which the teacher heard only the parts.
        mel[half:], target[half:] = mixed(mel, target, half, rng)
        heard = _masked(mel + float(rng.uniform(-6, 6)), rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.half):
            logits, embedding = (out.float() for out in self._net(heard))
        smooth = target * 0.97 + 0.005
        loss = functional.binary_cross_entropy_with_logits(logits, smooth) * 20
        if self._examples.teacher is not None and half:
            wanted = torch.from_numpy(self._examples.teacher[chosen[:half]]).float()
            wanted = ((wanted - self._teacher_mean) * self._teacher_scale).clamp(-4, 4)
            loss = loss + functional.mse_loss(self._pupil(embedding[:half]), wanted)
        return loss

    def _average(self) -> None:
        steps = self._schedule.last_epoch
        keep = min(_EMA, steps / (steps + 10))
        with torch.no_grad():
            for mean, value in zip(
                self.averaged.state_dict().values(),
                self._net.state_dict().values(),
                strict=True,
            ):
                if mean.dtype.is_floating_point:
                    mean.lerp_(value, 1 - keep)
                else:
                    mean.copy_(value)


def averaged(out: Path) -> tuple[SoundNet, dict[str, Any]]:
    """The averaged network of a checkpoint, and what else it holds. Raises OSError."""
    state: dict[str, Any] = torch.load(out / "checkpoint.pt", weights_only=True)
    net = SoundNet(len(CLASSES), state["settings"]["width"])
    net.load_state_dict(state["averaged"])
    return net.eval(), state


def accuracy(net: SoundNet, clips: list[Clip]) -> float:
    """Share of ESC-50 clips whose own class is the likeliest of the 50, over all its windows."""
    right = 0
    places = [CLASSES.index(name) for name in ESC50]
    for clip in clips:
        with torch.inference_mode():
            logits, _ = net(torch.from_numpy(log_mel(windows(clip.samples, WINDOW))))
        best = int(logits[:, places].mean(dim=0).argmax())
        right += ESC50[best] == clip.recording.name
    return right / max(1, len(clips))


def mixed(
    mel: Tensor, target: Tensor, half: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """The second half of a batch with others of it added in power, 0 to 12 dB below."""
    count = len(mel) - half
    other = torch.from_numpy(rng.permutation(len(mel))[:count])
    below = torch.from_numpy(rng.uniform(-12, 6, size=(count, 1, 1))).float()
    loud = mel[half:].mean(dim=(1, 2), keepdim=True) - mel[other].mean(
        dim=(1, 2), keepdim=True
    )
    under = mel[other] + loud + below
    mixture = 10 * torch.log10(10 ** (mel[half:] / 10) + 10 ** (under / 10))
    share = torch.clamp(1 + (below[:, :, 0] + 5) / 10, 0, 1)
    mine = torch.clamp(1 - (below[:, :, 0] - 3) / 10, 0, 1)
    return mixture, torch.maximum(target[half:] * mine, target[other] * share)


def _masked(mel: Tensor, rng: np.random.Generator) -> Tensor:
    """SpecAugment: two stretches of time and two of frequency, set to the mean; then the floor."""
    mel = mel.clamp(min=FLOOR_DB)
    fill = mel.mean(dim=(1, 2))
    for row in range(len(mel)):
        for _ in range(2):
            start, length = int(rng.integers(mel.shape[1])), int(rng.integers(0, 14))
            mel[row, start : start + length] = fill[row]
            start, length = int(rng.integers(mel.shape[2])), int(rng.integers(0, 8))
            mel[row, :, start : start + length] = fill[row]
    return mel


def _batches(
    count: int, size: int, rng: np.random.Generator
) -> Iterator[npt.NDArray[np.intp]]:
    order = rng.permutation(count)
    for start in range(0, count, size):
        yield order[start : start + size]


def prepare(
    learn: list[Recording],
    out: Path,
    settings: Settings,
    teacher: Path | None,
    processes: int,
) -> Examples:
    """The examples of these settings, made once and kept in `out`."""
    kept = _kept(out, settings, teacher is not None)
    if not kept.exists():
        _LOGGER.info(
            "making %d examples of %d recordings", settings.examples, len(learn)
        )
        shares = [
            len(part)
            for part in np.array_split(np.arange(settings.examples), processes)
        ]
        jobs = [
            (learn, settings.seed * 100 + number, share, teacher)
            for number, share in enumerate(shares)
        ]
        if processes == 1:
            parts = [_make(*jobs[0])]
        else:
            with multiprocessing.get_context("spawn").Pool(processes) as pool:
                parts = pool.starmap(_make, jobs)
        partial = kept.with_suffix(".partial.npz")
        made = {
            "mel": np.concatenate([part.mel for part in parts]),
            "target": np.concatenate([part.target for part in parts]),
        }
        taught = [part.teacher for part in parts if part.teacher is not None]
        if taught:
            made["teacher"] = np.concatenate(taught)
        np.savez(partial, allow_pickle=False, **made)
        partial.replace(kept)
    return prepared(out, settings, teacher is not None)


def prepared(out: Path, settings: Settings, taught: bool) -> Examples:
    """The examples that were made for these settings. Raises OSError."""
    with np.load(_kept(out, settings, taught), allow_pickle=False) as file:
        return Examples(file["mel"], file["target"], file.get("teacher"))


def _kept(out: Path, settings: Settings, taught: bool) -> Path:
    kind = "taught" if taught else "plain"
    return out / f"examples-{settings.examples}-{settings.seed}-{kind}.npz"


def _make(
    learn: list[Recording], seed: int, count: int, teacher: Path | None
) -> Examples:
    songs = min(48, 1 + count // 100)
    mixer = Mixer([load(recording) for recording in learn], seed, songs)
    yamnet = Yamnet(teacher) if teacher else None
    mels, targets, embeddings = [], [], []
    for _ in range(count):
        drawn = mixer.draw()
        mels.append(log_mel(drawn.audio).astype(np.float16))
        targets.append(drawn.target.astype(np.float16))
        if yamnet:
            embeddings.append(yamnet.embed(drawn.audio))
    return Examples(
        np.stack(mels), np.stack(targets), np.stack(embeddings) if yamnet else None
    )
