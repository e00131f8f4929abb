/**
 * A message about something given by a flag calls the others by their flags too.
 *
 * @module
 */

import assert from "node:assert/strict";
import { encodeKey, generatePrivateKey } from "../../../proxy/base64.ts";
import { runHere } from "./run_here.ts";

const PEER = ["--peer", encodeKey(generatePrivateKey())];

const CASES: readonly [args: string[], expected: RegExp][] = [
  [
    ["router", "--listen", "tcp:127.0.0.1:0", "--connect", "tcp:127.0.0.1:1"],
    /^--connect: given beside --listen, expected one of them$/m,
  ],
  [
    ["check", "--link", "a", "--link-listen", "unix:/x", "--link-connect", "unix:/y"],
    /^--link-connect: given beside --link-listen, expected one of them$/m,
  ],
  [
    ["check", "--link", "a", "--link-mtu", "1500"],
    /^--link: no other side, expected --link-listen or --link-connect$/m,
  ],
  [
    ["check", "--link", "a", "--link-listen", "unix:/x", "--link-nat-ports", "1-9"],
    /^--link-nat-ports: given without --link-nat, expected it too$/m,
  ],
  [
    [
      ...["check", "--link", "a", "--link-listen", "unix:/x", "--link-framing", "length16"],
      ...["--link-nat", "10.0.0.8", "--peer-to-peer", "false"],
    ],
    /^warning: --link-nat: is for what goes .* expected --peer-to-peer=true$/m,
  ],
  [
    ["check", "--peers-from", "https://x.test/list"],
    /^--peers-from: .*, expected --peers-key beside it, as pubsignkey prints it$/m,
  ],
  [
    ["check", "--rule", "drop", "--rule-rate", "1Mbit"],
    /^--rule-rate: a rule with --rule=drop lets nothing through, expected --rule=allow, or no --rule-rate$/m,
  ],
  [
    ["check", ...PEER, "--peer-rate-burst", "1"],
    /^warning: --peer-rate-burst: has no effect without --peer-rate-up or --peer-rate-down$/m,
  ],
  [
    ["check", ...PEER, "--fallback", "tls://hub.test:443"],
    /^--peer-ca: missing, expected .*, or --peer-pin, for --fallback$/m,
  ],
  [
    ["check", ...PEER],
    /^warning: --peer: no --allowed-ips: nothing is accepted from this peer/m,
  ],
  [
    ["check", "--status", "0.0.0.0:80"],
    /^--status: 0\.0\.0\.0 can be .*, expected --status-token-file beside it, or a/m,
  ],
  [
    ["check", "--capture", "-", "--capture-rotate", "1M,2"],
    /^--capture-rotate: has no use without a file, expected --capture=FILE$/m,
  ],
];

for (const [args, expected] of CASES) {
  Deno.test(`names what was typed: ${args.join(" ").replace(PEER[1]!, "KEY")}`, async () => {
    const file = await Deno.makeTempFile();
    try {
      await Deno.writeTextFile(file, `${encodeKey(generatePrivateKey())}\n`);
      const key = args[0] === "router" ? [] : ["--private-key-file", file];
      const { error } = await runHere([...args, ...key]);
      assert.match(error, expected);
    } finally {
      await Deno.remove(file);
    }
  });
}

Deno.test("in a file they are called as there", async () => {
  const config = "[Link]\nName = a\nListen = unix:/x\nConnect = unix:/y\n";
  const { error } = await runHere(["check", "-"], config);
  assert.match(error, /^-:4: Connect: given beside Listen, expected one of them$/m);
});
