/**
 * Name servers of a tunnel: set, and taken back whoever keeps them, in any order.
 *
 * @module
 */

import assert from "node:assert/strict";
import fc from "fast-check";
import { chooseDnsMethod, type DnsPlaces, setDns, unsetDns } from "../../../proxy/system/dns.ts";
import { withNameServers, withoutNameServers } from "../../../proxy/system/resolv_conf.ts";
import { runScript } from "../../../proxy/system/shell.ts";
import { writeExecutable } from "../../executable.ts";

Deno.test("resolv.conf has the tunnel's name servers, and comes back to the letter", () => {
  const before = "# by hand\nnameserver 192.0.2.53\noptions edns0\n";
  const during = withNameServers(before, "wg0", ["10.9.0.1", "fd09::1"], ["corp.test"]);
  const effective = during.split("\n").filter((line) => !line.startsWith("#"));
  assert.deepEqual(effective, [
    "search corp.test",
    "nameserver 10.9.0.1",
    "nameserver fd09::1",
    "",
  ]);
  assert.deepEqual(withoutNameServers(during, "wg0"), { text: before });
  assert.equal(withoutNameServers(during, "wg1"), undefined);
  assert.equal(withoutNameServers(before, "wg0"), undefined);
  const alone = withNameServers(undefined, "wg0", ["10.9.0.1"], []);
  assert.equal(withoutNameServers(alone, "wg0"), "absent");
});

Deno.test("tunnels that end in any order leave what was there", () => {
  fc.assert(fc.property(
    fc.option(fc.string({ unit: fc.constantFrom("a", "#", "|", "\n", " ") }), { nil: undefined }),
    fc.shuffledSubarray(["wg0", "wg1", "wg2", "wg3"], { minLength: 4 }),
    (before, order) => {
      let text = before;
      for (const device of ["wg0", "wg1", "wg2", "wg3"]) {
        text = withNameServers(text, device, [`10.0.0.${device.at(-1)}`], []);
      }
      let left: ReturnType<typeof withoutNameServers> = { text: text! };
      for (const device of order) {
        assert.ok(typeof left === "object");
        left = withoutNameServers(left.text, device);
      }
      assert.deepEqual(left, before === undefined ? "absent" : { text: before });
    },
  ));
});

Deno.test("the file is written in place, and one that somebody has replaced meanwhile is left alone", () => {
  using lab = new Folder();
  Deno.writeTextFileSync(lab.resolvConf, "nameserver 192.0.2.53\n");
  const { ino } = Deno.statSync(lab.resolvConf);
  const open = setDns(ACTION, lab);
  assert.match(Deno.readTextFileSync(lab.resolvConf), /^nameserver 10\.9\.0\.1$/m);
  assert.equal(Deno.statSync(lab.resolvConf).ino, ino, "it may be mounted over");
  unsetDns(ACTION, open, lab);
  assert.equal(Deno.readTextFileSync(lab.resolvConf), "nameserver 192.0.2.53\n");

  const other = setDns(ACTION, lab);
  Deno.writeTextFileSync(`${lab.resolvConf}.new`, "nameserver 198.51.100.53\n");
  Deno.renameSync(`${lab.resolvConf}.new`, lab.resolvConf);
  unsetDns(ACTION, other, lab);
  assert.equal(Deno.readTextFileSync(lab.resolvConf), "nameserver 198.51.100.53\n");
});

Deno.test("a file that cannot be written has a line that says what to do", () => {
  using lab = new Folder();
  const places: DnsPlaces = {
    hasProgram: () => false,
    resolvConf: `${lab.path}/none/resolv.conf`,
    run: () => assert.fail(),
  };
  assert.throws(() => setDns(ACTION, places), {
    name: "SystemTunnelError",
    message: /^DNS: \S+ cannot be written \(.+\), expected root, systemd-resolved, or no DNS in /,
  });
});

Deno.test("another process takes the name servers back by what stands in the file", () => {
  using lab = new Folder();
  setDns(ACTION, lab)![Symbol.dispose]();
  unsetDns(ACTION, undefined, lab);
  assert.throws(() => Deno.statSync(lab.resolvConf), Deno.errors.NotFound);
  unsetDns(ACTION, undefined, lab); // twice is once
});

Deno.test("resolvconf is asked as wg-quick asks it", () => {
  using lab = new Folder();
  lab.program("resolvconf", 'echo "$@" >>"$0.log"; case $1 in -a) cat >>"$0.log";; esac');
  assert.equal(chooseDnsMethod(lab), "resolvconf");
  const action = { ...ACTION, method: "resolvconf", domains: ["corp.test", "lab.test"] } as const;
  assert.equal(setDns(action, lab), undefined);
  unsetDns(action, undefined, lab);
  assert.equal(
    lab.log("resolvconf"),
    "-a wg0 -m 0 -x\nnameserver 10.9.0.1\nsearch corp.test lab.test\n-d wg0 -f\n",
  );
});

Deno.test("systemd-resolved is asked where resolv.conf is its own", () => {
  using lab = new Folder();
  lab.program("resolvectl", 'echo "$@" >>"$0.log"');
  lab.program("resolvconf", "exit 1");
  Deno.mkdirSync(`${lab.path}/systemd/resolve`, { recursive: true });
  Deno.writeTextFileSync(`${lab.path}/systemd/resolve/stub-resolv.conf`, "");
  Deno.symlinkSync(`${lab.path}/systemd/resolve/stub-resolv.conf`, lab.resolvConf);
  assert.equal(chooseDnsMethod(lab), "resolvectl");
  const action = { ...ACTION, method: "resolvectl", servers: ["10.9.0.1", "fd09::1"] } as const;
  setDns({ ...action, domains: ["corp.test"] }, lab);
  unsetDns(action, undefined, lab);
  assert.equal(
    lab.log("resolvectl"),
    "dns wg0 10.9.0.1 fd09::1\ndomain wg0 corp.test ~.\ndefault-route wg0 true\nrevert wg0\n",
  );
});

Deno.test("what a program says when it refuses is what the user reads", () => {
  using lab = new Folder();
  lab.program("resolvconf", "echo no such record >&2; exit 3");
  assert.throws(() => setDns({ ...ACTION, method: "resolvconf" }, lab), {
    name: "SystemTunnelError",
    message: "resolvconf: no such record",
  });
  const nobody = { ...ACTION, hasProgram: () => false, resolvConf: "", run: () => {} };
  assert.equal(chooseDnsMethod(nobody), "file");
});

const ACTION = {
  kind: "dns",
  method: "file",
  device: "wg0",
  servers: ["10.9.0.1"],
  domains: [] as string[],
} as const;

/** A folder with programs of its own. */
class Folder implements DnsPlaces, Disposable {
  readonly path = Deno.makeTempDirSync();
  readonly resolvConf = `${this.path}/resolv.conf`;

  program(name: string, script: string): void {
    writeExecutable(`${this.path}/${name}`, `#!/bin/sh\n${script}\n`);
  }

  log(name: string): string {
    return Deno.readTextFileSync(`${this.path}/${name}.log`);
  }

  hasProgram(name: string): boolean {
    return Array.from(Deno.readDirSync(this.path)).some((entry) => entry.name === name);
  }

  run(script: string, args: readonly string[], what: string): void {
    runScript(`PATH=${this.path}:$PATH\n${script}`, args, what);
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}
