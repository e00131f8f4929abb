/**
 * What the documentation points to is there: files, the functions of docs/design.md's lists, links
 * with their headings, tasks. Whoever moves a file is told which page still has the old place.
 *
 * @module
 */

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseConfigFile } from "../../proxy/config/file.ts";
import { sourceFor } from "../../proxy/config/form.ts";
import { DIAL_WORDS, REFUSAL_WORDS } from "../../proxy/flow/words.ts";
import manifest from "../../deno.json" with { type: "json" };

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Folders of the sources, and what stands beside them. */
const FOLDERS = ["bench", "deploy", "docs", "examples", "ffi", "netstack", "proto", "proxy"]
  .concat("tests", "wireguard", ".ci");

/** Of other projects, or written by the reader. */
const FOREIGN = ["netns.sh", "../wirestack/mod.ts", "both.ts", "hello.ts"];

const SOURCE = /^[\w./-]+\.(?:ts|py|sh|go|proto|service)$/;

const files = FOLDERS.flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .map((file) => join(folder, file))
).concat("main.ts", "mod.ts", "deno.json");

const documents = new Map(
  readdirSync(join(ROOT, "docs")).filter((file) => file.endsWith(".md"))
    .map((file) => `docs/${file}`)
    .concat("README.md", "CONTRIBUTING.md")
    .map((file) => [file, Deno.readTextFileSync(join(ROOT, file))]),
);

Deno.test("every source file that a page names exists", () => {
  const wrong: string[] = [];
  let named = 0;
  eachLine(({ text, isCode, at }) => {
    const quoted = isCode
      ? text.split(/[\s"'=]+/).filter((word) => SOURCE.test(word) && isRooted(word))
      : spans(text).filter((span) => SOURCE.test(span));
    for (const path of quoted) {
      if (FOREIGN.includes(path)) continue;
      named++;
      if (filesOf(path).length === 0) wrong.push(`${at}: ${path}`);
    }
  });
  assert.deepEqual(wrong, []);
  assert.ok(named > 300, `${named}`);
});

Deno.test("docs/monitoring.md says what each verdict and each ending of a flow means", () => {
  const [, log = ""] = documents.get("docs/monitoring.md")!.split("## Access log");
  const named = spans(log.split("```").at(-1)!);
  // Those that are told as one of the others.
  const dialsOnly = ["host", "net", "prohibited", "exhausted"];
  const endings = Object.keys(DIAL_WORDS).filter((ending) => !dialsOnly.includes(ending));
  const wanted = ["allowed", ...Object.keys(REFUSAL_WORDS), ...endings];
  assert.deepEqual(wanted.filter((word) => !named.includes(word)), []);
});

Deno.test("each folder that a page names exists", () => {
  const wrong: string[] = [];
  eachLine(({ text, isCode, at }) => {
    if (isCode) return;
    for (const span of spans(text)) {
      if (!/^[\w./-]+\/$/.test(span) || !isRooted(span)) continue;
      if (!FOLDERS.includes(span.slice(0, -1)) && !files.includes(span.slice(0, -1))) {
        wrong.push(`${at}: ${span}`);
      }
    }
  });
  assert.deepEqual(wrong, []);
});

Deno.test("each step of docs/design.md's paths is a function, or a name, of the file beside it", () => {
  const wrong: string[] = [];
  let steps = 0;
  const [, ...paths] = documents.get("docs/design.md")!.split(/^## The path of an? (?!packet)/m);
  assert.ok(paths.length >= 6);
  for (const path of paths) {
    const [table] = path.split(/^## /m);
    for (const [, where, what] of table!.matchAll(/^\| (.*?) +\| (.*?) +\|$/gm)) {
      const sources = spans(where!).flatMap((span) => filesOf(span))
        .map((file) => Deno.readTextFileSync(join(ROOT, file)));
      for (const span of spans(what!)) {
        const [, first, member] = /^#?(\w+)(?:\.(\w+))?(?:\(.*\))?$/.exec(span) ?? [];
        if (first === undefined) continue;
        steps++;
        const begins = what!.startsWith(`\`${span}\`:`) || member !== undefined;
        const known = sources.some((source) =>
          begins ? declares(source, member ?? first) : RegExp(`\\b${first}\\b`).test(source)
        );
        if (!known) wrong.push(`${where}: ${span}`);
      }
    }
  }
  assert.deepEqual(wrong, []);
  assert.ok(steps > 40, `${steps}`);
});

Deno.test("a link to another page leads to a file, and to a heading of it", () => {
  const wrong: string[] = [];
  let links = 0;
  eachLine(({ file, text, isCode, at }) => {
    if (isCode) return;
    for (const [, target] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target!)) continue;
      links++;
      const [path, heading] = target!.split("#");
      const other = path === "" ? file : join(dirname(file), path!);
      const there = documents.get(other);
      const exists = there !== undefined || files.includes(other) || FOLDERS.includes(other) ||
        ["LICENSE", "CHANGELOG.md"].includes(other);
      if (!exists || heading !== undefined && !headings(there!).includes(heading)) {
        wrong.push(`${at}: ${target}`);
      }
    }
  });
  assert.deepEqual(wrong, []);
  assert.ok(links > 100, `${links}`);
});

Deno.test("each task that a page names is in deno.json", () => {
  const wrong: string[] = [];
  eachLine(({ text, at }) => {
    for (const [, name] of text.matchAll(/\bdeno task ([a-z][\w:-]*)/g)) {
      if (!Object.hasOwn(manifest.tasks, name!)) wrong.push(`${at}: ${name}`);
    }
  });
  assert.deepEqual(wrong, []);
});

Deno.test("every key and section in the pages' configurations is one, in its place", () => {
  const wrong: string[] = [];
  let blocks = 0;
  for (const [file, text] of documents) {
    for (const { index, 1: block } of text.matchAll(/^```ini\n([^]*?)^```$/gm)) {
      blocks++;
      // Parts of a file may begin in the middle of one, and have marks for what is the reader's.
      const lines = block!.split("\n").filter((line) => !/^\s*(?:\u2026|\.\.\.)/.test(line));
      if (lines[0]!.startsWith("[Unit]") || lines[0]!.startsWith("[Service]")) continue;
      const line = text.slice(0, index).split("\n").length;
      wrong.push(...unknownIn(lines.join("\n")).map((problem) => `${file}:${line}: ${problem}`));
    }
  }
  assert.deepEqual(wrong, []);
  assert.equal(unknownIn("[Peer]\nFallbak = tls://a:1\n[Rules]\n").length, 2);
  assert.ok(blocks > 20, `${blocks}`);
});

Deno.test("a declaration is told from a call, and a heading has the anchor that GitHub gives it", () => {
  const source = "export function one(\n  private async two<T>(\n  #three() {\n    four();\n";
  assert.deepEqual(
    ["one", "two", "three", "four"].map((name) => declares(source, name)),
    [true, true, true, false],
  );
  assert.deepEqual(headings("# A `b` c: d\n## [Peer]\n```\n# no\n```\n## [Peer]\n"), [
    ...["a-b-c-d", "peer", "peer-1"],
  ]);
});

function unknownIn(configuration: string): string[] {
  const source = sourceFor("block.conf");
  parseConfigFile(configuration, "block.conf", source);
  return source.problems().filter((problem) => /unknown (?:key|section)/.test(problem));
}

interface Line {
  readonly file: string;
  readonly text: string;
  /** Within a fence. */
  readonly isCode: boolean;
  readonly at: string;
}

function eachLine(visit: (line: Line) => void): void {
  for (const [file, text] of documents) {
    let isCode = false;
    text.split("\n").forEach((line, i) => {
      if (line.trimStart().startsWith("```")) isCode = !isCode;
      else visit({ file, text: line, isCode, at: `${file}:${i + 1}` });
    });
  }
}

function spans(text: string): string[] {
  return Array.from(text.matchAll(/`([^`]+)`/g), ([, span]) => span!);
}

function isRooted(path: string): boolean {
  return FOLDERS.includes(path.split("/")[0]!);
}

/** Files that a page means: one in full, else all whose path ends so, as tables leave out a folder. */
function filesOf(path: string): string[] {
  return files.filter((file) => file === path || !isRooted(path) && file.endsWith(`/${path}`));
}

/** At the top of a file or in a class of it, where a call never stands. */
function declares(source: string, name: string): boolean {
  return RegExp(`^(?:  )?(?:\\w+ )*[*#]?${name}[<(]`, "m").test(source);
}

function headings(text: string): string[] {
  const seen = new Map<string, number>();
  return Array.from(
    text.replace(/^```[\s\S]*?^```/gm, "").matchAll(/^#+ (.*)$/gm),
    ([, title]) => {
      const anchor = title!.toLowerCase().replace(/[^\w\s-]/g, "").trim().replaceAll(" ", "-");
      const count = seen.get(anchor) ?? 0;
      seen.set(anchor, count + 1);
      return count === 0 ? anchor : `${anchor}-${count}`;
    },
  );
}
