"""Users that NATS knows by a key: key pairs in its own form, and what an operator signs about accounts and users."""

from __future__ import annotations

import base64
import json
import struct
import time
from typing import Any

OPERATOR, ACCOUNT, USER = 14 << 3, 0, 20 << 3
_SEED = 18 << 3
#: No limit, of each thing that an account has.
_UNLIMITED = ("subs", "data", "payload", "imports", "exports", "conn", "leaf")
_UNLIMITED_STREAMS = ("mem_storage", "disk_storage", "streams", "consumer")


class Key:
    """The key of an operator, an account or a user."""

    def __init__(self, kind: int) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.generate()
        #: What it is known by.
        self.public = _text(bytes([kind]) + self._key.public_key().public_bytes_raw())
        #: The secret half.
        self.seed = _text(bytes([_SEED | kind >> 5, (kind & 31) << 3]) + self._key.private_bytes_raw())

    def sign(self, name: str, subject: str, **claims: Any) -> str:
        """A token in which this key says something about another one."""
        said = {"jti": name, "iat": int(time.time()), "iss": self.public, "name": name, "sub": subject, "nats": claims}
        parts = [_base64(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, said)]
        return ".".join([*parts, _base64(self._key.sign(".".join(parts).encode()))])


class Operator:
    """An operator with one account that may use JetStream, and the accounts' own.

    Attributes:
        settings: What a server's configuration needs to trust it.
    """

    def __init__(self) -> None:
        key, system, self._account = Key(OPERATOR), Key(ACCOUNT), Key(ACCOUNT)
        unlimited = dict.fromkeys(_UNLIMITED, -1) | {"wildcards": True}
        streams = dict.fromkeys(_UNLIMITED_STREAMS, -1)
        accounts = {
            system.public: key.sign("system", system.public, type="account", version=2, limits=unlimited),
            self._account.public: key.sign(
                "models", self._account.public, type="account", version=2, limits=unlimited | streams
            ),
        }
        operator = key.sign("operator", key.public, type="operator", version=2, system_account=system.public)
        self.settings: dict[str, object] = {
            "operator": operator,
            "system_account": system.public,
            "resolver": "MEMORY",
            "resolver_preload": accounts,
        }

    def credentials(self) -> str:
        """The content of a file of credentials, of a user of the account."""
        user = Key(USER)
        token = self._account.sign("user", user.public, type="user", version=2, subs=-1, data=-1, payload=-1)
        return (
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )


def _text(key: bytes) -> str:
    """A key as NATS writes one: with its checksum, in base 32."""
    checksum = 0
    for byte in key:
        checksum ^= byte << 8
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x1021 if checksum & 0x8000 else 0)) & 0xFFFF
    return base64.b32encode(key + struct.pack("<H", checksum)).decode().rstrip("=")


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
