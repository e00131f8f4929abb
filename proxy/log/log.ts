/**
 * The log of the command line. The rest of the program only asks LogTape for a
 * logger, `getLogger(["wirestack", …])`, which is silent in an embedder's program until that
 * program configures LogTape.
 *
 * Keys are kept out here once more, whatever a caller passes: bytes are printed as their number,
 * objects with a class as their text, and properties named like a secret not at all.
 *
 * @module
 */

import {
  configureSync,
  getTextFormatter,
  type LogRecord,
  type TextFormatter,
} from "npm:@logtape/logtape@2.4.2";

import { eventOf, typed } from "./events.ts";

export const LOG_LEVELS = ["trace", "debug", "info", "warning", "error"] as const;
export type LogLevel = typeof LOG_LEVELS[number];

/**
 * `text`: a line for people. `json`: one JSON object on a line, with the event's name and its fields
 * beside `message`.
 */
export const LOG_FORMATS = ["text", "json"] as const;
export type LogFormat = typeof LOG_FORMATS[number];

export interface LogOptions {
  /** The least that is logged. */
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** Takes a line with its line feed. Default: standard error. */
  readonly write?: (line: string) => void;
}

/** Replaces any earlier configuration of LogTape. */
export function configureLog(options: LogOptions): void {
  const format = options.format === "json" ? JSON_LINES : TEXT;
  const write = options.write ?? writeToStandardError;
  configureSync({
    reset: true,
    sinks: { log: (record) => write(format(withoutSecrets(record))) },
    loggers: [
      { category: ["wirestack"], lowestLevel: options.level, sinks: ["log"] },
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks: ["log"] },
    ],
  });
}

/** Values stand in the message as they are: LogTape's own form quotes them, and a second time for JSON. */
const JSON_LINES: TextFormatter = (record) => {
  const message = record.message.map((part) => typeof part === "string" ? part : textOf(part));
  const event = eventOf(record);
  const own = {
    "@timestamp": new Date(record.timestamp).toISOString(),
    level: record.level === "warning" ? "WARN" : record.level.toUpperCase(),
    message: message.join(""),
    logger: record.category.join("."),
    ...(event !== undefined && { event: event.name }),
  };
  const properties = Object.entries(record.properties)
    .map(([name, value]) => [name, typed(value, event?.fields[name])]);
  const line = JSON.stringify({ ...own, ...Object.fromEntries(properties), ...own });
  // What JSON leaves as it is: C1 controls, which terminals may take for commands.
  return `${line.replace(/[\x7f-\x9f]/g, (code) => `\\u00${code.charCodeAt(0).toString(16)}`)}\n`;
};

const TEXT: TextFormatter = getTextFormatter({
  timestamp: "rfc3339",
  level: "full",
  category: (category) => category.slice(1).join(".") || category.join("."),
  value: (value) => textOf(value),
  // Names and messages of others end up in the log; none may look like a line of its own.
  sanitize: { newlines: "escape", sgr: "escape" },
  format: ({ timestamp, level, category, message, record }) =>
    `${timestamp} ${level.padEnd(7)} ${category}: ${message}${labelled(record)}`,
});

/**
 * The properties of a message that names none, and so is a label: "stats". Any other message says in
 * words what it has to say; its further properties are for programs, in JSON.
 */
function labelled({ rawMessage, properties }: LogRecord): string {
  if (typeof rawMessage !== "string" || /\{\w+\}/.test(rawMessage)) return "";
  return Object.entries(properties)
    .map(([name, value]) => ` ${name}=${oneLine(JSON.stringify(value) ?? String(value))}`).join("");
}

function textOf(value: unknown): string {
  return oneLine(typeof value === "string" ? value : JSON.stringify(value) ?? String(value));
}

/** Control characters escaped: LogTape leaves that to whoever renders the values. */
function oneLine(text: string): string {
  return text.replace(/\p{Cc}/gu, (character) => {
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
}

const SECRET_NAME = /private|preshared|psk|secret|password/i;

function withoutSecrets(record: LogRecord): LogRecord {
  const properties: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(record.properties)) {
    properties[name] = SECRET_NAME.test(name) ? "<withheld>" : plain(value, 0);
  }
  // Parts with an odd index are values; LogTape took them from the properties.
  const message = record.message.map((part, i) => {
    return i % 2 === 0 ? part : isSecretPart(record, part) ? "<withheld>" : plain(part, 0);
  });
  return { ...record, message, properties };
}

function isSecretPart(record: LogRecord, part: unknown): boolean {
  return Object.entries(record.properties).some(([name, value]) =>
    value === part && SECRET_NAME.test(name)
  );
}

/** Something JSON can hold and a log may show. */
function plain(value: unknown, depth: number): unknown {
  if (typeof value === "bigint" || typeof value === "symbol") return String(value);
  if (typeof value === "function") return "<function>";
  if (typeof value !== "object" || value === null) return value;
  if (ArrayBuffer.isView(value)) return `<${value.byteLength} bytes>`;
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  if (depth > 6) return "…";
  if (Array.isArray(value)) return value.map((item) => plain(item, depth + 1));
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    const named = value.toString !== Object.prototype.toString;
    return named ? String(value) : `<${value.constructor?.name ?? "object"}>`;
  }
  const copy: Record<string, unknown> = {};
  for (const [name, item] of Object.entries(value)) {
    copy[name] = SECRET_NAME.test(name) ? "<withheld>" : plain(item, depth + 1);
  }
  return copy;
}

const encoder = new TextEncoder();

/** Synchronous: the last words before an exit must be out. */
function writeToStandardError(line: string): void {
  const bytes = encoder.encode(line);
  try {
    for (let sent = 0; sent < bytes.length;) sent += Deno.stderr.writeSync(bytes.subarray(sent));
  } catch {
    // Nobody reads it any more, or a full pipe that does not block. The gateway goes on.
  }
}
