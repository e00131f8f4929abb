/**
 * /etc/resolv.conf with a tunnel's name servers. What it had before stays in it as comments, so that
 * it comes back whatever happens in between, a restart of the machine included: resolv.conf(5).
 *
 * @module
 */

const KEPT = "#|";

function marker(device: string): string {
  return `# wirestack ${device}: until it is down. What was here before stands behind ${KEPT}`;
}

const MARKER = /^# wirestack (\S+): until it is down\. /;
/** Stands in for the text of a file that was not there. */
const ABSENT = "# there was no such file";

/** @param text Of the file as it is; undefined if there is none. */
export function withNameServers(
  text: string | undefined,
  device: string,
  servers: readonly string[],
  domains: readonly string[],
): string {
  const own = [
    ...domains.length > 0 ? [`search ${domains.join(" ")}`] : [],
    ...servers.map((server) => `nameserver ${server}`),
  ];
  return layer(device, text ?? ABSENT, own.map((line) => `${line}\n`).join(""));
}

/**
 * The file without a tunnel's name servers, those of later tunnels kept.
 *
 * @returns the text; `absent` if there was no file; undefined if the tunnel has none in there.
 */
export function withoutNameServers(
  text: string,
  device: string,
): { readonly text: string } | "absent" | undefined {
  const top = parseLayer(text);
  if (top === undefined) return undefined;
  if (top.device === device) return top.before === ABSENT ? "absent" : { text: top.before };
  const below = withoutNameServers(top.before, device);
  if (below === undefined) return undefined;
  return { text: layer(top.device, below === "absent" ? ABSENT : below.text, top.own) };
}

function layer(device: string, before: string, own: string): string {
  const kept = before.split("\n").map((line) => `${KEPT}${line}\n`).join("");
  return `${marker(device)}\n${kept}${own}`;
}

function parseLayer(text: string) {
  const lines = text.split("\n");
  const device = MARKER.exec(lines[0]!)?.[1];
  if (device === undefined) return undefined;
  let end = 1;
  while (lines[end]?.startsWith(KEPT)) end++;
  return {
    device,
    before: lines.slice(1, end).map((line) => line.slice(KEPT.length)).join("\n"),
    own: lines.slice(end).join("\n"),
  };
}
