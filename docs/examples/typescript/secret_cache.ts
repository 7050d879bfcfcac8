// A cache of secrets, for any client of the service.

export type Secret = { value: Buffer; version: number };

/** The service cannot reply now; ask again after `retryAfter` seconds. */
export class UnavailableError extends Error {
  constructor(readonly retryAfter: number) {
    super("the service is unavailable");
  }
}

const ATTEMPTS = 5;
const MAX_WAIT_SECONDS = 30;

/**
 * Calls `fetchSecret` once in `maxAge` seconds for each name, and keeps the last value while the service is unavailable.
 *
 * `fetchSecret` throws an `UnavailableError`, or another error if the caller may not have the secret.
 */
export class SecretCache {
  private readonly cached = new Map<string, { secret: Secret; expires: number }>();
  private readonly reads = new Map<string, Promise<Secret>>();
  private retryAt = 0;

  constructor(
    private readonly fetchSecret: (name: string) => Promise<Secret>,
    private readonly maxAge = 300,
  ) {}

  /** Return the secret. After a login failed with a secret, pass it as `refused` to get a newer one, if any. */
  async get(name: string, refused?: Secret): Promise<Secret> {
    const found = this.cached.get(name);
    const now = performance.now();
    if (found && ((now < found.expires && found.secret.version !== refused?.version) || now < this.retryAt)) {
      return found.secret;
    }
    // One call asks, and the others wait for its result.
    let read = this.reads.get(name);
    if (!read) {
      read = this.read(name, found?.secret).finally(() => this.reads.delete(name));
      this.reads.set(name, read);
    }
    return read;
  }

  private async read(name: string, kept?: Secret): Promise<Secret> {
    try {
      const secret = await this.attempt(name, kept ? 1 : ATTEMPTS);
      this.cached.set(name, { secret, expires: performance.now() + this.maxAge * 1_000 });
      return secret;
    } catch (error) {
      if (kept && error instanceof UnavailableError) {
        this.retryAt = performance.now() + error.retryAfter * 1_000;
        console.warn(`unavailable: keeping version ${kept.version} of ${name}`);
        return kept;
      }
      // For example, the secret was deleted, or the token was revoked.
      this.cached.delete(name);
      throw error;
    }
  }

  private async attempt(name: string, attempts: number): Promise<Secret> {
    for (let left = attempts - 1; ; left--) {
      try {
        return await this.fetchSecret(name);
      } catch (error) {
        if (!(error instanceof UnavailableError) || !left || error.retryAfter > MAX_WAIT_SECONDS) throw error;
        await new Promise((resolve) => setTimeout(resolve, error.retryAfter * 1_000));
      }
    }
  }
}
