"""The description of the API against the real server: schemathesis makes calls from `/openapi.json`, good and bad ones."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.request

from test_foreign import Cluster

# What one run may take; it takes a tenth of it.
TIME_MAX = 300

# What a name may be is counted in bytes, and a schema counts characters: a name of 256 that are not ASCII is refused,
# though its schema allows it. A list has one cursor, which it gave, and a key for one call has one body: a schema cannot
# say which.
CONFIG = """
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "409", "422"]
negative_data_rejection.expected-statuses = ["400", "404", "405", "408", "409", "413", "415", "422"]
"""

# A user and a room are there for whoever asks: one whose connections were closed is not online, and answers so.
CHECKS = ("--checks", "all", "--exclude-checks", "use_after_free")


def schemathesis(api, *flags):
    """Runs it; its exit code and all that it said."""
    command = os.path.join(os.path.dirname(sys.executable), "schemathesis")
    if not os.path.exists(command):
        command = shutil.which("schemathesis")
    with tempfile.TemporaryDirectory() as here:
        with open(os.path.join(here, "schemathesis.toml"), "w", encoding="utf-8") as config:
            config.write(CONFIG)
        done = subprocess.run(
            [command, "run", f"{api}/openapi.json", *CHECKS, "--seed", "7", "--no-color", *flags],
            cwd=here,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIME_MAX,
        )
    return done.returncode, done.stdout


class Described(unittest.TestCase):
    def test_what_the_description_promises_the_server_keeps(self):
        with Cluster() as cluster:
            # A gateway that drains is gone: that call is tried without what other calls have said.
            code, said = schemathesis(cluster.api, "--exclude-operation-id", "drainGateway", "-n", "30")
            self.assertEqual(code, 0, said)
            code, said = schemathesis(
                cluster.api, "--include-operation-id", "drainGateway", "--phases", "coverage,fuzzing", "-n", "30"
            )
            self.assertEqual(code, 0, said)
            self.assertIsNone(cluster.process.poll())

    def test_the_page_for_people_asks_nobody_outside(self):
        with Cluster() as cluster:
            with urllib.request.urlopen(cluster.api + "/docs") as answer:
                page = answer.read().decode()
                self.assertIn("default-src 'none'", answer.headers["content-security-policy"])
            self.assertNotIn("https://", page)
            for path in ("/openapi.json", "/asyncapi.json"):
                with urllib.request.urlopen(cluster.api + path) as answer:
                    document = json.load(answer)
                self.assertIn(document.get("openapi") or document.get("asyncapi"), ("3.1.0", "3.0.0"))


if __name__ == "__main__":
    unittest.main()
