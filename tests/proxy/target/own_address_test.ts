import assert from "node:assert/strict";
import { udpUnavailable } from "../../../ffi/mod.ts";
import type { IpAddress } from "../../../netstack/mod.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import { OwnAddresses } from "../../../proxy/target/own_address.ts";
import { labTest } from "../../e2e/lab.ts";
import { output } from "../../e2e/process.ts";

const ip = (text: string) => parseIpAddress(text)!;

for (const ffi of [false, true]) {
  if (ffi && udpUnavailable() !== undefined) continue;
  const how = ffi ? "with FFI" : "without FFI";
  Deno.test(`${how}, this host's addresses are its own and no others`, () => {
    const subject = new OwnAddresses(() => 0, ffi);
    const own = Deno.networkInterfaces().filter(({ scopeid }) => !scopeid);
    assert.ok(own.length > 0);
    for (const { address } of own) assert.equal(subject.isOwn(ip(address)), true, address);
    const others = ["8.8.8.8", "10.255.255.254", "198.51.100.77", "2606:4700::1111"];
    for (const address of others) assert.equal(subject.isOwn(ip(address)), false, address);
    subject.close();
  });
}

/** Answers as told, and counts. */
class FakeProbe {
  asked = 0;
  answer: boolean | Error = false;

  isOwn(_address: IpAddress): boolean {
    this.asked++;
    if (this.answer instanceof Error) throw this.answer;
    return this.answer;
  }

  close(): void {}
}

Deno.test("an answer counts for 5 s, and where there is none that is said", () => {
  let now = 0;
  const probe = new FakeProbe();
  const subject = new OwnAddresses(() => now, false, probe);
  const address = ip("10.0.0.1");
  for (let i = 0; i < 3; i++) assert.equal(subject.isOwn(address), false);
  assert.equal(probe.asked, 1);
  now = 4_999;
  probe.answer = true;
  assert.equal(subject.isOwn(address), false);
  now = 5_000;
  assert.equal(subject.isOwn(address), true);
  now = 20_000;
  probe.answer = new Error("no descriptors");
  assert.equal(subject.isOwn(address), undefined);
  probe.answer = false;
  assert.equal(subject.isOwn(address), false, "a failure is not kept");
});

/** Which of some addresses are this host's, in a network namespace of its own. */
async function inNamespace(isFfi: boolean): Promise<Record<string, boolean>> {
  const addresses = ["192.0.2.7", "192.0.2.8", "198.51.100.1", "127.0.0.1"];
  const setUp = "sysctl -qw net.ipv4.ip_nonlocal_bind=1 && ip link set lo up && " +
    "ip link add own0 type veth peer name own1 && ip link set own1 up && ip addr add 192.0.2.7/24 dev own0 && ip link set own0 up";
  const program = `
    import { OwnAddresses } from ${
    JSON.stringify(import.meta.resolve("../../../proxy/target/own_address.ts"))
  };
    import { parseIpAddress } from ${
    JSON.stringify(import.meta.resolve("../../../proxy/address.ts"))
  };
    const subject = new OwnAddresses(() => 0, ${isFfi});
    const isOwn = ${
    JSON.stringify(addresses)
  }.map((text) => [text, subject.isOwn(parseIpAddress(text))]);
    console.log(JSON.stringify(Object.fromEntries(isOwn)));`;
  const deno = [Deno.execPath(), "run", "--no-check", "--quiet", "--no-prompt", "--allow-net"];
  const flags = ["--unstable-net", ...isFfi ? ["--allow-ffi"] : [], "-"];
  const command = [
    "unshare",
    "--net",
    "sh",
    "-c",
    `${setUp} && exec "$@"`,
    "sh",
    ...deno,
    ...flags,
  ];
  return JSON.parse(await output(command, { input: program }));
}

labTest(
  "where foreign addresses can be bound, own ones are still told from them over FFI, and without it none is handed out",
  async () => {
    assert.deepEqual(await inNamespace(true), {
      "192.0.2.7": true,
      "192.0.2.8": false,
      "198.51.100.1": false, // nothing leads there
      "127.0.0.1": true,
    });
    const withoutFfi = await inNamespace(false);
    assert.ok(Object.values(withoutFfi).every((isOwn) => isOwn), JSON.stringify(withoutFfi));
  },
  ["unshare"],
);
