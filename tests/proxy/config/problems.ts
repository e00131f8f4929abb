import { ConfigError, loadConfig } from "../../../proxy/config/config.ts";

/** What is wrong with a file, `wg0.conf`; nothing if it is accepted. */
export function problems(text: string): readonly string[] {
  try {
    loadConfig(text, { file: "wg0.conf" });
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems;
  }
}
