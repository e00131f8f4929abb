import assert from "node:assert/strict";
import {
  checkFields,
  keyValue,
  linesOf,
  listOf,
  namesOf,
  optional,
  orNothing,
  required,
  value,
} from "../../../proxy/config/fields.ts";
import { integer, ParseFailure } from "../../../proxy/config/values.ts";

const text = (written: string) => written;
const FIELDS = {
  name: required(value(text), "a name"),
  port: optional(integer(1, 9), 5),
  limit: optional(integer(1, 9)),
  key: orNothing(keyValue()),
  ports: listOf(integer(1, 9)),
  names: namesOf(text),
  lines: linesOf(text),
};

/** @returns what was made, and each problem as `place: message`. */
function check(input: unknown) {
  const problems: string[] = [];
  const values = checkFields(
    FIELDS,
    input,
    (message, path) => problems.push(`${path.join(".")}: ${message}`),
    (key) => problems.push(`${key}: unknown`),
  );
  return { values, problems };
}

Deno.test("what is missing has its default, an empty list, or is not there", () => {
  const { values, problems } = check({ name: "a", limit: undefined });
  assert.deepEqual(problems, []);
  assert.deepEqual(values, { name: "a", port: 5, ports: [], names: [], lines: [] });
  assert.equal(Object.hasOwn(values!, "limit"), false);
});

Deno.test("numbers and booleans are what they would be as text, lists may be text or arrays", () => {
  const key = new Uint8Array(32).fill(7);
  const input = { name: true, port: 7, limit: " 3 ", ports: "1, 2 3", names: "a b, c", key };
  const { values } = check({ ...input, lines: "a, b" });
  assert.deepEqual(values, {
    ...{ name: "true", port: 7, limit: 3, ports: [1, 2, 3], names: ["a b", "c"], key },
    lines: ["a, b"],
  });
  assert.notEqual(values!.key, key); // a copy
  assert.deepEqual(check({ name: "a", ports: [1, "2"], lines: null }).values!.ports, [1, 2]);
});

Deno.test("all that is wrong is told with its place, fields in their order, then what is none", () => {
  const { values, problems } = check({
    other: 1,
    ports: ["1", 10, {}, null],
    name: undefined,
    limit: NaN,
    port: [1],
    names: 5,
    key: "secret",
  });
  assert.equal(values, undefined);
  assert.deepEqual(problems.map((line) => line.replace(/, expected .*/, "")), [
    "name: missing",
    "port: is a list",
    "limit: is number",
    "key: not a key: 6 characters",
    `ports.1: ${(integer(1, 9)("10") as ParseFailure).message}`.replace(/, expected .*/, ""),
    "ports.2: is an object",
    "ports.3: is null",
    "names: is number",
    "other: unknown",
  ]);
});

Deno.test("what is no object has no fields, and a key of every object's is a key like others", () => {
  for (const input of [undefined, null, 1, "name = a", [], true]) {
    assert.deepEqual(check(input), {
      values: undefined,
      problems: [": is not an object, expected one with the keys of the section"],
    });
  }
  const { problems } = check(JSON.parse('{"name": "a", "__proto__": 1, "toString": 2}'));
  assert.deepEqual(problems, ["__proto__: unknown", "toString: unknown"]);
});
