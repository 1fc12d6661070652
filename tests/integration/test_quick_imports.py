"""Imports of a start read no certificates; a client that needs them has them all the same."""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web

from indexer.http.quick_imports import quick_imports
from tests.support.certificates import Authority

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, sys
from indexer.http.quick_imports import quick_imports
with quick_imports():
    import aiohttp, aiohttp.connector
    if sys.argv[2] == "uvloop":
        import uvloop as loops
    else:
        loops = asyncio

assert aiohttp.connector._SSL_CONTEXT_VERIFIED.cert_store_stats()["x509_ca"] == 0

async def main():
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            try:
                async with session.get(sys.argv[1]) as response:
                    print(response.status)
            except aiohttp.ClientConnectorCertificateError:
                print("refused")

loops.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_a_client_verifies_by_the_certificates_of_the_system(tmp_path: Path, loop: str) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("server", "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    runner = web.AppRunner(web.Application())
    await runner.setup()
    site = web.TCPSite(runner, "localhost", 0, ssl_context=context)
    await site.start()
    try:
        url = f"https://localhost:{runner.addresses[0][1]}/"
        for known, expected in ((authority.file, "404"), ("", "refused")):
            environ = {**os.environ, "PYTHONPATH": str(ROOT)}
            environ |= {"SSL_CERT_FILE": known} if known else {}
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", PROGRAM, url, loop), env=environ, stdout=asyncio.subprocess.PIPE
            )
            out, _ = await process.communicate()
            assert (process.returncode, out.decode().split()) == (0, [expected] * 2)
    finally:
        await runner.cleanup()


def test_numpy_comes_without_its_texts_for_help() -> None:
    program = (
        "from indexer.http.quick_imports import quick_imports\n"
        "with quick_imports(): import numpy as np\n"
        "print(np.arange(5).sum(), np.ndarray.sum.__doc__)"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    out = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, check=True).stdout
    assert out.split() == [b"10", b"None"]
    assert np.ndarray.sum.__doc__  # elsewhere it has them


def test_afterwards_all_is_as_before() -> None:
    with quick_imports():
        assert not gc.isenabled()
    assert gc.isenabled()
    context = ssl.create_default_context()
    assert type(context) is ssl.SSLContext
    assert context.cert_store_stats()["x509_ca"] == len(context.get_ca_certs())
    assert "set_default_verify_paths" not in vars(ssl.SSLContext)
