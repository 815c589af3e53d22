# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Draw the page as it looks with its example: docs/images/page.png, and for a telephone.

Needs playwright and Debian's chromium-headless-shell.
"""

import argparse
import shutil
import socket
import threading
from pathlib import Path

import uvicorn
from playwright.sync_api import sync_playwright

from sgpose.page.app import make_app
from sgpose.page.models import load_model, shipped_models

ROOT = Path(__file__).resolve().parents[1]
BOX = "280, 44, 500, 380"  # around the skier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images/page.png")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=840)
    args = parser.parse_args()
    app = make_app(dict([load_model(shipped_models()[0])]))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    listening = socket.create_server(("127.0.0.1", 0))
    run = dict(sockets=[listening])
    threading.Thread(target=server.run, kwargs=run, daemon=True).start()
    options = dict(executable_path=shutil.which("chromium-headless-shell"), chromium_sandbox=False)
    with sync_playwright() as playwright, playwright.chromium.launch(**options) as browser:
        page = browser.new_page(viewport=dict(width=args.width, height=args.height))
        page.goto(f"http://127.0.0.1:{listening.getsockname()[1]}")
        page.click("#example")
        page.wait_for_selector("#run:enabled")
        page.fill("#boxes", BOX)
        page.click("#run")
        page.wait_for_selector("#result", state="visible")
        page.screenshot(path=args.out, full_page=args.width < 600)


if __name__ == "__main__":
    main()
