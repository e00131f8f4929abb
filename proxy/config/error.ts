/**
 * What can be wrong with a configuration, and where it came from.
 *
 * @module
 */

/** Where a value is in a {@link ConfigInput}: `["peers", 0, "allowedIps", 1]`. */
export type ConfigPath = readonly (string | number)[];

/**
 * A configuration that cannot be used. Has every problem found, not the first only. No message
 * ever holds the value of a key.
 */
export class ConfigError extends Error {
  /** For those who have no `instanceof`. */
  override readonly name = "ConfigError";
  /** One line each: `FILE:LINE: KEY: what is wrong, what was expected`. */
  readonly problems: readonly string[];

  /** Made where a configuration is read. */
  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.problems = problems;
  }
}

/** One that names files which this process may not read any more. */
export class ForbiddenFilesError extends ConfigError {}

/**
 * A well-formed value that the system refuses at start: a port in use, an address that is not this
 * host's. The caller that knows where the value was written puts that before the message.
 */
export class SettingError extends Error {
  /** For those who have no `instanceof`. */
  override readonly name = "SettingError";
  /** Where the value is in a {@link ConfigInput}. */
  readonly path: ConfigPath;

  /**
   * Made where the system refuses.
   *
   * @param message `what is wrong, what was expected`, without the name of the setting.
   */
  constructor(path: ConfigPath, message: string, options?: ErrorOptions) {
    super(message, options);
    this.path = path;
  }
}
