/**
 * Why a call has ended, as one line for people.
 *
 * @module
 */

import { CONNECT_PROBLEMS } from "../tls/mod.ts";

/** What can go wrong before TLS, in the words of {@link TlsDialer}. */
const TCP_WORDS: readonly (readonly [RegExp, string])[] = [
  ...Object.entries(CONNECT_PROBLEMS).map(([code, words]) =>
    [new RegExp(`\\b${code}\\b`), words] as const
  ),
  [/^Name resolution failed|\bENOTFOUND\b|\bEAI_AGAIN\b/, "the name is not found"],
];

/** How the system's and the library's words are said here. */
const WORDS: readonly (readonly [RegExp, string])[] = [
  ...TCP_WORDS,
  [
    /\bECONNRESET\b|\bEPIPE\b|socket hang up|^Connection (?:dropped|closed)|^Socket closed|^Failed to connect/,
    "the connection has ended",
  ],
  [/^Received message larger than max/, "a message longer than allowed"],
  [
    /^The server does not implement|^Received HTTP status|^Missing |^Unimplemented/i,
    "the other side is no relay",
  ],
];

export const IN_TCP: ReadonlySet<string> = new Set(TCP_WORDS.map(([, words]) => words));

/** @param details What grpc-js says, or the other side, which may say anything. */
export function reasonOf(details: string): string {
  const text = details
    .replace(/^.*Last error: (?:\w*Error: )?/s, "")
    .replace(/\.? Resolution note: .*$/s, "")
    .replace(/ \(\d{4}-\d\d-\d\dT[^)]*\)/, "");
  return WORDS.find(([pattern]) => pattern.test(text))?.[1] ?? lineOf(text);
}

/** What may stand in a log: printable, and not for long. */
export function lineOf(text: string): string {
  return text.replaceAll(/[^ -~]+/g, " ").trim().slice(0, 200) || "the call has ended";
}
