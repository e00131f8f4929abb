/**
 * What goes around a tunnel because it carries it: in the plan, and as names come to stand for others.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { IpAddress } from "../../../netstack/mod.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import { loadConfig } from "../../../proxy/config/config.ts";
import type { Gateway } from "../../../proxy/gateway/gateway.ts";
import { Bypass } from "../../../proxy/system/bypass.ts";
import { bypassScript, bypassSteps, type Destination } from "../../../proxy/system/bypass_steps.ts";
import { planTunnel, type TunnelSettings } from "../../../proxy/system/plan.ts";
import { parseUndo } from "../../../proxy/system/step.ts";
import { HOST, prefixes, SETTINGS as PLAIN } from "./planned.ts";

const KEYS = ["A", "B", "C"].map((letter) => `${letter.repeat(42)}A=`);
const HUBS = ["203.0.113.2 443", "203.0.113.2 8443", "2001:db8::2 443"].map(destination);
const SETTINGS: TunnelSettings = { ...PLAIN, bypass: HUBS };

Deno.test("each address of a fallback has a rule before the tunnel's own, of a family that has any", () => {
  const plan = planTunnel({ ...SETTINGS, allowedIps: prefixes("0.0.0.0/0", "10.8.0.0/16") }, HOST);
  assert.deepEqual(plan.steps.map(({ title }) => title).slice(4), [
    "rule add to 203.0.113.2/32 table main",
    "route add 10.8.0.0/16 dev wg0",
    "route add 0.0.0.0/0 dev wg0 table 51820",
    "rule add not fwmark 51820 table 51820 (IPv4)",
    "rule add table main suppress_prefixlength 0 (IPv4)",
  ]);
  const rules = plan.steps.flatMap(({ action }) => action.kind === "rule" ? [action.priority] : []);
  assert.deepEqual(rules, [32763, 32765, 32764]);
  assert.deepEqual(plan.bypassPriorities, { 4: 32763 });
  for (const { undo } of plan.steps) {
    if (undo !== undefined) assert.deepEqual(parseUndo(JSON.parse(JSON.stringify(undo))), undo);
  }
});

Deno.test("a route by which a peer would be reached through itself is one of the tunnel's own table", () => {
  const circular = prefixes("128.0.0.0/1");
  const settings = { ...SETTINGS, circular, allowedIps: prefixes("0.0.0.0/1", "128.0.0.0/1") };
  const plan = planTunnel(settings, HOST);
  assert.equal(plan.mark, 51820, "so that WireGuard's own datagrams go around it too");
  assert.deepEqual(
    plan.steps.map(({ title }) => title).filter((title) => /r[ou]+[tl]e/.test(title)),
    [
      "rule add to 203.0.113.2/32 table main",
      "route add 0.0.0.0/1 dev wg0",
      "route add 128.0.0.0/1 dev wg0 table 51820",
      "rule add not fwmark 51820 table 51820 (IPv4)",
      "rule add table main suppress_prefixlength 1 (IPv4)",
    ],
  );
});

Deno.test("routes that are nobody's of ours have no exception, and without a default route there is none", () => {
  for (const table of ["off", 1000] as const) {
    const { steps, bypassPriorities } = planTunnel(
      { ...SETTINGS, table, allowedIps: prefixes("0.0.0.0/0") },
      HOST,
    );
    assert.ok(!steps.some(({ action }) => action.kind === "rule"));
    assert.deepEqual(bypassPriorities, {});
  }
  const { steps } = planTunnel({ ...SETTINGS, allowedIps: prefixes("10.8.0.0/16") }, HOST);
  assert.ok(!steps.some(({ action }) => action.kind === "rule"));
});

Deno.test("the kill switch lets through TCP to these addresses and ports, each once", () => {
  assert.deepEqual(bypassScript("wg0", [...HUBS, HUBS[0]!]).trim().split("\n"), [
    "flush set inet wirestack-kill-wg0 bypass4",
    "add element inet wirestack-kill-wg0 bypass4 { 203.0.113.2 . 443, 203.0.113.2 . 8443 }",
    "flush set inet wirestack-kill-wg0 bypass6",
    "add element inet wirestack-kill-wg0 bypass6 { 2001:db8::2 . 443 }",
  ]);
  const plan = planTunnel({ ...SETTINGS, killSwitch: true, table: "off" }, HOST);
  const scripts = plan.steps.flatMap(({ action }) => action.kind === "nft" ? [action.script] : []);
  assert.match(scripts[0]!, /ip daddr \. tcp dport @bypass4 accept/);
  assert.equal(scripts[1], bypassScript("wg0", HUBS));
  assert.equal(planTunnel({ ...SETTINGS, killSwitch: true, bypass: [] }, HOST).steps.length, 3);
});

Deno.test("a record whose destination is no prefix is passed over", () => {
  const [step] = bypassSteps(HUBS, { 4: 1 });
  for (const destination of ["x", "1.2.3.4/33", 7, "10.0.0.1/32; flush"]) {
    assert.equal(parseUndo({ ...step!.undo, destination }), undefined, `${destination}`);
  }
});

Deno.test("a name's new address goes around the tunnel, and is what is dialled", async () => {
  const names = new Map([["hub.test", ["192.0.2.1"]]]);
  const applied = Promise.withResolvers<readonly Destination[]>();
  const config = configOf("AllowedIPs = 192.0.2.0/24, 0.0.0.0/0", "Endpoint = 192.0.2.9:51820");
  const bypass = new Bypass({
    config,
    resolve: (name) => Promise.resolve(names.get(name)!.map(ip)),
    now: () => 0,
    apply: applied.resolve,
    everyMs: 1,
  });
  await bypass.find(new AbortController().signal);
  try {
    assert.deepEqual(textsOf(bypass.destinations), ["192.0.2.1 443"]);
    assert.deepEqual(bypass.circular().map(({ prefix }) => `${prefix}`), ["192.0.2.0/24"]);
    names.set("hub.test", ["192.0.2.7"]);
    const { fallbacks } = config.peers[0]!;
    const gateway = {
      engine: { device: { peers: () => [{}] } },
      peers: { fallbacks: () => fallbacks, allowedIps: () => [] },
      peerList: {},
    } as unknown as Gateway;
    bypass.follow(gateway, { ...SETTINGS, bypass: bypass.destinations });
    assert.deepEqual(textsOf(await applied.promise), ["192.0.2.1 443", "192.0.2.7 443"]);
    assert.deepEqual(bypass.addressesOf("hub.test").map(String), ["192.0.2.1", "192.0.2.7"]);
  } finally {
    bypass.close();
  }
});

Deno.test("a name that cannot be found is waited for where there is no endpoint, and keeps what it had", async () => {
  const attempts = async (line: string) => {
    let count = 0;
    const bypass = new Bypass({
      config: configOf("AllowedIPs = 0.0.0.0/0", line),
      resolve: () => {
        count++;
        return count < 3 ? Promise.reject(new Error("no")) : Promise.resolve(ip("192.0.2.1"));
      },
      now: () => 0,
      apply: () => {},
    });
    await bypass.find(new AbortController().signal, () => Promise.resolve());
    return [count, ...textsOf(bypass.destinations)];
  };
  assert.deepEqual(await attempts(""), [3, "192.0.2.1 443"]);
  assert.deepEqual(await attempts("Endpoint = 192.0.2.9:51820"), [1]);
});

function configOf(...lines: string[]) {
  return loadConfig([
    ...["[Interface]", `PrivateKey = ${KEYS[0]}`, "Address = 10.9.0.2/24"],
    ...["[Peer]", `PublicKey = ${KEYS[1]}`, "Fallback = tls://hub.test:443"],
    ...["Cert = cert.pem", "Key = key.pem", "Ca = ca.pem", ...lines, ""],
  ].join("\n")).config;
}

function destination(text: string): Destination {
  const [address, port] = text.split(" ");
  return { address: ip(address!), port: Number(port) };
}

function textsOf(destinations: readonly Destination[]): string[] {
  return destinations.map(({ address, port }) => `${address} ${port}`);
}

function ip(text: string): IpAddress {
  return parseIpAddress(text)!;
}

Deno.test("the list of peers is read around the tunnel, wherever a reload puts it, unless its network is behind a peer", async () => {
  const config = loadConfig(
    `[Interface]\nPrivateKey = ${KEYS[2]}\nPeersKey = ${KEYS[1]}\n` +
      `PeersFrom = https://list.test/peers\n[Peer]\nPublicKey = ${KEYS[0]}\n` +
      "AllowedIPs = 0.0.0.0/1, 128.0.0.0/1, 192.0.2.0/24\nEndpoint = 203.0.113.9:51820\n",
  ).config;
  const changed = Promise.withResolvers<readonly Destination[]>();
  const bypass = new Bypass({
    config,
    resolve: (name) => Promise.resolve([ip(name === "list.test" ? "192.0.2.1" : "198.51.100.1")]),
    now: () => 0,
    apply: changed.resolve,
  });
  await bypass.find(new AbortController().signal);
  try {
    assert.deepEqual(textsOf(bypass.destinations), ["192.0.2.1 443"]);
    assert.deepEqual(bypass.circular().map(({ prefix }) => `${prefix}`), ["128.0.0.0/1"]);
    const peerList = { config: config.peerList, onPlaceChanged: () => {} };
    const gateway = {
      engine: { device: { peers: () => [] } },
      peerList,
    } as unknown as Gateway;
    bypass.follow(gateway, { ...SETTINGS, bypass: bypass.destinations });
    const place = { url: "https://other.test:8443/" };
    Object.assign(peerList, { config: { ...config.peerList, place } });
    peerList.onPlaceChanged();
    assert.deepEqual(textsOf(await changed.promise), ["198.51.100.1 8443"]);
    assert.deepEqual(bypass.addressesOf("other.test").map(String), ["198.51.100.1"]);
  } finally {
    bypass.close();
  }
});
