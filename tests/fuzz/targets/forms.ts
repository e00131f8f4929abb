import assert from "node:assert/strict";
import fc from "fast-check";
import {
  ConfigError,
  type ConfigInput,
  type GatewayConfig,
  loadSource,
} from "../../../proxy/config/config.ts";
import { defaultOf } from "../../../proxy/config/describe.ts";
import { parseEnvFile } from "../../../proxy/config/env_file.ts";
import { parseConfigFile } from "../../../proxy/config/file.ts";
import { sourceFor } from "../../../proxy/config/form.ts";
import { parseJson } from "../../../proxy/config/json.ts";
import {
  findField,
  isRepeated,
  type Key,
  KEYS,
  type Section,
  SECTION_NAMES,
  VARIABLE_PREFIX,
  variableOf,
  variableOfList,
} from "../../../proxy/config/keys.ts";
import { TreeError } from "../../../proxy/config/tree.ts";
import { fillFromTree } from "../../../proxy/config/tree_source.ts";
import { applyVariables } from "../../../proxy/config/variables.ts";
import { parseYaml } from "../../../proxy/config/yaml.ts";
import { ConfigSource } from "../../../proxy/config/source.ts";
import { applyFlags } from "../../../proxy/cli/flags.ts";
import { variables, written } from "../../proxy/config/forms.ts";
import { Random } from "../../sim/random.ts";
import { pick } from "../mutate.ts";
import type { Target } from "../target.ts";

const INPUTS = 20;
/** No message may hold so much of a key. */
const TELLING = 25;

export const forms: Target = {
  name: "forms",
  about:
    "configurations as a wg-quick file, YAML, JSON and variables: the same, or the same faults; " +
    "the same by the environment and by flags, or refused; and mutated, no form does more than refuse",
  run(seed) {
    const inputs = fc.sample(configuration, { seed, numRuns: INPUTS });
    const random = new Random(seed);
    let tried = 0;
    for (const input of inputs) {
      const texts = written(input);
      const [first, ...others] = Object.entries(texts).map(([file, text]) => load(text, file));
      for (const other of others) assert.deepEqual(other, first);
      for (const source of [fromEnvironment(input), fromFlags(input)]) {
        if (source === undefined) continue;
        const other = outcomeOf(() => source, WITHOUT_FILE, secretsOf(texts["wg0.json"]!));
        if ("config" in first!) assert.deepEqual(other, first);
        else assert.ok("faults" in other, JSON.stringify(input));
      }
      for (const [file, text] of Object.entries(texts)) {
        const secrets = secretsOf(text);
        let mutated = text;
        for (let i = 1 + random.below(4); i > 0; i--) mutated = mutate(random, mutated);
        load(mutated, file, secrets);
        load(bytes(random), file, secrets);
      }
      tried += 14;
    }
    return tried;
  },
};

function secretsOf(text: string): string[] {
  return Array.from(text.matchAll(/[A-Za-z0-9+/]{43}=/g), ([key]) => key);
}

/** What a text comes to: a configuration, or what is wrong without the places. */
function load(text: string, file: string, secrets: readonly string[] = []): Outcome {
  const place = new RegExp(`^${file.replace(".", "\\.")}:\\d+: [^\n\r]+$`);
  return outcomeOf(() => parse(text, file), place, secrets);
}

/** A flag, a variable, or all of them. */
const WITHOUT_FILE =
  /^(?:--[a-z0-9-]+|WIRESTACK_[A-Z0-9_]+|flags|environment)\b[^\n\r]*: [^\n\r]+$/;

/** @param place How every message begins. */
function outcomeOf(
  read: () => ConfigSource,
  place: RegExp,
  secrets: readonly string[],
): Outcome {
  try {
    return { config: loadSource(read()).config };
  } catch (error) {
    assert.ok(error instanceof ConfigError, error as Error);
    assert.ok(error.problems.length > 0);
    for (const line of error.problems) {
      assert.match(line, place);
      for (const secret of secrets) {
        for (let i = 0; i + TELLING <= secret.length; i++) {
          assert.ok(!line.includes(secret.slice(i, i + TELLING)), `a key in a message: ${line}`);
        }
      }
    }
    return { faults: error.problems.map(withoutPlace).sort() };
  }
}

type Outcome = { readonly config: GatewayConfig } | { readonly faults: readonly string[] };

/** What is said, with every key, and every key with a value, as a file of wg-quick's has it. */
function withoutPlace(line: string): string {
  return line.replace(/^[^:]+:\d+: [^ ]+: /, "")
    .replace(/\((?:the first is )?(?:at|on) [^)]*\)/, "")
    .replace(ELSEWHERE, (whole, begun, field, variable, equals) => {
      const key = begun === undefined
        ? VARIABLES.get(variable)
        : findField(SECTIONS.get(begun)!, field);
      if (key === undefined) return whole;
      return key.name + (equals === undefined ? "" : " = ");
    });
}

const VARIABLES: ReadonlyMap<string, Key> = new Map(
  KEYS.flatMap((key) => {
    const variable = variableOf(key);
    return variable === undefined ? [] : [[variable, key]];
  }),
);

/** Sections, as a tree calls them, and a variable that has all of a kind. */
const SECTIONS: ReadonlyMap<string, Section> = new Map(
  (Object.keys(SECTION_NAMES) as Section[]).flatMap((section) => [
    [section, section],
    [variableOfList(section), section],
  ]),
);

/** A key as a tree, a list's in a variable, or a variable has it: `rules[1].to`. */
const ELSEWHERE = new RegExp(
  `\\b(?:(${[...SECTIONS.keys()].join("|")})(?:\\[\\d+\\])?\\.(\\w+)|` +
    `(${VARIABLE_PREFIX}[A-Z0-9_]+))(: |=)?`,
  "g",
);

function parse(text: string, file: string) {
  const source = sourceFor(file);
  if (file.endsWith(".conf")) return parseConfigFile(text, file, source);
  if (file.endsWith(".env")) {
    applyVariables(source, parseEnvFile(text, file, source));
    return source;
  }
  try {
    const tree = file.endsWith(".json") ? parseJson(text) : parseYaml(text);
    fillFromTree(source, tree, (line, name) => ({ file, line, name }));
  } catch (error) {
    assert.ok(error instanceof TreeError, error as Error);
    source.problemAt({ file, line: error.line }, `line: ${error.message}`);
    source.isUnreadable = true;
  }
  return source;
}

function fromEnvironment(input: ConfigInput): ConfigSource {
  const source = new ConfigSource({ flag: "environment" });
  const given = variables(input).map(([name, value]) => ({ name, value }));
  applyVariables(source, given.map((one) => ({ ...one, origin: { variable: one.name } })));
  return source;
}

/** Undefined where the first flag of a section, which begins it, would be missing. */
function fromFlags(input: ConfigInput): ConfigSource | undefined {
  if (input.links?.some(({ name }) => name === undefined)) return undefined;
  const of = (section: Section, values: object) =>
    Object.entries(values).map(([field, value]) => ({
      key: findField(section, field)!,
      value: String(value),
    }));
  const flags = (Object.entries(input) as [Section, object | object[]][]).flatMap(
    ([section, values]) => {
      if (!isRepeated(section)) return of(section, values);
      const first = FIRST_FLAGS[section];
      return (values as object[]).flatMap((each) => {
        const { [first.field]: value = first.otherwise, ...rest } = each as Record<string, unknown>;
        return of(section, { [first.field]: value, ...rest });
      });
    },
  );
  const source = new ConfigSource({ flag: "flags" });
  applyFlags(source, flags);
  // Secrets are in files, which here are called by what is in them.
  for (const { section, key, origin, file } of source.secretFiles) {
    source.set(section, key, file, origin);
  }
  return source;
}

const FIRST_FLAGS = {
  peers: { field: "publicKey", otherwise: "" },
  rules: { field: "action", otherwise: "allow" },
  links: { field: "name", otherwise: "" },
} as const;

const key = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => bytes.toBase64());

/** Some of it right for some key. Without what a wg-quick file or a list cannot hold in a value. */
const word = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom("10.9.0.1/24", "fd09::1/64", "10.50.0.0/16", "::/0") },
  fc.constantFrom("tcp", "udp", "tcp/80", "udp/53-60", "icmp", "allow", "drop", "nic1", "off"),
  fc.constantFrom("true", "false", "no", "~", "null", "0x10", "0o17", "1e3", ".inf", "1_000"),
  fc.constantFrom("10.50.0.1->127.0.0.1", "vpn.example.com:51820", "[fd09::1]:5", "20Mbit", "64M"),
  fc.constantFrom(
    "-",
    "- a",
    "a: b",
    "*a",
    "&a",
    "!a",
    "%a",
    "@a",
    "`a`",
    "'a'",
    '"a"',
    "{a}",
    "[a",
  ),
  fc.constantFrom(
    "a\\nb",
    "$a",
    "${a}",
    "=",
    "a=b",
    "<<",
    "?",
    "|",
    ">",
    "__proto__",
    "\u00e9\u{1F600}",
  ),
  fc.integer({ min: -1, max: 70_000 }).map(String),
);

const single = fc.oneof(
  word,
  fc.integer({ min: 0, max: 70_000 }),
  fc.boolean(),
  fc.double({ min: 0, max: 1000, noNaN: true }).map((value) => Math.round(value * 10) / 10),
);

const configuration: fc.Arbitrary<ConfigInput> = fc.record(
  Object.fromEntries(
    (Object.keys(SECTION_NAMES) as Section[]).map((section) => [
      section,
      isRepeated(section) ? fc.array(sectionOf(section), { maxLength: 3 }) : sectionOf(section),
    ]),
  ),
  { requiredKeys: ["interface"] },
) as unknown as fc.Arbitrary<ConfigInput>;

function sectionOf(section: Section): fc.Arbitrary<object> {
  const keys = KEYS.filter((key) => key.section === section && key.flag !== undefined);
  const values = Object.fromEntries(keys.map((each) => [each.field, valueOf(each)]));
  const all = fc.record(values);
  // With all keys at once hardly anything would be right; variables cannot say an empty section.
  const few = fc.array(fc.nat(keys.length - 1), { minLength: 1, maxLength: 3 });
  return fc.tuple(all, few).map(([all, some]) =>
    Object.fromEntries(
      Object.entries(all).filter(([field]) =>
        keys.some((each, i) => each.field === field && (isSecretOrKey(each) || some.includes(i)))
      ),
    )
  ) as fc.Arbitrary<object>;
}

function isSecretOrKey(key: Key): boolean {
  return key.field === "privateKey" || key.field === "publicKey";
}

function valueOf(each: Key): fc.Arbitrary<unknown> {
  if (each.secret || each.field === "publicKey") return key;
  const right = defaultOf(each);
  if (each.list !== undefined) {
    return fc.array(word.filter((text) => !/[\s,]|->|=/.test(text)), {
      minLength: 1,
      maxLength: 3,
    });
  }
  return right === undefined ? single : fc.oneof(single, fc.constant(right));
}

const WORDS = [
  ...["", ":", ": ", "-", "- ", "\n", "\n  ", "\t", "[", "]", "{", "}", ",", '"', "'", "#", " #"],
  ...[
    "&a ",
    "*a",
    "!!int ",
    "<<: ",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "? ",
    "| \n",
    ">-\n",
    "\\",
    "\0",
  ],
  ...[
    "\ufeff",
    "\ud800",
    "\u2028",
    "null",
    "__proto__",
    "include: '*'\n",
    "privateKeyFile: x\n",
    "=",
  ],
];

function mutate(random: Random, text: string): string {
  const at = random.below(text.length + 1);
  const rest = text.slice(at);
  switch (random.below(4)) {
    case 0:
      return text.slice(0, at) + pick(random, WORDS) + rest;
    case 1:
      return text.slice(0, at) + rest.slice(1 + random.below(10));
    case 2:
      return text.slice(0, at) + rest.slice(0, 40) + rest;
    default:
      return text.slice(0, at) + String.fromCharCode(random.below(0x3000)) + rest.slice(1);
  }
}

function bytes(random: Random): string {
  return new TextDecoder().decode(random.bytes(random.below(60)));
}
