"""A certificate authority of a test's own, and the certificates that it signs."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class Authority:
    """A certificate authority for a test: ``path`` is the file of its own certificate."""

    def __init__(self, folder: Path) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _common_name("authority of a test")
        certificate = self._sign(self._name, self._key.public_key(), ())
        self.path = folder / "authority.pem"
        self.path.write_bytes(_pem(certificate))

    def certificate(self, *hosts: str) -> Path:
        """The file of a certificate for these hosts, and its key."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        plain = serialization.NoEncryption()
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        path = self._folder / f"{'-'.join(hosts)}.pem"
        path.write_bytes(private + _pem(self._sign(_common_name(hosts[0]), key.public_key(), hosts)))
        return path

    def context(self, *hosts: str) -> ssl.SSLContext:
        """What a receiver at these hosts shows."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate(*hosts))
        return context

    def _sign(self, subject: Any, key: Any, hosts: Iterable[str]) -> Any:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes

        now, hour = datetime.datetime.now(datetime.UTC), datetime.timedelta(hours=1)
        made = x509.CertificateBuilder(subject_name=subject, issuer_name=self._name, public_key=key)
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now - hour).not_valid_after(now + hour)
        names: list[x509.GeneralName] = []
        for host in hosts:
            is_address = host.replace(".", "").isdigit()
            names.append(x509.IPAddress(ipaddress.ip_address(host)) if is_address else x509.DNSName(host))
        made = made.add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        if names:
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return made.sign(self._key, hashes.SHA256())


def _common_name(text: str) -> Any:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _pem(certificate: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return certificate.public_bytes(serialization.Encoding.PEM)
