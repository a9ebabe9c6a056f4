"""How often a clip with speech would be kept, and one without it dropped.

python -m benchmarks.clips [--every 4]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import itertools
import os
from pathlib import Path

import numpy as np

from model_server.audio import SAMPLE_RATE, Pcm
from model_server.catalogue import load_catalogue
from model_server.engines.embedded.sounds import EmbeddedClassifier
from model_server.evaluation.recordings import Recording, load, read_manifest, split
from model_server.evaluation.synthesis import mix, noise, pcm, silence
from model_server.listen import talk

PRE_S = POST_S = 5.0
LOUD = ("glass_breaking", "siren", "dog", "crying_baby", "vacuum_cleaner")
SNR_DB = (None, 10, 0, -5)
"""Speech over a sound as loud as that; None: nothing but a faint noise."""


def found(classifier: EmbeddedClassifier, clip: Pcm) -> bool:
    """Whether the server would call this a clip with speech."""
    threshold = load_catalogue()[talk.SPEAKING].on_score
    return talk.has_voice(clip) or any(
        talk.speaking(classifier, windows) >= threshold
        for windows in talk.batches(classifier, clip)
    )


def spoken(
    speech: list[Recording], loud: list[Recording], snr_db: float | None
) -> Iterator[Pcm]:
    """Clips in which somebody speaks while something sounds."""
    for recording, other in zip(speech, itertools.cycle(loud), strict=False):
        voice = load(recording).samples[: 8 * SAMPLE_RATE]
        whole = np.concatenate([silence(PRE_S), voice, silence(POST_S)])
        under = noise(10, "pink") if snr_db is None else load(other).samples
        yield pcm(mix(whole, under, 40 if snr_db is None else snr_db))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=4, help="take every so many-th")
    every = parser.parse_args().every
    data = Path(os.environ.get("EARSHOT_DATA", "../shared/data"))
    unseen = split(read_manifest(data))[1]
    speech = [one for one in unseen if one.name == "speech"][::every]
    others = [one for one in unseen if one.name != "speech"]
    loud = [one for one in others if one.name in LOUD]
    classifier = EmbeddedClassifier()

    print("| clip | clips | taken for speech |")
    print("|---|---|---|")
    for snr_db in SNR_DB:
        clips = [found(classifier, clip) for clip in spoken(speech, loud, snr_db)]
        name = "quiet" if snr_db is None else f"a loud sound, {snr_db:+d} dB"
        print(f"| speech over {name} | {len(clips)} | {sum(clips)} |", flush=True)
    dropped: dict[str, list[bool]] = {}
    for one in others[:: max(1, every // 2)]:
        samples = load(one).samples
        clip = pcm(np.concatenate([silence(PRE_S), samples]))
        dropped.setdefault(str(one.name), []).append(found(classifier, clip))
    every_one = [each for clips in dropped.values() for each in clips]
    print(f"| no speech | {len(every_one)} | {sum(every_one)} |")
    worst = {name: sum(clips) for name, clips in dropped.items() if any(clips)}
    print("\nof them:", ", ".join(f"{name} {count}" for name, count in worst.items()))


if __name__ == "__main__":
    main()
