/**
 * Targets by name, what they are told about the client, and connections that are ready: with a gateway
 * as its users run it, confined or in Deno's sandbox, and HAProxy and nginx as they are in Debian.
 *
 * @module
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { SUBJECTS } from "./gateway.ts";
import { hold, moreEchoes, release } from "./held.ts";
import { eventually, labTest } from "./lab.ts";
import type { Process } from "./process.ts";
import { PORTS } from "./ports.ts";
import { CLIENT, SILENT, Site, TARGET } from "./site.ts";
import { tries } from "../tries.ts";

const NAME_SERVER = fileURLToPath(new URL("./name_server.ts", import.meta.url));
/** Where the target is, later. */
const MOVED = "10.50.0.5";
const MOVED_IPV6 = "fd50::5";
/** Addresses of no host: rules lead from there to names. */
const WEB = "10.60.0.1";
const OTHER = "10.60.0.2";
const LIAR = "10.60.0.3";
const WEB_IPV6 = "fd60::1";
const LIAR_IPV6 = "fd60::3";
const MISSING = "10.60.0.4";
const BOTH = "10.60.0.5";
const ROUTES = ["10.60.0.0/24", "fd60::/64"];
const PROXY = [
  "Subnets = 10.50.0.0/16, fd50::/64, 10.60.0.0/24, fd60::/64",
  "TcpDialTimeout = 3",
];

function rules(...lines: string[][]): string[] {
  return lines.flatMap((rule) => ["", "[Rule]", ...rule]);
}

/** A name server on the target's host, and the zone that it serves. */
class Zone {
  readonly #site: Site;
  readonly #file: string;
  #process: Process | undefined;

  constructor(site: Site) {
    this.#site = site;
    this.#file = `${site.lab.directory}/zone.json`;
  }

  async serve(): Promise<void> {
    this.#process = this.#site.target.spawn("name server", [
      ...[Deno.execPath(), "run", "--no-lock", "--allow-net", "--allow-read", "--unstable-net"],
      ...[NAME_SERVER, TARGET[4], this.#file],
    ]);
    await this.#process.line(/ready/);
  }

  async die(): Promise<void> {
    await this.#process![Symbol.asyncDispose]();
  }

  async set(names: Record<string, string[]>): Promise<void> {
    await Deno.writeTextFile(`${this.#file}.new`, JSON.stringify(names));
    await Deno.rename(`${this.#file}.new`, this.#file);
  }
}

/** What the client gets over HTTP, and how long that took, ms. */
async function get(site: Site, address: string, port: number, ...args: string[]) {
  const host = address.includes(":") ? `[${address}]` : address;
  const { code, stdout, stderr } = await site.client.run([
    ...["curl", "--silent", "--show-error", "--max-time", "30", "--noproxy", "*"],
    ...["--write-out", "\n%{time_total}", ...args, `http://${host}:${port}/`],
  ]);
  const [body, seconds] = stdout.trim().split(/\n(?=[^\n]*$)/);
  return { code, body: code === 0 ? body! : "", stderr, ms: 1000 * Number(seconds ?? stdout) };
}

/** nginx on the target: says where it was reached, and by whom. */
async function nginx(site: Site, ...listen: string[]): Promise<Process> {
  const { directory } = site.lab;
  const file = `${directory}/nginx.conf`;
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `${name}_temp_path ${directory}/${name};`).join(" ");
  await Deno.writeTextFile(
    file,
    `daemon off; master_process off; user root; pid ${directory}/nginx.pid; error_log stderr;
    events {} http { ${temporary}
      log_format who "log $proxy_protocol_addr $proxy_protocol_port";
      access_log /dev/stdout who; default_type text/plain; keepalive_timeout 30s;
      server { ${listen.map((one) => `listen ${one};`).join(" ")}
        location / { return 200 "$server_addr $proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port $connection"; }
      } }`,
  );
  const process = site.target.spawn("nginx", ["nginx", "-c", file, "-p", directory]);
  await eventually("nginx listens", async () => {
    const { stdout } = await site.target.run(["ss", "-Hltn", "sport = :8080"]);
    return stdout === "" ? undefined : true;
  });
  return process;
}

for (const subject of SUBJECTS.filter((subject) => subject !== "dist/wirestack")) {
  labTest(`${subject}: a name that moves, a resolver that dies, lies, and comes back`, async () => {
    await using site = await Site.start({
      subject,
      routes: ROUTES,
      proxy: [
        ...PROXY,
        `Resolver = ${TARGET[4]}`,
        ...rules(
          [`To = ${WEB}`, "Rewrite = web.corp.test"],
          [`To = ${OTHER}`, "Rewrite = other.corp.test"],
          [`To = ${BOTH}`, "Rewrite = both.corp.test"],
          [`To = ${WEB_IPV6}`, "Rewrite = six.corp.test"],
          [`To = ${LIAR}, ${LIAR_IPV6}`, "Rewrite = liar.corp.test"],
          [`To = ${MISSING}`, "Rewrite = missing.corp.test"],
        ),
      ],
    });
    await site.target.addAddresses("site", [`${MOVED}/24`, `${MOVED_IPV6}/64`]);
    await nginx(
      site,
      ...[TARGET[4], MOVED, `[${TARGET[6]}]`, `[${MOVED_IPV6}]`].map((host) => `${host}:8080`),
    );
    const zone = new Zone(site);
    await zone.set({
      "web.corp.test": [TARGET[4]],
      "six.corp.test": [TARGET[6]],
      "liar.corp.test": ["127.0.0.1", "::1"],
    });
    await zone.serve();
    const logged = (pattern: RegExp) =>
      site.gateway.process.lines.filter((line) => pattern.test(line)).length;

    assert.match((await get(site, WEB, 8080)).body, /^10\.50\.0\.2 /);
    // UDP as well: what was sent first has waited for the name.
    assert.deepEqual(await site.ask("udp", WEB, PORTS.echo, 1, 1_000), { failures: [] });

    assert.match((await get(site, WEB_IPV6, 8080)).body, /^fd50::2 /);
    // They move while a connection of each family runs.
    await using held = hold(site.client, WEB);
    await using heldIpv6 = hold(site.client, WEB_IPV6);
    await Promise.all([moreEchoes(held), moreEchoes(heldIpv6)]);
    await zone.set({
      "web.corp.test": [MOVED],
      "six.corp.test": [MOVED_IPV6],
      "liar.corp.test": ["127.0.0.1", "::1"],
      "other.corp.test": ["fd50::2"],
      "both.corp.test": [SILENT[6], TARGET[4]],
    });
    await eventually(
      "new flows go to where it is now",
      async () => (await get(site, WEB, 8080)).body.startsWith(`${MOVED} `) ? true : undefined,
    );
    await eventually(
      "those of IPv6 as well",
      async () =>
        (await get(site, WEB_IPV6, 8080)).body.startsWith(`${MOVED_IPV6} `) ? true : undefined,
    );
    // The old ones stay where they were.
    await Promise.all([moreEchoes(held), moreEchoes(heldIpv6)]);
    for (const each of [held, heldIpv6]) assert.ok((await release(each)).echoes >= 20);
    // Of one family alone, and not the client's.
    assert.match((await get(site, OTHER, 8080)).body, /^fd50::2 /);

    // The preferred family is dead: 250 ms are lost, not the connection.
    await tries(10, async () => {
      const { body, ms } = await get(site, BOTH, 8080);
      assert.match(body, /^10\.50\.0\.2 /);
      assert.ok(ms > 200 && ms < 2_000, `${ms} ms`);
    });

    // Lies: refused each time, told once.
    const isRefused = (address: string, limitMs: number) =>
      tries(10, async () => {
        const { code, ms } = await get(site, address, 8080);
        assert.notEqual(code, 0);
        assert.ok(ms < limitMs, `${ms} ms`);
      });
    for (let i = 0; i < 3; i++) await isRefused(LIAR, 2_000);
    await isRefused(LIAR_IPV6, 2_000);
    assert.equal(logged(/liar\.corp\.test.*is refused|is refused.*liar\.corp\.test/), 1);
    // No such name: at once.
    await isRefused(MISSING, 2_000);

    await zone.die();
    await new Promise((resolve) => setTimeout(resolve, 2_500)); // its answers' time, and of none
    for (let i = 0; i < 4; i++) {
      assert.match((await get(site, WEB, 8080)).body, new RegExp(`^${MOVED} `));
      assert.match((await get(site, WEB_IPV6, 8080)).body, new RegExp(`^${MOVED_IPV6} `));
      await isRefused(MISSING, 3_000 + 1_500);
    }
    assert.equal(logged(/is not resolved/), 1);
    await zone.serve();
    await eventually("the log says that it is over", async () => {
      await get(site, WEB, 8080);
      return logged(/resolved again/) > 0 ? true : undefined;
    });
  }, ["curl", "nginx", "ss"]);

  labTest(`${subject}: without Resolver the system resolves, its hosts file first`, async () => {
    await using site = await Site.start({
      subject,
      routes: ROUTES,
      hosts: `127.0.0.1 localhost\n${TARGET[4]} web.corp.test\n`,
      proxy: [...PROXY, ...rules([`To = ${WEB}`, "Rewrite = web.corp.test:8080"])],
    });
    await nginx(site, `${TARGET[4]}:8080`);
    assert.match((await get(site, WEB, 80)).body, /^10\.50\.0\.2 /);
  }, ["curl", "nginx", "ss"]);
}

labTest(
  "HAProxy and nginx learn the client's tunnel address, of both versions and families",
  async () => {
    const to = (port: number, version: string) => [
      `To = 10.60.0.0/24, ${TARGET[6]}`,
      `Ports = tcp/${port}`,
      `SendProxyProtocol = ${version}`,
    ];
    await using site = await Site.start({
      routes: ROUTES,
      hosts: `${TARGET[4]} web.corp.test\n`,
      proxy: [
        ...PROXY,
        ...rules(
          [...to(8091, "v1"), "Rewrite = web.corp.test:8080"],
          [...to(8092, "v2"), "Rewrite = web.corp.test:8080"],
          [...to(8093, "v1"), `Rewrite = [${TARGET[6]}]:8081`],
          [...to(8094, "v2"), `Rewrite = ${TARGET[4]}:8081`, "WarmConnections = 2"],
          [...to(8095, "v2"), `Rewrite = [${TARGET[6]}]:8081`, "WarmConnections = 2"],
        ),
      ],
    });
    const server = await nginx(site, `${TARGET[4]}:8080 proxy_protocol`);
    const file = `${site.lab.directory}/haproxy.cfg`;
    await Deno.writeTextFile(
      file,
      `global
  log stdout format raw local0
defaults
  mode http
  timeout client 60s
  timeout connect 60s
  timeout server 60s
  timeout http-request 60s
frontend who
  log global
  log-format "log %ci %cp"
  bind ${TARGET[4]}:8081 accept-proxy
  bind [${TARGET[6]}]:8081 accept-proxy
  http-request return status 200 content-type text/plain lf-string "- %[src] %[src_port] %[dst] %[dst_port] -"
`,
    );
    const haproxy = site.target.spawn("haproxy", ["haproxy", "-db", "-f", file]);
    await eventually("HAProxy listens", async () => {
      const { stdout } = await site.target.run(["ss", "-Hltn", "sport = :8081"]);
      return stdout === "" ? undefined : true;
    });
    let nextPort = 42_000;
    for (
      const [port, program] of [
        [8091, server],
        [8092, server],
        [8093, haproxy],
        [8094, haproxy],
        [8095, haproxy],
      ] as const
    ) {
      for (const [asked, client] of [[OTHER, CLIENT[4]], [TARGET[6], CLIENT[6]]] as const) {
        for (let i = 0; i < 3; i++) { // those that are ready, and more
          const from = program.lines.length;
          const local = `${nextPort++}`;
          const { body, stderr } = await get(
            site,
            asked,
            port,
            "--local-port",
            local,
          );
          const [, address, source, destination, own] = body.split(" ");
          assert.deepEqual(
            [address, source, destination, own],
            [client, local, asked, `${port}`],
            `${port}: ${body} ${stderr}`,
          );
          await program.line(new RegExp(`^log ${client.replaceAll(".", "\\.")} ${source}`), {
            from,
          });
        }
      }
    }
  },
  ["curl", "nginx", "haproxy", "ss"],
);
