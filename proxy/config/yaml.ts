/**
 * YAML with the line of every value. Each value is the text that stands there, so that 010, 1e3, no
 * and ~ mean what they mean in a wg-quick file, and not what a version of YAML makes of them.
 *
 * @module
 */

import process from "node:process";
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type ParsedNode,
  parseDocument,
} from "npm:yaml@2.9.1";
import { MAX_DEPTH, type Tree, TreeError } from "./tree.ts";

/** What all aliases together may stand for: a few lines can unfold to billions. */
const MAX_ALIASED = 100_000;

/** @throws {TreeError} */
export function parseYaml(text: string): Tree {
  const { document, lines } = parseYamlDocument(text);
  const { contents } = document;
  if (contents === null) return { kind: "plain", line: 1, value: null };
  return new Builder(lines).node(contents, 0).tree;
}

/**
 * The document with its comments, for who wants to change it.
 *
 * @throws {TreeError} of the first error: those that follow follow from it.
 */
export function parseYamlDocument(
  text: string,
): { document: Document.Parsed; lines: LineCounter } {
  const lines = new LineCounter();
  const read = text.replace(/^\uFEFF/, "");
  const document = withoutEnvironment(() =>
    parseDocument(read, {
      schema: "failsafe", // every value is text
      uniqueKeys: false, // found later, with both places
      prettyErrors: false, // these have lines of the file in them, which may be keys
      logLevel: "error",
      lineCounter: lines,
    })
  );
  const [error] = [...document.errors, ...document.warnings];
  if (error === undefined) return { document, lines };
  const isUnclosed = error.code === "BAD_INDENT" && UNCLOSED.test(error.message);
  // Where the rest of it was expected there may be nothing, or what belongs to something else.
  const at = isUnclosed || error.code === "MISSING_CHAR"
    ? read.slice(0, error.pos[0]).trimEnd().length
    : error.pos[0];
  const { line } = lines.linePos(at);
  const message = isUnclosed
    ? "has a [ or a { that is not closed, expected the ] or } here at the latest"
    : MESSAGES[error.code] ?? "is not YAML here, expected YAML";
  throw new TreeError(Math.max(1, line), message);
}

/**
 * The library looks into the environment whether to print what it reads, which may be keys, and this
 * program has no permission to look.
 */
function withoutEnvironment<T>(parse: () => T): T {
  const { env } = process;
  process.env = {};
  try {
    return parse();
  } finally {
    process.env = env;
  }
}

/** What the library says of a list or an object in brackets that has no end. */
const UNCLOSED = /^Flow (?:sequence|map) .* end with a [\]}]/;

/** Those of the library may have parts of the text. */
const MESSAGES: Record<string, string> = {
  BAD_DQ_ESCAPE: "has an unknown escape between double quotes, expected one of YAML's",
  BAD_INDENT: "is indented wrongly, expected it as deep as its neighbours",
  BLOCK_AS_IMPLICIT_KEY: "has a second `: ` on its line, expected quotes around such a value",
  BAD_SCALAR_START: "begins with a character that YAML keeps, expected quotes around the value",
  MISSING_CHAR: "lacks a quote, bracket, comma or colon, expected YAML",
  MULTIPLE_DOCS: "begins a second document, expected one",
  MULTILINE_IMPLICIT_KEY: "is a key over several lines, or lacks its colon, expected KEY: VALUE",
  RESOURCE_EXHAUSTION: "is nested too deep",
  TAB_AS_INDENT: "is indented with a tab, expected blanks",
  TAG_RESOLVE_FAILED: "has a tag, expected a plain value",
};

interface Built {
  readonly tree: Tree;
  /** Nodes in it. */
  readonly size: number;
}

class Builder {
  readonly #lines: LineCounter;
  /** The latest of each name. */
  readonly #anchors = new Map<string, Built>();
  #aliased = 0;

  constructor(lines: LineCounter) {
    this.#lines = lines;
  }

  node(node: ParsedNode | null, depth: number): Built {
    const line = Math.max(1, this.#lines.linePos(node?.range[0] ?? 0).line);
    if (depth > MAX_DEPTH) {
      throw new TreeError(line, `is nested too deep, expected at most ${MAX_DEPTH} levels`);
    }
    if (isAlias(node)) return this.#alias(node.source, line);
    const built = this.#build(node, line, depth);
    if (node?.anchor !== undefined) this.#anchors.set(node.anchor, built);
    return built;
  }

  #build(node: ParsedNode | null, line: number, depth: number): Built {
    if (isSeq(node)) {
      const items = node.items.map((item) => this.node(item as ParsedNode, depth + 1));
      const tree: Tree = { kind: "list", line, items: items.map((item) => item.tree) };
      return { tree, size: items.reduce((sum, { size }) => sum + size, 1) };
    }
    if (isMap(node)) {
      let size = 1;
      const entries = node.items.map((pair) => {
        const key = pair.key as ParsedNode;
        const name = this.node(key, depth + 1).tree;
        if (name.kind !== "plain") throw new TreeError(name.line, "is no name, expected one");
        if (name.value === "<<") {
          throw new TreeError(name.line, "`<<` is of YAML 1.1, expected the keys themselves");
        }
        const value = this.node(pair.value as ParsedNode | null, depth + 1);
        size += value.size;
        // An empty value has its place behind the line's end.
        const tree = value.tree.kind === "plain" && value.tree.value === null
          ? { ...value.tree, line: name.line }
          : value.tree;
        return { name: String(name.value ?? ""), line: name.line, value: tree };
      });
      return { tree: { kind: "map", line, entries }, size };
    }
    const isEmpty = !isScalar(node) || node.type === "PLAIN" && node.value === "";
    const value = isEmpty ? null : String(node.value);
    return { tree: { kind: "plain", line, value }, size: 1 };
  }

  #alias(name: string, line: number): Built {
    const built = this.#anchors.get(name);
    if (built === undefined) {
      throw new TreeError(line, "is an alias without an anchor above it, expected one");
    }
    this.#aliased += built.size;
    if (this.#aliased <= MAX_ALIASED) return built;
    throw new TreeError(line, `unfolds to more than ${MAX_ALIASED} values, expected fewer`);
  }
}
