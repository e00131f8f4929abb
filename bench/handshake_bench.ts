/**
 * What a handshake costs a responder, whole and step by step, and what it costs to refuse one.
 *
 * Each figure is of one operation; 10^6 / µs is the number per second on one core.
 */

import { nodeCrypto } from "../proxy/arena/crypto.ts";
import { AEAD, NONCE_ZERO, openAEAD, XAEAD } from "../wireguard/aead.ts";
import { HASH, KDF1, KDF2, KDF3, MAC, writeMAC } from "../wireguard/hash.ts";
import {
  type Crypto,
  Device,
  generatePrivateKey,
  nobleCrypto,
  PlainEndpoint,
} from "../wireguard/mod.ts";

const random = (out: Uint8Array) => void crypto.getRandomValues(out as Uint8Array<ArrayBuffer>);
const server = new PlainEndpoint(Uint8Array.of(192, 0, 2, 1), 51820);
const client = new PlainEndpoint(Uint8Array.of(192, 0, 2, 2), 51820);
const stranger = new PlainEndpoint(Uint8Array.of(192, 0, 2, 3), 51820);
/** Initiations of one peer must be 20 ms apart, those of one device 5 s. */
const STEP_MS = 6_000;

const providers = Object.entries({ node: nodeCrypto, noble: nobleCrypto });

for (const [name, provider] of providers) {
  const lab = makeLab(provider);
  Deno.bench({
    name: `initiation in, response out, session derived, ${name}`,
    group: "responder",
    fn(b) {
      const initiation = lab.initiation();
      b.start();
      lab.responder.handleDatagram(initiation, 0, initiation.length, client, lab.now);
      lab.responder.handleHandshakes(lab.now, 1);
      b.end();
      lab.check();
    },
  });
}

const key = new Uint8Array(32).fill(7);
const input = new Uint8Array(32).fill(9);
const message = new Uint8Array(148);
for (const [name, { x25519, aead }] of providers) {
  const publicKey = x25519.publicKey(key);
  const steps = { group: "steps" };
  Deno.bench({
    ...steps,
    name: `X25519 shared secret (3), ${name}`,
    fn: () => void x25519.sharedSecret(key, publicKey),
  });
  Deno.bench({
    ...steps,
    name: `X25519 public key (1), ${name}`,
    fn: () => void x25519.publicKey(key),
  });
  Deno.bench({
    ...steps,
    name: `import a transport key (2), ${name}`,
    fn: () => void aead.importKey(key),
  });
}
const sealed = AEAD(key, NONCE_ZERO, input, input);
for (
  const [name, fn] of Object.entries({
    "KDF1 (4)": () => KDF1(key, input),
    "KDF2 (3)": () => KDF2(key, input),
    "KDF3 (1)": () => KDF3(key, input),
    "HASH of 64 bytes (9)": () => HASH(key, input),
    "MAC of 116 bytes (2)": () => MAC(key, message, 0, 116),
    "AEAD, open (2)": () => openAEAD(key, NONCE_ZERO, sealed, input),
    "AEAD, seal (1)": () => AEAD(key, NONCE_ZERO, input, input),
    "XAEAD, seal (a cookie reply)": () => XAEAD(key, new Uint8Array(24), key, input),
  })
) Deno.bench({ name, group: "steps", fn: () => void fn() });

dropped("malformed", (_, bytes) => bytes.fill(0));
dropped("wrong mac1", (_, bytes) => bytes.fill(1, 116, 132));
dropped("an initiation again", (lab, bytes) => {
  bytes.set(lab.initiation());
  lab.responder.handleDatagram(bytes, 0, 148, client, lab.now);
  lab.responder.handleHandshakes(lab.now, 1);
});
dropped("nonsense with a right mac1 of a source that keeps failing", (lab, bytes) => {
  for (let i = 0; i < 20; i++) {
    nonsense(lab, bytes);
    lab.responder.handleDatagram(bytes, 0, 148, stranger, lab.now);
    lab.responder.handleHandshakes(lab.now, 1);
  }
  nonsense(lab, bytes);
});
dropped("data of an unknown session", (_, bytes) => bytes.set([4, 0, 0, 0]));

/** A datagram that is refused at once, a thousand times. */
function dropped(
  name: string,
  prepare: (lab: ReturnType<typeof makeLab>, bytes: Uint8Array) => void,
) {
  const lab = makeLab(nodeCrypto);
  const bytes = new Uint8Array(148);
  random(bytes);
  bytes.set([1, 0, 0, 0]);
  prepare(lab, bytes);
  Deno.bench({
    name,
    group: "refused",
    fn: () => {
      lab.responder.handleDatagram(bytes, 0, 148, stranger, lab.now);
      if (lab.responder.pollTimeout() === 0) throw new Error(`${name}: waits for a turn`);
    },
  });
}

function nonsense(lab: ReturnType<typeof makeLab>, bytes: Uint8Array): void {
  random(bytes);
  bytes.set([1, 0, 0, 0]);
  bytes.fill(0, 132);
  const mac1Key = HASH(new TextEncoder().encode("mac1----"), lab.responder.publicKey);
  writeMAC(mac1Key, bytes, 0, 116, bytes, 116);
}

/** An initiator that always has another initiation, and the responder for it. */
function makeLab(provider: Crypto) {
  let sent: Uint8Array | undefined;
  let now = 0;
  const device = (crypto: Crypto, transmit: (bytes: Uint8Array) => void) =>
    new Device({
      privateKey: generatePrivateKey(random),
      crypto,
      random,
      wallClock: () => now,
      sink: {
        transmit: (_to, buffer, offset, length) => {
          transmit(buffer.slice(offset, offset + length));
          return false;
        },
        receive: () => {},
      },
      now: 0,
    });
  const initiator = device(nodeCrypto, (bytes) => sent = bytes);
  const responder = device(provider, () => {});
  const peer = initiator.addPeer({ publicKey: responder.publicKey, endpoint: server }, 0);
  responder.addPeer({ publicKey: initiator.publicKey }, 0);
  let count = 0;
  const lab = {
    get now() {
      return now;
    },
    responder,
    initiation(): Uint8Array {
      now += STEP_MS;
      peer.initiate(now);
      initiator.handleHandshakes(now, 1);
      count++;
      return sent!;
    },
    check(): void {
      const { responsesSent } = responder.counters;
      if (responsesSent !== count) throw new Error(`${responsesSent} of ${count} answered`);
    },
  };
  return lab;
}
