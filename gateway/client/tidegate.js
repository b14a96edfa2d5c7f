// @ts-check
/**
 * The client library of Tidegate: one WebSocket that comes back by itself.
 *
 * An ES module without dependencies, for browsers and for Node 22 and later (or any runtime whose `WebSocket`
 * is passed as an option). It knows the protocol of `GET /ws` and nothing of pages: see README.md beside it.
 *
 *     import { connect } from "http://127.0.0.1:7200/client/tidegate.js";
 *     const tide = connect("ws://127.0.0.1:7200", { userId: "alice", rooms: ["lobby"] });
 *     tide.on("item", ({ room, event, data }) => console.log(room, event, data));
 *
 * @typedef {{ epoch: string, offset: number }} Position  The last item seen of a history.
 * @typedef {{ room?: string, user?: boolean, epoch: string, offset: number }} Begin  Everything behind this place comes.
 * @typedef {"connecting" | "open" | "waiting" | "closed"} State  `waiting`: for the next attempt; `closed`: for good.
 * @typedef {{ clientId: string, userId?: string, appId?: number, heartbeatMs: number, windowMs: number, version: number, positions?: Begin[] }} Hello
 * @typedef {{ room?: string, user?: boolean, epoch?: string, offset?: number, event?: string, data: any }} Item
 * @typedef {{ userId?: string, appId?: number, token?: string }} Identity
 * @typedef {{ cmd: string, room?: string, data: () => object, resolve: (data: any) => void, reject: (why: any) => void, timer: any }} Pending
 *
 * @typedef {object} Events  What `on` can be given, and what its handler receives.
 * @property {Hello} hello  A connection stands; the first rooms are joined.
 * @property {Item} item  One item, in order, each (epoch, offset) once. `data` is parsed.
 * @property {{ text: string, message: any }} frame  Any JSON frame, before its items; `text` is what came, byte for byte.
 * @property {{ room?: string, reason: string }} gap  Items were dropped on purpose, or a room could not be joined again.
 * @property {{ room?: string, user?: boolean, epoch?: string, offset?: number }} reset  A history could not continue: load the state anew.
 * @property {{ afterMs: number, attempt: number, code: number, reason: string, url: string }} reconnect  The next attempt; 0: asked for.
 * @property {{ state: State, url: string, code?: number, reason?: string }} state  The connection's state has changed.
 * @typedef {object} Options
 * @property {string} [userId]  Who this is; believed only by gateways that demand no token.
 * @property {number} [appId]  The application of this connection.
 * @property {string | (() => string | Promise<string>)} [token]  A signed token, or what fetches a fresh one for each attempt.
 * @property {Iterable<string>} [rooms]  Rooms to be in from the start.
 * @property {number} [answerTimeMaxMs]  A command without reply, an attempt without hello, a ping without pong fail after this; 10 s.
 * @property {number} [backoffMinMs]  The first attempt comes at a random time up to this, 1 s; each next one doubles it,
 * @property {number} [backoffMaxMs]  but never beyond this; 30 s.
 * @property {new (url: string) => WebSocket} [WebSocket]  Where there is no global one.
 */

/** More rooms are joined by commands: a gateway reads heads up to 16 KiB, and 16 names can be 16 × 3 × 256 B. */
const ROOMS_IN_ADDRESS_MAX = 16;
/** A connection that lived this long was good: the back-off begins anew. */
const GOOD_AFTER_MS = 10_000;
const DEFAULTS = { answerTimeMaxMs: 10_000, backoffMinMs: 1000, backoffMaxMs: 30_000 };

/** Why a command failed. `code` is the reply's, as in HTTP; 408: no reply in time; 0: the connection was closed for good. */
export class TidegateError extends Error {
  name = "TidegateError";
  /** @param {number} code @param {string} message */
  constructor(code, message) { super(message); this.code = code; }
}

/**
 * Connects, and stays connected until `close()` or a close code that forbids it. An impossible address or name throws a TypeError.
 * @param {string | string[]} url  One or several gateways: `ws://`, `wss://`, `http://`, `https://`; the path is `/ws` unless given.
 *   Of several, one is taken at random and the next one after each loss.
 * @param {Options} [options]
 */
export const connect = (url, options = {}) => new Tidegate(url, options);

/** A connection that comes back. Its {@link Events} are given to `on`, or as an EventTarget in `event.detail`. */
export class Tidegate extends EventTarget {
  /** @type {URL[]} */ #urls;
  /** @type {Options & typeof DEFAULTS} */ #options;
  /** @type {Identity} */ #identity;
  #turn = 0;
  #failures = 0;
  #helloAt = 0;
  #seq = 0;
  /** @type {State} */ #state = "connecting";
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {Hello | null} */ #hello = null;
  /** The rooms to be in, and how far each was seen. @type {Map<string, Position | null>} */ #rooms = new Map();
  /** How far the user's own history was seen. @type {Position | null} */ #inbox = null;
  /** The token of this attempt. @type {string | undefined} */ #token;
  /** The rooms that this attempt's handshake joins. @type {Set<string>} */ #asked = new Set();
  /** @type {Map<string, Pending>} */ #pending = new Map();
  /** Waits for sound of the gateway. @type {any} */ #watch;
  /** Waits for the time of the next attempt. @type {any} */ #wait;

  /** @param {string | string[]} url @param {Options} options */
  constructor(url, options) {
    super();
    this.#urls = [url].flat().map(address);
    if (this.#urls.length === 0) throw new TypeError("tidegate: no address to connect to");
    this.#options = { ...DEFAULTS, ...options };
    this.#identity = { userId: options.userId, appId: options.appId };
    for (const room of options.rooms ?? []) this.#rooms.set(named(room), null);
    this.#turn = Math.floor(Math.random() * this.#urls.length);
    // A microtask later, so that handlers set after `connect` returns see even the first events.
    queueMicrotask(() => this.#connect());
  }

  get state() { return this.#state; }
  /** The id of this connection, which backends may push to; another one after each reconnect. */
  get clientId() { return this.#hello?.clientId; }
  /** The rooms to be in, now and after each reconnect. */
  get rooms() { return [...this.#rooms.keys()]; }
  /** The gateway of this attempt, or the next. */
  get url() { return this.#urls[this.#turn % this.#urls.length].href; }

  /**
   * Calls `handler` for each event of that name, until the function that it returns is called.
   * @template {keyof Events} K @param {K} name @param {(detail: Events[K]) => void} handler
   */
  on(name, handler) {
    const listener = (/** @type {any} */ event) => handler(event.detail);
    this.addEventListener(name, listener);
    return () => this.removeEventListener(name, listener);
  }

  /**
   * Joins a room and stays in it across reconnects. Given while disconnected, it is sent once connected.
   * @param {string} room @param {Position} [from]  The last item already seen, to get what came since.
   * @returns {Promise<{ recovered?: boolean, epoch?: string, offset?: number } | undefined>}
   */
  join(room, from) {
    this.#rooms.set(named(room), from ?? this.#rooms.get(room) ?? null);
    return this.#join(room);
  }
  /** Leaves a room. @param {string} room @returns {Promise<unknown>} */
  leave(room) {
    this.#rooms.delete(room);
    return this.#command("leave", () => ({ room }), room);
  }

  /** Says, or changes, who this is; remembered for reconnects. @param {Identity} identity @returns {Promise<any>} */
  async login(identity) {
    const answer = await this.#command("login", () => identity);
    // Items of the new user may have come before the reply: then they say how far we are.
    if (answer?.epoch !== undefined && this.#inbox?.epoch !== answer.epoch) this.#inbox = { epoch: answer.epoch, offset: answer.offset };
    else if (answer?.epoch === undefined && (identity.userId !== this.#identity.userId || identity.token)) this.#inbox = null;
    this.#identity = { ...identity };
    if (identity.token) this.#options.token = this.#token = identity.token;
    return answer;
  }
  /** Closes for good. Commands still waiting fail. */
  close() { this.#end(1000, "closed here"); }

  /** The life of a connection: connect → greeted → lost → back-off → connect, until the end. */
  async #connect() {
    if (this.#state === "closed") return;
    this.#enter("connecting");
    const url = new URL(this.url);
    let { token } = this.#options;
    try { if (typeof token === "function") token = await token(); } catch (error) { return this.#lost(1006, `no token: ${error}`); }
    if (this.#state !== "connecting" || this.#socket) return;
    this.#token = token;
    this.#question(url.searchParams, token);
    const Socket = this.#options.WebSocket ?? globalThis.WebSocket;
    /** @type {WebSocket} */ let socket;
    // What throws here, such as ws:// from a page of https://, will do so each time.
    try { socket = this.#socket = new Socket(url.href); } catch (error) { return this.#end(1006, String(error)); }
    socket.addEventListener("message", ({ data }) => { if (this.#socket === socket) this.#receive(data); });
    socket.addEventListener("close", ({ code, reason }) => { if (this.#socket === socket) this.#lost(code, reason); });
    socket.addEventListener("error", () => {}); // the close that follows says more
    this.#expect(this.#options.answerTimeMaxMs, () => this.#lost(1006, "no hello in time"));
  }

  /** @param {URLSearchParams} query @param {string} [token] */
  #question(query, token) {
    const { userId, appId } = this.#identity;
    if (token) query.set("token", token);
    // With an inbox to resume, the user comes by a login that says how far it was seen.
    if (userId && !this.#inbox) query.set("userId", userId);
    if (token && this.#inbox) query.set("login", "later");
    if (appId !== undefined) query.set("appId", String(appId));
    this.#asked.clear();
    for (const [room, seen] of this.#rooms) {
      if (seen || this.#waitingFor(room) || this.#asked.size >= ROOMS_IN_ADDRESS_MAX) continue;
      query.append("room", room);
      this.#asked.add(room);
    }
  }

  /** @param {Hello} hello */
  #greeted(hello) {
    this.#hello = hello;
    this.#helloAt = Date.now();
    this.#listen();
    const resumes = this.#inbox !== null;
    for (const at of hello.positions ?? []) if (!(at.user ? this.#inbox : this.#rooms.get(at.room ?? ""))) this.#seen(at);
    const unanswered = [...this.#pending.keys()];
    this.#enter("open");
    if (resumes) this.#relogin();
    for (const seq of unanswered) this.#transmit(seq);
    for (const room of this.#rooms.keys()) if (!this.#asked.has(room) && !this.#waitingFor(room)) this.#rejoin(room);
    this.#emit("hello", hello);
  }

  /** @param {number} code @param {string} reason */
  #lost(code, reason) {
    this.#drop();
    if (isFinal(code)) return this.#end(code, reason);
    if (this.#helloAt && Date.now() - this.#helloAt >= GOOD_AFTER_MS) this.#failures = 0;
    this.#helloAt = 0;
    this.#turn += 1;
    const afterMs = this.#backoff();
    this.#enter("waiting", code, reason);
    this.#emit("reconnect", { afterMs, attempt: this.#failures, code, reason, url: this.url });
    this.#wait = setTimeout(() => this.#connect(), afterMs);
  }
  /** Full jitter: anywhere between now and a bound that doubles, so that a gateway's clients never come back together. */
  #backoff() {
    const { backoffMinMs, backoffMaxMs } = this.#options;
    return Math.round(Math.random() * Math.min(backoffMaxMs, backoffMinMs * 2 ** this.#failures++));
  }

  /** The node is draining: stay until the time it gave us, then go elsewhere. @param {number} asked */
  #move(asked) {
    const afterMs = Math.min(Math.max(Number(asked) || 0, 0), 300_000);
    const url = this.#urls[(this.#turn + 1) % this.#urls.length].href;
    this.#emit("reconnect", { afterMs, attempt: 0, code: 1012, reason: "the node is draining", url });
    clearTimeout(this.#wait);
    this.#wait = setTimeout(() => { this.#drop(); this.#turn += 1; this.#connect(); }, afterMs);
  }
  /** Lets go of the socket now; a dead one would take a minute to report its own close. */
  #drop() {
    clearTimeout(this.#watch);
    clearTimeout(this.#wait);
    const socket = this.#socket;
    this.#socket = this.#hello = null;
    socket?.close(1000);
  }

  /** @param {number} code @param {string} reason */
  #end(code, reason) {
    if (this.#state === "closed") return;
    this.#drop();
    this.#enter("closed", code, reason);
    for (const seq of [...this.#pending.keys()]) this.#settle(seq)?.reject(new TidegateError(0, `closed: ${code} ${reason}`));
  }

  /** @param {unknown} text */
  #receive(text) {
    if (typeof text !== "string") return;
    this.#listen();
    if (text === "pong") return;
    let message;
    try { message = JSON.parse(text); } catch { return; }
    this.#emit("frame", { text, message });
    if (message?.response) return this.#answered(message);
    switch (message?.cmd) {
      case "push": for (const item of message.items ?? []) this.#deliver(item); break;
      case "hello": this.#greeted(message.data); break;
      case "reset": this.#seen(message); this.#emit("reset", message); break;
      case "gap": this.#emit("gap", message); break;
      case "reconnect": this.#move(message.data?.afterMs); break;
    }
  }

  /** @param {Item} item */
  #deliver(item) {
    const known = item.user ? this.#inbox : this.#rooms.get(item.room ?? "");
    if (known && item.epoch === known.epoch && Number(item.offset) <= known.offset) return;
    this.#seen(item);
    this.#emit("item", item);
  }
  /** Remembers how far a history was seen. @param {{ room?: string, user?: boolean, epoch?: string, offset?: number }} at */
  #seen({ room = "", user, epoch, offset }) {
    if (epoch === undefined || offset === undefined) return;
    if (user) this.#inbox = { epoch, offset };
    else if (this.#rooms.has(room)) this.#rooms.set(room, { epoch, offset });
  }

  /** After a quiet time asks whether the gateway is there: its own pings never reach a page. Before the hello, waits for that. */
  #listen() {
    if (!this.#hello) return;
    this.#expect(this.#hello.heartbeatMs || 25_000, () => {
      this.#socket?.send("ping");
      this.#expect(this.#options.answerTimeMaxMs, () => this.#lost(4003, "the gateway is silent"));
    });
  }
  /** @param {number} ms @param {() => void} otherwise */
  #expect(ms, otherwise) {
    clearTimeout(this.#watch);
    this.#watch = setTimeout(otherwise, ms);
  }

  /** @param {string} cmd @param {() => object} data  Asked for when it is sent, maybe twice. @param {string} [room] @returns {Promise<any>} */
  #command(cmd, data, room) {
    if (this.#state === "closed") return Promise.reject(new TidegateError(0, "closed"));
    const seq = String(++this.#seq);
    return new Promise((resolve, reject) => {
      const late = () => this.#settle(seq)?.reject(new TidegateError(408, `no reply to ${cmd} in time`));
      const timer = setTimeout(late, this.#options.answerTimeMaxMs);
      this.#pending.set(seq, { cmd, room, data, resolve, reject, timer });
      if (this.#state === "open") this.#transmit(seq);
    });
  }
  /** Commands may be repeated without harm; those unanswered when a connection is lost are sent on the next one. @param {string} seq */
  #transmit(seq) {
    const command = this.#pending.get(seq);
    if (command) this.#socket?.send(JSON.stringify({ seq, cmd: command.cmd, data: command.data() }));
  }
  /** @param {{ seq?: string, response: { code: number, codeMsg?: string, data?: any } }} reply */
  #answered({ seq = "", response }) {
    const command = this.#settle(seq);
    if (response.code === 200) command?.resolve(response.data);
    else command?.reject(new TidegateError(response.code, response.codeMsg ?? `${command.cmd} failed`));
  }
  /** Takes a command off the list: it is answered, or never will be. @param {string} seq */
  #settle(seq) {
    const command = this.#pending.get(seq);
    this.#pending.delete(seq);
    clearTimeout(command?.timer);
    return command;
  }

  /** @param {string} room */
  async #join(room) {
    const answer = await this.#command("join", () => ({ room, ...this.#rooms.get(room) }), room).catch((error) => {
      if (refused(error)) this.#rooms.delete(room);
      throw error;
    });
    const known = this.#rooms.get(room);
    // Only a first join begins here: after a recovery the items, maybe still on their way, say how far we are.
    if (!known) this.#seen({ room, ...answer });
    else if (answer?.recovered === false && answer.epoch === undefined) {
      // The room keeps no history any more.
      this.#rooms.set(room, null);
      this.#emit("reset", { room });
    }
    return answer;
  }
  /** Says again who this is and how far its own history was seen; what just cannot be done now is tried again. */
  #relogin() {
    const socket = this.#socket;
    const who = this.#token ? { token: this.#token } : this.#identity;
    const still = () => { if (this.#socket && this.#socket === socket && this.#inbox) this.#relogin(); };
    this.#command("login", () => ({ ...who, ...this.#inbox })).catch((error) => {
      if (refused(error)) this.#emit("gap", { reason: `could not log in again: ${error.message}` });
      else setTimeout(still, this.#backoff());
    });
  }
  /** Joins again after a reconnect; what just cannot be done now is tried again. @param {string} room */
  #rejoin(room) {
    const socket = this.#socket;
    const still = () => { if (this.#socket && this.#socket === socket && this.#rooms.has(room)) this.#rejoin(room); };
    this.#join(room).catch((error) => {
      if (refused(error)) this.#emit("gap", { room, reason: `could not join again: ${error.message}` });
      else setTimeout(still, this.#backoff());
    });
  }
  /** @param {string} room */
  #waitingFor(room) { return [...this.#pending.values()].some((command) => command.room === room); }
  /** @template {keyof Events} K @param {K} name @param {Events[K]} detail */
  #emit(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }
  /** @param {State} state @param {number} [code] @param {string} [reason] */
  #enter(state, code, reason) {
    this.#state = state;
    this.#emit("state", { state, url: this.url, code, reason });
  }
}

/** Whether a close code means that trying again is of no use: a good-bye, or a fault of ours. @param {number} code */
const isFinal = (code) => (code >= 4500 && code <= 4999) || [1000, 1002, 1003, 1007, 1008, 1009, 1010].includes(code);
/** Whether a command was refused for a reason that stays. @param {TidegateError} error */
const refused = ({ code }) => code >= 400 && code < 500 && code !== 408 && code !== 429;
/** @param {string} text */
function address(text) {
  const url = new URL(text);
  url.protocol = url.protocol.replace("http", "ws");
  if (!url.protocol.startsWith("ws")) throw new TypeError(`tidegate: ${text} is no ws:// or wss:// address`);
  if (url.pathname === "/") url.pathname = "/ws";
  return url;
}

/** A gateway would refuse the whole handshake, and a browser could not say why. @param {string} room */
function named(room) {
  const bytes = new TextEncoder().encode(room).length;
  if (bytes === 0 || bytes > 256 || /\p{Cc}/u.test(room)) throw new TypeError(`tidegate: ${JSON.stringify(room)} cannot be a room's name`);
  return room;
}
