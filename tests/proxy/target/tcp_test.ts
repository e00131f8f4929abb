import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer, type Socket } from "node:net";
import { setImmediate } from "node:timers";
import { TcpSockets, udpUnavailable } from "../../../ffi/mod.ts";
import { parseIpAddress } from "../../../proxy/address.ts";
import type {
  ByteStream,
  Dialer,
  DialError,
  StreamError,
  StreamHandler,
} from "../../../proxy/flow/stream.ts";
import { HostDialer } from "../../../proxy/target/tcp.ts";
import { FfiDialer } from "../../../proxy/target/tcp_ffi.ts";
import { output } from "../../e2e/process.ts";
import { concat } from "../../netstack/packets.ts";
import { ownTcpPort } from "../own_port.ts";
import { pattern } from "../pair.ts";

const LOOPBACK = parseIpAddress("127.0.0.1")!;

/** A dialer that must not be needed. */
const NONE: Dialer = {
  dial() {
    throw new Error("the fallback was asked");
  },
};

interface Kind {
  readonly name: string;
  open(
    onFailed?: (code: string | undefined) => void,
  ): Promise<{ dialer: Dialer; close(): unknown }>;
}

const KINDS: readonly Kind[] = [
  {
    name: "the runtime's",
    open: (onFailed) => Promise.resolve({ dialer: new HostDialer(onFailed), close() {} }),
  },
  {
    name: "over FFI",
    async open(onFailed) {
      const dialer = await readyDialer(NONE, onFailed);
      return { dialer, close: () => dialer.close() };
    },
  },
];

/** One whose sockets the event loop waits for: a process that is starved may find too late that it can. */
async function readyDialer(
  fallback: Dialer,
  onFailed?: (code: string | undefined) => void,
): Promise<FfiDialer> {
  for (let left = 10; left > 0; left--) {
    const dialer = new FfiDialer(fallback, onFailed);
    if (await dialer.ready()) return dialer;
    await dialer.close();
  }
  throw new Error("the event loop cannot wait for the sockets");
}

/** The same for the sockets of both dialers. */
function both(name: string, run: (kind: Kind) => Promise<void>): void {
  for (const kind of KINDS) {
    const ignore = kind !== KINDS[0] && udpUnavailable() !== undefined;
    Deno.test({ name: `${kind.name} sockets: ${name}`, ignore, fn: () => run(kind) });
  }
}

/** A server of Node's: of those here only that can reset. */
async function target(
  serve: (socket: Socket) => void,
): Promise<{ port: number } & AsyncDisposable> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as { port: number }).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** What a stream hands on, and when. */
class Reader implements StreamHandler {
  readonly chunks: Uint8Array[] = [];
  readonly events: string[] = [];
  readonly #ended = Promise.withResolvers<void>();
  readonly #closed = Promise.withResolvers<StreamError | undefined>();
  #drained = Promise.withResolvers<void>();
  #more = Promise.withResolvers<void>();
  readonly goesOn: (reader: Reader) => boolean;

  constructor(goesOn: (reader: Reader) => boolean = () => true) {
    this.goesOn = goesOn;
  }

  get length(): number {
    return this.chunks.reduce((sum, { length }) => sum + length, 0);
  }

  get bytes(): Uint8Array {
    return concat(...this.chunks);
  }

  get text(): string {
    return new TextDecoder().decode(this.bytes);
  }

  get ended_(): Promise<void> {
    return this.#ended.promise;
  }

  get closed_(): Promise<StreamError | undefined> {
    return this.#closed.promise;
  }

  async drained_(): Promise<void> {
    await this.#drained.promise;
    this.#drained = Promise.withResolvers();
  }

  async until(length: number): Promise<void> {
    while (this.length < length) {
      await this.#more.promise;
      this.#more = Promise.withResolvers();
    }
  }

  data(_stream: ByteStream, buffer: Uint8Array, offset: number, length: number): boolean {
    this.chunks.push(buffer.slice(offset, offset + length));
    this.#more.resolve();
    return this.goesOn(this);
  }

  appetite(): number {
    return 65_536;
  }

  ended(): void {
    this.events.push("ended");
    this.#ended.resolve();
  }

  drained(): void {
    this.#drained.resolve();
  }

  closed(_stream: ByteStream, error: StreamError | undefined): void {
    this.events.push(`closed ${error}`);
    this.#closed.resolve(error);
  }
}

function dial(dialer: Dialer, port: number, handler: StreamHandler): Promise<ByteStream> {
  return new Promise((resolve, reject) =>
    dialer.dial(LOOPBACK, port, {
      connected(stream) {
        stream.handler = handler;
        resolve(stream);
      },
      dialFailed: (why) => reject(new Error(why)),
    })
  );
}

function write(stream: ByteStream, text: string): boolean {
  const bytes = new TextEncoder().encode(text);
  return stream.write(bytes, 0, bytes.length, false);
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

both("bytes go both ways, and each direction ends by itself", async ({ open }) => {
  const { dialer, close } = await open();
  await using server = await target((socket) => {
    let heard = "";
    socket.on("data", (data) => heard += data);
    socket.on("end", () => socket.end(`heard ${heard}`));
  });
  const reader = new Reader();
  const stream = await dial(dialer, server.port, reader);
  assert.ok(stream.localPort! > 0);
  stream.preface(new TextEncoder().encode("before "));
  assert.equal(write(stream, "one"), true);
  stream.end();
  assert.equal(await reader.closed_, undefined);
  assert.equal(reader.text, "heard before one");
  assert.deepEqual(reader.events, ["ended", "closed undefined"]);
  await close();
});

both("a target that ends first is written to until this side ends", async ({ open }) => {
  const { dialer, close } = await open();
  const heard = Promise.withResolvers<string>();
  await using server = await target((socket) => {
    let text = "";
    socket.on("data", (data) => text += data).on("end", () => heard.resolve(text));
    socket.end("bye");
  });
  const reader = new Reader();
  const stream = await dial(dialer, server.port, reader);
  await reader.ended_;
  assert.equal(reader.text, "bye");
  write(stream, "late");
  stream.end();
  assert.equal(reader.events.length, 1, "closed is no part of the call that ends it");
  assert.equal(await heard.promise, "late");
  assert.equal(await reader.closed_, undefined);
  await close();
});

both("a reset of the target's comes after what it has sent, and once", async ({ open }) => {
  const { dialer, close } = await open();
  await using server = await target((socket) => {
    socket.once("data", () => socket.resetAndDestroy());
  });
  const reader = new Reader();
  const stream = await dial(dialer, server.port, reader);
  write(stream, "go");
  assert.equal(await reader.closed_, "reset");
  assert.deepEqual(reader.events, ["closed reset"]);
  stream.reset(); // as whoever has both ends of a splice may do
  await close();
});

both(
  "a reset of this side's is one to the target, and nobody is called any more",
  async ({ open }) => {
    const { dialer, close } = await open();
    const error = Promise.withResolvers<string>();
    await using server = await target((socket) => {
      socket.on("error", ({ code }: Error & { code?: string }) => error.resolve(code!));
      socket.write("hello");
    });
    const reader = new Reader();
    const stream = await dial(dialer, server.port, reader);
    await reader.until(5);
    stream.reset();
    assert.equal(await error.promise, "ECONNRESET");
    assert.deepEqual(reader.events, []);
    await close();
  },
);

both("refused and unreachable dials say so, later and once", async ({ open }) => {
  const codes: (string | undefined)[] = [];
  const { dialer, close } = await open((code) => codes.push(code));
  const port = ownTcpPort();
  const failed: DialError[] = [];
  // Nothing is routed to the second.
  for (const address of [LOOPBACK, parseIpAddress("255.255.255.255")!]) {
    const { promise, resolve } = Promise.withResolvers<void>();
    let isInCall = true;
    dialer.dial(address, port, {
      connected: () => assert.fail("connected"),
      dialFailed(why) {
        assert.equal(isInCall, false);
        failed.push(why);
        resolve();
      },
    });
    isInCall = false;
    await promise;
  }
  assert.equal(failed[0], "refused");
  assert.equal(codes[0], "ECONNREFUSED");
  assert.deepEqual([failed.length, codes.length], [2, 2]);
  await close();
});

both("a dial that is given up calls nobody", async ({ open }) => {
  const { dialer, close } = await open();
  const gone = Promise.withResolvers<void>();
  await using server = await target((socket) => socket.on("close", () => gone.resolve()).resume());
  const given = dialer.dial(LOOPBACK, server.port, {
    connected: () => assert.fail("connected"),
    dialFailed: () => assert.fail("failed"),
  });
  given.abort();
  given.abort();
  // What comes after it has had its turn.
  const reader = new Reader();
  const stream = await dial(dialer, server.port, reader);
  stream.reset();
  await gone.promise;
  await close();
});

both("16 MiB each way at once arrive whole, past full buffers and stops", async ({ open }) => {
  const { dialer, close } = await open();
  const sent = pattern(16 << 20);
  const heard = createHash("sha256");
  const heardAll = Promise.withResolvers<string>();
  await using server = await target((socket) => {
    socket.on("data", (data) => heard.update(data));
    socket.on("end", () => heardAll.resolve(heard.digest("hex")));
    socket.end(sent);
  });
  let stream: ByteStream | undefined = undefined;
  let stops = 0;
  const reader = new Reader(({ chunks }) => {
    if (chunks.length % 7 !== 0) return true;
    stops++;
    setTimeout(() => stream!.resume(), 0);
    return false;
  });
  stream = await dial(dialer, server.port, reader);
  let fullBuffers = 0;
  for (let at = 0, i = 0; at < sent.length; i++) {
    const length = Math.min(1 + (i * 7_919) % 65_536, sent.length - at);
    // Lent or not: it stays as it is.
    if (!stream.write(sent, at, length, i % 2 === 0)) {
      fullBuffers++;
      await reader.drained_();
    }
    at += length;
  }
  stream.end();
  assert.equal(await heardAll.promise, digest(sent));
  assert.equal(await reader.closed_, undefined);
  assert.equal(digest(reader.bytes), digest(sent));
  assert.ok(stops > 0 && fullBuffers > 0, `${stops} stops, ${fullBuffers} full buffers`);
  await close();
});

both("what is not lent may be changed once it is written", async ({ open }) => {
  const { dialer, close } = await open();
  const heard = createHash("sha256");
  const heardAll = Promise.withResolvers<string>();
  await using server = await target((socket) => {
    socket.on("data", (data) => heard.update(data));
    socket.on("end", () => heardAll.resolve(heard.digest("hex")));
  });
  const reader = new Reader();
  const stream = await dial(dialer, server.port, reader);
  const expected = createHash("sha256");
  const buffer = new Uint8Array(65_536);
  for (let i = 0; i < 200; i++) {
    buffer.fill(i);
    expected.update(buffer);
    const isDone = stream.write(buffer, 0, buffer.length, false);
    buffer.fill(0xff);
    if (!isDone) await reader.drained_();
  }
  stream.end();
  assert.equal(await heardAll.promise, expected.digest("hex"));
  stream.reset();
  await close();
});

both("everything written arrives before the reset that follows it", async ({ open }) => {
  const { dialer, close } = await open();
  const sent = pattern(4 << 20);
  const chunks: Uint8Array[] = [];
  const over = Promise.withResolvers<void>();
  const begin = Promise.withResolvers<void>();
  await using server = await target((socket) => {
    socket.pause();
    socket.on("data", (data) => chunks.push(data as Uint8Array)).on("close", () => over.resolve());
    socket.on("end", () => socket.end());
    begin.promise.then(() => socket.resume());
  });
  const reader = new Reader();
  const stream = await dial(dialer, server.port, reader);
  assert.equal(stream.write(sent, 0, sent.length, true), false);
  stream.resetOnceDelivered();
  begin.resolve();
  assert.equal(await reader.closed_, undefined);
  await over.promise;
  assert.equal(digest(concat(...chunks)), digest(sent));
  await close();
});

both("a stream that is stopped is read no further, and others go on", async ({ open }) => {
  const { dialer, close } = await open();
  await using server = await target((socket) => {
    socket.on("data", (data) => socket.write(data)).on("end", () => socket.end());
  });
  const stopped = new Reader(() => false);
  const first = await dial(dialer, server.port, stopped);
  write(first, "a");
  await stopped.until(1);
  write(first, "b");
  first.end();
  const second = new Reader();
  const other = await dial(dialer, server.port, second);
  for (let i = 1; i <= 100; i++) {
    write(other, "x");
    await second.until(i);
  }
  assert.equal(stopped.text, "a");
  assert.deepEqual(stopped.events, []);
  first.resume();
  await stopped.until(2);
  first.resume();
  assert.equal(await stopped.closed_, undefined);
  assert.equal(stopped.text, "ab");
  other.reset();
  await close();
});

both("a thousand short connections, forty at once, each with its own answer", async ({ open }) => {
  const { dialer, close } = await open();
  await using server = await target((socket) => {
    socket.once("data", (data) => socket.end(`got ${data}`)).on("end", () => {});
  });
  let begun = 0;
  const one = async () => {
    while (begun < 1_000) {
      const number = begun++;
      const reader = new Reader();
      const stream = await dial(dialer, server.port, reader);
      write(stream, `${number}`);
      await reader.ended_;
      stream.end();
      assert.equal(await reader.closed_, undefined);
      assert.equal(reader.text, `got ${number}`);
    }
  };
  await Promise.all(Array.from({ length: 40 }, one));
  await close();
});

both("what came before anybody was there to take it is handed on", async ({ open }) => {
  const { dialer, close } = await open();
  const spoken = Promise.withResolvers<void>();
  await using server = await target((socket) =>
    void socket.once("data", () => socket.write("early", () => spoken.resolve()))
  );
  // As a connection that is kept ready is, and given to a flow later.
  const stream = await dial(dialer, server.port, new Reader());
  stream.handler = undefined;
  write(stream, "go");
  const reader = new Reader();
  if (dialer instanceof HostDialer) stream.handler = reader; // the runtime's reads whoever is there
  await spoken.promise;
  stream.handler = reader;
  await reader.until(5);
  assert.equal(reader.text, "early");
  stream.reset();
  await close();
});

Deno.test({
  name: "over FFI sockets: a stream tells its round trip, and the last one when it is closed",
  ignore: udpUnavailable() !== undefined,
  async fn() {
    const { dialer, close } = await KINDS[1]!.open();
    await using server = await target((socket) => void socket.on("data", (data) => socket.end(data)) // its end comes behind it
    );
    const isRoundTrip = (ms: number | undefined) =>
      assert.ok(ms !== undefined && ms > 0 && ms < 10_000, `${ms} ms`);
    const [first, second] = [new Reader(), new Reader()];
    const ended = await dial(dialer, server.port, first);
    const reset = await dial(dialer, server.port, second);
    for (const stream of [ended, reset]) {
      isRoundTrip(stream.rttMs);
      write(stream, "12345");
    }
    await second.until(5);
    reset.reset();
    await first.ended_;
    ended.end();
    await first.closed_;
    for (const stream of [ended, reset]) isRoundTrip(stream.rttMs);
    await close();
  },
});

Deno.test({
  name: "over FFI sockets: a target that ended first takes more than its buffers hold",
  ignore: udpUnavailable() !== undefined, // of the runtime's, Deno 2.9.6 loses the write that waits
  async fn() {
    const { dialer, close } = await KINDS[1]!.open();
    const sent = pattern(16 << 20);
    const heard = createHash("sha256");
    const heardAll = Promise.withResolvers<string>();
    const begin = Promise.withResolvers<void>();
    await using server = await target((socket) => {
      socket.pause();
      socket.on("data", (data) => heard.update(data));
      socket.on("end", () => heardAll.resolve(heard.digest("hex")));
      socket.end();
      begin.promise.then(() => socket.resume());
    });
    const reader = new Reader();
    const stream = await dial(dialer, server.port, reader);
    await reader.ended_;
    assert.equal(stream.write(sent, 0, sent.length, true), false);
    stream.end();
    begin.resolve();
    assert.equal(await heardAll.promise, digest(sent));
    assert.equal(await reader.closed_, undefined);
    await close();
  },
});

for (const endsFirst of [true, false]) {
  const name = `an answer arrives, though writing fails: ${
    endsFirst ? "an end, " : ""
  }then a reset`;
  Deno.test({
    name: `over FFI sockets: ${name}`,
    ignore: udpUnavailable() !== undefined, // the runtime's lose it, or the end of it, by chance
    async fn() {
      const { dialer, close } = await KINDS[1]!.open();
      const answer = pattern(100_000);
      const gone = Promise.withResolvers<void>();
      await using server = await target((socket) => {
        socket.on("close", () => gone.resolve());
        socket.once("data", () => {
          socket.write(answer, () => {
            if (endsFirst) socket.end(() => socket.resetAndDestroy());
            else socket.resetAndDestroy();
          });
        });
      });
      // Nobody reads, as if the event loop were busy meanwhile.
      const stream = await dial(dialer, server.port, new Reader());
      stream.handler = undefined;
      write(stream, "a request, of which there is more");
      await gone.promise;
      const reader = new Reader();
      stream.handler = reader;
      while (write(stream, "the rest")) await nextTurn();
      assert.equal(await reader.closed_, "reset");
      assert.equal(digest(reader.bytes), digest(answer));
      assert.deepEqual(reader.events, [...(endsFirst ? ["ended"] : []), "closed reset"]);
      await close();
    },
  });
}

Deno.test({
  name: "over FFI sockets: what came with a reset is on its way before the reset is told of",
  ignore: udpUnavailable() !== undefined,
  async fn() {
    const { dialer, close } = await KINDS[1]!.open();
    const program = `
      import { createServer } from "node:net";
      addEventListener("message", ({ data: flag }) => {
        const server = createServer((socket) => {
          socket.on("error", () => {}).once("data", () =>
            socket.write(new Uint8Array(100_000), () => socket.resetAndDestroy())
          );
          socket.on("close", () => {
            Atomics.store(flag, 0, 1);
            Atomics.notify(flag, 0);
          });
        });
        server.listen(0, "127.0.0.1", () => postMessage(server.address().port));
      });`;
    const worker = new Worker(`data:text/javascript,${encodeURIComponent(program)}`, {
      type: "module",
    });
    const port = new Promise<number>((resolve) => {
      worker.addEventListener("message", ({ data }) => resolve(data), { once: true });
    });
    const flag = new Int32Array(new SharedArrayBuffer(4));
    worker.postMessage(flag);
    const reader = new Reader(({ length, events }) => {
      // As the engine sends what it was given.
      if (length === 100_000) setImmediate(() => events.push("sent"));
      return true;
    });
    const stream = await dial(dialer, await port, reader);
    write(stream, "go");
    // So this side finds all of it at once.
    assert.notEqual(Atomics.wait(flag, 0, 0, 60_000), "timed-out");
    assert.equal(await reader.closed_, "reset");
    assert.deepEqual(reader.events, ["sent", "closed reset"]);
    worker.terminate();
    await close();
  },
});

Deno.test({
  name:
    "over FFI sockets: an answer that has ended waits for who takes no more, and then the reset",
  ignore: udpUnavailable() !== undefined,
  async fn() {
    const { dialer, close } = await KINDS[1]!.open();
    const answer = pattern(100_000);
    const gone = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    await using server = await target((socket) => {
      socket.on("close", () => gone.resolve());
      socket.write("a");
      begun.promise.then(() =>
        socket.write(answer, () => socket.end(() => socket.resetAndDestroy()))
      );
    });
    let isStopping = true;
    const reader = new Reader(() => !isStopping);
    const stream = await dial(dialer, server.port, reader);
    await reader.until(1);
    begun.resolve();
    await gone.promise;
    while (write(stream, "more")) await nextTurn();
    assert.equal(write(stream, "and more"), false);
    // What comes after it has had its turn.
    for (let turn = 0; turn < 10; turn++) await nextTurn();
    assert.deepEqual([reader.text, reader.events], ["a", []]);
    isStopping = false;
    stream.resume();
    assert.equal(await reader.closed_, "reset");
    assert.equal(digest(reader.bytes.subarray(1)), digest(answer));
    assert.deepEqual(reader.events, ["ended", "closed reset"]);
    await close();
  },
});

Deno.test({
  name: "over FFI sockets: an address that --deny-net names is not reached past the runtime",
  ignore: udpUnavailable() !== undefined,
  async fn() {
    const program = `
      import { FfiDialer } from ${
      JSON.stringify(import.meta.resolve("../../../proxy/target/tcp_ffi.ts"))
    };
      const dialer = new FfiDialer({});
      console.log(await dialer.ready());
      await dialer.close();`;
    const flags = ["--no-check", "--quiet", "--no-prompt", "--allow-net", "--deny-net=127.0.0.2"];
    const command = [Deno.execPath(), "run", ...flags, "--allow-ffi", "-"];
    assert.equal(await output(command, { input: program }), "false\n");
  },
});

Deno.test({
  name: "over FFI sockets: who may not reach every address is held to that by the runtime",
  ignore: udpUnavailable() !== undefined,
  permissions: { net: ["127.0.0.1"], ffi: true, sys: true, env: true, read: true },
  async fn() {
    await using server = await target((socket) => socket.end());
    const dialer = new FfiDialer(new HostDialer());
    assert.equal(await dialer.ready(), false);
    const reader = new Reader();
    const stream = await dial(dialer, server.port, reader);
    await reader.ended_;
    stream.end();
    await reader.closed_;
    const why = await new Promise((resolve, reject) =>
      dialer.dial(parseIpAddress("127.0.0.2")!, server.port, {
        connected: () => reject(new Error("connected")),
        dialFailed: resolve,
      })
    );
    assert.equal(why, "failed", "the system itself would have refused");
    await dialer.close();
  },
});

Deno.test({
  name: "over FFI sockets: where the event loop cannot wait for them who dials gets the runtime's",
  ignore: udpUnavailable() !== undefined,
  async fn() {
    await using server = await target((socket) => socket.end("hello"));
    let asked = 0;
    const host = new HostDialer();
    const dialer = new FfiDialer(
      {
        dial(...to) {
          asked++;
          return host.dial(...to);
        },
      },
      undefined,
      () => new TcpSockets(false),
    );
    assert.equal(await dialer.ready(), false);
    const reader = new Reader();
    const stream = await dial(dialer, server.port, reader);
    await reader.ended_;
    stream.end();
    await reader.closed_;
    assert.deepEqual([reader.text, asked, dialer.hasFallenBack], ["hello", 1, true]);
    await dialer.close();
  },
});
