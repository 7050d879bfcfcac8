// Receive webhooks: verify each signature, and handle each event once.

const { createHmac, timingSafeEqual } = require("node:crypto");
const key = Buffer.from(process.env.WEBHOOK_SECRET.replace("whsec_", ""), "base64");
const seen = new Set();

require("node:http").createServer(async (request, response) => {
  const body = Buffer.concat(await request.toArray());
  const { "webhook-id": id, "webhook-timestamp": sent, "webhook-signature": signature } = request.headers;
  const expected = "v1," + createHmac("sha256", key).update(`${id}.${sent}.`).update(body).digest("base64");
  const [ours, theirs] = [Buffer.from(expected), Buffer.from(signature ?? "")];
  const isOurs = ours.length === theirs.length && timingSafeEqual(ours, theirs);
  if (isOurs && Math.abs(Date.now() / 1000 - Number(sent)) < 300) {
    if (!seen.has(id)) console.log(JSON.parse(body).type);
    seen.add(id);
    response.writeHead(204).end();
  } else {
    response.writeHead(401).end();
  }
}).listen(Number(process.env.PORT), "127.0.0.1");
