import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey } from "../../../proxy/base64.ts";
import { loadConfig, loadPeer } from "../../../proxy/config/config.ts";
import { formatConfigFile } from "../../../proxy/config/format.ts";
import { problems } from "./problems.ts";

const KEY = encodeKey(generatePrivateKey());
const PEER_KEY = encodeKey(generatePrivateKey());
const PIN = `sha256/${"A".repeat(43)}=`;
const OTHER_PIN = `sha256/${"/".repeat(42)}8=`;
const HUB = `[Interface]\nPrivateKey = ${KEY}\n`; // lines 1 and 2
const FILES = "Cert = cert.pem\nKey = key.pem\nClientCa = ca.pem\n";
const PEER = `${HUB}[Peer]\nPublicKey = ${PEER_KEY}\n`; // lines 3 and 4

Deno.test("[Relay] from a file, with every key", () => {
  const { config } = loadConfig(
    `${HUB}[Relay]\nListen = tls:0.0.0.0:443, grpc:[::]:8443\n${FILES}ClientCaKey = ca-key.pem\n` +
      `Crl = crl.pem\nAllowedClients = Laptop of Ann, ${PIN}\n`,
  );
  assert.deepEqual(config.relay, {
    listen: [
      { transport: "tls", hostname: "0.0.0.0", port: 443 },
      { transport: "grpc", hostname: "::", port: 8443 },
    ],
    certPath: "cert.pem",
    keyPath: "key.pem",
    clientCaPath: "ca.pem",
    clientCaKeyPath: "ca-key.pem",
    crlPath: "crl.pem",
    allowedClients: ["laptop of ann", new Uint8Array(32)],
  });
  assert.equal(loadConfig(HUB).config.relay, undefined);
});

Deno.test("a peer's fallbacks are in the order given, each with the peer's certificate", () => {
  const { config } = loadConfig(
    `${PEER}Endpoint = hub.example.com:51820\nFallback = tls://hub.example.com:443\n` +
      `Fallback = grpc://[2001:db8::1]:8443/\nCert = cert.pem\nKey = key.pem\nCa = ca.pem\n` +
      `Pin = ${PIN}, ${OTHER_PIN}\n`,
  );
  const pins = [new Uint8Array(32), new Uint8Array(32).fill(255)];
  const files = { certPath: "cert.pem", keyPath: "key.pem", caPath: "ca.pem", pins };
  assert.deepEqual(config.peers[0]!.fallbacks, [
    {
      url: "tls://hub.example.com:443",
      transport: "tls",
      hostname: "hub.example.com",
      port: 443,
      ...files,
    },
    {
      url: "grpc://[2001:db8::1]:8443",
      transport: "grpc",
      hostname: "2001:db8::1",
      port: 8443,
      ...files,
    },
  ]);
  assert.equal(loadConfig(PEER).config.peers[0]!.fallbacks, undefined);
});

Deno.test("a pin alone tells who the other side is; nothing at all does not", () => {
  const given = { publicKey: PEER_KEY, fallback: "tls://hub:443", cert: "c", key: "k" };
  const [fallback] = loadPeer({ ...given, pin: PIN }).fallbacks!;
  assert.equal(fallback!.caPath, undefined);
  assert.equal(fallback!.pins.length, 1);
  assert.throws(() => loadPeer(given), {
    message:
      /peer\.ca: missing, expected the file with the other side's authority, or peer\.pin, for peer\.fallback$/,
  });
});

/** What is wrong in a file, and what is said of it. */
const CASES: readonly (readonly [text: string, said: string])[] = [
  [`${HUB}[Relay]\n`, "wg0.conf:3: Cert: missing, expected the file with the certificate to show"],
  [`${HUB}[Relay]\n`, "wg0.conf:3: Key: missing, expected the file with the certificate's key"],
  [
    `${HUB}[Relay]\n`,
    "wg0.conf:3: ClientCa: missing, expected the file with the authority of those who come",
  ],
  [
    `${HUB}[Relay]\n${FILES}`,
    "wg0.conf:3: Listen: missing, expected a place such as tls:0.0.0.0:443",
  ],
  [
    `${HUB}[Relay]\n${FILES}Listen = tls:hub.example.com:443\n`,
    'wg0.conf:7: Listen: "hub.example.com" is not an address, expected tls:ADDRESS:PORT or ' +
    "grpc:ADDRESS:PORT, as tls:0.0.0.0:443",
  ],
  [
    `${HUB}[Relay]\n${FILES}Listen = quic:0.0.0.0:443\n`,
    'wg0.conf:7: Listen: "quic:0.0.0.0:443" is no place to listen, expected tls:ADDRESS:PORT or ' +
    "grpc:ADDRESS:PORT, as tls:0.0.0.0:443",
  ],
  [
    `${HUB}[Relay]\n${FILES}Listen = tls:0.0.0.0:70000\n`,
    "wg0.conf:7: Listen: port 70000 is out of range, expected 0 to 65535",
  ],
  [
    `${HUB}[Relay]\n${FILES}Listen = tls:0.0.0.0:443\nListen = grpc:0.0.0.0:443\n`,
    "wg0.conf:8: Listen: grpc:0.0.0.0:443 is listened on already, expected it once (the first is " +
    "at wg0.conf:7)",
  ],
  [
    `${HUB}[Relay]\n${FILES}Listen = tls:0.0.0.0:443\nAllowedClients = sha256/abc\n`,
    'wg0.conf:8: AllowedClients: "sha256/abc" is no pin, expected sha256/ and 44 characters of base64',
  ],
  [
    `[Link]\nName = a\nListen = udp:127.0.0.1:0\n[Relay]\n${FILES}Listen = tls:0.0.0.0:443\n`,
    "wg0.conf:4: [Relay]: carries WireGuard, and there is none, expected [Interface] too",
  ],
  [
    `${PEER}Fallback = https://hub:443\n`,
    'wg0.conf:5: Fallback: "https://hub:443" is no fallback, expected tls://HOST:PORT or grpc://HOST:PORT',
  ],
  [
    `${PEER}Fallback = tls://user:secret@hub:443\n`,
    'wg0.conf:5: Fallback: "tls://user:secret@hub:443" is no fallback, expected tls://HOST:PORT or grpc://HOST:PORT',
  ],
  [
    `${PEER}Fallback = tls://hub:443\n`,
    "wg0.conf:3: Cert: missing, expected the file with the certificate to show for Fallback",
  ],
  [
    `${PEER}Fallback = tls://hub:443\nCert = a\nCa = b\n`,
    "wg0.conf:3: Key: missing, expected the file with the certificate's key for Fallback",
  ],
  [
    `${PEER}Fallback = tls://h:1, tls://h:1\nCert = a\nKey = a\nCa = b\n`,
    "wg0.conf:5: Fallback: tls://h:1 is given twice, expected it once (the first is at wg0.conf:5)",
  ],
  [
    `${PEER}Fallback = tls://h:1\nCert = a\nKey = a\nPin = md5/abc\n`,
    'wg0.conf:8: Pin: "md5/abc" is no pin, expected sha256/ and 44 characters of base64',
  ],
  [
    `${PEER}Fallback = tls://h:1\nInsecure = true\n`,
    "wg0.conf:6: Insecure: unknown key",
  ],
];

Deno.test("what is wrong is said with file, line, key and what was expected", () => {
  for (const [text, said] of CASES) {
    const lines = problems(text);
    assert.ok(lines.some((line) => line.startsWith(said)), `${text}\n${lines.join("\n")}`);
  }
});

Deno.test("certificates without a fallback are warned of", () => {
  const { warnings } = loadConfig(`${PEER}Cert = a\nPin = ${PIN}\n`, { file: "wg0.conf" });
  assert.deepEqual(warnings, [
    "wg0.conf:5: Cert: has no effect without Fallback",
    "wg0.conf:6: Pin: has no effect without Fallback",
  ]);
});

Deno.test("a file that is written again says the same", () => {
  const input = {
    interface: { privateKey: KEY },
    peers: [{
      publicKey: PEER_KEY,
      fallback: ["tls://hub:443"],
      cert: "c",
      key: "k",
      ca: "a",
      pin: [PIN, OTHER_PIN],
    }],
    relay: { listen: ["tls:0.0.0.0:443"], cert: "c", key: "k", clientCa: "a" },
  };
  const text = formatConfigFile(input);
  const [again, config] = [loadConfig(text).config, loadConfig(input).config];
  assert.deepEqual(again, config);
});
