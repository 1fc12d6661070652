"""Values of settings from files: `METERHOUSE_INDEXER__DSN_FILE=/run/secrets/dsn` sets `indexer.dsn`.

For secrets of Docker, Kubernetes and systemd (`LoadCredential=`): a list of variables does not show them.
Works for each setting, unless the name with `_file` is a setting itself (`agent.forward.token_file`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from agent.config.load import ConfigError
from agent.config.variables import PREFIX, setting_names

_SUFFIX: Final = "_FILE"
#: Maximum size of a file, in bytes.
MAX_FILE_BYTES: Final = 1 << 20


def with_files(environ: Mapping[str, str], cls: type[msgspec.Struct]) -> dict[str, str]:
    """Return the environment with each variable `..._FILE` replaced by the variable that its file holds.

    Line ends at the end of a file do not count. Raises ConfigError for a file that cannot be read or is too
    large, and for a setting with both variables.
    """
    known = set(setting_names(cls))
    result, problems = dict(environ), []
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or not variable.upper().endswith(_SUFFIX):
            continue
        setting = variable[len(PREFIX) :].lower().replace("__", ".")
        target = variable[: -len(_SUFFIX)]
        if setting in known or setting.removesuffix("_file") not in known:
            continue
        del result[variable]
        if target in environ:
            problems.append(f"{variable}: {target} is set, too: expected one of the two")
            continue
        try:
            result[target] = _read(Path(environ[variable]))
        except (OSError, ValueError) as e:
            problems.append(f"{variable}: {environ[variable]}: {getattr(e, 'strerror', None) or e}")
    if problems:
        raise ConfigError("\n".join(problems))
    return result


def _read(path: Path) -> str:
    """Return a small file's text without line ends at its end. Raises OSError, ValueError."""
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"too large: at most {MAX_FILE_BYTES} bytes are accepted")
    try:
        return data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("expected UTF-8") from None
