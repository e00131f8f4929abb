/**
 * What `--masquerade` makes of a host, without a kernel.
 *
 * @module
 */

import assert from "node:assert/strict";
import { parsePrefix } from "../../../proxy/address.ts";
import type { ForeignChain } from "../../../proxy/system/foreign_chains.ts";
import {
  type MasqueradeSettings,
  type MasqueradeView,
  planMasquerade,
} from "../../../proxy/system/masquerade.ts";
import { networksScript } from "../../../proxy/system/masquerade_script.ts";
import { parseUndo } from "../../../proxy/system/step.ts";

const prefixes = (...texts: string[]) => texts.map((text) => parsePrefix(text)!);

const SETTINGS: MasqueradeSettings = {
  device: "wg0",
  mtu: 1420,
  networks: prefixes("10.0.0.0/24", "fd09::/64"),
  force: false,
};

/** Of a host with one way out, that forwards nothing. */
const VALUES: Readonly<Record<string, string>> = {
  "net.ipv4.conf.eth0.forwarding": "0",
  "net.ipv6.conf.eth0.forwarding": "0",
  "net.ipv6.conf.all.forwarding": "0",
  "net.ipv6.conf.eth0.accept_ra": "1",
};

const VIEW: MasqueradeView = {
  devices: ["lo", "eth0", "eth1", "wg0"],
  defaultRoutes: [
    { version: 4, device: "eth0", isAdvertised: false },
    { version: 6, device: "eth0", isAdvertised: false },
  ],
  closedChains: [],
  sysctl: (key) => VALUES[key],
};

const viewOf = (view: Partial<MasqueradeView>, values: Record<string, string> = {}) => ({
  ...VIEW,
  ...view,
  sysctl: (key: string) => values[key] ?? VALUES[key],
});

const titles = (settings: Partial<MasqueradeSettings>, view: Partial<MasqueradeView> = {}) =>
  planMasquerade({ ...SETTINGS, ...settings }, { ...VIEW, ...view }).steps.map((one) => one.title);

const DOCKER: ForeignChain = {
  ...{ family: "ip", table: "filter", chain: "FORWARD", why: "policy drop", isOwned: false },
};

Deno.test("the table is there before anything is forwarded, and only two devices are switched of IPv4", () => {
  assert.deepEqual(titles({ networks: prefixes("10.0.0.0/24") }), [
    "nft: masquerade wg0 by eth0",
    "sysctl net.ipv4.conf.wg0.forwarding=1",
    "sysctl net.ipv4.conf.eth0.forwarding=1",
  ]);
});

Deno.test("of IPv6 the two devices are switched where the kernel can, and all where it cannot", () => {
  const networks = prefixes("fd09::/64");
  const able = viewOf({}, { "net.ipv6.conf.eth0.force_forwarding": "0" });
  const plan = planMasquerade({ ...SETTINGS, networks }, able);
  assert.deepEqual(plan.steps.map(({ title }) => title), [
    "nft: masquerade wg0 by eth0",
    "sysctl net.ipv6.conf.wg0.force_forwarding=1",
    "sysctl net.ipv6.conf.eth0.force_forwarding=1",
  ]);
  assert.equal(plan.masquerade.closesIpv6, false);
  assert.deepEqual(titles({ networks }), [
    "nft: masquerade wg0 by eth0",
    "sysctl net.ipv6.conf.all.forwarding=1",
  ]);
});

Deno.test("the switch for all lets nothing else through that was not let through before", () => {
  const networks = prefixes("fd09::/64");
  const closing = 'meta nfproto ipv6 iifname != "wg0" oifname != "wg0" drop';
  const scripts = ["0", "1"].map((value) => {
    const view = viewOf({}, { "net.ipv6.conf.all.forwarding": value });
    const { action } = planMasquerade({ ...SETTINGS, networks }, view).steps[0]!;
    return action.kind === "nft" ? action.script : "";
  });
  assert.deepEqual(scripts.map((script) => script.includes(closing)), [true, false]);
});

Deno.test("a default route by router advertisement outlives the switch, and single switches come back", () => {
  const view = viewOf({
    defaultRoutes: [{ version: 6, device: "eth0", isAdvertised: true }],
  }, { "net.ipv6.conf.eth1.forwarding": "1" });
  const { steps } = planMasquerade({ ...SETTINGS, networks: prefixes("fd09::/64") }, view);
  assert.deepEqual(steps.map(({ title }) => title), [
    "nft: masquerade wg0 by eth0",
    "sysctl net.ipv6.conf.eth0.accept_ra=2",
    "sysctl net.ipv6.conf.eth1.forwarding=1, as it is",
    "sysctl net.ipv6.conf.all.forwarding=1",
  ]);
  // Taken back last to first, by what the switch has put to 0 with the others.
  assert.deepEqual(steps[2]!.undo, {
    ...{ kind: "sysctl", key: "net.ipv6.conf.eth1.forwarding", value: "0", before: "1" },
  });
  // What does not listen to advertisements is left alone.
  const deaf = viewOf({ defaultRoutes: view.defaultRoutes }, {
    "net.ipv6.conf.eth0.accept_ra": "0",
  });
  const others = planMasquerade({ ...SETTINGS, networks: prefixes("fd09::/64") }, deaf).steps;
  assert.ok(others.every(({ title }) => !title.includes("accept_ra")));
});

Deno.test("every record can be read back, whatever the device is called", () => {
  const view = viewOf({
    devices: ["eth0.100"],
    defaultRoutes: [4, 6].map((version) => ({
      ...{ version: version as 4 | 6, device: "eth0.100", isAdvertised: true },
    })),
    closedChains: [DOCKER],
  }, {
    "net.ipv4.conf.eth0/100.forwarding": "0",
    "net.ipv6.conf.eth0/100.accept_ra": "1",
  });
  const { steps } = planMasquerade({ ...SETTINGS, force: true }, view);
  const undos = steps.flatMap(({ undo }) => undo === undefined ? [] : [undo]);
  assert.deepEqual(undos.map((undo) => undo.kind), [
    ...["nft-table", "sysctl", "sysctl", "sysctl", "nft-rule"],
  ]);
  for (const undo of undos) assert.deepEqual(parseUndo(JSON.parse(JSON.stringify(undo))), undo);
});

Deno.test("families may have different ways out, or one none", () => {
  const defaultRoutes = [
    { version: 4, device: "eth0", isAdvertised: false },
    { version: 6, device: "eth1", isAdvertised: false },
  ] as const;
  assert.equal(titles({}, { defaultRoutes })[0], "nft: masquerade wg0 by eth0 and eth1");
  const alone = defaultRoutes.slice(0, 1);
  assert.equal(titles({}, { defaultRoutes: alone })[0], "nft: masquerade wg0 by eth0");
  assert.equal(titles({ outlet: "eth1" }, { defaultRoutes: [] })[0], "nft: masquerade wg0 by eth1");
});

Deno.test("the tunnel's own default route, and a peer's, is no way out", () => {
  const defaultRoutes = [
    { version: 4, device: "wg0", isAdvertised: false },
    { version: 4, device: "eth1", isAdvertised: false },
  ] as const;
  const networks = prefixes("10.0.0.0/24", "0.0.0.0/0");
  const plan = planMasquerade({ ...SETTINGS, networks }, { ...VIEW, defaultRoutes });
  assert.deepEqual(plan.masquerade.outlets, { 4: "eth1" });
  assert.deepEqual(plan.masquerade.networks.map(String), ["10.0.0.0/24"]);
});

Deno.test("what stands in the way is told with what is expected", () => {
  const fails = (settings: Partial<MasqueradeSettings>, view: Partial<MasqueradeView> = {}) => {
    try {
      return titles(settings, view).join();
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.equal(
    fails({ outlet: "eth7" }),
    "--masquerade: there is no device eth7, expected one of eth0, eth1",
  );
  assert.equal(
    fails({ outlet: "lo" }, { devices: ["lo", "eth0"] }),
    "--masquerade: lo leads nowhere, expected one of eth0",
  );
  assert.equal(
    fails({ outlet: "wg0" }),
    "--masquerade: wg0 is the tunnel itself, expected the device that leads out",
  );
  assert.equal(
    fails({}, { defaultRoutes: [] }),
    "--masquerade: this host has no default route, expected --masquerade=DEVICE",
  );
  assert.equal(
    fails({ networks: prefixes("0.0.0.0/0") }),
    "--masquerade: the tunnel has no network, expected one in Address, AddressPool or AllowedIPs",
  );
  const firewalld = { ...DOCKER, family: "inet", table: "firewalld", isOwned: true } as const;
  assert.equal(
    fails({ force: true }, { closedChains: [firewalld] }),
    "--masquerade-force: inet firewalld FORWARD can be changed by its owner alone, expected " +
      "firewall-cmd --zone=trusted --add-interface=wg0",
  );
});

Deno.test("a foreign chain is named with the lines that open it, or is opened", () => {
  const view = { ...VIEW, closedChains: [DOCKER] };
  const lines = [
    'insert rule ip filter FORWARD iifname "wg0" oifname "eth0" accept comment "wirestack-wg0"',
    'insert rule ip filter FORWARD iifname "eth0" oifname "wg0" ct state established,related accept comment "wirestack-wg0"',
  ];
  assert.deepEqual(planMasquerade(SETTINGS, view).warnings, [
    "ip filter FORWARD: drops what is forwarded (policy drop), so no client gets out until it is " +
    `opened by --masquerade-force, or by: nft '${lines[0]}'; nft '${lines[1]}'`,
  ]);
  const forced = planMasquerade({ ...SETTINGS, force: true }, view);
  assert.deepEqual(forced.warnings, []);
  const { action, undo } = forced.steps.at(-1)!;
  assert.deepEqual(action, { kind: "nft", script: lines.join("\n") });
  assert.deepEqual(undo, {
    ...{ kind: "nft-rule", family: "ip", table: "filter", chain: "FORWARD" },
    comment: "wirestack-wg0",
  });
  // One of a family that nobody gets out by is not in the way.
  const six = { ...SETTINGS, networks: prefixes("fd09::/64") };
  assert.deepEqual(planMasquerade(six, view).warnings, []);
});

Deno.test("networks that come later replace those that were there", () => {
  const { masquerade } = planMasquerade(SETTINGS, VIEW);
  const networks = prefixes("10.0.0.0/24", "10.1.0.0/24", "10.1.0.0/24");
  assert.equal(
    networksScript({ ...masquerade, networks }),
    "flush set inet wirestack-nat-wg0 networks4\n" +
      "flush set inet wirestack-nat-wg0 networks6\n" +
      "add element inet wirestack-nat-wg0 networks4 { 10.0.0.0/24, 10.1.0.0/24 }\n",
  );
});
