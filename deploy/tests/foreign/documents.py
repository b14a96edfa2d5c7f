"""The documents, and a stranger's machine to run their commands on.

Each fenced block says above itself, where readers do not see it, on what machine it is run:

    <!-- test: dev -->

A session is one such machine: a network of its own, so that the ports that the text names are free, and processes of its
own, which end with it. In its folder everything of the checkout is at its place; what is written stays in the folder.
Whoever follows the text opens a shell for each program that does not end; here these are started beside, and the next line
comes once they are ready (`STAND_IN`).
"""

import dataclasses
import fcntl
import glob
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../.."))
BINARY = os.path.abspath(os.environ.get("TIDEGATE_BIN", os.path.join(ROOT, "target/release/tidegate")))
BUILT = os.path.dirname(BINARY)
PORTS = (6379, 7100, 7109, 7200, 7201, 7209, 7300, 7301, 7309)
MARK = re.compile(r"<!-- test: ([a-z-]+)((?: [a-z]+)*) -->")
PICTURE = "text"

# Stands in for a program that does not end: starts it beside, and ends itself once that is ready. A node is ready once it
# says so and, where its other half is there already, once its ops port says so too.
STAND_IN = r"""#!/usr/bin/env bash
name=$(basename "$0")
real=(@BUILT@/"$name")
role=${1:-dev}
if [ "$name" = cargo ]; then
  export CARGO_TARGET_DIR=@TARGET@
  cd @ROOT@ || exit 1
  case "$1 $2 $3" in
    "run --release ") real=(@CARGO@) role=dev ;;
    *) exec @CARGO@ "$@" ;;
  esac
elif [ "$name" = redis-server ]; then
  real=(@REDIS@) role=redis
  case " $* " in *' --daemonize '*) exec "${real[@]}" "$@" ;; esac
fi
case "$role" in
  dev | gateway | logic | redis) out=$role said='^READY|Ready to accept connections' ;;
  tail) out=tail said='tidegate tail: connected to' ;;
  *) exec "${real[@]}" "$@" ;;
esac
for word; do case "$word" in --help | -h | --count | --version) exec "${real[@]}" "$@" ;; esac; done
ops=''
case "$role" in
  gateway) [ -e "$RUNNING/logic.1.log" ] && ops=127.0.0.1:7209 ;;
  logic) [ -e "$RUNNING/gateway.1.log" ] && ops=127.0.0.1:7109 ;;
esac
[[ -n "$ops" && " $* " =~ ' --ops '([^ ]+) ]] && ops=${BASH_REMATCH[1]}
number=1
while [ -e "$RUNNING/$out.$number.log" ]; do number=$((number + 1)); done
log=$RUNNING/$out.$number
: >"$log.log"
# Its output is not the session's: what waits for the end of that would wait for this.
if [ "$role" = tail ]; then "${real[@]}" "$@" >"$log.items" 2>"$log.log" </dev/null &
else "${real[@]}" "$@" >"$log.log" 2>&1 </dev/null & fi
pid=$!
echo $pid >"$log.pid"
for _ in $(seq @PATIENCE@); do
  grep -qE "$said" "$log.log" && { [ -z "$ops" ] || curl -fs "http://$ops/readyz" >/dev/null; } && exit 0
  kill -0 $pid 2>/dev/null || { wait $pid; code=$?; cat "$log.log" >&2; exit $code; }
  sleep 0.05
done
echo "$name $*: not ready in time" >&2
cat "$log.log" >&2
exit 1
"""

# What every session begins and ends with; a line that fails is named with the lines before it in the output.
BEGIN = r"""set -uo pipefail
failed() { echo "FAILED ($1), line $2 of what was run: $BASH_COMMAND" >&2; exit "$1"; }
set -E; trap 'failed $? $LINENO' ERR
"""
END = r"""
for items in "$RUNNING"/tail.*.items; do
  [ -e "$items" ] && [ -n "$EXPECT_ITEMS" ] || continue
  for _ in $(seq 200); do [ -s "$items" ] && break; sleep 0.05; done
  [ -s "$items" ] || { echo "tail printed no item" >&2; exit 1; }
done
"""


@dataclasses.dataclass
class Block:
    """A fenced block, with what stands above it."""

    document: str
    line: int
    language: str
    text: str
    machine: str | None
    options: tuple

    @property
    def where(self):
        return f"{self.document}:{self.line}"


def documents():
    """Those that hold commands for readers."""
    found = ["README.md", "SECURITY.md", "loadtest/README.md", "gateway/client/README.md"]
    found += sorted(os.path.relpath(path, ROOT) for path in glob.glob(os.path.join(ROOT, "deploy/*.md")))
    return found + sorted(os.path.relpath(path, ROOT) for path in glob.glob(os.path.join(ROOT, "deploy/*/README.md")))


def read(document):
    with open(os.path.join(ROOT, document), encoding="utf-8") as file:
        return file.read()


def blocks(document, text=None):
    """All fenced blocks of a document, in order."""
    lines = (text or read(document)).splitlines()
    found, number = [], 0
    while number < len(lines):
        fence = re.match(r" *```(\w*)$", lines[number])
        if not fence:
            number += 1
            continue
        above = next((line for line in reversed(lines[:number]) if line.strip()), "")
        mark = MARK.fullmatch(above.strip())
        end = next(at for at in range(number + 1, len(lines)) if lines[at].strip() == "```")
        body = "\n".join(lines[number + 1 : end]) + "\n"
        machine, options = (mark[1], tuple(mark[2].split())) if mark else (None, ())
        found.append(Block(document, number + 1, fence[1], body, machine, options))
        number = end + 1
    return found


def spans(document):
    """Code within text: what stands between backquotes, outside of blocks."""
    text = re.sub(r"^ *```.*?^ *```$", "", read(document), flags=re.M | re.S)
    return [span.replace("\\|", "|") for span in re.findall(r"`([^`\n]+)`", text)]


def logical_lines(text):
    """Lines with those that they go on in, as (lines as they stand, command without remark)."""
    lines, held = [], ""
    for line in text.splitlines():
        held += line + "\n"
        if not line.endswith("\\"):
            command = re.sub(r"\\\n\s*", "", held)
            command = re.sub(r"(^|\s{2,})#\s.*$", "", command).strip()
            lines.append((held, command))
            held = ""
    return lines


def isolated():
    """Whether this user may have a network and processes of his own."""
    try:
        subprocess.run(["unshare", *ISOLATE, "true"], check=True, capture_output=True)
        return True
    except (OSError, subprocess.CalledProcessError):
        return False


ISOLATE = ["--net", "--pid", "--mount-proc", "--fork", "--kill-child"]
if hasattr(os, "geteuid") and os.geteuid() != 0:
    ISOLATE.append("--map-root-user")


class Session:
    """A machine of its own in a folder of its own; `run` runs a script in it to its end."""

    def __init__(self, alone):
        self.alone = alone
        self.folder = tempfile.TemporaryDirectory(prefix="tidegate-documents-")
        self.home = self.folder.name
        for name in os.listdir(ROOT):
            if name not in ("target", ".git"):
                os.symlink(os.path.join(ROOT, name), os.path.join(self.home, name))
        for folder in ("bin", "target/release", "running"):
            os.makedirs(os.path.join(self.home, folder))
        words = {
            "@BUILT@": BUILT, "@TARGET@": os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target"), "@ROOT@": ROOT,
            "@PATIENCE@": "17000" if os.environ.get("DOCUMENTS_CARGO") else "600", "@CARGO@": shutil.which("cargo") or "cargo", "@REDIS@": shutil.which("redis-server") or "redis-server",
        }
        text = re.sub("|".join(words), lambda word: shlex.quote(words[word[0]]), STAND_IN)
        for name in ("bin/tidegate", "bin/cargo", "bin/redis-server", "target/release/tidegate"):
            self.write(name, text, 0o755)
        for name in ("tidegate-loadtest", "tidegate-chaos"):
            for folder in ("bin", "target/release"):
                os.symlink(os.path.join(BUILT, name), os.path.join(self.home, folder, name))

    def write(self, name, text, mode=0o644):
        path = os.path.join(self.home, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def run(self, script, seconds, expect_items=False):
        """The exit code, standard output, and standard error with what ran beside."""
        path = self.write("session.sh", BEGIN + script + END)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
        env = {
            **clean, "PATH": f"{self.home}/bin:{clean['PATH']}:/usr/sbin:/sbin", "RUNNING": f"{self.home}/running",
            "EXPECT_ITEMS": "1" if expect_items else "", "LANG": "C.UTF-8", "TERM": "dumb", "COLUMNS": "200",
        }
        command = [sys.executable, os.path.abspath(__file__), "bash", path]
        if self.alone:
            command = ["unshare", *ISOLATE, *command]
        process = subprocess.Popen(
            command, cwd=self.home, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=seconds)
            code = process.returncode
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            out, err, code = "", f"not ended in {seconds} s", 124
        finally:
            if not self.alone:
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                end = time.monotonic() + 10
                while taken_ports() and time.monotonic() < end:
                    time.sleep(0.05)
        return code, out, err + ("" if code == 0 else self.beside())

    def beside(self):
        """The ends of the logs of what ran beside."""
        said = ""
        for name in sorted(os.listdir(os.path.join(self.home, "running"))):
            with open(os.path.join(self.home, "running", name), encoding="utf-8", errors="replace") as file:
                said += f"\n--- {name}\n" + "".join(file.readlines()[-15:])
        return said

    def end(self):
        self.folder.cleanup()


def taken_ports():
    """Ports that the documents name and that somebody here has."""
    taken = []
    for port in PORTS:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            taken.append(port)
    return taken


def shape(text):
    """A line of output without what differs from run to run."""
    text = re.sub(r"\d[\d,.:]*", "#", text.rstrip())
    return re.sub(r"\s+", " ", text)


def looks_like(expected, found, exact=False):
    """Why lines of output do not look as a document shows them, or None. `…` stands for anything, alone for any lines."""
    form = (lambda line: line.rstrip()) if exact else shape
    parts = []
    for line in expected.splitlines():
        if line.strip() == "…":
            parts.append(r"(?:[^\n]*\n)*?")
        else:
            parts.append(".*?".join(re.escape(form(part)) for part in line.split("…")) + r"\n")
    got = "".join(form(line) + "\n" for line in found.splitlines())
    return None if re.fullmatch("".join(parts), got) else f"the document shows\n{expected}\nand it is\n{found}"


def same_shape(expected, found, at=""):
    """Why a JSON value is not made as one in a document is, or None."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if set(expected) != set(found):
            return f"{at or '/'}: {sorted(expected)} is shown, and it has {sorted(found)}"
        reasons = (same_shape(expected[name], found[name], f"{at}/{name}") for name in expected)
        return next((reason for reason in reasons if reason), None)
    if isinstance(expected, list) and isinstance(found, list):
        return same_shape(expected[0], found[0], f"{at}/0") if expected and found else None
    same = type(expected) is type(found)
    return None if same else f"{at}: {expected!r} is shown, and it is {found!r}"


def loopback():
    """Of a network of one's own even this is down at first."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))


if __name__ == "__main__":
    try:
        loopback()
    except OSError:
        pass
    # The first process of its own: when it ends, all that it started does.
    os.execvp(sys.argv[1], sys.argv[1:])
