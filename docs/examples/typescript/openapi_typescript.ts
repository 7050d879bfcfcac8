// Store, read and list secrets, and create a token, with openapi-fetch and openapi-typescript's types.

import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

const folder = process.env.FOLDER;
const client = createClient<paths>({
  baseUrl: process.env.VAULT_URL,
  headers: { Authorization: `Bearer ${process.env.VAULT_TOKEN}` },
});

function reportRefusal(problem?: components["schemas"]["Problem"]): void {
  console.log("refused", problem?.status, problem?.code);
}

async function main(): Promise<void> {
  const created = await client.POST("/vault/secret/create", {
    body: { secret: "b2xk", name: `${folder}/password` },
  });
  if (created.error) {
    reportRefusal(created.error);
    process.exit(1);
  }
  const fetched = await client.POST("/vault/secret/fetch", {
    body: { secret_id: created.data.secret_id },
  });
  console.log("fetched", fetched.data?.secret);

  const update = { name: `${folder}/password`, secret: "bmV3", expected_version: 1 };
  const updated = await client.POST("/vault/secret/update", { body: update });
  console.log("updated to version", updated.data?.version);
  reportRefusal((await client.POST("/vault/secret/update", { body: update })).error);

  const page = await client.POST("/vault/secret/list", { body: { name_prefix: `${folder}/` } });
  console.log("listed", ...(page.data?.secrets ?? []).map((secret) => secret.name));

  const batch = await client.POST("/vault/secret/fetch-batch", { body: { name_prefix: `${folder}/` } });
  console.log("fetched together", ...(batch.data?.secrets ?? []).map((item) => item.secret));

  const token = await client.POST("/vault/token/create", { body: { name: `${folder}`, role: "reader" } });
  console.log("created a token", token.data?.token.slice(0, 4));

  const missing = await client.POST("/vault/secret/fetch", { body: { name: `${folder}/missing` } });
  reportRefusal(missing.error);
}

main();
