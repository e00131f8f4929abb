/**
 * Child processes of a test: their output as lines that can be awaited, and an end that leaves
 * nothing behind.
 *
 * @module
 */

import { TextLineStream } from "./text_lines.ts";

export interface ProcessOptions {
  readonly cwd?: string;
  /** The whole environment when given; else the test's own. */
  readonly env?: Record<string, string>;
  /** All of its standard input. A {@link Process} without it keeps an open one. */
  readonly input?: string;
}

export interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A process that runs beside the test. Standard output and standard error become {@link lines}. */
export class Process implements AsyncDisposable {
  readonly lines: string[] = [];
  readonly status: Promise<Deno.CommandStatus>;
  readonly #name: string;
  readonly #child: Deno.ChildProcess;
  readonly #outputs: Promise<void>[];
  readonly #waiters = new Set<() => void>();
  #ended = false;

  constructor(name: string, command: readonly string[], options: ProcessOptions = {}) {
    this.#name = name;
    this.#child = toCommand(command, options).spawn();
    if (options.input !== undefined) this.endInput(options.input);
    this.#outputs = [this.#child.stdout, this.#child.stderr].map((stream) => this.#read(stream));
    this.status = this.#child.status;
    this.status.then(() => {
      this.#ended = true;
      this.#notify();
    });
  }

  /** Of the process started. What does the work may be a descendant: {@link worker}. */
  get pid(): number {
    return this.#child.pid;
  }

  /** The process id at the end of the chain `deno task` → `deno run`, `sh` → `deno`. */
  get worker(): number {
    return descendants(this.pid).at(-1)!;
  }

  /** Of the process started and of its descendants, parents first; none when it has ended. */
  get descendants(): number[] {
    return this.#ended ? [] : descendants(this.pid);
  }

  /**
   * The first line that matches, from line number `from` on, past or to come.
   *
   * @throws when the process ends or `timeoutMs` pass without it; the message has the last lines.
   */
  async line(pattern: RegExp, { from = 0, timeoutMs = 300_000 } = {}): Promise<RegExpMatchArray> {
    let scanned = from;
    let found: RegExpMatchArray | null = null;
    const seen = () => {
      while (found === null && scanned < this.lines.length) {
        found = this.lines[scanned++]!.match(pattern);
      }
      return found !== null;
    };
    if (await this.#until(() => seen() || this.#ended, timeoutMs)) {
      if (this.#ended) await Promise.all(this.#outputs);
      if (seen()) return found!;
    }
    throw new Error(
      `${this.#name}: no line matches ${pattern} (${this.#ended ? "ended" : "running"})\n${this}`,
    );
  }

  signal(signal: Deno.Signal): void {
    if (!this.#ended) this.#child.kill(signal);
  }

  /** Writes `text` to its standard input, which stays open. */
  async send(text: string): Promise<void> {
    const writer = this.#child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(text));
    writer.releaseLock();
  }

  /** Writes `text` and closes its standard input. */
  endInput(text = ""): void {
    write(this.#child.stdin, text);
  }

  /** The exit status, awaited for `timeoutMs`. @throws when it still runs then */
  async exit(timeoutMs = 180_000): Promise<Deno.CommandStatus> {
    if (!await this.#until(() => this.#ended, timeoutMs)) {
      throw new Error(`${this.#name} still runs after ${timeoutMs} ms\n${this}`);
    }
    await Promise.all(this.#outputs);
    return await this.status;
  }

  /** Kills it and its descendants; resolves when the output has been read to its end. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#child.stdin.locked) this.endInput();
    if (!this.#ended) {
      for (const pid of descendants(this.pid)) kill(pid);
    }
    await this.status;
    await Promise.all(this.#outputs);
  }

  /** The last lines, for a message. */
  toString(): string {
    return this.lines.slice(-40).map((line) => `  ${this.#name}| ${line}`).join("\n");
  }

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    for await (const line of stream.pipeThrough(new TextLineStream())) {
      this.lines.push(line);
      this.#notify();
    }
  }

  #notify(): void {
    for (const waiter of this.#waiters) waiter();
  }

  #until(condition: () => boolean, timeoutMs: number): Promise<boolean> {
    if (condition()) return Promise.resolve(true);
    return new Promise((resolve) => {
      const settle = (value: boolean) => {
        clearTimeout(timer);
        this.#waiters.delete(check);
        resolve(value);
      };
      const check = () => {
        if (condition()) settle(true);
      };
      const timer = setTimeout(() => settle(false), timeoutMs);
      this.#waiters.add(check);
    });
  }
}

/** Runs a command to its end. After `timeoutMs` it and its descendants are killed. */
export async function run(
  command: readonly string[],
  options: ProcessOptions & { readonly timeoutMs?: number } = {},
): Promise<Output> {
  const child = toCommand(command, options).spawn();
  const timer = setTimeout(() => {
    for (const pid of descendants(child.pid)) kill(pid);
  }, options.timeoutMs ?? 600_000);
  write(child.stdin, options.input ?? "");
  const [stdout, stderr, status] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.status,
  ]);
  clearTimeout(timer);
  return { code: status.code, stdout, stderr };
}

/** Standard output of a command that must succeed. */
export async function output(
  command: readonly string[],
  options: ProcessOptions & { readonly timeoutMs?: number } = {},
): Promise<string> {
  const { code, stdout, stderr } = await run(command, options);
  if (code !== 0) throw new Error(`${command.join(" ")}: status ${code}\n${stdout}${stderr}`);
  return stdout;
}

function toCommand([program, ...args]: readonly string[], options: ProcessOptions): Deno.Command {
  return new Deno.Command(program!, {
    args,
    cwd: options.cwd,
    env: options.env,
    clearEnv: options.env !== undefined,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  });
}

/** A program that ends without reading all of its input is no error of the test. */
function write(stdin: WritableStream<Uint8Array>, text: string): void {
  const writer = stdin.getWriter();
  writer.write(new TextEncoder().encode(text)).then(() => writer.close()).catch(() => {});
}

/** A process and what it started, parents first. */
function descendants(pid: number): number[] {
  const children: number[] = [];
  try {
    // A child is listed under the thread that started it.
    for (const { name: thread } of Deno.readDirSync(`/proc/${pid}/task`)) {
      const list = Deno.readTextFileSync(`/proc/${pid}/task/${thread}/children`);
      children.push(...list.split(" ").filter((child) => child !== "").map(Number));
    }
  } catch { /* it has ended meanwhile */ }
  return [pid, ...children.flatMap(descendants)];
}

function kill(pid: number): void {
  try {
    Deno.kill(pid, "SIGKILL");
  } catch { /* it has ended meanwhile */ }
}
