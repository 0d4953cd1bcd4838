"""A visitor without a browser: Streamlit's own protocol over a WebSocket, so that many fit on a small machine."""

from __future__ import annotations

import asyncio
import random
from types import TracebackType
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect

PATIENCE_S = 300.0
_RERUN = ForwardMsg.ScriptFinishedStatus.FINISHED_EARLY_FOR_RERUN


class Visitor:
    """One tab. `sliders` are those of the page as it was sent last, by label; `errors` what any script run has shown as an exception."""

    def __init__(self, port: int, page: str, query: str) -> None:
        self._url, self._origin = f"ws://localhost:{port}/_stcore/stream", f"http://localhost:{port}"
        self._page, self._query = page, query
        self._values: dict[str, float] = {}
        self.sliders: dict[str, Any] = {}
        self.errors: list[str] = []

    async def __aenter__(self) -> Visitor:
        self.socket: ClientConnection = await connect(
            self._url, subprotocols=["streamlit", "PLACEHOLDER_AUTH_TOKEN"], origin=self._origin, max_size=None,
            open_timeout=PATIENCE_S, ping_timeout=PATIENCE_S,
        )  # type: ignore[arg-type, list-item]  # fmt: skip
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # As a tab that is closed: nobody says goodbye.
        self.socket.transport.abort()

    def go(self, page: str, query: str) -> None:
        """Another page of the same tab, or the same with another address: the next run is of it, as after a click on a link."""
        self._page, self._query = page, query
        self._values, self.sliders = {}, {}

    async def ask(self) -> None:
        """Ask for a run of the page's script, with what the sliders are at, without waiting for it."""
        message = BackMsg()
        message.rerun_script.page_name, message.rerun_script.query_string = self._page, self._query
        for name, value in self._values.items():
            message.rerun_script.widget_states.widgets.append(
                WidgetState(id=name, double_array_value={"data": [value]})
            )
        await self.socket.send(message.SerializeToString())

    async def run(self) -> float:
        """Seconds of a run, until the last of the page has come."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self.ask()
        while True:
            message = ForwardMsg()
            message.ParseFromString(await asyncio.wait_for(self.socket.recv(decode=False), PATIENCE_S))
            kind = message.WhichOneof("type")
            if kind == "delta" and message.delta.WhichOneof("type") == "new_element":
                self._see(message.delta.new_element)
            if kind == "script_finished" and message.script_finished != _RERUN:
                return loop.time() - began

    def _see(self, element: Any) -> None:
        kind = element.WhichOneof("type")
        if kind == "slider":
            self.sliders[element.slider.label] = element.slider
        elif kind == "exception":
            self.errors.append(element.exception.message)

    async def load(self) -> float:
        """Seconds until the whole page has come: the first run of Explore is of the chart alone."""
        return await self.run() + (await self.run() if self._page == "explore" else 0.0)

    async def change_a_limit(self, draw: random.Random) -> float:
        """Move any slider somewhere; seconds until the page has followed."""
        slider = self.sliders[draw.choice(sorted(self.sliders))]
        steps = round((slider.max - slider.min) / (slider.step or 1))
        self._values[slider.id] = slider.min + draw.randint(0, max(1, steps)) * (slider.step or 1)
        return await self.run()
