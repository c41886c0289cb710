"""A certificate authority for tests, made with the openssl program that comes with the servers."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from leaderlock.testing.servers.programs import program

_CONFIG = """\
[req]
distinguished_name = none
prompt = no
[none]
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
[server]
# Some stores call themselves, and are a client then.
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1
[client]
extendedKeyUsage = clientAuth
"""


class Certificates:
    """An authority, a server's certificate for localhost and 127.0.0.1, and a client's.

    Attributes:
        ca: the authority's certificate.
        server_cert, server_key: the server's.
        client_cert, client_key: the client's, of the name `client_name`.
    """

    def __init__(self, folder: Path, client_name: str = "leaderlock") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "openssl.cnf"
        self._config.write_text(_CONFIG, "ascii")
        self.ca, self._ca_key = self._issue(folder / "ca", "leaderlock tests", "authority")
        self.server_cert, self.server_key = self._issue(folder / "server", "localhost", "server")
        self.client_cert, self.client_key = self._issue(folder / "client", client_name, "client")

    def context(self, *, with_client: bool = True) -> ssl.SSLContext:
        """For a client that trusts the authority and shows its certificate."""
        context = ssl.create_default_context(cafile=self.ca)
        if with_client:
            context.load_cert_chain(self.client_cert, self.client_key)
        return context

    def _issue(self, path: Path, name: str, kind: str) -> tuple[Path, Path]:
        cert, key = path.with_suffix(".pem"), path.with_suffix(".key")
        command = [program("openssl"), "req", "-x509", "-days", "2", "-noenc"]
        command += ["-config", str(self._config), "-extensions", kind, "-subj", f"/CN={name}"]
        command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        command += ["-keyout", str(key), "-out", str(cert)]
        if kind != "authority":
            command += ["-CA", str(self.ca), "-CAkey", str(self._ca_key)]
        subprocess.run(command, check=True, capture_output=True)
        return cert, key
