import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { Confinement } from "../../../ffi/confine/mod.ts";

const ROOT = new URL("../../../", import.meta.url);

interface Report {
  readonly confinement: Confinement;
  readonly pid: number;
  /** What a file holds to which each call for rules appends: how often the program asked. */
  readonly asked: string;
  readonly input: string;
  /** CapEff of /proc/self/status. */
  readonly capabilities: string;
  /** "ok", or the name of an error. */
  readonly results: Record<string, string>;
}

/**
 * What a process can do that has confined itself, started as this user.
 *
 * @param calls Calls of the C library that are others: members of an object in JavaScript.
 * @param rules A statement ahead of those that let the program run.
 */
async function confined(calls = "", rules = ""): Promise<Report & { started: number }> {
  const folder = await Deno.makeTempDir();
  try {
    for (const name of ["secret", "readable"]) await Deno.writeTextFile(`${folder}/${name}`, "");
    const program = `${folder}/program.js`;
    const readable = [
      ...["/lib", "/lib64", "/usr/lib", "/proc", "/sys/fs/cgroup", "/dev/urandom"],
      ...[fileURLToPath(ROOT), program, `${folder}/readable`, `${folder}/not-there`],
    ];
    await Deno.writeTextFile(
      program,
      `const dlopen = Deno.dlopen;
      Deno.dlopen = (name, symbols) => {
        const library = dlopen(name, symbols);
        if (!("landlock_add_rule" in symbols)) return library;
        return { symbols: { ...library.symbols, ${calls} }, close: () => library.close() };
      };
      const { confineProcess } = await import(${
        JSON.stringify(new URL("ffi/confine/mod.ts", ROOT))
      });
      const folder = ${JSON.stringify(folder)};
      const confinement = await confineProcess(async (view) => {
        Deno.writeTextFileSync(folder + "/readable", "asked ", { append: true });
        let again = false;
        ${rules}
        const mapped = view.readText("/proc/self/maps").matchAll(/ (\\/.*)$/gm);
        const files = [
          ...Array.from(mapped, ([, path]) => ({ path, access: "execute" })),
          ...${JSON.stringify(readable)}.map((path) => ({ path, access: "read" })),
        ];
        return { files, again };
      });
      const attempt = async (what) => {
        try {
          await what();
          return "ok";
        } catch (error) {
          return error.name;
        }
      };
      console.log(JSON.stringify({
        confinement,
        pid: Deno.pid,
        capabilities: /^CapEff:\\t(.*)$/m.exec(Deno.readTextFileSync("/proc/self/status"))[1],
        asked: await Deno.readTextFile(folder + "/readable"),
        input: await new Response(Deno.stdin.readable).text(),
        results: {
          file: await attempt(() => Deno.readTextFileSync(folder + "/secret")),
          fileOnAnotherThread: await attempt(() => Deno.readTextFile(folder + "/secret")),
          program: await attempt(() => new Deno.Command("/bin/true").outputSync()),
          thread: await attempt(async () => {
            const worker = new Worker("data:text/javascript,postMessage(1)", { type: "module" });
            await new Promise((resolve) => worker.onmessage = resolve);
            worker.terminate();
          }),
        },
      }));
      Deno.exit(0);`,
    );
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-check", "--no-config", "--no-lock", "--allow-all", program],
      env: { DENO_DIR: "/dev/null/none", DENO_LOG: "off", DENO_NO_UPDATE_CHECK: "1" },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode("input"));
    await writer.close();
    const { stdout, stderr } = await child.output();
    const [text, errors] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
    assert.ok(text!.startsWith("{"), `${text}${errors}`);
    return { ...JSON.parse(text!), started: child.pid };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const OPEN = { file: "ok", fileOnAnotherThread: "ok", thread: "ok" };
const NO_LANDLOCK = "landlock_create_ruleset: () => -1,";

/** Whether this kernel lets a process confine its files; a container may refuse it. */
async function missing(): Promise<string | undefined> {
  if (Deno.build.os !== "linux") return "needs Linux";
  const { confinement } = await confined();
  return confinement.problems.join("; ") || undefined;
}

const reason = await missing();

function confineTest(name: string, fn: () => Promise<void>): void {
  const ignore = reason !== undefined;
  Deno.test({ name: ignore ? `${name} [skipped: ${reason}]` : name, ignore, fn });
}

confineTest(
  "a process gives up files and programs on all threads, and stays the same process",
  async () => {
    const { confinement, pid, started, asked, input, capabilities, results } = await confined();
    assert.deepEqual(confinement, { ...confinement, seccomp: true, problems: [] });
    assert.ok(confinement.landlock > 0);
    assert.equal(pid, started);
    // Nothing that can trace, read the kernel's memory, or load modules; the network is root's still.
    assert.equal(BigInt(`0x${capabilities}`) & ~0x10035cbn, 0n);
    if (Deno.uid() === 0) assert.ok((BigInt(`0x${capabilities}`) & 1n << 12n) !== 0n);
    assert.equal(asked, "asked ", "the second life does not ask again");
    assert.equal(input, "input", "standard input is still there");
    assert.deepEqual(results, {
      file: "PermissionDenied",
      fileOnAnotherThread: "PermissionDenied",
      program: "PermissionDenied",
      thread: "ok",
    });
  },
);

confineTest(
  "a process that asks for it has one more life before it gives anything up",
  async () => {
    const { confinement, pid, started, asked, input, results } = await confined(
      "",
      "again = true;",
    );
    assert.deepEqual(confinement, { ...confinement, seccomp: true, problems: [] });
    assert.equal(pid, started);
    assert.equal(asked, "asked asked ", "and no third");
    assert.equal(input, "input");
    assert.equal(results.file, "PermissionDenied");
  },
);

confineTest("without Landlock system calls are given up all the same", async () => {
  const { confinement, asked, results } = await confined(NO_LANDLOCK);
  assert.deepEqual(confinement, {
    landlock: 0,
    seccomp: true,
    problems: ["no Landlock: the kernel has none, or not for this process"],
  });
  assert.equal(asked, "");
  assert.deepEqual(results, { ...OPEN, program: "PermissionDenied" });
});

confineTest("rules that cannot be made are a reason, not the end", async () => {
  const { confinement, results } = await confined("", `throw new Error("not today");`);
  assert.deepEqual(confinement, {
    landlock: 0,
    seccomp: true,
    problems: ["no Landlock: not today"],
  });
  assert.deepEqual(results, { ...OPEN, program: "PermissionDenied" });
});

confineTest("without seccomp files are given up all the same", async () => {
  const { confinement, results } = await confined("seccomp: () => -1,");
  assert.ok(confinement.landlock > 0);
  assert.equal(confinement.seccomp, false);
  assert.match(confinement.problems.join(), /^no seccomp: errno \d+$/);
  assert.equal(results.file, "PermissionDenied");
  // Landlock refuses it as well, but for programs that are mapped.
  assert.equal(results.program, "PermissionDenied");
});

confineTest(
  "a mark of another process's is no confinement, nor is one without a confinement",
  async () => {
    const claim = `getenv: () => Deno.UnsafePointer.of(new TextEncoder().encode(MARK + "\\0")),`;
    const other = await confined(`${NO_LANDLOCK} ${claim.replace("MARK", `"1:7"`)}`);
    assert.match(other.confinement.problems.join(), /^no Landlock: the kernel has none/);
    const own = await confined(claim.replace("MARK", "Deno.pid + `:7`"));
    assert.deepEqual(own.confinement, {
      landlock: 0,
      seccomp: true,
      problems: ["no Landlock: it does not bind"],
    });
  },
);
