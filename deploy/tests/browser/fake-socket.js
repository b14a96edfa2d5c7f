// A WebSocket that a test holds in its hand: it sees what the library sends, and says what the gateway says.

/** Makes a constructor whose sockets are kept, in order, in `sockets`. */
export function fakeSockets() {
  const sockets = [];
  class FakeWebSocket extends EventTarget {
    sent = [];
    closedWith = null;

    constructor(url) {
      super();
      this.url = new URL(url);
      sockets.push(this);
    }

    send(text) { this.sent.push(text); }
    close(code) { this.closedWith = code; }

    /** The commands sent so far, parsed; pings left out. */
    get commands() { return this.sent.filter((text) => text !== "ping").map((text) => JSON.parse(text)); }

    says(message) {
      const data = typeof message === "string" ? message : JSON.stringify(message);
      this.dispatchEvent(Object.assign(new Event("message"), { data }));
    }

    greets(hello = {}) {
      this.says({ cmd: "hello", data: { clientId: "c1", heartbeatMs: 25_000, windowMs: 1000, version: 1, ...hello } });
    }

    answers(command, response = { code: 200, codeMsg: "Success" }) {
      this.says({ seq: command.seq, cmd: command.cmd, response });
    }

    /** The connection is lost: the gateway closed it, or (1006) it just broke. */
    breaks(code = 1006, reason = "") {
      this.dispatchEvent(Object.assign(new Event("close"), { code, reason }));
    }
  }
  return { sockets, FakeWebSocket };
}
