"""Python's `ssl` and `websockets` against the client port of a real gateway: another TLS than ours."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import unittest
import warnings

import websockets

BINARY = os.environ.get(
    "TIDEGATE_BIN", os.path.join(os.path.dirname(__file__), "../../../target/release/tidegate")
)
PATIENCE = 20


def openssl(*words):
    subprocess.run(["openssl", *words], check=True, capture_output=True)


class Gateway:
    """A gateway with a certificate of its own making, which is its own authority."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.cert, key = (os.path.join(self.folder.name, name) for name in ("cert.pem", "key.pem"))
        openssl(
            *"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test".split(),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", self.cert),
        )
        listen = ["--listen", "127.0.0.1:0", "--ingress", "127.0.0.1:0", "--ops", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [BINARY, "gateway", "--insecure", *listen, "--drain", "0s", "--tls-cert", self.cert, "--tls-key", key],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        said = ""
        while "READY" not in said:
            line = self.process.stdout.readline()
            if not line:
                raise AssertionError(f"it ended before READY:\n{said}")
            said += line
        self.url = re.search(r"(wss://\S+)", said).group(1)
        self.address = re.search(r"wss://([^:/]+):(\d+)", said).groups()
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.stdout.close()
            self.folder.cleanup()

    def trust(self, version=None):
        trust = ssl.create_default_context(cafile=self.cert)
        # The certificate is its own authority, which strict checks do not expect of one.
        trust.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
        if version:
            trust.minimum_version = trust.maximum_version = version
        return trust


@unittest.skipUnless(shutil.which("openssl"), "openssl makes the certificate")
class ForeignTls(unittest.TestCase):
    def test_a_python_client_speaks_over_both_versions_of_tls(self):
        async def talk(gateway, version):
            async with websockets.connect(gateway.url + "?userId=u", ssl=gateway.trust(version)) as client:
                hello = json.loads(await asyncio.wait_for(client.recv(), PATIENCE))
                self.assertEqual(hello["cmd"], "hello")
                for seq in range(100):
                    await client.send(json.dumps({"seq": seq, "cmd": "join", "data": {"room": f"r{seq % 9}"}}))
                for seq in range(100):
                    reply = json.loads(await asyncio.wait_for(client.recv(), PATIENCE))
                    self.assertEqual((reply["seq"], reply["response"]["code"]), (seq, 200))

        with Gateway() as gateway:
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                asyncio.run(talk(gateway, version))

    def test_old_versions_and_strangers_are_refused(self):
        with Gateway() as gateway:
            with self.assertRaises(ssl.SSLCertVerificationError):
                with socket.create_connection(gateway.address, PATIENCE) as raw:
                    ssl.create_default_context().wrap_socket(raw, server_hostname="127.0.0.1")
            old = gateway.trust()
            old.set_ciphers("ALL:@SECLEVEL=0")
            with warnings.catch_warnings():
                # That they are old is the point.
                warnings.simplefilter("ignore", DeprecationWarning)
                old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
            with self.assertRaises((ssl.SSLError, ConnectionError)):
                with socket.create_connection(gateway.address, PATIENCE) as raw:
                    old.wrap_socket(raw, server_hostname="127.0.0.1")

    def test_the_end_is_said_before_the_socket_closes(self):
        with Gateway() as gateway:
            with socket.create_connection(gateway.address, PATIENCE) as raw:
                # Without this, Python takes an end without close_notify for an end all the same.
                trust, answer = gateway.trust(), b""
                with trust.wrap_socket(raw, server_hostname="127.0.0.1", suppress_ragged_eofs=False) as tls:
                    tls.sendall(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
                    while read := tls.recv(4096):
                        answer += read
            self.assertIn(b" 404 ", answer)


if __name__ == "__main__":
    unittest.main()
