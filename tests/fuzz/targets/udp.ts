import assert from "node:assert/strict";
import type { IpAddress } from "../../../netstack/mod.ts";
import { ip, prefix } from "../../netstack/packets.ts";
import { Random } from "../../sim/random.ts";
import { assertBalanced } from "../balance.ts";
import { resize } from "../mutate.ts";
import type { Target } from "../target.ts";
import {
  checksum,
  concat,
  fixChecksums,
  fixLengths,
  FRAGMENT,
  get16,
  get32,
  ipLength,
  layoutOf,
  pseudoSum,
  set16,
  UDP,
} from "../wire.ts";
import { SmallHost } from "./small_host.ts";
import { Surrounded } from "./surroundings.ts";

const INPUTS = 200;
const PORT = 4000;
const OWN = { 4: ip("10.0.0.1"), 6: ip("fd00::1") };
const FAR = { 4: ip("10.0.0.2"), 6: ip("fd00::2") };
const BEHIND = { 4: ip("10.1.2.3"), 6: ip("fd01::3") };

export const udp: Target = {
  name: "udp",
  about: "UDP headers to endpoints and forwarders, and datagrams sent, against a plain parser",
  run(seed) {
    const random = new Random(seed);
    const lab = new Lab(random);
    for (let i = 0; i < INPUTS; i++) {
      if (random.chance(0.05)) lab.trySending();
      else lab.tryReceiving();
    }
    lab.end();
    return INPUTS;
  },
};

interface Taken {
  by: "endpoint" | "forwarder";
  source: string;
  sourcePort: number;
  data: Uint8Array;
}

class Lab {
  readonly #random: Random;
  readonly #host: SmallHost;
  readonly #taken: Taken[] = [];
  readonly #endpoint;

  constructor(random: Random) {
    this.#random = random;
    const host = new SmallHost(random);
    this.#host = host;
    const take = (
      by: Taken["by"],
      source: IpAddress,
      sourcePort: number,
      data: Uint8Array,
    ) => {
      host.udpTaken++;
      this.#taken.push({ by, source: String(source), sourcePort, data });
    };
    this.#endpoint = host.stack.bindUdp({ port: PORT });
    this.#endpoint.handler = {
      datagram: (_endpoint, source, port, buffer, offset, length) =>
        take("endpoint", source, port, buffer.slice(offset, offset + length)),
    };
    const proxy = host.stack.addNic({
      name: "proxy",
      mtu: 65_535,
      link: host,
      promiscuous: true,
      spoofing: true,
    });
    for (const text of ["10.1.0.0/16", "fd01::/16"]) host.stack.routes.insert(prefix(text), proxy);
    host.stack.setUdpForwarder(proxy, {
      datagram: (flow, _to, _port, buffer, offset, length) => {
        take("forwarder", flow.client, flow.clientPort, buffer.slice(offset, offset + length));
        flow.close();
        return "accept";
      },
    });
  }

  tryReceiving(): void {
    const random = this.#random;
    const version = random.chance(0.5) ? 4 : 6;
    const to = random.chance(0.6) ? OWN[version] : BEHIND[version];
    let datagram = concat(random.bytes(8), random.bytes(random.below(100)));
    set16(datagram, 0, random.chance(0.1) ? 0 : random.between(1, 0xffff));
    set16(datagram, 2, random.chance(0.6) ? PORT : random.chance(0.2) ? 0 : random.below(0x10000));
    if (random.chance(0.1)) datagram = resize(random, datagram);
    const bytes = inIp(random, FAR[version], to, datagram);
    const at = bytes.length - datagram.length;
    fixLengths(bytes);
    if (random.chance(0.2)) set16(bytes, at + 4, datagram.length + random.between(-9, 9));
    if (random.chance(0.9)) fixUdpChecksum(bytes, at);
    else if (random.chance(0.5)) set16(bytes, at + 6, 0);

    const expected = plainUdp(bytes, at, to === OWN[version]);
    const { udp: counters } = this.#host.stack.counters;
    const before = { ...counters };
    this.#taken.length = 0;
    const packet = new Surrounded(random, bytes);
    this.#host.receive(packet.buffer, packet.offset, packet.length);
    packet.check();
    const changed = (["malformed", "badChecksum", "portUnreachable"] as const)
      .filter((name) => counters[name] !== before[name]);
    if (typeof expected === "string") {
      assert.deepEqual(changed, [expected]);
      assert.equal(this.#taken.length, 0);
    } else {
      assert.deepEqual(changed, []);
      assert.deepEqual(this.#taken, [expected]);
    }
    assert.equal(this.#host.take().length, expected === "portUnreachable" ? 1 : 0);
    assertBalanced(this.#host.stack.counters, this.#host.udpTaken);
  }

  /** A datagram of any size arrives as it was sent, in whatever pieces. */
  trySending(): void {
    const random = this.#random;
    const version = random.chance(0.5) ? 4 : 6;
    const most = version === 4 ? 65_507 : 65_527;
    const size = random.chance(0.1)
      ? most - random.below(9)
      : random.chance(0.5)
      ? random.below(most)
      : 1300 + random.below(120);
    const data = random.bytes(size);
    assert.ok(this.#endpoint.send(FAR[version], 53, data, 0, size, this.#host.now));
    this.#host.flush();
    const whole = plainReassembly(this.#host.take());
    const at = whole.length - size - 8;
    assert.equal(at, version === 4 ? 20 : 40);
    const length = size + 8;
    assert.deepEqual(
      [get16(whole, at), get16(whole, at + 2), get16(whole, at + 4)],
      [PORT, 53, length],
    );
    assert.deepEqual(whole.subarray(at + 8), data);
    assert.equal(checksum(whole, at, length, pseudoSum(whole, version, UDP, length)), 0);
  }

  end(): void {
    this.#endpoint.close();
    this.#host.end();
  }
}

function inIp(random: Random, from: IpAddress, to: IpAddress, payload: Uint8Array): Uint8Array {
  const isIpv4 = from.version === 4;
  const header = new Uint8Array(isIpv4 ? 20 : 40);
  header[0] = isIpv4 ? 0x45 : 0x60;
  header[isIpv4 ? 8 : 7] = random.between(2, 255);
  header[isIpv4 ? 9 : 6] = UDP;
  header.set(from.bytes, isIpv4 ? 12 : 8);
  header.set(to.bytes, isIpv4 ? 16 : 24);
  const bytes = concat(header, payload);
  fixLengths(bytes);
  fixChecksums(bytes);
  return bytes;
}

/** Over the bytes that the UDP length names, if there are as many. */
function fixUdpChecksum(bytes: Uint8Array, at: number): void {
  const length = get16(bytes, at + 4);
  if (at + 8 > bytes.length || at + length > bytes.length) return;
  const { version } = layoutOf(bytes)!;
  set16(bytes, at + 6, 0);
  const sum = checksum(bytes, at, length, pseudoSum(bytes, version, UDP, length));
  set16(bytes, at + 6, sum || 0xffff);
}

/** RFC 768, RFC 8200 §8.1. @returns Why it is dropped, or what is handed on. */
function plainUdp(bytes: Uint8Array, at: number, isLocal: boolean): Taken | string {
  const { version } = layoutOf(bytes)!;
  const left = ipLength(bytes) - at;
  if (left < 8) return "malformed";
  const [sourcePort, port, length, sum] = [0, 2, 4, 6].map((i) => get16(bytes, at + i));
  if (length! < 8 || length! > left || port === 0) return "malformed";
  const right = sum === 0
    ? version === 4
    : checksum(bytes, at, length!, pseudoSum(bytes, version, UDP, length!)) === 0;
  if (!right) return "badChecksum";
  if (!isLocal && sourcePort === 0) return "malformed";
  if (isLocal && port !== PORT) return "portUnreachable";
  return {
    by: isLocal ? "endpoint" : "forwarder",
    source: String(FAR[version]),
    sourcePort: sourcePort!,
    data: bytes.slice(at + 8, at + length!),
  };
}

/** Fragments in order, back to back, of one datagram. */
function plainReassembly(packets: Uint8Array[]): Uint8Array {
  const first = packets[0]!;
  if (packets.length === 1) return first;
  const isIpv4 = first[0]! >> 4 === 4;
  const headers = isIpv4 ? 20 : 48;
  const identify = (bytes: Uint8Array) => isIpv4 ? get16(bytes, 4) : get32(bytes, 44);
  let expected = 0;
  packets.forEach((bytes, i) => {
    assert.equal(identify(bytes), identify(first));
    const field = get16(bytes, isIpv4 ? 6 : 42);
    const offset = isIpv4 ? (field & 0x1fff) * 8 : field & ~7;
    const more = (field & (isIpv4 ? 0x2000 : 1)) !== 0;
    assert.equal(offset, expected);
    assert.equal(more, i < packets.length - 1);
    expected += bytes.length - headers;
  });
  const header = first.slice(0, isIpv4 ? 20 : 40);
  if (!isIpv4) {
    assert.equal(header[6], FRAGMENT);
    header[6] = first[40]!;
  }
  return concat(header, ...packets.map((bytes) => bytes.subarray(headers)));
}
