/**
 * A part of a test in the network namespace of a host of the lab, without a process of its own.
 *
 * @module
 */

import type { Host } from "./lab.ts";

const CALLS = {
  open: { parameters: ["buffer", "i32"], result: "i32" },
  setns: { parameters: ["i32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
} as const;
const O_CLOEXEC = 0o2000000;
const CLONE_NEWNET = 0x40000000;

/**
 * What `fn` opens belongs to the host's namespace, for good. It is synchronous, so that nothing else
 * runs on this thread meanwhile.
 */
export function within<T>(host: Host, fn: () => T extends Promise<unknown> ? never : T): T {
  using _entered = new Entered(`/run/netns/${host.namespace}`);
  return fn();
}

/** This thread is in another network namespace, until it is disposed. */
class Entered implements Disposable {
  readonly #libc = Deno.dlopen("libc.so.6", CALLS);
  readonly #home = this.#open("/proc/thread-self/ns/net");

  constructor(path: string) {
    this.#enter(this.#open(path));
  }

  [Symbol.dispose](): void {
    this.#enter(this.#home);
    this.#libc.close();
  }

  #open(path: string): number {
    return this.#libc.symbols.open(new TextEncoder().encode(`${path}\0`), O_CLOEXEC);
  }

  #enter(fd: number): void {
    const result = this.#libc.symbols.setns(fd, CLONE_NEWNET);
    this.#libc.symbols.close(fd);
    if (result !== 0) throw new Error("a network namespace cannot be entered");
  }
}
