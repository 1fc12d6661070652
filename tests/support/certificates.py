"""Certificates for tests: a CA, certificates it issues, and files of them as settings want them."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

import trustme

from agent.settings import ClientTls, Tls

_EXPIRED: Final = datetime.now(UTC) - timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, in files."""

    cert: str
    key: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, 64 hex digits."""
        pem = Path(self.cert).read_text()
        first = pem[: pem.index("-----END CERTIFICATE-----") + 26]
        return sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()


class Authority:
    """A CA with a file of its own certificate."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self.file = str(folder / f"{name}.pem")
        self._ca.cert_pem.write_to_path(self.file)

    def issue(self, file: str, *hosts: str, name: str | None = None, expired: bool = False) -> Pair:
        """Write a certificate for `hosts` with the common name `name`; an older one is replaced."""
        made = self._ca.issue_cert(
            *(hosts or ("localhost", "127.0.0.1")),
            common_name=name,
            not_before=_EXPIRED - timedelta(days=1) if expired else None,
            not_after=_EXPIRED if expired else None,
        )
        pair = Pair(str(self._folder / f"{file}.pem"), str(self._folder / f"{file}.key"))
        for path, data in (
            (pair.cert, b"".join(blob.bytes() for blob in made.cert_chain_pems)),
            (pair.key, made.private_key_pem.bytes()),
        ):
            new = Path(f"{path}.new")
            new.touch(0o600)
            new.write_bytes(data)
            os.replace(new, path)  # noqa: PTH105 - as those who renew certificates do it
        return pair

    def listener(self, pair: Pair, *, clients: bool = False, required: bool = False) -> Tls:
        """Return the settings of a listener; with `clients` it knows the clients of this CA."""
        ca = self.file if clients or required else ""
        return Tls(cert=pair.cert, key=pair.key, client_ca=ca, require_client_cert=required)

    def client(self, pair: Pair | None = None) -> ClientTls:
        """Return the settings of a client that trusts this CA, and shows `pair`."""
        return ClientTls(ca=self.file, cert=pair.cert if pair else "", key=pair.key if pair else "")

    def context(self, pair: Pair | None = None) -> ssl.SSLContext:
        """Return the context of such a client."""
        context = ssl.create_default_context(cafile=self.file)
        if pair is not None:
            context.load_cert_chain(pair.cert, pair.key)
        return context
