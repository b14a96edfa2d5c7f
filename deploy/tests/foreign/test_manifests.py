"""What stands under deploy/ for containers and Kubernetes: valid to the tools of others, and true to the program.

The chart's templates only put values in places, so a dozen lines render them here; where there is a `helm`, what it
renders is compared. `deploy/kubernetes/tidegate.yaml` is the chart with its defaults:

    python deploy/tests/foreign/test_manifests.py --write
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import yaml

DEPLOY = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
CHART = os.path.join(DEPLOY, "helm/tidegate")
PLAIN = os.path.join(DEPLOY, "kubernetes/tidegate.yaml")
BINARY = os.environ.get("TIDEGATE_BIN", os.path.join(DEPLOY, "../target/release/tidegate"))
KUBERNETES = "1.33"
HEAD = "# The chart in deploy/helm with its defaults, for kubectl apply. Made by deploy/tests/foreign/test_manifests.py --write\n"


def read(*path):
    with open(os.path.join(DEPLOY, *path), encoding="utf-8") as file:
        return file.read()


def values():
    return yaml.safe_load(read("helm/tidegate/values.yaml"))


def rendered():
    """The templates of the chart with its defaults, for a release called tidegate."""
    known = {"Release": {"Name": "tidegate"}, "Values": values()}

    def value(match):
        found = known
        for part in match[1].split("."):
            found = found[part]
        return str(found)

    texts = []
    for name in sorted(os.listdir(os.path.join(CHART, "templates"))):
        text = re.sub(r"\{\{ \.([A-Za-z.]+) \}\}", value, read("helm/tidegate/templates", name))
        assert "{{" not in text, f"{name}: a template that is more than a value"
        texts.append("---\n" + text)
    return HEAD + "".join(texts)


def objects():
    return [one for one in yaml.safe_load_all(rendered()) if one]


def pods():
    """The pod of each Deployment, with its one container."""
    for one in objects():
        if one["kind"] == "Deployment":
            pod = one["spec"]["template"]["spec"]
            yield one["metadata"]["name"], pod, pod["containers"][0]


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def flags(command):
    """Flag to value, of what a container starts with."""
    return dict(word.removeprefix("--").split("=", 1) for word in command[1:])


class Manifests(unittest.TestCase):
    def assert_starts(self, where, command):
        """The program knows every flag, and takes each value, of a command that a manifest gives it."""
        role = command[0]
        help = subprocess.run([BINARY, role, "--help"], capture_output=True, text=True, check=True).stdout
        lines = []
        for flag, value in flags(command).items():
            self.assertIn(f"--{flag}", help, f"{where}: {role} has no such flag")
            if not flag.endswith("-file") and flag != "config":
                lines.append(f"{flag} = {value!r}")
        # Files of secrets are not here; all else is checked as it is at a start.
        lines.append("insecure = true")
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(f"[{role}]\n" + "\n".join(lines) + "\n")
            file.flush()
            checked = subprocess.run([BINARY, "check-config", file.name], capture_output=True, text=True)
        # An engine that is another machine's cannot be reached from here.
        if "engine" not in flags(command):
            self.assertEqual(checked.returncode, 0, f"{where}: {checked.stderr}")

    def test_the_plain_manifests_are_the_chart_with_its_defaults(self):
        self.assertEqual(read("kubernetes/tidegate.yaml"), rendered(), "make it anew with --write")

    def test_kubernetes_takes_every_object(self):
        import kubernetes_validate

        self.assertGreaterEqual(len(objects()), 9)
        for one in objects():
            with self.subTest(one["kind"], name=one["metadata"]["name"]):
                kubernetes_validate.validate(one, KUBERNETES, strict=True)

    def test_helm_renders_what_we_render(self):
        helm = shutil.which("helm")
        if helm is None:
            self.skipTest("helm is not here: the chart was rendered by the other tests alone")
        said = subprocess.run([helm, "template", "tidegate", CHART], capture_output=True, text=True, check=True)
        by_name = lambda all: sorted(all, key=lambda one: (one["kind"], one["metadata"]["name"]))
        theirs = [one for one in yaml.safe_load_all(said.stdout) if one]
        self.assertEqual(by_name(theirs), by_name(objects()))

    def test_nodes_start_with_what_the_manifests_say(self):
        started = [(name, container["args"]) for name, _, container in pods()]
        self.assertEqual(sorted(args[0] for _, args in started), ["gateway", "logic"])
        for name, args in started:
            self.assert_starts(name, args)
        config = next(one for one in objects() if one["kind"] == "ConfigMap")["data"]["tidegate.toml"]
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(config)
            file.flush()
            subprocess.run([BINARY, "check-config", file.name], check=True, capture_output=True)

    def test_ports_probes_and_times_fit_each_other(self):
        for name, pod, container in pods():
            with self.subTest(name):
                ports = {port["name"]: port["containerPort"] for port in container["ports"]}
                given = flags(container["args"])
                listens = {int(given[flag].rsplit(":", 1)[1]) for flag in ("listen", "ingress", "ops") if flag in given}
                self.assertEqual(set(ports.values()), listens)
                paths = {probe: container[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe", "startupProbe")}
                self.assertEqual({probe["port"] for probe in paths.values()}, {"ops"})
                self.assertEqual(paths["readinessProbe"]["path"], "/readyz")
                self.assertEqual(paths["livenessProbe"]["path"], "/healthz")
                # Readiness is seen, the drain ends, and what comes after it, before the kernel ends the process.
                waits = container["lifecycle"]["preStop"]["sleep"]["seconds"]
                self.assertGreaterEqual(waits, container["readinessProbe"]["periodSeconds"] * 2)
                self.assertGreaterEqual(pod["terminationGracePeriodSeconds"], waits + seconds(given["drain"]) + 10)
                self.assertFalse(pod["enableServiceLinks"])
                self.assertTrue(pod["securityContext"]["runAsNonRoot"])
        gateway = values()["gateway"]
        self.assertLess(int(gateway["targetConnections"]), gateway["maxConnections"])
        self.assertLessEqual(gateway["minReplicas"], gateway["replicas"])

    def test_selectors_and_names_meet(self):
        labels = [
            one["spec"]["template"]["metadata"]["labels"] for one in objects() if one["kind"] == "Deployment"
        ]
        for one in objects():
            spec = one.get("spec", {})
            selector = spec.get("selector") or spec.get("podSelector")
            selector = selector.get("matchLabels", selector) if selector else None
            if selector:
                hits = [of for of in labels if selector.items() <= of.items()]
                self.assertEqual(len(hits), 1, f"{one['kind']} {one['metadata']['name']} selects {len(hits)} Deployments")
        links = next(one for one in objects() if one["metadata"]["name"].endswith("-links") and one["kind"] == "Service")
        self.assertEqual(links["spec"]["clusterIP"], "None")
        logic = next(container for name, _, container in pods() if name.endswith("-logic"))
        self.assertEqual(flags(logic["args"])["gateway-dns"], f"{links['metadata']['name']}:7201")

    def test_every_default_that_the_documents_claim_is_the_charts(self):
        table = re.findall(r"^\| `((?:logic|gateway|image)\.[A-Za-z.]+|engine|secret)` \| ([^|]+) \|", read("README.md"), re.M)
        self.assertGreaterEqual(len(table), 10, "the table of the chart's values in deploy/README.md")
        for path, claimed in table:
            found = values()
            for part in path.split("."):
                found = found[part]
            self.assertEqual(str(found), claimed.strip().strip("`").replace(",", ""), path)

    def test_the_dockerfile_is_clean_to_a_linter(self):
        subprocess.run(["hadolint", os.path.join(DEPLOY, "container/Dockerfile")], check=True)

    def test_compose_takes_the_file_and_nodes_start_with_it(self):
        path = os.path.join(DEPLOY, "container/compose.yaml")
        subprocess.run(
            ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", path], check=True, capture_output=True
        )
        services = yaml.safe_load(read("container/compose.yaml"))["services"]
        ours = {name: one for name, one in services.items() if one["image"] == "tidegate" and name != "token"}
        self.assertEqual(sorted(ours), ["gateway-1", "gateway-2", "gateway-3", "logic-1", "logic-2"])
        for name, one in ours.items():
            self.assert_starts(name, one["command"])
            self.assertGreater(seconds(one["stop_grace_period"]), 30)
        redis = services["redis"]["command"]
        self.assertIn("noeviction", redis)
        self.assertEqual(redis[redis.index("--appendfsync") + 1], "always")

    def test_systemd_takes_the_units_and_finds_them_shut(self):
        for role in ("gateway", "logic"):
            unit = read(f"systemd/tidegate-{role}.service").replace("/usr/bin/tidegate", os.path.abspath(BINARY))
            with self.subTest(role), tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, f"tidegate-{role}.service")
                with open(path, "w", encoding="utf-8") as file:
                    file.write(unit)
                paths = [path]
                if role == "gateway":
                    paths.append(os.path.join(folder, "tidegate-gateway.socket"))
                    shutil.copy(os.path.join(DEPLOY, "systemd/tidegate-gateway.socket"), paths[-1])
                said = subprocess.run(["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True)
                self.assertEqual((said.returncode, said.stderr), (0, ""))
                # 10 is wide open; 2 and less is what hardened units of Debian have.
                found = subprocess.run(["systemd-analyze", "security", "--offline=yes", path], capture_output=True, text=True)
                exposure = re.search(r"exposure level for \S+: ([0-9.]+)", found.stdout)[1]
                self.assertLessEqual(float(exposure), 2.0)
                words = dict(re.findall(r"^(\w+)=(.*)$", unit, re.M))
                help = subprocess.run([BINARY, role, "--help"], capture_output=True, text=True, check=True).stdout
                drain = re.search(r"--drain .*?\[default: (\w+)\]", help, re.S)[1]
                self.assertGreater(seconds(words["TimeoutStopSec"]), seconds(drain) + 10)
                self.assertEqual(words["Type"], "notify")
                for variable in re.findall(r"Environment=TIDEGATE_(\w+)=", unit):
                    self.assertIn(f"--{variable.lower().replace('_', '-')} ", help)


if __name__ == "__main__":
    if "--write" in sys.argv:
        with open(PLAIN, "w", encoding="utf-8") as file:
            file.write(rendered())
    else:
        unittest.main()
