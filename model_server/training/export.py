"""Trained weights become the ONNX file that the engine ships, and its model card."""

from __future__ import annotations

from dataclasses import dataclass
import hashlib
import json
from pathlib import Path
import warnings

import onnx
import torch
from torch import Tensor, nn

from model_server.audio import SAMPLE_RATE
from model_server.audio.mel import BANDS, frames
from model_server.evaluation.recordings import CLASSES, HELD_OUT, Recording, split
from model_server.training.examples import WINDOW
from model_server.training.network import SoundNet

WEIGHTS = "sounds.onnx"
CARD = "MODEL_CARD.md"

_PUBLIC = ("CC0", "public-domain", "publicdomain")


@dataclass(frozen=True)
class Figures:
    """What a card says of the weights: how they were made and what they scored unseen."""

    accuracy: float
    epochs: int
    examples: int
    teacher: bool
    continued: bool = False
    share: float = 1.0
    """Of the trained weights; the rest are those that they went on from."""


class _Scored(nn.Module):
    """The network as it is run: scores instead of logits."""

    def __init__(self, net: SoundNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        logits, embedding = self.net(log_mel)
        return torch.sigmoid(logits), embedding


def export(net: SoundNet, folder: Path) -> None:
    """Write the weights.

    Input `log_mel` (batch, frames, 64); outputs `scores` (batch, classes) and
    `embeddings` (batch, dim); the classes and the window are in its metadata.
    """
    target = folder / WEIGHTS
    example = torch.full((1, frames(WINDOW), BANDS), -60.0)
    with warnings.catch_warnings():
        # The exporter in use is the old one: the new one needs two more packages.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            _Scored(net.eval()),
            (example,),
            str(target),
            input_names=["log_mel"],
            output_names=["scores", "embeddings"],
            dynamic_axes={
                name: {0: "batch"} for name in ("log_mel", "scores", "embeddings")
            },
            opset_version=17,
            dynamo=False,
        )
    model = onnx.load(str(target))
    onnx.helper.set_model_props(
        model,
        {
            "classes": json.dumps(CLASSES),
            "window": str(WINDOW),
            "sample_rate": str(SAMPLE_RATE),
        },
    )
    onnx.save(model, str(target))


def digest(folder: Path) -> str:
    """SHA-256 of the weights in a folder."""
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def write_card(
    folder: Path, recordings: list[Recording], figures: Figures, sha256: str
) -> None:
    """Write the model card: figures, limits, licences, and the attributions they ask for."""
    learn, _ = split(recordings)
    credited = sorted(
        {
            one.attribution
            for one in learn
            if not any(word in one.licence for word in _PUBLIC)
        }
    )
    taught = (
        "Besides the labels it learnt to predict the embeddings of YAMNet (Apache-2.0, "
        "AudioSet), which is not part of it."
        if figures.teacher
        else "It had no teacher but the labels."
    )
    began = "earlier weights of its own" if figures.continued else "random weights"
    if figures.continued:
        taught += (
            " What the weights that it went on from had learnt, their own card tells."
        )
    if figures.share < 1:
        taught += (
            f" Of each weight {figures.share:.0%} are of this training and the rest of those"
            " that it went on from; the classes that those lacked were fitted afterwards."
        )
    lines = [
        "# Model card: the embedded sound network",
        "",
        f"`{WEIGHTS}`, SHA-256 `{sha256}`. Apache-2.0, as the rest of this repository.",
        "",
        f"A residual network over log-mel power (64 bands, 20 ms, {WINDOW / SAMPLE_RATE:.0f} s)"
        f" with one score for each of {len(CLASSES)} classes. Made from {began} by"
        " `python -m model_server.training sounds` and `… export`:"
        f" {figures.epochs} epochs of {figures.examples} examples mixed from"
        f" {len(learn)} recordings and generated music, alarms and noise. {taught}",
        "",
        "## Figures",
        "",
        f"On ESC-50's fold 4 ({HELD_OUT}: other sources than what it learnt from;"
        " the part of it whose licence is CC0 or CC-BY),"
        f" {figures.accuracy:.1%} of the clips get their own label of the 50."
        " What it finds and how often it is wrong as an event detector, in noise and over"
        " hours of a home, `python -m model_server evaluate sounds` prints, and"
        " `docs/benchmarks.md` quotes.",
        "",
        "## Limits",
        "",
        "- It learnt from about twenty-four recordings per label: sounds unlike those are missed.",
        "- Thresholds in `sounds.yaml` were chosen on the held-out fold, so expect a little less elsewhere.",
        "- Screams are among its classes but in no catalogue: there were four recordings, none to test with.",
        "- Music was generated, not recorded. Telephones, televisions and doorbells are missing.",
        "- Smoke and CO alarms are not its job: a rhythm recogniser finds them.",
        "- It is no certified safety device. Never rely on it alone.",
        "",
        "## Recordings it learnt from",
        "",
        "| licence | recordings |",
        "|---|---|",
        *_licences(learn),
        "",
        "Recordings that ask for attribution (CC-BY 3.0 unless said otherwise at the source,"
        " Apache-2.0 and MIT for the speech):",
        "",
        *(f"- {one}" for one in credited),
        "",
    ]
    (folder / CARD).write_text("\n".join(lines), encoding="utf-8")


def _licences(learn: list[Recording]) -> list[str]:
    counts: dict[str, int] = {}
    for one in learn:
        counts[one.licence] = counts.get(one.licence, 0) + 1
    return [f"| {name} | {count} |" for name, count in sorted(counts.items())]
