"""Adding a microphone to a server, and changing it."""

from collections.abc import Mapping
from typing import Any

from homeassistant.config_entries import (
    ConfigEntryState,
    ConfigSubentryFlow,
    SubentryFlowResult,
)
from homeassistant.const import CONF_NAME, CONF_URL
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.selector import (
    AreaSelector,
    BooleanSelector,
    EntitySelector,
    EntitySelectorConfig,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)
from homeassistant.util import slugify
import voluptuous as vol

from . import profile_form
from .client import Info, Label
from .const import (
    CONF_AREA,
    CONF_CAMERA,
    CONF_CLIPS,
    CONF_COMMANDS,
    CONF_GUARD,
    CONF_LABELS,
    CONF_PLACE,
    CONF_PLAYERS,
    CONF_SLUG,
    CONF_SOUNDS,
    CONF_SPEAK,
    CONF_WAKE,
    DOMAIN,
    INDOOR,
    PLACES,
)
from .sources.ffmpeg import is_supported
from .waking import choices

MAX_SLUG = 64

CAMERA = EntitySelector(EntitySelectorConfig(domain="camera"))
PLAYERS = EntitySelector(EntitySelectorConfig(domain="media_player", multiple=True))
URL = TextSelector(TextSelectorConfig(type=TextSelectorType.TEXT, autocomplete="off"))

PLACE = SelectSelector(
    SelectSelectorConfig(options=list(PLACES), translation_key=CONF_PLACE)
)


def _schema(source: str, info: Info) -> vol.Schema:
    """Return the form for one kind of source."""
    labels: tuple[Label, ...] = info.sounds.labels if info.sounds else ()
    return vol.Schema(
        {
            # A subentry's title is the microphone's name, and cannot come elsewhere.
            vol.Required(CONF_NAME): TextSelector(),
            vol.Required(source): CAMERA if source == CONF_CAMERA else URL,
            vol.Optional(CONF_AREA): AreaSelector(),
            vol.Required(CONF_PLACE, default=INDOOR): PLACE,
            vol.Required(CONF_SOUNDS, default=bool(labels)): BooleanSelector(),
            vol.Required(
                CONF_LABELS, default=[label.slug for label in labels if label.default]
            ): profile_form.labels_selector(labels),
            vol.Required(
                CONF_COMMANDS, default=info.speech is not None
            ): BooleanSelector(),
            **({vol.Optional(CONF_WAKE): _wakes(info)} if info.speech else {}),
            vol.Required(CONF_SPEAK, default=True): BooleanSelector(),
            vol.Optional(CONF_PLAYERS): PLAYERS,
            vol.Required(CONF_CLIPS, default=False): BooleanSelector(),
            vol.Required(CONF_GUARD, default=False): BooleanSelector(),
            **(profile_form.sections(labels) if labels else {}),
        }
    )


def _wakes(info: Info) -> SelectSelector:
    """Return the choice of what wakes a microphone."""
    options = [
        SelectOptionDict(value=name, label=label)
        for name, label in choices(info).items()
    ]
    return SelectSelector(SelectSelectorConfig(options=options, multiple=True))


class MicrophoneFlow(ConfigSubentryFlow):
    """Asks where a microphone's sound comes from and what to listen for."""

    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Ask for the kind of source."""
        if self._get_entry().state is not ConfigEntryState.LOADED:
            return self.async_abort(reason="entry_not_loaded")
        return self.async_show_menu(
            step_id="user", menu_options=[CONF_CAMERA, CONF_URL]
        )

    async def async_step_camera(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Ask for a camera."""
        return self._async_step(CONF_CAMERA, CONF_CAMERA, user_input)

    async def async_step_url(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Ask for an address."""
        return self._async_step(CONF_URL, CONF_URL, user_input)

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Ask what is to be different."""
        if self._get_entry().state is not ConfigEntryState.LOADED:
            return self.async_abort(reason="entry_not_loaded")
        data = self._get_reconfigure_subentry().data
        source = CONF_URL if CONF_URL in data else CONF_CAMERA
        return self._async_step("reconfigure", source, user_input)

    def _async_step(
        self, step_id: str, source: str, user_input: dict[str, Any] | None
    ) -> SubentryFlowResult:
        """Show the form, or take it."""
        changing = step_id == "reconfigure"
        errors: dict[str, str] = {}
        names: Mapping[str, str] = {}
        if user_input is not None:
            data, errors, names = _check(user_input)
            if not errors:
                title = data.pop(CONF_NAME).strip()
                return (
                    self._async_change(title, data)
                    if changing
                    else self._async_add(title, data)
                )
        info: Info = self._get_entry().runtime_data.coordinator.data
        suggested = user_input or (self._current(info) if changing else None)
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(
                _schema(source, info), suggested
            ),
            errors=errors,
            description_placeholders=names,
        )

    def _async_add(self, title: str, data: dict[str, Any]) -> SubentryFlowResult:
        """Add a microphone; the entry's update listener starts it."""
        slug = self._free_slug(title)
        return self.async_create_entry(
            title=title, data=data | {CONF_SLUG: slug}, unique_id=slug
        )

    def _async_change(self, title: str, data: dict[str, Any]) -> SubentryFlowResult:
        """Change a microphone; its MQTT topics stay."""
        subentry = self._get_reconfigure_subentry()
        entry = self._get_entry()
        registry = dr.async_get(self.hass)
        device = registry.async_get_device_by_identifier(
            (DOMAIN, subentry.subentry_id), entry.entry_id
        )
        if device is not None:
            registry.async_update_device(device.id, area_id=data.get(CONF_AREA))
        return self.async_update_and_abort(
            entry,
            subentry,
            title=title,
            data=data | {CONF_SLUG: subentry.data[CONF_SLUG]},
        )

    def _current(self, info: Info) -> dict[str, Any]:
        """Return what is set now; the device knows its area best."""
        subentry = self._get_reconfigure_subentry()
        current = {**subentry.data, CONF_NAME: subentry.title}
        labels = info.sounds.labels if info.sounds else ()
        # A label that the server no longer has could not be submitted.
        current[CONF_LABELS] = [
            label.slug for label in labels if label.slug in subentry.data[CONF_LABELS]
        ]
        current[CONF_WAKE] = [
            name for name in choices(info) if name in subentry.data.get(CONF_WAKE, [])
        ]
        current |= profile_form.shown(subentry.data, labels)
        device = dr.async_get(self.hass).async_get_device_by_identifier(
            (DOMAIN, subentry.subentry_id), self._get_entry().entry_id
        )
        if device is not None:
            current[CONF_AREA] = device.area_id
        return current

    def _free_slug(self, title: str) -> str:
        """Return a name for topics that no other microphone has."""
        taken = {
            subentry.data.get(CONF_SLUG)
            for entry in self.hass.config_entries.async_entries(DOMAIN)
            for subentry in entry.subentries.values()
        }
        slug = base = slugify(title)[: MAX_SLUG - 4].strip("_") or "microphone"
        number = 1
        while slug in taken:
            number += 1
            slug = f"{base}_{number}"
        return slug


def _check(
    user_input: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, str], Mapping[str, str]]:
    """Return what is to be kept, what is wrong by field, and what the errors name."""
    try:
        data = profile_form.stored(user_input)
    except profile_form.Mistake as mistake:
        return {}, {"base": mistake.error}, mistake.names
    if CONF_URL in data:
        data[CONF_URL] = data[CONF_URL].strip()
    if data[CONF_PLACE] == INDOOR:
        del data[CONF_PLACE]
    if data[CONF_SPEAK]:
        del data[CONF_SPEAK]
    if not data.get(CONF_WAKE, True):
        del data[CONF_WAKE]
    return data, _errors(data), {}


def _errors(data: dict[str, Any]) -> dict[str, str]:
    """Return what is wrong with the main part, by field."""
    if not data[CONF_NAME].strip():
        return {CONF_NAME: "name_missing"}
    if CONF_URL in data and not is_supported(data[CONF_URL]):
        return {CONF_URL: "unsupported_url"}
    if profile_form.hears_nothing(data):
        return {CONF_LABELS: "no_labels"}
    if not (data[CONF_SOUNDS] or data[CONF_COMMANDS]):
        return {"base": "nothing_to_hear"}
    return {}
