/**
 * A line of text over a connection, of bounded length.
 *
 * @module
 */

const NEWLINE = 0x0a;

/**
 * Reads up to the first line break. What follows it is not looked at.
 *
 * @param limit Bytes, the line break included.
 * @returns undefined if it is longer, or no UTF-8.
 * @throws {Error} of the connection, or if that ends first.
 */
export async function readLine(
  conn: Pick<Deno.Conn, "read">,
  limit: number,
): Promise<string | undefined> {
  const bytes = new Uint8Array(limit);
  let length = 0;
  while (length < limit) {
    const count = await conn.read(bytes.subarray(length));
    if (count === null) throw new Deno.errors.UnexpectedEof("it was closed in the middle");
    const end = bytes.subarray(length, length + count).indexOf(NEWLINE);
    length += count;
    if (end >= 0) return decode(bytes.subarray(0, length - count + end));
  }
  return undefined;
}

/** @throws {Error} of the connection. */
export async function writeText(conn: Pick<Deno.Conn, "write">, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  for (let sent = 0; sent < bytes.length;) sent += await conn.write(bytes.subarray(sent));
}

function decode(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
