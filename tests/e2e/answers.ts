/** How a service answers on one connection, the kernel's or our stack's. */

import { createHash } from "node:crypto";

export async function echo(conn: Deno.Conn): Promise<void> {
  using _ = conn;
  for await (const chunk of chunks(conn)) await send(conn, chunk);
}

/** Reads to the end of file, and only then answers. */
export async function digest(conn: Deno.Conn): Promise<void> {
  using _ = conn;
  const hash = await sha256(conn);
  await send(conn, new TextEncoder().encode(hash.toHex()));
}

/** Sends `file` while it reads; the digest of what was read comes last. */
export async function duplex(conn: Deno.Conn, file: Uint8Array): Promise<void> {
  using _ = conn;
  const [hash] = await Promise.all([sha256(conn), send(conn, file)]);
  await send(conn, hash);
}

/** What arrives until the end of file, in one buffer used again. */
async function* chunks(conn: Deno.Conn): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(65536);
  while (true) {
    const count = await conn.read(buffer);
    if (count === null) return;
    yield buffer.subarray(0, count);
  }
}

export async function sha256(conn: Deno.Conn): Promise<Uint8Array> {
  const hash = createHash("sha256");
  for await (const chunk of chunks(conn)) hash.update(chunk);
  return hash.digest();
}

export async function send(conn: Deno.Conn, data: Uint8Array): Promise<void> {
  for (let sent = 0; sent < data.length;) {
    sent += await conn.write(data.subarray(sent, sent + 65536));
  }
}
