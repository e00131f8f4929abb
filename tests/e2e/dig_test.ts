import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { labTest } from "./lab.ts";
import { Site, TARGET } from "./site.ts";

const NAME_SERVER = fileURLToPath(new URL("./name_server.ts", import.meta.url));

labTest(
  "dig asks a name server behind the gateway by UDP and TCP, of both families, as rules let it",
  async () => {
    await using site = await Site.start({
      subject: "deno task start",
      proxy: [
        "Subnets = 10.50.0.0/16, fd50::/64",
        ...["[Rule]", `To = ${TARGET[4]}`, "Ports = udp/53, tcp/53"],
        ...["[Rule]", `To = ${TARGET[6]}`, "Ports = udp/53"],
        ...["[Rule]", "Action = reject"],
      ],
    });
    const zone = `${site.lab.directory}/zone.json`;
    await Deno.writeTextFile(zone, '{"web.corp.test": ["192.0.2.80", "2001:db8::80"]}');
    for (const address of Object.values(TARGET)) {
      const server = site.target.spawn("name server", [
        ...[Deno.execPath(), "run", "--no-lock", "--allow-net", "--allow-read", "--unstable-net"],
        ...[NAME_SERVER, address, zone],
      ]);
      await server.line(/ready/);
    }
    const dig = (server: string, ...args: string[]) =>
      site.client.run(["dig", "+short", "+time=30", "+tries=2", `@${server}`, ...args]);
    for (const [server, ...args] of [[TARGET[4]], [TARGET[4], "+tcp"], [TARGET[6]]]) {
      const addresses = await Promise.all(["A", "AAAA"].map(async (type) => {
        const { stdout } = await dig(server!, "web.corp.test", type, ...args);
        return stdout.trim();
      }));
      assert.deepEqual(addresses, ["192.0.2.80", "2001:db8::80"], `${server} ${args}`);
    }
    const refused = await dig(TARGET[6], "web.corp.test", "A", "+tcp");
    assert.match(refused.stdout + refused.stderr, /connection refused/);
  },
  ["dig"],
);
