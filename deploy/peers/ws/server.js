// A server with `ws` as its manual shows it (https://github.com/websockets/ws#server-broadcast): one process, no
// compression (its default, and its advice), a loop over all clients. What is posted to the second port goes to all.
"use strict";
const http = require("node:http");
const { WebSocket, WebSocketServer } = require("ws");

const [clients, publishers] = process.argv.slice(2).map(Number);
const wss = new WebSocketServer({ host: "127.0.0.1", port: clients, backlog: 4096 });

http.createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const data = Buffer.concat(parts);
    wss.clients.forEach((client) => {
      if (client.readyState === WebSocket.OPEN) client.send(data, { binary: false });
    });
    response.end("published\n");
  });
}).listen(publishers, "127.0.0.1");
