/**
 * The Linux kernel's TCP as the referee of ours: whatever the two say to each other, both sides get
 * the right bytes, and tshark finds nothing to object to in what ours sends.
 */

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import type { TunnelConn } from "../../proxy/tunnel/conn.ts";
import { duplex, send, sha256 } from "./answers.ts";
import { ACK, type CapturedSegment, ECE, judgement, SYN } from "./capture.ts";
import { KernelSite, OURS } from "./kernel_site.ts";
import { eventually, Lab, labTest } from "./lab.ts";
import { PORTS } from "./ports.ts";
import { ask } from "./site.ts";
import { Cable, KernelPort, StackPort } from "./tun_lab.ts";
import { tries } from "../tries.ts";

const PROGRAMS = ["tcpdump", "tshark"];
const SOURCES = Object.values(OURS);
/**
 * Longer than any retransmission timer on these links: a closed window is probed meanwhile. A machine that
 * has others to serve may take longer to close it.
 */
const PAUSES_MS = [1_500, 8_000, 20_000];

interface Expectations {
  /** RSTs that our side sends. */
  readonly resets?: number;
}

/** Everything is over, and the capture is in order. */
async function judge(site: KernelSite, { resets = 0 }: Expectations = {}): Promise<void> {
  await eventually("the end of every connection", () => site.connections === 0);
  await site.capture.stop();
  assert.deepEqual(await site.capture.broken(SOURCES), []);
  const judged = judgement(await site.capture.segments(), SOURCES);
  assert.deepEqual(judged, { offences: [], resets });
  const { malformed, badChecksum } = site.port.stack.counters.tcp;
  assert.deepEqual({ malformed, badChecksum }, { malformed: 0, badChecksum: 0 });
}

/** Whole files both ways at once, on connections that either side has opened. */
async function exchange(site: KernelSite): Promise<void> {
  for (const family of site.families) {
    const { path, bytes, sha256: hash } = site.file;
    assert.deepEqual(await site.ask("duplex", family, PORTS.duplex, path), {
      downloaded: hash,
      uploaded: hash,
    });
    using conn = await site.connect(family, PORTS.duplex);
    const upload = send(conn, bytes).then(() => conn.closeWrite());
    const received = await receive(conn);
    await upload;
    assert.equal(digestOf(received.subarray(0, bytes.length)), hash);
    assert.equal(received.subarray(bytes.length).toHex(), hash);
  }
}

labTest("the forwarder carries a kernel's TCP over a lossy link, and leaves nothing", async () => {
  await using lab = await Lab.create();
  const client = await lab.host("client");
  await using kernel = await KernelPort.open(client, ["10.77.0.1/24"]);
  const tcp = { timeWaitMs: 100 };
  using gateway = new StackPort({ addresses: ["10.77.0.254/24"], isGateway: true, tcp });
  using _cable = new Cable(kernel, gateway, {
    ...{ rate: 100e6, delay: 10, queue: 250e3, loss: 0.01, seed: 1 },
  });
  const forwarder = gateway.forwardTcp(OURS[4], "127.0.0.1");
  const file = randomBytes(3_000_000);
  const path = `${lab.directory}/file`;
  await Deno.writeFile(path, file);
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const served = listener.accept().then((conn) => duplex(conn, file));
  assert.deepEqual(await ask(client, "duplex", OURS[4], listener.addr.port, path), {
    downloaded: digestOf(file),
    uploaded: digestOf(file),
  });
  await served;
  const { connected, bytesUp, bytesDown } = await eventually(
    "the end of the relay",
    () => forwarder.size === 0 && forwarder.counters,
  );
  assert.deepEqual([connected, bytesUp, bytesDown], [1, file.length, file.length + 32]);
  await eventually(
    "the end of every connection and timer",
    () => Object.values(gateway.stack.resources()).every((count) => count === 0),
  );
});

for (const mtu of [576, 1280, 1500, 9000]) {
  labTest(`files go both ways over a lossy link of MTU ${mtu}`, async () => {
    await using site = await KernelSite.start({ mtu, link: { loss: 0.01 } });
    await exchange(site);
    await judge(site);
    const lengths = (await site.capture.segments()).map(({ length }) => length);
    assert.equal(Math.max(...lengths), mtu - 20 - 32, "full segments, with timestamps");
  }, PROGRAMS);
}

for (
  const [what, sysctl, settings] of [
    ["timestamps", "net.ipv4.tcp_timestamps", { timestamps: false }],
    ["SACK", "net.ipv4.tcp_sack", { sack: false }],
    ["window scaling", "net.ipv4.tcp_window_scaling", { windowScale: false }],
  ] as const
) {
  labTest(`files go both ways when the kernel does without ${what}`, async () => {
    await using site = await KernelSite.start({ link: { loss: 0.01 }, sysctl: [`${sysctl}=0`] });
    await exchange(site);
    await judge(site);
  }, PROGRAMS);

  labTest(`files go both ways when our side does without ${what}`, async () => {
    await using site = await KernelSite.start({ link: { loss: 0.01 }, tcp: settings });
    await exchange(site);
    await judge(site);
  }, PROGRAMS);
}

labTest("files go both ways when the kernel does without any option", async () => {
  await using site = await KernelSite.start({
    link: { loss: 0.01 },
    sysctl: ["timestamps", "sack", "window_scaling"].map((name) => `net.ipv4.tcp_${name}=0`),
  });
  await exchange(site);
  await judge(site);
}, PROGRAMS);

labTest("who closes its side first still gets the answer", async () => {
  await using site = await KernelSite.start();
  for (const family of site.families) {
    const { path, bytes, sha256: hash } = site.file;
    assert.deepEqual(await site.ask("digest", family, PORTS.digest, path), { answer: hash });
    using conn = await site.connect(family, PORTS.digest);
    await send(conn, bytes);
    await conn.closeWrite();
    assert.equal(new TextDecoder().decode(await receive(conn)), hash);
  }
  await judge(site);
}, PROGRAMS);

labTest("a reset arrives as a reset, a closed port refuses, in both directions", async () => {
  await using site = await KernelSite.start();
  const ends: Promise<unknown>[] = [];
  site.serve(PORTS.observe, async (conn) => {
    await send(conn, new TextEncoder().encode("hello"));
    await conn.read(new Uint8Array(7));
    await send(conn, new TextEncoder().encode("seen"));
    ends.push(receive(conn).catch((error) => error));
  });
  site.serve(PORTS.reset, async (conn) => {
    await conn.read(new Uint8Array(1));
    conn.reset();
  });
  let resets = 0;
  for (const family of site.families) {
    await site.ask("reset", family, PORTS.observe);
    const end = await eventually("the reset", () => ends.pop());
    assert.ok(end instanceof Deno.errors.ConnectionReset, String(end));

    assert.deepEqual(await site.ask("read-reset", family, PORTS.reset), { end: "ECONNRESET" });
    assert.equal((await site.ask("connect", family, PORTS.closed)).error, "ECONNREFUSED");
    resets += 2;

    await assert.rejects(site.connect(family, PORTS.closed), Deno.errors.ConnectionRefused);
    using conn = await site.connect(family, PORTS.reset);
    await send(conn, new Uint8Array(1));
    await assert.rejects(conn.read(new Uint8Array(1)), Deno.errors.ConnectionReset);
    const observed = await site.connect(family, PORTS.observe);
    await observed.read(new Uint8Array(5));
    observed.reset();
    resets += 1;
  }
  await judge(site, { resets });
}, PROGRAMS);

labTest("who reads late gets everything: the window closes, is probed, and opens", async () => {
  const pauses = PAUSES_MS.values();
  await tries(PAUSES_MS.length, () => readsLate(pauses.next().value!));
}, PROGRAMS);

async function readsLate(pauseMs: number): Promise<void> {
  // More than all buffers on the way hold while nobody reads.
  const tcp = { receiveBuffer: 1 << 18 };
  await using site = await KernelSite.start({ fileBytes: 4_000_000, tcp });
  const { path, bytes, sha256: hash } = site.file;
  const late = 7001;
  site.serve(late, async (conn) => {
    using _ = conn;
    await send(conn, bytes);
  });
  site.serve(late + 1, async (conn) => {
    using _ = conn;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    await send(conn, new TextEncoder().encode((await sha256(conn)).toHex()));
  });
  assert.deepEqual(await site.ask("read-late", 4, late, pauseMs), { sha256: hash });
  assert.deepEqual(await site.ask("digest", 4, late + 1, path), { answer: hash });
  await judge(site);
  const closed = (source: string) =>
    `(${source}) && tcp.window_size == 0 && tcp.flags.syn == 0 && tcp.flags.reset == 0`;
  const ours = `ip.src == ${OURS[4]}`;
  assert.ok((await site.capture.matching(closed(ours))).length > 0, "ours has closed its window");
  assert.ok((await site.capture.matching(closed(`!(${ours})`))).length > 0, "so has the kernel");
  const probes = await site.capture.matching(`${ours} && tcp.analysis.zero_window_probe`);
  assert.ok(probes.length >= 2, `ours has probed: ${probes.length}`);
}

labTest("two hundred connections at once, opened by the kernel, then by us", async () => {
  await using site = await KernelSite.start({ link: { loss: 0.01 } });
  const count = 200;
  const size = 16_384;
  const many = await site.ask("many", 4, PORTS.echo, count, size);
  assert.equal(many.completed, count, JSON.stringify(many));
  const data = site.file.bytes.subarray(0, size);
  const echoes = await Promise.all(Array.from({ length: count }, async () => {
    using conn = await site.connect(6, PORTS.echo);
    const upload = send(conn, data).then(() => conn.closeWrite());
    const received = await receive(conn);
    await upload;
    return digestOf(received);
  }));
  assert.deepEqual(new Set(echoes), new Set([digestOf(data)]));
  await judge(site);
}, PROGRAMS);

labTest("a SYN that asks for ECN is answered without it", async () => {
  await using site = await KernelSite.start({ sysctl: ["net.ipv4.tcp_ecn=1"] });
  await exchange(site);
  await judge(site);
  const segments = await site.capture.segments();
  const asked = segments.filter(({ flags, source }) =>
    !SOURCES.includes(source) && (flags & (SYN | ACK | ECE)) === (SYN | ECE)
  );
  assert.equal(streamsOf(asked).size, site.families.length);
  assert.deepEqual(
    segments.filter(({ flags, source }) => SOURCES.includes(source) && (flags & ECE) !== 0),
    [],
  );
}, PROGRAMS);

labTest("data in a SYN is not taken, and arrives when it is sent again", async () => {
  // 1: as a client; 4: without a cookie.
  await using site = await KernelSite.start({ sysctl: ["net.ipv4.tcp_fastopen=5"] });
  site.serve(PORTS.http, async (conn) => {
    using _ = conn;
    const request = new Uint8Array(4096);
    let length = 0;
    const text = () => new TextDecoder().decode(request.subarray(0, length));
    while (!text().endsWith("\r\n\r\n")) length += (await conn.read(request.subarray(length)))!;
    const body = text().split("\r\n")[0]!;
    const head = `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`;
    await send(conn, new TextEncoder().encode(head + body));
  });
  for (const family of site.families) {
    const url = `http://${family === 4 ? OURS[4] : `[${OURS[6]}]`}/hello`;
    const answer = await site.host.output(["curl", "-sSf", "--tcp-fastopen", url]);
    assert.equal(answer, "GET /hello HTTP/1.1");
  }
  await judge(site);
  const segments = await site.capture.segments();
  const early = segments.filter(({ flags, length }) => (flags & SYN) !== 0 && length > 0);
  assert.equal(streamsOf(early).size, site.families.length, "SYNs with data");
  const answers = segments.filter(({ flags }) => (flags & (SYN | ACK)) === (SYN | ACK));
  assert.equal(streamsOf(answers).size, site.families.length);
  assert.ok(answers.every(({ acknowledgment }) => acknowledgment === 1));
}, [...PROGRAMS, "curl"]);

/** What is sent again on a connection is counted once. */
function streamsOf(segments: readonly CapturedSegment[]): Set<number> {
  return new Set(segments.map(({ stream }) => stream));
}

async function receive(conn: TunnelConn): Promise<Uint8Array> {
  return new Uint8Array(await new Response(conn.readable).arrayBuffer());
}

function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
