# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
from __future__ import annotations

from uvicorn.protocols.http.h11_impl import H11Protocol


class TimedProtocol(H11Protocol):
    """Uvicorn's HTTP that closes connections on which no whole request head arrives in time.

    Uvicorn itself waits for the first request of a connection without end.
    """

    timeout = 10.0  # seconds

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self.loop.call_later(self.timeout, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()
