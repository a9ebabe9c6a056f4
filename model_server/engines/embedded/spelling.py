"""A home's grammar letter by letter: which texts are the beginning of a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
import string
import unicodedata

from .grammar import Grammar
from .network import OPEN
from .pronunciation import spoken_forms

Places = Mapping[tuple[int, int], tuple[str, ...]]
"""Where a text may have come to, with the words that led there: the state and the node of
its tree of letters. Open words are one, which begins with OPEN."""

_INSIDE = -1
"""The node of open words; their place names the state that follows them."""

_MOST_OPEN = 8
"""Open words in one place of a sentence."""

_LETTERS = frozenset(string.ascii_lowercase + string.digits)


def letters(text: str) -> str:
    """Return what is compared of a text: small letters, digits and spaces."""
    plain = unicodedata.normalize("NFKD", text.casefold()).replace("%", " percent ")
    kept = (" " if char in "-/" else char for char in plain)
    return "".join(char for char in kept if char.isalnum() or char == " ")


class Spelling:
    """Walks a grammar with texts: a word may be spelled in several ways.

    Spaces between words may be missing ("bedlight"), and numbers be digits or words.
    """

    def __init__(self, grammar: Grammar) -> None:
        """Take a grammar; its states are spelled out when somebody comes there."""
        self._accepting = frozenset(grammar.accepting)
        self._arcs: dict[int, list[tuple[str, int]]] = {}
        self._open: dict[int, list[int]] = {}
        for source, target, word in grammar.arcs:
            if word == OPEN:
                self._open.setdefault(source, []).append(target)
            else:
                self._arcs.setdefault(source, []).append((word, target))
        self._spelled: dict[int, tuple[_Children, _Ends]] = {}

    @property
    def begin(self) -> Places:
        """Return where nothing has been written."""
        return {(0, 0): ()}

    def go(self, places: Places, text: str) -> Places:
        """Return where more of a text leads; nowhere if no sentence begins like that."""
        for char in text:
            places = self._step(places, char)
            if not places:
                break
        return places

    def follows(self, places: Places) -> set[str]:
        """Return the letters that may come next, the space among them."""
        found = {" "}
        for state, node in places:
            if node == _INSIDE or (node == 0 and state in self._open):
                found |= _LETTERS
            if node == _INSIDE:
                continue
            children, ends = self._state(state)
            found.update(children[node])
            for target in ends[node]:
                found.update(self._state(target)[0][0])
        return found

    def whole(self, places: Places) -> tuple[str, ...] | None:
        """Return the words if they are a sentence that may end here."""
        ways = self._endings(places)
        return _most_known(way for way, state in ways if state in self._accepting)

    def says(self, text: str) -> bool:
        """Tell whether a text is a sentence of the grammar."""
        return self.whole(self.go(self.begin, letters(text))) is not None

    def after(self, text: str) -> set[str]:
        """Return the words that may follow a text; OPEN where anything may."""
        places = self.go(self.begin, letters(text))
        if not places:
            return {OPEN}
        states = {state for _, state in self._endings(places)}
        known = {word for state in states for word, _ in self._arcs.get(state, ())}
        goes_on = any(node == _INSIDE for _, node in places)
        return known | ({OPEN} if goes_on or states & self._open.keys() else set())

    def begun(self, places: Places) -> tuple[str, ...] | None:
        """Return the words if a word may end here, the last of a sentence or not."""
        return _most_known(way for way, _ in self._endings(places) if way)

    def _endings(self, places: Places) -> Iterator[tuple[tuple[str, ...], int]]:
        """Yield the ways in which a word may end here, and the state after it."""
        for (state, node), words in places.items():
            if node == _INSIDE:
                yield (*words[:-1], words[-1].rstrip()), state
            elif node == 0:
                yield words, state
            else:
                for target, word in self._state(state)[1][node].items():
                    yield (*words, word), target

    def _step(self, places: Places, char: str) -> Places:
        found: dict[tuple[int, int], tuple[str, ...]] = {}
        for (state, node), words in places.items():
            for place, said in self._steps(state, node, words, char):
                before = found.get(place)
                found[place] = said if before is None else _known_more(before, said)
        return found

    def _steps(
        self, state: int, node: int, words: tuple[str, ...], char: str
    ) -> Iterator[tuple[tuple[int, int], tuple[str, ...]]]:
        """Yield where a letter leads from one place."""
        if node == _INSIDE:
            yield from _go_on(state, words, char)
            return
        if node == 0 and char in _LETTERS:
            for target in self._open.get(state, ()):
                yield (target, _INSIDE), (*words, OPEN + char)
        children, ends = self._state(state)
        after = children[node].get(char)
        if after is not None:
            yield (state, after), words
        if char == " " and node == 0:
            yield (state, 0), words
        for target, word in ends[node].items():
            if char == " ":
                yield (target, 0), (*words, word)
                continue
            begun = self._state(target)[0][0].get(char)
            if begun is not None:
                yield (target, begun), (*words, word)

    def _state(self, state: int) -> tuple[_Children, _Ends]:
        if state not in self._spelled:
            self._spelled[state] = _spell(self._arcs.get(state, ()))
        return self._spelled[state]


_Children = list[dict[str, int]]
"""The nodes of a tree of letters: node 0 is its root."""

_Ends = list[dict[int, str]]
"""The words that end in each node, by the state that they lead to."""


def _openness(words: tuple[str, ...]) -> int:
    """Count the letters of open words."""
    return sum(len(word) for word in words if word.startswith(OPEN))


def _known_more(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """Choose between two readings of one text: known words tell more than any words."""
    return min(one, other, key=_openness)


def _most_known(ways: Iterable[tuple[str, ...]]) -> tuple[str, ...] | None:
    return min(ways, key=_openness, default=None)


def _go_on(
    target: int, words: tuple[str, ...], char: str
) -> Iterator[tuple[tuple[int, int], tuple[str, ...]]]:
    """Yield where a letter leads from inside open words."""
    *before, said = words
    if char in _LETTERS:
        yield (target, _INSIDE), (*before, said + char)
    elif char == " ":
        said = said.rstrip()
        yield (target, 0), (*before, said)
        if said.count(" ") < _MOST_OPEN - 1:
            yield (target, _INSIDE), (*before, f"{said} ")


def _spell(arcs: Iterable[tuple[str, int]]) -> tuple[_Children, _Ends]:
    """Spell the words of a state's arcs."""
    children: _Children = [{}]
    ends: _Ends = [{}]
    for word, target in arcs:
        for form in {word, *spoken_forms(word)}:
            node = 0
            for char in letters(form):
                if char not in children[node]:
                    children[node][char] = len(children)
                    children.append({})
                    ends.append({})
                node = children[node][char]
            if node:
                ends[node].setdefault(target, word)
    return children, ends
