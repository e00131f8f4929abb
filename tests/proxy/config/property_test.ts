import assert from "node:assert/strict";
import fc from "fast-check";
import { ConfigError, type ConfigInput, loadConfig } from "../../../proxy/config/config.ts";
import { formatConfigFile } from "../../../proxy/config/format.ts";
import { KEYS } from "../../../proxy/config/keys.ts";

const SECRET = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

/** Lines that are nearly right, around a key that must not come out again. */
const fileText = fc.array(
  fc.array(
    fc.oneof(
      fc.constantFrom(
        ...KEYS.map((key) => key.name),
        "[Interface]",
        "[Peer]",
        "[Rule]",
        "[Proxy]",
        "[",
        "]",
      ),
      fc.constantFrom(
        SECRET,
        SECRET.slice(0, 43),
        "=",
        " = ",
        ",",
        "#",
        "->",
        "\r",
        "\0",
        "{",
        "}",
      ),
      fc.constantFrom(
        "10.9.0.1/24",
        "fd09::1/64",
        "51820",
        "off",
        "a:1",
        "tcp/80",
        "drop",
        "5Mbit",
      ),
      fc.string({ unit: "binary", maxLength: 8 }),
    ),
    { maxLength: 6 },
  ).map((parts) => parts.join("")),
  { maxLength: 20 },
).map((lines) => lines.join("\n"));

Deno.test("whatever is in a file, there is a configuration or a list of lines without secrets", () => {
  fc.assert(
    fc.property(fileText, (text) => {
      try {
        loadConfig(text, { file: "wg0.conf" });
      } catch (error) {
        assert.ok(error instanceof ConfigError, String(error));
        assert.ok(error.problems.length > 0);
        for (const line of error.problems) {
          assert.match(line, /^wg0\.conf:\d+: (\[?\w+\]?): [^\n\r]+$/);
          assert.ok(!line.includes(SECRET.slice(0, 42)), line);
        }
      }
    }),
    { numRuns: 3000 },
  );
});

Deno.test("whatever an embedder passes, there is a configuration or a list of lines", () => {
  const section = fc.dictionary(
    fc.constantFrom(...KEYS.map((key) => key.field), "__proto__"),
    fc.anything(),
  );
  const input = fc.record({
    interface: fc.oneof(section, fc.anything()),
    peers: fc.oneof(fc.array(section), fc.anything()),
    rules: fc.oneof(fc.array(section), fc.anything()),
    proxy: fc.oneof(section, fc.anything()),
  }, { requiredKeys: [] });
  fc.assert(
    fc.property(input, (input) => {
      try {
        loadConfig(input as unknown as ConfigInput);
      } catch (error) {
        assert.ok(error instanceof ConfigError, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});

Deno.test("a file that was written is read as what was written", () => {
  const key = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => bytes.toBase64());
  const prefix = fc.oneof(
    fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 })),
    fc.tuple(fc.ipV6(), fc.integer({ min: 0, max: 128 })),
  ).map(([address, length]) => `${address}/${length}`);
  const port = fc.integer({ min: 1, max: 65535 });
  const input = fc.record({
    interface: fc.record({
      privateKey: key,
      address: fc.array(prefix),
      addressPool: fc.array(fc.constantFrom("10.0.0.0/24", "10.0.1.0/31", "fd09::/64")),
      listenPort: port,
      mtu: fc.integer({ min: 1280, max: 65475 }),
      peerToPeer: fc.boolean(),
      postUp: fc.constantFrom("a, b", ["a", "b, c"]),
      saveConfig: fc.boolean(),
    }, { requiredKeys: ["privateKey"] }),
    peers: fc.uniqueArray(
      fc.record({
        publicKey: key,
        name: fc.uuid(),
        presharedKey: key,
        allowedIps: fc.array(prefix),
        endpoint: port.map((port) => `vpn.example.com:${port}`),
        persistentKeepalive: fc.constantFrom("off", 0, 25),
        rateUp: fc.constantFrom("500kbit", "20Mbit", "2.5gbit"),
        rateDown: fc.constantFrom("1kbit", "10MBIT"),
        rateBurst: fc.constantFrom(0.1, "2"),
        maxTcpConnections: fc.nat(1000),
        maxUdpSessions: fc.nat(1000),
      }, { requiredKeys: ["publicKey"] }),
      { selector: (peer) => peer.publicKey, maxLength: 5 },
    ),
    rules: fc.array(
      fc.record({
        from: fc.array(prefix),
        to: fc.array(prefix),
        ports: fc.constantFrom("tcp/80, udp", ["icmp", "tcp/8000-8100"]),
        action: fc.constant("allow" as const),
        rewrite: fc.constantFrom("192.168.1.7:8443", "fd00::7", "[fd00::7]:1", ":8443"),
        rate: fc.constantFrom("20Mbit", "1.5Gbit"),
        flowRate: fc.constant("500kbit"),
        maxConnections: fc.integer({ min: 1, max: 1000 }),
        sendProxyProtocol: fc.constantFrom("v1" as const, "v2" as const),
      }, { requiredKeys: [] }),
      { maxLength: 5 },
    ),
    proxy: fc.option(
      fc.record({
        subnets: fc.array(prefix),
        protocols: fc.constantFrom("tcp", "udp", ["tcp", "udp"]),
        map: fc.ipV4().map((from) => [`${from} -> 127.0.0.1`]),
        interface: fc.constantFrom("nic1" as const, "nic2" as const),
        udpIdleTimeout: fc.integer({ min: 1, max: 1000 }),
        default: fc.constantFrom("allow" as const, "reject" as const, "drop" as const),
      }, { requiredKeys: [] }),
      { nil: undefined },
    ),
  });
  fc.assert(
    fc.property(input, (input) => {
      assert.deepEqual(loadConfig(formatConfigFile(input)).config, loadConfig(input).config);
    }),
    { numRuns: 500 },
  );
  assert.throws(
    () => formatConfigFile({ interface: { privateKey: `${SECRET}\n` } }),
    (error) => error instanceof RangeError && !error.message.includes(SECRET),
  );
});
