"""Adding a device that only an MQTT broker knows, and changing it."""

from typing import Any

from homeassistant.components import mqtt
from homeassistant.config_entries import (
    ConfigEntryState,
    ConfigSubentryFlow,
    SubentryFlowResult,
)
from homeassistant.const import CONF_DEVICE_CLASS, CONF_NAME
from homeassistant.exceptions import HomeAssistantError, TemplateError
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.helpers.selector import (
    AreaSelector,
    BooleanSelector,
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    SelectSelector,
    SelectSelectorConfig,
    TemplateSelector,
    TextSelector,
    TextSelectorConfig,
)
from homeassistant.helpers.template import Template
import voluptuous as vol

from .const import (
    CONF_ALIASES,
    CONF_AREA,
    CONF_BASE_TOPIC,
    CONF_COMMAND_PAYLOAD,
    CONF_COMMAND_TOPIC,
    CONF_DEVICE_TOPIC,
    CONF_KIND,
    CONF_LEVEL_MAX,
    CONF_LEVEL_PAYLOAD,
    CONF_LEVEL_TEMPLATE,
    CONF_LEVEL_TOPIC,
    CONF_PRESET,
    CONF_RETAIN,
    CONF_STATE_TEMPLATE,
    CONF_STATE_TOPIC,
    DEFAULT_BASE_TOPIC,
    DOMAIN,
)
from .route_entity import names
from .route_presets import COVER, COVERS, KINDS, PRESETS, SWITCH, ZIGBEE2MQTT, preset

_TEXT = TextSelector()
_TEMPLATE = TemplateSelector()
_MOST = 65535
_CLASS = SelectSelector(
    SelectSelectorConfig(options=list(COVERS), translation_key="cover_class")
)

_FIRST = vol.Schema(
    {
        vol.Required(CONF_PRESET, default=ZIGBEE2MQTT): SelectSelector(
            SelectSelectorConfig(options=list(PRESETS), translation_key=CONF_PRESET)
        ),
        vol.Required(CONF_KIND, default=SWITCH): SelectSelector(
            SelectSelectorConfig(options=list(KINDS), translation_key=CONF_KIND)
        ),
        vol.Required(CONF_DEVICE_TOPIC): _TEXT,
    }
)


def _schema(kind: str) -> vol.Schema:
    """Return the form for one kind of device."""
    level = {
        vol.Optional(CONF_LEVEL_TOPIC): _TEXT,
        vol.Optional(CONF_LEVEL_PAYLOAD): _TEMPLATE,
        vol.Required(CONF_LEVEL_MAX, default=100): NumberSelector(
            NumberSelectorConfig(min=1, max=_MOST, mode=NumberSelectorMode.BOX)
        ),
        vol.Optional(CONF_LEVEL_TEMPLATE): _TEMPLATE,
    }
    return vol.Schema(
        {
            vol.Required(CONF_NAME): _TEXT,
            vol.Optional(CONF_ALIASES): TextSelector(TextSelectorConfig(multiple=True)),
            vol.Optional(CONF_AREA): AreaSelector(),
            vol.Required(CONF_COMMAND_TOPIC): _TEXT,
            vol.Optional(CONF_COMMAND_PAYLOAD): _TEMPLATE,
            vol.Optional(CONF_STATE_TOPIC): _TEXT,
            vol.Optional(CONF_STATE_TEMPLATE): _TEMPLATE,
            **(level if kind != SWITCH else {}),
            **(
                {vol.Required(CONF_DEVICE_CLASS, default=COVERS[1]): _CLASS}
                if kind == COVER
                else {}
            ),
            vol.Required(CONF_RETAIN, default=False): BooleanSelector(),
        }
    )


class RouteFlow(ConfigSubentryFlow):
    """Asks what a device is called and which topics it obeys."""

    _kind: str
    _suggested: dict[str, Any]

    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Ask for the kind of device and the convention that it follows."""
        if (reason := self._unready()) is not None:
            return self.async_abort(reason=reason)
        errors: dict[str, str] = {}
        if user_input is not None:
            device = user_input[CONF_DEVICE_TOPIC].strip().strip("/")
            if _valid_publish(device):
                self._kind = user_input[CONF_KIND]
                self._suggested = preset(user_input[CONF_PRESET], self._kind, device)
                return await self.async_step_device()
            errors[CONF_DEVICE_TOPIC] = "invalid_topic"
        return self.async_show_form(
            step_id="user",
            data_schema=self.add_suggested_values_to_schema(_FIRST, user_input),
            errors=errors,
        )

    async def async_step_device(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Ask for name and topics, and add it."""
        errors: dict[str, str] = {}
        if user_input is not None:
            data, errors = self._check(user_input)
            if not errors:
                title = data.pop(CONF_NAME)
                return self.async_create_entry(title=title, data=data)
        return self._form("device", user_input or self._suggested, errors)

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Ask what is to be different."""
        if (reason := self._unready()) is not None:
            return self.async_abort(reason=reason)
        subentry = self._get_reconfigure_subentry()
        self._kind = subentry.data[CONF_KIND]
        errors: dict[str, str] = {}
        if user_input is not None:
            data, errors = self._check(user_input)
            if not errors:
                self._rename(subentry.subentry_id, data)
                return self.async_update_and_abort(
                    self._get_entry(), subentry, title=data.pop(CONF_NAME), data=data
                )
        current = {**subentry.data, CONF_NAME: subentry.title}
        device = dr.async_get(self.hass).async_get_device_by_identifier(
            (DOMAIN, subentry.subentry_id), self._get_entry().entry_id
        )
        if device is not None:
            current[CONF_AREA] = device.area_id
        return self._form("reconfigure", user_input or current, errors)

    def _unready(self) -> str | None:
        if self._get_entry().state is not ConfigEntryState.LOADED:
            return "entry_not_loaded"
        return None if mqtt.DATA_MQTT in self.hass.data else "mqtt_missing"

    def _form(
        self, step_id: str, suggested: dict[str, Any], errors: dict[str, str]
    ) -> SubentryFlowResult:
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(
                _schema(self._kind), suggested
            ),
            errors=errors,
        )

    def _check(
        self, user_input: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return what is to be kept, and what is wrong by field."""
        data = {
            CONF_KIND: self._kind,
            CONF_LEVEL_MAX: 100,
            CONF_COMMAND_PAYLOAD: "",
            CONF_LEVEL_PAYLOAD: "",
            **user_input,
        }
        data[CONF_NAME] = data[CONF_NAME].strip()
        data[CONF_LEVEL_MAX] = int(data[CONF_LEVEL_MAX])
        aliases = (alias.strip() for alias in data.get(CONF_ALIASES, ()))
        data[CONF_ALIASES] = [alias for alias in dict.fromkeys(aliases) if alias]
        errors = {} if data[CONF_NAME] else {CONF_NAME: "name_missing"}
        # The other templates are checked by their fields.
        for field in (CONF_COMMAND_TOPIC, CONF_LEVEL_TOPIC):
            if not self._valid_template(data.get(field, "")):
                errors[field] = "invalid_template"
        base = self._get_entry().options.get(CONF_BASE_TOPIC, DEFAULT_BASE_TOPIC)
        for field in (CONF_COMMAND_TOPIC, CONF_LEVEL_TOPIC, CONF_STATE_TOPIC):
            if field in errors or not (topic := data.get(field, "")):
                continue
            valid = _valid_subscribe if field == CONF_STATE_TOPIC else _valid_publish
            if not valid(topic):
                errors[field] = "invalid_topic"
            elif topic == base or topic.startswith(f"{base}/"):
                errors[field] = "own_topic"
        reads = data.get(CONF_STATE_TEMPLATE) or data.get(CONF_LEVEL_TEMPLATE)
        if data.get(CONF_STATE_TOPIC) and not reads:
            errors.setdefault(CONF_STATE_TEMPLATE, "template_missing")
        return data, errors

    def _valid_template(self, text: str) -> bool:
        try:
            Template(text, self.hass).ensure_valid()
        except TemplateError:
            return False
        return True

    def _rename(self, subentry_id: str, data: dict[str, Any]) -> None:
        """Take a changed area and changed aliases into the registries."""
        devices = dr.async_get(self.hass)
        device = devices.async_get_device_by_identifier(
            (DOMAIN, subentry_id), self._get_entry().entry_id
        )
        if device is None:
            return
        devices.async_update_device(device.id, area_id=data.get(CONF_AREA))
        entities = er.async_get(self.hass)
        for entity in er.async_entries_for_device(entities, device.id):
            entities.async_update_entity(
                entity.entity_id, aliases=names(data[CONF_ALIASES])
            )


def _valid_publish(topic: str) -> bool:
    """Tell whether messages can be sent there; of a template only its text counts."""
    return _valid(mqtt.util.valid_publish_topic, topic)


def _valid_subscribe(topic: str) -> bool:
    return _valid(mqtt.util.valid_subscribe_topic, topic)


def _valid(check: Any, topic: str) -> bool:
    try:
        check(topic)
    except vol.Invalid, HomeAssistantError:
        return False
    return True
