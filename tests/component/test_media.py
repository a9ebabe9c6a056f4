"""Music by voice, on a real media player entity that only remembers what it did."""

from typing import Any, override

from homeassistant.components.homeassistant.exposed_entities import async_expose_entity
from homeassistant.components.media_player import (
    BrowseMedia,
    MediaClass,
    MediaPlayerEntity,
    MediaPlayerEntityFeature as Feature,
    MediaPlayerState,
    MediaType,
    SearchMedia,
    SearchMediaQuery,
)
from homeassistant.core import HomeAssistant
from homeassistant.helpers import area_registry as ar, entity_registry as er
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockPlatform, mock_platform

from custom_components.earshot.client import Intent
from custom_components.earshot.commands import async_run_command

from .house import device_in, said


class Player(MediaPlayerEntity):
    """A player that plays."""

    _attr_name = "Kitchen Speaker"
    _attr_unique_id = "speaker"
    _attr_state = MediaPlayerState.PLAYING
    _attr_volume_level = 0.5
    _attr_should_poll = False
    _attr_supported_features = (
        Feature.PLAY
        | Feature.PAUSE
        | Feature.NEXT_TRACK
        | Feature.PREVIOUS_TRACK
        | Feature.VOLUME_SET
        | Feature.VOLUME_MUTE
        | Feature.PLAY_MEDIA
        | Feature.SEARCH_MEDIA
    )

    def __init__(self) -> None:
        """Have done nothing."""
        self.did: list[Any] = []

    @override
    async def async_media_pause(self) -> None:
        self.did.append("pause")
        self._attr_state = MediaPlayerState.PAUSED

    @override
    async def async_media_play(self) -> None:
        self.did.append("play")
        self._attr_state = MediaPlayerState.PLAYING

    @override
    async def async_media_next_track(self) -> None:
        self.did.append("next")

    @override
    async def async_media_previous_track(self) -> None:
        self.did.append("previous")

    @override
    async def async_set_volume_level(self, volume: float) -> None:
        self._attr_volume_level = volume
        self.did.append(("volume", round(volume, 2)))

    @override
    async def async_mute_volume(self, mute: bool) -> None:
        self.did.append(("mute", mute))

    @override
    async def async_search_media(self, query: SearchMediaQuery) -> SearchMedia:
        found = BrowseMedia(
            media_class=MediaClass.MUSIC,
            media_content_id=f"song:{query.search_query.casefold()}",
            media_content_type=MediaType.MUSIC,
            title=query.search_query,
            can_play=True,
            can_expand=False,
        )
        return SearchMedia(result=[found])

    @override
    async def async_play_media(
        self, media_type: str, media_id: str, **kwargs: Any
    ) -> None:
        self.did.append(media_id)


@pytest.fixture
async def player(hass: HomeAssistant, house: None) -> Player:
    """The speaker of the kitchen, exposed."""
    player = Player()

    async def add(hass: HomeAssistant, config: Any, add: Any, _: Any = None) -> None:
        add([player])

    mock_platform(
        hass, "test.media_player", MockPlatform(async_setup_platform=add), True
    )
    config = {"media_player": [{"platform": "test"}]}
    assert await async_setup_component(hass, "media_player", config)
    await hass.async_block_till_done()
    area = ar.async_get(hass).async_get_or_create("Kitchen")
    er.async_get(hass).async_update_entity(player.entity_id, area_id=area.id)
    async_expose_entity(hass, "conversation", player.entity_id, True)
    return player


@pytest.mark.parametrize(
    ("text", "did"),
    [
        ("pause the music", ["pause"]),
        ("next song", ["next"]),
        ("previous track", ["previous"]),
        ("set the volume to 40 percent", [("volume", 0.4)]),
        ("set the kitchen speaker volume to 20 percent", [("volume", 0.2)]),
        ("turn it down", [("volume", 0.4)]),
        ("mute kitchen speaker", [("mute", True)]),
        ("play jazz radio on the kitchen speaker", ["song:jazz radio"]),
        ("play jazz radio in the kitchen", ["song:jazz radio"]),
    ],
)
async def test_music_is_obeyed(
    hass: HomeAssistant, player: Player, text: str, did: list[Any]
) -> None:
    outcome = await async_run_command(hass, said(text), device_in(hass, "Kitchen"))
    assert (outcome.refused, player.did) == (None, did)
    assert outcome.source == "sentence"


async def test_music_goes_on_after_a_pause(hass: HomeAssistant, player: Player) -> None:
    for text in ("pause the music", "resume the music"):
        await async_run_command(hass, said(text), device_in(hass, "Kitchen"))
    assert player.did == ["pause", "play"]


async def test_music_that_a_model_understood_is_played(
    hass: HomeAssistant, player: Player
) -> None:
    meant = Intent(
        "HassMediaSearchAndPlay", {"search_query": "Abba", "name": "kitchen speaker"}
    )
    outcome = await async_run_command(hass, said("abba now", meant), None)
    assert (outcome.refused, player.did) == (None, ["song:abba"])
