/**
 * A thousand peers of one wireguard-go, each a device of ours with random keys, in one process on
 * wireguard-go's host. Standard input says which; standard output, which of them got through:
 *
 *   deno run … wireguard_keys.ts < PLAN
 *
 * @module
 */

import { plainChecksum } from "../netstack/packets.ts";
import { nodeCrypto } from "../../proxy/arena/crypto.ts";
import { decodeKey } from "../../proxy/base64.ts";
import { type Crypto, Device, nobleCrypto, PlainEndpoint } from "../../wireguard/mod.ts";

export interface PlannedPeer {
  /** Base64. */
  readonly privateKey: string;
  readonly presharedKey?: string;
  /** In the tunnel. */
  readonly address: string;
  readonly crypto: "node" | "noble";
  /** Who sends the first message of the handshake. */
  readonly isInitiator: boolean;
}

export interface Plan {
  /** Of wireguard-go. */
  readonly publicKey: string;
  readonly port: number;
  readonly address: string;
  /** All devices of ours share it; wireguard-go knows it as the endpoint of every peer. */
  readonly ownPort: number;
  readonly peers: readonly PlannedPeer[];
}

/** Handshakes on their way at the same time: fewer than what wireguard-go calls a load. */
const AT_ONCE = 50;
const TIMEOUT_MS = 30_000;
const CRYPTO: Record<PlannedPeer["crypto"], Crypto> = { node: nodeCrypto, noble: nobleCrypto };
const ECHO_REPLY = 0;

class Client {
  readonly device: Device;
  readonly #plan: PlannedPeer;
  readonly #remote: Uint8Array;
  /** What came through the tunnel, by IP protocol. */
  readonly received: Uint8Array[] = [];

  constructor(
    plan: Plan,
    peer: PlannedPeer,
    transmit: (client: Client, bytes: Uint8Array) => void,
  ) {
    this.#plan = peer;
    this.#remote = bytesOf(plan.address);
    this.device = new Device({
      privateKey: decodeKey(peer.privateKey)!,
      crypto: CRYPTO[peer.crypto],
      random: (out) => void crypto.getRandomValues(out as Uint8Array<ArrayBuffer>),
      wallClock: Date.now,
      sink: {
        transmit: (_to, buffer, offset, length) => {
          transmit(this, buffer.slice(offset, offset + length));
          return false;
        },
        receive: (_peer, buffer, offset, length) =>
          void this.received.push(buffer.slice(offset, offset + length)),
      },
      now: performance.now(),
    });
    this.device.addPeer({
      publicKey: decodeKey(plan.publicKey)!,
      ...(peer.presharedKey && { presharedKey: decodeKey(peer.presharedKey)! }),
      allowedIps: [{ address: this.#remote, length: 32 }],
      endpoint: server,
    }, performance.now());
  }

  work(): void {
    const now = performance.now();
    this.device.handleTimeout(now);
    while (this.device.handleHandshakes(now, 8));
  }

  /** An echo request with this peer's own payload. */
  ping(): void {
    const packet = new Uint8Array(28 + 16);
    packet.set([0x45, 0, 0, packet.length, 0, 0, 0x40, 0, 64, 1]);
    packet.set(bytesOf(this.#plan.address), 12);
    packet.set(this.#remote, 16);
    put16(packet, 10, plainChecksum(packet.subarray(0, 20)));
    packet.set([8, 0], 20);
    packet.set(this.device.publicKey.subarray(0, 16), 28);
    put16(packet, 22, plainChecksum(packet.subarray(20)));
    const buffer = new Uint8Array(16 + packet.length + 32);
    buffer.set(packet, 16);
    this.device.sendPacket(buffer, 16, packet.length, performance.now());
    this.work();
  }

  get hasPong(): boolean {
    return this.received.some((packet) =>
      packet[9] === 1 && packet[20] === ECHO_REPLY &&
      packet.subarray(28).every((byte, i) => byte === this.device.publicKey[i])
    );
  }

  get hasDatagram(): boolean {
    return this.received.some((packet) => packet[9] === 17);
  }
}

const plan: Plan = JSON.parse(await new Response(Deno.stdin.readable).text());
const server = new PlainEndpoint(Uint8Array.of(127, 0, 0, 1), plan.port);
const to: Deno.NetAddr = { transport: "udp", hostname: "127.0.0.1", port: plan.port };
const socket = Deno.listenDatagram({
  transport: "udp",
  hostname: "127.0.0.1",
  port: plan.ownPort,
});
/** By the index that we chose: answers and data carry it. */
const owners = new Map<number, Client>();
const clients = plan.peers.map((peer) => new Client(plan, peer, transmit));
listen();

/** The kernel's own, for the packets that make wireguard-go begin. */
const tickler = Deno.listenDatagram({ transport: "udp", hostname: plan.address, port: 0 });
const failed: string[] = [];
for (let i = 0; i < clients.length; i += AT_ONCE) {
  await Promise.all(
    clients.slice(i, i + AT_ONCE).map((client, j) => talk(client, plan.peers[i + j]!)),
  );
}
const count = (name: "initiationsSent" | "initiationsReceived" | "responsesReceived") =>
  clients.reduce((sum, { device }) => sum + device.counters[name], 0);
console.log(JSON.stringify({
  failed,
  responses: count("responsesReceived"),
  initiations: count("initiationsReceived"),
}));
Deno.exit(0);

/** A handshake, and a packet each way under it. */
async function talk(client: Client, peer: PlannedPeer): Promise<void> {
  const deadline = performance.now() + TIMEOUT_MS;
  if (peer.isInitiator) client.ping();
  else await tickler.send(new Uint8Array(8), { transport: "udp", hostname: peer.address, port: 7 });
  let hasPinged = peer.isInitiator;
  while (!client.hasPong) {
    if (performance.now() > deadline) {
      failed.push(`${JSON.stringify(peer)}: ${JSON.stringify(client.device.counters)}`);
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
    client.work();
    if (!hasPinged && client.hasDatagram) {
      hasPinged = true;
      client.ping();
    }
  }
}

function transmit(client: Client, bytes: Uint8Array): void {
  if (bytes[0] === 1 || bytes[0] === 2) owners.set(indexAt(bytes, 4), client);
  socket.send(bytes, to);
}

async function listen(): Promise<void> {
  for (;;) {
    const [bytes] = await socket.receive(new Uint8Array(2048));
    const now = performance.now();
    const index = bytes[0] === 2 ? 8 : 4;
    // Of an initiation only the mac1 says whom it is for: the others drop it.
    const heard = bytes[0] === 1 ? clients : [owners.get(indexAt(bytes, index))];
    for (const client of heard) {
      client?.device.handleDatagram(bytes, 0, bytes.length, server, now);
      client?.work();
    }
  }
}

function indexAt(bytes: Uint8Array, offset: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(offset, true);
}

function bytesOf(address: string): Uint8Array {
  return Uint8Array.from(address.split("."), Number);
}

function put16(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value >> 8;
  bytes[offset + 1] = value;
}
