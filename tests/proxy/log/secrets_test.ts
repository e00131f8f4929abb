/**
 * Everything that is logged, thrown and reported while gateways run at the lowest level, searched for
 * every secret there was: private, preshared, ephemeral and session keys, and what lies between.
 */

import type { DeviceCounters } from "../../../wireguard/mod.ts";
import assert from "node:assert/strict";
import { reset } from "npm:@logtape/logtape@2.4.2";
import { loadConfig } from "../../../proxy/config/config.ts";
import { fastCrypto } from "../../preset.ts";
import {
  encodeKey,
  generatePresharedKey,
  generatePrivateKey,
  publicKeyOf,
} from "../../../proxy/base64.ts";
import { configureLog, LOG_FORMATS } from "../../../proxy/log/log.ts";
import { Wirestack } from "../../../proxy/embed/wirestack.ts";
import type { Crypto } from "../../../wireguard/mod.ts";
import { readAll, until, writeAll } from "../pair.ts";
import { startWirestack } from "../start.ts";

const FAST = {
  rekeyAfterMs: 300,
  rejectAfterMs: 900,
  rekeyTimeoutMs: 50,
  rekeyJitterMs: 10,
  rekeyAttemptMs: 300,
  keepaliveTimeoutMs: 100,
  zeroKeysMs: 1000,
};

/** Every key that passes through the primitives. */
class Recorder {
  readonly secrets = new Map<string, string>();

  readonly crypto: Crypto = {
    x25519: {
      publicKey: (privateKey) => {
        this.add("private or ephemeral key", privateKey);
        return fastCrypto().x25519.publicKey(privateKey);
      },
      sharedSecret: (privateKey, publicKey) => {
        this.add("private or ephemeral key", privateKey);
        const secret = fastCrypto().x25519.sharedSecret(privateKey, publicKey);
        this.add("shared secret", secret);
        return secret;
      },
    },
    aead: {
      importKey: (key) => {
        this.add("session key", key);
        return fastCrypto().aead.importKey(key);
      },
    },
  };

  add(what: string, key: Uint8Array): void {
    this.secrets.set(key.toHex(), what);
  }

  count(what: string): number {
    return [...this.secrets.values()].filter((kind) => kind === what).length;
  }
}

for (const format of LOG_FORMATS) {
  Deno.test(`no secret in any log at any level, in an error, or in the figures: ${format}`, async () => {
    const output: string[] = [];
    const recorder = new Recorder();
    const say = (...text: unknown[]) => output.push(...text.map(String));
    configureLog({ level: "trace", format, write: say });
    try {
      await live(recorder, say, () => output.join("\n"));
    } finally {
      await reset();
    }
    const text = output.join("\n");
    // The life was a full one.
    for (
      const line of [
        /handshake complete/,
        /no answer from/,
        /given up for now/,
        /keys wiped/,
        /its public key is no peer's/,
        /the preshared keys may differ/,
        /claimed the key/,
        /now at/,
        /expected/,
      ]
    ) assert.match(text, line);
    assert.ok(recorder.count("session key") >= 8, "sessions and rekeys");
    assert.ok(recorder.count("shared secret") >= 8);
    assert.ok(recorder.count("preshared key") >= 2);

    for (const [hex, what] of recorder.secrets) {
      const bytes = Uint8Array.fromHex(hex);
      assert.ok(!has(text, hex), `a ${what} in hex`);
      assert.ok(!has(text, bytes.toBase64({ omitPadding: true })), `a ${what} in base64`);
      assert.ok(!has(text, bytes.join(",")), `a ${what} in decimal`);
    }
    // The search finds what is there.
    const known = [...text.matchAll(/[A-Za-z0-9+/]{43}=/g)].map(([key]) => key);
    assert.ok(known.length > 0 && has(text, known[0]!), "public keys are logged");
  });
}

/** Whole, or a half of it. */
function has(text: string, secret: string): boolean {
  const half = secret.length >> 1;
  const lower = text.toLowerCase();
  return [secret.slice(0, half), secret.slice(half)].some((part) =>
    lower.includes(part.toLowerCase())
  );
}

/** Handshakes, traffic, rekeys, failures of all kinds, and configurations with mistakes in them. */
async function live(
  recorder: Recorder,
  say: (...text: unknown[]) => void,
  said: () => string,
): Promise<void> {
  const { crypto } = recorder;
  const secret = (key: Uint8Array, what: string) => {
    recorder.add(what, key);
    return key;
  };
  const [gatewayKey, clientKey, wrongKey, strangerKey] = Array.from(
    { length: 4 },
    () => secret(generatePrivateKey(), "private key"),
  );
  const [preshared, otherPreshared] = Array.from(
    { length: 2 },
    () => secret(generatePresharedKey(), "preshared key"),
  );
  using target = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  (async () => {
    for await (const conn of target) conn.readable.pipeTo(conn.writable).catch(() => {});
  })();
  const gateway = await startWirestack({
    interface: { privateKey: encodeKey(gatewayKey!), address: "10.9.0.1/24" },
    peers: [
      {
        publicKey: encodeKey(publicKeyOf(clientKey!)),
        presharedKey: encodeKey(preshared!),
        allowedIps: "10.9.0.2/32",
      },
      {
        publicKey: encodeKey(publicKeyOf(wrongKey!)),
        presharedKey: encodeKey(preshared!),
        allowedIps: "10.9.0.3/32",
      },
    ],
    proxy: { subnets: ["10.50.0.0/16"], map: ["10.50.0.1/32 -> 127.0.0.1/32"] },
  }, { crypto, timers: FAST });
  const client = (key: Uint8Array, psk: Uint8Array | undefined, address: string, port: number) =>
    startWirestack({
      interface: { privateKey: encodeKey(key), address },
      peers: [{
        publicKey: encodeKey(publicKeyOf(gatewayKey!)),
        ...(psk && { presharedKey: encodeKey(psk) }),
        allowedIps: ["0.0.0.0/0"],
        endpoint: `127.0.0.1:${port}`,
        persistentKeepalive: 1,
      }],
    }, { crypto, timers: FAST });
  const good = await client(clientKey!, preshared, "10.9.0.2/24", gateway.port);
  const wrong = await client(wrongKey!, otherPreshared, "10.9.0.3/24", gateway.port);
  const stranger = await client(strangerKey!, undefined, "10.9.0.4/24", gateway.port);

  {
    using conn = await good.connect({
      hostname: "10.50.0.1",
      port: (target.addr as Deno.NetAddr).port,
    });
    await writeAll(conn, new TextEncoder().encode("hello"));
    await conn.closeWrite();
    await readAll(conn);
  }
  await good.connect({ hostname: "10.50.0.1", port: 1 }).catch(say);
  const count = (net: Wirestack, name: keyof DeviceCounters) =>
    net.stats().counters.wireguard[name];
  await until(() => count(good, "responsesReceived") >= 3, "it has rekeyed");
  await until(() => count(wrong, "droppedBadResponse") > 0, "the preshared keys differ");
  say(JSON.stringify(gateway.stats()), JSON.stringify(good.stats()));
  say(Deno.inspect(gateway.stats(), { depth: 10 }));
  await gateway.close();
  for (const line of ["given up for now", "keys wiped"]) {
    await until(() => said().includes(line), line);
  }
  await Promise.all([good, wrong, stranger].map((net) => net.close()));

  const key = encodeKey(clientKey!);
  for (
    const text of [
      `[Interface]\nPrivateKey = ${key}x\n`,
      `[Interface]\nPrivateKey = ${key.slice(0, 42)}\n`,
      `[Interface]\nPrivateKey = ${key}\nPrivateKey = ${encodeKey(wrongKey!)}\n`,
      `[Interface]\nPrivateKeyy = ${key}\n`,
      `[Interface]\nPrivateKey = ${key}\nAddress = ${key}\n[Peer]\nPublicKey = ${key}\n`,
      `[Interface]\nPrivateKey = ${key}\n[Peer]\nPresharedKey = ${encodeKey(preshared!)}=\n`,
      `${key}\n`,
    ]
  ) {
    try {
      loadConfig(text, { file: "wg0.conf" });
    } catch (error) {
      say(error, (error as Error).stack, Deno.inspect(error));
    }
  }
}
