/**
 * Hosts as Linux network namespaces, joined by veth pairs. Everything a lab makes is gone when it
 * is disposed, and carries this process's id in its name, so that `sweep.sh` can remove it should
 * the process be killed.
 *
 * @module
 */

import { alone, isAlone } from "../alone.ts";
import { isCi } from "../ci.ts";
import { notInstalled } from "../with_program.ts";
import { type Output, output, Process, type ProcessOptions, run } from "./process.ts";
import { Turn } from "./turns.ts";

/** Debian's programs that the lab itself cannot do without. */
const REQUIRED = ["ip", "nft", "setpriv", "sysctl", "wg", "wireguard-go"];

/** As {@link labTest}, in a process of its own: for what counts on what its process has open. */
export function aloneLabTest(
  name: string,
  fn: (t: Deno.TestContext) => Promise<void>,
  programs: string[] = [],
): void {
  labTest(name, (t) => alone(t, () => fn(t)), programs);
}

/**
 * As {@link labTest}, without another lab beside it: for what measures rates or fractions of a second,
 * or sends as fast as it can. Its processes go before those of other tests.
 */
export function measuredLabTest(
  name: string,
  fn: (t: Deno.TestContext) => Promise<void>,
  programs: string[] = [],
): void {
  register(name, fn, programs, () => Turn.wait(true), true);
}

/** As {@link labTest}, for what has limits of seconds: its processes go before those of other tests. */
export function promptLabTest(
  name: string,
  fn: (t: Deno.TestContext) => Promise<void>,
  programs: string[] = [],
): void {
  register(name, fn, programs, () => Turn.wait(false), true);
}

/** As {@link labTest}, for what makes nothing that has a name outside, and little: it waits for nobody. */
export function rootTest(name: string, fn: () => Promise<void>, programs: string[] = []): void {
  register(name, fn, programs, undefined);
}

/**
 * Registers a test that needs the lab, root and `programs`. Where something is missing its name says
 * so and it is skipped; in CI (`CI=true`) it runs, and fails.
 */
export function labTest(
  name: string,
  fn: (t: Deno.TestContext) => Promise<void>,
  programs: string[] = [],
): void {
  register(name, fn, programs, () => Turn.wait(false));
}

function register(
  name: string,
  fn: (t: Deno.TestContext) => Promise<void>,
  programs: string[],
  wait: (() => Promise<Turn>) | undefined,
  isPrompt = false,
): void {
  const reason = missing([...REQUIRED, ...programs]);
  const ignore = reason !== undefined && !isCi();
  Deno.test({
    name: ignore ? `${name} [skipped: ${reason}]` : name,
    ignore,
    async fn(t) {
      using turn = isAlone() ? undefined : await wait?.(); // alone: it is its parent's turn
      place = turn?.place ?? 0;
      before = isPrompt ? FIRST : [];
      started.length = 0;
      try {
        await fn(t);
      } catch (error) {
        // What the processes said last is what explains a failure.
        console.error(started.map(String).join("\n"));
        throw error;
      }
    },
  });
}

/** A step of a test for each of some subjects, side by side. */
export async function stepsAtOnce<T extends { readonly name: string }>(
  t: Deno.TestContext,
  subjects: readonly T[],
  what: (subject: T) => string,
  fn: (subject: T, t: Deno.TestContext) => Promise<void>,
): Promise<void> {
  const passed = await Promise.all(subjects.map((subject) =>
    t.step({
      name: `${subject.name}: ${what(subject)}`,
      fn: (t) => fn(subject, t),
      // Steps side by side cannot tell whose a resource is: the test as a whole does.
      sanitizeExit: false,
      sanitizeOps: false,
      sanitizeResources: false,
    })
  ));
  const failed = subjects.filter((_, index) => !passed[index]);
  if (failed.length > 0) throw new Error(`failed: ${failed.map(({ name }) => name).join("; ")}`);
}

/** Every process of the running test. */
const started: Process[] = [];

/** The process ids of the running test's processes, and of theirs. */
export function processIds(): number[] {
  return started.flatMap((process) => process.descendants);
}

/** What a command of a test that is prompt begins with. Who may not do that runs it all the same. */
const FIRST = ["nice", "-n", "-10"];
let before: readonly string[] = [];

/** Why a lab with these programs cannot be made here; undefined: it can. */
export function missing(programs: string[]): string | undefined {
  if (Deno.build.os !== "linux") return "network namespaces are Linux's";
  if (Deno.uid() !== 0) return "needs root";
  const absent = notInstalled(programs);
  return absent.length > 0 ? `not installed: ${absent.join(", ")}` : undefined;
}

let place = 0;
let serial = 0;

/** What no other test has at this time: other files are run by the same process. A few characters. */
export function unique(): string {
  return `${place}${(serial++).toString(36)}`;
}

export class Lab implements AsyncDisposable {
  /** Removed with the lab; readable by every user. */
  readonly directory: string;
  readonly #hosts: Host[] = [];

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async create(): Promise<Lab> {
    await output([new URL("./sweep.sh", import.meta.url).pathname]);
    const directory = await Deno.makeTempDir({ prefix: `wirestack-${Deno.pid}-` });
    await Deno.chmod(directory, 0o755);
    return new Lab(directory);
  }

  /** A new host with nothing but loopback. */
  async host(label: string): Promise<Host> {
    const namespace = `wirestack-${Deno.pid}-${Date.now().toString(36)}-${unique()}`;
    await output(["ip", "netns", "add", namespace]);
    const host = new Host(label, namespace);
    this.#hosts.push(host);
    // Duplicate address detection would leave every IPv6 address unusable for a second or two.
    await host.sysctl("net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0");
    await host.ip("link set lo up");
    return host;
  }

  /**
   * A cable between two hosts.
   *
   * @param device the interface's name on either host
   * @param addresses with prefix lengths
   * @param mtu of both ends
   */
  async connect(
    a: { host: Host; device: string; addresses: string[] },
    b: { host: Host; device: string; addresses: string[] },
    mtu = 1500,
  ): Promise<void> {
    await output([
      ...["ip", "link", "add", a.device, "netns", a.host.namespace, "type", "veth"],
      ...["peer", "name", b.device, "netns", b.host.namespace],
    ]);
    for (const { host, device, addresses } of [a, b]) {
      await host.addAddresses(device, addresses);
      await host.ip(`link set ${device} mtu ${mtu} up`);
    }
    // Before that an interface does not answer neighbour solicitations.
    for (const { host, device } of [a, b]) {
      await eventually(`${host.label}: ${device} is up`, async () => {
        return (await host.output(["ip", "-oneline", "link", "show", device])).includes("state UP");
      }, { intervalMs: 20 });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#hosts.map((host) => host[Symbol.asyncDispose]()));
    await Deno.remove(this.directory, { recursive: true });
  }
}

export class Host implements AsyncDisposable {
  readonly label: string;
  readonly namespace: string;
  readonly #processes: Process[] = [];
  readonly #files: string[] = [];

  constructor(label: string, namespace: string) {
    this.label = label;
    this.namespace = namespace;
  }

  /** `ip` subcommands, in one process. */
  async ip(...commands: string[]): Promise<void> {
    if (commands.length === 0) return;
    await output(["ip", "-netns", this.namespace, "-batch", "-"], { input: commands.join("\n") });
  }

  async addAddresses(device: string, addresses: string[]): Promise<void> {
    await this.ip(...addresses.map((address) => `address add ${address} dev ${device}`));
  }

  async sysctl(...settings: string[]): Promise<void> {
    await this.output(["sysctl", "-qw", ...settings]);
  }

  /** A file that replaces /etc/`name` for processes started on this host from now on. */
  async etc(name: string, text: string): Promise<void> {
    await Deno.mkdir(`/etc/netns/${this.namespace}`, { recursive: true });
    await Deno.writeTextFile(`/etc/netns/${this.namespace}/${name}`, text);
  }

  /** Runs a command on this host to its end. */
  run(
    command: readonly string[],
    options?: ProcessOptions & { readonly timeoutMs?: number },
  ): Promise<Output> {
    return run(this.#here(command), options);
  }

  /** Standard output of a command that must succeed. */
  output(
    command: readonly string[],
    options?: ProcessOptions & { readonly timeoutMs?: number },
  ): Promise<string> {
    return output(this.#here(command), options);
  }

  /** Starts a process on this host; it ends with the lab at the latest. */
  spawn(name: string, command: readonly string[], options?: ProcessOptions): Process {
    const process = new Process(`${this.label}/${name}`, this.#here(command), options);
    this.#processes.push(process);
    started.push(process);
    return process;
  }

  /** A file that a process on this host makes and that shall go with the lab. */
  disposeFile(path: string): void {
    this.#files.push(path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#processes.map((process) => process[Symbol.asyncDispose]()));
    await run(["ip", "netns", "delete", this.namespace]);
    for (const path of [`/etc/netns/${this.namespace}`, ...this.#files]) {
      await Deno.remove(path, { recursive: true }).catch(() => {});
    }
  }

  #here(command: readonly string[]): string[] {
    return ["ip", "netns", "exec", this.namespace, ...before, ...command];
  }
}

/**
 * Polls until `condition` returns something other than `undefined` or `false`. The limit is for what never
 * comes: a machine that has others to serve may need long.
 */
export async function eventually<T>(
  what: string,
  condition: () => T | undefined | false | Promise<T | undefined | false>,
  { timeoutMs = 120_000, intervalMs = 100 } = {},
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  while (true) {
    const value = await condition();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > deadline) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, intervalMs));
  }
}
