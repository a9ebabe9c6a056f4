"""Adding a model server, keeping its token and address right, and its options."""

from collections.abc import Mapping
from typing import Any, override

from homeassistant.components import mqtt
from homeassistant.config_entries import (
    ConfigEntry,
    ConfigFlow,
    ConfigFlowResult,
    ConfigSubentryFlow,
    OptionsFlow,
)
from homeassistant.const import (
    CONF_HOST,
    CONF_PORT,
    CONF_SSL,
    CONF_TOKEN,
    CONF_VERIFY_SSL,
)
from homeassistant.core import callback
from homeassistant.helpers.selector import (
    BooleanSelector,
    EntitySelector,
    EntitySelectorConfig,
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)
from homeassistant.helpers.service_info.zeroconf import ZeroconfServiceInfo
import voluptuous as vol

from .client import (
    CannotConnect,
    ConnectTimeout,
    EarshotError,
    Info,
    InvalidAuth,
    NotEarshot,
    ProtocolMismatch,
    TlsFailed,
)
from .confirm import usable_code
from .const import (
    CONF_ALARM_PANEL,
    CONF_BASE_TOPIC,
    CONF_CODE_WORDS,
    CONF_MEDIA,
    CONF_PUBLISH_LEVEL,
    CONF_PUBLISH_PARTIALS,
    CONF_TTS,
    CONF_UNASKED,
    DEFAULT_BASE_TOPIC,
    DEFAULT_PORT,
    DEFAULT_UNASKED,
    DOMAIN,
    SUBENTRY_MICROPHONE,
    SUBENTRY_ROUTE,
)
from .coordinator import async_create_client
from .microphone_flow import MicrophoneFlow
from .route_flow import RouteFlow

SECRET = TextSelector(
    TextSelectorConfig(type=TextSelectorType.PASSWORD, autocomplete="off")
)

SERVER_SCHEMA = vol.Schema(
    {
        vol.Required(CONF_HOST): TextSelector(),
        vol.Required(CONF_PORT, default=DEFAULT_PORT): vol.All(
            NumberSelector(
                NumberSelectorConfig(min=1, max=65535, mode=NumberSelectorMode.BOX)
            ),
            vol.Coerce(int),
        ),
        vol.Required(CONF_TOKEN): SECRET,
        vol.Required(CONF_SSL, default=False): BooleanSelector(),
        vol.Required(CONF_VERIFY_SSL, default=True): BooleanSelector(),
    }
)

TOKEN_SCHEMA = vol.Schema({vol.Required(CONF_TOKEN): SECRET})

DISCOVERED_SCHEMA = vol.Schema(
    {
        vol.Required(CONF_TOKEN): SECRET,
        vol.Required(CONF_VERIFY_SSL, default=True): BooleanSelector(),
    }
)

OPTIONS_SCHEMA = vol.Schema(
    {
        vol.Required(CONF_BASE_TOPIC, default=DEFAULT_BASE_TOPIC): TextSelector(),
        vol.Required(CONF_PUBLISH_LEVEL, default=False): BooleanSelector(),
        vol.Required(CONF_PUBLISH_PARTIALS, default=False): BooleanSelector(),
        vol.Optional(CONF_ALARM_PANEL): EntitySelector(
            EntitySelectorConfig(domain="alarm_control_panel")
        ),
        vol.Optional(CONF_CODE_WORDS): SECRET,
        vol.Optional(CONF_MEDIA): TextSelector(TextSelectorConfig(multiple=True)),
        vol.Optional(CONF_TTS): EntitySelector(EntitySelectorConfig(domain="tts")),
        vol.Required(CONF_UNASKED, default=DEFAULT_UNASKED): vol.All(
            NumberSelector(
                NumberSelectorConfig(min=0, max=100, mode=NumberSelectorMode.BOX)
            ),
            vol.Coerce(int),
        ),
    }
)

ERRORS: tuple[tuple[type[EarshotError], str], ...] = (
    (InvalidAuth, "invalid_auth"),
    (ConnectTimeout, "timeout_connect"),
    (TlsFailed, "tls_failed"),
    (ProtocolMismatch, "protocol_mismatch"),
    (NotEarshot, "not_earshot"),
    (CannotConnect, "cannot_connect"),
    (EarshotError, "unknown"),
)
"""The message for each error; the first that fits."""


class EarshotConfigFlow(ConfigFlow, domain=DOMAIN):
    """Connects Home Assistant with a model server."""

    _discovered: dict[str, Any]
    _placeholders: dict[str, str]

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: ConfigEntry) -> OptionsFlow:
        """Return the options flow."""
        return EarshotOptionsFlow()

    @classmethod
    @callback
    @override
    def async_get_supported_subentry_types(
        cls, config_entry: ConfigEntry
    ) -> dict[str, type[ConfigSubentryFlow]]:
        """Return what can be added to a server."""
        return {SUBENTRY_MICROPHONE: MicrophoneFlow, SUBENTRY_ROUTE: RouteFlow}

    @override
    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask where the server is."""
        errors: dict[str, str] = {}
        if user_input is not None:
            info = await self._async_try(user_input, errors)
            if info is not None:
                await self.async_set_unique_id(info.id)
                self._abort_if_unique_id_configured()
                return self._async_create(user_input)
        return self.async_show_form(
            step_id="user",
            data_schema=self.add_suggested_values_to_schema(SERVER_SCHEMA, user_input),
            errors=errors,
            description_placeholders=self._hints(),
        )

    @override
    async def async_step_zeroconf(
        self, discovery_info: ZeroconfServiceInfo
    ) -> ConfigFlowResult:
        """Take a server that announced itself."""
        properties = discovery_info.properties
        if not (server_id := properties.get("id")):
            return self.async_abort(reason="not_earshot")
        place = {CONF_HOST: discovery_info.host, CONF_PORT: discovery_info.port}
        await self.async_set_unique_id(server_id)
        self._abort_if_unique_id_configured(updates=place)
        self._discovered = place | {CONF_SSL: properties.get("tls") == "1"}
        self.context["title_placeholders"] = {"host": discovery_info.host}
        return await self.async_step_zeroconf_confirm()

    async def async_step_zeroconf_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the token of a discovered server."""
        errors: dict[str, str] = {}
        if user_input is not None:
            data = self._discovered | user_input
            info = await self._async_try(data, errors)
            if info is not None:
                if info.id != self.unique_id:
                    return self.async_abort(reason="another_server")
                return self._async_create(data)
        return self.async_show_form(
            step_id="zeroconf_confirm",
            data_schema=DISCOVERED_SCHEMA,
            errors=errors,
            description_placeholders=self._hints()
            | {
                "host": self._discovered[CONF_HOST],
                "port": str(self._discovered[CONF_PORT]),
            },
        )

    async def async_step_reauth(
        self, entry_data: Mapping[str, Any]
    ) -> ConfigFlowResult:
        """Begin to ask for another token."""
        return await self.async_step_reauth_confirm()

    async def async_step_reauth_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the token that the server takes now."""
        return await self._async_change(
            "reauth_confirm", self._get_reauth_entry(), TOKEN_SCHEMA, user_input
        )

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask where the server is now."""
        return await self._async_change(
            "reconfigure", self._get_reconfigure_entry(), SERVER_SCHEMA, user_input
        )

    async def _async_change(
        self,
        step_id: str,
        entry: ConfigEntry,
        schema: vol.Schema,
        user_input: dict[str, Any] | None,
    ) -> ConfigFlowResult:
        """Change an entry's data once the same server answers with it."""
        errors: dict[str, str] = {}
        if user_input is not None:
            info = await self._async_try({**entry.data, **user_input}, errors)
            if info is not None:
                await self.async_set_unique_id(info.id)
                self._abort_if_unique_id_mismatch(reason="another_server")
                # The entry's update listener reloads it.
                return self.async_update_and_abort(entry, data_updates=user_input)
        suggested = user_input or {
            key: value for key, value in entry.data.items() if key != CONF_TOKEN
        }
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(schema, suggested),
            errors=errors,
            description_placeholders=self._hints() | {"server": entry.title},
        )

    async def _async_try(
        self, data: Mapping[str, Any], errors: dict[str, str]
    ) -> Info | None:
        """Ask the server; add an error and return None if that fails."""
        self._placeholders = {}
        try:
            return await async_create_client(self.hass, data).info()
        except EarshotError as err:
            if isinstance(err, ProtocolMismatch):
                self._placeholders = {"theirs": str(err.theirs), "ours": str(err.ours)}
            errors["base"] = next(key for kind, key in ERRORS if isinstance(err, kind))
        except ValueError:
            # A host that no address can be made of.
            errors[CONF_HOST] = "invalid_host"
        return None

    def _hints(self) -> dict[str, str]:
        """Return what the descriptions and error messages mention."""
        return {
            "command": "python -m model_server token show",
            "theirs": "",
            "ours": "",
        } | getattr(self, "_placeholders", {})

    def _async_create(self, data: Mapping[str, Any]) -> ConfigFlowResult:
        """Create the entry."""
        return self.async_create_entry(title=data[CONF_HOST], data=dict(data))


class EarshotOptionsFlow(OptionsFlow):
    """Changes what is published, where, and what the profile follows."""

    async def async_step_init(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the options."""
        errors: dict[str, str] = {}
        if user_input is not None:
            base = user_input[CONF_BASE_TOPIC].strip().strip("/")
            try:
                mqtt.valid_publish_topic(base)
            except vol.Invalid:
                errors[CONF_BASE_TOPIC] = "invalid_topic"
            code = user_input.pop(CONF_CODE_WORDS, "").strip()
            if code and not usable_code(code):
                errors[CONF_CODE_WORDS] = "invalid_code_words"
            if code:
                user_input[CONF_CODE_WORDS] = code
            if not errors:
                return self.async_create_entry(
                    data=user_input | {CONF_BASE_TOPIC: base}
                )
        return self.async_show_form(
            step_id="init",
            data_schema=self.add_suggested_values_to_schema(
                OPTIONS_SCHEMA, user_input or self.config_entry.options
            ),
            errors=errors,
        )
