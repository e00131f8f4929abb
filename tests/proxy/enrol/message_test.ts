import assert from "node:assert/strict";
import fc from "fast-check";
import { IpAddress, Prefix } from "../../../netstack/mod.ts";
import {
  formatAnswer,
  formatRequest,
  type Grant,
  MAX_REQUEST,
  parseAnswer,
  parseRequest,
  REFUSALS,
} from "../../../proxy/enrol/message.ts";

const PEM = "-----BEGIN CERTIFICATE-----\nAAAA\nBBB=\n-----END CERTIFICATE-----\n";
const prefix = new Prefix(IpAddress.v4(192, 168, 1, 0), 24);

const GRANT: Grant = {
  isClient: false,
  addresses: [IpAddress.v4(10, 9, 0, 2)],
  allowedIps: [new Prefix(IpAddress.v4(10, 9, 0, 0), 24)],
  subnets: [prefix],
  maps: [{ from: new Prefix(IpAddress.v4(100, 64, 1, 0), 24), to: prefix }],
  endpoints: ["hub.example.com:51820"],
  mtu: 1420,
  fallbacks: [{ url: "tls://hub.example.com:443", pins: [`sha256/${"A".repeat(43)}=`] }],
  certificate: PEM,
};

Deno.test("what is said is what is heard", () => {
  const publicKey = new Uint8Array(32).fill(3);
  assert.deepEqual(parseRequest(formatRequest({ publicKey })), { publicKey });
  const certificateRequest = PEM.replaceAll("CERTIFICATE", "CERTIFICATE REQUEST");
  assert.deepEqual(parseRequest(formatRequest({ publicKey, certificateRequest })), {
    publicKey,
    certificateRequest,
  });
  assert.deepEqual(parseAnswer(formatAnswer({ grant: GRANT })), { grant: GRANT });
  for (const refused of REFUSALS) {
    assert.deepEqual(parseAnswer(formatAnswer({ refused })), { refused });
  }
});

Deno.test("an answer that would put a line of its own into the file is none", () => {
  const wrong = [
    { endpoints: ["hub.example.com:51820\nPostUp = id"] },
    { endpoints: [] },
    { addresses: ["10.9.0.2\nDNS = 1.1.1.1"] },
    { addresses: [] },
    { subnets: ["192.168.1.0/24, 0.0.0.0/0"] },
    { maps: [["100.64.1.0/24", "192.168.0.0/16"]] },
    { maps: ["100.64.1.0/24 -> 192.168.1.0/24"] },
    { mtu: 40 },
    { mtu: "1420" },
    { fallbacks: [{ url: "http://hub:1", pins: [] }] },
    { fallbacks: [{ url: "tls://hub:443\nKey = x", pins: [] }] },
    { fallbacks: [{ url: "tls://hub:443", pins: ["sha256/short"] }] },
    { certificate: `${PEM}\n[Peer]` },
    { certificate: "PRIVATE KEY" },
    { certificate: null },
    { certificate: { certificate: PEM } },
    { allowedIps: Array(257).fill("10.0.0.0/8") },
    { isClient: "no" },
  ];
  const { grant } = JSON.parse(formatAnswer({ grant: GRANT }));
  assert.ok(parseAnswer(JSON.stringify({ version: 1, grant })) !== undefined);
  for (const change of wrong) {
    const text = JSON.stringify({ version: 1, grant: { ...grant, ...change } });
    assert.equal(parseAnswer(text), undefined, JSON.stringify(change));
  }
});

Deno.test("no text makes the parsers throw", () => {
  fc.assert(fc.property(
    fc.oneof(fc.string(), fc.json(), fc.json().map((json) => `{"version":1,"grant":${json}}`)),
    (text) => {
      parseRequest(text);
      parseAnswer(text);
    },
  ));
  assert.equal(parseRequest(`{"version":1,"publicKey":"${"A".repeat(MAX_REQUEST)}"}`), undefined);
  assert.equal(parseRequest('{"version":2}'), undefined);
  assert.equal(parseAnswer('{"version":1,"refused":"toString"}'), undefined);
});
