"""Home Assistant's sentence templates and one home's names as a network of words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import permutations
import re
from typing import Any

from hassil.expression import (
    Alternative,
    Expression,
    Group,
    ListReference,
    Permutation,
    RuleReference,
    Sentence,
    Sequence,
    TextChunk,
)
from hassil.intents import (
    IntentData,
    Intents,
    RangeSlotList,
    SlotList,
    TextSlotList,
    WildcardSlotList,
)
from hassil.util import remove_punctuation
from home_assistant_intents import get_intent_info

from model_server.engines.base import Vocabulary, VocabularyEntity, VocabularyPlace

from .custom import read_custom
from .network import END, OPEN, Network, Trie
from .templates import household_items

SPACE = " "

# Words that alone do not make a command: "the kitchen to 50" is talk. Home
# Assistant accepts a bare name typed into its box, but a house that listens all
# day must not switch a lamp because somebody mentioned it.
_FUNCTION_WORDS = frozenset({"the", "my", "all", "a", "an", "to", "of", "in"})

# Home Assistant understands them, but hardly anybody says them, and each takes in
# what was meant for a common word: "turn on kitchen" became "turn out each".
_RARE = frozenset(
    {"across", "around", "bring", "each", "entire", "every", "illuminate", "lift"}
    | {"lighting", "our", "out", "persons", "single", "throughout", "transition"}
    | {"whole"}
)

_SWITCHING = frozenset({"HassTurnOn", "HassTurnOff"})

# "Kitchen lights off" is said often; "kitchen lights red", without a verb, is not.
_VERBLESS = (" on", " off")

AGREEING = ("yes please", "yes do it please", "yes go ahead")
DECLINING = (
    *("no please", "no thanks", "no thank you", "no don't do it", "don't do it"),
    "cancel that",
)
ANSWERS = AGREEING + DECLINING
"""What answers a question of the house. A bare yes or no is too short to be told from
other speech, and without ways to decline these would be heard as agreeing."""

# What Home Assistant takes any words for, and what of them is known beforehand. Others
# that it has would open a sentence at its beginning, or hold whole commands.
_OPEN_LISTS = {
    "shopping_list_item": "items",
    "todo_list_item": "items",
    "search_query": "media",
    "timer_name": "timers",
}

_SAYABLE = re.compile(r"[a-z']+")

# Intents of these domains are pointless without such a device in the home. The
# other domains (timers, the time, turning things on) say what they need in each
# block of sentences.
_DEVICE_DOMAINS = frozenset(
    {"climate", "cover", "fan", "lawn_mower", "light", "lock", "media_player"}
    | {"person", "switch", "todo", "vacuum", "valve", "weather"}
)


def name_words(name: str) -> tuple[str, ...]:
    """Return a name as the words that Home Assistant matches, lower-cased."""
    return tuple(remove_punctuation(name).casefold().split())


def build_network(vocabulary: Vocabulary, intents: Intents) -> Network:
    """Join every template that fits the home into one network of words."""
    return _Builder(vocabulary, intents).build()


def fits(domains: set[str], intent: str, block: IntentData) -> bool:
    """Whether a block of an intent's sentences has a point in a home of these domains."""
    if needed := set(block.domains):
        return not domains.isdisjoint(needed)
    domain = _intent_info().get(intent, {}).get("domain")
    # A shopping list is an entity like other lists.
    domain = "todo" if domain == "shopping_list" else domain
    return domain not in _DEVICE_DOMAINS or domain in domains


@cache
def _intent_info() -> dict[str, Any]:
    return get_intent_info() or {}


@dataclass(frozen=True)
class _Text:
    """A piece of a word. `content` tells a command's own words from list values."""

    text: str
    content: bool


@dataclass(frozen=True)
class _List:
    """A whole list at this place."""

    key: str


@dataclass(frozen=True)
class _Scope:
    """The areas and entities that a sentence may name; `key` tells one from another."""

    areas: tuple[VocabularyPlace, ...]
    entities: tuple[VocabularyEntity, ...]
    key: str = ""


_Label = _Text | _List | str | None
"""What is said between two states; SPACE ends a word, None is nothing."""


class _Builder:
    """Templates become a network of pieces of words first, then one of words.

    Templates put options inside words ("light[s]"), so words exist only once
    the pieces between two spaces are joined.
    """

    def __init__(self, vocabulary: Vocabulary, intents: Intents) -> None:
        self.vocabulary = vocabulary
        self.intents = intents
        self.domains = {entity.domain for entity in vocabulary.entities}
        self.scope = _Scope(vocabulary.areas, vocabulary.entities)
        self.pieces: list[list[tuple[_Label, int]]] = [[]]
        self.network = Network()
        self.verbless: set[int] = set()
        self.custom = False
        self.twins = frozenset(
            word.replace("'", "")
            for word in re.findall(
                r"[a-z]+'[a-z]+", " ".join(_texts(intents)).casefold()
            )
        )

    def build(self) -> Network:
        starts = []
        for intent in self.intents.intents.values():
            for block in intent.data:
                if not fits(self.domains, intent.name, block):
                    continue
                for sentence in block.sentences:
                    for scope in self._scopes(intent.name, sentence.expression, block):
                        self.scope = scope
                        start = self._sentence(sentence, block)
                        if start is not None:
                            starts.append(start)
                            if (sentence.text or "").endswith(_VERBLESS):
                                self.verbless.add(2 * start)
        starts += self._custom_sentences()
        self._join(starts)
        if starts:
            for answer in ANSWERS:
                self.network.add(answer)
        return self.network

    def _sentence(self, sentence: Sentence, block: IntentData) -> int | None:
        """Add a sentence; the state in which it starts, or None if it cannot be said."""
        start = self._state()
        end = self._expression(sentence.expression, start, block, True)
        if end is None:
            return None
        self.pieces[end].append((SPACE, END))
        return start

    def _custom_sentences(self) -> Iterator[int]:
        """Add the home's own; whoever wrote them meant every word."""
        self.custom = True
        self.scope = _Scope(self.vocabulary.areas, self.vocabulary.entities)
        custom = read_custom(self.vocabulary.sentences, self.intents.expansion_rules)
        self.network.unheard.extend(custom.unreadable)
        for text, sentence in custom.sentences.items():
            start = self._sentence(sentence, custom.block)
            lists = self._lists(sentence.expression, custom.block)
            fixed = re.sub(r"\{.*?\}", "", text)
            bare = len(re.findall(r"\w+", text)) == 1
            if start is None or bare or not re.search(r"\w", fixed):
                self.network.unheard.append(text)
            elif any(map(self._is_open, lists)):
                self.network.open.append(text)
            if start is not None:
                self.verbless.add(2 * start)
                self.twins -= set(name_words(text))
                yield start

    def _scopes(
        self, intent: str, expression: Expression, block: IntentData
    ) -> Iterator[_Scope]:
        """What a sentence may name: right after an area only what is in it.

        "Turn off hall the kitchen lights" is nothing that Home Assistant could do,
        and was heard where somebody said "all of the kitchen lights".
        """
        home = self.vocabulary
        lists = self._lists(expression, block)
        order = [name for name in lists if name in ("area", "name")]
        if intent not in _SWITCHING or order != ["area", "name"]:
            yield _Scope(home.areas, home.entities)
            return
        # Where an entity is that has no area, only its owner knows.
        nowhere = tuple(one for one in home.entities if one.area is None)
        yield _Scope(home.areas, nowhere, "@")
        for place in home.areas:
            inside = tuple(one for one in home.entities if one.area == place.id)
            yield _Scope((place,), inside, f"@{place.id}")

    def _lists(self, expression: Expression, block: IntentData) -> Iterator[str]:
        """Yield the name of every list in a sentence."""
        if isinstance(expression, ListReference):
            yield expression.list_name
        elif isinstance(expression, RuleReference):
            yield from self._lists(self._rule(expression, block), block)
        elif isinstance(expression, Group):
            for item in expression.items:
                yield from self._lists(item, block)

    def _rule(self, reference: RuleReference, block: IntentData) -> Expression:
        name = reference.rule_name
        rule = block.expansion_rules.get(name) or self.intents.expansion_rules.get(name)
        if rule is None:
            raise ValueError(f"Unknown rule <{name}>")
        return rule.expression

    def _state(self) -> int:
        self.pieces.append([])
        return len(self.pieces) - 1

    def _step(self, state: int, label: _Label) -> int:
        after = self._state()
        self.pieces[state].append((label, after))
        return after

    def _expression(
        self, expression: Expression, state: int, block: IntentData, content: bool
    ) -> int | None:
        """Append an expression; the state after it, or None if it cannot be said."""
        if isinstance(expression, TextChunk):
            return self._chunk(expression.original_text, state, content)
        if isinstance(expression, ListReference):
            return self._list(expression, state, block)
        if isinstance(expression, RuleReference):
            rule = self._rule(expression, block)
            return self._expression(rule, state, block, content)
        if isinstance(expression, Permutation):
            orders: list[Expression] = [
                Sequence([part for item in order for part in (item, TextChunk(SPACE))])
                for order in permutations(expression.items)
            ]
            return self._alternatives(orders, state, block, content)
        if isinstance(expression, Alternative):
            return self._alternatives(expression.items, state, block, content)
        assert isinstance(expression, Group)
        after: int | None = state
        for item in expression.items:
            if after is None:
                return None
            after = self._expression(item, after, block, content)
        return after

    def _alternatives(
        self, items: list[Expression], state: int, block: IntentData, content: bool
    ) -> int | None:
        ends = {self._expression(item, state, block, content) for item in items}
        ends.discard(None)
        if not ends:
            return None
        after = self._state()
        for end in ends:
            assert end is not None
            self.pieces[end].append((None, after))
        return after

    def _chunk(self, text: str, state: int, content: bool) -> int | None:
        for piece in re.findall(r"[\s\-]+|[^\s\-]+", text.casefold()):
            if piece.isspace() or piece.startswith("-"):
                state = self._step(state, SPACE)
            elif self.custom:
                if plain := remove_punctuation(piece):
                    state = self._step(state, _Text(plain, content))
            elif _SAYABLE.fullmatch(piece) and not (content and piece in _RARE):
                state = self._step(state, _Text(piece, content))
            else:
                return None
        return state

    def _list(
        self, reference: ListReference, state: int, block: IntentData
    ) -> int | None:
        name = reference.list_name
        if self.custom and name in self.vocabulary.lists:
            key = f"list:{name}"
            if key not in self.network.tries:
                self._phrases(key, self.vocabulary.lists[name])
            return self._whole_list(key, state)
        values: SlotList | None = block.slot_lists.get(
            name
        ) or self.intents.slot_lists.get(name)
        if self._is_open(name):
            key = _OPEN_LISTS.get(name, "open")
            if key not in self.network.tries:
                self._phrases(key, self._known(key))
                self.network.tries[key].add((OPEN,))
            return self._whole_list(key, state)
        if isinstance(values, WildcardSlotList):
            return None
        if isinstance(values, TextSlotList):
            return self._alternatives(
                [value.text_in for value in values.values], state, block, content=False
            )
        if isinstance(values, RangeSlotList):
            key = f"range:{name}"
            if key not in self.network.tries:
                self._numbers(key, values)
        elif name in ("area", "floor"):
            places = self.scope.areas if name == "area" else self.vocabulary.floors
            key = f"{name}{self.scope.key}"
            if not places:
                return None
            if key not in self.network.tries:
                self._phrases(key, _place_names(places))
        elif name == "name":
            key = self._names(block)
        else:
            return None
        return self._whole_list(key, state)

    def _whole_list(self, key: str, state: int) -> int | None:
        if not self.network.tries[key].ends:
            return None
        return self._step(state, _List(key))

    def _is_open(self, name: str) -> bool:
        """Tell whether any words may be said for a list."""
        if name in _OPEN_LISTS:
            return True
        closed = {"area", "floor", "name", *self.vocabulary.lists}
        values = self.intents.slot_lists.get(name)
        known = name in closed or isinstance(values, TextSlotList | RangeSlotList)
        return self.custom and not known

    def _known(self, key: str) -> tuple[str, ...]:
        """Return what is likely to be said for an open list."""
        if key == "items":
            return (*household_items(), *self.vocabulary.items)
        return self.vocabulary.media if key == "media" else ()

    def _names(self, block: IntentData) -> str:
        allowed = _domains(block.requires_context) or set(block.name_domains or ())
        excluded = _domains(block.excludes_context)
        domains = {
            domain
            for domain in self.domains
            if (not allowed or domain in allowed) and domain not in excluded
        }
        key = f"name{self.scope.key}:{','.join(sorted(domains))}"
        if key not in self.network.tries:
            self._phrases(
                key,
                (
                    name
                    for entity in self.scope.entities
                    if entity.domain in domains
                    for name in entity.names
                ),
            )
        return key

    def _phrases(self, key: str, names: Iterable[str]) -> None:
        trie = self.network.tries[key] = Trie()
        for name in names:
            trie.add(name_words(name))

    def _numbers(self, key: str, values: RangeSlotList) -> None:
        trie = self.network.tries[key] = Trie()
        for number in values.get_numbers():
            self.network.numbers[f"{number:g}"] = number
            trie.add((f"{number:g}",))

    def _join(self, starts: list[int]) -> None:
        """Join pieces to words, from boundary to boundary.

        A state of the network is a state of the pieces, doubled: odd once a
        command's own word was said, without which no sentence is complete.
        """
        network = self.network
        network.starts = [2 * start for start in starts]
        begins = set(network.starts) - self.verbless
        todo = list(network.starts)
        seen = set(todo)
        while todo:
            state = todo.pop()
            piece, spoken = divmod(state, 2)
            for label, content, after in self._words(piece):
                if label is None:
                    if spoken:
                        network.accepting.add(state)
                    continue
                if state in begins and not content:
                    continue
                said = spoken or content
                if after == END:
                    if not said:
                        continue
                    target = END
                else:
                    target = 2 * after + said
                if isinstance(label, _List):
                    network.lists.setdefault(state, []).append((label.key, target))
                else:
                    network.words.setdefault(state, []).append((label, target))
                if target not in seen and target != END:
                    seen.add(target)
                    todo.append(target)

    def _words(self, start: int) -> Iterator[tuple[str | _List | None, bool, int]]:
        """Yield each whole word from a boundary, whether it is content, and its end.

        The word is None where the sentence may end without another.
        """
        stack: list[tuple[int, str | _List, bool]] = [(start, "", False)]
        seen = set(stack)
        while stack:
            state, word, content = stack.pop()
            if state == END:
                yield None, False, END
                continue
            for label, after in self.pieces[state]:
                item = (after, word, content)
                if label == SPACE:
                    if word:
                        if not (isinstance(word, str) and word in self.twins):
                            yield word, content, after
                        continue
                elif isinstance(label, _Text):
                    if isinstance(word, _List):
                        continue
                    joined = word + label.text
                    item = (
                        after,
                        joined,
                        label.content and joined not in _FUNCTION_WORDS,
                    )
                elif isinstance(label, _List):
                    if word:
                        continue
                    item = (after, label, False)
                if item not in seen:
                    seen.add(item)
                    stack.append(item)


def _texts(intents: Intents) -> Iterator[str]:
    for intent in intents.intents.values():
        for block in intent.data:
            yield from block.sentence_texts
    for rule in intents.expansion_rules.values():
        yield rule.text or ""


def _domains(context: dict[str, Any]) -> set[str]:
    value = context.get("domain", ())
    return {value} if isinstance(value, str) else set(value)


def _place_names(places: tuple[VocabularyPlace, ...]) -> Iterator[str]:
    return (name for place in places for name in place.names)
