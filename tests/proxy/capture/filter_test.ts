import assert from "node:assert/strict";
import fc from "fast-check";
import { IpAddress, Prefix } from "../../../netstack/mod.ts";
import { type FilterNode, parseFilter, type Side } from "../../../proxy/capture/filter.ts";
import { FilterError } from "../../../proxy/capture/filter_error.ts";
import { CapturedPacket } from "../../../proxy/capture/packet.ts";
import { compileFilter } from "../../../proxy/capture/predicate.ts";

const NAMES = {
  peer: (name: string) => `peer ${name}`,
  flow: (id: string) => `flow ${id}`,
};

/** What a test sends: the fields that filters ask for. */
interface Fields {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly protocol: number;
  /** Of TCP and UDP. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly peer: string;
  readonly flow: string;
}

function hasPorts({ protocol }: Fields): boolean {
  return protocol === 6 || protocol === 17;
}

/** The plain twin: what the words mean, one after the other. */
function means(node: FilterNode, fields: Fields): boolean {
  const { source, destination, sourcePort, destinationPort } = fields;
  const onSide = <T>(side: Side, of: readonly [T, T], test: (end: T) => boolean) =>
    side !== "dst" && test(of[0]) || side !== "src" && test(of[1]);
  switch (node.kind) {
    case "and":
      return means(node.left, fields) && means(node.right, fields);
    case "or":
      return means(node.left, fields) || means(node.right, fields);
    case "not":
      return !means(node.of, fields);
    case "host":
      return onSide(node.side, [source, destination], (end) => `${end}` === `${node.address}`);
    case "net":
      return onSide(node.side, [source, destination], (end) => node.prefix.contains(end));
    case "port":
      return hasPorts(fields) &&
        onSide(
          node.side,
          [sourcePort, destinationPort],
          (port) => port >= node.first && port <= node.last,
        );
    case "proto":
      return fields.protocol === node.protocol;
    case "peer":
      return node.subject === `peer ${fields.peer}`;
    case "flow":
      return node.subject === `flow ${fields.flow}`;
  }
}

/** As a person would write it, with all the parentheses there may be. */
function write(node: FilterNode): string {
  const sided = (side: Side, rest: string) => side === "either" ? rest : `${side} ${rest}`;
  switch (node.kind) {
    case "and":
    case "or":
      return `(${write(node.left)} ${node.kind} ${write(node.right)})`;
    case "not":
      return `not ${write(node.of)}`;
    case "host":
      return sided(node.side, `host ${node.address}`);
    case "net":
      return sided(node.side, `net ${node.prefix}`);
    case "port":
      return sided(
        node.side,
        `port ${node.first === node.last ? node.first : `${node.first}-${node.last}`}`,
      );
    case "proto":
      return `proto ${{ 6: "tcp", 17: "UDP", 1: "icmp", 58: "icmp6" }[node.protocol]}`;
    case "peer":
    case "flow":
      return `${node.subject}`.replace(/^peer (.*)$/, 'peer "$1"');
  }
}

const address = fc.oneof(
  fc.tuple(fc.constantFrom(10, 192), fc.constantFrom(0, 9), fc.integer({ min: 0, max: 3 }))
    .map(([a, b, c]) => IpAddress.v4(a, b, c, 1)),
  fc.integer({ min: 0, max: 7 }).map((last) =>
    new IpAddress(Uint8Array.of(0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last))
  ),
);
const port = fc.constantFrom(0, 53, 80, 443, 8080, 65_535);
const side = fc.constantFrom<Side>("src", "dst", "either");

const leaf: fc.Arbitrary<FilterNode> = fc.oneof(
  fc.record({ kind: fc.constant("host" as const), side, address }),
  fc.record({ side, address, part: fc.nat({ max: 32 }) }).map(({ side, address, part }) => ({
    kind: "net" as const,
    side,
    prefix: new Prefix(address, address.version === 4 ? part : part * 4),
  })),
  fc.tuple(side, port, port).map(([side, a, b]) => ({
    kind: "port" as const,
    side,
    first: Math.min(a, b),
    last: Math.max(a, b),
  })),
  fc.constantFrom(6, 17, 1, 58).map((protocol) => ({ kind: "proto" as const, protocol })),
  fc.constantFrom("laptop", "the phone").map((name) => ({
    kind: "peer" as const,
    subject: `peer ${name}`,
  })),
  fc.constantFrom("01", "ff").map((id) => ({ kind: "flow" as const, subject: `flow ${id}` })),
);

const { tree } = fc.letrec<{ tree: FilterNode }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 6 },
    leaf,
    fc.record({
      kind: fc.constantFrom("and" as const, "or" as const),
      left: tie("tree"),
      right: tie("tree"),
    }),
    fc.record({ kind: fc.constant("not" as const), of: tie("tree") }),
  ),
}));

const fields: fc.Arbitrary<Fields> = fc.record({
  ends: fc.tuple(address, address).filter(([a, b]) => a.version === b.version),
  transport: fc.constantFrom(6, 17, 1),
  sourcePort: port,
  destinationPort: port,
  peer: fc.constantFrom("laptop", "the phone", "nobody"),
  flow: fc.constantFrom("01", "ff", "none"),
}).map(({ ends: [source, destination], transport, ...rest }) => ({
  source,
  destination,
  protocol: transport === 1 && source.version === 6 ? 58 : transport,
  ...rest,
}));

/** The packet with these fields, somewhere in a buffer. */
function packetOf(
  { source, destination, protocol, ...fields }: Fields,
  offset: number,
): Uint8Array {
  const isIpv4 = source.version === 4;
  const header = isIpv4 ? 20 : 40;
  const buffer = new Uint8Array(offset + header + 20 + 9);
  const view = new DataView(buffer.buffer);
  buffer[offset] = isIpv4 ? 0x45 : 0x60;
  if (isIpv4) view.setUint16(offset + 2, header + 20);
  buffer[offset + (isIpv4 ? 9 : 6)] = protocol;
  buffer.set(source.bytes, offset + (isIpv4 ? 12 : 8));
  buffer.set(destination.bytes, offset + (isIpv4 ? 16 : 24));
  if (protocol === 6 || protocol === 17) {
    view.setUint16(offset + header, fields.sourcePort);
    view.setUint16(offset + header + 2, fields.destinationPort);
  } else buffer[offset + header] = isIpv4 ? 8 : 128;
  return buffer;
}

Deno.test("a compiled filter picks what its words mean, on every packet and filter", () => {
  const packet = new CapturedPacket();
  fc.assert(
    fc.property(
      tree,
      fc.array(fields, { minLength: 1 }),
      fc.nat({ max: 9 }),
      (tree, all, offset) => {
        let subjects: Fields;
        const predicate = compileFilter(parseFilter(write(tree), NAMES), {
          peerOf: () => `peer ${subjects.peer}`,
          flowOf: () => `flow ${subjects.flow}`,
        });
        for (const each of all) {
          subjects = each;
          const bytes = packetOf(each, offset);
          packet.parse("in", bytes, offset, bytes.length - offset - 9, undefined);
          assert.equal(predicate(packet), means(tree, each), write(tree));
        }
      },
    ),
    { numRuns: 500 },
  );
});

Deno.test("and binds closer than or, not closest; signs and words are one, in any case", () => {
  const same = [
    ["tcp or udp and port 53", "tcp or (udp and port 53)"],
    ["not tcp and udp", "(not tcp) and udp"],
    ["NOT Tcp AND Port 80", "!tcp && port 80"],
    ["tcp||udp", "proto tcp or proto udp"],
    ["host 10.0.0.1 and\n not(port 22)", "host 10.0.0.1 and not port 22"],
  ];
  for (const [some, others] of same) {
    assert.deepEqual(parseFilter(some!, NAMES), parseFilter(others!, NAMES), some);
  }
});

Deno.test("what is wrong with a filter is pointed at", () => {
  const cases = [
    ["", 0, "expected host, net, port"],
    ["host", 4, "expected an address"],
    ["host 10.0.0", 5, '"10.0.0" is no address'],
    ["host 10.0.0.0/8", 5, "or net before it"],
    ["net 10.0.0.0", 4, "expected ADDRESS/LENGTH"],
    ["tcp port 443", 4, "expected and, or, or the end"],
    ["port 65536", 5, "expected 0 to 65535"],
    ["port 90-80", 5, "is no port"],
    ["proto sctp", 6, "expected tcp, udp, icmp or icmp6"],
    ["tcp and (udp or icmp", 20, "expected )"],
    ["tcp)", 3, ") without a ("],
    ["src tcp", 4, "expected host, net or port"],
    ["ports 80", 0, '"ports" is unknown'],
    ["tcp & udp", 4, '"&" is unknown'],
    ['peer "laptop', 5, "a text without an end"],
    ["peer nobody", 5, 'peer "nobody": unknown'],
    ["flow xyz", 5, "expected an id"],
    [`${"(".repeat(70)}tcp${")".repeat(70)}`, 64, "more than 64 deep"],
    ["port 80 or ".repeat(100), 1_000, "characters long"],
  ] as const;
  for (const [text, at, message] of cases) {
    assert.throws(
      () =>
        parseFilter(text, {
          peer: () => {
            throw new Error("unknown, expected a name");
          },
          flow: () => assert.fail(),
        }),
      (error) => {
        assert.ok(error instanceof FilterError, `${error}`);
        assert.equal(error.at, at, text);
        assert.ok(error.message.includes(message), error.message);
        const [, shown, caret] = error.message.split("\n");
        const under = caret!.indexOf("^");
        assert.equal(shown!.slice(under, under + 4), text.slice(at, at + 4));
        return true;
      },
      text,
    );
  }
});

Deno.test("fragments behind the first have no ports, what is no packet matches nothing but not", () => {
  const packet = new CapturedPacket();
  const picks = (text: string) =>
    compileFilter(parseFilter(text, NAMES), {
      peerOf: () => undefined,
      flowOf: () => undefined,
    })(packet);
  const bytes = packetOf({
    source: IpAddress.v4(10, 0, 0, 1),
    destination: IpAddress.v4(10, 0, 0, 2),
    protocol: 17,
    sourcePort: 53,
    destinationPort: 53,
    peer: "",
    flow: "",
  }, 0);
  bytes[7] = 3; // a fragment at byte 24
  packet.parse("in", bytes, 0, bytes.length, undefined);
  assert.deepEqual([picks("udp"), picks("port 53"), picks("host 10.0.0.2")], [true, false, true]);
  for (const broken of [bytes.subarray(0, 19), Uint8Array.of(), new Uint8Array(60)]) {
    packet.parse("in", broken, 0, broken.length, undefined);
    assert.deepEqual(
      [picks("udp"), picks("net 0.0.0.0/0"), picks("net ::/0"), picks("not tcp")],
      [false, false, false, true],
    );
  }
});
