"""Adds the build of the web page to setuptools, and compiles on all CPUs; all else is in pyproject.toml."""

import os

from setuptools import setup

from page_build import Build, BuildPage

setup(
    cmdclass={"build": Build, "build_page": BuildPage},
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)
