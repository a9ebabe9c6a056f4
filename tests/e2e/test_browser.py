"""A person adds Earshot in Home Assistant's own pages, with a browser and a mouse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
import shutil

from playwright.async_api import Browser, Page, async_playwright, expect
import pytest
import pytest_asyncio

from demo import audio
from demo.house import House

_WAIT_MS = 30_000
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# The browser, too, keeps to this machine.
_FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--no-pings",
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The system's Chromium, without a screen."""
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    assert found, "there is no Chromium: run scripts/setup --browser"
    async with async_playwright() as playwright:
        # Without its sandbox, because tests run as root in containers.
        started = await playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", *_FLAGS]
        )
        yield started
        await started.close()


@pytest.fixture
def pictures(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where to save pictures."""
    folder = Path(request.config.getoption("--screenshots") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def test_a_person_adds_earshot_and_a_microphone_and_sees_a_smoke_alarm(
    deaf_house: House, browser: Browser, pictures: Path
) -> None:
    house = deaf_house
    page = await browser.new_page(viewport={"width": 1280, "height": 860})
    page.set_default_timeout(_WAIT_MS)
    await _log_in(page, house)
    await _add_integration(page, house, pictures)
    await _add_microphone(page, house, pictures)
    await page.screenshot(path=pictures / "integration.png")

    await page.get_by_text("Microphone • ").click()
    await page.get_by_text("Smoke alarm").first.wait_for()
    for name in ("Carbon monoxide alarm", "Glass breaking", "Baby crying", "Listening"):
        assert await page.get_by_text(name).count(), name
    await expect(page.get_by_text("Unavailable")).to_have_count(0, timeout=_WAIT_MS)

    house.air.play(audio.smoke_alarm(40.0))
    await page.get_by_text("Detected", exact=True).first.wait_for()
    await page.screenshot(path=pictures / "microphone.png")
    house.air.hush()


async def _log_in(page: Page, house: House) -> None:
    await page.goto(house.stack.url, wait_until="domcontentloaded")
    await page.locator("input[name=username]").fill(house.owner.user)
    await page.locator("input[name=password]").fill(house.owner.password)
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_selector("home-assistant-main")


async def _add_integration(page: Page, house: House, pictures: Path) -> None:
    """Go through the dialog, first with a wrong token."""
    await page.goto(
        f"{house.stack.url}/config/integrations/dashboard",
        wait_until="domcontentloaded",
    )
    await page.get_by_text("Add integration").first.click()
    await page.get_by_placeholder("Search for a brand name").fill("Earshot")
    await page.get_by_text("Earshot", exact=True).first.click()
    dialog = page.locator("dialog-data-entry-flow")
    await dialog.get_by_text("Connect to a model server").wait_for()
    await dialog.locator("input[name=host]").fill("127.0.0.1")
    await dialog.locator("input[type=number]").fill(str(house.stack.server_port))
    await dialog.locator("input[name=token]").fill("not the token")
    await dialog.get_by_role("button", name="Submit").click()
    await dialog.get_by_text("The model server refuses this token").wait_for()

    await dialog.locator("input[name=token]").fill(await house.stack.token())
    await dialog.get_by_role("button", name="Submit").click()
    await dialog.get_by_role("button", name="Skip and finish").click()
    await dialog.get_by_role("button", name="Skip and finish").wait_for(state="hidden")


async def _add_microphone(page: Page, house: House, pictures: Path) -> None:
    await page.goto(
        f"{house.stack.url}/config/integrations/integration/earshot",
        wait_until="domcontentloaded",
    )
    await page.get_by_text("Add microphone").first.click()
    dialog = page.locator("dialog-data-entry-flow")
    await dialog.get_by_text("An address").click()
    await dialog.locator("input[name=name]").fill("Kitchen")
    await dialog.locator("input[name=url]").fill(house.url)
    # The dialog glides in; a picture on the way would be of half a dialog.
    await page.wait_for_timeout(500)
    await page.screenshot(path=pictures / "add-microphone.png")
    await dialog.get_by_role("button", name="Submit").click()
    await dialog.get_by_text("Created configuration for Kitchen").wait_for()
    await dialog.get_by_role("button", name="Finish").click()
    await dialog.get_by_role("button", name="Finish").wait_for(state="hidden")
    await page.mouse.move(0, 0)
