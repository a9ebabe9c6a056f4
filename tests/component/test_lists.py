"""To-do lists are filled, read and emptied by voice, and by nobody outdoors."""

from dataclasses import replace

from homeassistant.components.homeassistant.exposed_entities import async_expose_entity
from homeassistant.components.todo import (
    TodoItem,
    TodoListEntity,
    TodoListEntityFeature,
)
from homeassistant.components.todo.const import DATA_COMPONENT
from homeassistant.core import HomeAssistant
from homeassistant.helpers import intent
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.earshot.commands import async_run_command
from custom_components.earshot.outcome import CommandOutcome
from custom_components.earshot.read_list import READ_LIST, ReadList, open_items
from custom_components.earshot.rights import UNTRUSTED, Rights
from custom_components.earshot.vocabulary import async_build

from .house import Calls, said

SHOPPING = "todo.shopping_list"


class KeptList(TodoListEntity):
    """A to-do list as any integration has one."""

    _attr_supported_features = (
        TodoListEntityFeature.CREATE_TODO_ITEM
        | TodoListEntityFeature.UPDATE_TODO_ITEM
        | TodoListEntityFeature.DELETE_TODO_ITEM
    )

    def __init__(self, name: str) -> None:
        """Begin with nothing on it."""
        self._attr_name = name
        self._attr_todo_items = []

    @property
    def _items(self) -> list[TodoItem]:
        return self._attr_todo_items or []

    async def async_create_todo_item(self, item: TodoItem) -> None:
        self._attr_todo_items = [*self._items, replace(item, uid=item.summary)]

    async def async_update_todo_item(self, item: TodoItem) -> None:
        self._attr_todo_items = [
            item if item.uid == one.uid else one for one in self._items
        ]

    async def async_delete_todo_items(self, uids: list[str]) -> None:
        self._attr_todo_items = [one for one in self._items if one.uid not in uids]


@pytest.fixture
async def lists(hass: HomeAssistant, calls: Calls) -> None:
    """A home with a shopping list and a list of chores."""
    intent.async_register(hass, ReadList())
    assert await async_setup_component(hass, "todo", {})
    await hass.data[DATA_COMPONENT].async_add_entities(
        [KeptList("Shopping List"), KeptList("Chores")]
    )
    await hass.async_block_till_done()
    for item in (SHOPPING, "todo.chores"):
        async_expose_entity(hass, "conversation", item, True)


async def obey(
    hass: HomeAssistant, text: str, rights: Rights | None = None
) -> CommandOutcome:
    outcome = await async_run_command(hass, said(text), None, rights)
    await hass.async_block_till_done()
    return outcome


@pytest.mark.usefixtures("lists")
@pytest.mark.parametrize(
    "text", ["add milk to my shopping list", "put milk on the shopping list"]
)
async def test_an_item_is_added_and_the_server_may_hear_it(
    hass: HomeAssistant, text: str
) -> None:
    outcome = await obey(hass, text)
    assert outcome.refused is None, outcome
    assert outcome.slots["item"] == "milk"
    assert open_items(hass, SHOPPING) == ["Milk"]
    assert open_items(hass, "todo.chores") == []
    assert async_build(hass, "en").items == ("Milk",)


@pytest.mark.usefixtures("lists")
@pytest.mark.parametrize(
    "text", ["remove milk from my shopping list", "check off milk on my shopping list"]
)
async def test_an_item_is_taken_off_again(hass: HomeAssistant, text: str) -> None:
    await obey(hass, "add milk to my shopping list")
    await obey(hass, "add bread to my shopping list")
    outcome = await obey(hass, text)
    assert outcome.refused is None, outcome
    assert open_items(hass, SHOPPING) == ["Bread"]


@pytest.mark.usefixtures("lists")
@pytest.mark.parametrize(
    "text",
    [
        "what is on my shopping list",
        "what's on the Shopping List",
        "read my shopping list",
    ],
)
async def test_a_list_is_read(hass: HomeAssistant, text: str) -> None:
    outcome = await obey(hass, text)
    assert outcome.intent == READ_LIST
    assert outcome.response == "Nothing is on Shopping List."
    for item in ("milk", "bread", "eggs"):
        await obey(hass, f"add {item} to my shopping list")
    outcome = await obey(hass, text)
    assert outcome.response == "On Shopping List: Milk, Bread and Eggs."
    assert (outcome.targets, outcome.source) == ([SHOPPING], "sentence")


@pytest.mark.usefixtures("lists")
@pytest.mark.parametrize(
    "text", ["what is on my shopping list", "add milk to my shopping list"]
)
async def test_nobody_outdoors_learns_or_changes_a_list(
    hass: HomeAssistant, text: str
) -> None:
    outcome = await obey(hass, text, Rights(outdoor=True))
    assert (outcome.refused, outcome.response) == (UNTRUSTED, "")
    assert open_items(hass, SHOPPING) == []


@pytest.mark.usefixtures("lists")
async def test_a_list_that_is_not_exposed_is_not_read(hass: HomeAssistant) -> None:
    async_expose_entity(hass, "conversation", "todo.chores", False)
    outcome = await obey(hass, "what is on my chores list")
    assert (outcome.intent, outcome.response) == (None, "")


async def test_home_assistants_own_shopping_list_is_filled_and_read(
    hass: HomeAssistant, calls: Calls
) -> None:
    intent.async_register(hass, ReadList())
    entry = MockConfigEntry(domain="shopping_list", title="Shopping list")
    entry.add_to_hass(hass)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    async_expose_entity(hass, "conversation", SHOPPING, True)
    assert (await obey(hass, "add milk to my shopping list")).refused is None
    assert (await obey(hass, "what is on my shopping list")).response.endswith("ilk.")
