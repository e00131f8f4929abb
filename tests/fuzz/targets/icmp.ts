import assert from "node:assert/strict";
import type { IcmpErrorKind, Stack } from "../../../netstack/mod.ts";
import { ip, prefix } from "../../netstack/packets.ts";
import { Random } from "../../sim/random.ts";
import { assertBalanced } from "../balance.ts";
import { ipv6Extension } from "../generate.ts";
import { mutateBytes, resize } from "../mutate.ts";
import type { Target } from "../target.ts";
import {
  checksum,
  concat,
  fixChecksums,
  fixLengths,
  get16,
  get32,
  ICMP,
  ICMPV6,
  pseudoSum,
  set16,
  TCP,
  UDP,
} from "../wire.ts";
import { plainWalk } from "./ipv6.ts";
import { SmallHost } from "./small_host.ts";
import { Surrounded } from "./surroundings.ts";

const INPUTS = 200;
const PORT = 4000;
const OWN = { 4: ip("10.0.0.1").bytes, 6: ip("fd00::1").bytes };
const PROXIED = { 4: ip("10.1.0.1").bytes, 6: ip("fd01::1").bytes };
const FAR = { 4: ip("10.0.0.2").bytes, 6: ip("fd00::2").bytes };

export const icmp: Target = {
  name: "icmp",
  about: "ICMP and ICMPv6 messages and what they quote, against a plain parser",
  run(seed) {
    const random = new Random(seed);
    const host = new SmallHost(random);
    const told: IcmpErrorKind[] = [];
    const endpoint = host.stack.bindUdp({ port: PORT });
    endpoint.handler = { datagram: () => host.udpTaken++, error: (kind) => told.push(kind) };
    addForwarder(host);
    for (let i = 0; i < INPUTS; i++) {
      const version = random.chance(0.5) ? 4 : 6;
      tryMessage(random, host, told, version, message(random, version));
    }
    endpoint.close();
    host.end();
    return INPUTS;
  },
};

/** Pings of proxied addresses are answered with what they carry. */
function addForwarder({ stack }: SmallHost): void {
  const nic = stack.addNic({
    name: "proxy",
    mtu: 1400,
    link: {
      buffer: new Uint8Array(0),
      allocate: () => -1,
      release() {},
      transmit() {},
      forward: () => false,
    },
    promiscuous: true,
    spoofing: true,
  });
  for (const text of ["10.1.0.0/16", "fd01::/16"]) stack.routes.insert(prefix(text), nic);
  stack.setIcmpForwarder(nic, {
    echo: (flow, destination, buffer, offset, length, now) => {
      flow.reply(flow.pathFrom(destination)!, buffer, offset, length, now);
      flow.close();
      return "accept";
    },
  });
}

function message(random: Random, version: 4 | 6): Uint8Array {
  const types = version === 4 ? [0, 3, 3, 3, 4, 8, 11, 12, 13] : [1, 2, 3, 4, 128, 129, 135, 137];
  const head = concat(
    Uint8Array.of(types[random.below(types.length)]!, random.below(16), 0, 0),
    random.chance(0.5) ? random.bytes(4) : Uint8Array.of(0, 0, 2, 0x40),
  );
  let out = concat(head, random.chance(0.8) ? quotedPacket(random, version) : random.bytes(60));
  if (random.chance(0.3)) out = mutateBytes(random, out);
  if (random.chance(0.2)) out = resize(random, out);
  return out;
}

/** The beginning of a packet this host might have sent. */
function quotedPacket(random: Random, version: 4 | 6): Uint8Array {
  const protocol = [UDP, UDP, UDP, TCP, ICMP, 99][random.below(6)]!;
  const transport = random.bytes(random.chance(0.8) ? random.between(8, 40) : random.below(9));
  if (random.chance(0.8)) set16(transport, 0, PORT);
  const source = random.chance(0.9) ? OWN[version] : FAR[version];
  if (version === 4) {
    const options = random.bytes(random.chance(0.2) ? 4 * random.below(11) : 0);
    const header = concat(random.bytes(12), source, FAR[4], options);
    header[0] = (random.chance(0.95) ? 0x40 : 0x60) | header.length >> 2;
    header[9] = protocol;
    if (random.chance(0.8)) header.fill(0, 6, 8);
    return concat(header, transport);
  }
  let next = protocol;
  let rest: Uint8Array = transport;
  for (let i = random.chance(0.3) ? random.below(4) : 0; i > 0; i--) {
    const extension = ipv6Extension(random, next);
    rest = concat(extension.bytes, rest);
    next = extension.type;
  }
  const header = concat(random.bytes(8), source, FAR[6]);
  header[0] = random.chance(0.95) ? 0x60 : 0x40;
  header[6] = next;
  return concat(header, rest);
}

function tryMessage(
  random: Random,
  host: SmallHost,
  told: IcmpErrorKind[],
  version: 4 | 6,
  icmp: Uint8Array,
): void {
  const isIpv4 = version === 4;
  const header = new Uint8Array(isIpv4 ? 20 : 40);
  header[0] = isIpv4 ? 0x45 : 0x60;
  header[isIpv4 ? 8 : 7] = 64;
  header[isIpv4 ? 9 : 6] = isIpv4 ? ICMP : ICMPV6;
  header.set(FAR[version], isIpv4 ? 12 : 8);
  const to = (random.chance(0.7) ? OWN : PROXIED)[version];
  header.set(to, isIpv4 ? 16 : 24);
  const bytes = concat(header, icmp);
  fixLengths(bytes);
  if (random.chance(0.97)) fixChecksums(bytes);
  // The IPv4 header's own is right in any case.
  if (isIpv4) {
    set16(bytes, 10, 0);
    set16(bytes, 10, checksum(bytes, 0, 20));
  }
  const expected = plainIcmp(bytes, version, to);
  const before = snapshot(host.stack);
  told.length = 0;
  const packet = new Surrounded(random, bytes);
  host.receive(packet.buffer, packet.offset, packet.length);
  packet.check();
  const after = snapshot(host.stack);
  const changed = Object.keys(after).filter((name) => after[name]! !== before[name]!);
  assert.deepEqual(changed.sort(), expected.counted.sort());
  assert.deepEqual(told, expected.told === undefined ? [] : [expected.told]);
  const answers = host.take();
  const isAnswered = ["echoReplies", "echoReturned"].some((name) =>
    expected.counted.includes(name)
  );
  assert.equal(answers.length, isAnswered ? 1 : 0);
  const answer = answers[0];
  if (answer !== undefined) {
    // RFC 792, RFC 4443 §4.2: the data of the request comes back, addresses reversed.
    const at = header.length;
    assert.deepEqual(answer.subarray(at + 4), bytes.subarray(at + 4));
    assert.equal(answer[at], isIpv4 ? 0 : 129);
    assert.deepEqual(
      answer.subarray(at - 2 * OWN[version].length, at - OWN[version].length),
      to,
    );
  }
  assertBalanced(host.stack.counters, host.udpTaken);
}

const COUNTED = [
  "malformed",
  "badChecksum",
  "echoReplies",
  "echoIgnored",
  "echoForwarded",
  "echoReturned",
  "errorsReceived",
  "errorsIgnored",
  "unhandled",
] as const;

function snapshot(stack: Stack): Record<string, number> {
  return Object.fromEntries(COUNTED.map((name) => [name, stack.counters.icmp[name]]));
}

interface Expected {
  /** Counters that move. */
  counted: string[];
  /** What the UDP endpoint hears. */
  told?: IcmpErrorKind;
}

/** RFC 792 and RFC 4443, step by step. */
function plainIcmp(bytes: Uint8Array, version: 4 | 6, to: Uint8Array): Expected {
  const at = version === 4 ? 20 : 40;
  const message = bytes.subarray(at);
  if (message.length < 8) return { counted: ["malformed"] };
  const pseudo = version === 4 ? 0 : pseudoSum(bytes, 6, ICMPV6, message.length);
  if (checksum(message, 0, message.length, pseudo) !== 0) return { counted: ["badChecksum"] };
  const type = message[0]!;
  if (type === (version === 4 ? 8 : 128)) {
    if (to === OWN[version]) return { counted: ["echoReplies"] };
    return { counted: message[1] === 0 ? ["echoForwarded", "echoReturned"] : ["echoIgnored"] };
  }
  const kind = plainKind(type, message[1]!, version);
  if (kind === undefined) return { counted: ["unhandled"] };
  const protocol = quotedTransport(message.subarray(8), version, to);
  if (protocol === undefined) return { counted: ["errorsReceived", "errorsIgnored"] };
  const told = protocol.number === UDP && protocol.port === PORT ? kind : undefined;
  return told === undefined
    ? { counted: ["errorsReceived"] }
    : { counted: ["errorsReceived"], told };
}

/** Protocol and source port in the quoted packet, if it is one of UDP or TCP that we sent. */
function quotedTransport(
  quoted: Uint8Array,
  version: 4 | 6,
  to: Uint8Array,
): { number: number; port: number } | undefined {
  const least = version === 4 ? 20 : 40;
  if (quoted.length < least + 8 || quoted[0]! >> 4 !== version) return undefined;
  const source = version === 4 ? quoted.subarray(12, 16) : quoted.subarray(8, 24);
  if (!source.every((byte, i) => byte === to[i])) return undefined;
  let number = quoted[9]!;
  let transport = (quoted[0]! & 15) * 4;
  if (version === 4) {
    if (transport < 20 || (get16(quoted, 6) & 0x1fff) !== 0) return undefined;
  } else {
    let walked = plainWalk(quoted);
    if (walked.end === "fragment") {
      const header = walked.offset!;
      if (get16(quoted, header + 2) >> 3 !== 0) return undefined;
      walked = plainWalk(quoted, header + 8, header);
    }
    if (walked.end !== "upper") return undefined;
    number = walked.protocol!;
    transport = walked.offset!;
  }
  if (transport + 8 > quoted.length || (number !== UDP && number !== TCP)) return undefined;
  return { number, port: get32(quoted, transport) >>> 16 };
}

/** The kinds of RFC 792, RFC 1122 §3.2.2.1, RFC 1812 §5.2.7.1 and RFC 4443 §3, as tables. */
function plainKind(type: number, code: number, version: 4 | 6): IcmpErrorKind | undefined {
  const net = "net-unreachable";
  const host = "host-unreachable";
  const no = "prohibited";
  if (version === 4) {
    if (type === 11) return "time-exceeded";
    if (type === 12) return "parameter-problem";
    if (type !== 3) return undefined;
    return ([
      ...[net, host, "protocol-unreachable", "port-unreachable", "too-big", host],
      ...[net, host, host, no, no, net, host, no, no, no],
    ] as IcmpErrorKind[])[code];
  }
  if (type === 2) return "too-big";
  if (type === 3) return "time-exceeded";
  if (type === 4) return code === 1 ? "protocol-unreachable" : "parameter-problem";
  if (type !== 1) return undefined;
  return ([net, no, host, host, "port-unreachable", no, no] as IcmpErrorKind[])[code];
}
