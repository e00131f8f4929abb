/**
 * `deno task sim`: transfers between two of our stacks in simulated time, and what came of them.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { PcapWriter } from "./pcap.ts";
import { DEFAULTS, transfer, type TransferOptions, type TransferResult } from "./transfer.ts";

const USAGE = `usage: deno task sim [OPTION]...

  --bytes N           of every flow (10485760)
  --rtt-ms N          round trip of the path (100)
  --loss P            probability that a packet is lost, each direction by itself (0)
  --reorder P         probability that up to 10 later packets overtake a packet (0)
  --duplicate P       probability that a packet arrives twice (0)
  --corrupt P         probability that one bit of a packet is flipped (0)
  --rate BITS         of IP packets per second, each direction (unlimited)
  --queue PACKETS     that may wait for the rate (unlimited)
  --buffer BYTES      every send and receive buffer (what the stack does by itself)
  --flows N           connections, all from the same side (1)
  --start-spread S    they start at random times within S seconds (0)
  --duration S        stops after S seconds (when every byte has arrived)
  --cc NAME           none, newreno or cubic (cubic)
  --mtu N             of the path (1500)
  --seed N            of all chance (1)
  --pcap FILE         writes every packet as it was sent
  --json              one JSON object instead of a table
`;

/**
 * @param args Without the name of the program.
 * @returns Exit status: 1 if a transfer failed, 2 for wrong arguments.
 */
export function run(args: readonly string[]): number {
  let options;
  try {
    options = parse(args);
  } catch (error) {
    if (!(error instanceof ArgumentError)) throw error;
    console.error(`sim: ${error.message}`);
    return 2;
  }
  if (options === "help") {
    console.log(USAGE.trimEnd());
    return 0;
  }
  const { json, pcap, ...rest } = options;
  let writer: PcapWriter | undefined;
  try {
    if (pcap !== undefined) writer = PcapWriter.open(pcap);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    console.error(`sim: --pcap: ${error.message}`);
    return 2;
  }
  const result = transfer({
    ...DEFAULTS,
    ...rest,
    tap: writer && ((now, _from, buffer, offset, length) => {
      writer.write(now, buffer, offset, length);
    }),
  });
  writer?.close();
  const report = describe(result);
  if (json) console.log(JSON.stringify(report));
  else for (const [name, value] of Object.entries(report)) console.log(name.padEnd(18), value);
  return result.failed === 0 ? 0 : 1;
}

/** A mistake of the caller, in one line. */
class ArgumentError extends Error {}

interface ToolOptions extends Omit<TransferOptions, "tap" | "loseAtMs"> {
  json: boolean;
  pcap: string | undefined;
}

/** Names, units and precision as printed; what does not exist is null in JSON. */
function describe(result: TransferResult) {
  const round = (value: number, digits: number) => Number(value.toFixed(digits));
  return {
    bytes_per_s: round(result.bytesPerSecond, 3),
    duration_s: round(result.seconds, 6),
    retransmits: result.retransmits,
    timeouts: result.timeouts,
    spurious: result.spurious,
    jain: round(result.jain, 6),
    bytes: result.bytes,
    failed: result.failed,
    packets: result.packets,
    overflowed: result.overflowed,
    undone: result.undone,
    mean_rto_ms: round(result.meanRtoMs, 3),
  };
}

function parse(args: readonly string[]): ToolOptions | "help" {
  const values = split(args);
  if (values.help) return "help";
  const number = (
    name: Name,
    fallback: number,
    least: number,
    most: number,
    whole: boolean,
    expected: string,
  ): number => {
    const text = values[name];
    if (text === undefined) return fallback;
    const value = /^[0-9]+(\.[0-9]+)?(e[0-9]+)?$/i.test(text) ? Number(text) : NaN;
    if (!(value >= least && value <= most) || (whole && !Number.isInteger(value))) {
      throw new ArgumentError(`--${name}: expected ${expected}, got ${JSON.stringify(text)}`);
    }
    return value;
  };
  const count = (name: Name, fallback: number, least: number, most: number) =>
    number(name, fallback, least, most, true, `a whole number from ${least} to ${most}`);
  const probability = (name: Name) => number(name, 0, 0, 1, false, "a probability from 0 to 1");

  const { cc = DEFAULTS.congestion } = values;
  if (cc !== "none" && cc !== "newreno" && cc !== "cubic") {
    throw new ArgumentError(`--cc: expected none, newreno or cubic, got ${JSON.stringify(cc)}`);
  }
  const time = "a number of seconds above 0";
  const duration = number("duration", Infinity, Number.MIN_VALUE, 1e6, false, time);
  return {
    bytes: count("bytes", duration === Infinity ? DEFAULTS.bytes : Infinity, 1, 1e12),
    rttMs: number("rtt-ms", DEFAULTS.rttMs, 0, 1e5, false, "milliseconds from 0 to 100000"),
    loss: probability("loss"),
    reorder: probability("reorder"),
    duplicate: probability("duplicate"),
    corrupt: probability("corrupt"),
    rate: number("rate", Infinity, 1, 1e15, false, "bits per second from 1"),
    queue: count("queue", Infinity, 1, 1e9),
    buffer: values.buffer === undefined ? undefined : count("buffer", 0, 1, 2 ** 30),
    flows: count("flows", DEFAULTS.flows, 1, 10_000),
    congestion: cc,
    seed: count("seed", DEFAULTS.seed, 0, 2 ** 32 - 1),
    mtu: count("mtu", DEFAULTS.mtu, 576, 65_535),
    durationMs: 1000 * duration,
    startSpreadMs: 1000 * number("start-spread", 0, 0, 1e6, false, "a number of seconds from 0"),
    json: values.json ?? false,
    pcap: values.pcap,
  };
}

const STRING = { type: "string" } as const;
const FLAG = { type: "boolean" } as const;

const OPTIONS = {
  "bytes": STRING,
  "rtt-ms": STRING,
  "loss": STRING,
  "reorder": STRING,
  "duplicate": STRING,
  "corrupt": STRING,
  "rate": STRING,
  "queue": STRING,
  "buffer": STRING,
  "flows": STRING,
  "start-spread": STRING,
  "duration": STRING,
  "cc": STRING,
  "mtu": STRING,
  "seed": STRING,
  "pcap": STRING,
  "json": FLAG,
  "help": FLAG,
} as const;

type Name = {
  [K in keyof typeof OPTIONS]: typeof OPTIONS[K] extends typeof STRING ? K : never;
}[keyof typeof OPTIONS];

function split(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: false }).values;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    // The first sentence says it; the rest is advice on positional arguments.
    throw new ArgumentError(error.message.split(/\. |\n/)[0]!);
  }
}

if (import.meta.main) Deno.exit(run(Deno.args));
