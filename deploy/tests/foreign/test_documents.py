"""Every command of the documents is run, as a stranger would: on default ports, in a folder like the checkout.

What cannot be run as it stands has a line in one of the tables here, with the reason; a line that nothing needs any more fails.
The test prints both. `documents.py` has the machine.
"""

import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import unittest

import documents
from documents import BINARY, BUILT, PICTURE, ROOT

# Blocks of these are run, read or sent. Others are pictures, and say so.
RUN = ("sh", "bash", "console", "json", "html", "js", "python", "toml")
PATIENCE = 900 if os.environ.get("DOCUMENTS_CARGO") else 120
SIDE_BY_SIDE = 3
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

UNIT = "tidegate logic --insecure --gateway 127.0.0.1:7201 --config rules.toml --data-dir root/var/lib/tidegate"
# The package is there, with the settings that it brings.
PACKAGE = (
    "mkdir -p root/etc/tidegate root/var/lib/tidegate\n"
    "for role in gateway logic; do sed \"s#/etc/#$PWD/root/etc/#; s#/var/#$PWD/root/var/#\" deploy/debian/$role.toml"
    " >root/etc/tidegate/$role.toml; done\n"
)
PACKAGE_SECRETS = "for secret in link-secret token-key api-keys; do openssl rand -hex 32 >root/etc/tidegate/$secret; done\n"
PACKAGE_STARTS = "tidegate gateway --config root/etc/tidegate/gateway.toml\ntidegate logic --config root/etc/tidegate/logic.toml"

# What runs before a block, by the name of its machine.
MACHINES = {
    "host": "",
    "answer": "",
    "dev": "tidegate dev\n",
    "alice": "tidegate dev\ntidegate tail --room lobby --user alice\ntidegate tail --room r1 --user bob\n",
    # Of what is installed, the places are in a folder of their own.
    "root": "mkdir -p root/etc/systemd/system root/etc/sysctl.d root/usr/bin\n",
    "redis": "redis-server --appendonly yes --appendfsync always\n",
    # A node of the unit, with its directory.
    "unit": "mkdir -p root/var/lib/tidegate\n"
            "printf '[[rooms]]\\nmatch = \"*\"\\nhistory = 10\\nttl = \"1h\"\\n' > rules.toml\n"
            f"tidegate gateway --insecure\n{UNIT}\ntidegate push --room chat --data 1\n",
    "package": PACKAGE,
    "packaged": f"{PACKAGE}{PACKAGE_SECRETS}{PACKAGE_STARTS}\n",
}

# Paths of the system are in a folder of the session there.
ROOTED = ("root", "unit", "package", "packaged")

# The same command with smaller numbers: its whole run takes longer than all tests together may.
SHORTER = {
    "target/release/tidegate-loadtest million":
        "target/release/tidegate-loadtest million --clients 500 --duration 3s",
    "target/release/tidegate-loadtest million --connections 20k":
        "target/release/tidegate-loadtest million --connections 500 --duration 3s",
    "target/release/tidegate-loadtest run --clients 5000":
        "tidegate dev; target/release/tidegate-loadtest run --clients 500 --duration 2s",
    # There is no systemd in tests: what it would end and start is ended and started.
    "systemctl stop tidegate-logic":
        "kill $(cat running/logic.1.pid); until grep -q '\"ended\"' running/logic.1.log; do sleep 0.05; done",
    "systemctl start tidegate-logic": UNIT,
    "systemctl enable --now tidegate-logic tidegate-gateway": PACKAGE_STARTS,
    # Warnings and failures are about a machine that is to hold a million: tests may run on a smaller one.
    "tidegate doctor": "tidegate doctor || [ $? = 1 ]",
    "target/release/tidegate doctor": "target/release/tidegate doctor || [ $? = 1 ]",
    "tidegate doctor --json | jq -r '.checks[] | select(.verdict != \"ok\") | .name'":
        "(tidegate doctor --json || [ $? = 1 ]) | jq -r '.checks[] | select(.verdict != \"ok\") | .name'",
    "tidegate-loadtest doctor --connections 100k": "tidegate-loadtest doctor --connections 500 || [ $? = 1 ]",
}

# Compiled once more, since tests add features to what they build, these take minutes; with DOCUMENTS_CARGO=1 they are run as
# they stand. Otherwise cargo says what they would build, and what was built for the tests is started.
COMPILED, METADATA = os.environ.get("DOCUMENTS_CARGO"), "cargo metadata --no-deps --format-version 1"
if not COMPILED:
    SHORTER["cargo run --release"] = f"""{METADATA} | grep -q '"default_run":"tidegate"' && tidegate"""

# Only read by the program that they call, which would say what it does not know: runs that have a step of deploy/test for
# their own, or take hours.
CHAOS, FUZZ = "chaos has its own step in deploy/test", "the fuzzer has its own step in deploy/test"
READ = {
    "deploy/test": ("bash -n deploy/test", "this test is a part of it"),
    "deploy/test quick": ("bash -n deploy/test", "this test is a part of it"),
    "deploy/chaos/run": ("target/release/tidegate-chaos --help", CHAOS),
    "deploy/chaos/run --engine redis --logic 2 --gateways 3":
        ("target/release/tidegate-chaos --engine redis --logic 2 --gateways 3 --help", CHAOS),
    "deploy/chaos/run long": ("target/release/tidegate-chaos long --help", CHAOS),
    "deploy/chaos/run keys --count 10000": ("target/release/tidegate-chaos keys --count 10000 --help", CHAOS),
    "deploy/chaos/run rollback --trials 50": ("target/release/tidegate-chaos rollback --trials 50 --help", CHAOS),
    "deploy/chaos/run redis-down --for 60s": ("target/release/tidegate-chaos redis-down --for 60s --help", CHAOS),
    "deploy/chaos/run rolling": ("target/release/tidegate-chaos rolling --help", CHAOS),
    "deploy/chaos/run check DIR": ("target/release/tidegate-chaos check DIR --help", CHAOS),
    "deploy/debian/run": ("bash -n deploy/debian/run", "makes a package; deploy/tests/it/debian.rs looks at what it is made of"),
    "deploy/debian/run test": ("bash -n deploy/debian/inside", "boots a Debian, and types the commands of this document there"),
    "deploy/fuzz/run": ("bash -n deploy/fuzz/run", FUZZ),
    "deploy/fuzz/run --runs 100000000 tokens": ("grep -q -e ' --runs) ' deploy/fuzz/run && ls deploy/fuzz/corpus/tokens >corpus", FUZZ),
    "deploy/fuzz/run --seconds 3600 --all-code --keep":
        ("for flag in seconds all-code keep; do grep -q -e \" --$flag) \" deploy/fuzz/run; done", FUZZ),
}

if not COMPILED:
    for build in ("cargo build --release", "cargo build --release --workspace"):
        READ[build] = (f"{METADATA} >all.json", "compiling takes minutes: DOCUMENTS_CARGO=1 does")

SECRETS = (
    "mkdir -p secrets && openssl rand -hex 32 > secrets/link-secret && openssl rand -hex 32 > secrets/api-key"
    " && openssl rand -hex 32 > secrets/token-key && chmod 644 secrets/*"
)
KUBE_SECRET = "kubectl create secret generic tidegate " + " ".join(
    f"--from-literal={name}=$(openssl rand -hex 32)" for name in ("link-secret", "api-keys", "token-key")
)

# Cannot be run here at all; what looks at it instead.
ELSEWHERE = {
    "sysctl --system": "changes the kernel of this machine; `tidegate doctor` has a test with the profile",
    "systemctl enable --now tidegate-gateway tidegate-logic": "no systemd in tests; test_manifests.py gives the units to systemd-analyze",
    "systemctl stop tidegate-gateway.service": "no systemd in tests; `deploy/debian/run test` types it in a Debian",
    "systemctl enable --now tidegate-gateway.socket": "no systemd in tests; `deploy/debian/run test` types it in a Debian",
    SECRETS: "would write into the checkout; it stands in compose.yaml too, which is compared",
    "docker compose up --build": "no docker in tests; test_manifests.py checks the file, and that nodes start with it",
    "docker compose run --rm token": "no docker in tests",
    KUBE_SECRET: "no Kubernetes in tests; test_manifests.py checks each object, and the names of the keys",
    "helm install tidegate deploy/helm/tidegate": "no helm in tests; test_manifests.py renders the chart",
    "kubectl apply -f deploy/kubernetes/tidegate.yaml": "no Kubernetes in tests; test_manifests.py checks each object",
}

# Code within text is looked at, not run: programs read it, and end because of --help.
OTHERS = ("cargo", "cp", "systemctl", "sysctl", "apt")
PROGRAMS = {"tidegate": BINARY, "tidegate-loadtest": f"{BUILT}/tidegate-loadtest", "deploy/chaos/run": f"{BUILT}/tidegate-chaos"}


class Tables:
    """Lines of the tables that were used, and how many commands were run whole."""

    def __init__(self):
        self.used, self.whole = set(), 0

    def command(self, command):
        """What is run for a command."""
        for table, instead in ((SHORTER, lambda it: it), (READ, lambda it: it[0]), (ELSEWHERE, lambda _: ":")):
            if command in table:
                self.used.add(command)
                return instead(table[command])
        self.whole += 1
        return None

    def script(self, text):
        lines = []
        for held, command in documents.logical_lines(text):
            instead = self.command(command) if command and not command.startswith("#") else None
            lines.append(held if instead is None else instead + "\n")
        return "".join(lines)

    def report(self):
        said = [f"commands run whole: {self.whole}"]
        for title, table, reason in (
            ("run shorter", SHORTER, lambda it: it), ("read by their programs", READ, lambda it: f"{it[0]}: {it[1]}"),
            ("not run here", ELSEWHERE, lambda it: it),
        ):
            said.append(f"{title}: {len(table)}")
            said += [f"  {command}\n      {reason(about)}" for command, about in table.items()]
        return "\n".join(said)


def console(text):
    """The commands of a block that shows output, each with that."""
    pairs = []
    for held, _ in documents.logical_lines(text):
        if held.startswith("$ "):
            pairs.append([held[2:], ""])
        elif pairs:
            pairs[-1][1] += held
    return pairs


PAGE = """
timeout 30 @CHROMIUM@ --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir=$PWD/chromium \
    --enable-logging=stderr --v=0 "file://$PWD/block.html" 2>page.log >/dev/null &
browser=$!
for _ in $(seq 100); do
  curl -fsS http://127.0.0.1:7100/v1/push -H 'content-type: application/json' \
      -d '{"to":{"room":"lobby"},"event":"hello","data":{"n":1},"urgent":true}' >/dev/null
  grep -q 'CONSOLE.*lobby.*hello' page.log && break
  sleep 0.1
done
grep -q 'CONSOLE.*lobby.*hello' page.log || { cat page.log >&2; false; }
kill $browser
wait $browser || true
"""


def page(block, session):
    """A page is opened in a browser, and a push must reach its console."""
    if CHROMIUM is None:
        raise AssertionError(f"{block.where}: there is no chromium to open the page with")
    session.write("block.html", block.text)
    return PAGE.replace("@CHROMIUM@", CHROMIUM)


def script_of(block, session, tables):
    """What is run for a block."""
    if block.language in ("sh", "bash"):
        script = tables.script(block.text)
        return re.sub(r"(?<=[\s'\"=])/(etc|usr|var)/", r"root/\1/", script) if block.machine in ROOTED else script
    if block.language == "console":
        parts = []
        for number, (held, _) in enumerate(console(block.text)):
            parts.append(f"exec 3>&1 >out.{number}\n{tables.script(held)}\nexec >&3 3>&-\n")
        return "".join(parts)
    tables.whole += 1
    if block.language == "html":
        return page(block, session)
    name = f"block.{block.language}"
    session.write(name, block.text)
    return {
        "json": f"curl -fsS http://127.0.0.1:7100/v1/push -H 'content-type: application/json' -d @{name}\n",
        "python": f"python3 {name}\n",
        "js": f"cp {name} block.mjs && node block.mjs\n",
        "toml": {
            "config": f"tidegate check-config --offline {name}\n",
            "keys": f"sed -i 's/…/0123456789abcdef0123456789abcdef/' {name}\ntidegate gateway --insecure\n"
                    f"tidegate logic --insecure --gateway 127.0.0.1:7201 --api-key-file {name}\n",
        }.get(" ".join(block.options), "false\n"),
    }[block.language]


def tried(block, answer, alone):
    """Runs a block; (tables, why it is not right or None)."""
    tables, session = Tables(), documents.Session(alone)
    try:
        script = MACHINES[block.machine] + script_of(block, session, tables)
        items = "tidegate tail" in block.text
        code, out, err = session.run(script, PATIENCE, items)
        if code != 0:
            return tables, f"{block.where}: exit code {code}\n{out[-2000:]}{err[-6000:]}"
        if block.language == "console":
            for number, (command, expected) in enumerate(console(block.text)):
                with open(os.path.join(session.home, f"out.{number}"), encoding="utf-8") as file:
                    found = file.read()
                why = documents.looks_like(expected, found, "exact" in block.options) if expected.strip() else None
                if why:
                    return tables, f"{block.where}: {command}{why}"
        if answer:
            found = [line for line in out.splitlines() if line.startswith(("{", "["))]
            if not found:
                return tables, f"{block.where}: {answer.where} shows an answer, and there was none:\n{out}"
            why = documents.same_shape(json.loads(answer.text), json.loads(found[-1]))
            return tables, why and f"{answer.where}: {why}\n{found[-1]}"
        return tables, None
    finally:
        session.end()


def help_of(program, words=()):
    return subprocess.run([program, *words, "--help"], capture_output=True, text=True).stdout


def known_flags():
    """All flags of our programs and scripts."""
    found = set()
    for program in PROGRAMS.values():
        top = help_of(program)
        found |= set(re.findall(r"--[a-z][a-z0-9-]+", top))
        for name in re.findall(r"^  ([a-z][a-z-]+)  ", top, re.M):
            found |= set(re.findall(r"--[a-z][a-z0-9-]+", help_of(program, [name])))
    for script in ("deploy/fuzz/run", "deploy/tests/autobahn/run", "deploy/tests/foreign/test_manifests.py"):
        found |= set(re.findall(r"--[a-z][a-z0-9-]+", documents.read(script)))
    return found


class Documents(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.blocks = [block for document in documents.documents() for block in documents.blocks(document)]

    def test_every_block_says_how_it_is_run_and_every_command_runs(self):
        silent = [one.where for one in self.blocks if one.language != PICTURE and (one.machine not in MACHINES or one.language not in RUN)]
        self.assertEqual(silent, [], f"say above each <!-- test: {'|'.join(MACHINES)} -->, or ```{PICTURE}")
        alone = documents.isolated()
        if not alone:
            taken = documents.taken_ports()
            self.assertEqual(taken, [], "no network of its own here (unshare), so these ports must be free")
        work = []
        for block, after in zip(self.blocks, [*self.blocks[1:], None]):
            if block.machine and block.machine != "answer":
                answer = after if after and after.machine == "answer" and after.document == block.document else None
                work.append((block, answer, alone))
        with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE if alone else 1) as pool:
            done = list(pool.map(lambda one: tried(*one), work))
        used = set().union(*(tables.used for tables, _ in done))
        whole = sum(tables.whole for tables, _ in done)
        tables = Tables()
        tables.whole = whole
        print(f"\n{len(work)} blocks of {len(documents.documents())} documents\n{tables.report()}", flush=True)
        wrong = [why for _, why in done if why]
        if wrong:
            self.fail(f"{len(wrong)} blocks\n\n" + "\n\n".join(wrong))
        self.assertEqual(set(SHORTER) | set(READ) | set(ELSEWHERE), used, "lines of the tables that nothing needs")

    def test_commands_within_text_are_such_that_programs_take_them(self):
        for document in documents.documents():
            for span in documents.spans(document):
                words = span.split()
                program = PROGRAMS.get(words[0].removeprefix("target/release/"))
                with self.subTest(f"{document}: {span}"):
                    if program and len(words) > 1:
                        said = subprocess.run([program, *words[1:], "--help"], capture_output=True, text=True)
                        self.assertEqual(said.returncode, 0, said.stderr)
                    elif words[:2] == ["cargo", "bench"]:
                        package, bench = words[words.index("-p") + 1], words[words.index("--bench") + 1 :][:1] if "--bench" in words else []
                        text = documents.read(f"{package}/Cargo.toml")
                        self.assertIn("[[bench]]", text)
                        for name in bench:
                            self.assertIn(f'[[bench]]\nname = "{name}"', text)
                    elif "/" in words[0] and re.match(r"(deploy|gateway|logic|loadtest|common)/", words[0]):
                        self.assertTrue(os.path.exists(os.path.join(ROOT, words[0])) or "NAME" in words[0] or "*" in words[0], "no such file")

    def test_compose_says_the_same_of_its_secrets(self):
        self.assertIn(SECRETS, documents.read("deploy/container/compose.yaml"))

    def test_flags_metrics_and_links_of_the_text_are_there(self):
        flags = known_flags()
        session = documents.Session(documents.isolated())
        _, out, err = session.run("tidegate dev\ncurl -fsS http://127.0.0.1:7100/openapi.json\n", PATIENCE)
        session.end()
        self.assertTrue(out, err)
        # What gateways call is not for others, and not described.
        calls = {re.sub(r"\{\w+\}", "{}", path) for path in json.loads(out)["paths"]} | {"/v1/link/announce"}
        metrics = documents.read("deploy/grafana/tidegate.json")
        for document in documents.documents():
            code = " ".join(span for span in documents.spans(document) if span.split()[0] not in OTHERS)
            with self.subTest(document):
                self.assertEqual(set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", code)) - flags, set(), "flags that no program has")
                named = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\btidegate_(?:logic|gateway)_[a-z_]+[a-z]", code)}
                self.assertEqual({name for name in named if name not in metrics}, set(), "metrics that no node has")
                for span in documents.spans(document):
                    for path in re.findall(r"(?<![\w.…])(/v1/[\w/{}.-]+)", span):
                        self.assertIn(re.sub(r"\{\w+\}|/:\w+", "{}", path), calls, "a call that the API does not have")
            for target in re.findall(r"\]\(([^)\s]+)\)", documents.read(document)):
                if "://" in target:
                    continue
                path, _, anchor = target.partition("#")
                path = os.path.normpath(os.path.join(os.path.dirname(document), path)) if path else document
                with self.subTest(f"{document}: {target}"):
                    self.assertTrue(os.path.exists(os.path.join(ROOT, path)), "no such file")
                    if os.path.isdir(os.path.join(ROOT, path)):
                        path = os.path.join(path, "README.md")
                    heads = re.findall(r"^#+ (.*)$", documents.read(path), re.M) if anchor else []
                    heads = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
                    self.assertTrue(not anchor or anchor in heads, f"no such heading in {path}")


if __name__ == "__main__":
    unittest.main()
