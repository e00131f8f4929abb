import assert from "node:assert/strict";
import { udpUnavailable } from "../../../ffi/mod.ts";
import type { IpAddress } from "../../../netstack/mod.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import { OwnAddresses } from "../../../proxy/target/own_address.ts";
import { rootTest } from "../../e2e/lab.ts";
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

/** Which of some addresses are this host's, in a network namespace of its own, as its set-up leaves it. */
async function inNamespace(
  isFfi: boolean,
  addresses: readonly string[],
  ...more: readonly string[]
): Promise<Record<string, boolean>> {
  const setUp = [
    "ip link set lo up",
    "ip link add own0 type veth peer name own1",
    "ip link set own1 up",
    "ip addr add 192.0.2.7/24 dev own0",
    "ip link set own0 up",
    ...more,
  ].join(" && ");
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

rootTest(
  "where foreign addresses can be bound, own ones are still told from them over FFI, and without it none is handed out",
  async () => {
    const addresses = ["192.0.2.7", "192.0.2.8", "198.51.100.1", "127.0.0.1"];
    const foreignBind = "sysctl -qw net.ipv4.ip_nonlocal_bind=1";
    assert.deepEqual(await inNamespace(true, addresses, foreignBind), {
      "192.0.2.7": true,
      "192.0.2.8": false,
      "198.51.100.1": false, // nothing leads there
      "127.0.0.1": true,
    });
    const withoutFfi = await inNamespace(false, addresses, foreignBind);
    assert.ok(Object.values(withoutFfi).every((isOwn) => isOwn), JSON.stringify(withoutFfi));
  },
  ["unshare"],
);

/** What leads to this host although no socket towards it would get the same address. */
const HIDDEN = {
  "192.0.2.7": true,
  "192.0.2.8": true, // the second of a network, sent to from the first
  "192.0.2.9": false,
  "192.0.2.255": true, // whatever listens on every address hears a broadcast
  "10.77.3.4": true, // of a whole prefix that is local
  "10.78.0.1": false, // a black hole
};
const HIDDEN_IPV6 = {
  "fd00:2::7": true,
  "fd00:2::8": true,
  "fd00:2::9": false,
  "fd00:2::": true, // the routers' anycast address, RFC 4291 §2.6.1
  "fd77::3": true,
  "fd78::1": false,
};
const HIDDEN_SET_UP = [
  "sysctl -qw net.ipv6.conf.all.forwarding=1",
  "ip addr add 192.0.2.8/24 dev own0",
  "ip addr add fd00:2::7/64 dev own0 nodad",
  "ip addr add fd00:2::8/64 dev own0 nodad",
  "ip route add local 10.77.0.0/16 dev lo",
  "ip route add local fd77::/64 dev lo",
  "ip route add blackhole 10.78.0.0/16",
  "ip route add unreachable fd78::/16",
];

rootTest(
  "a second address of a network, a broadcast, a local prefix and an anycast address are this host's",
  async () => {
    const all = { ...HIDDEN, ...HIDDEN_IPV6 };
    assert.deepEqual(await inNamespace(true, Object.keys(all), ...HIDDEN_SET_UP), all);
    assert.deepEqual(await inNamespace(false, Object.keys(HIDDEN), ...HIDDEN_SET_UP), HIDDEN);
  },
  ["unshare"],
);
