/**
 * The fields of a section: what each takes as it was written, and what it makes of it. A library for
 * schemas was 11 MB of every gateway's memory, for these four kinds.
 *
 * @module
 */

import { type Parse, ParseFailure, parseKeyInput, splitList, splitNames } from "./values.ts";

/** Stands for no value: what is wrong has been reported. */
export const WRONG: unique symbol = Symbol("wrong");

/** Told what is wrong. @param path Where inside of what was checked: a field, a place in a list. */
export type Problem = (message: string, path: readonly (string | number)[]) => void;

/** Takes a value as it was written, undefined for none. No message shows it: it may be a key. */
export type Field<T> = (input: unknown, problem: Problem) => T | typeof WRONG;

export type Fields = Readonly<Record<string, Field<unknown>>>;

/** What fields make of a section that is right. */
export type ValuesOf<F extends Fields> = {
  [K in keyof F]: F[K] extends Field<infer T> ? T : never;
};

/**
 * Checks a section: the fields in their order, then what has no field.
 *
 * @param problem With an empty path if the input is no object.
 * @param unknownKey Told of each key that is no field.
 * @returns undefined if there are problems.
 */
export function checkFields<F extends Fields>(
  fields: F,
  input: unknown,
  problem: Problem,
  unknownKey: (key: string) => void,
): ValuesOf<F> | undefined {
  if (typeof input !== "object" || input === null || Array.isArray(input)) {
    problem("is not an object, expected one with the keys of the section", []);
    return undefined;
  }
  const written = input as Readonly<Record<string, unknown>>;
  const values: Record<string, unknown> = {};
  let isRight = true;
  for (const [name, field] of Object.entries(fields)) {
    const value = field(written[name], (message, path) => problem(message, [name, ...path]));
    if (value === WRONG) isRight = false;
    else if (value !== undefined) values[name] = value;
  }
  for (const key in written) {
    if (Object.hasOwn(fields, key)) continue;
    unknownKey(key);
    isRight = false;
  }
  return isRight ? values as ValuesOf<F> : undefined;
}

/** A value that must be there. @param what It is, for the message. */
export function required<T>(field: Field<T>, what: string): Field<T> {
  return (input, problem) =>
    input === undefined ? wrong(problem, `missing, expected ${what}`) : field(input, problem);
}

/** Undefined where nothing was written. */
export function orNothing<T>(field: Field<T>): Field<T | undefined> {
  return (input, problem) => input === undefined ? undefined : field(input, problem);
}

/** A value that may be missing. @param otherwise What it is then. */
export function optional<T>(parse: Parse<T>): Field<T | undefined>;
export function optional<T>(parse: Parse<T>, otherwise: NoInfer<T>): Field<T>;
export function optional<T>(parse: Parse<T>, otherwise?: T): Field<T | undefined> {
  const field = value(parse);
  return (input, problem) => input === undefined ? otherwise : field(input, problem);
}

/** Text, or what a program would naturally write for it: a number or a boolean. */
export function value<T>(parse: Parse<T>): Field<T> {
  return (input, problem) => {
    const isValue = typeof input === "string" || typeof input === "boolean" ||
      Number.isFinite(input);
    if (!isValue) return wrong(problem, `is ${kindOf(input)}, expected text or a number`);
    return orWrong(parse(String(input).trim()), problem);
  };
}

/** A key as text, or its bytes, which are copied. */
export function keyValue(): Field<Uint8Array> {
  return (input, problem) => orWrong(parseKeyInput(input), problem);
}

/** A list written as an array, or as one text with commas. */
export function listOf<T>(parse: Parse<T>): Field<T[]> {
  return splitBy(splitList, parse);
}

/** The same with commas alone. */
export function namesOf<T>(parse: Parse<T>): Field<T[]> {
  return splitBy(splitNames, parse);
}

/** The same for values that may themselves have commas. */
export function linesOf<T>(parse: Parse<T>): Field<T[]> {
  return splitBy((text) => [text], parse);
}

function splitBy<T>(split: (text: string) => string[], parse: Parse<T>): Field<T[]> {
  const field = value(parse);
  return (input, problem) => {
    const list = typeof input === "string" ? split(input) : input ?? [];
    if (!Array.isArray(list)) return wrong(problem, `is ${kindOf(list)}, expected a list`);
    const values = Array.from(
      list as unknown[],
      (one, i) => field(one, (message, path) => problem(message, [i, ...path])),
    );
    return values.some((one) => one === WRONG) ? WRONG : values as T[];
  };
}

function orWrong<T>(parsed: T | ParseFailure, problem: Problem): T | typeof WRONG {
  return parsed instanceof ParseFailure ? wrong(problem, parsed.message) : parsed;
}

function wrong(problem: Problem, message: string): typeof WRONG {
  problem(message, []);
  return WRONG;
}

function kindOf(input: unknown): string {
  if (input === null) return "null";
  if (Array.isArray(input)) return "a list";
  return typeof input === "object" ? "an object" : typeof input;
}
