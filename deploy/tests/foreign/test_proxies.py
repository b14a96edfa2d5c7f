"""Real nginx and HAProxy, with the files under deploy/, before three real gateways: TLS, idle clients, hashing, a drain.

Only addresses, certificates and times are replaced: what is 90 s behind heartbeats of 25 s is 3 s behind heartbeats of 1 s.
"""

import asyncio
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request

import websockets

DEPLOY = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
BINARY = os.environ.get("TIDEGATE_BIN", os.path.join(DEPLOY, "../target/release/tidegate"))
PATIENCE = 30
GATEWAYS = 3
USERS = 24
IDLE_SECS = 8
PROXY_SECS = 3
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"


def free_ports(number):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def get(url, method="GET", body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return answer.read().decode()


def until(what, look, patience=PATIENCE):
    end, found = time.monotonic() + patience, None
    while not found:
        try:
            found = look()
        except (OSError, urllib.error.URLError):
            pass
        if not found and time.monotonic() > end:
            raise AssertionError(f"not in {patience} s: {what}")
        if not found:
            time.sleep(0.05)
    return found


class House:
    """Three gateways, a logic node, nginx and HAProxy."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.processes = {}
        try:
            self.build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def build(self):
        self.clients, self.ops = free_ports(GATEWAYS), free_ports(GATEWAYS)
        links = free_ports(GATEWAYS)
        self.api, logic_ops, self.nginx, self.haproxy = free_ports(4)
        for number in range(GATEWAYS):
            words = ["--listen", self.clients[number], "--ingress", links[number], "--ops", self.ops[number]]
            words = [word if isinstance(word, str) else f"127.0.0.1:{word}" for word in words]
            self.start(f"gateway-{number + 1}", [
                BINARY, "gateway", "--insecure", *words, "--name", f"gateway-{number + 1}", "--window", "100ms",
                "--heartbeat", "1s", "--drain", "3s", "--trusted-proxy", "127.0.0.1",
            ])
        config = self.file("tidegate.toml", '[[rooms]]\nmatch = "h*"\nhistory = 10000\nttl = "10m"\n')
        known = [word for link in links for word in ("--gateway", f"127.0.0.1:{link}")]
        self.start("logic", [
            BINARY, "logic", "--insecure", "--listen", f"127.0.0.1:{self.api}", "--ops", f"127.0.0.1:{logic_ops}",
            *known, "--config", config,
        ])
        self.certificate()
        self.start("nginx", ["nginx", "-e", self.path("nginx.log"), "-p", self.folder.name, "-c", self.nginx_file()])
        self.start("haproxy", ["haproxy", "-db", "-f", self.haproxy_file()])
        linked = lambda: all(one["state"] == "linked" for one in self.gateways()) and len(self.gateways()) == GATEWAYS
        until("all gateways are linked", linked)
        for port in (self.nginx, self.haproxy):
            until("the proxy listens", lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def file(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def start(self, name, command):
        with open(self.path(f"{name}.out"), "w") as log:
            env = {**os.environ, "PATH": PATH}
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, env=env)

    def certificate(self):
        subprocess.run(
            ["openssl", *"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test".split(),
             "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", self.path("tls.key"), "-out", self.path("tls.crt")],
            check=True, capture_output=True,
        )
        with open(self.path("tls.crt")) as cert, open(self.path("tls.key")) as key:
            self.file("tls.pem", cert.read() + key.read())
        self.tls = ssl.create_default_context(cafile=self.path("tls.crt"))

    def replaced(self, name, pairs):
        """A file of deploy/, with other addresses; each of them must be in it."""
        with open(os.path.join(DEPLOY, name), encoding="utf-8") as file:
            text = file.read()
        for old, new in pairs:
            assert old in text, f"{name}: {old}"
            text = text.replace(old, str(new))
        return text

    def nginx_file(self):
        gateways = [(f"127.0.0.1:{7200 + 100 * number}", f"127.0.0.1:{port}") for number, port in enumerate(self.clients)]
        server = self.replaced("nginx/tidegate.conf", [
            *gateways, ("127.0.0.1:7100", f"127.0.0.1:{self.api}"), ("listen 443", f"listen 127.0.0.1:{self.nginx}"),
            ("/etc/nginx/push.example.com.pem", self.path("tls.pem")), ("/etc/nginx/push.example.com.key", self.path("tls.key")),
            ("90s", f"{PROXY_SECS}s"),
        ])
        temps = "".join(f"{kind}_temp_path {self.path(kind)};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        whole = f"""daemon off; pid {self.path('nginx.pid')}; worker_processes 1; error_log {self.path('nginx.log')};
            events {{ worker_connections 1024; }}
            http {{ access_log off; {temps} {server} }}"""
        return self.file("nginx.conf", whole)

    def haproxy_file(self):
        servers = [
            (f"127.0.0.1:{7200 + 100 * number} port {7209 + 100 * number}", f"127.0.0.1:{port} port {ops}")
            for number, (port, ops) in enumerate(zip(self.clients, self.ops))
        ]
        text = self.replaced("haproxy/haproxy.cfg", [
            *servers, ("bind :443", f"bind 127.0.0.1:{self.haproxy}"), ("/etc/haproxy/push.example.com.pem", self.path("tls.pem")),
            ("/run/haproxy/admin.sock mode 660", self.path("admin.sock") + " mode 600"), ("maxconn 100000", "maxconn 1000"),
            ("90s", f"{PROXY_SECS}s"),
        ])
        return self.file("haproxy.cfg", text)

    def gateways(self):
        return json.loads(get(f"http://127.0.0.1:{self.api}/v1/gateways"))

    def push(self, to, data):
        return json.loads(get(f"http://127.0.0.1:{self.api}/v1/push", "POST", {"to": to, "data": data}))

    def deliveries(self):
        """How many each gateway has taken."""
        texts = [get(f"http://127.0.0.1:{port}/metrics") for port in self.ops]
        return [int(re.search(r"^tidegate_gateway_deliveries_total (\d+)", text, re.M)[1]) for text in texts]

    def connect(self, proxy, query=""):
        return websockets.connect(f"wss://127.0.0.1:{proxy}/ws{query}", ssl=self.tls, open_timeout=PATIENCE, ping_interval=None)

    def __exit__(self, *_):
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.folder.cleanup()


class Follower:
    """A client of a room with history, that comes back from where it was whenever it is sent away."""

    def __init__(self, house, proxy, user, room):
        self.house, self.proxy, self.query, self.room = house, proxy, f"?userId={user}", room
        self.at, self.seen, self.connects, self.began = None, [], 0, asyncio.Event()

    async def run(self):
        while True:
            try:
                async with self.house.connect(self.proxy, self.query) as socket:
                    self.connects += 1
                    await self.follow(socket)
            except (websockets.ConnectionClosed, websockets.InvalidStatus, OSError):
                await asyncio.sleep(0.05)

    async def follow(self, socket):
        await socket.send(json.dumps({"seq": "j", "cmd": "join", "data": {"room": self.room, **(self.at or {})}}))
        async for text in socket:
            message = json.loads(text)
            assert message["cmd"] != "reset", message
            if message["cmd"] == "join":
                told = message["response"]
                assert told["code"] == 200, told
                if self.at is None:
                    self.at = {"epoch": told["data"]["epoch"], "offset": told["data"]["offset"]}
                    self.began.set()
                else:
                    assert told["data"]["recovered"], told
            for item in message.get("items", []):
                if item["offset"] <= self.at["offset"] and not self.seen:
                    continue
                self.at = {"epoch": item["epoch"], "offset": item["offset"]}
                self.seen.append((item["offset"], item["data"]))


class Proxies(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.house = cls.enterClassContext(House())

    def test_times_of_the_files_are_longer_than_heartbeats(self):
        said = subprocess.run([BINARY, "gateway", "--help"], capture_output=True, text=True, check=True).stdout
        heartbeat = int(re.search(r"--heartbeat.*?\[default: (\d+)s\]", said, re.S)[1])
        for name, times in (("nginx/tidegate.conf", r"proxy_(?:read|send)_timeout (90)s"), ("haproxy/haproxy.cfg", r"timeout (?:tunnel|client|server) +(\d+)s")):
            with open(os.path.join(DEPLOY, name), encoding="utf-8") as file:
                found = [int(secs) for secs in re.findall(times, file.read())]
            self.assertGreaterEqual(len(found), 2, name)
            self.assertGreater(min(found), 2 * heartbeat, name)

    def test_idle_clients_outlive_the_times_of_both(self):
        async def idle(proxy):
            async with self.house.connect(proxy, f"?room=idle{proxy}") as socket:
                hello = json.loads(await socket.recv())
                self.assertEqual(hello["cmd"], "hello")
                # Nothing but pings: more than twice the proxy's time.
                with self.assertRaises(TimeoutError):
                    await asyncio.wait_for(socket.recv(), IDLE_SECS)
                await asyncio.to_thread(self.house.push, {"room": f"idle{proxy}"}, "still here")
                message = json.loads(await asyncio.wait_for(socket.recv(), PATIENCE))
                self.assertEqual(message["items"][0]["data"], "still here")

        async def both():
            await asyncio.gather(*(idle(proxy) for proxy in (self.house.nginx, self.house.haproxy)))

        asyncio.run(both())

    def test_the_api_is_reached_through_nginx(self):
        raw = socket.create_connection(("127.0.0.1", self.house.nginx), PATIENCE)
        with self.house.tls.wrap_socket(raw, server_hostname="127.0.0.1") as stream:
            stream.sendall(b"GET /v1/stats HTTP/1.1\r\nHost: push.example.com\r\n\r\n")
            self.assertTrue(stream.recv(65536).startswith(b"HTTP/1.1 200 "))

    def test_with_hashing_a_users_connections_meet_and_a_push_touches_one_gateway(self):
        async def run():
            sockets = [await self.house.connect(self.house.haproxy, f"?userId=hash{n % USERS}") for n in range(2 * USERS)]
            for socket in sockets:
                self.assertEqual(json.loads(await socket.recv())["cmd"], "hello")
            before = self.house.deliveries()
            for number in range(USERS):
                answer = await asyncio.to_thread(self.house.push, {"user": f"hash{number}"}, number)
                self.assertEqual((answer["matched"], answer["gateways"]["accepted"]), (2, 1), f"user {number}")
            taken = [after - was for was, after in zip(before, self.house.deliveries())]
            self.assertEqual(sum(taken), USERS)
            self.assertGreater(min(taken), 0, "users are spread over all gateways")
            for number, socket in enumerate(sockets):
                message = json.loads(await asyncio.wait_for(socket.recv(), PATIENCE))
                self.assertEqual(message["items"][0]["data"], number % USERS)
                await socket.close()

        asyncio.run(run())

    def test_zz_a_gateway_is_drained_its_users_move_and_nothing_is_lost(self):
        """Last by its name: afterwards there is a gateway less."""

        async def run():
            proxies = (self.house.nginx, self.house.haproxy)
            followers = [Follower(self.house, proxies[n % 2], f"move{n}", "h1") for n in range(2 * USERS)]
            tasks = [asyncio.create_task(one.run()) for one in followers]
            for one in followers:
                await asyncio.wait_for(one.began.wait(), PATIENCE)
            pushed = []

            async def push(times):
                for _ in range(times):
                    number = len(pushed)
                    answer = await asyncio.to_thread(self.house.push, {"room": "h1"}, number)
                    pushed.append((answer["rooms"][0]["offset"], number))
                    await asyncio.sleep(0.02)

            await push(20)
            get(f"http://127.0.0.1:{self.house.api}/v1/gateways/gateway-2/drain", "POST")
            # Longer than the drain of 3 s.
            await push(200)
            end = time.monotonic() + PATIENCE
            while any(one.seen != pushed for one in followers) and time.monotonic() < end:
                for task in tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.05)
            for number, one in enumerate(followers):
                self.assertEqual(one.seen, pushed, f"follower {number}")
                self.assertLessEqual(one.connects, 2, "at most one move")
            moved = sum(one.connects - 1 for one in followers)
            self.assertGreater(moved, 0, "somebody was at the gateway that went")
            self.assertLess(moved, len(followers), "and somebody was not")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run(run())
        until("the gateway has ended", lambda: self.house.processes["gateway-2"].poll() is not None)
        self.assertEqual(self.house.processes["gateway-2"].returncode, 0)


if __name__ == "__main__":
    unittest.main()
