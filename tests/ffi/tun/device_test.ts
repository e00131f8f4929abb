import { alone } from "../../alone.ts";
import assert from "node:assert/strict";
import { TunDevice, TunError } from "../../../ffi/tun/mod.ts";
import { eventually, type Host, Lab, labTest } from "../../e2e/lab.ts";
import { output } from "../../e2e/process.ts";

/** Interfaces of other runs on this machine have other names. */
/** Not of tests/e2e/tun_lab.ts, which runs in the same process: a name that is free again is given again. */
const NAME = `ws${Deno.pid}d%d`;

/** The device's end in a namespace, with 192.0.2.1/24 and 2001:db8::1/64. */
async function raise(host: Host, tun: TunDevice, mtu = 1500): Promise<void> {
  await output(["ip", "link", "set", tun.name, "netns", host.namespace]);
  await host.ip(`link set ${tun.name} addrgenmode none mtu ${mtu} up`);
  await host.addAddresses(tun.name, ["192.0.2.1/24", "2001:db8::1/64"]);
}

/** Packets that the kernel sends, each in its own array. */
async function* packets(tun: TunDevice): AsyncGenerator<Uint8Array> {
  while (await tun.readable()) {
    while (tun.next()) yield tun.memory.slice(tun.offset, tun.offset + tun.length);
  }
}

/**
 * The kernel takes an interface out of its lists a while after its descriptor is closed; and a program that
 * starts meanwhile holds the descriptor until it is executed.
 */
async function areGone(devices: readonly TunDevice[]): Promise<void> {
  await eventually("interfaces gone", async () => {
    const links = await output(["ip", "-o", "link"]);
    return devices.every(({ name }) => !links.includes(` ${name}:`));
  });
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
  await using tun = TunDevice.open({ name: NAME });
  await raise(host, tun, 9000);
  const pump = (async () => {
    for await (const packet of packets(tun)) {
      if (packet[0]! >> 4 === 4 ? packet[20] === 8 : packet[40] === 128) {
        answer(packet);
        tun.write(packet);
        tun.flush();
      }
    }
  })();
  for (const [target, headers] of [["192.0.2.2", 28], ["2001:db8::2", 48]] as const) {
    for (const size of [0, 1, 56, 1472, 9000 - headers]) {
      const ping = ["ping", "-c", "3", "-i", "0.01", "-w", "60", "-s", String(size), target];
      const said = await host.output(ping);
      // Until it has three it sends on, and may get more before it looks.
      const received = Number(/ (\d+) received/.exec(said)?.[1]);
      assert.ok(received >= 3, `${size} bytes to ${target}: ${said}`);
    }
  }
  assert.equal(tun.counters.rejected, 0);
  await tun.close();
  await pump;
}, ["ping"]);

labTest(
  "a closed TUN device is gone, wakes who waits for it, takes and gives nothing",
  async () => {
    const tun = TunDevice.open({ name: NAME });
    assert.match(tun.name, /d\d+$/);
    await output(["ip", "link", "show", tun.name]);
    const waiting = [tun.readable(), tun.readable()];
    const start = performance.now();
    await tun.close();
    await tun.close();
    assert.deepEqual(await Promise.all(waiting), [false, false]);
    assert.ok(performance.now() - start < 20_000);
    assert.equal(await tun.readable(), false);
    assert.equal(tun.next(), false);
    tun.write(new Uint8Array(20));
    assert.equal(tun.counters.packetsOut, 0);
    await areGone([tun]);
  },
);

labTest(
  "what the kernel does not take is counted: interface down, no IP packet",
  async () => {
    await using lab = await Lab.create();
    const host = await lab.host("host");
    await using tun = TunDevice.open({ name: NAME });
    assert.equal(tun.next(), false);
    const packet = Uint8Array.from([0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0, ...Array(8).fill(1)]);
    tun.write(packet);
    assert.equal(tun.counters.rejected, 1);
    await raise(host, tun);
    tun.write(packet);
    assert.equal(tun.counters.rejected, 1);
    tun.write(Uint8Array.of(0xff, 0, 0));
    tun.write(new Uint8Array(0));
    tun.write(new Uint8Array(70_000));
    assert.equal(tun.counters.rejected, 4);
  },
);

labTest(
  "an interface that somebody deletes ends the reading with an error",
  async () => {
    await using lab = await Lab.create();
    const host = await lab.host("host");
    await using tun = TunDevice.open({ name: NAME });
    await raise(host, tun);
    const reading = assert.rejects(async () => {
      for await (const _ of packets(tun));
    }, new RegExp(`TUN interface ${tun.name} is gone`));
    await host.ip(`link delete ${tun.name}`);
    await reading;
    tun.write(new Uint8Array(20));
    assert.equal(tun.counters.rejected, 1);
  },
);

labTest("a name that is taken, too long or not allowed is refused with the reason", async () => {
  const refused = (name: string, reason: string, message: RegExp) =>
    assert.throws(() => TunDevice.open({ name }), (error: unknown) => {
      assert.ok(error instanceof TunError);
      assert.equal(error.reason, reason);
      assert.match(error.message, message);
      return true;
    });
  assert.throws(() => TunDevice.open({ name: "" }), RangeError);
  assert.throws(
    () => TunDevice.open({ name: "a-name-of-16-byt" }),
    /1 to 15 bytes, got "a-name-of-16-byt"/,
  );
  assert.throws(() => TunDevice.open({ name: "a\0b" }), /an interface name has no byte 0/);
  refused("a/b", "bad-name", /"a\/b" cannot be made: the kernel does not take such a name/);
  refused("lo", "name-taken", /"lo" cannot be opened: there is another interface "lo"/);
  await using first = TunDevice.open({ name: NAME });
  refused(first.name, "name-taken", /cannot be opened: another program has it open/);
});

labTest(
  "an ordinary user opens its own persistent interface, and no other; without /dev/net/tun nobody does",
  async () => {
    await using lab = await Lab.create();
    const host = await lab.host("host");
    const mod = new URL("../../../ffi/tun/mod.ts", import.meta.url).href;
    const open = (options: unknown) =>
      `const { TunDevice } = await import("${mod}");
     try {
       const tun = TunDevice.open(${JSON.stringify(options)});
       console.log(tun.name, tun.index > 0, tun.hasTso);
       await tun.close();
     } catch (error) {
       console.log(error.reason, error.message);
     }`;
    const script = `${lab.directory}/open.ts`;
    const run = async (prefix: string[], options: unknown) => {
      await Deno.writeTextFile(script, open(options));
      const env = { HOME: lab.directory, DENO_DIR: `${lab.directory}/deno`, NO_COLOR: "1" };
      const deno = [Deno.execPath(), "run", "--no-config", "--no-lock", "--no-check", "-A", script];
      return (await host.output([...prefix, ...deno], { env })).trim();
    };
    const user = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"];
    // Its mode is the distribution's choice: most let everybody open it, and ask when a device is made.
    const device = `${lab.directory}/tun`;
    await output(["mknod", "-m", "666", device, "c", "10", "200"]);
    const mount = `mount --bind ${device} /dev/net/tun && exec "$@"`;
    const asUser = ["unshare", "--mount", "sh", "-c", mount, "sh", ...user];
    const own = { name: "own", persistent: true, owner: 12345 };
    assert.equal(await run([], own), "own true true");
    await Deno.remove(`${lab.directory}/deno`, { recursive: true });
    await Deno.chmod(lab.directory, 0o777);
    assert.equal(await run(asUser, { name: "own" }), "own true true");
    assert.match(await run(asUser, { name: "other" }), /^no-permission .*needs CAP_NET_ADMIN$/);
    await Deno.chmod(device, 0o600);
    assert.equal(await run(asUser, own), "no-permission this user may not open /dev/net/tun");
    assert.equal(await run([], { name: "own", persistent: false }), "own true true");
    const without = [
      "unshare",
      "--mount",
      "sh",
      "-c",
      'mount -t tmpfs none /dev/net && exec "$@"',
      "sh",
    ];
    assert.equal(
      await run(without, {}),
      'no-driver there is no /dev/net/tun: the kernel\'s module "tun" is not loaded, or the container does ' +
        "not show it",
    );
    assert.doesNotMatch(await host.output(["ip", "-oneline", "link"]), / own:/);
  },
);

labTest(
  "a burst of packets is read after one wait, and takes no thread for each",
  (t) =>
    alone(t, async () => {
      await using lab = await Lab.create();
      const host = await lab.host("host");
      await using tun = TunDevice.open({ name: NAME });
      await raise(host, tun);
      const burst = async (count: number) => {
        const send = `for i in {1..${count}}; do echo "$i" > /dev/udp/192.0.2.9/9; done`;
        await host.output(["bash", "-c", send]);
        let [waits, packets] = [0, 0];
        for (; packets < count; waits++) {
          assert.ok(await tun.readable());
          tun.drain((memory, offset) => {
            if (memory[offset] === 0x45 && memory[offset + 9] === 17) packets++;
          }, 1_000);
        }
        assert.equal(packets, count);
        return { waits, threads: [...Deno.readDirSync("/proc/self/task")].length };
      };
      const one = await burst(1);
      // Fewer than the interface's own queue holds.
      const many = await burst(400);
      assert.equal(many.waits, 1);
      // What the runtime starts for itself meanwhile is a few.
      assert.ok(many.threads < one.threads + 10, `${many.threads} threads, ${one.threads} before`);
    }),
  ["bash"],
);

labTest(
  "a hundred devices leave no file descriptor and no interface",
  (t) =>
    alone(t, async () => {
      const descriptors = () => [...Deno.readDirSync("/proc/self/fd")].length;
      const before = descriptors();
      const devices = Array.from({ length: 100 }, () => TunDevice.open({ name: NAME }));
      assert.equal(new Set(devices.map(({ name }) => name)).size, 100);
      await Promise.all(devices.map((tun) => tun.close()));
      for (let i = 0; i < 10; i++) assert.throws(() => TunDevice.open({ name: "a/b" }));
      await eventually("all descriptors closed", () => descriptors() <= before);
      await areGone(devices);
    }),
);
