import assert from "node:assert/strict";
import fc from "npm:fast-check@4.10.2";
import { encodeKey, generatePrivateKey } from "../../../../proxy/base64.ts";
import {
  formatPeerList,
  parsePeerList,
  readPeerList,
} from "../../../../proxy/gateway/peer_list/content.ts";
import {
  generateSigningKey,
  PeerListError,
  publicSigningKey,
  signPeerList,
  verifyPeerList,
} from "../../../../proxy/gateway/peer_list/text.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);
const PEER = { publicKey: encodeKey(generatePrivateKey()), allowedIps: ["10.9.0.2/32"] };

Deno.test("a signature is that of RFC 8032, over the first word, a line feed and the list", async () => {
  // RFC 8032 §7.1, test 1.
  const seed = Uint8Array.fromHex(
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
  );
  assert.equal(
    (await publicSigningKey(seed)).toHex(),
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
  );
  const [line, body] = (await signPeerList("{}\n", seed)).split(/\n(.*)/s);
  assert.equal(body, "{}\n");
  const [word, signature] = line!.split(" ");
  assert.equal(word, "wirestack-peers-1");
  const key = await crypto.subtle.importKey(
    "raw",
    new Uint8Array(await publicSigningKey(seed)),
    "Ed25519",
    false,
    ["verify"],
  );
  const signed = bytesOf("wirestack-peers-1\n{}\n");
  const isGood = crypto.subtle.verify("Ed25519", key, Uint8Array.fromBase64(signature!), signed);
  assert.equal(await isGood, true);
});

Deno.test("what was signed is read, and nothing that differs from it by a bit", async () => {
  const seed = generateSigningKey();
  const key = await publicSigningKey(seed);
  const body = formatPeerList({ serial: 7, peers: [PEER] });
  const bytes = bytesOf(await signPeerList(body, seed));
  assert.equal(await verifyPeerList(bytes, key), body);
  await fc.assert(
    fc.asyncProperty(fc.nat(bytes.length * 8 - 1), async (bit) => {
      const other = bytes.slice();
      other[bit >>> 3]! ^= 1 << (bit & 7);
      await assert.rejects(() => verifyPeerList(other, key), PeerListError);
    }),
    { numRuns: 300 },
  );
  await fc.assert(
    fc.asyncProperty(fc.nat(bytes.length - 1), async (length) => {
      await assert.rejects(() => verifyPeerList(bytes.subarray(0, length), key), PeerListError);
    }),
    { numRuns: 50 },
  );
  const another = await publicSigningKey(generateSigningKey());
  await assert.rejects(() => verifyPeerList(bytes, another), { refusal: "signature" });
});

Deno.test("noise is no list", async () => {
  const key = await publicSigningKey(generateSigningKey());
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.uint8Array(), fc.string().map(bytesOf)), async (bytes) => {
      await assert.rejects(() => verifyPeerList(bytes, key), { refusal: "format" });
    }),
  );
});

Deno.test("what is wrong in a list is named, and nobody's key is in the message", () => {
  const refused = (body: string, message: RegExp) =>
    assert.throws(() => parsePeerList(body), (error: PeerListError) => {
      assert.equal(error.refusal, "content");
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /[A-Za-z0-9+/]{43}=/);
      return true;
    });
  const list = (fields: object) => JSON.stringify({ serial: 1, peers: [], ...fields });
  refused("{", /is no JSON/);
  refused("[]", /is no object/);
  refused("null", /is no object/);
  refused(list({ serial: 0 }), /serial: is no whole number/);
  refused(list({ serial: 1.5 }), /serial/);
  refused(list({ serial: "1" }), /serial/);
  refused(list({ peers: {} }), /peers: is no list/);
  refused(list({ more: 1 }), /more: unknown/);
  refused(list({ notAfter: "tomorrow" }), /notAfter: is no time/);
  refused(list({ notAfter: 5 }), /notAfter: is no time/);
  refused(list({ peers: [1] }), /peers\[0\]/);
  refused(list({ peers: [{}] }), /peers\[0\]\.publicKey: missing/);
  refused(list({ peers: [PEER, PEER] }), /peers\[1\]\.publicKey: given twice/);
  refused(list({ peers: [{ ...PEER, allowedIps: ["10.9.0.2/33"] }] }), /peers\[0\]\.allowedIps/);
  // A file of the machine that reads the list is none of its business.
  refused(list({ peers: [{ ...PEER, cert: "/etc/shadow" }] }), /peers\[0\]\.cert: not of a list/);
  const { peers, notAfter } = parsePeerList(
    list({ notAfter: "2030-01-31T12:00:00Z", peers: [{ ...PEER, name: "laptop" }] }),
  );
  assert.equal(peers[0]!.name, "laptop");
  assert.equal(notAfter, Date.UTC(2030, 0, 31, 12));
});

Deno.test("a list of several parts is read as at once, and what is wrong in any of them is found", async () => {
  const peers = Array.from({ length: 250 }, (_, i) => ({
    publicKey: encodeKey(generatePrivateKey()),
    name: `peer ${i}`,
    allowedIps: [`10.9.${i}.1/32`],
  }));
  const body = formatPeerList({ serial: 3, peers });
  assert.deepEqual(await readPeerList(body), parsePeerList(body));
  const refused = async (at: number, fields: object, message: RegExp) => {
    const changed = peers.with(at, { ...peers[at]!, ...fields });
    const text = JSON.stringify({ serial: 3, peers: changed });
    for (const read of [readPeerList, async (text: string) => await parsePeerList(text)]) {
      await assert.rejects(() => read(text), (error: PeerListError) => {
        assert.equal(error.refusal, "content");
        assert.match(error.message, message);
        return true;
      });
    }
  };
  await refused(249, { publicKey: peers[3]!.publicKey }, /^peers\[249\]\.publicKey: given twice/);
  await refused(120, { name: "PEER 7" }, /^peers\[120\]\.name: /);
  await refused(201, { allowedIps: ["10.9.0.0/40"] }, /^peers\[201\]\.allowedIps/);
});
