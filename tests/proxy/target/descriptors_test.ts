import assert from "node:assert/strict";
import { descriptorLimit, udpUnavailable } from "../../../ffi/mod.ts";
import { configureLog } from "../../../proxy/log/log.ts";
import { checkDescriptorLimit, DescriptorWatch } from "../../../proxy/target/descriptors.ts";
import { output } from "../../e2e/process.ts";

/** Lines of the log while `use` runs, without time and category. */
function logged(use: () => void): string[] {
  const lines: string[] = [];
  const write = (line: string) => {
    lines.push(line.trim().replace(/^\S+ /, ""));
  };
  configureLog({ level: "info", format: "text", write });
  try {
    use();
  } finally {
    configureLog({ level: "error", format: "text" });
  }
  return lines;
}

Deno.test("running out of descriptors is one line when it begins and one when it ends", () => {
  let now = 0;
  const subject = new DescriptorWatch(() => now, () => {});
  const begin = logged(() => {
    assert.equal(subject.note("ECONNREFUSED"), false);
    for (let i = 0; i < 300; i++) assert.equal(subject.note("EMFILE"), true);
    now = 1_000;
    subject.note("ENFILE");
    subject.handleTimeout(5_999);
  });
  assert.deepEqual(begin, [
    "warning target: no file descriptors are left (EMFILE): connections and sessions fail until some are",
  ]);
  assert.deepEqual([subject.failures, subject.isExhausted, subject.pollTimeout()], [
    301,
    true,
    6_000,
  ]);
  assert.deepEqual(logged(() => subject.handleTimeout(6_000)), [
    "info    target: there are file descriptors again; 301 connections and sessions failed",
  ]);
  assert.deepEqual([subject.isExhausted, subject.pollTimeout()], [false, Infinity]);
});

Deno.test("a limit below what the configuration allows is said, one that suffices is not", () => {
  assert.deepEqual(logged(() => checkDescriptorLimit(20_480, false, 1_048_576)), []);
  assert.deepEqual(logged(() => checkDescriptorLimit(20_480, false, Infinity)), []);
  const [line] = logged(() => checkDescriptorLimit(20_480, false, 1_024));
  assert.match(line!, /^warning target: this process may open 1024 files, .* 20480 sockets/);
});

Deno.test({
  name: "the limit is what the system says",
  ignore: udpUnavailable() !== undefined,
  async fn() {
    const soft = (await output(["sh", "-c", `cat /proc/${Deno.pid}/limits`]))
      .match(/Max open files\s+(\S+)/)![1]!;
    assert.equal(descriptorLimit(), soft === "unlimited" ? Infinity : Number(soft));
  },
});

Deno.test({
  name: "a dial and a UDP socket that fail for want of a descriptor are known by their code",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const module = (path: string) => JSON.stringify(import.meta.resolve(`../../../proxy/${path}`));
    const program = `
      import { HostDialer } from ${module("target/tcp.ts")};
      import { isOutOfDescriptors } from ${module("target/errno.ts")};
      import { parseIpAddress } from ${module("address.ts")};
      const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const codes = [];
      const dialer = new HostDialer((code) => codes.push(code));
      for (let open = true; open;) {
        open = await new Promise((resolve) =>
          dialer.dial(parseIpAddress("127.0.0.1"), listener.addr.port, {
            connected: () => resolve(true),
            dialFailed: () => resolve(false),
          })
        );
      }
      try {
        Deno.listenDatagram({ transport: "udp", hostname: "0.0.0.0", port: 0 });
      } catch (error) {
        codes.push(error.code);
      }
      console.log(JSON.stringify(codes.map(isOutOfDescriptors)));
      Deno.exit(0);`;
    const command = ["sh", "-c", 'ulimit -n 80 && exec "$@"', "sh", Deno.execPath(), "run"];
    const flags = ["--no-check", "--quiet", "--no-prompt", "--allow-net", "--unstable-net", "-"];
    assert.deepEqual(JSON.parse(await output([...command, ...flags], { input: program })), [
      true,
      true,
    ]);
  },
});
