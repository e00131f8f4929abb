/**
 * Between us and somebody who has nothing but the schema and grpc-js, as the release before had: whoever
 * makes messages of any size, reads them by the library, and leaves windows to it.
 */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import {
  credentials,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
} from "npm:@grpc/grpc-js@1.14.7";
import { type Datagrams, RelayClient, RelayService } from "../../../../../proto/relay.ts";
import { until } from "../tls/lab.ts";
import { dialerOf, Hub, PEM, Told } from "./lab.ts";

const PARTS = [1, 100, 16_366, 16_367, 16_384, 40_000, 65_537];
const ROUNDS = 20;

/** As many bytes as fill windows of HTTP/2 several times, in messages of many sizes. */
function parts(): Uint8Array[] {
  return Array.from(
    { length: PARTS.length * ROUNDS },
    (_, i) => new Uint8Array(PARTS[i % PARTS.length]!).map((_, k) => i + k),
  );
}

type Stream = {
  on(event: "data", listener: (message: Datagrams) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  write(message: Datagrams): unknown;
};

/** What the library's side has read, and all that it writes. */
function talk(stream: Stream): Uint8Array[] {
  const read: Uint8Array[] = [];
  stream.on("data", ({ packed }: Datagrams) => read.push(packed));
  stream.on("error", () => {});
  for (const packed of parts()) stream.write({ packed });
  return read;
}

async function assertAll(
  carrier: ConstructorParameters<typeof Told>[0],
  read: () => readonly Uint8Array[],
): Promise<void> {
  const told = new Told(carrier);
  const all = Buffer.concat(parts());
  for (const bytes of parts()) {
    const { writables } = told;
    if (!carrier.write(bytes, () => {})) await told.until((told) => told.writables > writables);
  }
  await told.until(({ bytes }) => bytes >= all.length);
  assert.ok(Buffer.concat(told.chunks).equals(all));
  await until(() => read().reduce((sum, { length }) => sum + length, 0) >= all.length);
  assert.ok(Buffer.concat(read()).equals(all));
}

Deno.test("a client that has the schema and grpc-js alone is served", async () => {
  await using hub = await Hub.start();
  const client = new RelayClient(
    `127.0.0.1:${hub.port}`,
    credentials.createSsl(
      Buffer.from(PEM.ca),
      Buffer.from(PEM.client.key),
      Buffer.from(PEM.client.cert),
    ),
    {
      "grpc.max_receive_message_length": 65_600,
      "grpc.ssl_target_name_override": "localhost",
    },
  );
  const call = client.carry();
  const read = talk(call);
  await assertAll(await hub.carrier(), () => read);
  call.cancel();
  client.close();
});

Deno.test("a server that has the schema and grpc-js alone is used", async () => {
  const server = new Server({ "grpc.max_receive_message_length": 65_600 });
  let read: Uint8Array[] = [];
  server.addService(RelayService, {
    carry(call: ServerDuplexStream<Datagrams, Datagrams>) {
      call.sendMetadata(call.metadata);
      read = talk(call);
    },
  });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync(
      "127.0.0.1:0",
      ServerCredentials.createSsl(Buffer.from(PEM.ca), [{
        private_key: Buffer.from(PEM.server.key),
        cert_chain: Buffer.from(PEM.server.cert),
      }], true),
      (error, port) => error ? reject(error) : resolve(port),
    )
  );
  const carrier = await dialerOf(port).dial(new AbortController().signal);
  await assertAll(carrier, () => read);
  carrier.close();
  server.forceShutdown();
});
