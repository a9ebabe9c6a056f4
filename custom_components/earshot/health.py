"""What is wrong with a microphone's sound, and how the person gets to know."""

import asyncio
from collections.abc import Callable

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir

from .client import Health
from .const import DOMAIN

LASTS_S = 10.0
"""What is over sooner is no reason to call somebody."""
SETTLE_S = 5.0
"""A server tells a new stream at once what it knows; after that, silence is good news."""

EXPLAINED = frozenset(
    {"silent", "too_quiet", "clipped", "stuck", "looped", "dc", "starved"}
)
"""Problems with a text that says what to do; a newer server may know others."""

LEARN_MORE = (
    "https://github.com/earshot-home/earshot/blob/main/docs/microphones.md"
    "#when-it-cannot-hear"
)


class MicrophoneHealth:
    """Keeps the problems of one microphone, and repair issues for those that last."""

    def __init__(
        self,
        hass: HomeAssistant,
        subentry_id: str,
        name: str,
        changed: Callable[[], None],
    ) -> None:
        """Begin with nothing wrong; `changed` is called whenever that is no longer so."""
        self._hass = hass
        self._subentry_id = subentry_id
        self._name = name
        self._changed = changed
        self._lasting: dict[str, asyncio.TimerHandle] = {}
        self._settling: asyncio.TimerHandle | None = None
        self.problems: tuple[str, ...] = ()

    @callback
    def connected(self) -> None:
        """Take that a stream began: what the last one said holds only a moment longer."""
        self._settled()
        self._settling = self._hass.loop.call_later(SETTLE_S, self.clear)

    @callback
    def heard(self, health: Health) -> None:
        """Take what the server says."""
        self._settled()
        self._set(health.problems)

    @callback
    def clear(self) -> None:
        """Take that nothing is wrong, or that nobody listens."""
        self._settled()
        self._set(())

    def _settled(self) -> None:
        """Stop waiting for what the server knows."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None

    def _set(self, problems: tuple[str, ...]) -> None:
        """Keep the problems, begin to wait for each new one, and forget the others."""
        if problems == self.problems:
            return
        for problem in set(self.problems) - set(problems):
            if problem in EXPLAINED:
                self._lasting.pop(problem).cancel()
                ir.async_delete_issue(self._hass, DOMAIN, self._issue_id(problem))
        for problem in set(problems) - set(self.problems):
            if problem in EXPLAINED:
                self._lasting[problem] = self._hass.loop.call_later(
                    LASTS_S, self._call, problem
                )
        self.problems = problems
        self._changed()

    def _call(self, problem: str) -> None:
        """Have the person see to it."""
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            self._issue_id(problem),
            is_fixable=False,
            severity=ir.IssueSeverity.WARNING,
            translation_key=f"microphone_{problem}",
            translation_placeholders={"name": self._name},
            learn_more_url=LEARN_MORE,
        )

    def _issue_id(self, problem: str) -> str:
        """Return the id of a problem's issue."""
        return f"microphone_{problem}_{self._subentry_id}"
