// The newcomer's page: one connection to each gateway, a form that pushes, and what arrives.
// Everything that came from outside reaches the page as text, never as markup.

const FRAMES_MAX = 200; // kept in the page, over all columns
const ITEMS_SHOWN_MAX = 20; // of one frame; its raw text has them all
const CHARS_SHOWN_MAX = 600; // of one item's data
const ROOM_AT_START = "lobby";
const USERS_AT_START = ["alice", "bob", "carol", "dave"];

const by = (id) => document.getElementById(id);

/** An element with text, a class and a data-testid. */
function element(name, { text, className, testid } = {}, ...children) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  if (testid) made.dataset.testid = testid;
  made.append(...children);
  return made;
}

/** The members of a JSON object, or the elements of an array, as [key, text]: JSON.parse would round their numbers. */
function members(json) {
  const found = [];
  let [depth, start, key] = [0, 0, undefined];
  const take = (end) => {
    const text = json.slice(start, end).trim();
    if (text) found.push([key, text]);
    start = end + 1;
  };
  for (let at = 0; at < json.length; at += 1) {
    const char = json[at];
    if (char === '"') {
      for (at += 1; json[at] !== '"'; at += 1) if (json[at] === "\\") at += 1;
    } else if (char === "{" || char === "[") {
      depth += 1;
      if (depth === 1) start = at + 1;
    } else if (char === "}" || char === "]") {
      depth -= 1;
      if (depth === 0) take(at);
    } else if (depth === 1 && char === ":") {
      key = JSON.parse(json.slice(start, at));
      start = at + 1;
    } else if (depth === 1 && char === ",") take(at);
  }
  return found;
}

// The columns.

/** One gateway: its card, and this browser's connection to it. */
class Column {
  constructor(gateway, user) {
    this.name = gateway.gateway;
    this.user = user;
    this.frames = this.items = 0;
    this.card = by("gateway").content.firstElementChild.cloneNode(true);
    this.card.dataset.gateway = this.name;
    this.part("name").textContent = this.name;
    this.part("url").textContent = gateway.clientUrl;
    this.part("user").value = user;
    this.part("frames").append(element("li", { text: "What this connection receives appears here.", className: "empty" }));
    by("gateways").append(this.card);
  }

  part(name) { return this.card.querySelector(`.${name}`); }

  /** Connects with the library, and says in the card what becomes of it. */
  open(connect, clientUrl) {
    this.tide = connect(clientUrl, { userId: this.user, rooms: [ROOM_AT_START] });
    this.tide.on("frame", (frame) => arrived(this, frame));
    this.tide.on("hello", ({ clientId, windowMs }) => {
      this.part("client").textContent = clientId;
      this.part("window").textContent = windowMs ? `merges for ${windowMs / 1000} s` : "does not merge";
      this.card.dataset.client = clientId;
      this.rooms();
      choices();
    });
    this.tide.on("state", ({ state, reason, code }) => {
      this.card.dataset.state = state;
      this.part("state").textContent = state === "closed" ? `closed: ${code} ${reason}` : { open: "connected", connecting: "connecting" }[state] ?? state;
      if (state !== "open") {
        this.part("client").textContent = "–";
        choices();
      }
    });
    this.tide.on("reconnect", ({ afterMs, code, reason, attempt }) => {
      const why = reason ? `${code} ${reason}` : code;
      this.part("state").textContent = `lost (${why}); reconnects in ${(afterMs / 1000).toFixed(1)} s${attempt > 1 ? `, attempt ${attempt}` : ""}`;
    });
    this.tide.on("gap", ({ room, reason }) => this.say(`dropped on the way${room ? ` in ${room}` : ""}: ${reason}`));
    this.part("login").addEventListener("submit", (event) => this.command(event, this.login()));
    this.part("joining").addEventListener("submit", (event) => this.command(event, this.join()));
  }

  /** What logic says of this gateway, which is not what this connection sees of it. */
  told({ state, reason, clients }) {
    const linked = state === undefined || state === "linked";
    this.part("told").textContent = linked ? `${clients ?? "?"} online` : `logic has no link to it (${[state, reason].filter(Boolean).join(": ")})`;
    this.part("told").classList.toggle("wrong", !linked);
  }

  say(text, wrong = true) {
    this.part("note").textContent = text;
    this.part("note").classList.toggle("wrong", wrong);
  }

  async command(event, done) {
    event.preventDefault();
    try {
      this.say(await done, false);
    } catch (error) {
      this.say(error.message);
    }
    this.rooms();
    choices();
  }

  async login() {
    const userId = this.part("user").value;
    await this.tide.login({ userId });
    this.user = userId;
    return `logged in as ${userId}`;
  }

  async join() {
    const room = this.part("room").value;
    await this.tide.join(room);
    this.part("room").value = "";
    return `joined ${room}`;
  }

  async leave(room) {
    await this.tide.leave(room);
    return `left ${room}`;
  }

  /** Shows the rooms, each with a button to leave it. */
  rooms() {
    this.part("joined").replaceChildren(...this.tide.rooms.map((room) => {
      const leave = element("button", { text: "×" });
      leave.type = "button";
      leave.ariaLabel = `Leave ${room}`;
      leave.addEventListener("click", (event) => this.command(event, this.leave(room)));
      return element("li", {}, room, leave);
    }));
  }
}

const columns = new Map();

/** Offers what is connected as targets of a push. */
function choices() {
  const all = [...columns.values()].filter(({ tide }) => tide);
  const options = (names) => [...new Set(names)].map((name) => new Option(name, name));
  by("rooms").replaceChildren(...options(all.flatMap(({ tide }) => tide.rooms)));
  by("users").replaceChildren(...options(all.map(({ user }) => user)));
  const chosen = by("client").value;
  const online = all.filter(({ tide }) => tide.clientId);
  by("client").replaceChildren(...online.map(({ name, user, tide }) => new Option(`${user} on ${name} (${tide.clientId})`, tide.clientId)));
  if (online.some(({ tide }) => tide.clientId === chosen)) by("client").value = chosen;
  describe();
}

// The frames. They are drawn once per repaint, and only those that would stay.

const waiting = [];
const shown = [];

function arrived(column, { text, message }) {
  column.frames += 1;
  column.items += message?.items?.length ?? 0;
  waiting.push({ column, text, message, at: new Date() });
  if (waiting.length > FRAMES_MAX) waiting.shift();
  if (waiting.length === 1) requestAnimationFrame(draw);
}

function draw() {
  for (const frame of waiting.splice(0)) {
    const drawn = row(frame);
    const list = frame.column.part("frames");
    list.querySelector(".empty")?.remove();
    list.prepend(drawn);
    shown.push(drawn);
    const { frames, items } = frame.column;
    frame.column.part("totals").textContent = `${frames} frame${frames === 1 ? "" : "s"} · ${items} item${items === 1 ? "" : "s"}`;
  }
  for (const old of shown.splice(0, shown.length - FRAMES_MAX)) old.remove();
}

/** One frame: when, how big, how many items, and what they are. */
function row({ text, message, at }) {
  const bytes = new TextEncoder().encode(text).length;
  const isPush = message?.cmd === "push";
  const items = isPush ? members(members(text).find(([key]) => key === "items")?.[1] ?? "[]") : [];
  const kind = isPush ? `${items.length} item${items.length === 1 ? "" : "s"} in one frame` : `${message?.response ? "reply to " : ""}${message?.cmd}`;
  const raw = element("button", { text: "raw", className: "raw", testid: "raw" });
  raw.type = "button";
  const meta = element("div", { className: "meta" },
    element("time", { text: `${at.toLocaleTimeString("en-GB")}.${String(at.getMilliseconds()).padStart(3, "0")}` }),
    element("b", { text: kind }), element("span", { text: `${bytes} bytes` }), raw);
  const made = element("li", { className: `frame new${isPush ? "" : " control"}`, testid: "frame" }, meta);
  made.dataset.cmd = message?.cmd;
  made.dataset.items = items.length;
  made.dataset.bytes = bytes;
  raw.addEventListener("click", () => {
    const open = made.querySelector("pre");
    if (open) open.remove();
    else made.append(element("pre", { text, testid: "raw-text" }));
    raw.ariaExpanded = String(!open);
  });
  if (items.length) made.append(itemList(items));
  return made;
}

function itemList(items) {
  const list = element("ul", { className: "items" }, ...items.slice(0, ITEMS_SHOWN_MAX).map(([, text]) => itemRow(text)));
  if (items.length > ITEMS_SHOWN_MAX) list.append(element("li", { text: `and ${items.length - ITEMS_SHOWN_MAX} more`, className: "more" }));
  return list;
}

function itemRow(text) {
  const { room, user, event, data = "" } = Object.fromEntries(members(text));
  // An item names its room; to whom else it was pushed it does not say: everyone, this user or this client.
  const target = room ? `room ${JSON.parse(room)}` : user ? "your inbox" : "direct";
  const chip = element("span", { text: target, className: "chip", testid: "item-target" });
  if (!room) chip.title = "Pushed to everyone, to this user or to this client";
  const cut = data.length > CHARS_SHOWN_MAX ? `${data.slice(0, CHARS_SHOWN_MAX)}…` : data;
  const made = element("li", { testid: "item" }, chip);
  if (event) made.append(element("span", { text: JSON.parse(event), className: "event", testid: "item-event" }));
  made.append(element("code", { text: cut, testid: "item-data" }));
  return made;
}

// The form. `data` goes out as it was typed: what is built here is text around it.

function target() {
  const to = by("to").value;
  return to === "all" ? '{"all":true}' : `{"${to}":${JSON.stringify(by(to).value)}}`;
}

/** The body of one push. */
function body(data) {
  const parts = [`"to":${target()}`];
  if (by("event").value) parts.push(`"event":${JSON.stringify(by("event").value)}`);
  if (data) parts.push(`"data":${data}`);
  if (by("key").value) parts.push(`"key":${JSON.stringify(by("key").value)}`);
  if (by("urgent").checked) parts.push('"urgent":true');
  return `{${parts.join(",")}}`;
}

const quoted = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;
const curl = (path, json) => `curl -sS ${location.origin}${path} \\\n  -H 'content-type: application/json' \\\n  -d ${quoted(json)}`;

/** Keeps the curl command and the fields in step with the form. */
function describe() {
  for (const label of document.querySelectorAll("[data-for]")) label.hidden = label.dataset.for !== by("to").value;
  by("curl").textContent = curl("/v1/push", body(by("data").value));
  let wrong = "";
  try { JSON.parse(by("data").value); } catch (error) { wrong = error.message; }
  by("data-note").textContent = wrong ? `not JSON: ${wrong}` : "any JSON; it reaches clients byte for byte";
  by("data-note").classList.toggle("wrong", Boolean(wrong));
  by("data").classList.toggle("wrong", Boolean(wrong));
}

async function send(path, json) {
  by("curl").textContent = curl(path, json);
  const begun = performance.now();
  let [status, answer, good] = ["no answer", "", false];
  try {
    const response = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: json });
    answer = await response.text();
    good = response.ok;
    status = `${response.status} ${response.statusText} · ${Math.round(performance.now() - begun)} ms`;
    answer = JSON.stringify(JSON.parse(answer), null, 2);
  } catch (error) {
    answer ||= error.message;
  }
  by("status").textContent = status;
  by("status").classList.toggle("wrong", !good);
  by("answer").textContent = answer;
}

by("push-form").addEventListener("input", describe);
by("push-form").addEventListener("submit", (event) => {
  event.preventDefault();
  send("/v1/push", body(by("data").value));
});
by("burst").addEventListener("click", () => {
  const ten = Array.from({ length: 10 }, (_, at) => body(`{"n":${at + 1},"of":10}`));
  send("/v1/push/batch", `[\n${ten.join(",\n")}\n]`);
});
by("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(by("curl").textContent);
    by("copy").textContent = "Copied";
  } catch { // not allowed here: leave it selected for the keyboard
    getSelection().selectAllChildren(by("curl"));
    by("copy").textContent = "Selected";
  }
  setTimeout(() => { by("copy").textContent = "Copy"; }, 1500);
});

// The start: which gateways are there?

function trouble(text) {
  by("trouble").textContent = text;
  by("trouble").hidden = !text;
}

async function gateways() {
  const response = await fetch("/v1/gateways");
  if (!response.ok) throw new Error(`logic answered ${response.status} to GET /v1/gateways`);
  const answer = await response.json();
  return (Array.isArray(answer) ? answer : answer.gateways ?? []).filter(({ clientUrl }) => clientUrl);
}

/** The library comes from the first gateway that gives it. */
async function library(found) {
  for (const { clientUrl } of found) {
    const url = new URL("/client/tidegate.js", clientUrl.replace(/^ws/, "http"));
    try { return await import(url.href); } catch { /* that one is away: ask the next */ }
  }
  throw new Error(`no gateway gave /client/tidegate.js; asked ${found.map(({ clientUrl }) => clientUrl).join(", ")}`);
}

let loaded;

/** Adds a column for each gateway that is new. Asked again and again, for gateways come and go. */
async function look() {
  try {
    const found = (await gateways()).sort((a, b) => (a.gateway < b.gateway ? -1 : 1));
    if (found.length === 0 && columns.size === 0) throw new Error("logic knows no gateway with an address for clients yet");
    loaded ??= found.length ? await library(found) : undefined;
    for (const gateway of found) {
      if (!columns.has(gateway.clientUrl)) {
        const column = new Column(gateway, USERS_AT_START[columns.size] ?? `user${columns.size + 1}`);
        columns.set(gateway.clientUrl, column);
        column.open(loaded.connect, gateway.clientUrl);
      }
      columns.get(gateway.clientUrl).told(gateway);
    }
    trouble("");
  } catch (error) {
    trouble(`${error.message}. Asking again.`);
  }
  setTimeout(look, columns.size ? 2000 : 500);
}

describe();
look();
