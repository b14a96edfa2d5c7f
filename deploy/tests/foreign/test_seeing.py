"""What operators see: a real Prometheus scrapes a real cluster, the alerts are real to it, and the dashboard shows exactly
the metrics that there are.

`deploy/grafana/tidegate.json` is made from the metrics themselves:

    python deploy/tests/foreign/test_seeing.py --write
"""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

import websockets.sync.client
import yaml

DEPLOY = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
BINARY = os.environ.get("TIDEGATE_BIN", os.path.join(DEPLOY, "../target/release/tidegate"))
DASHBOARD = os.path.join(DEPLOY, "grafana/tidegate.json")
PATIENCE = 30
KEY = "a" * 32
WIDTH = 24
# Rows of the dashboard, each with what its metrics' names begin with, behind the role; the last takes the rest.
ROWS = [
    ("Pushes", "logic", ("pushes", "items", "ledger")),
    ("Links, as logic sees them", "logic", ("link",)),
    ("Histories and their engine", "logic", ("histor", "engine")),
    ("Callers and limits of logic", "logic", ("",)),
    ("Clients", "gateway", ("clients", "users", "rooms", "accept", "handshakes", "closed", "tls", "certificate")),
    ("Items and frames", "gateway", ("items", "frames", "frame_", "writes", "write_", "deliveries", "deflate", "outboxes")),
    ("Windows", "gateway", ("window", "sweep", "early", "parts", "bulk", "merger")),
    ("Histories of gateways", "gateway", ("history",)),
    ("Links, commands and limits of gateways", "gateway", ("",)),
]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def get(url, headers={}, body=None, tls=None):
    request = urllib.request.Request(url, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=PATIENCE, context=tls) as answer:
        return answer.read().decode()


def until(what, look):
    """Looks again until it is so."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            found = look()
        except (OSError, urllib.error.URLError) as error:
            found, what = None, f"{what} ({error})"
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not in {PATIENCE} s: {what}")
        time.sleep(0.05)


class Cluster:
    """A logic node with keys and a gateway, with TLS, on a Redis; one client, one push: so every metric is there."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.processes = []
        self.logic, self.gateway = free_port(), free_port()
        secret, keys = self.file("link", "s" * 32), self.file("keys", KEY)
        api, clients, link = free_port(), free_port(), free_port()
        config = self.file("tidegate.toml", '[[rooms]]\nmatch = "*"\nhistory = 10\nttl = "1m"\n')
        cert, key = self.certificate()
        tls = ssl.create_default_context(cafile=cert)
        redis = free_port()
        self.spawn("redis", ["redis-server", "--port", str(redis), "--bind", "127.0.0.1", "--save", ""])
        both = {"link_secret_file": secret, "tls_cert": cert, "tls_key": key}
        self.start("gateway", "--insecure", listen=clients, ingress=link, ops=self.gateway, window="100ms", **both)
        engine = {"engine": f"redis://127.0.0.1:{redis}", "config": config}
        self.start("logic", listen=api, ops=self.logic, gateway=f"127.0.0.1:{link}", api_key_file=keys, **both, **engine)
        until("ready", lambda: get(f"http://127.0.0.1:{self.logic}/readyz"))
        self.client = websockets.sync.client.connect(f"wss://127.0.0.1:{clients}/ws?room=r1", ssl=tls)
        client = self.client.__enter__()
        hello = json.loads(client.recv(PATIENCE))
        assert hello["cmd"] == "hello", hello
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        get(f"https://127.0.0.1:{api}/v1/push", headers, b'{"to":{"room":"r1"},"data":1}', tls)
        assert json.loads(client.recv(PATIENCE))["cmd"] == "push"
        return self

    def file(self, name, text):
        path = os.path.join(self.folder.name, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def start(self, role, *words, **flags):
        for flag, value in flags.items():
            value = f"127.0.0.1:{value}" if isinstance(value, int) else value
            words += (f"--{flag.replace('_', '-')}", value)
        self.spawn(role, [BINARY, role, *words])

    def spawn(self, name, command):
        with open(os.path.join(self.folder.name, f"{name}.log"), "w") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder.name))

    def certificate(self):
        cert, key = os.path.join(self.folder.name, "tls.crt"), os.path.join(self.folder.name, "tls.key")
        subprocess.run(
            ["openssl", *"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj /CN=test".split(),
             "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
            check=True, capture_output=True,
        )
        return cert, key

    def __exit__(self, *_):
        self.client.__exit__(None, None, None)
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
        self.folder.cleanup()

    def metrics(self):
        """Name to (kind, help), of all that both nodes have."""
        found = {}
        for port in (self.logic, self.gateway):
            text = get(f"http://127.0.0.1:{port}/metrics")
            helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.M))
            for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M):
                found[name] = (kind, helps.get(name, "").rstrip("."))
        return found


def query(name, kind):
    """What a panel asks of a metric."""
    role = name.split("_")[1]
    where = f'{{role="{role}",instance=~"$instance"}}'
    if kind == "counter":
        return f"rate({name}_total{where}[$__rate_interval])"
    if kind == "histogram":
        return f"histogram_quantile(0.99, sum by (le, instance) (rate({name}_bucket{where}[$__rate_interval])))"
    return f"{name}{where}"


def panel(number, name, kind, help, place):
    unit = "s" if name.endswith("seconds") and kind != "counter" else "bytes" if name.endswith("bytes") else "short"
    if kind == "counter":
        unit = "Bps" if "bytes" in name else "ops"
    return {
        "id": number,
        "type": "timeseries",
        "title": help + (" (p99)" if kind == "histogram" else ""),
        "description": name,
        "datasource": {"type": "prometheus", "uid": "$datasource"},
        "gridPos": {"h": 7, "w": WIDTH // 3, "x": place % 3 * (WIDTH // 3), "y": place // 3 * 7},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [{"refId": "A", "expr": query(name, kind), "legendFormat": "__auto"}],
    }


def dashboard(metrics):
    """One panel for each metric, in rows by what it is about."""
    left, panels = dict(metrics), []
    for title, role, beginnings in ROWS:
        names = [name for name in left if any(name.startswith(f"tidegate_{role}_{begin}") for begin in beginnings)]
        row = {"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "panels": []}
        row["gridPos"] = {"h": 1, "w": WIDTH, "x": 0, "y": 0}
        panels.append(row)
        for place, name in enumerate(names):
            kind, help = left.pop(name)
            panels.append(panel(len(panels) + 1, name, kind, help, place))
    assert not left, f"no row takes {sorted(left)}"
    instances = {"type": "prometheus", "uid": "$datasource"}
    return {
        "uid": "tidegate",
        "title": "Tidegate",
        "tags": ["tidegate"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                {
                    "name": "instance", "type": "query", "datasource": instances, "includeAll": True, "multi": True,
                    "query": 'label_values(up{job="tidegate"}, instance)', "refresh": 2,
                },
            ]
        },
        "panels": panels,
    }


def written(board):
    return json.dumps(board, indent=1) + "\n"


def names_in(expression):
    return set(re.findall(r"\btidegate_[a-z_]+", expression))


class Seeing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster())
        cls.metrics = cls.cluster.metrics()

    def test_the_dashboard_shows_every_metric_and_no_other(self):
        with open(DASHBOARD, encoding="utf-8") as file:
            kept = file.read()
        self.assertEqual(kept, written(dashboard(self.metrics)), "make it anew with --write")

    def test_metrics_are_named_and_explained_by_the_conventions(self):
        self.assertGreater(len(self.metrics), 70)
        for name, (kind, help) in self.metrics.items():
            with self.subTest(name):
                self.assertRegex(name, r"^tidegate_(logic|gateway)_[a-z][a-z_]*[a-z]$")
                self.assertGreater(len(help), 10, "a help text")
                self.assertFalse(name.endswith("_total"), "the suffix is the format's")
                if kind == "histogram":
                    self.assertRegex(name, r"_(seconds|bytes|items)$")
        # No label has a name that clients choose.
        for port in (self.cluster.logic, self.cluster.gateway):
            self.assertNotIn('"r1"', get(f"http://127.0.0.1:{port}/metrics"))

    def test_promtool_takes_rules_and_configuration(self):
        folder = os.path.join(DEPLOY, "prometheus")
        for words in (["check", "rules", "alerts.yml"], ["check", "config", "prometheus.yml"], ["test", "rules", "alerts.test.yml"]):
            said = subprocess.run(["promtool", *words], cwd=folder, capture_output=True, text=True)
            self.assertEqual(said.returncode, 0, said.stdout + said.stderr)

    def test_every_alert_is_tested_and_has_its_words_for_operators(self):
        with open(os.path.join(DEPLOY, "prometheus/alerts.yml"), encoding="utf-8") as file:
            rules = yaml.safe_load(file)["groups"][0]["rules"]
        with open(os.path.join(DEPLOY, "prometheus/alerts.test.yml"), encoding="utf-8") as file:
            tested = set(re.findall(r"alertname: (\w+)\n +eval_time: \w+\n +exp_alerts", file.read()))
        with open(os.path.join(DEPLOY, "README.md"), encoding="utf-8") as file:
            headings = re.findall(r"^#+ (Tidegate\w+)$", file.read(), re.M)
        names = [rule["alert"] for rule in rules]
        self.assertEqual(set(names), tested, "promtool tests")
        self.assertEqual(set(names), set(headings), "what to do, in deploy/README.md")
        known = set(self.metrics) | {f"{name}_total" for name, (kind, _) in self.metrics.items() if kind == "counter"}
        for rule in rules:
            self.assertLessEqual(names_in(rule["expr"]), known, rule["alert"])
            self.assertEqual(rule["annotations"]["runbook"], f"deploy/README.md#{rule['alert'].lower()}")

    def test_a_real_prometheus_scrapes_the_cluster_and_understands_all_of_it(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(DEPLOY, "prometheus/prometheus.yml"), encoding="utf-8") as file:
                config = yaml.safe_load(file)
            config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
            for scraped, port in zip(config["scrape_configs"][0]["static_configs"], (self.cluster.logic, self.cluster.gateway)):
                scraped["targets"] = [f"127.0.0.1:{port}"]
            shutil.copy(os.path.join(DEPLOY, "prometheus/alerts.yml"), folder)
            path = os.path.join(folder, "prometheus.yml")
            with open(path, "w", encoding="utf-8") as file:
                yaml.safe_dump(config, file)
            port = free_port()
            server = subprocess.Popen(
                ["prometheus", f"--config.file={path}", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            try:
                self.look_at(f"http://127.0.0.1:{port}/api/v1")
            finally:
                server.terminate()
                server.wait(PATIENCE)

    def look_at(self, api):
        def ask(expression):
            answer = json.loads(get(f"{api}/query?" + urllib.parse.urlencode({"query": expression})))
            self.assertEqual(answer["status"], "success", expression)
            return answer["data"]["result"]

        up = lambda: [one for one in ask("up == 1") if one["metric"]["job"] == "tidegate"]
        until("both nodes are scraped", lambda: len(up()) == 2)
        pushes = until("a push is seen", lambda: ask('tidegate_logic_pushes_total{outcome="accepted"} == 1'))
        self.assertEqual(pushes[0]["metric"]["role"], "logic")
        self.assertEqual(ask("tidegate_gateway_clients")[0]["value"][1], "1")
        evaluated = lambda: json.loads(get(f"{api}/rules"))["data"]["groups"][0]["rules"]
        rules = until("alerts are evaluated", lambda: all(rule["health"] == "ok" for rule in evaluated()) and evaluated())
        self.assertEqual([rule["name"] for rule in rules if rule["state"] == "firing"], [])
        for one in dashboard(self.metrics)["panels"]:
            for target in one.get("targets", []):
                ask(target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*"))


if __name__ == "__main__":
    if "--write" in sys.argv:
        with Cluster() as cluster, open(DASHBOARD, "w", encoding="utf-8") as file:
            file.write(written(dashboard(cluster.metrics())))
    else:
        unittest.main()
