"""The subcommand `meterhouse token`: makes a token or password and its line for the settings.

Secrets never pass through the command line, where other users of the machine can see them: they are generated
here, or read from the standard input.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from agent.cli.common import report_error
from indexer.access.grants import EntryError, digest_of, hash_password, parse_entry, parse_grant

_TOKEN_BYTES: Final = 32
_DAY_S: Final = 86_400


def token(argv: Sequence[str]) -> int:
    """Run `meterhouse token`: 0 with secret and settings line on the standard output, 2 if refused."""
    args = _parser().parse_args(argv)
    secret = sys.stdin.readline().rstrip("\r\n") if args.stdin else secrets.token_urlsafe(_TOKEN_BYTES)
    expires = ""
    if args.days:
        at = datetime.fromtimestamp(int(time.time()) + args.days * _DAY_S, UTC)
        expires = f" expires={at.strftime('%Y-%m-%dT%H:%M:%SZ')}"
    grant = f"{args.scope} {args.may}{expires}"
    hashed = _hashed(secret, args.user)
    try:
        if not secret:
            raise EntryError("the secret is empty")
        parse_entry(hashed, parse_grant(grant))
    except EntryError as e:
        return report_error("token", e, 2)
    if not args.stdin:
        print(f"# {'password of ' + args.user if args.user else 'token'}, shown only now: {secret}")
    print(f"{hashed} {grant}")
    return 0


def _hashed(secret: str, user: str) -> str:
    if not user:
        return f"sha256:{digest_of(secret).hex()}"
    salt = secrets.token_bytes(16)
    return f"basic:{user}:scrypt:{salt.hex()}:{hash_password(secret, salt).hex()}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meterhouse token",
        description="Makes a token (or a password for basic auth) and prints the line of a tokens_file that "
        "lets it in. The line holds a hash alone. In indexer.tokens and shim.tenancy.tokens its first word "
        "is the key, and the rest the value.",
    )
    parser.add_argument("--scope", default="1:1", metavar="ORG:PROJECT",
                        help="1:2, 1:* (all projects), *:* (all orgs); default %(default)s")  # fmt: skip
    rights = "write, query, admin, operator, or several (a,b); default %(default)s"
    parser.add_argument("--may", default="write", metavar="RIGHTS", help=rights)
    parser.add_argument("--days", type=int, default=0, metavar="N", help="expires after this number of days")
    parser.add_argument("--user", default="", metavar="NAME", help="a password for basic auth of this name")
    parser.add_argument("--stdin", action="store_true", help="read the secret from the standard input")
    return parser
