import assert from "node:assert/strict";
import { IpAddress } from "../../../netstack/mod.ts";
import { TokenGate } from "../../../proxy/enrol/gate.ts";
import { newLinkAddress } from "../../../proxy/enrol/link_address.ts";

const SERVICE = IpAddress.v4(10, 9, 0, 1);
const LINK = IpAddress.v4(169, 254, 7, 7);
const OTHER = IpAddress.v4(10, 9, 0, 2);
const [TOKEN, PEER] = [{}, {}];

interface Fields {
  source?: IpAddress;
  destination?: IpAddress;
  protocol?: number;
  port?: number;
  fragment?: number;
  length?: number;
  options?: number;
}

function packet(fields: Fields = {}): Uint8Array {
  const { source = LINK, destination = SERVICE, protocol = 6, port = 51820, fragment = 0 } = fields;
  const { length = 44 + 4 * (fields.options ?? 0), options = 0 } = fields;
  const bytes = new Uint8Array(length);
  bytes[0] = 0x45 + options;
  bytes.set([fragment >> 8, fragment & 0xff], 6);
  bytes[9] = protocol;
  bytes.set(source.bytes, 12);
  bytes.set(destination.bytes, 16);
  const at = 20 + 4 * options;
  if (length >= at + 4) bytes.set([port >> 8, port & 0xff], at + 2);
  return bytes;
}

function gate() {
  const refused: string[] = [];
  const one = new TokenGate({
    service: { address: SERVICE, port: 51820 },
    onRefused: (link) => refused.push(`${link}`),
  });
  one.add(LINK, TOKEN);
  const asks = (from: unknown, bytes: Uint8Array) => {
    const padded = Uint8Array.of(1, 2, 3, ...bytes);
    return one.admits(from, padded, 3, bytes.length, bytes[0]! >> 4 === 4 ? 4 : 6);
  };
  return { one, asks, refused };
}

Deno.test("a token reaches the service by TCP, and nothing else", () => {
  const { asks, refused } = gate();
  assert.ok(asks(TOKEN, packet()));
  assert.ok(asks(TOKEN, packet({ options: 2 })), "with IP options");
  const tries: Fields[] = [
    { port: 22 },
    { port: 51821 },
    { protocol: 17 },
    { protocol: 1 },
    { protocol: 41 },
    { destination: OTHER },
    { destination: IpAddress.v4(192, 168, 1, 1) },
    { fragment: 0x2000 },
    { fragment: 1 },
    { fragment: 0x1fff },
    { length: 24 },
    { length: 39 },
  ];
  for (const fields of tries) assert.ok(!asks(TOKEN, packet(fields)), JSON.stringify(fields));
  assert.equal(refused.length, tries.length);
  assert.ok(asks(TOKEN, packet({ fragment: 0x4000 })), "that may not be fragmented");
});

Deno.test("nobody uses a token's address but it, and nobody reaches it", () => {
  const { one, asks } = gate();
  assert.ok(!asks(PEER, packet()));
  assert.ok(!asks(undefined, packet()));
  assert.ok(!asks(PEER, packet({ source: OTHER, destination: LINK })));
  assert.ok(asks(PEER, packet({ source: OTHER, port: 22 })), "others are not its business");
  assert.ok(asks(PEER, packet({ source: IpAddress.v4(169, 254, 7, 8), port: 22 })));
  one.delete(LINK);
  assert.equal(one.size, 0);
  assert.ok(asks(PEER, packet({ port: 22 })));
});

Deno.test("the same by IPv6, where extension headers have no place", () => {
  const [service, link] = [
    new IpAddress(Uint8Array.fromHex("fd090000000000000000000000000001")),
    newLinkAddress(6, () => false),
  ];
  const one = new TokenGate({ service: { address: service, port: 51820 }, onRefused() {} });
  one.add(link, TOKEN);
  const packet = (next: number, port: number, to = service, from = link) => {
    const bytes = new Uint8Array(60);
    bytes[0] = 0x60;
    bytes[6] = next;
    bytes.set(from.bytes, 8);
    bytes.set(to.bytes, 24);
    bytes.set([port >> 8, port & 0xff], 42);
    return bytes;
  };
  const asks = (from: unknown, bytes: Uint8Array) => one.admits(from, bytes, 0, bytes.length, 6);
  assert.ok(asks(TOKEN, packet(6, 51820)));
  assert.ok(!asks(TOKEN, packet(6, 80)));
  for (const next of [0, 17, 43, 44, 58, 60]) {
    assert.ok(!asks(TOKEN, packet(next, 51820)), `${next}`);
  }
  assert.ok(!asks(TOKEN, packet(6, 51820, link)));
  assert.ok(!asks(PEER, packet(6, 51820)));
  assert.ok(!asks(PEER, packet(6, 51820, link, service)));
});

Deno.test("link-local addresses: none that is taken, none where clouds have their metadata", () => {
  const taken = new Set<string>();
  for (let i = 0; i < 2000; i++) {
    const address = newLinkAddress(4, (one) => taken.has(`${one}`));
    assert.match(`${address}`, /^169\.254\.(?!0\.|255\.|169\.)\d+\.\d+$/);
    taken.add(`${address}`);
  }
  assert.equal(taken.size, 2000);
  assert.throws(() => newLinkAddress(6, () => true), RangeError);
});
