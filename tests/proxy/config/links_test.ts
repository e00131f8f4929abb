import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey } from "../../../proxy/base64.ts";
import { loadConfig } from "../../../proxy/config/config.ts";
import { advise } from "../../../proxy/gateway/advice.ts";
import { problems } from "./problems.ts";

const KEY = encodeKey(generatePrivateKey());
const WIREGUARD = `[Interface]\nPrivateKey = ${KEY}\nAddress = 10.9.0.1/24\n`;
const PHONE = "[Link]\nName = phone\nListen = unix:/run/phone.sock\nFraming = length16\n";

Deno.test("a link from a file, with every key", () => {
  const { config } = loadConfig(
    `${WIREGUARD}${PHONE}Prefixes = 10.0.0.8/32, fd00::8/128\nMtu = 1400\n` +
      "[Link]\nName = lab\nConnect = udp:192.0.2.1:5000\n" +
      "[Link]\nName = car\nConnect = tcp:[2001:db8::1]:7\nFraming = length32\n",
  );
  const [phone, lab, car] = config.links;
  assert.deepEqual({ ...phone, prefixes: phone!.prefixes.map(String) }, {
    name: "phone",
    place: { transport: "unix", path: "/run/phone.sock" },
    isListening: true,
    framing: "length16",
    prefixes: ["10.0.0.8/32", "fd00::8/128"],
    mtu: 1400,
  });
  assert.deepEqual([lab!.framing, lab!.isListening, lab!.mtu, lab!.prefixes], [
    "datagram",
    false,
    1500,
    [],
  ]);
  assert.deepEqual(car!.place, { transport: "tcp", hostname: "2001:db8::1", port: 7 });
});

Deno.test("with links and nothing of WireGuard there is no key to be had; with anything of it there is", () => {
  const { config } = loadConfig(PHONE);
  assert.equal(config.privateKey, undefined);
  assert.equal(
    loadConfig(`[Interface]\nAddress = 10.0.0.1/24\n${PHONE}`).config.privateKey,
    undefined,
  );
  assert.ok(loadConfig(`${WIREGUARD}${PHONE}`).config.privateKey);
  const missing = /PrivateKey|\[Interface\].*missing, expected a key/;
  for (const file of ["[Interface]\nListenPort = 51820\n", "[Peer]\nPublicKey = " + KEY + "\n"]) {
    assert.ok(problems(`${file}${PHONE}`).some((line) => missing.test(line)), file);
  }
  assert.ok(problems("[Proxy]\nSubnets = 10.0.0.0/8\n").some((line) => missing.test(line)));
});

/** What is added to a file with WireGuard on lines 1 to 3, and what is said of it. */
const CASES: readonly (readonly [text: string, said: string])[] = [
  [
    "[Link]\nListen = unix:/a\nFraming = length16\n",
    "wg0.conf:4: Name: missing, expected what to call it",
  ],
  [
    "[Link]\nName = a\nFraming = length16\n",
    "wg0.conf:4: [Link]: no other side, expected Listen or Connect",
  ],
  [
    "[Link]\nName = a\nListen = unix:/a\n",
    "wg0.conf:4: Framing: missing, expected length16 or length32 for unix:",
  ],
  [
    "[Link]\nName = a\nListen = tcp:127.0.0.1:1\nFraming = datagram\n",
    "wg0.conf:7: Framing: datagram has no place in a stream, expected length16 or length32 for tcp:",
  ],
  [
    "[Link]\nName = a\nListen = udp:127.0.0.1:1\nFraming = length16\n",
    "wg0.conf:7: Framing: length16 is for streams, expected datagram for udp:",
  ],
  [
    "[Link]\nName = a\nListen = unix:/a\nConnect = unix:/b\nFraming = length16\n",
    "wg0.conf:7: Connect: given beside Listen, expected one of them",
  ],
  [
    "[Link]\nName = a\nListen = /a\nFraming = length16\n",
    'wg0.conf:6: Listen: "/a" is no place, expected unix:PATH, unixgram:PATH, tcp:ADDRESS:PORT or udp:ADDRESS:PORT',
  ],
  [
    "[Link]\nName = a\nListen = tcp:host.test:7\nFraming = length16\n",
    'wg0.conf:6: Listen: "host.test" is not an address of this host, expected one such as 127.0.0.1',
  ],
  [
    "[Link]\nName = a\nListen = tcp:127.0.0.1:99999\nFraming = length16\n",
    "wg0.conf:6: Listen: port 99999 is out of range, expected 0 to 65535",
  ],
  [
    "[Link]\nName = a\nConnect = tcp:127.0.0.1:0\nFraming = length16\n",
    "wg0.conf:6: Connect: port 0 is nobody's, expected 1 to 65535",
  ],
  [
    `[Link]\nName = a\nListen = unix:/${"x".repeat(108)}\nFraming = length16\n`,
    "wg0.conf:6: Listen: the path is too long for a socket, expected fewer than 108 bytes",
  ],
  [
    `${PHONE}[Link]\nName = Phone\nListen = unix:/b\nFraming = length16\n`,
    "wg0.conf:9: Name: Phone is another link's or a peer's too, expected each name once (the first is at wg0.conf:5)",
  ],
  [
    `${PHONE}[Link]\nName = b\nListen = unix:/run/phone.sock\nFraming = length16\n`,
    "wg0.conf:10: Listen: unix:/run/phone.sock is another link's too, expected it once (the first is at wg0.conf:6)",
  ],
  [
    `${PHONE}Prefixes = 10.0.0.8/32\n[Link]\nName = b\nListen = unix:/b\nFraming = length16\nPrefixes = 10.0.0.8\n`,
    "wg0.conf:13: Prefixes: 10.0.0.8/32 is somewhere else too, expected it once (the first is at wg0.conf:8)",
  ],
  [
    `${PHONE}Prefixes = 10.0.0.0/8\n[Proxy]\nSubnets = 10.0.0.0/8\n`,
    "wg0.conf:8: Prefixes: 10.0.0.0/8 is somewhere else too, expected it once (the first is at wg0.conf:10)",
  ],
  [
    `${PHONE}Prefixes = fd00::8\nMtu = 1000\n`,
    "wg0.conf:9: Mtu: 1000 is too small for IPv6, expected 1280 or more",
  ],
  [`${PHONE}Mtu = 70000\n`, "wg0.conf:8: Mtu: 70000 is out of range, expected 576 to 65535"],
];

for (const [text, said] of CASES) {
  Deno.test(`a link's error is one line with its place: ${said.replace(/^wg0\.conf:\d+: /, "")}`, () => {
    assert.deepEqual(problems(`${WIREGUARD}${text}`), [said]);
  });
}

Deno.test("what can hardly be meant is warned of", () => {
  const warnings = (text: string) =>
    advise(loadConfig(text, { file: "wg0.conf" })).filter((line) => /\[Link\]|Prefixes/.test(line));
  assert.match(warnings(`${WIREGUARD}${PHONE}`)[0]!, /^wg0\.conf:4: \[Link\]: no Prefixes: /);
  assert.deepEqual(warnings(PHONE), []);
  const peer = `[Peer]\nPublicKey = ${KEY}\nAllowedIPs = 10.9.0.2\n`;
  const text = `${WIREGUARD}PeerToPeer = true\n${peer}${PHONE}Prefixes = 10.0.0.8\n`;
  assert.deepEqual(
    warnings(text.replace(KEY + "\nAllowed", encodeKey(generatePrivateKey()) + "\nAllowed")),
    [],
  );
  const without = warnings(
    text.replace("PeerToPeer = true\n", "").replace(
      KEY + "\nAllowed",
      encodeKey(generatePrivateKey()) + "\nAllowed",
    ),
  );
  assert.match(
    without[0]!,
    /Prefixes: neither peers nor other links reach them, expected PeerToPeer/,
  );
});
