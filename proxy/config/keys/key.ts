/**
 * What is known of a key of the configuration.
 *
 * @module
 */

/** The sections, by their name in {@link ConfigInput}. */
export type Section =
  | "interface"
  | "peers"
  | "rules"
  | "links"
  | "proxy"
  | "relay"
  | "status"
  | "capture"
  | "log";

export interface Key {
  readonly section: Section;
  /** In the file. Compared without regard to case, as `wg` and `wg-quick` do. */
  readonly name: string;
  /** In {@link ConfigInput}. */
  readonly field: string;
  /**
   * A key that may be repeated: its values add up. `comma`: one line may hold several, `names` too, but
   * a blank does not part them. `line`: a line is one value, whatever is in it.
   */
  readonly list?: "comma" | "names" | "line";
  /** Its value is never shown. */
  readonly secret?: true;
  /**
   * Its value names a file, or may: in a file of the configuration it is relative to that file's
   * folder. `socket`: only with `unix:` or `unixgram:` before it.
   */
  readonly path?: "file" | "socket";
  /**
   * Nothing happens: ever, for what only one of WireGuard's apps has, or without a device of the
   * operating system (`up --tun`).
   */
  readonly inert?: "device" | "app";
  /** On the command line, without the dashes. */
  readonly flag?: string;
  /** Name of the flag's value in `--help`. */
  readonly argument?: string;
  readonly help?: string;
}

/** The keys of one section, whose fields are those of its input. */
export function keysOf<Input>(
  section: Section,
  specs: readonly (Omit<Key, "section" | "field"> & { readonly field: keyof Input & string })[],
): readonly Key[] {
  return specs.map((spec) => ({ section, ...spec }));
}
