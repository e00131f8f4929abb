/**
 * What YAML and JSON have in common once they are parsed: maps, lists and plain values, each with the
 * line it was written on.
 *
 * @module
 */

export type Tree = MapNode | ListNode | PlainNode;

export interface MapNode {
  readonly kind: "map";
  /** From 1. */
  readonly line: number;
  /** As written: a name may come twice. */
  readonly entries: readonly {
    readonly name: string;
    readonly line: number;
    readonly value: Tree;
  }[];
}

export interface ListNode {
  readonly kind: "list";
  readonly line: number;
  readonly items: readonly Tree[];
}

export interface PlainNode {
  readonly kind: "plain";
  readonly line: number;
  /** Null: nothing was written, or JSON's null. */
  readonly value: string | number | boolean | null;
}

/** A configuration is four deep. */
export const MAX_DEPTH = 8;

/** A text that is no tree. The message is `what is wrong, what was expected`, without any of the text. */
export class TreeError extends Error {
  override readonly name = "TreeError";
  readonly line: number;

  constructor(line: number, message: string) {
    super(message);
    this.line = line;
  }
}

/** As the schema would see it, for its own message about what has no place there. */
export function toValue(tree: Tree): unknown {
  if (tree.kind === "plain") return tree.value;
  return tree.kind === "list" ? tree.items.map(toValue) : {};
}
