import assert from "node:assert/strict";
import { LineFile, type LineSink, type LineTrouble } from "../../../proxy/log/line_file.ts";

/** A disk with room for so many bytes. */
class Disk implements LineSink {
  text = "";
  room = Infinity;
  isClosed = false;
  /** Writes wait for it. */
  gate: Promise<void> | undefined = undefined;

  async write(bytes: Uint8Array): Promise<number> {
    await this.gate;
    return this.writeSync(bytes);
  }

  writeSync(bytes: Uint8Array): number {
    if (this.room === 0) throw new Error("No space left on device (os error 28)");
    const count = Math.min(bytes.length, this.room);
    this.room -= count;
    this.text += new TextDecoder().decode(bytes.subarray(0, count));
    return count;
  }

  close(): void {
    this.isClosed = true;
  }
}

class Lab {
  readonly disks: Disk[] = [];
  readonly troubles: LineTrouble[] = [];
  readonly file: LineFile;
  #told = Promise.withResolvers<void>();

  constructor(maxWaiting?: number) {
    this.file = new LineFile({
      open: () => {
        this.disks.push(new Disk());
        return this.disks.at(-1)!;
      },
      ...(maxWaiting !== undefined && { maxWaiting }),
      retryMs: 1,
      onTrouble: (trouble) => {
        this.troubles.push(trouble);
        this.#told.resolve();
      },
    });
  }

  async told(): Promise<void> {
    await this.#told.promise;
    this.#told = Promise.withResolvers();
  }
}

Deno.test("lines arrive in order and whole, and closing writes what waits", async () => {
  const lab = new Lab();
  const lines = Array.from({ length: 20_000 }, (_, i) => `line ${i} ä\n`);
  for (const line of lines) lab.file.write(line);
  await lab.file.close();
  assert.equal(lab.disks[0]!.text, lines.join(""));
  assert.ok(lab.disks[0]!.isClosed);
  assert.equal(lab.file.lost, 0);
  lab.file.write("late\n");
  assert.equal(lab.file.lost, 1);
});

Deno.test("a full disk is spoken of once, and what waits arrives whole when there is room", async () => {
  const lab = new Lab(100);
  const [disk] = lab.disks;
  disk!.room = 12;
  lab.file.write("0123456\n");
  lab.file.write("abcdefg\n");
  await lab.told();
  assert.match(`${lab.troubles[0]!.error}`, /No space left/);
  for (let i = 0; i < 20; i++) lab.file.write("later..\n");
  disk!.room = Infinity;
  await lab.told();
  assert.deepEqual(lab.troubles.slice(1), [{ error: undefined, lost: lab.file.lost }]);
  assert.ok(lab.file.lost >= 8 && lab.file.lost < 20, `${lab.file.lost}`);
  await lab.file.close();
  const lines = disk!.text.split("\n");
  assert.deepEqual(lines.slice(0, 2), ["0123456", "abcdefg"]);
  assert.equal(lines.length - 3, 20 - lab.file.lost);
  assert.ok(lines.slice(2, -1).every((line) => line === "later.."));
});

Deno.test("the file that is opened again begins with a whole line", async () => {
  const lab = new Lab();
  lab.disks[0]!.room = 12;
  lab.file.write("0123456\nabcdefg\n");
  await lab.told();
  lab.file.write("next\n");
  lab.file.reopen();
  await lab.told();
  await lab.file.close();
  assert.deepEqual(lab.disks.map(({ text }) => text), ["0123456\nabcd", "next\n"]);
  assert.ok(lab.disks.every(({ isClosed }) => isClosed));
  assert.equal(lab.file.lost, 1);
});

Deno.test("a file that cannot be opened again stays, and is opened when that is asked for once more", async () => {
  const disks: Disk[] = [];
  const troubles: LineTrouble[] = [];
  let isGone = false;
  const told = Promise.withResolvers<void>();
  const file = new LineFile({
    open() {
      if (isGone) throw new Error("No such file or directory");
      disks.push(new Disk());
      return disks.at(-1)!;
    },
    onTrouble(trouble) {
      troubles.push(trouble);
      told.resolve();
    },
  });
  isGone = true;
  file.reopen();
  file.write("a\n");
  await told.promise;
  isGone = false;
  file.write("b\n");
  file.reopen();
  file.write("c\n");
  await file.close();
  assert.equal(disks.map(({ text }) => text).join(""), "a\nb\nc\n");
  assert.equal(disks.length, 2);
  assert.deepEqual(troubles.map(({ error }) => error?.message), ["No such file or directory"]);
});

Deno.test("a reader that does not read costs a bounded amount of memory", async () => {
  const lab = new Lab(1000);
  const gate = Promise.withResolvers<void>();
  lab.disks[0]!.gate = gate.promise;
  for (let i = 0; i < 1000; i++) lab.file.write("0123456789\n");
  assert.ok(lab.file.waiting <= 2000, `${lab.file.waiting}`);
  assert.ok(lab.file.lost > 800);
  gate.resolve();
  await lab.told();
  await lab.file.close();
  assert.equal(lab.troubles[0]!.error, undefined);
  assert.equal(lab.disks[0]!.text.length / 11 + lab.file.lost, 1000);
});

Deno.test("/dev/full is a full disk of the system's own", async () => {
  const troubles: LineTrouble[] = [];
  const told = Promise.withResolvers<void>();
  const file = new LineFile({
    open: () => Deno.openSync("/dev/full", { append: true }),
    retryMs: 1,
    onTrouble(trouble) {
      troubles.push(trouble);
      told.resolve();
    },
  });
  file.write("x\n");
  await told.promise;
  await file.close();
  assert.equal(troubles.length, 1);
  assert.match(`${troubles[0]!.error}`, /No space left on device/);
});
