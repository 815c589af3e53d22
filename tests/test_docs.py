# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""The docs: links lead somewhere, code is code, the tutorials run, the site builds.

A fenced block may have a comment before it: ``<!-- skip: reason -->`` leaves it out,
``<!-- file: NAME -->`` writes it to a file as the text tells the reader to.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.registry import DefaultScope

MarkdownIt = pytest.importorskip("markdown_it").MarkdownIt

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "configs" / "sg_hrnet" / "README.md"]
    + list((ROOT / "docs").rglob("*.md"))
    + list((ROOT / "projects").rglob("*.md"))
)
TUTORIALS = ("tutorial", "your_data", "your_backbone", "from_hrnet")
# What is written for people in the tutorials -> what is enough here.
SMALLER = {
    "--train 600 --val 100": "--train 8 --val 4",
    "--train 300 --val 60": "--train 8 --val 4",
    "--train 100 --val 40": "--train 8 --val 4",
}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[tuple[str, str, str, int]]:
    """Language, code, comment before it and line of each fenced block of a page."""
    found, comment = [], ""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "fence":
            found.append((token.info.strip(), token.content, comment, token.map[0] + 1))
        comment = token.content.strip("<!-> \n") if token.type == "html_block" else ""
    return found


def links(page: Path) -> list[str]:
    parsed = MarkdownIt("gfm-like", {"linkify": False}).parse(page.read_text(encoding="utf-8"))
    inline = [child for token in parsed for child in token.children or []]
    return [t.attrs["href"] for t in inline if t.type == "link_open"] + [
        t.attrs["src"] for t in inline if t.type == "image"
    ]


def anchors(page: Path) -> set[str]:
    """Anchors that code hosts give the headings of a page."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    titles = [b.content for a, b in zip(tokens, tokens[1:]) if a.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page):
    lost = []
    for link in links(page):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        found = target.exists() and (not anchor or anchor in anchors(target))
        if not found or ROOT not in (target, *target.parents):
            lost.append(link)
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_name_programs_that_can_be_run(page):
    named = re.findall(r"(?:^|`)((?:tools|scripts)/\w+\.\w+) ", page.read_text(), re.MULTILINE)
    assert [program for program in named if not os.access(ROOT / program, os.X_OK)] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_in_the_docs_is_python(page):
    for language, code, _, line in blocks(page):
        if language in ("python", "py"):
            compile(code, f"{page}:{line}", "exec")


def smaller(code: str) -> str:
    for written, enough in SMALLER.items():
        code = code.replace(written, enough)
    return code


def run_shell(code: str, folder: Path) -> None:
    bin_folder = str(Path(sys.executable).parent)
    env = dict(os.environ, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    env["PATH"] = os.pathsep.join([bin_folder, env["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout[-3000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_runs_from_top_to_bottom(name, tmp_path, monkeypatch):
    page = ROOT / "docs" / f"{name}.md"
    if not shutil.which("mim", path=str(Path(sys.executable).parent)):
        pytest.skip("OpenMIM is not installed")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    names: dict = {"__name__": "tutorial"}
    for language, code, comment, line in blocks(page):
        if comment.startswith("skip:"):
            assert comment.removeprefix("skip:").strip(), f"{page}:{line} needs a reason"
        elif comment.startswith("file:"):
            (tmp_path / comment.removeprefix("file:").strip()).write_text(code)
        elif language == "bash":
            run_shell(smaller(code), tmp_path)
        elif language == "python":
            with DefaultScope.overwrite_default_scope("mmpose"):
                exec(compile(code, f"{page}:{line}", "exec"), names)


def test_every_shortcut_is_used():
    text = "".join((ROOT / "docs" / f"{name}.md").read_text() for name in TUTORIALS)
    assert [written for written in SMALLER if written not in text] == []


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx")
    pytest.importorskip("furo")
    build = ["-m", "sphinx", "--fail-on-warning", "--keep-going", "-q", "-c", "docs", "-b", "html"]
    done = subprocess.run(
        [sys.executable, *build, "-d", tmp_path / "doctrees", ".", tmp_path / "site"],
        cwd=ROOT,
        env=dict(os.environ, OMP_NUM_THREADS="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    for page, documented in (
        ("models", "sgpose.models.backbones.SGHRNet"),
        ("codecs", "sgpose.codecs.SegmentationTarget"),
    ):
        api = tmp_path / "site" / "docs" / "api" / f"{page}.html"
        assert f'id="{documented}"' in api.read_text(encoding="utf-8")
    assert "docs/index.html" in (tmp_path / "site" / "index.html").read_text()
