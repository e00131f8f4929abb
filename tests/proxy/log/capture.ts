/** The log's lines, for a test that counts them. */
import { resetSync } from "npm:@logtape/logtape@2.4.2";
import { configureLog, type LogLevel } from "../../../proxy/log/log.ts";

/** From now on to the end of the block. */
export function captureLog(level: LogLevel = "info"): Disposable & { readonly lines: string[] } {
  const lines: string[] = [];
  configureLog({ level, format: "text", write: (line) => lines.push(line) });
  return { lines, [Symbol.dispose]: () => resetSync() };
}
