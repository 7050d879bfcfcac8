// Store, read and list secrets, and create a token, with OpenAPI Generator's TypeScript client.

import { Configuration, ProblemFromJSON, ResponseError, SecretsApi, TokensApi } from "./client";

const folder = process.env.FOLDER;
const configuration = new Configuration({
  basePath: process.env.VAULT_URL,
  accessToken: process.env.VAULT_TOKEN,
});
const secrets = new SecretsApi(configuration);

async function reportRefusal(error: unknown): Promise<void> {
  if (!(error instanceof ResponseError)) throw error;
  const problem = ProblemFromJSON(await error.response.json());
  console.log("refused", problem.status, problem.code);
}

async function main(): Promise<void> {
  const { secretId } = await secrets.createSecret({
    newSecret: { secret: "b2xk", name: `${folder}/password` },
  });
  const fetched = await secrets.fetchSecret({ versionReference: { secretId } });
  console.log("fetched", fetched.secret);

  const update = { name: `${folder}/password`, secret: "bmV3", expectedVersion: 1 };
  const updated = await secrets.updateSecret({ newVersion: update });
  console.log("updated to version", updated.version);
  await secrets.updateSecret({ newVersion: update }).catch(reportRefusal);

  const page = await secrets.listSecrets({ listQuery: { namePrefix: `${folder}/` } });
  console.log("listed", ...page.secrets.map((secret) => secret.name));

  const batch = await secrets.fetchSecrets({ fetchBatch: { namePrefix: `${folder}/` } });
  console.log("fetched together", ...batch.secrets.map((item) => item.secret));

  const tokens = new TokensApi(configuration);
  const { token } = await tokens.createToken({ newToken: { name: `${folder}`, role: "reader" } });
  console.log("created a token", token.slice(0, 4));

  await secrets
    .fetchSecret({ versionReference: { name: `${folder}/missing` } })
    .catch(reportRefusal);
}

main();
