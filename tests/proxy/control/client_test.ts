import assert from "node:assert/strict";
import { ControlClient } from "../../../proxy/control/client.ts";

/** Answers each request with pieces, `everyMs` apart; then says nothing more. */
async function gatewayOf(pieces: readonly string[], everyMs = 0) {
  const directory = await Deno.makeTempDir();
  const listener = Deno.listen({ transport: "unix", path: `${directory}/lab.sock` });
  const conns: Deno.Conn[] = [];
  (async () => {
    for await (const conn of listener) {
      conns.push(conn);
      await conn.read(new Uint8Array(1000));
      for (const piece of pieces) {
        await conn.write(new TextEncoder().encode(piece)).catch(() => {});
        await new Promise((resolve) => setTimeout(resolve, everyMs));
      }
    }
  })();
  return {
    directory,
    async [Symbol.asyncDispose]() {
      listener.close();
      for (const conn of conns) conn.close();
      await Deno.remove(directory, { recursive: true });
    },
  };
}

Deno.test("an answer may take longer than its client waits for the next of it", async () => {
  const pieces = Array.from({ length: 12 }, (_, i) => `flow=${i}\n`);
  await using gateway = await gatewayOf([...pieces, "errno=0\n\n"], 250);
  const answer = await new ControlClient(gateway.directory, "lab", 2_000).ask("get=1");
  assert.deepEqual(answer!.pairs.length, 12);
});

Deno.test("a gateway that falls silent half-way is given up", async () => {
  await using gateway = await gatewayOf(["flow=0\n"]);
  await assert.rejects(
    new ControlClient(gateway.directory, "lab", 200).ask("get=1"),
    /^ControlError: lab: no answer/,
  );
});

Deno.test("pairs may be taken one by one, wherever the pieces are cut", async () => {
  const text = `first=ä\n${Array.from({ length: 3_000 }, (_, i) => `flow=${i}=x\n`).join("")}`;
  await using gateway = await gatewayOf([`${text}errno=`, "-2\n", "\n"], 20);
  const taken: string[] = [];
  const answer = await new ControlClient(gateway.directory, "lab").ask(
    "get=1",
    [],
    (key, value) => {
      if (key === "flow") taken.push(value);
      return key === "flow";
    },
  );
  assert.deepEqual(answer, { pairs: [["first", "ä"]], errno: 2 });
  assert.deepEqual(taken, Array.from({ length: 3_000 }, (_, i) => `${i}=x`));
});
