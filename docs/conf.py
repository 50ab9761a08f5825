"""Sphinx: Markdown pages, notebooks shown as they were saved."""

import surrogates

project = "surrogates"
author = "The surrogates developers"
release = version = surrogates.__version__
extensions = ["myst_nb", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath"]
exclude_patterns = ["_build"]
nb_execution_mode = "off"  # the tests execute the notebooks
html_theme = "alabaster"
html_theme_options = {"page_width": "62rem", "description": "Flow and diffusion surrogates of PDEs"}
myst_heading_anchors = 3
