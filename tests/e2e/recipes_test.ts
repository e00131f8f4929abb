/**
 * The recipes of docs/rules.md, as they stand there: each block of configuration is a reload of the
 * same gateway, and each command is run on a client and says what the page says that it does, but for
 * times and speeds.
 *
 * @module
 */

import assert from "node:assert/strict";
import { eventually, type Host, labTest } from "./lab.ts";
import { LISTEN_PORT, Site } from "./site.ts";
import { keyPair, WireguardGo } from "./wireguard_go.ts";
import { tries } from "../tries.ts";

const PRINTER = "10.9.0.9";
/** Between the printer and the gateway. */
const PRINTER_LINE = { printer: "198.51.100.2", gateway: "198.51.100.1" };
const SUBNETS = "[Proxy]\nSubnets = 10.50.0.0/16\n";

interface Recipe {
  readonly title: string;
  readonly configuration: string;
  /** Each with the lines that it prints. */
  readonly commands: readonly { readonly command: string; readonly prints: readonly string[] }[];
  /** What a shell is given instead of a file. */
  readonly commandLine: string;
}

const recipes = recipesOf(
  await Deno.readTextFile(new URL("../../docs/rules.md", import.meta.url)),
);

Deno.test("every recipe of docs/rules.md has a configuration and a run of it, or a command line", () => {
  assert.ok(recipes.length >= 9, `${recipes.length}`);
  const bare = recipes.filter(({ configuration, commands, commandLine }) =>
    commandLine === "" && (configuration === "" || commands.length === 0)
  );
  assert.deepEqual(bare.map(({ title }) => title), []);
  assert.ok(recipes.flatMap(({ commands }) => commands).every(({ prints }) => prints.length > 0));
});

labTest("each recipe of docs/rules.md does what the page shows", async (t) => {
  const printer = await keyPair();
  await using site = await Site.start({
    subject: "deno task start",
    interface: ["PeerToPeer = true"],
    proxy: SUBNETS.trim().split("\n").slice(1),
    gatewaySidePeer: { lines: ["Name = laptop"] },
    furtherPeers: [{
      publicKey: printer.publicKey,
      allowedIps: [`${PRINTER}/32`],
      lines: ["Name = printer"],
    }],
    fileBytes: 2_000_000,
    pingGroups: "0 65534",
  });
  await startPrinter(site, printer.privateKey);
  const file = `${site.lab.directory}/${site.gatewayHost.namespace}.conf`;
  const config = await Deno.readTextFile(file);
  assert.ok(config.endsWith(SUBNETS), config);
  for (const { title, configuration, commands, commandLine } of recipes) {
    await t.step(title, async () => {
      const from = site.gateway.process.lines.length;
      const frame = configuration.includes("[Proxy]") ? config.slice(0, -SUBNETS.length) : config;
      await Deno.writeTextFile(file, `${frame}\n${configuration}`);
      if (commandLine !== "") await check(site.gatewayHost, commandLine, file);
      Deno.kill(site.gateway.process.worker, "SIGHUP");
      await site.gateway.process.line(/"event":"reloaded"/, { from });
      for (const { command, prints } of commands) {
        await tries(5, () => run(site.client, command, prints));
      }
    });
  }
}, ["curl", "ping", "python3"]);

/** A peer beside the client, that prints by HTTP. */
async function startPrinter({ lab, gatewayHost, gatewayPublicKey }: Site, privateKey: string) {
  const host = await lab.host("printer");
  await lab.connect(
    { host, device: "wan", addresses: [`${PRINTER_LINE.printer}/24`] },
    { host: gatewayHost, device: "printer", addresses: [`${PRINTER_LINE.gateway}/24`] },
  );
  await WireguardGo.start(host, {
    privateKey,
    addresses: [`${PRINTER}/32`],
    routes: ["10.9.0.0/24"],
    peers: [{
      publicKey: gatewayPublicKey,
      allowedIps: ["10.9.0.0/24"],
      endpoint: `${PRINTER_LINE.gateway}:${LISTEN_PORT}`,
      persistentKeepalive: 5,
    }],
  });
  host.spawn("ipp", ["python3", "-m", "http.server", "631"], { cwd: lab.directory });
  await eventually("the printer listens", async () => {
    return (await host.output(["ss", "-Hltn"])).includes(":631");
  });
  await host.output(["ping", "-c", "1", "-w", "60", "10.9.0.1"]);
}

/** What the options say is right, as far as `check` can see. */
async function check(host: Host, commandLine: string, file: string): Promise<void> {
  const [, options] = /^wirestack up … ([^;|&]*)$/.exec(commandLine) ?? [];
  assert.ok(options !== undefined, commandLine);
  const main = new URL("../../main.ts", import.meta.url).pathname;
  const { code, stderr, stdout } = await host.run([
    ...[Deno.execPath(), "run", "-A", main, "check", file],
    ...options.split(" "),
  ]);
  assert.equal(code, 0, stderr);
  assert.match(stdout + stderr, /: ok$/m);
}

async function run(host: Host, command: string, expected: readonly string[]): Promise<void> {
  const { stdout, stderr } = await host.run(["sh", "-c", command]);
  const lines = `${stdout}\n${stderr}`.split("\n");
  for (const line of expected) {
    assert.ok(
      lines.some((other) => withoutTimes(other) === withoutTimes(line)),
      [
        ...[`${command} does not print`, line, "but"],
        ...lines,
      ].join("\n"),
    );
  }
  for (const [, documented] of expected.join("\n").matchAll(/at (\d+) bytes\/s/g)) {
    const speed = Number(/at (\d+) bytes\/s/.exec(stdout)![1]);
    assert.ok(Math.abs(speed / Number(documented) - 1) < 0.1, `${speed} bytes/s`);
  }
}

function withoutTimes(line: string): string {
  return line.replace(/\d+(?:\.\d+)?(?= (?:s|ms|bytes\/s)\b)/g, "?");
}

/** What stands under `## Recipes`: each begins with bold letters. */
function recipesOf(page: string): Recipe[] {
  const [, section] = page.split(/^## Recipes$/m);
  const [, ...parts] = section!.split(/^## /m)[0]!.split(/^(?=\*\*)/m);
  return parts.map((part) => {
    const [, title] = /^\*\*([^*]+)\*\*/.exec(part)!;
    const blocks = [...part.matchAll(/^```(\w*)\n([^]*?)^```$/gm)];
    const block = (language: string) =>
      blocks.filter(([, of]) => of === language).map(([, , text]) => text).join("");
    const commands = block("").split(/^\$ /m).slice(1).map((text) => {
      const [command, ...prints] = text.trimEnd().split("\n");
      return { command: command!, prints };
    });
    const commandLine = block("sh").replaceAll(/\s*\\\n\s*/g, " ").trim();
    return { title: title!, configuration: block("ini"), commands, commandLine };
  });
}
