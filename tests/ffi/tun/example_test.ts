import assert from "node:assert/strict";
import { Lab, labTest } from "../../e2e/lab.ts";

labTest(
  "the example answers pings of both families, with no permission but that for FFI",
  async () => {
    await using lab = await Lab.create();
    const host = await lab.host("host");
    const example = new URL("../../../examples/pong.ts", import.meta.url).pathname;
    const command = [Deno.execPath(), "run", "--no-prompt", "--allow-ffi", example];
    const pong = host.spawn("pong", command);
    await pong.line(/^pong0 is up: ping 192\.0\.2\.2 or 2001:db8::2$/);
    for (const target of ["192.0.2.2", "192.0.2.77", "2001:db8::2", "2001:db8::77"]) {
      for (const size of ["0", "56", "1452"]) {
        const said = await host.output([
          "ping",
          "-c",
          "3",
          "-i",
          "0.05",
          "-w",
          "10",
          "-s",
          size,
          target,
        ]);
        assert.match(said, / 3 received/);
      }
    }
  },
  ["ping"],
);
