"""Answers that are valid JSON by a schema, token by token, whatever the model wants.

llguidance says which tokens may follow. On top of that, every step keeps in hand a way
to end the answer within the tokens that are left: a choice after which no known way
fits is replaced by the next token of the way in hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import json
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from llguidance import LLMatcher, LLParserLimits, LLTokenizer
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from model_server.engines.base import UnusableRequestError

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

Mask: TypeAlias = npt.NDArray[np.bool_]
"""Which tokens may follow, (vocabulary,)."""

MAX_SCHEMA: Final = 1 << 18
"""Characters of a schema as JSON: a home of 4000 names has about 200,000."""
MAX_DEPTH: Final = 64
"""Objects and arrays inside each other in a schema."""
LONGEST_WAY: Final = 1024
"""Tokens after which the search for an end is given up."""

# No free whitespace: a model that writes spaces for ever would be within the schema.
_STYLE: Final[JsonCompileOptions] = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "lenient": False,
    "coerce_one_of": False,
}
# Half of llguidance's own defaults and less: a schema comes from anybody with a token.
_LIMITS: Final = LLParserLimits(
    initial_lexer_fuel=1_000_000,
    step_lexer_fuel=200_000,
    step_max_items=50_000,
    max_lexer_states=50_000,
    max_grammar_size=300_000,
    verbose_errors=False,
)
# What brings an answer nearer to its end outside of strings, best first.
_OUTSIDE: Final = tuple('}],:0123456789"ntf[{.-e ')
_DIGITS: Final = frozenset("0123456789")


class Grammars:
    """Compiles schemas for one tokenizer."""

    def __init__(
        self, tokenizer: Tokenizer, vocabulary: int, ends: Sequence[int]
    ) -> None:
        """For logits over `vocabulary` ids, of which `ends` finish an answer."""
        self.tokens = LLTokenizer(
            tokenizer.to_str(), n_vocab=vocabulary, eos_token=list(ends)
        )
        self.ends = frozenset(ends)
        known = {sign: self.tokens.greedy_tokenize(sign) for sign in _OUTSIDE}
        self._ids = {sign: ids[0] for sign, ids in known.items() if len(ids) == 1}

    def compile(self, schema: Mapping[str, Any]) -> Grammar:
        """A schema's grammar. Raises UnusableRequestError that names the reason."""
        text = _checked(schema)
        try:
            grammar = LLMatcher.grammar_from_json_schema(text, overrides=_STYLE)
        except ValueError:
            # JSON that Python writes and others do not read: half a character.
            raise UnusableRequestError("The schema is no JSON.") from None
        matcher = LLMatcher(self.tokens, grammar, log_level=0, limits=_LIMITS)
        if matcher.is_error():
            reason = matcher.get_error().split("\n", 1)[0][:200]
            raise UnusableRequestError(f"The schema cannot be followed: {reason}")
        return Grammar(self, matcher)

    def way_out(
        self, matcher: LLMatcher, quoted: Quoted, longest: int
    ) -> list[int] | None:
        """Tokens that end an answer from here on; None if none of `longest` is found.

        Greedy: what is forced, else what closes, else what may follow at all.
        """
        copy = matcher.deep_copy()
        quoted = quoted.copy()
        way: list[int] = []
        while not copy.is_accepting():
            tokens = copy.compute_ff_tokens() or self._nearer(copy, quoted, len(way))
            if not tokens or len(way) + len(tokens) > longest:
                return None
            if not copy.consume_tokens(tokens):
                return None
            quoted.read(self.tokens.decode_bytes(tokens))
            way += tokens
        return way

    def _nearer(self, matcher: LLMatcher, quoted: Quoted, turn: int) -> list[int]:
        """One token that may follow, by preference one that closes."""
        for sign in '"' if quoted.inside else _OUTSIDE:
            # The same digit again might never make a multiple of seven; so below.
            if sign in _DIGITS:
                sign = str((int(sign) + turn) % 10)
            token = self._ids.get(sign)
            if token is not None and matcher.validate_tokens([token]) == 1:
                return [token]
        allowed = np.flatnonzero(unpacked(matcher, self.tokens.vocab_size))
        choices = [int(token) for token in allowed if int(token) not in self.ends]
        return [choices[turn % len(choices)]] if choices else []


class Grammar:
    """A compiled schema; any number of answers may begin from it, one thread each."""

    def __init__(self, grammars: Grammars, matcher: LLMatcher) -> None:
        """Keep the matcher at its start."""
        self._grammars = grammars
        self._matcher = matcher
        way = grammars.way_out(matcher, Quoted(), LONGEST_WAY)
        if matcher.is_error() or way is None:
            raise UnusableRequestError(
                f"No answer of up to {LONGEST_WAY} tokens to this schema was found: "
                "make it simpler."
            )
        self._way = way

    @property
    def shortest(self) -> int:
        """Tokens of the shortest answer that is known."""
        return len(self._way)

    def begin(self, budget: int) -> Answer:
        """Begin an answer of at most `budget` tokens.

        Raises UnusableRequestError where that cannot be enough.
        """
        if self.shortest > budget:
            raise UnusableRequestError(
                f"An answer to this schema has {self.shortest} tokens or more, and "
                f"{budget} are allowed."
            )
        return Answer(
            self._grammars, self._matcher.deep_copy(), list(self._way), budget
        )


class Quoted:
    """Whether the end of a JSON text is inside of a string."""

    def __init__(self) -> None:
        """Before the text."""
        self.inside = False
        self._escaped = False

    def copy(self) -> Quoted:
        """The same place in the text."""
        other = Quoted()
        other.inside, other._escaped = self.inside, self._escaped
        return other

    def read(self, text: bytes) -> None:
        """Go on in the text."""
        for byte in text:
            if self._escaped:
                self._escaped = False
            elif byte == ord("\\"):
                self._escaped = self.inside
            elif byte == ord('"'):
                self.inside = not self.inside


class Answer:
    """One answer under way.

    Whoever writes it calls `forced`, then in turn `mask` and `take` until `over`.
    """

    def __init__(
        self, grammars: Grammars, matcher: LLMatcher, way: list[int], budget: int
    ) -> None:
        """`way` ends the answer from its start; `budget` tokens may be written."""
        self._grammars = grammars
        self._matcher = matcher
        self._way = way
        self._quoted = Quoted()
        self.budget = budget
        self.over = False
        self.cut = False
        """Whether something else had to be written for want of room."""

    @property
    def complete(self) -> bool:
        """Whether what was written is an answer."""
        return bool(self._matcher.is_accepting())

    def mask(self) -> Mask:
        """Which tokens may come next, (vocabulary,)."""
        mask = unpacked(self._matcher, self._grammars.tokens.vocab_size)
        if self._matcher.is_error():
            # Only what a grammar grew into at run time: a limit that was passed.
            raise UnusableRequestError("The schema is too complex to follow.")
        return mask

    def forced(self) -> list[int]:
        """Write what can only come next, which takes no model."""
        tokens: list[int] = []
        if not self._matcher.is_accepting():
            tokens = self._matcher.compute_ff_tokens()
        # Tokens of the way are known to fit; other ones may be cut differently.
        if tokens != self._way[: len(tokens)]:
            tokens = []
        if tokens:
            self._commit(tokens)
            self._way = self._way[len(tokens) :]
        self.over = bool(self._matcher.is_stopped())
        return tokens

    def take(self, token: int) -> list[int]:
        """Write the model's choice, or what must stand there instead, and what follows.

        Nothing where the choice was to end.
        """
        if token in self._grammars.ends:
            self.over = True
            return []
        written = self._fitting(token)
        return written if self.over else written + self.forced()

    def finish(self) -> list[int]:
        """Write the shortest known end."""
        rest = self._way
        self._commit(rest)
        self._way, self.over = [], True
        return rest

    def _fitting(self, token: int) -> list[int]:
        ahead = self._matcher.deep_copy()
        quoted = self._quoted.copy()
        if ahead.consume_token(token):
            quoted.read(self._grammars.tokens.decode_bytes([token]))
            way = self._grammars.way_out(
                ahead, quoted, min(self.budget - 1, LONGEST_WAY)
            )
            if way is not None:
                self._matcher, self._quoted, self._way = ahead, quoted, way
                self.budget -= 1
                return [token]
            self.cut = True
        if not self._way:
            # It is complete, and no longer one is known to end in time.
            self.over = True
            return []
        instead, *self._way = self._way
        self._commit([instead])
        return [instead]

    def _commit(self, tokens: list[int]) -> None:
        if not self._matcher.consume_tokens(tokens):
            raise UnusableRequestError("The schema is too complex to follow.")
        self._quoted.read(self._grammars.tokens.decode_bytes(tokens))
        self.budget -= len(tokens)


def unpacked(matcher: LLMatcher, vocabulary: int) -> Mask:
    """A matcher's mask, one boolean for each token."""
    bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
    return np.unpackbits(bits, count=vocabulary, bitorder="little").view(np.bool_)


def _checked(schema: Mapping[str, Any]) -> str:
    """A schema as JSON text, if its size is reasonable."""
    try:
        text = json.dumps(dict(schema))
    except (TypeError, ValueError, RecursionError):
        raise UnusableRequestError("The schema is no JSON.") from None
    if len(text) > MAX_SCHEMA:
        raise UnusableRequestError(
            f"The schema has {len(text)} characters; {MAX_SCHEMA} are allowed."
        )
    depth = deepest = 0
    for sign in text:
        depth += (sign in "{[") - (sign in "}]")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise UnusableRequestError(
            f"The schema is {deepest} levels deep; {MAX_DEPTH} are allowed."
        )
    return text
