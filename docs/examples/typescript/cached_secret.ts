// Use a secret through a cache, with openapi-fetch and openapi-typescript's types: `node cached_secret.js NAME`.
//
// Each line of standard input uses the secret: `use`, or `refused` after a failed login. With RECEIPTS_FILE, the service
// signs what it has delivered.

import { appendFileSync } from "node:fs";
import { createInterface } from "node:readline";
import createClient from "openapi-fetch";
import type { paths } from "./schema";
import { type Secret, SecretCache, UnavailableError } from "./secret_cache";

const { VAULT_URL, VAULT_TOKEN, RECEIPTS_FILE, MAX_AGE_SECONDS = "300" } = process.env;

const client = createClient<paths>({
  baseUrl: VAULT_URL,
  headers: { Authorization: `Bearer ${VAULT_TOKEN}`, ...(RECEIPTS_FILE ? { "X-Receipt": "1" } : {}) },
});

/** Fetch the newest version. A batch, unlike a single fetch, says which version it is. */
async function fetchSecret(name: string): Promise<Secret> {
  const { data, error, response } = await client
    .POST("/vault/secret/fetch-batch", {
      body: { secrets: [{ name }] },
      signal: AbortSignal.timeout(10_000),
    })
    .catch(() => {
      throw new UnavailableError(1);
    });
  if (response.status === 429 || response.status === 503) {
    throw new UnavailableError(Number(response.headers.get("Retry-After") ?? 1));
  }
  const item = data?.secrets[0];
  if (!item?.secret || !item.version) throw new Error(`${name}: ${(error ?? item?.problem)?.code}`);
  if (RECEIPTS_FILE) appendFileSync(RECEIPTS_FILE, `${data?.receipts?.[0]}\n`);
  return { value: Buffer.from(item.secret, "base64"), version: item.version };
}

async function main(): Promise<void> {
  const cache = new SecretCache(fetchSecret, Number(MAX_AGE_SECONDS));
  const name = process.argv[2];
  let secret: Secret | undefined;
  for await (const line of createInterface({ input: process.stdin })) {
    secret = await cache.get(name, line === "refused" ? secret : undefined);
    // A program would log in with `secret.value` here.
    console.log("using version", secret.version);
  }
}

main();
