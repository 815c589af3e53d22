# Copyright (c) the sgpose authors. Licensed under Apache-2.0.
"""Builds the site with `make docs`.

The source folder is the repository, so that every link between pages and to files works on a code
host and on the site alike.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sphinx.addnodes import pending_xref  # noqa: E402

from sgpose.version import __version__  # noqa: E402

project = "sgpose"
author = "the sgpose authors"
copyright = author
release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "configs/sg_hrnet/README.md",
    "projects/**",
]
# What is never walked through.
exclude_patterns = [
    ".*",
    "build",
    "data",
    "dist",
    "examples",
    "outputs",
    "sgpose",
    "tests",
    "work_dirs",
]

html_theme = "furo"
html_title = "sgpose"
html_extra_path = ["site"]

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say it, with shapes
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Encoded", ("Returns of forward", "returns_style")]


def unlink_folders(app, doctree):
    """Leave of a link to a folder of the repository, for which the site has no page, its text."""
    here = (ROOT / app.env.docname).parent
    for link in list(doctree.findall(pending_xref)):
        if link["reftype"] == "myst" and (here / link["reftarget"]).is_dir():
            link.replace_self(link.children)


def setup(app):
    app.connect("doctree-read", unlink_folders)
