/** A full packet through the data path of `wireguard/`, with either crypto. */

import { nodeCrypto } from "../proxy/arena/crypto.ts";
import {
  type Crypto,
  Device,
  generatePrivateKey,
  nobleCrypto,
  PlainEndpoint,
} from "../wireguard/mod.ts";
import { LINK_HEADROOM, LINK_TAILROOM } from "../netstack/mod.ts";

const MTU = 1420;
const random = (out: Uint8Array) => void crypto.getRandomValues(out as Uint8Array<ArrayBuffer>);
const endpoint = new PlainEndpoint(Uint8Array.of(192, 0, 2, 1), 51820);

for (const [name, provider] of Object.entries({ node: nodeCrypto, noble: nobleCrypto })) {
  const { slot, send } = pair(provider);
  Deno.bench({
    name: `seal and open ${MTU} bytes, ${name}`,
    group: "packet",
    fn: () => send(slot),
  });
}

/** Two devices with a session, and a packet of one that the other opens at once. */
function pair(provider: Crypto) {
  let opened = 0;
  const device = (other: () => Device): Device =>
    new Device({
      privateKey: generatePrivateKey(random),
      crypto: provider,
      random,
      wallClock: Date.now,
      sink: {
        transmit: (_to, buffer, offset, length) => {
          other().handleDatagram(buffer, offset, length, endpoint, 0);
          return false;
        },
        receive: () => void opened++,
      },
      now: 0,
    });
  const a: Device = device(() => b);
  const b: Device = device(() => a);
  const allowedIps = [{ address: new Uint8Array(4), length: 0 }];
  a.addPeer({ publicKey: b.publicKey, allowedIps, endpoint }, 0).initiate(0);
  b.addPeer({ publicKey: a.publicKey, allowedIps }, 0);
  for (const device of [a, b, a]) device.handleHandshakes(0, 1);

  const slot = new Uint8Array(LINK_HEADROOM + MTU + LINK_TAILROOM);
  const send = (slot: Uint8Array) => {
    slot[LINK_HEADROOM] = 0x45;
    slot[LINK_HEADROOM + 2] = MTU >> 8;
    slot[LINK_HEADROOM + 3] = MTU & 0xff;
    a.sendPacket(slot, LINK_HEADROOM, MTU, 0);
  };
  send(slot);
  if (opened !== 1) throw new Error("no session");
  return { slot, send };
}
