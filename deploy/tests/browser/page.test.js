// The page in Chromium, against real processes: what a newcomer does in the first minute, and a gateway that dies.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { after, before, beforeEach, describe, test } from "node:test";
import { promisify } from "node:util";

import { chromium } from "playwright-core";

import { freePorts, start } from "./processes.js";

const SHOTS = fileURLToPath(new URL("shots/", import.meta.url));
const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
const TIME_MAX_MS = 15_000;

let browser;
before(async () => {
  await mkdir(SHOTS, { recursive: true });
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
});
after(() => browser?.close());

/** The page as a test sees it. */
class Visit {
  static async to(url, options = {}) {
    const page = await browser.newPage({ viewport: { width: 1280, height: 1100 }, ...options });
    page.setDefaultTimeout(TIME_MAX_MS);
    const visit = new Visit();
    Object.assign(visit, { page, errors: [], requests: [] });
    page.on("pageerror", (error) => visit.errors.push(String(error)));
    page.on("request", (request) => visit.requests.push(request.url()));
    await page.goto(url);
    await visit.column(1).and(page.locator("[data-state=open]")).waitFor();
    await visit.column(0).and(page.locator("[data-state=open]")).waitFor();
    return visit;
  }

  column(at) { return this.page.getByTestId("gateway").nth(at); }
  frames(at) { return this.column(at).locator("[data-cmd=push]"); }

  /** The items of a column that carry that event. */
  items(at, event) {
    return this.column(at).getByTestId("item").filter({ has: this.page.getByTestId("item-event").getByText(event, { exact: true }) });
  }

  /** Fills the form as a hand would, and pushes. */
  async push(to, { data, event, room, user, client, key } = {}, button = "push") {
    const fill = async (testid, value) => { if (value !== undefined) await this.page.getByTestId(testid).fill(value); };
    await this.page.getByTestId("to").selectOption(to);
    await fill("to-room", room);
    await fill("to-user", user);
    if (client !== undefined) await this.page.getByTestId("to-client").selectOption(client);
    await fill("event", event);
    await fill("key", key);
    await fill("data", data);
    const answered = this.page.waitForResponse((response) => response.request().method() === "POST");
    await this.page.getByTestId(button).click();
    const status = (await answered).status();
    await this.page.getByTestId("status").filter({ hasText: String(status) }).waitFor();
    return status;
  }

  /** Waits for the item with that data in that column, and gives the frame it came in. */
  async item(at, data) {
    const frame = this.frames(at).filter({ has: this.page.getByTestId("item-data").getByText(data, { exact: true }) });
    await frame.first().waitFor();
    return frame.first();
  }

  /** The data of all items of a column, oldest frame first. */
  async received(at) {
    const frames = await this.frames(at).all();
    const items = await Promise.all(frames.map((frame) => frame.getByTestId("item-data").allTextContents()));
    return items.reverse().flat();
  }

  /** A push to all marks the end: what came before it has come, what did not will not. */
  async settle(mark) {
    assert.equal(await this.push("all", { data: JSON.stringify(mark), event: "mark" }), 202);
    for (const at of [0, 1]) await this.item(at, JSON.stringify(mark));
  }
}

/** Waits until logic says that it is linked to so many gateways. */
async function linked(url, count) {
  const deadline = Date.now() + TIME_MAX_MS;
  for (;;) {
    const gateways = await (await fetch(url)).json();
    if (gateways.filter(({ state }) => state === "linked").length === count) return;
    if (Date.now() > deadline) throw new Error(`not linked in time: ${JSON.stringify(gateways)}`);
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
}

describe("one process, as `tidegate dev` starts it", { timeout: 120_000 }, () => {
  let dev;
  let visit;
  let url;

  before(async () => {
    dev = await start("dev", "--port-base", "0");
    url = dev.printed.match(/http:\/\/127\.0\.0\.1:\d+/)[0];
    visit = await Visit.to(url);
  });
  after(async () => {
    await visit?.page.close();
    await dev?.end("SIGTERM");
  });
  beforeEach(() => visit.page.getByTestId("key").fill(""));

  test("the page is whole, connects alice and bob, and asks nobody outside", async () => {
    assert.equal(await visit.page.title(), "Tidegate");
    assert.equal(await visit.page.getByTestId("gateway").count(), 2);
    assert.deepEqual(await visit.page.getByTestId("user").evaluateAll((all) => all.map(({ value }) => value)), ["alice", "bob"]);
    for (const at of [0, 1]) assert.match(await visit.column(at).getByTestId("joined").innerText(), /lobby/);
    for (const asked of visit.requests) assert.match(asked, /^(http:\/\/127\.0\.0\.1:|data:)/);
    assert.deepEqual(visit.errors, []);
  });

  test("a push to everyone shows in both columns", async () => {
    assert.equal(await visit.push("all", { data: '"to all"', event: "news" }), 202);
    for (const at of [0, 1]) {
      const frame = await visit.item(at, '"to all"');
      assert.equal(await frame.getByTestId("item-event").first().innerText(), "news");
    }
    assert.match(await visit.page.getByTestId("answer").innerText(), /"accepted": 2/);
  });

  test("Chromium agrees on compression and reads what is compressed", async () => {
    const gateway = dev.printed.match(/ws:\/\/127\.0\.0\.1:\d+\/ws/)[0];
    const data = JSON.stringify("compressed once for all ".repeat(40));
    const seen = visit.page.evaluate(([to]) => new Promise((resolve, reject) => {
      const socket = new WebSocket(`${to}?room=deflate`);
      socket.onerror = () => reject(new Error("no connection"));
      socket.onmessage = (message) => {
        // Long enough to be compressed by the browser, too, and understood.
        if (JSON.parse(message.data).cmd === "hello") socket.send(JSON.stringify({ seq: "1", cmd: "join", data: { room: "deflate".repeat(20) } }));
        else if (JSON.parse(message.data).cmd === "join") window.deflateJoined = message.data;
        else resolve({ extensions: socket.extensions, text: message.data });
      };
    }), [gateway]);
    await visit.page.waitForFunction(() => window.deflateJoined);
    assert.match(await visit.page.evaluate(() => window.deflateJoined), /"code":200/);
    const pushed = await fetch(`${url}/v1/push`, {
      method: "POST", headers: { "content-type": "application/json" }, body: `{"to":{"room":"deflate"},"data":${data}}`,
    });
    assert.equal(pushed.status, 202);
    const { extensions, text } = await seen;
    assert.match(extensions, /^permessage-deflate/);
    const place = /"epoch":"[0-9a-z]{13}","offset":1,/;
    assert.match(text, place, "dev keeps a history of every room");
    assert.equal(text.replace(place, ""), `{"cmd":"push","items":[{"room":"deflate","data":${data}}]}`);
  });

  test("a push to a room shows where that room was joined", async () => {
    await visit.column(1).getByTestId("join-room").fill("side room");
    await visit.column(1).getByTestId("join").click();
    await visit.column(1).getByTestId("joined").getByText("side room").waitFor();
    assert.equal(await visit.push("room", { room: "side room", data: '"aside"' }), 202);
    assert.equal(await visit.push("room", { room: "lobby", data: '"in the lobby"' }), 202);
    const frame = await visit.item(1, '"aside"');
    assert.match(await frame.getByTestId("item-target").first().innerText(), /room side room/);
    for (const at of [0, 1]) await visit.item(at, '"in the lobby"');
    await visit.settle("rooms done");
    assert.ok(!(await visit.received(0)).includes('"aside"'));
  });

  test("a push to a user shows in that user's column only", async () => {
    assert.equal(await visit.push("user", { user: "alice", data: '"for alice"' }), 202);
    await visit.item(0, '"for alice"');
    await visit.settle("users done");
    assert.ok(!(await visit.received(1)).includes('"for alice"'));
  });

  test("a push to a client shows at that client only", async () => {
    const client = await visit.column(1).getAttribute("data-client");
    assert.equal(await visit.push("client", { client, data: '"for one"' }), 202);
    await visit.item(1, '"for one"');
    await visit.settle("clients done");
    assert.ok(!(await visit.received(0)).includes('"for one"'));
  });

  test("a login changes who is reached", async () => {
    await visit.column(1).getByTestId("user").fill("carol");
    await visit.column(1).getByTestId("login").click();
    await visit.column(1).getByTestId("login-note").filter({ hasText: "logged in as carol" }).waitFor();
    assert.equal(await visit.push("user", { user: "carol", data: '"for carol"' }), 202);
    assert.equal(await visit.push("user", { user: "bob", data: '"for bob"' }), 202);
    await visit.item(1, '"for carol"');
    await visit.settle("login done");
    assert.ok(!(await visit.received(1)).includes('"for bob"'));
  });

  test("ten pushes in a burst arrive as one frame of ten items, in order, in both columns", async () => {
    // A burst may straddle the end of a window, rarely; the next one then begins a new window.
    const whole = (at) => visit.frames(at).and(visit.page.locator("[data-items='10']"));
    for (let tries = 0; tries < 3 && await whole(0).count() * await whole(1).count() === 0; tries += 1) {
      assert.equal(await visit.push("room", { room: "lobby", event: "burst" }, "burst"), 202);
      for (const at of [0, 1]) await visit.items(at, "burst").getByText('"n":10,').nth(tries).waitFor();
    }
    for (const at of [0, 1]) {
      assert.deepEqual(
        await whole(at).first().getByTestId("item-data").allTextContents(),
        Array.from({ length: 10 }, (_, n) => `{"n":${n + 1},"of":10}`),
      );
    }
    await visit.page.screenshot({ path: `${SHOTS}page.png`, fullPage: true });
  });

  test("of a burst with a key, only the newest is sent", async () => {
    assert.equal(await visit.push("room", { room: "lobby", event: "keyed", key: "k" }, "burst"), 202);
    await visit.items(0, "keyed").getByText('"n":10,').waitFor();
    const kept = await visit.items(0, "keyed").getByTestId("item-data").allTextContents();
    assert.ok(kept.length <= 2, `one, or two where the burst straddled the end of a window: ${kept}`);
  });

  test("data arrives byte for byte", async () => {
    const data = '{"z":18446744073709551616,"a":1e400, "a b":[-0.0,1E+2,"\\u00e9\\/"],"ü":"🦀 \'quoted\'"}';
    assert.equal(await visit.push("all", { data, event: "raw" }), 202);
    for (const at of [0, 1]) {
      const frame = await visit.item(at, data);
      await frame.getByTestId("raw").click();
      assert.ok((await frame.getByTestId("raw-text").textContent()).includes(`"data":${data}`));
    }
  });

  test("the curl command that is shown does the same", async () => {
    await visit.page.getByTestId("to").selectOption("all");
    await visit.page.getByTestId("data").fill(`{"from":"o'shell \\\\ $HOME \\"x\\""}`);
    const command = await visit.page.getByTestId("curl").textContent();
    const { stdout } = await promisify(execFile)("sh", ["-c", command]);
    assert.equal(JSON.parse(stdout).gateways.accepted, 2);
    for (const at of [0, 1]) await visit.item(at, `{"from":"o'shell \\\\ $HOME \\"x\\""}`);
  });

  test("what is not JSON is said before, and refused by logic", async () => {
    const status = await visit.push("all", { data: "{oops" });
    assert.equal(status, 400);
    assert.match(await visit.page.locator("#data-note").innerText(), /not JSON/);
    assert.match(await visit.page.getByTestId("answer").innerText(), /"code"/);
  });

  test("only the last 200 frames stay in the page", async () => {
    const total = async () => {
      const totals = await visit.page.getByTestId("totals").allInnerTexts();
      return totals.map((text) => Number(text.split(" ")[0])).reduce((sum, frames) => sum + frames);
    };
    const body = JSON.stringify({ to: { room: "lobby" }, data: "flood", urgent: true, wait: "written" });
    const headers = { "content-type": "application/json" };
    for (let more = 0; more < 1000 && await total() <= 220; more += 1) {
      const answer = await fetch(new URL("/v1/push", url), { method: "POST", headers, body });
      assert.equal(answer.status, 202, await answer.text());
    }
    await visit.settle("flood done");
    assert.ok(await total() > 220);
    assert.equal(await visit.page.getByTestId("frame").count(), 200);
    assert.deepEqual(visit.errors, []);
  });
});

describe("a cluster of processes", { timeout: 120_000 }, () => {
  const started = [];
  after(() => Promise.all(started.map((process) => process.end())));

  test("a killed gateway shows as lost, and as connected once it is back; the other is not touched", async () => {
    const [api, logicOps, ...ports] = await freePorts(8);
    const at = (port) => `127.0.0.1:${port}`;
    const gateway = async ([listen, ingress, ops]) => {
      const process = await start("gateway", "--insecure", "--listen", at(listen), "--ingress", at(ingress), "--ops", at(ops));
      started.push(process);
      return process;
    };
    const [left, right] = [ports.slice(0, 3), ports.slice(3)];
    const [, killed] = await Promise.all([gateway(left), gateway(right)]);
    started.push(await start(
      "logic", "--insecure", "--listen", at(api), "--ops", at(logicOps), "--gateway", at(left[1]), "--gateway", at(right[1]),
    ));
    const visit = await Visit.to(`http://${at(api)}/`);
    const column = ([listen]) => visit.page.getByTestId("gateway").filter({ hasText: at(listen) });
    const shows = (ports, data) => column(ports).getByTestId("item-data").getByText(data, { exact: true }).first().waitFor();
    const clientBefore = await column(right).getAttribute("data-client");

    await killed.end("SIGKILL");
    await column(right).getByTestId("state").filter({ hasText: /lost \(1006\); reconnects in/ }).waitFor();
    await visit.page.screenshot({ path: `${SHOTS}gateway-killed.png`, fullPage: true });
    assert.equal(await visit.push("room", { room: "lobby", data: '"while one is away"' }), 202);
    await shows(left, '"while one is away"');
    assert.equal(await column(left).getAttribute("data-state"), "open");

    await gateway(right);
    await column(right).and(visit.page.locator("[data-state=open]")).waitFor();
    assert.notEqual(await column(right).getAttribute("data-client"), clientBefore);
    await linked(`http://${at(api)}/v1/gateways`, 2);
    assert.equal(await visit.push("room", { room: "lobby", data: '"both again"' }), 202);
    for (const ports of [left, right]) await shows(ports, '"both again"');
    assert.deepEqual(visit.errors, []);
  });
});
