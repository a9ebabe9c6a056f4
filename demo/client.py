"""A client of Home Assistant's REST and WebSocket interfaces, as its own frontend uses them."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Self

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Json = dict[str, Any]
_ANSWER_S = 30.0


class HomeError(RuntimeError):
    """Home Assistant refused something; the message has its answer."""


class HomeClient:
    """One signed-in connection. Events go to the listener of their subscription."""

    def __init__(self, url: str) -> None:
        """Prepare for the Home Assistant at url."""
        self.url = url
        self.token = ""
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Json]] = {}
        self._listeners: dict[int, Callable[[Json], None]] = {}

    async def __aenter__(self) -> Self:
        """Open the HTTP session."""
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close everything."""
        await self.disconnect()
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        json: object = None,
        *,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> Any:
        """Send one request and return its JSON. Raises HomeError unless it answers 2xx."""
        if self._session is None:
            raise HomeError("the client is not open")
        send = dict(headers or {})
        if self.token:
            send["Authorization"] = f"Bearer {self.token}"
        async with self._session.request(
            method, self.url + path, json=json, data=form or data, headers=send
        ) as response:
            if response.status >= 300:
                text = (await response.text())[:500]
                raise HomeError(f"{method} {path} answered {response.status}: {text}")
            return await response.json()

    async def sign_up(self, user: str, password: str) -> None:
        """Create the owner, as the onboarding page does, and keep a long-lived token."""
        client_id = f"{self.url}/"
        created = await self.request(
            "POST",
            "/api/onboarding/users",
            {
                "name": "Demo",
                "username": user,
                "password": password,
                "client_id": client_id,
                "language": "en",
            },
        )
        tokens = await self.request(
            "POST",
            "/auth/token",
            form={
                "grant_type": "authorization_code",
                "code": created["auth_code"],
                "client_id": client_id,
            },
        )
        self.token = tokens["access_token"]
        await self.connect()
        self.token = await self.call(
            "auth/long_lived_access_token", client_name="demo", lifespan=1
        )

    async def connect(self) -> None:
        """Open the WebSocket, again if need be; subscriptions have to be made anew."""
        await self.disconnect()
        if self._session is None:
            raise HomeError("the client is not open")
        socket = await self._session.ws_connect(
            f"{self.url}/api/websocket", max_msg_size=0
        )
        await socket.receive_json()
        await socket.send_json({"type": "auth", "access_token": self.token})
        answer = await socket.receive_json()
        if answer["type"] != "auth_ok":
            raise HomeError(f"Home Assistant did not sign in: {answer.get('message')}")
        self._socket = socket
        self._reader = asyncio.create_task(self._read(socket))

    async def disconnect(self) -> None:
        """Close the WebSocket, if there is one."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
            self._reader = None
        if self._socket is not None:
            await self._socket.close()
            self._socket = None
        self._listeners.clear()

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        try:
            async for message in socket:
                content = message.json()
                number = content.get("id", 0)
                if content["type"] == "event" and number in self._listeners:
                    self._listeners[number](content["event"])
                elif content["type"] == "result" and number in self._answers:
                    self._answers.pop(number).set_result(content)
        finally:
            for answer in self._answers.values():
                answer.cancel()
            self._answers.clear()

    async def call(self, command: str, **fields: Any) -> Any:
        """Run one WebSocket command and return its result. Raises HomeError."""
        _, result = await self._call(command, None, fields)
        return result

    async def subscribe(
        self, command: str, listener: Callable[[Json], None], **fields: Any
    ) -> None:
        """Run a command whose events go to listener from then on. Raises HomeError."""
        await self._call(command, listener, fields)

    async def _call(
        self, command: str, listener: Callable[[Json], None] | None, fields: Json
    ) -> tuple[int, Any]:
        if self._socket is None:
            raise HomeError("not connected to Home Assistant's WebSocket")
        number = next(self._ids)
        future: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._answers[number] = future
        if listener is not None:
            self._listeners[number] = listener
        await self._socket.send_json({"id": number, "type": command, **fields})
        async with asyncio.timeout(_ANSWER_S):
            answer = await future
        if not answer["success"]:
            raise HomeError(f"{command}: {answer['error']['message']}")
        return number, answer["result"]

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary frame, as an Assist pipeline's audio travels."""
        if self._socket is None:
            raise HomeError("not connected to Home Assistant's WebSocket")
        await self._socket.send_bytes(data)

    async def states(self) -> dict[str, Json]:
        """Return every entity's state object by entity id."""
        return {
            state["entity_id"]: state
            for state in await self.request("GET", "/api/states")
        }

    async def service(self, domain: str, service: str, **data: Any) -> None:
        """Call a service and wait until it has run."""
        await self.request("POST", f"/api/services/{domain}/{service}", data)
