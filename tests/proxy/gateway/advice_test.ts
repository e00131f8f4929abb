import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey } from "../../../proxy/base64.ts";
import { loadConfig } from "../../../proxy/config/config.ts";
import { isSafeTarget } from "../../../proxy/flow/safe_targets.ts";
import { advise } from "../../../proxy/gateway/advice.ts";
import { REFUSED } from "../../../proxy/config/refused_prefixes.ts";
import { parsePrefix } from "../../../proxy/address.ts";

const key = () => encodeKey(generatePrivateKey());
const INTERFACE = `[Interface]\nPrivateKey = ${key()}\nAddress = 10.9.0.1/24, fd09::1/64\n`;
const PROXY = "[Proxy]\nSubnets = 10.50.0.0/16\n";
const peer = (allowedIps: string) => `[Peer]\nPublicKey = ${key()}\nAllowedIPs = ${allowedIps}\n`;

const advice = (text: string) => advise(loadConfig(text, { file: "f" }));

const CASES: readonly [what: string, text: string, lines: readonly RegExp[]][] = [
  ["nothing of an ordinary gateway", INTERFACE + peer("10.9.0.2/32, fd09::2") + PROXY, []],
  ["nothing of an exit for everything", INTERFACE + "[Proxy]\nSubnets = 0.0.0.0/0, ::/0\n", []],
  ["nothing of peers among each other", `${INTERFACE}PeerToPeer = true\n${peer("10.9.0.2")}`, []],
  ["nothing of a site behind a client", INTERFACE + peer("10.9.0.2, 192.168.0.0/16") + PROXY, []],
  [
    "nothing of a subnet that a map leads away from",
    `${INTERFACE}[Proxy]\nSubnets = 127.0.0.0/8, 10.9.0.64/26\n` +
    "Map = 127.0.0.5 -> 10.1.1.1, 10.9.0.64/26 -> 10.1.1.64/26\n",
    [],
  ],
  [
    "a client's file with which nothing can be done",
    INTERFACE + peer("0.0.0.0/0") + "Endpoint = a.example:7\n",
    [/^f:1: \[Interface\]: neither \[Proxy\] with Subnets nor PeerToPeer: .*a client's file is for, as/],
  ],
  [
    "loopback among the subnets",
    `${INTERFACE}[Proxy]\nSubnets = 127.0.0.0/8, 10.50.0.0/16, ::1\nSubnets = 169.254.169.254\n`,
    [
      /^f:5: Subnets: 127\.0\.0\.0\/8 is loopback: .* expected another subnet and a Map to 127\.0\.0\.1/,
      /^f:5: Subnets: ::1\/128 is loopback: .* a Map to ::1/,
      /^f:6: Subnets: 169\.254\.169\.254\/32 is link-local: .*, expected another subnet$/,
    ],
  ],
  [
    "wide maps to what is refused; one address, or loopback, is not",
    `${INTERFACE}[Proxy]\nSubnets = 10.50.0.0/16\nMap = 10.50.0.1 -> 169.254.169.254\n` +
    "Map = 10.50.1.0/24 -> 127.0.0.0/24, 10.50.2.0/24 -> 169.254.7.0/24, 10.50.3.0/24 -> 224.0.0.0/24\n",
    [
      /^f:7: Map: 169\.254\.7\.0\/24 is link-local: what is sent to 10\.50\.2\.0\/24 is refused, expected a single address$/,
      /^f:7: Map: 224\.0\.0\.0\/24 is multicast: /,
    ],
  ],
  [
    "the tunnel's own network among the subnets",
    `${INTERFACE}[Proxy]\nSubnets = 10.9.0.0/24, fd09::/64, 10.9.0.64/26\n`,
    [
      /^f:5: Subnets: 10\.9\.0\.0\/24 is in the tunnel's own network 10\.9\.0\.0\/24, /,
      /^f:5: Subnets: fd09::\/64 is in the tunnel's own network/,
      /^f:5: Subnets: 10\.9\.0\.64\/26 is in the tunnel's own network 10\.9\.0\.0\/24, /,
    ],
  ],
  [
    "the gateway's own address among a peer's",
    INTERFACE + peer("10.9.0.1/32, 10.9.0.2/32, fd09::1") + PROXY,
    [
      /^f:6: AllowedIPs: 10\.9\.0\.1\/32 is this gateway's own address, expected the peer's$/,
      /^f:6: AllowedIPs: fd09::1\/128 is this gateway's own address/,
    ],
  ],
  [
    "a peer that takes everything on a gateway",
    INTERFACE + peer("0.0.0.0/0, ::/0") + PROXY,
    [
      /^f:6: AllowedIPs: 0\.0\.0\.0\/0 lets this peer use every address .* expected the peer's own/,
      /^f:6: AllowedIPs: ::\/0 lets this peer use every address/,
    ],
  ],
  ["a peer without an address", `${INTERFACE}[Peer]\nPublicKey = ${key()}\n${PROXY}`, [
    /^f:4: \[Peer\]: no AllowedIPs: nothing is accepted from this peer, expected its address/,
  ]],
];

for (const [what, text, lines] of CASES) {
  Deno.test(`advice: ${what}`, () => {
    const given = advice(text);
    assert.equal(given.length, lines.length, given.join("\n"));
    lines.forEach((line, i) => assert.match(given[i]!, line));
  });
}

Deno.test("what is said to be refused is refused", () => {
  for (const [text] of REFUSED) assert.equal(isSafeTarget(parsePrefix(text)!.address), false, text);
});
