/**
 * What a process can do still that has confined itself as a gateway does: run by confine_test.ts, as
 * an ordinary user that Deno permits everything. The last line it prints is JSON.
 *
 * Arguments: the gateway's own, and after `--` a number of a process of the same user.
 *
 * @module
 */

import type { confineCommand as Confine } from "../../proxy/cli/confine.ts";

// It lies in the root of a copy of the sources, where the rest is no test's.
const program = new URL("./proxy/cli/confine.ts", import.meta.url).href;
const { confineCommand } = await import(program) as { confineCommand: typeof Confine };

// The program starts again with what it is given here.
const confinement = await confineCommand(Deno.args, import.meta.dirname);
const other = Deno.args.at(-1);

const libc = Deno.dlopen("libc.so.6", {
  __errno_location: { parameters: [], result: "pointer" },
  fork: { parameters: [], result: "i32" },
  execv: { parameters: ["buffer", "buffer"], result: "i32" },
  ptrace: { parameters: ["i64", "i64", "i64", "i64"], result: "i64" },
  unshare: { parameters: ["i32"], result: "i32" },
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  open: { parameters: ["buffer", "i32"], result: "i32", nonblocking: true },
  personality: { parameters: ["u64"], result: "i32" },
});
const { symbols } = libc;
const errno = new Int32Array(
  Deno.UnsafePointerView.getArrayBuffer(symbols.__errno_location()!, 4),
);
const text = (value: string) => new TextEncoder().encode(`${value}\0`);

/** "ok", or the name or number of the error. */
async function attempt(what: () => unknown): Promise<string> {
  try {
    const result = await what();
    return typeof result === "number" && result < 0 ? `errno ${errno[0]}` : "ok";
  } catch (error) {
    return (error as Error).name;
  }
}

const PTRACE_CONT = 7n;
const CLONE_NEWUSER = 0x1000_0000;
const AF_ALG = 38;
const SOCK_SEQPACKET = 5;

const home = Deno.env.get("HOME")!;
const config = Deno.args[1]!;
const control = Deno.args[3]!;
const results = {
  // Refused
  "read a file of this user's": await attempt(() => Deno.readTextFileSync(`${home}/secret`)),
  "the same on another thread": await attempt(() => Deno.readTextFile(`${home}/secret`)),
  "the same by the C library on another thread": await symbols.open(text(`${home}/secret`), 0) < 0
    ? "refused"
    : "ok",
  "list a folder": await attempt(() => [...Deno.readDirSync("/")]),
  "write a file at home": await attempt(() => Deno.writeTextFileSync(`${home}/new`, "")),
  "write the configuration": await attempt(() =>
    Deno.writeTextFileSync(config, "", { append: true })
  ),
  "write the program": await attempt(() =>
    Deno.writeTextFileSync(`${import.meta.dirname}/main.ts`, "", { append: true })
  ),
  "write the cache of modules": await attempt(() =>
    Deno.writeTextFileSync(`${Deno.env.get("DENO_DIR")}/new`, "")
  ),
  "start a program": await attempt(() => new Deno.Command("/bin/true").outputSync()),
  // Allowed, the child would have one of V8's threads, and crash.
  "fork": confinement === undefined ? "ok" : await attempt(() => symbols.fork()),
  "execute another program": await attempt(() =>
    symbols.execv(text("/nonexistent"), new Uint8Array(64))
  ),
  "trace": await attempt(() => Number(symbols.ptrace(PTRACE_CONT, BigInt(other!), 0n, 0n))),
  "make a namespace": await attempt(() => symbols.unshare(CLONE_NEWUSER)),
  "a socket of the kernel's cryptography": await attempt(() =>
    symbols.socket(AF_ALG, SOCK_SEQPACKET, 0)
  ),
  "personality": await attempt(() => symbols.personality(0xffff_ffffn)),
  "signal another process of this user's": await attempt(() => Deno.kill(Number(other), "SIGCONT")),
  "read another process's environment": await attempt(() =>
    Deno.readTextFileSync(`/proc/${other}/environ`)
  ),
  // Allowed
  "read the configuration": await attempt(() => Deno.readTextFileSync(config)),
  "read it when it was replaced": await attempt(() => Deno.readTextFileSync(`${config}.new`)),
  "write beside the control socket": await attempt(() => {
    Deno.writeTextFileSync(`${control}/file`, "");
    Deno.removeSync(`${control}/file`);
  }),
  "listen and connect by name": await attempt(async () => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    using _conn = await Deno.connect({ hostname: "localhost", port: listener.addr.port });
    (await listener.accept()).close();
  }),
  "a thread": await attempt(async () => {
    const worker = new Worker("data:text/javascript,postMessage(1)", { type: "module" });
    await new Promise((resolve) => worker.onmessage = resolve);
    worker.terminate();
  }),
};
const status = Deno.readTextFileSync("/proc/self/status");
console.log(JSON.stringify({
  confinement: confinement ?? null,
  pid: Deno.pid,
  noNewPrivileges: /^NoNewPrivs:\t1$/m.test(status),
  results,
}));
Deno.exit(0);
