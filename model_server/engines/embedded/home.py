"""One home, compiled: what may be said, how it sounds, kept on disk by content."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
import hashlib
from importlib.metadata import version as installed
import json
import logging
import os
from pathlib import Path
import re
import shutil
import tempfile

from model_server.engines.base import Vocabulary

from .grammar import Grammar, compile_network
from .network import OPEN
from .pronunciation import Pronunciations, pronounce
from .sentences import build_network, name_words
from .templates import household_items, read_plain_templates

_LOGGER = logging.getLogger(__name__)

COMPILER = 10
"""Raise it when the same vocabulary would compile to something else."""

SHORTEST = 2
"""Words of a command. A single one ("next", "stop") is said too often to mean one."""

_KEPT = 8
_SUFFIX = ".home"


@dataclass(frozen=True)
class Home:
    """What a recogniser needs to hear one home; `version` hashes all it came from.

    Of its own sentences nobody can hear those `unheard`, and only who writes words down
    those `open`. `names` are those of one entity only, whatever is said after them, and
    `own` the words of its own sentences.
    """

    version: str
    grammar: Grammar
    pronunciations: Pronunciations
    guessed: tuple[str, ...]
    unheard: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    own: tuple[str, ...] = ()


def plain(vocabulary: Vocabulary) -> Vocabulary:
    """Return a vocabulary that differs only where something else may be said.

    An item that is known anyway comes and goes without a new grammar.
    """
    known = set(household_items())
    items = {" ".join(name_words(item)) for item in vocabulary.items} - known
    return replace(vocabulary, items=tuple(sorted(items)))


def home_version(vocabulary: Vocabulary) -> str:
    """Hash the vocabulary and everything else the outcome depends on."""
    content = {
        "vocabulary": asdict(vocabulary),
        "compiler": COMPILER,
        "packages": {
            name: installed(name)
            for name in ("hassil", "home-assistant-intents", "pocketsphinx")
        },
        # It changes how unknown words are thought to sound.
        "espeak": shutil.which("espeak-ng") is not None,
    }
    encoded = json.dumps(content, sort_keys=True).encode()
    return hashlib.sha256(encoded).hexdigest()[:16]


def compile_home(vocabulary: Vocabulary) -> Home:
    """Compile a vocabulary.

    Raises ValueError for a language without sentences.
    """
    network = build_network(vocabulary, read_plain_templates(vocabulary.language))
    words = {word for arcs in network.words.values() for word, _ in arcs}
    for trie in network.tries.values():
        for children in trie.children:
            words.update(children)
    lexicon = pronounce(words - {OPEN}, network.numbers)
    for word in lexicon.silent:
        _LOGGER.warning("No letters to guess the sound of %r from: not sayable", word)
    network.drop(frozenset(lexicon.silent))
    grammar = compile_network(network, SHORTEST)
    return Home(
        version=home_version(vocabulary),
        grammar=grammar,
        pronunciations={word: lexicon.pronunciations[word] for word in grammar.words},
        guessed=tuple(sorted(set(lexicon.guessed) & set(grammar.words))),
        unheard=tuple(network.unheard),
        open=tuple(network.open),
        names=_names(vocabulary),
        own=tuple(sorted(set(re.findall(r"\w+", " ".join(vocabulary.sentences))))),
    )


def _names(vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return the names that only one entity has, and that no other name contains.

    Who says where a vacuum is to start has it clean there only, so it has none.
    """
    names = [
        (f" {name} ", entity.domain)
        for entity in vocabulary.entities
        for name in {" ".join(name_words(name)) for name in entity.names}
    ]
    return tuple(
        sorted(
            name.strip()
            for name, domain in names
            if domain != "vacuum" and sum(name in other for other, _ in names) == 1
        )
    )


def cached_home(vocabulary: Vocabulary, cache: Path) -> Home:
    """Return a home from the cache, or compile and keep it.

    A cache that cannot be read is as good as none; one that cannot be written
    costs a second at the next start and a line in the log.
    """
    version = home_version(vocabulary)
    path = cache / f"{version}{_SUFFIX}"
    home = _read(path)
    if home is None or home.version != version:
        home = compile_home(vocabulary)
        try:
            _write(path, home)
        except OSError as error:
            _LOGGER.warning("Could not keep the compiled grammar: %s", error)
    return home


def _write(path: Path, home: Home) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    body = json.dumps(asdict(home), separators=(",", ":"))
    digest = hashlib.sha256(body.encode()).hexdigest()
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"{digest}\n{body}")
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    kept = sorted(
        path.parent.glob(f"*{_SUFFIX}"), key=lambda file: file.stat().st_mtime
    )
    for old in kept[:-_KEPT]:
        old.unlink(missing_ok=True)


def _read(path: Path) -> Home | None:
    try:
        digest, _, body = path.read_text(encoding="utf-8").partition("\n")
    except (OSError, ValueError):
        return None
    if hashlib.sha256(body.encode()).hexdigest() != digest:
        return None
    stored = json.loads(body)
    grammar = Grammar(**stored["grammar"])
    return Home(
        version=stored["version"],
        grammar=replace(
            grammar,
            arcs=tuple((source, target, word) for source, target, word in grammar.arcs),
            accepting=tuple(grammar.accepting),
        ),
        pronunciations={
            word: tuple(variants) for word, variants in stored["pronunciations"].items()
        },
        guessed=tuple(stored["guessed"]),
        unheard=tuple(stored["unheard"]),
        open=tuple(stored["open"]),
        names=tuple(stored["names"]),
        own=tuple(stored["own"]),
    )
