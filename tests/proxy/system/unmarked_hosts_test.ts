/**
 * Which hosts and targets are not redirected, for a configuration.
 *
 * @module
 */

import assert from "node:assert/strict";
import { loadConfig } from "../../../proxy/config/config.ts";
import {
  dialledPlaces,
  proxiedTargets,
  unmarkedHosts,
} from "../../../proxy/system/unmarked_hosts.ts";
import { alone } from "../../alone.ts";

const KEYS = ["A", "B", "C"].map((letter) => `${letter.repeat(42)}A=`);

function config(text: string) {
  return loadConfig(`[Interface]\nPrivateKey = ${KEYS[0]}\nAddress = 10.9.0.2/24\n${text}\n`)
    .config;
}

Deno.test("hubs are exempt by every place that they have, for TCP has no mark", () => {
  const hosts = unmarkedHosts(config([
    ...["[Peer]", `PublicKey = ${KEYS[1]}`, "AllowedIPs = 100.64.0.0/10"],
    ...["Endpoint = hub.test:51820", "Endpoint = 203.0.113.2:51820"],
    ...["Fallback = tls://relay.test:443", "Fallback = grpc://[2001:db8::2]:443"],
    ...["Cert = cert.pem", "Key = key.pem", "Ca = ca.pem"],
    ...["[Peer]", `PublicKey = ${KEYS[2]}`, "AllowedIPs = 10.8.0.0/16"],
  ].join("\n")));
  assert.deepEqual(hosts.sort(), ["2001:db8::2", "203.0.113.2", "hub.test", "relay.test"]);
});

Deno.test("what is connected to for a fallback is the HTTP proxy on the way, if there is one", (t) =>
  alone(t, () => {
    const places = () =>
      dialledPlaces(config([
        ...["[Peer]", `PublicKey = ${KEYS[1]}`, "AllowedIPs = 100.64.0.0/10"],
        ...["Fallback = tls://relay.test:443", "Fallback = grpc://[2001:db8::2]:8443"],
        ...["Cert = cert.pem", "Key = key.pem", "Ca = ca.pem"],
      ].join("\n")));
    assert.deepEqual(places(), [
      { hostname: "relay.test", port: 443 },
      { hostname: "2001:db8::2", port: 8443 },
    ]);
    Deno.env.set("HTTPS_PROXY", "http://user:word@proxy.test:3128");
    Deno.env.set("NO_PROXY", "relay.test");
    assert.deepEqual(places(), [
      { hostname: "relay.test", port: 443 },
      { hostname: "proxy.test", port: 3128 },
    ]);
    return Promise.resolve();
  }));

Deno.test("a list of peers is exempt: without it there may be nobody at the other end", () => {
  const hostsOf = (place: string) =>
    unmarkedHosts(config(`PeersFrom = ${place}\nPeersKey = ${KEYS[1]}`));
  assert.deepEqual(hostsOf("https://config.test:8443/peers"), ["config.test"]);
  assert.deepEqual(hostsOf("https://[2001:db8::3]/peers"), ["2001:db8::3"]);
  assert.deepEqual(hostsOf("/srv/peers.list"), []);
  assert.deepEqual(hostsOf("http://127.0.0.1:8080/peers"), []);
  const list = `PeersFrom = https://config.test/peers\nPeersKey = ${KEYS[1]}`;
  assert.deepEqual(dialledPlaces(config(list)), [{ hostname: "config.test", port: 443 }]);
});

Deno.test("what a gateway dials for peers is exempt, as it is dialled", () => {
  const targets = proxiedTargets(config([
    ...["[Proxy]", "Subnets = 192.168.1.0/24", "Map = 100.64.1.0/24 -> 192.168.2.0/24"],
    ...["[Rule]", "To = 192.168.1.9", "Rewrite = 192.168.3.9"],
    ...["[Rule]", "To = 192.168.1.8", "Rewrite = name.test"],
  ].join("\n")));
  for (const expected of ["192.168.1.0/24", "192.168.2.0/24", "192.168.3.9/32"]) {
    assert.ok(targets.map(String).includes(expected), expected);
  }
});
