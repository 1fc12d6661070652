"""Masks secrets in settings: tokens, and the passwords of DSNs and URLs. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

#: Shown in place of a secret.
MASK: Final = "***"
#: Settings that are a secret, or a list or a table of them.
_SECRET: Final = re.compile(r"(^|_)(token|tokens|password|secret)$")
_WORD: Final = re.compile(r"\S+")
_PARAMETER: Final = re.compile(
    r"(?P<name>[?&](?:access_token|password|passwd|token|secret)=)[^&#\s]*", re.IGNORECASE
)


def masked_url(text: str) -> str:
    """Mask the passwords of all URLs in a text, in time proportional to its length."""
    if "://" in text and "@" in text:
        text = _WORD.sub(_without_password, text)
    return _PARAMETER.sub(rf"\g<name>{MASK}", text)


def _without_password(word: re.Match[str]) -> str:
    """Mask from the first : after :// to the last @, so that a password may contain a slash or an @."""
    text = word[0]
    begin, end = text.find("://"), text.rfind("@")
    colon = text.find(":", begin + 3, end)
    return text if begin < 0 or colon < 0 else f"{text[: colon + 1]}{MASK}{text[end:]}"


def is_secret(name: str) -> bool:
    """Return whether the setting of this name is a secret, or a list or a table of them."""
    return _SECRET.search(name) is not None


def masked(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree of settings with all secrets masked; empty values stay empty."""
    return {name: _shown(name, value) for name, value in tree.items()}


def secrets_in(tree: Mapping[str, Any], path: str = "") -> list[str]:
    """Return the dotted names of the settings in a tree that contain secrets."""
    found: list[str] = []
    for name, value in tree.items():
        if isinstance(value, Mapping) and not _SECRET.search(name):
            found += secrets_in(value, f"{path}{name}.")
        elif _shown(name, value) != value:
            found.append(path + name)
    return found


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return (MASK if value else "") if _SECRET.search(name) else masked_url(value)
    if _SECRET.search(name) and isinstance(value, list):
        return [MASK] * len(value)
    if _SECRET.search(name) and isinstance(value, Mapping):
        return {f"{MASK}{number}": scope for number, scope in enumerate(value.values(), 1)}
    return masked(value) if isinstance(value, Mapping) else value
