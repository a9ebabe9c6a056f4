"""What Prometheus may know: counts and durations; never a name, a text or a sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from model_server.engines.base import Queueing


class Metrics:
    """The server's metrics, in a registry of their own."""

    def __init__(self) -> None:
        """Make every metric, at zero."""
        self.registry = CollectorRegistry()
        self.streams = Gauge("earshot_streams", "Open streams.", registry=self.registry)
        self.audio = Counter(
            "earshot_audio_seconds", "Audio received.", registry=self.registry
        )
        self.sounds = Counter(
            "earshot_sound_events",
            "Sound events that began.",
            ["label"],
            registry=self.registry,
        )
        self.verifications = Counter(
            "earshot_sound_verifications",
            "What the describer made of sound events, or why it was not asked.",
            ["outcome"],
            registry=self.registry,
        )
        self.clips = Counter(
            "earshot_clips",
            "Recordings of sound events: kept, dropped because of speech, or lost.",
            ["outcome"],
            registry=self.registry,
        )
        self.utterances = Counter(
            "earshot_utterances",
            "Utterances by outcome: recognised, or why not.",
            ["outcome"],
            registry=self.registry,
        )
        self.dropped_audio = Counter(
            "earshot_dropped_audio_seconds",
            "Audio that an engine was too slow for.",
            ["task"],
            registry=self.registry,
        )
        self.dropped_messages = Counter(
            "earshot_dropped_messages",
            "Level messages that a client was too slow for.",
            registry=self.registry,
        )
        self.dropped_scores = Counter(
            "earshot_score_log_dropped_windows",
            "Windows whose scores could not be kept in the score log.",
            registry=self.registry,
        )
        self.problems = Counter(
            "earshot_microphone_problems",
            "Problems of microphones that began.",
            ["problem"],
            registry=self.registry,
        )
        self.errors = Counter(
            "earshot_stream_errors",
            "Streams that ended with an error.",
            ["code"],
            registry=self.registry,
        )
        self.wyoming_connections = Gauge(
            "earshot_wyoming_connections",
            "Open Wyoming connections.",
            registry=self.registry,
        )
        self.wyoming_errors = Counter(
            "earshot_wyoming_errors",
            "Errors that Wyoming clients were told, and clients that were not let in.",
            ["code"],
            registry=self.registry,
        )
        self.wakes = Counter(
            "earshot_wake_words",
            "Wake words that were heard.",
            ["word"],
            registry=self.registry,
        )
        self.engine_errors = Counter(
            "earshot_engine_errors",
            "Pieces of work that an engine refused or could not do.",
            ["task"],
            registry=self.registry,
        )
        self.processing = Histogram(
            "earshot_processing_seconds",
            "Time spent on one piece of work: a block of audio, or an utterance.",
            ["task"],
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
            registry=self.registry,
        )

    def watch(self, engines: Sequence[object]) -> None:
        """Show how full the lanes of engines are, of those that have lanes."""
        queueing = [engine for engine in engines if isinstance(engine, Queueing)]
        if queueing:
            self.registry.register(_Lanes(queueing))


class _Lanes(Collector):
    """Asks engines for their load whenever it is read."""

    def __init__(self, engines: Sequence[Queueing]) -> None:
        self._engines = engines

    def collect(self) -> Iterator[Metric]:
        """Waiting and dropped calls by lane."""
        waiting = GaugeMetricFamily(
            "earshot_engine_waiting",
            "Calls that wait for an engine.",
            labels=["engine", "lane"],
        )
        dropped = CounterMetricFamily(
            "earshot_engine_dropped",
            "Calls that an engine refused because too many waited.",
            labels=["engine", "lane"],
        )
        # Engines that share a model share its lanes: each counts once.
        lanes = {
            (engine.info.name, lane): load
            for engine in self._engines
            for lane, load in engine.load().items()
        }
        for labels, load in lanes.items():
            waiting.add_metric(labels, load.waiting)
            dropped.add_metric(labels, load.dropped)
        yield from (waiting, dropped)
