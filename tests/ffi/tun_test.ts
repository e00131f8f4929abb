import { alone } from "../alone.ts";
import assert from "node:assert/strict";
import { TunDevice } from "../../ffi/mod.ts";
import { eventually, type Host, Lab, labTest } from "../e2e/lab.ts";
import { output } from "../e2e/process.ts";

/** Interfaces of other runs on this machine have other names. */
const NAME = `ws${Deno.pid}t%d`;

/** The device's end in a namespace, with 192.0.2.1/24 and 2001:db8::1/64. */
async function raise(host: Host, tun: TunDevice, mtu = 1500): Promise<void> {
  await output(["ip", "link", "set", tun.name, "netns", host.namespace]);
  await host.ip(`link set ${tun.name} addrgenmode none mtu ${mtu} up`);
  await host.addAddresses(tun.name, ["192.0.2.1/24", "2001:db8::1/64"]);
}

/** Packets that the kernel sends, each in its own array. */
async function* packets(tun: TunDevice): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(65536);
  while (await tun.readable()) {
    for (let length; (length = tun.read(buffer)) > 0;) yield buffer.slice(0, length);
  }
}

/** Turns an echo request for an address without options into its reply. */
function answer(packet: Uint8Array): void {
  const is4 = packet[0]! >> 4 === 4;
  const [at, size, header] = is4 ? [12, 4, 20] : [8, 16, 40];
  const source = packet.slice(at, at + size);
  packet.copyWithin(at, at + size, at + 2 * size);
  packet.set(source, at + size);
  // The type alone changes: the checksum grows by what it lost (RFC 1624 §3).
  const change = is4 ? 0x0800 : 0xfeff; // 8 → 0, 128 → 129
  packet[header] = is4 ? 0 : 129;
  let checksum = (packet[header + 2]! << 8 | packet[header + 3]!) + change;
  checksum = (checksum & 0xffff) + (checksum >>> 16);
  packet[header + 2] = checksum >>> 8;
  packet[header + 3] = checksum;
}

labTest("a TUN device carries pings of every size, IPv4 and IPv6, both ways", async () => {
  await using lab = await Lab.create();
  const host = await lab.host("host");
  await using tun = TunDevice.open(NAME);
  await raise(host, tun, 9000);
  const pump = (async () => {
    for await (const packet of packets(tun)) {
      if (packet[0]! >> 4 === 4 ? packet[20] === 8 : packet[40] === 128) {
        answer(packet);
        tun.write(packet);
      }
    }
  })();
  for (const [target, headers] of [["192.0.2.2", 28], ["2001:db8::2", 48]] as const) {
    for (const size of [0, 1, 56, 1472, 9000 - headers]) {
      const ping = ["ping", "-c", "3", "-i", "0.01", "-w", "10", "-s", String(size), target];
      const said = await host.output(ping);
      // Until it has three it sends on, and may get more before it looks.
      const received = Number(/ (\d+) received/.exec(said)?.[1]);
      assert.ok(received >= 3, `${size} bytes to ${target}: ${said}`);
    }
  }
  assert.equal(tun.rejected, 0);
  await tun.close();
  await pump;
}, ["ping"]);

labTest(
  "a closed TUN device is gone, wakes who waits for it, takes and gives nothing",
  async () => {
    const tun = TunDevice.open(NAME);
    assert.match(tun.name, /t\d+$/);
    await output(["ip", "link", "show", tun.name]);
    const waiting = [tun.readable(), tun.readable()];
    const start = performance.now();
    await tun.close();
    await tun.close();
    assert.deepEqual(await Promise.all(waiting), [false, false]);
    assert.ok(performance.now() - start < 1000);
    assert.equal(await tun.readable(), false);
    assert.equal(tun.read(new Uint8Array(1500)), 0);
    assert.equal(tun.write(new Uint8Array(20)), false);
    await assert.rejects(output(["ip", "link", "show", tun.name]), /does not exist/);
  },
);

labTest(
  "what the kernel does not take is counted: interface down, no IP packet",
  async () => {
    await using lab = await Lab.create();
    const host = await lab.host("host");
    await using tun = TunDevice.open(NAME);
    assert.equal(tun.read(new Uint8Array(1500)), 0);
    const packet = Uint8Array.from([0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0, ...Array(8).fill(1)]);
    assert.equal(tun.write(packet), false);
    assert.equal(tun.rejected, 1);
    await raise(host, tun);
    assert.equal(tun.write(packet), true);
    assert.equal(tun.write(Uint8Array.of(0xff, 0, 0)), false);
    assert.equal(tun.write(new Uint8Array(0)), false);
    assert.equal(tun.rejected, 3);
  },
);

labTest("a packet longer than the buffer is cut, and the next one is whole", async () => {
  await using lab = await Lab.create();
  const host = await lab.host("host");
  await using tun = TunDevice.open(NAME);
  await raise(host, tun);
  await host.run(["ping", "-c", "2", "-i", "0.01", "-w", "1", "-s", "1000", "192.0.2.2"]);
  const buffer = new Uint8Array(2000);
  let length: number;
  // What the kernel has to say by itself over IPv6 comes first.
  do length = tun.read(buffer.subarray(0, 100)); while (buffer[0]! >> 4 === 6);
  assert.equal(length, 100);
  assert.equal(tun.read(buffer), 1028);
}, ["ping"]);

labTest(
  "an interface that somebody deletes ends the reading with an error",
  async () => {
    await using lab = await Lab.create();
    const host = await lab.host("host");
    await using tun = TunDevice.open(NAME);
    await raise(host, tun);
    const reading = assert.rejects(async () => {
      for await (const _ of packets(tun));
    }, new RegExp(`TUN interface ${tun.name} is gone`));
    await host.ip(`link delete ${tun.name}`);
    await reading;
    assert.equal(tun.write(new Uint8Array(20)), false);
  },
);

labTest("a name that is taken, too long or not allowed is refused with the reason", async () => {
  assert.throws(() => TunDevice.open(""), RangeError);
  assert.throws(() => TunDevice.open("a-name-of-16-byt"), /1 to 15 bytes, got "a-name-of-16-byt"/);
  assert.throws(() => TunDevice.open("a/b"), /"a\/b" cannot be made: errno 22/);
  await using first = TunDevice.open(NAME);
  assert.throws(() => TunDevice.open(first.name), /cannot be made: errno 16/);
});

labTest(
  "a hundred devices leave no file descriptor and no interface",
  (t) =>
    alone(t, async () => {
      const descriptors = () => [...Deno.readDirSync("/proc/self/fd")].length;
      const before = descriptors();
      const devices = Array.from({ length: 100 }, () => TunDevice.open(NAME));
      assert.equal(new Set(devices.map(({ name }) => name)).size, 100);
      await Promise.all(devices.map((tun) => tun.close()));
      for (let i = 0; i < 10; i++) assert.throws(() => TunDevice.open("a/b"));
      await eventually("all descriptors closed", () => descriptors() <= before);
      // The kernel takes an interface out of its lists a while after its descriptor is closed.
      await eventually("all interfaces gone", async () => {
        const links = await output(["ip", "-o", "link"]);
        return devices.every(({ name }) => !links.includes(` ${name}:`));
      });
    }),
);
