import assert from "node:assert/strict";
import * as fc from "fast-check";
import { IpAddress } from "../../../netstack/mod.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import {
  encodeProxyHeader,
  parseProxyHeader,
  type ProxyEnds,
} from "../../../proxy/target/proxy_protocol.ts";

function ends(source: string, destination: string): ProxyEnds {
  return {
    source: parseIpAddress(source)!,
    sourcePort: 40_000,
    destination: parseIpAddress(destination)!,
    destinationPort: 443,
  };
}

const IPV4 = ends("10.9.0.2", "10.50.0.1");
const IPV6 = ends("fd09::2", "2001:db8::1");
const MIXED = ends("10.9.0.2", "2001:db8::1");

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

Deno.test("version 1 is a line, of either family", () => {
  assert.equal(
    text(encodeProxyHeader("v1", "tcp", IPV4)),
    "PROXY TCP4 10.9.0.2 10.50.0.1 40000 443\r\n",
  );
  assert.equal(
    text(encodeProxyHeader("v1", "tcp", IPV6)),
    "PROXY TCP6 fd09::2 2001:db8::1 40000 443\r\n",
  );
  assert.equal(
    text(encodeProxyHeader("v1", "tcp", MIXED)),
    "PROXY TCP6 ::ffff:10.9.0.2 2001:db8::1 40000 443\r\n",
  );
});

Deno.test("version 2 is binary, and says TCP or UDP", () => {
  const signature = "0d0a0d0a000d0a515549540a";
  assert.equal(
    encodeProxyHeader("v2", "tcp", IPV4).toHex(),
    signature + "2111000c" + "0a090002" + "0a320001" + "9c40" + "01bb",
  );
  assert.equal(
    encodeProxyHeader("v2", "udp", IPV6).toHex(),
    signature + "21220024" +
      "fd090000000000000000000000000002" + "20010db8000000000000000000000001" + "9c40" + "01bb",
  );
  assert.equal(
    encodeProxyHeader("v2", "udp", MIXED).toHex(),
    signature + "21220024" +
      "00000000000000000000ffff0a090002" + "20010db8000000000000000000000001" + "9c40" + "01bb",
  );
});

const address = fc.oneof(
  fc.uint8Array({ minLength: 4, maxLength: 4 }),
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
).map((bytes) => new IpAddress(Uint8Array.from(bytes)));
const port = fc.nat(65_535);

/** Feeds a reader that takes no byte more than it is told to. @returns what it took and made of it. */
function readAll(stream: Uint8Array) {
  let taken = 0;
  for (let i = 0;; i++) {
    const parsed = parseProxyHeader(stream.slice(0, taken));
    if (parsed.kind !== "more") return { parsed, taken };
    assert.ok(parsed.length > 0);
    assert.ok(i < 200, "it ends");
    taken += parsed.length;
    if (taken > stream.length) return { parsed, taken: stream.length };
  }
}

Deno.test("what one end writes the other reads, and not a byte of what follows", () => {
  const version = fc.constantFrom("v1" as const, "v2" as const);
  fc.assert(
    fc.property(version, address, port, address, port, (version, source, a, destination, b) => {
      const given = { source, sourcePort: a, destination, destinationPort: b };
      const header = encodeProxyHeader(version, "tcp", given);
      const { parsed, taken } = readAll(Uint8Array.of(...header, 1, 2, 3));
      assert.ok(parsed.kind === "header" && parsed.ends !== undefined, JSON.stringify(parsed));
      assert.equal(parsed.length, header.length);
      assert.equal(taken, header.length);
      assert.ok(parsed.ends.source.unmapped().equals(source.unmapped()));
      assert.ok(parsed.ends.destination.unmapped().equals(destination.unmapped()));
      assert.deepEqual([parsed.ends.sourcePort, parsed.ends.destinationPort], [a, b]);
    }),
    { numRuns: 500 },
  );
});

const V1_WRONG = [
  "PROXY TCP4 10.9.0.2 10.50.0.1 40000\r\n",
  "PROXY TCP4 10.9.0.2 10.50.0.1 40000 443 \r\n",
  "PROXY TCP4  10.9.0.2 10.50.0.1 40000 443\r\n",
  "PROXY TCP4 10.9.0.2 10.50.0.1 040000 443\r\n",
  "PROXY TCP4 10.9.0.2 10.50.0.1 40000 65536\r\n",
  "PROXY TCP4 10.9.0.02 10.50.0.1 40000 443\r\n",
  "PROXY TCP4 fd09::2 fd09::1 40000 443\r\n",
  "PROXY TCP6 10.9.0.2 10.50.0.1 40000 443\r\n",
  "PROXY UDP4 10.9.0.2 10.50.0.1 40000 443\r\n",
  "PROXY tcp4 10.9.0.2 10.50.0.1 40000 443\r\n",
  "PROXY TCP4 10.9.0.2 10.50.0.1 40000 443\r\r\n",
  "proxy TCP4 10.9.0.2 10.50.0.1 40000 443\r\n",
  "GET / HTTP/1.1\r\nHost: example.test\r\n\r\n",
  `PROXY UNKNOWN ${"x".repeat(107)}\r\n`,
];

Deno.test("a line that is not one is refused, within 107 bytes", () => {
  for (const line of V1_WRONG) {
    const { parsed, taken } = readAll(new TextEncoder().encode(line + "x".repeat(200)));
    assert.equal(parsed.kind, "wrong", line);
    assert.ok(taken <= 107, `${taken} bytes of ${line}`);
  }
  // The longest that there is: the specification's own figure.
  const longest = `PROXY UNKNOWN ${"f".repeat(107 - 16)}\r\n`;
  const { parsed } = readAll(new TextEncoder().encode(longest));
  assert.deepEqual(parsed, { kind: "header", length: 107 });
});

Deno.test("who speaks for itself, or does not know, is who it is", () => {
  const encode = (line: string) => new TextEncoder().encode(line);
  assert.deepEqual(parseProxyHeader(encode("PROXY UNKNOWN\r\n")), { kind: "header", length: 15 });
  assert.deepEqual(
    parseProxyHeader(encode("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n")),
    { kind: "header", length: 35 },
  );
  const signature = "0d0a0d0a000d0a515549540a";
  for (const rest of ["20000000", "20110003aabbcc", "21000000", "2110000c" + "00".repeat(12)]) {
    const header = Uint8Array.fromHex(signature + rest);
    assert.deepEqual(parseProxyHeader(header), { kind: "header", length: header.length }, rest);
  }
});

Deno.test("version 2: what follows the addresses is skipped, up to a bound; what is cut off is refused", () => {
  const header = encodeProxyHeader("v2", "tcp", IPV4);
  const withTlvs = (length: number) => {
    const bytes = new Uint8Array(16 + length);
    bytes.set(header.subarray(0, bytes.length));
    new DataView(bytes.buffer).setUint16(14, length);
    return bytes;
  };
  const parsed = parseProxyHeader(withTlvs(2_048));
  assert.ok(parsed.kind === "header" && parsed.length === 2_064);
  assert.ok(parsed.ends?.source.equals(IPV4.source));
  assert.equal(parseProxyHeader(withTlvs(2_049)).kind, "wrong");
  assert.equal(parseProxyHeader(withTlvs(65_535)).kind, "wrong");
  assert.equal(parseProxyHeader(withTlvs(11)).kind, "wrong");
  const changed = (at: number, byte: number) => {
    const bytes = header.slice();
    bytes[at] = byte;
    return parseProxyHeader(bytes).kind;
  };
  assert.equal(changed(12, 0x11), "wrong", "version 1 in binary");
  assert.equal(changed(12, 0x22), "wrong", "another command");
  assert.equal(changed(13, 0x12), "wrong", "a datagram's");
  assert.equal(changed(13, 0x41), "wrong", "another family");
  assert.equal(changed(13, 0x13), "wrong", "another transport");
  assert.equal(changed(13, 0x21), "wrong", "IPv6 in IPv4's place");
});

Deno.test("whatever comes, a verdict is reached within the bound", () => {
  const start = fc.constantFrom(
    new Uint8Array(0),
    encodeProxyHeader("v1", "tcp", IPV4),
    encodeProxyHeader("v2", "tcp", IPV6),
    new TextEncoder().encode("PROXY "),
  );
  const changes = fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { maxLength: 4 });
  fc.assert(
    fc.property(start, changes, fc.uint8Array({ maxLength: 300 }), (start, changes, rest) => {
      const stream = Uint8Array.of(...start, ...rest);
      for (const [at, byte] of changes) if (at < stream.length) stream[at] = byte;
      const { parsed, taken } = readAll(stream);
      assert.ok(taken <= 16 + 2_048);
      if (parsed.kind === "header") assert.equal(parsed.length, taken);
    }),
    { numRuns: 2_000 },
  );
});
