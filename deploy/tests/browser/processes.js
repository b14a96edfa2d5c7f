// Starts the real program, waits for its READY, and ends what it started.

import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";

export const binary = process.env.TIDEGATE_BIN ?? fileURLToPath(new URL("../../../target/release/tidegate", import.meta.url));
const READY_TIME_MAX_MS = 20_000;

/** As many ports that are free now, on loopback. All are held until the last is found, so that they differ. */
export async function freePorts(count) {
  const servers = await Promise.all(Array.from({ length: count }, () => new Promise((resolve, reject) => {
    const server = createServer().once("error", reject).listen(0, "127.0.0.1", () => resolve(server));
  })));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => { server.close(resolve); })));
  return ports;
}

/** One running tidegate: what it printed, and its end. */
export async function start(...args) {
  // The settings are those of the test: a variable such as TIDEGATE_LISTEN is not to reach it.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("TIDEGATE_")));
  const child = spawn(binary, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise((resolve) => { child.once("exit", resolve); });
  let printed = "";
  const running = {
    get printed() { return printed; },
    async end(signal = "SIGKILL") {
      child.kill(signal);
      await ended;
    },
  };
  await new Promise((resolve, reject) => {
    const why = (what) => reject(new Error(`tidegate ${args.join(" ")}: ${what}\n${printed}`));
    const late = setTimeout(() => { child.kill("SIGKILL"); why("no READY in time"); }, READY_TIME_MAX_MS);
    child.once("error", (error) => why(error.message));
    child.once("exit", (code) => why(`ended with ${code} before READY`));
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => {
        printed = (printed + text).slice(-65_536);
        if (!/^READY\b/m.test(printed)) return;
        clearTimeout(late);
        resolve();
      });
    }
  });
  return running;
}
