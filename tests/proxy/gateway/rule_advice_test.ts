import assert from "node:assert/strict";
import fc from "fast-check";
import { IpAddress, Prefix } from "../../../netstack/mod.ts";
import { encodeKey, generatePrivateKey } from "../../../proxy/base64.ts";
import { loadConfig } from "../../../proxy/config/config.ts";
import type { RuleConfig } from "../../../proxy/config/config.ts";
import { FlowOwner, type FlowRequest } from "../../../proxy/flow/flow.ts";
import { advise } from "../../../proxy/gateway/advice.ts";
import { PrefixList } from "../../../proxy/gateway/prefix_list.ts";
import { Shadows } from "../../../proxy/gateway/rule_shadows.ts";
import { matches } from "../flow/rule.ts";

const key = () => encodeKey(generatePrivateKey());
const HEAD = `[Interface]
PrivateKey = ${key()}
Address = 10.9.0.1/24
PeerToPeer = false
[Peer]
PublicKey = ${key()}
Name = laptop
AllowedIPs = 10.9.0.2/32
[Peer]
PublicKey = ${key()}
Name = branch
AllowedIPs = 10.9.0.3/32, 192.168.7.0/24
[Proxy]
Subnets = 10.50.0.0/16
`;
const FIRST = HEAD.split("\n").length;

/** Warnings about rules, each with its line counted from the first of them. */
function advice(rules: string, head = HEAD): string[] {
  return advise(loadConfig(head + rules, { file: "f" })).map((line) =>
    line.replace(/^f:(\d+)/, (_, line) => `${Number(line) - FIRST + 1}`)
      .replace(/at f:(\d+)/, (_, line) => `at ${Number(line) - FIRST + 1}`)
  );
}

const SHADOWED = (at: number) =>
  `decides nothing: an earlier rule matches all that it does, expected it before that one (at ${at})`;

const CASES: readonly [what: string, rules: string, lines: readonly string[]][] = [
  [
    "nothing of rules that are as they should be",
    "[Rule]\nFrom = laptop\nTo = 10.50.0.1\nPorts = tcp/80\n" +
    "[Rule]\nTo = 10.50.0.0/24\nPorts = tcp\nAction = reject\n" +
    "[Rule]\nFrom = 192.168.7.7\nTo = 10.50.0.0/16\n[Rule]\nTo = 10.0.0.0/8\n",
    [],
  ],
  [
    "what nobody has, what nobody may ask for",
    "[Rule]\nFrom = 10.8.0.0/24, laptop\nTo = 10.60.0.0/16, 10.50.3.0/24, fd50::/64\n",
    [
      "2: From: 10.8.0.0/24 is in no peer's AllowedIPs: nobody has it",
      "3: To: 10.60.0.0/16 is not in Subnets: nobody gets to ask for it",
      "3: To: fd50::/64 is not in Subnets: nobody gets to ask for it",
    ],
  ],
  ["a rule behind one like it", "[Rule]\nTo = 10.50.0.1\n[Rule]\nTo = 10.50.0.1\n", [
    `3: [Rule]: ${SHADOWED(1)}`,
  ]],
  [
    "rules behind a wider one",
    "[Rule]\nTo = 10.50.0.0/24\nPorts = tcp\n" +
    "[Rule]\nFrom = laptop\nTo = 10.50.0.7\nPorts = tcp/80, tcp/443\nAction = reject\n" +
    "[Rule]\nTo = 10.50.0.7\nPorts = tcp/80, udp/53\n[Rule]\nTo = 10.50.0.0/23\nPorts = tcp\n",
    [`4: [Rule]: ${SHADOWED(1)}`],
  ],
  [
    "everything behind a rule for everything",
    "[Rule]\n[Rule]\nFrom = branch\nPorts = icmp\n[Rule]\n",
    [
      `2: [Rule]: ${SHADOWED(1)}`,
      `5: [Rule]: ${SHADOWED(1)}`,
    ],
  ],
  [
    "a peer behind its own addresses",
    "[Rule]\nFrom = 10.9.0.0/28\nAction = drop\n[Rule]\nFrom = laptop\n[Rule]\nFrom = branch\n",
    [`4: [Rule]: ${SHADOWED(1)}`],
  ],
  [
    "a rewrite that is too small",
    "[Rule]\nTo = 10.50.0.0/23\nRewrite = 192.168.1.0/24\n",
    ["3: Rewrite: 192.168.1.0/24 is smaller than 10.50.0.0/23: several lead to one"],
  ],
  [
    "a rewrite to a network that nobody is let to",
    "[Rule]\nTo = 10.50.0.0/24\nRewrite = 127.0.0.0/24\n" +
    "[Rule]\nTo = 10.50.1.0/24\nRewrite = 169.254.7.0/24\n[Rule]\nTo = 10.50.2.0/24\nRewrite = 127.0.0.1\n",
    [
      "3: Rewrite: 127.0.0.0/24 is loopback: what this rule matches is refused, expected a single " +
      "address, or a Map to it",
      "6: Rewrite: 169.254.7.0/24 is link-local: what this rule matches is refused, expected a " +
      "single address",
    ],
  ],
  [
    "a rewrite to a name that is always loopback",
    "[Rule]\nTo = 10.50.0.1\nRewrite = LocalHost:8080\n[Rule]\nTo = 10.50.0.2\nRewrite = localhost.test\n",
    [
      "3: Rewrite: no name leads to this host itself: what this rule matches is refused, expected " +
      "its address, as 127.0.0.1",
    ],
  ],
];

for (const [what, rules, lines] of CASES) {
  Deno.test(`check says ${what}`, () => {
    assert.deepEqual(advice(rules), lines);
  });
}

Deno.test("check says that a protocol is not proxied", () => {
  const lines = advice("Protocols = tcp\n[Rule]\nPorts = tcp/80, udp/53\n");
  assert.deepEqual(lines, ["3: Ports: udp is not in Protocols"]);
});

Deno.test("check says what cannot be done with what a peer sends to another", () => {
  const head = HEAD.replace("PeerToPeer = false", "PeerToPeer = true");
  const rules =
    "[Rule]\nTo = 10.50.0.1, 192.168.7.0/24\nRewrite = 172.16.0.1:80\nPorts = tcp/80\n" +
    "SendProxyProtocol = v2\n[Rule]\nTo = 10.50.0.2\nRewrite = 172.16.0.1\n[Rule]\nTo = 10.8.0.1\n";
  assert.deepEqual(advice(rules, head), [
    "3: Rewrite: needs a connection that ends at this gateway: what a peer sends to another and " +
    "this rule matches is rejected, expected a To inside Subnets",
    "5: SendProxyProtocol: needs a connection that ends at this gateway: no effect on what a peer " +
    "sends to another",
    "10: To: 10.8.0.1/32 is neither in Subnets nor a peer's: nobody gets to ask for it",
  ]);
});

Deno.test("check says it of each key that has no effect between peers", () => {
  const head = HEAD.replace("PeerToPeer = false", "PeerToPeer = true");
  const rules = "[Rule]\nTo = 192.168.7.7\nPorts = tcp/80\nSendProxyProtocol = v1\n" +
    "WarmConnections = 2\n";
  const none =
    "needs a connection that ends at this gateway: no effect on what a peer sends to another";
  assert.deepEqual(advice(rules, head), [
    `4: SendProxyProtocol: ${none}`,
    `5: WarmConnections: ${none}`,
  ]);
});

Deno.test("check says that there is nothing to rule over", () => {
  const head = HEAD.slice(0, HEAD.indexOf("[Proxy]"));
  assert.match(
    advise(loadConfig(`${head}[Rule]\n`, { file: "f" })).join("\n"),
    /\[Rule\]: there is nothing to rule over, expected \[Proxy\] or PeerToPeer/,
  );
});

const byte = fc.constantFrom(0, 1, 128, 255);
const address = fc.oneof(
  fc.tuple(byte, byte, byte, byte).map((bytes) => new IpAddress(Uint8Array.from(bytes))),
  fc.array(byte, { minLength: 16, maxLength: 16 })
    .map((bytes) => new IpAddress(Uint8Array.from(bytes))),
);
const prefix = fc.tuple(address, fc.integer({ min: 0, max: 128 }))
  .map(([address, length]) => new Prefix(address, Math.min(length, address.bytes.length * 8)));

Deno.test("a list of prefixes knows which overlap with one", () => {
  fc.assert(
    fc.property(fc.array(prefix, { maxLength: 8 }), prefix, (list, one) => {
      const covers = (a: Prefix, b: Prefix) => a.length <= b.length && a.contains(b.address);
      const subject = new PrefixList(list);
      assert.equal(subject.covers(one), list.some((other) => covers(other, one)));
      assert.equal(
        subject.overlaps(one),
        list.some((other) => covers(other, one) || covers(one, other)),
      );
    }),
    { numRuns: 2000 },
  );
});

Deno.test("a rule that is said to be shadowed decides nothing, whatever is asked", () => {
  const port = fc.constantFrom(0, 1, 80, 443, 65535);
  const ports = fc.tuple(fc.constantFrom("tcp" as const, "udp" as const), port, port)
    .map(([protocol, a, b]) => ({ protocol, first: Math.min(a, b), last: Math.max(a, b) }));
  const rule: fc.Arbitrary<RuleConfig> = fc.tuple(
    fc.array(fc.oneof(prefix, fc.constantFrom("a", "B")), { maxLength: 2 }),
    fc.array(prefix, { maxLength: 2 }),
    fc.array(ports, { maxLength: 2 }),
    fc.option(prefix, { nil: undefined, freq: 4 }),
  ).map(([from, to, ports, target]) => ({
    from,
    to,
    ports,
    action: "allow",
    ...(target && { rewrite: { to: target } }),
    warmConnections: 0,
  }));
  const owners = ["A", "b"].map((name) => new FlowOwner(() => name));
  const ALLOWED = new Map([
    ["a", [new Prefix(IpAddress.v4(0, 0, 0, 0), 1)]],
    ["b", [new Prefix(IpAddress.v4(128, 0, 0, 0), 1)]],
  ]);
  let shadowed = 0;
  fc.assert(
    fc.property(
      fc.array(rule, { minLength: 2, maxLength: 12 }),
      fc.array(fc.tuple(address, address, fc.constantFrom("tcp", "udp", "icmp"), port), {
        maxLength: 40,
      }),
      (rules, requests) => {
        const subject = new Shadows(ALLOWED);
        rules.forEach((rule, i) => {
          const earlier = subject.add(rule, i);
          if (earlier === undefined) return;
          shadowed++;
          for (const [source, destination, protocol, destinationPort] of requests) {
            const owner = owners.find(({ name }) =>
              ALLOWED.get(name.toLowerCase())!.some((prefix) => prefix.contains(source))
            );
            if (owner === undefined) continue;
            const request = {
              owner,
              source,
              destination,
              protocol,
              destinationPort,
              sourcePort: 1,
            };
            if (!matches(rule, request as FlowRequest)) continue;
            assert.ok(matches(rules[earlier]!, request as FlowRequest));
          }
        });
      },
    ),
    { numRuns: 500 },
  );
  assert.ok(shadowed > 50, `${shadowed}`);
});

Deno.test("ten times as many rules take about ten times as long to be advised on", () => {
  const rules = Array.from(
    { length: 3_000 },
    (_, i) => `[Rule]\nFrom = laptop\nTo = 10.50.${i >> 8}.${i & 255}\nPorts = tcp/80\n`,
  );
  const timed = (count: number, times: number) => {
    const text = rules.slice(0, count).join("");
    const started = performance.now();
    for (let i = 0; i < times; i++) assert.deepEqual(advice(text), []);
    return performance.now() - started;
  };
  // Both take about as long, so that other work on the machine, which only adds, adds as much to either;
  // the least of five. Ten times as long, were it quadratic.
  let [few, many] = [Infinity, Infinity];
  for (let i = 0; i < 5; i++) {
    few = Math.min(few, timed(300, 10));
    many = Math.min(many, timed(3_000, 1));
  }
  assert.ok(many < 5 * few, `${few} ms, ${many} ms`);
});

Deno.test("with a device of this host behind it everything can be asked for", () => {
  const rules = `[Rule]\nTo = 198.51.100.7\nAction = reject\n`;
  const alone = HEAD.replace(/\[Proxy\]\n.*\n/, "");
  assert.notEqual(advice(rules, alone).length, 0);
  const loaded = loadConfig(alone + rules, { file: "f" });
  loaded.source.hasDevice = true;
  assert.deepEqual(advise(loaded), []);
});
