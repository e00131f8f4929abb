/** What a machine has made for itself stays there when it joins. */

import assert from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { publicKeyOf } from "../../../../proxy/base64.ts";
import { loadConfig } from "../../../../proxy/config/config.ts";
import { HubCertificates } from "./hub_certificates.ts";
import { HubLab } from "./hub_lab.ts";

/** A key in every form in which it may stand in bytes. */
function forms(key: Uint8Array): readonly (readonly [name: string, Uint8Array])[] {
  const text = new TextEncoder();
  const hex = key.toHex();
  // Within something longer base64 has three ways to write it, of which the ends depend on what is beside.
  const shifted = [0, 1, 2].map((before) => {
    const padded = new Uint8Array(before + key.length);
    padded.set(key, before);
    return padded.toBase64().slice(before === 0 ? 0 : 4, 40);
  });
  const written = [hex, hex.toUpperCase(), ...shifted].flatMap((form) => [
    form,
    form.replaceAll("+", "-").replaceAll("/", "_"),
  ]);
  return [["raw", key], ...written.map((form) => [form, text.encode(form)] as const)];
}

function includes(bytes: Uint8Array, part: Uint8Array): boolean {
  return new TextDecoder("latin1").decode(bytes).includes(new TextDecoder("latin1").decode(part));
}

/** What has gone in one direction: payloads of TCP where it is that, one after the other. */
class Stream {
  readonly #parts: Uint8Array[] = [];

  add(packet: Uint8Array): void {
    const header = (packet[0]! & 15) * 4;
    const isTcp = packet[0]! >> 4 === 4 && packet[9] === 6;
    this.#parts.push(packet.slice(isTcp ? header + (packet[header + 12]! >> 4) * 4 : 0));
  }

  get bytes(): Uint8Array {
    const all = new Uint8Array(this.#parts.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const part of this.#parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }
}

Deno.test("neither private key of a machine is in any byte that goes to or fro when it joins, in the tunnel or outside", async () => {
  using made = await HubCertificates.make("hub.example.com");
  await using hub = await HubLab.start({ sections: made.relay() });
  const token = await hub.invite("paris", "--client", "--fallback", "tls://hub.example.com:8443");
  const inside = { in: new Stream(), out: new Stream() };
  const outside = { in: new Stream(), out: new Stream() };
  const { engine } = hub.gateway;
  engine.observe((direction, buffer, offset, length) =>
    inside[direction].add(buffer.subarray(offset, offset + length))
  );
  engine.observeDatagrams((direction, buffer, offset, length) =>
    outside[direction].add(buffer.subarray(offset, offset + length))
  );
  const { status, error } = await hub.join(token, "paris.conf");
  assert.equal(status, 0, error);

  const file = (name: string) => Deno.readTextFileSync(`${hub.folder}/${name}`);
  const { privateKey } = loadConfig(file("paris.conf"), { file: "paris.conf" }).config;
  const { d, x } = createPrivateKey(file("paris.key.pem")).export({ format: "jwk" });
  const own = Uint8Array.fromBase64(d!, { alphabet: "base64url" });
  const streams = [inside.in, inside.out, outside.in, outside.out].map(({ bytes }) => bytes);
  for (const bytes of streams) assert.ok(bytes.length > 200, `${bytes.length}`);
  for (const key of [privateKey!, own]) {
    assert.equal(key.length, 32);
    for (const [form, part] of forms(key)) {
      for (const bytes of streams) assert.ok(!includes(bytes, part), form);
    }
  }
  // The search finds what does travel: both public keys, to the hub, inside.
  const publicKey = publicKeyOf(privateKey!);
  const finds = (key: Uint8Array) => forms(key).some(([, part]) => includes(streams[0]!, part));
  assert.ok(finds(publicKey));
  assert.ok(finds(Uint8Array.fromBase64(x!, { alphabet: "base64url" })));
});
