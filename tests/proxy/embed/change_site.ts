/**
 * A gateway with two rules and a map to this host, and a client of it, for changes while it runs.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { encodeKey, generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import type { ConfigInput } from "../../../proxy/config/config.ts";
import { SITE } from "../pair.ts";
import { startWirestack } from "../start.ts";

export async function startChangeable() {
  const [ours, theirs] = [generatePrivateKey(), generatePrivateKey()];
  const config = {
    interface: { privateKey: encodeKey(ours), address: "10.9.0.1/24" },
    peers: [{ name: "laptop", publicKey: publicKeyOf(theirs), allowedIps: "10.9.0.2/32" }],
    rules: [{ to: "10.50.0.2", action: "allow" }, { to: SITE, action: "allow" }],
    proxy: {
      subnets: "10.50.0.0/16",
      map: [`${SITE} -> 127.0.0.1`, "10.50.0.2 -> 127.0.0.1"],
    },
  } satisfies ConfigInput;
  const gateway = await startWirestack(config);
  const client = await startWirestack({
    interface: { privateKey: encodeKey(theirs), address: "10.9.0.2/24" },
    peers: [{
      publicKey: encodeKey(publicKeyOf(ours)),
      allowedIps: "0.0.0.0/0",
      endpoint: `127.0.0.1:${gateway.port}`,
    }],
  });
  return {
    gateway,
    client,
    config: { ...config, interface: { ...config.interface, listenPort: gateway.port } },
    async [Symbol.asyncDispose]() {
      await client.close({ graceMs: 0 });
      await gateway.close({ graceMs: 0 });
    },
  };
}

/** @param onBytes Called with how many, whenever some have come. */
export async function hashOf(
  conn: { read(into: Uint8Array): Promise<number | null> },
  onBytes: (count: number) => void = () => {},
): Promise<string> {
  const hash = createHash("sha256");
  const buffer = new Uint8Array(65536);
  for (let length; (length = await conn.read(buffer)) !== null;) {
    hash.update(buffer.subarray(0, length));
    onBytes(length);
  }
  return hash.digest("hex");
}
