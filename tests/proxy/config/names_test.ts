/**
 * What a message calls another key: as it was written, or as whoever wrote the one it is about would.
 *
 * @module
 */

import assert from "node:assert/strict";
import { applyFlags } from "../../../proxy/cli/flags.ts";
import { findField } from "../../../proxy/config/keys.ts";
import { ConfigSource } from "../../../proxy/config/source.ts";
import { applyVariables } from "../../../proxy/config/variables.ts";
import type { ConfigInput } from "../../../proxy/config/config.ts";
import { sourceOf, variables, written } from "./forms.ts";

const [FIRST, SECOND] = ["A".repeat(43) + "=", "B".repeat(42) + "A="];

const INPUT: ConfigInput = {
  interface: { peersKey: "k", mtu: 1300 },
  peers: [{ publicKey: FIRST }, { publicKey: SECOND, allowedIps: "10.9.0.3/32", rateBurst: 1 }],
  rules: [{ action: "reject" }],
  capture: { rotate: "10M" } as ConfigInput["capture"],
};

const key = (section: "peers" | "rules" | "capture" | "interface", field: string) =>
  findField(section, field)!;

function fromFlags(): ConfigSource {
  const source = new ConfigSource({ flag: "flags" });
  applyFlags(source, [
    { key: key("interface", "peersKey"), value: "k" },
    { key: key("interface", "mtu"), value: "1300" },
    { key: key("peers", "publicKey"), value: FIRST },
    { key: key("peers", "publicKey"), value: SECOND },
    { key: key("peers", "allowedIps"), value: "10.9.0.3/32" },
    { key: key("peers", "rateBurst"), value: "1" },
    { key: key("rules", "action"), value: "reject" },
    { key: key("capture", "rotate"), value: "10M" },
  ]);
  return source;
}

function fromEnvironment(): ConfigSource {
  const source = new ConfigSource({ flag: "flags and environment" });
  const given = variables(INPUT).map(([name, value]) => ({ name, value }));
  applyVariables(source, given.map((one) => ({ ...one, origin: { variable: one.name } })));
  return source;
}

/** Another key of a section, of another section; one that is given; a value of a list's, of a section's. */
const NAMES: Readonly<Record<string, readonly string[]>> = {
  "wg0.conf": ["PeersFrom", "RateUp", "AllowedIPs", "MTU = 9", "Write = FILE", "Action = allow"],
  "wg0.yaml": [
    "interface.peersFrom",
    "peers[1].rateUp",
    "peers[1].allowedIps",
    "interface.mtu: 9",
    "capture.write: FILE",
    "rules[0].action: allow",
  ],
  "wg0.env": [
    "WIRESTACK_PEERS_FROM",
    "WIRESTACK_PEERS[1].rateUp",
    "WIRESTACK_PEERS[1].allowedIps",
    "WIRESTACK_MTU=9",
    "WIRESTACK_CAPTURE=FILE",
    "WIRESTACK_RULES[0].action: allow",
  ],
  flags: [
    "--peers-from",
    "--peer-rate-up",
    "--allowed-ips",
    "--mtu=9",
    "--capture=FILE",
    "--rule=allow",
  ],
};

/** By what the source is made of. */
const SOURCES: readonly (readonly [string, keyof typeof NAMES, () => Promise<ConfigSource>])[] = [
  ...Object.entries(written(INPUT)).map(([file, text]) =>
    [
      file,
      file === "wg0.json" ? "wg0.yaml" : file,
      () => sourceOf(text, file),
    ] as const
  ),
  ["an object", "wg0.yaml", () => Promise.resolve(ConfigSource.fromObject(INPUT))],
  ["flags", "flags", () => Promise.resolve(fromFlags())],
  ["the environment", "wg0.env", () => Promise.resolve(fromEnvironment())],
];

for (const [form, names, make] of SOURCES) {
  Deno.test(`a message about a key of ${form} names another one as it is written there`, async () => {
    const source = await make();
    assert.deepEqual([
      source.called(["interface", "peersFrom"], ["interface", "peersKey"]),
      source.called(["peers", 1, "rateUp"], ["peers", 1, "rateBurst"]),
      source.called(["peers", 1, "allowedIps"], ["peers", 1]),
      source.assigned(["interface", "mtu"], "9", ["capture", "rotate"]),
      source.assigned(["capture", "write"], "FILE", ["capture", "rotate"]),
      source.assigned(["rules", 0, "action"], "allow", ["rules", 0, "rate"]),
    ], NAMES[names]);
  });
}

Deno.test("a peer of the second file is called by its number there", async () => {
  const source = await sourceOf(`peers:\n  - publicKey: ${FIRST}\n`, "a.yaml");
  const { fillFromTree } = await import("../../../proxy/config/tree_source.ts");
  const { parseYaml } = await import("../../../proxy/config/yaml.ts");
  const text = `peers:\n  - publicKey: ${SECOND}\n    rateBurst: 1\n`;
  fillFromTree(source, parseYaml(text), (line, name) => ({ file: "b.yaml", line, name }));
  assert.equal(source.label(["peers", 1, "rateBurst"]), "b.yaml:3: peers[0].rateBurst");
  assert.equal(
    source.called(["peers", 1, "rateUp"], ["peers", 1, "rateBurst"]),
    "peers[0].rateUp",
  );
});

Deno.test("beside what set changes, other keys are called as set would have them, or the module", () => {
  for (
    const [label, expected] of [
      ["Rule.1.Rate", ["Rule.1.Ports", "Rule.1.Action=allow", "Interface.PeerToPeer=true"]],
      ["rules.1.rate", ["rules.1.ports", "rules.1.action: allow", "interface.peerToPeer: true"]],
    ] as const
  ) {
    const source = ConfigSource.fromObject({ rules: [{}] });
    const path = ["rules", 0];
    source.set(path, key("rules", "rate"), "1", { flag: label, isSetting: true });
    const near = [...path, "rate"];
    assert.deepEqual([
      source.called([...path, "ports"], near),
      source.assigned([...path, "action"], "allow", near),
      source.assigned(["interface", "peerToPeer"], "true", near),
    ], expected);
  }
});
