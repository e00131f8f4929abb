/**
 * The head of an HTTP/1 request: its line, and the few fields that matter to who answers GET alone.
 *
 * @module
 */

export interface HttpHead {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  /** Undefined if it is not known whose name is asked for: none is, or several are. */
  readonly host: string | undefined;
  readonly authorization: string | undefined;
  /** Whether another request may come behind this one. */
  readonly isLast: boolean;
}

/** RFC 9110 §5.6.2. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/**
 * Strict: whatever two readers could take for different things is refused.
 *
 * @param text Up to the empty line, without it, each byte a character.
 * @returns undefined if it is none, or lacks what it must have.
 */
export function parseHttpHead(text: string): HttpHead | undefined {
  // A CR or LF by itself is a line's end to some.
  // deno-lint-ignore no-control-regex
  if (/[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n/.test(text)) return undefined;
  const [line, ...lines] = text.split("\r\n");
  const [method, target, version, more] = line!.split(" ");
  if (!TOKEN.test(method!) || !target || more !== undefined) return undefined;
  if (version !== "HTTP/1.1" && version !== "HTTP/1.0") return undefined;
  const fields = new Map<string, string[]>();
  for (const field of lines) {
    const colon = field.indexOf(":");
    const name = field.slice(0, Math.max(0, colon));
    if (!TOKEN.test(name)) return undefined; // that of a folded line begins with a blank
    const values = fields.get(name.toLowerCase()) ?? [];
    values.push(field.slice(colon + 1).trim());
    fields.set(name.toLowerCase(), values);
  }
  const isOld = version === "HTTP/1.0";
  if (!isOld && !fields.has("host")) return undefined; // RFC 9112 §3.2
  // RFC 9112 §3.2.2: a target may be a whole URI, whose host then counts.
  const [, authority, rest = target] = /^http:\/\/([^/?#]*)(.*)$/i.exec(target) ?? [];
  const host = only(fields.get("host"));
  return {
    method: method!,
    path: rest.replace(/\?.*$/, "") || "/",
    // Two are for two readers, a proxy in front of this server for one.
    host: host === undefined ? undefined : authority ?? host,
    authorization: only(fields.get("authorization")),
    isLast: isOld || hasClose(fields.get("connection")) || hasBody(fields),
  };
}

function only(values: readonly string[] | undefined): string | undefined {
  return values?.length === 1 ? values[0] : undefined;
}

function hasClose(values: readonly string[] = []): boolean {
  return values.some((value) => value.split(",").some((one) => /^\s*close\s*$/i.test(one)));
}

/** What is behind such a head would be read as another. */
function hasBody(fields: ReadonlyMap<string, readonly string[]>): boolean {
  const lengths = fields.get("content-length") ?? [];
  return fields.has("transfer-encoding") || lengths.some((length) => length !== "0");
}
