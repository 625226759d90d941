"""How `make docs` builds the documentation.

Sphinx reads the Markdown of the whole checkout, so that links hold on GitHub and on the site alike. No network is
needed, neither to build it nor to read it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_sphinx"))

import stepscape

project = "Stepscape"
author = copyright = "The Stepscape developers"
version = release = stepscape.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "executed", "contents", "docstrings"]

root_doc = "docs/README"
include_patterns = [
    "README.md",
    "DESIGN.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "config/README.md",
    "envs/README.md",
    "benchmarks/README.md",
    "docs/**.md",
]
exclude_patterns = ["docs/_build", "results", "data", ".*"]

myst_heading_anchors = 4
myst_links_external_new_tab = False
nb_execution_mode = "force"  # a cached result would not know that the code has changed
nb_execution_show_tb = True
nb_execution_timeout = 300  # a cell; seconds
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "code"

html_theme = "furo"
html_title = f"Stepscape {release}"
html_static_path = ["_sphinx/static"]
html_css_files = ["pages.css"]
html_extra_path = ["_sphinx/index.html"]
html_copy_source = False
html_show_sphinx = False
