"""Adds the build of the web page to setuptools' commands; everything else is in pyproject.toml."""

from setuptools import setup

from page_build import Build, BuildPage

setup(cmdclass={"build": Build, "build_page": BuildPage})
