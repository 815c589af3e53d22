# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import socket
import threading
import time
from contextlib import contextmanager

import pytest


@pytest.fixture
def serve():
    """Return a context manager that serves models and gives the port."""
    uvicorn = pytest.importorskip("uvicorn")
    from sgpose.page.app import make_app

    @contextmanager
    def run(models, limits=None, detector=None, **options):
        app = make_app(models, limits, detector)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", **options))
        listening = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs=dict(sockets=[listening]), daemon=True)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(timeout=10)

    return run
