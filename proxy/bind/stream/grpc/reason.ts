/**
 * Why a call has ended, as one line for people.
 *
 * @module
 */

/** How the system's and the library's words are said here. */
const WORDS: readonly (readonly [RegExp, string])[] = [
  [/\bECONNREFUSED\b/, "connection refused"],
  [/\bECONNRESET\b|socket hang up|\bEPIPE\b/, "connection closed by the other side"],
  [/\bETIMEDOUT\b/, "connection timed out"],
  [/\bEHOSTUNREACH\b|\bENETUNREACH\b/, "connection impossible, there is no route"],
  [/^Name resolution failed|\bENOTFOUND\b|\bEAI_AGAIN\b/, "name not found"],
  [
    /^Connection dropped|^Connection closed|^Socket closed|^Failed to connect/,
    "connection closed by the other side",
  ],
  [/^Received message larger than max/, "a message longer than allowed"],
  [/^The server does not implement|^Received HTTP status|^Missing /, "the other side is no relay"],
];

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
