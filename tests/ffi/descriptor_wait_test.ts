import assert from "node:assert/strict";
import { openLibc } from "../../ffi/libc.ts";
import { DescriptorWait } from "../../ffi/descriptor_wait.ts";
import { fileURLToPath } from "node:url";

const PROGRAM = fileURLToPath(new URL("few_descriptors_process.ts", import.meta.url));

const CALLS = {
  close: { parameters: ["i32"], result: "i32" },
  pipe2: { parameters: ["buffer", "i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "i32" },
} as const;

/** Stands for a device: readable from a write on, until it is read. */
class Descriptor implements Disposable {
  readonly #libc = openLibc(CALLS);
  readonly #byte = new Uint8Array(128);
  readonly fd: number;
  readonly #other: number;

  constructor() {
    const pair = new Int32Array(32);
    this.#libc.symbols.pipe2(new Uint8Array(pair.buffer), 0o4000);
    [this.fd, this.#other] = [pair[0]!, pair[1]!];
  }

  write(): void {
    this.#libc.symbols.write(this.#other, this.#byte, 1n);
  }

  /** @returns whether there was something. */
  read(): boolean {
    return this.#libc.symbols.read(this.fd, this.#byte, 1n) === 1;
  }

  [Symbol.dispose](): void {
    this.#libc.symbols.close(this.fd);
    this.#libc.symbols.close(this.#other);
    this.#libc.close();
  }
}

const readable = (wait: DescriptorWait) => new Promise<void>((resolve) => wait.wait(resolve));
const turn = () => new Promise((resolve) => setImmediate(resolve));

Deno.test("the runtime's own loop waits, and no wake is lost whenever something comes", async () => {
  using descriptor = new Descriptor();
  const wait = new DescriptorWait(descriptor.fd);
  await wait.tried;
  assert.equal(wait.isOnThread, false);
  let seen = 0;
  let empty = 0;
  const reading = (async () => {
    while (seen < 300) {
      if (descriptor.read()) seen++;
      else {
        empty++;
        await readable(wait);
      }
    }
  })();
  for (let i = 0; i < 300; i++) {
    for (let turns = i % 4; turns > 0; turns--) await turn();
    descriptor.write();
    while (seen <= i) await turn();
  }
  await reading;
  assert.ok(empty < 700, `${empty} reads for nothing`);
  await wait.close();
});

Deno.test("until that has been tried a thread waits, and gives way", async () => {
  using descriptor = new Descriptor();
  const { promise: tried, resolve: tell } = Promise.withResolvers<boolean>();
  const wait = new DescriptorWait(descriptor.fd, tried);
  assert.equal(wait.isOnThread, true);
  for (let i = 0; i < 3; i++) {
    const woken = readable(wait);
    descriptor.write();
    await woken;
    assert.equal(descriptor.read(), true);
  }
  const last = readable(wait);
  tell(true);
  await wait.tried;
  await last; // ended by the change, so that who waits looks again
  assert.equal(wait.isOnThread, false);
  const woken = readable(wait);
  descriptor.write();
  await woken;
  assert.equal(descriptor.read(), true);
  await wait.close();
});

Deno.test("where it does not work a thread goes on waiting, and waits again after an end", async () => {
  using descriptor = new Descriptor();
  const wait = new DescriptorWait(descriptor.fd, false);
  await wait.tried;
  for (let i = 0; i < 3; i++) {
    let isOver = false;
    const woken = readable(wait).then(() => isOver = true);
    for (let turns = 0; turns < 8; turns++) await turn();
    assert.equal(isOver, false, "nothing is there");
    descriptor.write();
    await woken;
    assert.equal(descriptor.read(), true);
  }
  assert.equal(wait.isOnThread, true);
  await wait.close();
});

Deno.test("closing ends a wait, however soon it comes", async () => {
  using descriptor = new Descriptor();
  for (const works of [false, true]) {
    const wait = new DescriptorWait(descriptor.fd, works);
    const waiting = readable(wait);
    await wait.close();
    await waiting;
    await readable(wait);
    await wait.close();
  }
});

for (
  const [how, seen] of Object.entries({
    // Until the wake after that at which there are descriptors.
    thread: { onThread: 3, inPlace: false },
    "in-place": { onThread: 3, inPlace: true },
    retry: { onThread: 0, inPlace: false },
    trial: { onThread: 0, inPlace: false },
  })
) {
  Deno.test(`a thread waits while there is no descriptor for a stream, and no longer: ${how}`, async () => {
    const { success, stdout } = await new Deno.Command("sh", {
      args: [
        ...["-c", 'ulimit -n 100 && exec "$@"', "sh", Deno.execPath(), "run", "--quiet"],
        ...["--no-prompt", "--no-check", "--allow-all", "--unstable-net", PROGRAM, how],
      ],
      stdout: "piped",
      stderr: "inherit",
    }).output();
    assert.ok(success);
    assert.deepEqual(JSON.parse(new TextDecoder().decode(stdout)), seen);
  });
}
