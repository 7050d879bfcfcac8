// Fetch secrets in a job of GitHub Actions. The runner runs this file twice, see action.yml: as a step, and at the end.
//
// It needs only Node.js. The JWT stays in memory and acts itself: there is no token to revoke. Every text
// reaches the log through `command`, which escapes it: a line that begins with :: would be a command of its own.

import { randomUUID } from "node:crypto";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const ATTEMPTS = 3;
const MAX_WAIT_SECONDS = 30;
const TIMEOUT_MS = 30_000;
const MAX_SECRETS = 100;
// Of one batch, the service replies with 8 MiB of values, in base64.
const MAX_REPLY_BYTES = 16_777_216;
// Linux starts no program with a longer one, NAME=VALUE and its end.
const MAX_VARIABLE_BYTES = 131_072;
const STRANGE = "The reply is not that of a Secret Manager.";
const LOOPBACK = new Set(["localhost", "127.0.0.1", "[::1]"]);
// The runner ignores or refuses these.
const RESERVED = /^(GITHUB_|RUNNER_|ACTIONS_|INPUT_|STATE_)|^(CI|NODE_OPTIONS)$/;

class Failure extends Error {}

function command(name, text) {
  const data = text.replaceAll("%", "%25").replaceAll("\r", "%0D").replaceAll("\n", "%0A");
  const line = Buffer.from(`::${name}::${data}\n`);
  // The pipe to the runner can take a part of a long line, and no more for the moment. A part of a value is no mask.
  for (let at = 0; at < line.length; ) {
    try {
      at += writeSync(1, line, at);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

function mask(text) {
  const lines = text.split(/\r\n|\r|\n/);
  for (const part of new Set([text, ...lines, ...lines.map((line) => line.trim())])) {
    // The runner cannot mask white space alone.
    if (part.trim()) command("add-mask", part);
  }
}

function input(name) {
  return (process.env[`INPUT_${name.toUpperCase()}`] ?? "").trim();
}

function required(name) {
  const value = input(name);
  if (!value) throw new Failure(`The input ${name} is missing.`);
  return value;
}

/** Set the variable *name* in one of the runner's files: GITHUB_ENV or GITHUB_STATE. */
function assign(file, name, value) {
  const delimiter = `end-${randomUUID()}`;
  appendFileSync(process.env[file], `${name}<<${delimiter}\n${value}\n${delimiter}\n`);
}

/** Return what the lines of the inputs ask for: `{variable, field, secret, isFile}`. */
function wanted() {
  const found = [];
  for (const list of ["secrets", "files"]) {
    for (const line of input(list).split("\n").map((one) => one.trim()).filter(Boolean)) {
      const parts = /^([A-Za-z_][A-Za-z0-9_]*)(?:\.([^=]+))?=(.+)$/.exec(line);
      if (!parts) throw new Failure(`A line of ${list} is not NAME=SECRET or NAME.FIELD=SECRET: ${line}`);
      const [, variable, field, secret] = parts;
      if (RESERVED.test(variable)) throw new Failure(`The runner reserves ${variable}: choose another variable.`);
      if (found.some((other) => other.variable === variable)) throw new Failure(`Two lines set ${variable}.`);
      found.push({ variable, field, secret: secret.trim(), isFile: list === "files" });
    }
  }
  if (!found.length) throw new Failure("Neither secrets nor files has a line.");
  if (found.length > MAX_SECRETS) throw new Failure(`One step fetches at most ${MAX_SECRETS} secrets.`);
  return found;
}

function serviceUrl() {
  const text = required("url");
  const url = URL.canParse(text) ? new URL(text) : {};
  const isPrivate = url.protocol === "https:" || (url.protocol === "http:" && LOOPBACK.has(url.hostname));
  if (!isPrivate) throw new Failure("The input url must begin with https://, or be http on the runner's own machine.");
  return url;
}

function authority() {
  const value = input("ca-cert");
  if (!value || value.startsWith("-----BEGIN ")) return value || undefined;
  try {
    return readFileSync(value, "utf8");
  } catch (error) {
    throw new Failure(`The file in ca-cert cannot be read: ${error.code}`);
  }
}

function send(url, { method, headers, body, ca }) {
  return new Promise((resolve, reject) => {
    const options = { method, headers, ca, signal: AbortSignal.timeout(TIMEOUT_MS) };
    const request = (url.protocol === "https:" ? https : http).request(url, options, (reply) => {
      const chunks = [];
      let size = 0;
      reply.on("data", (chunk) => {
        size += chunk.length;
        chunks.push(chunk);
        if (size > MAX_REPLY_BYTES) reply.destroy(Object.assign(new Error(), { code: "EMSGSIZE" }));
      });
      reply.on("error", reject);
      reply.on("end", () => {
        resolve({ status: reply.statusCode, headers: reply.headers, text: Buffer.concat(chunks).toString("utf8") });
      });
    });
    request.on("error", reject);
    request.end(body);
  });
}

/** Return the reply to a request, which is repeated only where nothing was released: 429, 503, or no connection. */
async function ask(url, request) {
  for (let attempt = 1; ; attempt++) {
    const isLast = attempt === ATTEMPTS;
    let seconds = 2 ** (attempt - 1);
    try {
      const reply = await send(url, request);
      if (isLast || ![429, 503].includes(reply.status)) return reply;
      seconds = Number(reply.headers["retry-after"] ?? seconds);
      if (!(seconds <= MAX_WAIT_SECONDS)) return reply;
    } catch (error) {
      const reason = error.code ?? error.name;
      if (isLast || reason !== "ECONNREFUSED") throw new Failure(`No answer from ${url.origin}: ${reason}`);
    }
    await sleep(seconds * 1_000);
  }
}

/** Return the JSON object in *text*, or an empty one. */
function parsed(text) {
  try {
    const found = JSON.parse(text);
    return typeof found === "object" && found && !Array.isArray(found) ? found : {};
  } catch {
    return {};
  }
}

async function jobToken(audience) {
  const { ACTIONS_ID_TOKEN_REQUEST_URL: address, ACTIONS_ID_TOKEN_REQUEST_TOKEN: credential } = process.env;
  if (!address || !credential) throw new Failure("The job has no identity: give it the permission `id-token: write`.");
  const url = new URL(address);
  url.searchParams.set("audience", audience);
  const reply = await ask(url, { method: "GET", headers: { Authorization: `Bearer ${credential}` } });
  const { value } = parsed(reply.text);
  if (reply.status !== 200 || typeof value !== "string") {
    throw new Failure(`GitHub issued no JWT for the job: status ${reply.status}`);
  }
  mask(value);
  return value;
}

/** Return the values of the secrets by *names*, from the reply to one batch: each item has a secret or a problem. */
async function fetched(service, jwt, role, names, ca) {
  const url = new URL(`${service.href.replace(/\/+$/, "")}/vault/secret/fetch-batch`);
  const body = JSON.stringify({ secrets: names.map((name) => ({ name })) });
  const headers = {
    Authorization: `Bearer ${jwt}`,
    "X-Role": role,
    "Content-Type": "application/json",
    "Content-Length": Buffer.byteLength(body),
  };
  const reply = await ask(url, { method: "POST", headers, body, ca });
  const { secrets, code, detail, request_id: request } = parsed(reply.text);
  if (reply.status === 401) {
    const reason = `Its audit trail says why: ${request ?? "-"}`;
    throw new Failure(`The service refused the job's JWT for the role ${role}. ${reason}`);
  }
  if (reply.status !== 200) {
    throw new Failure(`The service replied ${reply.status} ${code ?? ""}: ${detail ?? "no problem document"}`);
  }
  if (!Array.isArray(secrets) || secrets.length !== names.length) throw new Failure(STRANGE);
  const refused = secrets.flatMap((item, at) => (item?.problem ? [`${names[at]} (${item.problem.code})`] : []));
  if (refused.length) throw new Failure(`Not fetched: ${refused.join(", ")}`);
  return new Map(secrets.map((item, at) => [names[at], bytesOf(item?.secret)]));
}

/** Return the bytes of *secret* in base64. Node.js itself skips what is not base64. */
function bytesOf(secret) {
  const bytes = Buffer.from(String(secret), "base64");
  if (bytes.toString("base64") !== secret) throw new Failure(STRANGE);
  return bytes;
}

/** Return *bytes* as text, or undefined. */
function textOf(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** Return one field of a JSON object as text. Numbers that JavaScript would change are refused. */
function fieldOf(bytes, { secret, field }) {
  const object = parsed(textOf(bytes) ?? "");
  const value = Object.hasOwn(object, field) ? object[field] : undefined;
  if (typeof value === "string") return value;
  if (typeof value === "boolean" || Number.isSafeInteger(value)) return String(value);
  throw new Failure(`${secret} has no field ${field} that is a text, an integer or a boolean.`);
}

function valueOf(bytes, want) {
  const value = want.field === undefined ? bytes : Buffer.from(fieldOf(bytes, want), "utf8");
  const text = textOf(value);
  mask(text ?? value.toString("base64"));
  if (!want.isFile && (text === undefined || text.includes("\0"))) {
    throw new Failure(`${want.secret} is not text, so no variable can have it: list it in files.`);
  }
  if (!want.isFile && want.variable.length + value.length + 2 > MAX_VARIABLE_BYTES) {
    throw new Failure(`${want.secret} is too large for a variable: list it in files.`);
  }
  return { ...want, value };
}

async function main() {
  const wants = wanted();
  const service = serviceUrl();
  const [role, ca] = [required("role"), authority()];
  if (/[^\x21-\x7e]/.test(role)) throw new Failure("The input role is not the name of a role.");
  const jwt = await jobToken(input("audience") || required("url"));
  // Several fields of a secret are one read of it.
  const names = [...new Set(wants.map((want) => want.secret))];
  const values = await fetched(service, jwt, role, names, ca);
  // All are masked before one is used.
  const ready = wants.map((want) => valueOf(values.get(want.secret), want));
  const folder = ready.some((one) => one.isFile) && mkdtempSync(join(process.env.RUNNER_TEMP, "secret-manager-"));
  if (folder) assign("GITHUB_STATE", "folder", folder);
  for (const { variable, value, isFile } of ready) {
    const path = isFile && join(folder, variable);
    if (path) writeFileSync(path, value, { mode: 0o600, flag: "wx" });
    assign("GITHUB_ENV", variable, path || value);
  }
}

async function run() {
  try {
    // The step left this for the end of the job.
    if (process.env.STATE_phase !== "end") {
      assign("GITHUB_STATE", "phase", "end");
      await main();
    } else if (process.env.STATE_folder) {
      rmSync(process.env.STATE_folder, { recursive: true, force: true });
    }
  } catch (error) {
    command("error", error instanceof Failure ? error.message : `The action failed: ${error.code ?? error.name}`);
    process.exitCode = 1;
  }
}

await run();
