import assert from "node:assert/strict";
import { parseIpAddress } from "../../../proxy/address.ts";
import { generatePrivateKey, publicKeyOf } from "../../../proxy/base64.ts";
import { preset } from "../../preset.ts";
import { ControlLab, hexKey, newConfig } from "./lab.ts";
import { listenOnOwnPort } from "../own_port.ts";

const ZERO = "0".repeat(64);

Deno.test("get answers with wireguard-go's keys in wireguard-go's order", async () => {
  await using lab = await ControlLab.start();
  const privateKey = generatePrivateKey().toHex();
  const set = [
    "set=1",
    `private_key=${privateKey}`,
    "listen_port=0",
    "fwmark=0",
    "replace_peers=true",
    `public_key=${hexKey(2)}`,
    `preshared_key=${hexKey(7)}`,
    "endpoint=[2001:db8::1]:7",
    "persistent_keepalive_interval=5",
    "replace_allowed_ips=true",
    "allowed_ip=10.9.0.2/32",
    "allowed_ip=fd09:0::2/128",
    "protocol_version=1",
    `public_key=${hexKey(3)}`,
  ];
  assert.equal(await lab.ask(set.join("\n") + "\n\n"), "errno=0\n\n");
  const lines = await lab.get();
  // The keepalive has begun to shake hands.
  const sent = lines.findIndex((line) => line.startsWith("tx_bytes="));
  assert.match(lines[sent]!, /^tx_bytes=(?:0|148)$/);
  lines[sent] = "tx_bytes=";
  assert.deepEqual(lines, [
    `private_key=${privateKey}`,
    `listen_port=${lab.gateway.port}`,
    `public_key=${hexKey(2)}`,
    `preshared_key=${hexKey(7)}`,
    "protocol_version=1",
    "endpoint=[2001:db8::1]:7",
    "last_handshake_time_sec=0",
    "last_handshake_time_nsec=0",
    "tx_bytes=",
    "rx_bytes=0",
    "persistent_keepalive_interval=5",
    "allowed_ip=10.9.0.2/32",
    "allowed_ip=fd09::2/128",
    `public_key=${hexKey(3)}`,
    `preshared_key=${ZERO}`,
    "protocol_version=1",
    "last_handshake_time_sec=0",
    "last_handshake_time_nsec=0",
    "tx_bytes=0",
    "rx_bytes=0",
    "persistent_keepalive_interval=0",
    "errno=0",
    "",
    "",
  ]);
});

Deno.test("a request that is wrong anywhere changes nothing, and the next one is answered", async () => {
  await using lab = await ControlLab.start();
  const taken = Deno.listenDatagram({ transport: "udp", hostname: "0.0.0.0", port: 0 });
  const { port } = taken.addr as Deno.NetAddr;
  const before = await lab.get();
  const peer = `public_key=${hexKey(2)}\n`;
  const cases: [string, number][] = [
    ["nonsense", -71],
    ["", 0],
    ["private_key=00", -22],
    [`private_key=${"g".repeat(64)}`, -22],
    ["listen_port=65536", -22],
    ["listen_port=-1", -22],
    ["listen_port=", -22],
    ["listen_port=1e3", -22],
    ["fwmark=4294967296", -22],
    ...preset.ffi ? [] : [["fwmark=7", -95]] as [string, number][],
    ["replace_peers=false", -22],
    ["allowed_ip=10.0.0.0/8", -22],
    ["colour=red", -22],
    [`public_key=${hexKey(2).slice(1)}`, -22],
    [`${peer}colour=red`, -22],
    [`${peer}listen_port=0`, -22],
    [`${peer}update_only=1`, -22],
    [`${peer}remove=yes`, -22],
    [`${peer}replace_allowed_ips=`, -22],
    [`${peer}preshared_key=x`, -22],
    [`${peer}endpoint=example.com:1`, -22],
    [`${peer}endpoint=1.2.3.4`, -22],
    [`${peer}endpoint=1.2.3.4:0`, -22],
    [`${peer}endpoint=::1:5`, -22],
    [`${peer}persistent_keepalive_interval=65536`, -22],
    [`${peer}persistent_keepalive_interval=off`, -22],
    [`${peer}allowed_ip=10.0.0.0`, -22],
    [`${peer}allowed_ip=10.0.0.0/33`, -22],
    [`${peer}allowed_ip=--10.0.0.0/8`, -22],
    [`${peer}protocol_version=2`, -22],
    ["wirestack_name=a", -22],
    [`${peer}wirestack_name=10.9.0.2`, -22],
    [`${peer}wirestack_name=`, -22],
    [`listen_port=${port}\n${peer}allowed_ip=10.9.0.2/32`, -98],
  ];
  try {
    for (const [lines, errno] of cases) {
      const good = `set=1\nprivate_key=${hexKey(9)}\n${peer}allowed_ip=10.9.0.9/32\n`;
      const text = lines === ""
        ? "set=1\n\n"
        : lines.startsWith("public_key")
        ? `${good}${lines}\nupdate_only=true\n\n`
        : `set=1\n${lines}\n${peer}allowed_ip=10.9.0.9/32\n\n`;
      assert.equal(
        await lab.ask(`${text}get=1\n\n`),
        `errno=${errno}\n\n${before.join("\n")}`,
        lines,
      );
    }
  } finally {
    taken.close();
  }
});

Deno.test("a name is one peer's, whichever request gives it, and may go from one to another", async () => {
  await using lab = await ControlLab.start();
  const peer = (key: number, ...lines: string[]) =>
    [`public_key=${hexKey(key)}`, ...lines, ""].join("\n");
  const names = () =>
    Object.fromEntries(
      Array.from(lab.gateway.engine.device.peers(), ({ publicKey, name }) => [
        Number.parseInt(publicKey.toHex(), 16),
        name,
      ]),
    );
  const set = (...parts: string[]) => lab.ask(`set=1\n${parts.join("")}\n`);
  assert.equal(await set(peer(1, "wirestack_name=a"), peer(2, "wirestack_name=b")), "errno=0\n\n");
  for (
    const parts of [
      [peer(3, "wirestack_name=A")],
      [peer(1, "wirestack_name=b")],
      [peer(3, "wirestack_name=c"), peer(4, "wirestack_name=C")],
      ["replace_peers=true\n", peer(1), peer(3, "wirestack_name=a")],
    ]
  ) {
    assert.equal(await set(...parts), "errno=-22\n\n", parts.join());
    assert.deepEqual(names(), { 1: "a", 2: "b" });
  }
  assert.equal(await set(peer(1, "wirestack_name=b"), peer(2, "wirestack_name=a")), "errno=0\n\n");
  assert.deepEqual(names(), { 1: "b", 2: "a" });
  assert.equal(await set(peer(1, "remove=true"), peer(3, "wirestack_name=b")), "errno=0\n\n");
  assert.deepEqual(names(), { 2: "a", 3: "b" });
  assert.equal(await set("replace_peers=true\n", peer(4, "wirestack_name=a")), "errno=0\n\n");
  assert.deepEqual(names(), { 4: "a" });
});

Deno.test({
  name: "a mark is set, told, kept when the port changes, and kept when a port is refused",
  ignore: Deno.build.os !== "linux" || Deno.uid() !== 0,
  async fn() {
    await using lab = await ControlLab.start(newConfig(), undefined, undefined, true);
    const told = async () => (await lab.get()).filter((line) => line.startsWith("fwmark="));
    const taken = listenOnOwnPort();
    const { port } = taken.addr as Deno.NetAddr;
    const set = async (lines: string, errno = 0) =>
      assert.equal(await lab.ask(`set=1\n${lines}\n\n`), `errno=${errno}\n\n`);
    try {
      assert.deepEqual(await told(), []);
      await set("fwmark=51820");
      const before = lab.gateway.port;
      assert.deepEqual(await told(), ["fwmark=51820"]);
      await set(`fwmark=9\nlisten_port=${port}`, -98);
      assert.equal(lab.gateway.port, before);
      assert.deepEqual(await told(), ["fwmark=51820"]);
      taken.close();
      await set(`listen_port=${port}`);
      assert.equal(lab.gateway.port, port);
      assert.deepEqual(await told(), ["fwmark=51820"]);
      await set("fwmark=4294967295");
      assert.deepEqual(await told(), ["fwmark=4294967295"]);
      await set("fwmark=0");
      assert.deepEqual(await told(), []);
    } finally {
      if (lab.gateway.port !== port) taken.close();
    }
  },
});

Deno.test("half a request changes nothing", async () => {
  await using lab = await ControlLab.start();
  const text = `set=1\npublic_key=${hexKey(2)}\nallowed_ip=10.9.0.2/32\n`;
  for (let length = 6; length <= text.length; length++) {
    // The last line alone may be wrong for being cut off.
    assert.match(await lab.ask(text.slice(0, length)), /^errno=-(?:71|22)\n\n$/);
  }
  assert.equal([...lab.gateway.engine.device.peers()].length, 0);
});

Deno.test("update_only makes no peer, remove of an unknown peer is no error, the own key is passed over", async () => {
  await using lab = await ControlLab.start();
  const own = lab.gateway.publicKey.toHex();
  const text = `set=1\npublic_key=${hexKey(2)}\nupdate_only=true\nallowed_ip=10.9.0.2/32\n` +
    `public_key=${hexKey(3)}\nremove=true\npublic_key=${own}\nallowed_ip=10.9.0.3/32\n\n`;
  assert.equal(await lab.ask(text), "errno=0\n\n");
  assert.equal([...lab.gateway.engine.device.peers()].length, 0);
  assert.equal(lab.gateway.engine.stack.routes.lookupAddress(ip("192.0.2.1")), undefined);
});

Deno.test("a key that becomes the gateway's own is no peer's any more; without a key there is none", async () => {
  await using lab = await ControlLab.start();
  const privateKey = generatePrivateKey();
  const publicKey = publicKeyOf(privateKey).toHex();
  await lab.ask(`set=1\npublic_key=${publicKey}\nallowed_ip=192.0.2.0/24\n\n`);
  const { routes } = lab.gateway.engine.stack;
  assert.equal(routes.lookupAddress(ip("192.0.2.1")), lab.gateway.engine.nic1);
  await lab.ask(`set=1\nprivate_key=${privateKey.toHex()}\n\n`);
  assert.equal([...lab.gateway.engine.device.peers()].length, 0);
  assert.equal(routes.lookupAddress(ip("192.0.2.1")), undefined);
  assert.equal(await lab.ask(`set=1\nprivate_key=${ZERO}\n\n`), "errno=0\n\n");
  assert.deepEqual(await lab.get(), [`listen_port=${lab.gateway.port}`, "errno=0", "", ""]);
  assert.equal(lab.gateway.stats().publicKey, null);
  assert.notEqual(lab.gateway.publicKey.toHex(), publicKey);
});

Deno.test("routes follow the allowed IPs, and the proxy's prefix stays the proxy's", async () => {
  await using lab = await ControlLab.start({
    ...newConfig(),
    proxy: { subnets: "10.50.0.0/16" },
  });
  const { engine, proxy } = lab.gateway;
  const nic = (address: string) => engine.stack.routes.lookupAddress(ip(address))?.name;
  const set = (...lines: string[]) => lab.ask(`set=1\n${lines.join("\n")}\n\n`);
  assert.equal(nic("192.0.2.1"), undefined);
  await set(`public_key=${hexKey(2)}`, "allowed_ip=192.0.2.0/24", "allowed_ip=10.50.0.0/16");
  assert.equal(nic("192.0.2.1"), "wireguard");
  assert.equal(nic("10.50.0.1"), "proxy");
  // It moves to another peer, and is taken from that one.
  await set(`public_key=${hexKey(3)}`, "allowed_ip=192.0.2.0/24");
  await set(`public_key=${hexKey(2)}`, "remove=true");
  assert.equal(nic("192.0.2.1"), "wireguard");
  assert.equal(nic("10.50.0.1"), "proxy");
  await set(`public_key=${hexKey(4)}`, "allowed_ip=-192.0.2.0/24");
  assert.equal(nic("192.0.2.1"), "wireguard", "another peer cannot remove it");
  await set(`public_key=${hexKey(3)}`, "allowed_ip=-192.0.2.0/24");
  assert.equal(nic("192.0.2.1"), undefined);
  // The interface's own network is no peer's to take away.
  await set(`public_key=${hexKey(3)}`, "allowed_ip=10.9.0.0/24");
  await set(`public_key=${hexKey(3)}`, "remove=true");
  assert.equal(nic("10.9.0.7"), "wireguard");
  // Once the proxy lets go of it, it is the peer's.
  await set(`public_key=${hexKey(4)}`, "allowed_ip=10.50.0.0/16");
  proxy.disable(proxy.prefixes());
  assert.equal(nic("10.50.0.1"), "wireguard");
  await set("replace_peers=true");
  assert.equal(nic("10.50.0.1"), undefined);
});

Deno.test("replace_allowed_ips and removals take effect in the order given", async () => {
  await using lab = await ControlLab.start();
  const allowed = async () =>
    (await lab.get()).filter((line) => line.startsWith("allowed_ip=")).map((line) =>
      line.slice("allowed_ip=".length)
    ).sort();
  const set = (...lines: string[]) =>
    lab.ask(`set=1\npublic_key=${hexKey(2)}\n${lines.join("\n")}\n\n`);
  await set("allowed_ip=10.1.0.0/16", "allowed_ip=10.2.0.0/16", "allowed_ip=-10.1.0.0/16");
  assert.deepEqual(await allowed(), ["10.2.0.0/16"]);
  await set("allowed_ip=10.3.0.0/16", "replace_allowed_ips=true", "allowed_ip=10.4.0.0/16");
  assert.deepEqual(await allowed(), ["10.4.0.0/16"]);
  await set(
    "replace_allowed_ips=true",
    "allowed_ip=10.5.1.1/16",
    "allowed_ip=10.6.0.0/16",
    "allowed_ip=-10.6.0.0/16",
  );
  assert.deepEqual(await allowed(), ["10.5.0.0/16"]);
});

Deno.test("what is set to what it is already changes nothing: no other socket, no other session", async () => {
  await using lab = await ControlLab.start();
  await lab.ask(
    `set=1\npublic_key=${hexKey(2)}\npreshared_key=${hexKey(4)}\nendpoint=127.0.0.1:9\n` +
      "allowed_ip=10.9.0.2/32\n\n",
  );
  const { engine } = lab.gateway;
  const { udp } = lab.gateway;
  const { port } = udp;
  const [peer] = engine.device.peers();
  const identity = engine.device.publicKey;
  const answer = await lab.ask("get=1\n\n");
  const settings = answer.split("\n").filter((line) => !/^(last_|tx_|rx_|errno)/.test(line));
  const again = `set=1\n${settings.join("\n").trimEnd()}\n\n`
    .replace("public_key=", "fwmark=0\nreplace_peers=true\npublic_key=");
  assert.equal(await lab.ask(again), "errno=0\n\n");
  // As from a file without ListenPort: any port, which it has.
  assert.equal(await lab.ask("set=1\nlisten_port=0\n\n"), "errno=0\n\n");
  assert.equal(await lab.ask("get=1\n\n"), answer);
  assert.equal(lab.gateway.udp, udp);
  assert.equal(udp.port, port);
  assert.equal(engine.device.publicKey, identity);
  assert.deepEqual([...engine.device.peers()], [peer]);
});

function ip(text: string) {
  return parseIpAddress(text)!;
}
