"""Clients that know nothing of Tidegate: Python's `websockets`, `urllib` and `curl`, against a real `tidegate dev`."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import unittest
import urllib.error
import urllib.request

import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

BINARY = os.environ.get(
    "TIDEGATE_BIN", os.path.join(os.path.dirname(__file__), "../../../target/release/tidegate")
)
PATIENCE = 20


class Cluster:
    """A `tidegate dev` on free ports."""

    def __enter__(self):
        self.process = subprocess.Popen(
            [BINARY, "dev", "--port-base", "0", "--window", "200ms", "--drain", "0s"],
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
        self.gateways = re.findall(r"(ws://[^/\s]+)", said)
        self.ops = re.findall(r"clients ws://\S+ .* ops (http://\S+)", said)
        self.api = re.search(r"(http://[^/\s]+)/v1/push", said).group(1)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process.stdout.close()

    def status(self, gateway):
        with urllib.request.urlopen(self.ops[gateway] + "/statusz", timeout=PATIENCE) as answer:
            return json.load(answer)

    def push(self, body):
        request = urllib.request.Request(
            self.api + "/v1/push", data=body.encode(), headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, json.load(answer)


async def next_push(client):
    """The items of the next push frame, with its text."""
    while True:
        text = await asyncio.wait_for(client.recv(), PATIENCE)
        message = json.loads(text)
        if message["cmd"] == "push":
            return message["items"], text


class Foreign(unittest.TestCase):
    def test_python_clients_on_both_gateways_get_what_curl_and_urllib_push(self):
        asyncio.run(self.pushes())

    async def pushes(self):
        with Cluster() as cluster:
            first, second = cluster.gateways[:2]
            async with (
                websockets.connect(f"{first}/ws?userId=alice&appId=1&room=r") as alice,
                websockets.connect(f"{second}/ws?userId=bob&appId=2&room=r") as bob,
            ):
                hello = json.loads(await asyncio.wait_for(alice.recv(), PATIENCE))
                self.assertEqual(hello["cmd"], "hello")
                await bob.recv()

                status, answer = await asyncio.to_thread(
                    cluster.push, '{"to":{"room":"r"},"event":"e","data":{"b":1e400,"a":18446744073709551616}}'
                )
                self.assertEqual((status, answer["matched"], answer["gateways"]["accepted"]), (202, 2, 2))
                for client in (alice, bob):
                    items, text = await next_push(client)
                    self.assertEqual((items[0]["room"], items[0]["event"]), ("r", "e"))
                    self.assertIn('"data":{"b":1e400,"a":18446744073709551616}', text)

                for body, who in (
                    ('{"to":{"user":"bob"},"data":1}', bob),
                    (json.dumps({"to": {"client": hello["data"]["clientId"]}, "data": 2}), alice),
                    ('{"to":{"all":true},"appId":2,"data":3}', bob),
                ):
                    status, answer = await asyncio.to_thread(cluster.push, body)
                    self.assertEqual((status, answer["matched"]), (202, 1), body)
                    items, _ = await next_push(who)
                    self.assertEqual(items[0]["data"], json.loads(body)["data"])

                await alice.send("ping")
                self.assertEqual(await asyncio.wait_for(alice.recv(), PATIENCE), "pong")
                await alice.send('{"seq":"7","cmd":"leave","data":{"room":"r"}}')
                reply = json.loads(await asyncio.wait_for(alice.recv(), PATIENCE))
                self.assertEqual((reply["seq"], reply["response"]["code"]), ("7", 200))
                # A fragmented command, which Python makes of an iterable.
                await alice.send(iter(['{"seq":"8","cmd":"jo', 'in","data":{"room":"r"}}']))
                reply = json.loads(await asyncio.wait_for(alice.recv(), PATIENCE))
                self.assertEqual((reply["seq"], reply["response"]["code"]), ("8", 200))

                if shutil.which("curl"):
                    curl = [
                        "curl", "-sS", "-H", "content-type: application/json", "-H", "transfer-encoding: chunked",
                        "-d", '{"to":{"all":true},"data":"curl"}', cluster.api + "/v1/push",
                    ]  # fmt: skip
                    answer = json.loads(await asyncio.to_thread(subprocess.check_output, curl))
                    self.assertEqual(answer["matched"], 2)
                    for client in (alice, bob):
                        items, _ = await next_push(client)
                        self.assertEqual(items[0]["data"], "curl")

            self.assertIsNone(cluster.process.poll())
        self.assertEqual(cluster.code, 0, "SIGTERM ends it well")

    def test_python_clients_share_what_is_compressed_once(self):
        asyncio.run(self.compresses())

    async def compresses(self):
        item = {"symbol": "BTC-USD", "bid": "94213.10", "ask": "94218.20", "high": "95120.00", "low": "93010.50"}
        narrow = ClientPerMessageDeflateFactory(server_max_window_bits=10, client_max_window_bits=9)
        with Cluster() as cluster:
            url = f"{cluster.gateways[0]}/ws?room=r"
            async with (
                websockets.connect(url) as one,
                websockets.connect(url) as two,
                websockets.connect(url, compression=None, extensions=[narrow]) as three,
                websockets.connect(url, compression=None) as plain,
            ):
                for client, agreed in ((one, True), (two, True), (three, True), (plain, False)):
                    answer = client.response.headers.get("Sec-WebSocket-Extensions", "")
                    self.assertEqual("permessage-deflate" in answer, agreed, answer)
                    self.assertEqual(bool(client.protocol.extensions), agreed)
                    await asyncio.wait_for(client.recv(), PATIENCE)
                self.assertIn("server_max_window_bits=10", three.response.headers["Sec-WebSocket-Extensions"])

                data = [{**item, "n": n} for n in range(10)]
                body = json.dumps({"to": {"room": "r"}, "data": data})
                status, answer = await asyncio.to_thread(cluster.push, body)
                self.assertEqual((status, answer["matched"]), (202, 4))
                for client in (one, two, three, plain):
                    items, _ = await next_push(client)
                    self.assertEqual([(item["room"], item["offset"], item["data"]) for item in items], [("r", 1, data)])
                # One compression of the frame for each kind of window, however many clients.
                deflate = (await asyncio.to_thread(cluster.status, 0))["deflate"]
                self.assertEqual((deflate["handshakes"], deflate["frames"]), (3, 2))
                self.assertLess(deflate["bytesAfter"], deflate["bytesBefore"] * 0.25)

                # What Python sends is compressed too.
                for client in (one, three):
                    await client.send('{"seq":"7","cmd":"join","data":{"room":"' + "long" * 60 + '"}}')
                    reply = json.loads(await asyncio.wait_for(client.recv(), PATIENCE))
                    self.assertEqual((reply["seq"], reply["response"]["code"]), ("7", 200))
                # A megabyte of one letter is some hundred bytes on the wire, and too much here.
                await one.send("x" * 1_000_000)
                with self.assertRaises(websockets.ConnectionClosed) as closed:
                    await asyncio.wait_for(one.recv(), PATIENCE)
                self.assertEqual(closed.exception.rcvd.code, 1009)
            self.assertIsNone(cluster.process.poll())

    def test_a_mistake_is_answered_with_a_problem_that_says_what_to_change(self):
        with Cluster() as cluster:
            status, problem = cluster.push('{"to":{"romo":"r"},"data":1}')
            self.assertEqual(status, 400)
            self.assertIn("room", problem["detail"])
            self.assertEqual(problem["errors"][0]["pointer"], "/to/romo")


if __name__ == "__main__":
    unittest.main()
