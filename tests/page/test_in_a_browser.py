# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""What a person does with the page, in a headless Chromium (Debian: chromium-headless-shell)."""

import json
import shutil

import cv2
import numpy as np
import pytest
from fixed_model import FixedModel
from PIL import Image

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


def test_the_example_comes_with_a_box_round_its_person(page, serve):
    model = FixedModel()
    with serve(dict(fixed=model)) as port:
        page.goto(f"http://127.0.0.1:{port}")
        page.wait_for_load_state("networkidle")
        if not page.locator("#example").is_visible():
            pytest.skip("this copy has no example")
        page.click("#example")
        sync_api.expect(page.locator("#boxes")).to_have_value("281, 45, 500, 392")
        page.click("#run")
        page.wait_for_selector("#result", state="visible")
    ((_, given),) = model.seen
    assert np.asarray(given).tolist() == [[281, 45, 500, 392]]
    assert page.errors == []


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


@pytest.mark.parametrize("limits", [Limits(num_pixels=1000), Limits(num_bytes=100)])
def test_a_photo_that_is_too_large_is_explained_before_it_is_sent(page, serve, photo, limits):
    with serve(dict(fixed=FixedModel()), limits) as port:
        page.goto(f"http://127.0.0.1:{port}")
        page.set_input_files("#file", photo)
        page.wait_for_selector("#status.error")
        told = page.inner_text("#status")
        assert "400x400, more than 0.001 million" in told or "larger than" in told
        assert not page.is_enabled("#run") and page.is_visible("#hint")


def test_boxes_are_moved_resized_and_removed(page, serve, photo):
    with serve(dict(fixed=FixedModel())) as port:
        page.goto(f"http://127.0.0.1:{port}")
        page.set_input_files("#file", photo)
        page.wait_for_selector("#run:enabled")

        def boxes() -> np.ndarray:
            texts = page.input_value("#boxes").split(";")
            return np.array([list(map(float, text.split(","))) for text in texts])

        drag(page, 50, 60, 150, 200)
        drag(page, 220, 60, 330, 200)
        assert boxes() == pytest.approx(np.array([[50, 60, 150, 200], [220, 60, 330, 200]]), abs=2)
        drag(page, 100, 100, 120, 130)  # inside the first: moved
        assert boxes()[0] == pytest.approx([70, 90, 170, 230], abs=3)
        drag(page, 330, 200, 390, 395)  # the second's corner
        assert boxes()[1] == pytest.approx([220, 60, 390, 395], abs=3)
        drag(page, 300, 300, 399, 300)  # no further than the border
        assert boxes()[1] == pytest.approx([230, 60, 400, 395], abs=3)
        shown = page.locator("#picture").bounding_box()
        page.mouse.dblclick(shown["x"] + shown["width"] * 0.25, shown["y"] + shown["height"] * 0.3)
        assert len(boxes()) == 1
    assert page.errors == []


def test_a_person_is_chosen_in_the_picture_and_enter_and_clear_work(page, serve, photo):
    model = FixedModel()
    with serve(dict(fixed=model)) as port:
        page.goto(f"http://127.0.0.1:{port}")
        advice = page.inner_text("#status")
        assert "box round each whole person" in advice
        assert page.locator("#model option").all_inner_texts() == [FixedModel.title]
        page.set_input_files("#file", photo)
        page.wait_for_selector("#run:enabled")
        page.fill("#boxes", "20,20,120,200; 200,100,380,380")
        page.press("#boxes", "Enter")
        page.wait_for_selector("#result", state="visible")
        assert page.locator("#legend span").all_inner_texts() == ["left", "right"]
        assert page.input_value("#person") == "0"
        shown = page.locator("#picture").bounding_box()
        page.mouse.click(shown["x"] + shown["width"] * 0.9, shown["y"] + shown["height"] * 0.5)
        assert page.input_value("#person") == "1"
        assert page.locator("#scores tr").first.inner_text().split()[1:3] == ["290.0", "240.0"]
        page.click("#clear")
        assert page.is_hidden("#result") and page.is_visible("#hint")
        assert page.input_value("#boxes") == "" and not page.is_enabled("#run")
        assert page.inner_text("#status") == advice
    assert len(model.seen) == 1 and page.errors == []


def test_without_a_box_a_warning_says_what_was_taken(page, serve, photo):
    with serve(dict(fixed=FixedModel())) as port:
        page.goto(f"http://127.0.0.1:{port}")
        page.set_input_files("#file", photo)
        page.click("#run:enabled")
        page.wait_for_selector("#result", state="visible")
        assert "whole photo was taken as one person" in page.inner_text("#status.warning")


def test_webp_is_taken_as_it_looks(page, serve, tmp_path):
    model, path = FixedModel(), tmp_path / "photo.webp"
    Image.new("RGB", (60, 40), (0, 200, 30)).save(path, lossless=True)
    with serve(dict(fixed=model)) as port:
        page.goto(f"http://127.0.0.1:{port}")
        page.set_input_files("#file", path)
        page.click("#run:enabled")
        page.wait_for_selector("#result", state="visible")
    ((image, _),) = model.seen
    assert image.shape == (40, 60, 3) and (image == (30, 200, 0)).all()


def test_people_are_found_and_their_boxes_shown(page, serve, photo):
    model = FixedModel()
    with serve(dict(fixed=model), detector=lambda image: np.float32([[10, 20, 90, 300]])) as port:
        page.goto(f"http://127.0.0.1:{port}")
        page.set_input_files("#file", photo)
        sync_api.expect(page.locator("#boxes")).to_have_value("10, 20, 90, 300")
        assert "1 person found" in page.inner_text("#status")
        page.click("#run:enabled")
        page.wait_for_selector("#result", state="visible")
    ((_, boxes),) = model.seen
    assert boxes.tolist() == [[10, 20, 90, 300]] and page.errors == []


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
