# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""What a person does with the page, in a headless Chromium (Debian: chromium-headless-shell)."""

import json
import shutil

import cv2
import numpy as np
import pytest
from fixed_model import FixedModel

sync_api = pytest.importorskip("playwright.sync_api")
pytest.importorskip("starlette")
from sgpose.page.image_gate import Limits  # noqa: E402

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")
SIZE = 400  # of the square picture
WEBCAM = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        # Chromium's own sandbox does not work as root
        options = dict(executable_path=CHROMIUM, args=WEBCAM, chromium_sandbox=False)
        with playwright.chromium.launch(**options) as browser:
            yield browser


@pytest.fixture
def page(browser):
    """A page whose errors and whose requests to requested fail the test."""
    page = browser.new_page(viewport=dict(width=1200, height=900))
    errors, requested = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("request", lambda request: requested.append(request.url))
    page.errors = errors
    yield page
    page.close()
    here = ("http://127.0.0.1:", "blob:http://127.0.0.1:", "data:")
    assert [url for url in requested if not url.startswith(here)] == []


@pytest.fixture
def photo(tmp_path) -> str:
    path = str(tmp_path / "photo.png")
    cv2.imwrite(path, np.full((SIZE, SIZE, 3), 128, np.uint8))
    return path


def colour_at(page, x, y) -> list[int]:
    """RGB of the drawn picture, at a place in pixels of the photo."""
    return page.evaluate(
        """([x, y, size]) => {
            const canvas = document.getElementById("picture"), scale = canvas.width / size;
            const pen = canvas.getContext("2d");
            return [...pen.getImageData(Math.round(x * scale), Math.round(y * scale), 1, 1).data];
        }""",
        [x, y, SIZE],
    )[:3]


def drag(page, x1, y1, x2, y2):
    """Draw a box with the mouse, in pixels of the photo."""
    shown = page.locator("#picture").bounding_box()
    scale = shown["width"] / SIZE
    page.mouse.move(shown["x"] + x1 * scale, shown["y"] + y1 * scale)
    page.mouse.down()
    page.mouse.move(shown["x"] + x2 * scale, shown["y"] + y2 * scale, steps=3)
    page.mouse.up()


def test_a_photo_is_dropped_and_its_poses_are_shown(page, serve, photo, tmp_path):
    model = FixedModel(guides=2)
    with serve(dict(other=FixedModel(), fixed=model)) as port:
        page.goto(f"http://127.0.0.1:{port}")
        page.set_input_files("#file", photo)
        page.wait_for_selector("#run:enabled")
        page.select_option("#model", "fixed")
        drag(page, 100, 200, 300, 400)
        page.click("#run")
        page.wait_for_selector("#result", state="visible")
        with page.expect_download() as download:
            page.click("#download")
        download.value.save_as(tmp_path / "poses.json")

        ((_, given),) = model.seen
        assert given == pytest.approx(np.array([[100, 200, 300, 400]]), abs=2)
        x1, y1, x2, y2 = given[0]
        found = json.loads((tmp_path / "poses.json").read_text())
        assert found["predictions"][0]["keypoints"][1] == pytest.approx([x1, y1], abs=0.01)
        assert page.locator("#scores tr").all_inner_texts()[1].split() == [
            *("upper", "left", f"{x1:.1f}", f"{y1:.1f}", "0.50"),
        ]
        # the link between the first two keypoints, but not the one to the third, of score 0.1
        on_link = [x1 + (x2 - x1) / 4, y1 + (y2 - y1) / 4]
        off_link = [x1 + (x2 - x1) * 3 / 4, y1 + (y2 - y1) * 3 / 4]
        assert colour_at(page, *on_link) != [128, 128, 128]
        assert colour_at(page, *off_link) == [128, 128, 128]
        page.fill("#threshold", "0.05")
        assert colour_at(page, *off_link) != [128, 128, 128]

        # the last guide sees the upper half of the box
        upper, lower = (x2 - 20, y1 + 20), (x1 + 20, y2 - 20)
        assert colour_at(page, *upper) == colour_at(page, *lower) == [128, 128, 128]
        page.locator("#maps button").last.click()
        red, green, blue = colour_at(page, *upper)
        assert red > 180 and green > 180 and blue < 100
        assert colour_at(page, *lower) == [128, 128, 128]
        page.screenshot(path=tmp_path / "page.png")
    assert page.errors == []


def test_a_refused_photo_is_explained(page, serve, photo):
    with serve(dict(fixed=FixedModel()), Limits(num_pixels=1000)) as port:
        page.goto(f"http://127.0.0.1:{port}")
        page.set_input_files("#file", photo)
        page.click("#run")
        page.wait_for_selector("#status.error")
        assert "400x400" in page.inner_text("#status")
        assert page.is_enabled("#run") and page.is_hidden("#progress")


def test_a_file_that_is_no_photo_is_explained(page, serve, tmp_path):
    (tmp_path / "photo.png").write_text("no photo")
    with serve(dict(fixed=FixedModel())) as port:
        page.goto(f"http://127.0.0.1:{port}")
        page.set_input_files("#file", tmp_path / "photo.png")
        page.wait_for_selector("#status.error")
        assert not page.is_enabled("#run")


def test_the_webcam_takes_a_picture(page, serve):
    model = FixedModel()
    with serve(dict(fixed=model)) as port:
        page.goto(f"http://127.0.0.1:{port}")
        page.click("#webcam")
        page.click("#shoot")
        page.click("#run")
        page.wait_for_selector("#result", state="visible")
    ((image, boxes),) = model.seen
    assert boxes.tolist() == [[0, 0, image.shape[1], image.shape[0]]]
    assert page.errors == []
