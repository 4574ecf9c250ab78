/** Web Crypto: global everywhere but in Node 18. */
export async function webCrypto(): Promise<Crypto> {
  if (globalThis.crypto?.subtle) return globalThis.crypto;
  const name = "node:crypto";
  const { webcrypto } = (await import(/* webpackIgnore: true */ /* @vite-ignore */ name)) as { webcrypto: Crypto };
  return webcrypto;
}

/** A new id, like `op_6f1c...`. */
export async function newId(prefix: string): Promise<string> {
  return `${prefix}_${(await webCrypto()).randomUUID()}`;
}
