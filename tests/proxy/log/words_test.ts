import assert from "node:assert/strict";
import { reset } from "npm:@logtape/logtape@2.4.2";
import { configureLog } from "../../../proxy/log/log.ts";
import { SITE, startPair } from "../pair.ts";

Deno.test("what comes to nothing is logged in words, with the peer it was for", async () => {
  const lines: string[] = [];
  configureLog({ level: "debug", format: "text", write: (line) => lines.push(line) });
  try {
    await using pair = await startPair({ proxy: { subnets: ["0.0.0.0/0"] } });
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    listener.close();
    await assert.rejects(pair.client.connect({ hostname: SITE, port }));
    await assert.rejects(pair.client.connect({ hostname: "169.254.169.254", port }));
    const said = (pattern: RegExp) =>
      assert.ok(lines.some((line) => pattern.test(line)), `${pattern} in\n${lines.join("")}`);
    const key = "[A-Za-z0-9+/]{43}=";
    said(
      new RegExp(
        `: ${key}, 10\\.9\\.0\\.2 port \\d+: 127\\.0\\.0\\.1 port ${port}: refused: nobody listens there\n`,
      ),
    );
    said(
      new RegExp(
        `: 10\\.9\\.0\\.2: 169\\.254\\.169\\.254 port ${port} is refused: loopback, link-local, multicast or the ` +
          "like, which no map names\n",
      ),
    );
    // Words, and no fields of a program behind them.
    for (const line of lines) assert.doesNotMatch(line, / \w+="|\w+=\d/, line);
  } finally {
    await reset();
  }
});
