import assert from "node:assert/strict";
import { ended } from "../children.ts";
import { within } from "../until.ts";

const ROOT = new URL("../../../", import.meta.url);
const PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const PUBLIC = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
const PEER = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const PSK = "FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE=";

Deno.test("help and the key commands need no permission at all", async () => {
  const [help, key] = await Promise.all([wirestack([], ["--help"]), wirestack([], ["genkey"])]);
  assert.deepEqual([help.status, help.error], [0, ""]);
  assert.match(help.out, /^Usage: wirestack /);
  assert.deepEqual([key.status, key.error], [0, ""]);
  const pub = await wirestack([], ["pubkey"], key.out);
  assert.deepEqual([pub.status, pub.error], [0, ""]);
  assert.match(pub.out, /^[A-Za-z0-9+/]{43}=\n$/);
});

Deno.test("wrong input ends the program with status 2, a line for each error and nothing else", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/wg0.conf`;
  try {
    await Deno.writeTextFile(
      path,
      `[Interface]\nPrivateKey = ${PRIVATE}x\nListenPort = 70000\n[Peer]\n`,
    );
    const permissions = [`--allow-read=${folder}`, "--allow-net"];
    for (const command of ["check", "up"]) {
      assert.deepEqual(await wirestack(permissions, [command, path]), {
        status: 2,
        out: "",
        error:
          `${path}:2: PrivateKey: not a key: 45 characters, expected 44 characters of base64, as wg writes them\n` +
          `${path}:3: ListenPort: 70000 is out of range, expected 0 to 65535\n` +
          `${path}:4: PublicKey: missing, expected the peer's public key\n`,
      });
    }
    assert.deepEqual(await wirestack([], ["check", path]), {
      status: 2,
      out: "",
      error: `${path}: not covered by --allow-read, expected a wg-quick file\n`,
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test(
  "a configuration comes by standard input under each of its names, by a pipe and by a redirect",
  {
    ignore: Deno.build.os !== "linux",
  },
  async () => {
    const folder = await Deno.makeTempDir();
    const file = `${folder}/a`;
    await Deno.writeTextFile(file, `[Interface]\nPrivateKey = ${PRIVATE}\nPeerToPeer = true\n`);
    const check = async (permission: string, how: string) => {
      const program =
        `"${Deno.execPath()}" run --quiet --no-prompt --no-check --allow-read ${permission}`;
      const { code, stdout, stderr } = await new Deno.Command("bash", {
        args: ["-c", `f='${file}'; check() { ${program} main.ts check "$@"; }; ${how}`],
        cwd: ROOT,
      }).output();
      const text = new TextDecoder();
      return { code, out: text.decode(stdout), error: text.decode(stderr) };
    };
    try {
      for (
        const [how, name, permission] of [
          ['check - <"$f"', "-"],
          ['check /dev/stdin <"$f"', "/dev/stdin"],
          ['cat "$f" | check /dev/stdin', "/dev/stdin"],
          ['check /dev/fd/0 <"$f"', "/dev/fd/0"],
          ['check <(cat "$f")', "/dev/fd/63"],
          ['check /dev/fd/3 3<"$f"', "/dev/fd/3", "--allow-ffi"],
          ['check /proc/self/fd/3 3<"$f"', "/proc/self/fd/3", "--allow-ffi"],
        ]
      ) {
        const { code, out, error } = await check(permission ?? "", how!);
        assert.deepEqual([code, error], [0, ""], how);
        assert.ok(out.startsWith(`${name}: ok\n`), out);
      }
      assert.deepEqual(await check("", 'check /dev/fd/3 3<"$f"'), {
        code: 2,
        out: "",
        error:
          "/dev/fd/3: a file as a descriptor needs --allow-ffi, expected a wg-quick file by its " +
          "name, or - and <FILE\n",
      });
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

Deno.test("a gateway ends with its terminal", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(
    `${folder}/a`,
    `[Interface]\nPrivateKey = ${PRIVATE}\nPeerToPeer = true\n`,
  );
  // script(1) has the terminal's other side, and is killed: its output is the terminal's.
  const program =
    `"${Deno.execPath()}" run --quiet --no-prompt --no-check --allow-net --allow-read ` +
    `main.ts up ${folder}/a --control-dir off 2>${folder}/log`;
  const terminal = new Deno.Command("script", {
    args: ["--quiet", "--command", program, "/dev/null"],
    cwd: ROOT,
    stdin: "piped",
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    const log = async (text: string) => {
      for (let tries = 0; tries < 6000; tries++) {
        if ((await Deno.readTextFile(`${folder}/log`).catch(() => "")).includes(text)) return;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      assert.fail(`no "${text}" in ${await Deno.readTextFile(`${folder}/log`)}`);
    };
    await log("listening");
    terminal.kill("SIGKILL");
    await log("stopped");
  } finally {
    await terminal.stdin.close().catch(() => {});
    await terminal.status;
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("--ffi without the permission is an error that names it", async () => {
  for (const args of [["up", "--ffi", "-"], ["--ffi", "up", "-"]]) {
    const { status, out, error } = await wirestack(["--allow-net"], args, "");
    assert.deepEqual([status, out], [2, ""]);
    assert.match(
      error,
      /^--ffi: needs (?:the permission --allow-ffi|Linux on x86-64 or ARM64, .*)\n$/,
    );
  }
});

Deno.test("a permission for foreign calls that is given up cannot be used again", async () => {
  const terminal = new URL("proxy/cli/terminal.ts", ROOT).href;
  const code = `const { processTerminal } = await import(${JSON.stringify(terminal)});
    const state = () => Deno.permissions.querySync({ name: "ffi" }).state;
    console.log(state());
    processTerminal.giveUpFfi();
    console.log(state());
    try {
      Deno.dlopen("libc.so.6", {});
    } catch (error) {
      console.log(error.name);
    }`;
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--allow-ffi", `data:text/javascript,${encodeURIComponent(code)}`],
    stderr: "null",
  }).output();
  assert.match(new TextDecoder().decode(stdout), /^granted\n(?:prompt|denied)\nNotCapable\n$/);
});

Deno.test("a port in use is an error of the file", async () => {
  const taken = Deno.listenDatagram({ transport: "udp", hostname: "0.0.0.0", port: 0 });
  try {
    const { port } = taken.addr as Deno.NetAddr;
    const file = `[Interface]\nPrivateKey = ${PRIVATE}\nListenPort = ${port}\nPeerToPeer = true\n`;
    const { status, out, error } = await wirestack(["--allow-net"], [
      "up",
      "-",
      "--control-dir",
      "off",
    ], file);
    assert.deepEqual([status, out], [2, ""]);
    assert.equal(error, `-:3: ListenPort: port ${port} is in use, expected a free UDP port\n`);
  } finally {
    taken.close();
  }
});

Deno.test({
  name: "a running gateway reports on SIGUSR2, survives SIGHUP, ends on SIGTERM, and logs no key",
  ignore: Deno.build.os === "windows",
  async fn() {
    // Its peer is a socket that answers nothing, so that handshakes are tried.
    const silent = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
    const file = `[Interface]\nPrivateKey = ${PRIVATE}\nAddress = 10.9.0.1/24\n` +
      `[Peer]\nPublicKey = ${PEER}\nPresharedKey = ${PSK}\nAllowedIPs = 10.9.0.2/32\n` +
      `Endpoint = 127.0.0.1:${(silent.addr as Deno.NetAddr).port}\nPersistentKeepalive = 1\n` +
      "[Proxy]\nSubnets = 10.50.0.0/16\n";
    const args = ["up", "-", "--log-level", "trace", "--log-format", "json", "--crypto", "noble"];
    const child = start(["--allow-net"], args, file);
    let log = "";
    const lines = async (text: string) => {
      while (!log.includes(text)) {
        const { value, done } = await within(child.errors.read(), `it logs ${text}, after\n${log}`);
        if (done) assert.fail(`ended before it logged "${text}":\n${log}`);
        log += value;
      }
    };
    await lines('"listening on UDP port');
    await lines("UDP over Deno's sockets (FFI needs the permission --allow-ffi)");
    await silent.receive(); // the handshake initiation
    child.process.kill("SIGUSR2");
    await lines('"stats":');
    child.process.kill("SIGHUP");
    await lines("standard input cannot be read again");
    await lines("the configuration stays as it is");
    child.process.kill("SIGTERM");
    child.process.kill("SIGTERM");
    await lines('"stopped"');
    assert.equal((await child.process.status).code, 0);
    await child.process.stdout.cancel();
    child.errors.releaseLock();
    silent.close();

    for (const line of log.trimEnd().split("\n")) {
      const { message, stats } = JSON.parse(line);
      assert.equal(typeof message, "string");
      if (message === "stats") assert.equal(typeof stats, "object");
    }
    // Not permitted to have a socket: said once, and otherwise all is well.
    assert.equal(log.split("no control socket").length - 1, 1);
    assert.ok(log.includes(PUBLIC));
    for (const secret of [PRIVATE, PSK]) {
      assert.ok(!log.includes(secret.slice(0, 43)));
      assert.ok(!log.includes(Uint8Array.fromBase64(secret).toHex()));
    }
  },
});

Deno.test({
  name: "up gives up writing anywhere but to the control socket's folder",
  ignore: Deno.build.os === "windows",
  async fn() {
    // The program with a terminal that looks, at its first line, at what may be written still.
    const script = `import { run } from "./proxy/cli/program.ts";
      const state = (path) => Deno.permissions.querySync({ name: "write", path }).state;
      const places = ["/", "/etc/passwd", "/var/run/wireguard/x.sock"];
      const before = places.map(state);
      const file = "[Interface]\\nPrivateKey = ${PRIVATE}\\nPeerToPeer = true\\n";
      await run(["up", "-", "--control-dir", "off"], {
        readInput: async () => new TextEncoder().encode(file),
        error() {
          console.log(JSON.stringify([before, places.map(state)]));
          Deno.exit(0);
        },
        giveUpFfi() {},
        watchHangUp: () => () => false,
      });`;
    const { promise, resolve } = Promise.withResolvers<string>();
    const args = ["--allow-net", "--allow-read", "--allow-write=/,/var/run/wireguard", "-"];
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-prompt", "--no-check", "--ext=ts", ...args],
      cwd: ROOT,
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    new Response(child.stdout).text().then(resolve);
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(script.replaceAll("\\\\n", "\\n")));
    await writer.close();
    assert.deepEqual(JSON.parse(await promise), [
      ["granted", "granted", "granted"],
      ["prompt", "prompt", "granted"],
    ]);
    assert.equal((await child.status).code, 0);
  },
});

function start(permissions: string[], args: string[], input: string) {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", "--no-check", ...permissions, "main.ts", ...args],
    cwd: ROOT,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  });
  const process = ended(command.spawn());
  const writer = process.stdin.getWriter();
  writer.write(new TextEncoder().encode(input)).then(() => writer.close()).catch(() => {});
  return { process, errors: process.stderr.pipeThrough(new TextDecoderStream()).getReader() };
}

/** Runs a command in a process of its own, with the permissions given and no others. */
async function wirestack(permissions: string[], args: string[], input = "") {
  const { process, errors } = start(permissions, args, input);
  let error = "";
  const out = new Response(process.stdout).text();
  for (let read = await errors.read(); !read.done; read = await errors.read()) error += read.value;
  return { status: (await process.status).code, out: await out, error };
}
