// The client library by itself: a fake WebSocket, a fake clock, and dice that always fall on one half.

import assert from "node:assert/strict";
import { test } from "node:test";

import { TidegateError, connect } from "../../../gateway/client/tidegate.js";
import { fakeSockets } from "./fake-socket.js";

const settled = () => new Promise((resolve) => setImmediate(resolve));

/** A client over fake sockets, with its events in the order they came. */
async function start(t, url = "ws://a:1", options = {}) {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  t.mock.method(Math, "random", () => 0.5);
  const { sockets, FakeWebSocket } = fakeSockets();
  const tide = connect(url, { WebSocket: FakeWebSocket, ...options });
  const seen = [];
  for (const name of ["hello", "item", "frame", "gap", "reset", "reconnect", "state"]) {
    tide.on(name, (detail) => seen.push([name, detail]));
  }
  t.after(() => tide.close());
  await settled();
  const of = (name) => seen.filter(([kind]) => kind === name).map(([, detail]) => detail);
  const after = async (ms) => { t.mock.timers.tick(ms); await settled(); };
  return { tide, sockets, of, after };
}

test("the address carries the path, the identity and the rooms", async (t) => {
  const { sockets, tide } = await start(t, "http://gate:7200", { userId: "al ice", appId: 7, token: "t.k", rooms: ["a", "b&c"] });
  const { url } = sockets[0];
  assert.equal(url.origin + url.pathname, "ws://gate:7200/ws");
  assert.deepEqual(url.searchParams.getAll("room"), ["a", "b&c"]);
  assert.equal(url.searchParams.get("userId"), "al ice");
  assert.equal(url.searchParams.get("appId"), "7");
  assert.equal(url.searchParams.get("token"), "t.k");
  sockets[0].greets();
  assert.equal(tide.state, "open");
  assert.equal(tide.clientId, "c1");
  assert.deepEqual(sockets[0].commands, [], "rooms in the address need no join");
});

test("addresses and names that cannot be are refused at once", () => {
  for (const url of ["nonsense", "ftp://a", []]) assert.throws(() => connect(url), TypeError);
  for (const room of ["", "a\0b", "x".repeat(257), "é".repeat(129)]) {
    assert.throws(() => connect("ws://a", { rooms: [room] }), /room's name/);
  }
});

test("items come one by one with parsed data, frames with their raw text", async (t) => {
  const { sockets, of } = await start(t);
  sockets[0].greets();
  const text = '{"cmd":"push","items":[{"room":"r","event":"e","data":18446744073709551616},{"data":{"a":[1,null]}}]}';
  sockets[0].says(text);
  assert.equal(of("frame").at(-1).text, text);
  assert.deepEqual(of("item").map(({ room, event }) => [room, event]), [["r", "e"], [undefined, undefined]]);
  assert.deepEqual(of("item")[1].data, { a: [1, null] });
});

test("what is not JSON, not text, or of no known kind harms nothing", async (t) => {
  const { sockets, of, tide } = await start(t);
  sockets[0].greets();
  for (const odd of ["", "{", "pong", "null", "7", "[]", '{"cmd":"later"}', '{"cmd":"push"}']) sockets[0].says(odd);
  sockets[0].dispatchEvent(Object.assign(new Event("message"), { data: new ArrayBuffer(2) }));
  sockets[0].says({ cmd: "push", items: [{ data: 1 }] });
  assert.equal(of("item").length, 1);
  assert.equal(tide.state, "open");
});

test("replies find their command by seq, whatever their order", async (t) => {
  const { sockets, tide } = await start(t);
  sockets[0].greets();
  const first = tide.join("a");
  const second = tide.join("b");
  const [a, b] = sockets[0].commands;
  assert.deepEqual([a.cmd, a.data, typeof a.seq], ["join", { room: "a" }, "string"]);
  sockets[0].answers(b, { code: 200, codeMsg: "Success", data: { recovered: false } });
  assert.deepEqual(await second, { recovered: false });
  sockets[0].answers(a, { code: 403, codeMsg: "not yours" });
  await assert.rejects(first, (error) => error instanceof TidegateError && error.code === 403 && error.message === "not yours");
  assert.deepEqual(tide.rooms, ["b"], "a refused room is not asked for again");
});

test("a command without a reply fails in time, and its room stays wanted", async (t) => {
  const { sockets, tide, after } = await start(t, "ws://a", { answerTimeMaxMs: 3000 });
  sockets[0].greets();
  const join = tide.join("slow");
  const failed = assert.rejects(join, { code: 408 });
  await after(3000);
  await failed;
  assert.deepEqual(tide.rooms, ["slow"]);
});

test("commands given before the hello are sent after it; those unanswered at a loss, again", async (t) => {
  const { sockets, tide, after } = await start(t, "ws://a", { answerTimeMaxMs: 60_000 });
  const join = tide.join("r");
  assert.deepEqual(sockets[0].sent, []);
  sockets[0].greets();
  assert.equal(sockets[0].commands.length, 1);
  sockets[0].breaks();
  await after(1000);
  assert.deepEqual(sockets[1].url.searchParams.getAll("room"), [], "its join is still to be answered");
  sockets[1].greets();
  assert.equal(sockets[1].commands.length, 1);
  sockets[1].answers(sockets[1].commands[0]);
  await join;
});

test("waits grow by doubling up to the bound, with full jitter", async (t) => {
  const { sockets, of, after } = await start(t, "ws://a", { backoffMinMs: 1000, backoffMaxMs: 6000 });
  for (let lost = 0; lost < 5; lost += 1) {
    sockets.at(-1).breaks();
    await after(of("reconnect").at(-1).afterMs - 1);
    assert.equal(sockets.length, lost + 1, "not before its time");
    await after(1);
    assert.equal(sockets.length, lost + 2);
  }
  assert.deepEqual(of("reconnect").map(({ afterMs }) => afterMs), [500, 1000, 2000, 3000, 3000], "half of each bound");
  Math.random.mock.mockImplementation(() => 0);
  sockets.at(-1).breaks();
  assert.equal(of("reconnect").at(-1).afterMs, 0, "jitter is full: it may be at once");
});

test("a connection that lived well begins the back-off anew, a short one does not", async (t) => {
  const { sockets, of, after } = await start(t);
  sockets[0].breaks();
  await after(500);
  sockets[1].greets();
  sockets[1].breaks();
  assert.equal(of("reconnect").at(-1).afterMs, 1000);
  await after(1000);
  sockets[2].greets();
  await after(10_000);
  sockets[2].breaks();
  assert.equal(of("reconnect").at(-1).afterMs, 500);
});

for (const code of [1001, 1005, 1006, 1011, 1012, 1013, 4000, 4002, 4003, 4499]) {
  test(`close code ${code} reconnects`, async (t) => {
    const { sockets, tide, after } = await start(t);
    sockets[0].greets();
    sockets[0].breaks(code);
    assert.equal(tide.state, "waiting");
    await after(1000);
    assert.equal(sockets.length, 2);
  });
}

for (const code of [1000, 1002, 1009, 4500, 4501, 4502, 4503, 4999]) {
  test(`close code ${code} is the end`, async (t) => {
    const { sockets, tide, of, after } = await start(t);
    sockets[0].greets();
    const join = assert.rejects(tide.join("r"), { code: 0 });
    sockets[0].breaks(code, "why");
    await join;
    assert.deepEqual(of("state").at(-1), { state: "closed", url: "ws://a:1/ws", code, reason: "why" });
    await after(600_000);
    assert.equal(sockets.length, 1);
    await assert.rejects(tide.leave("r"), { code: 0 });
  });
}

test("several addresses take turns", async (t) => {
  const { sockets, after } = await start(t, ["ws://a", "ws://b", "ws://c"]);
  for (let lost = 0; lost < 3; lost += 1) {
    sockets.at(-1).breaks();
    await after(30_000);
  }
  assert.deepEqual(sockets.map(({ url }) => url.hostname), ["b", "c", "a", "b"], "begins at a random one: half of three is b");
});

test("rooms are joined again: without history by the address, with history from where it was seen", async (t) => {
  const { sockets, tide, after } = await start(t, "ws://a", { userId: "u", rooms: ["plain", "kept"] });
  sockets[0].greets();
  sockets[0].says({ cmd: "push", items: [{ room: "plain", data: 1 }, { room: "kept", epoch: "e", offset: 41, data: 2 }] });
  sockets[0].breaks();
  await after(1000);
  assert.deepEqual(sockets[1].url.searchParams.getAll("room"), ["plain"]);
  sockets[1].greets({ clientId: "c2" });
  assert.equal(tide.clientId, "c2");
  assert.deepEqual(sockets[1].commands.map(({ cmd, data }) => [cmd, data]), [["join", { room: "kept", epoch: "e", offset: 41 }]]);
});

test("a left room is not joined again", async (t) => {
  const { sockets, tide, after } = await start(t, "ws://a", { rooms: ["r", "s"] });
  sockets[0].greets();
  const leave = tide.leave("r");
  sockets[0].answers(sockets[0].commands[0]);
  await leave;
  sockets[0].breaks();
  await after(1000);
  assert.deepEqual(sockets[1].url.searchParams.getAll("room"), ["s"]);
});

test("a room that cannot be joined again is told as a gap, one that may later is tried again", async (t) => {
  const { sockets, tide, of, after } = await start(t, "ws://a", { rooms: ["no", "later"] });
  sockets[0].greets();
  const items = ["no", "later"].map((room) => ({ room, epoch: "e", offset: 1, data: 0 }));
  sockets[0].says({ cmd: "push", items });
  sockets[0].breaks();
  await after(1000);
  sockets[1].greets();
  const [no, later] = sockets[1].commands;
  sockets[1].answers(no, { code: 403, codeMsg: "gone" });
  sockets[1].answers(later, { code: 503, codeMsg: "engine away" });
  await settled();
  assert.deepEqual(of("gap"), [{ room: "no", reason: "could not join again: gone" }]);
  await after(2000);
  assert.equal(sockets[1].commands.length, 3);
  assert.deepEqual(sockets[1].commands.at(-1).data, { room: "later", epoch: "e", offset: 1 });
  assert.deepEqual(tide.rooms, ["later"]);
});

test("each offset of an epoch comes once; a new epoch begins anew", async (t) => {
  const { sockets, of } = await start(t, "ws://a", { rooms: ["r"] });
  sockets[0].greets();
  for (const [epoch, offset] of [["e", 5], ["e", 6], ["e", 6], ["e", 5], ["e", 7], ["f", 1], ["f", 1], ["f", 2]]) {
    sockets[0].says({ cmd: "push", items: [{ room: "r", epoch, offset, data: 0 }] });
  }
  sockets[0].says({ cmd: "reset", room: "r", epoch: "g", offset: 10 });
  for (const offset of [9, 10, 11]) sockets[0].says({ cmd: "push", items: [{ room: "r", epoch: "g", offset, data: 0 }] });
  assert.deepEqual(of("item").map(({ epoch, offset }) => epoch + offset), ["e5", "e6", "e7", "f1", "f2", "g11"]);
  assert.deepEqual(of("reset").map(({ room, offset }) => [room, offset]), [["r", 10]]);
});

test("a hello says where histories begin, and a client that saw no item goes on from there", async (t) => {
  const { sockets, of, after } = await start(t, "ws://a", { userId: "u", rooms: ["kept", "plain"] });
  const positions = [{ room: "kept", epoch: "e", offset: 41 }, { user: true, epoch: "f", offset: 0 }];
  sockets[0].greets({ positions });
  assert.deepEqual(sockets[0].commands, [], "it has just begun");
  sockets[0].says({ cmd: "push", items: [{ room: "kept", epoch: "e", offset: 41, data: 0 }, { room: "kept", epoch: "e", offset: 42, data: 0 }] });
  assert.deepEqual(of("item").map(({ offset }) => offset), [42], "what was on its way to others is before the beginning");
  sockets[0].breaks();
  await after(1000);
  assert.deepEqual(sockets[1].url.searchParams.getAll("room"), ["plain"]);
  sockets[1].greets();
  assert.deepEqual(sockets[1].commands.map(({ data }) => data), [{ userId: "u", appId: undefined, epoch: "f", offset: 0 }, { room: "kept", epoch: "e", offset: 42 }].map((data) => JSON.parse(JSON.stringify(data))));
});

test("a login that cannot be resumed now is tried again, and one that is refused is told", async (t) => {
  const { sockets, of, after } = await start(t, "ws://a", { userId: "u" });
  sockets[0].greets();
  sockets[0].says({ cmd: "push", items: [{ user: true, epoch: "e", offset: 2, data: 0 }] });
  sockets[0].breaks();
  await after(1000);
  sockets[1].greets();
  sockets[1].answers(sockets[1].commands[0], { code: 503, codeMsg: "history away" });
  await settled();
  await after(2000);
  assert.equal(sockets[1].commands.length, 2);
  sockets[1].answers(sockets[1].commands[1], { code: 401, codeMsg: "no" });
  await settled();
  assert.deepEqual(of("gap"), [{ reason: "could not log in again: no" }]);
});

test("a room that keeps no history any more is told as a reset", async (t) => {
  const { sockets, of, after } = await start(t, "ws://a", { rooms: ["r"] });
  sockets[0].greets({ positions: [{ room: "r", epoch: "e", offset: 3 }] });
  sockets[0].breaks();
  await after(1000);
  sockets[1].greets();
  sockets[1].answers(sockets[1].commands[0], { code: 200, codeMsg: "Success", data: { recovered: false } });
  await settled();
  assert.deepEqual(of("reset"), [{ room: "r" }]);
  sockets[1].breaks();
  await after(2000);
  assert.deepEqual(sockets[2].url.searchParams.getAll("room"), ["r"]);
});

test("a user's inbox is resumed by a login that says how far it was seen", async (t) => {
  const { sockets, of, after } = await start(t, "ws://a", { userId: "u", appId: 3 });
  sockets[0].greets();
  sockets[0].says({ cmd: "push", items: [{ user: true, epoch: "e", offset: 2, data: 0 }, { user: true, epoch: "e", offset: 2, data: 0 }] });
  assert.equal(of("item").length, 1);
  sockets[0].breaks();
  await after(1000);
  assert.equal(sockets[1].url.searchParams.get("userId"), null);
  sockets[1].greets();
  assert.deepEqual(sockets[1].commands[0].data, { userId: "u", appId: 3, epoch: "e", offset: 2 });
});

test("with a token the inbox is resumed before anything live of it comes", async (t) => {
  let asked = 0;
  const { sockets, after } = await start(t, "ws://a", { token: async () => `t${asked += 1}` });
  await settled();
  sockets[0].greets({ userId: "u", positions: [{ user: true, epoch: "e", offset: 4 }] });
  assert.equal(sockets[0].url.searchParams.get("login"), null);
  sockets[0].breaks();
  await after(1000);
  await settled();
  assert.equal(sockets[1].url.searchParams.get("login"), "later");
  sockets[1].greets();
  assert.deepEqual(sockets[1].commands[0].data, { token: "t2", epoch: "e", offset: 4 });
});

test("a login is remembered for the next connection", async (t) => {
  const { sockets, tide, after } = await start(t, "ws://a", { userId: "old" });
  sockets[0].greets();
  const login = tide.login({ userId: "new", appId: 2 });
  sockets[0].answers(sockets[0].commands[0]);
  await login;
  sockets[0].breaks();
  await after(1000);
  assert.equal(sockets[1].url.searchParams.get("userId"), "new");
  assert.equal(sockets[1].url.searchParams.get("appId"), "2");
});

test("a token that is a function is asked before each attempt, and its failure is a loss", async (t) => {
  let asked = 0;
  const token = async () => {
    asked += 1;
    if (asked === 2) throw new Error("away");
    return `t${asked}`;
  };
  const { sockets, of, after } = await start(t, "ws://a", { token });
  assert.equal(sockets[0].url.searchParams.get("token"), "t1");
  sockets[0].breaks();
  await after(1000);
  assert.match(of("reconnect").at(-1).reason, /no token: Error: away/);
  await after(2000);
  assert.equal(sockets[1].url.searchParams.get("token"), "t3");
});

test("a quiet connection is asked with ping, and is lost without an answer", async (t) => {
  const { sockets, tide, after } = await start(t, "ws://a", { answerTimeMaxMs: 5000 });
  sockets[0].greets({ heartbeatMs: 20_000 });
  await after(19_000);
  sockets[0].says({ cmd: "push", items: [] });
  await after(19_999);
  assert.deepEqual(sockets[0].sent, [], "any frame is a sign of life");
  await after(1);
  assert.deepEqual(sockets[0].sent, ["ping"]);
  sockets[0].says("pong");
  await after(20_000);
  assert.deepEqual(sockets[0].sent, ["ping", "ping"]);
  assert.equal(tide.state, "open");
  await after(5000);
  assert.equal(tide.state, "waiting");
  assert.equal(sockets[0].closedWith, 1000);
  sockets[0].breaks();
  await after(500);
  assert.equal(sockets.length, 2, "the late close of the dead socket counts for nothing");
});

test("an attempt without a hello is given up", async (t) => {
  const { sockets, of, after } = await start(t, "ws://a", { answerTimeMaxMs: 4000 });
  await after(4000);
  assert.equal(of("reconnect")[0].reason, "no hello in time");
  await after(500);
  assert.equal(sockets.length, 2);
});

test("a draining node is left at the time it gave, for the next address, and heard until then", async (t) => {
  const { sockets, of, after } = await start(t, ["ws://a", "ws://b"], { rooms: ["r"] });
  sockets[0].greets();
  sockets[0].says({ cmd: "reconnect", data: { afterMs: 5312 } });
  assert.deepEqual(of("reconnect").map(({ afterMs, attempt, url }) => [afterMs, attempt, url]), [[5312, 0, "ws://a/ws"]]);
  await after(5311);
  sockets[0].says({ cmd: "push", items: [{ room: "r", data: 1 }] });
  assert.equal(of("item").length, 1);
  assert.equal(sockets.length, 1);
  await after(1);
  assert.equal(sockets[0].closedWith, 1000);
  assert.deepEqual(sockets.map(({ url }) => url.hostname), ["b", "a"]);
});

test("closing ends everything, even while waiting", async (t) => {
  const { sockets, tide, after } = await start(t);
  sockets[0].breaks();
  tide.close();
  tide.close();
  await after(600_000);
  assert.equal(sockets.length, 1);
  assert.equal(tide.state, "closed");
});

test("a handler can be taken off, and is an EventTarget's listener otherwise", async (t) => {
  const { sockets, tide } = await start(t);
  const heard = [];
  const off = tide.on("item", ({ data }) => heard.push(data));
  tide.addEventListener("item", (event) => heard.push(-event.detail.data), { once: true });
  sockets[0].greets();
  sockets[0].says({ cmd: "push", items: [{ data: 1 }] });
  off();
  sockets[0].says({ cmd: "push", items: [{ data: 2 }] });
  assert.deepEqual(heard, [1, -1]);
});
