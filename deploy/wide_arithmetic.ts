/**
 * The instructions of WebAssembly's proposal "wide arithmetic", for a compiler that does not know them:
 * in a module that it has made, calls of the imports that `ffi/kernels/assembly/wide/arithmetic.ts`
 * declares, `mulWide`, `addWide` and `high`, become
 * `i64.mul_wide_u` and `i64.add128`. Both leave two results; the upper one is kept in a local that is
 * added, which is what `high` reads.
 *
 * It reads what asc writes: no function but these three is imported, and it throws at an instruction
 * whose operands it does not know.
 *
 * @module
 */

const MODULE_NAME = "arithmetic";
const TYPE_SECTION = 1;
const IMPORT_SECTION = 2;
const FUNCTION_SECTION = 3;
const EXPORT_SECTION = 7;
const CODE_SECTION = 10;
const HEADER = 8;

const CALL = 0x10;
const LOCAL_GET = 0x20;
const LOCAL_SET = 0x21;
const I64 = 0x7e;
const ADD_128 = [0xfc, 0x13];
const MUL_WIDE_U = [0xfc, 0x16];

/** Bytes that are read one number after another. */
class Reader {
  readonly bytes: Uint8Array;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.at >= this.bytes.length;
  }

  byte(): number {
    return this.bytes[this.at++]!;
  }

  /** A number of LEB128; of a signed one only the length is right. */
  number(): number {
    let value = 0;
    for (let scale = 1;; scale *= 128) {
      const byte = this.byte();
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  }

  take(length: number): Uint8Array {
    return this.bytes.subarray(this.at, this.at += length);
  }
}

/** @throws {Error} at what asc has never written here. */
export function useWideArithmetic(module: Uint8Array): Uint8Array {
  const reader = new Reader(module);
  const result = [...reader.take(HEADER)];
  let parameters: number[] = [];
  let imported: string[] = [];
  let functions: number[] = [];
  while (!reader.isAtEnd) {
    const id = reader.byte();
    const body = reader.take(reader.number());
    const section = new Reader(body);
    let written: ArrayLike<number> = body;
    if (id === TYPE_SECTION) parameters = readTypes(section);
    else if (id === IMPORT_SECTION) [written, imported] = rewriteImports(section);
    else if (id === FUNCTION_SECTION) {
      functions = Array.from({ length: section.number() }, () => section.number());
    } else if (id === EXPORT_SECTION) written = rewriteExports(section, imported.length);
    else if (id === CODE_SECTION) {
      const bytes = leb(section.number());
      for (const type of functions) {
        const code = section.take(section.number());
        bytes.push(...sized(rewriteCode(new Reader(code), parameters[type]!, imported)));
      }
      written = bytes;
    }
    result.push(id, ...sized(Array.from(written)));
  }
  return Uint8Array.from(result);
}

/** @returns how many parameters each type has. */
function readTypes(section: Reader): number[] {
  return Array.from({ length: section.number() }, () => {
    section.byte();
    const count = section.number();
    section.take(count);
    section.take(section.number());
    return count;
  });
}

/** @returns the section without functions, and their names. */
function rewriteImports(section: Reader): [bytes: number[], names: string[]] {
  const names: string[] = [];
  const kept: number[] = [];
  let count = 0;
  for (let left = section.number(); left > 0; left--) {
    const from = section.at;
    const text = () => new TextDecoder().decode(section.take(section.number()));
    const [module, name] = [text(), text()];
    const kind = section.byte();
    if (kind === 0) {
      section.number();
      if (module !== MODULE_NAME) throw new Error(`an import of ${module}.${name}`);
      names.push(name);
      continue;
    }
    if (kind !== 2) throw new Error(`an import of kind ${kind}`);
    const limits = section.byte();
    section.number();
    if ((limits & 1) !== 0) section.number();
    kept.push(...section.bytes.subarray(from, section.at));
    count++;
  }
  return [[...leb(count), ...kept], names];
}

function rewriteExports(section: Reader, removed: number): number[] {
  const count = section.number();
  const bytes = leb(count);
  for (let left = count; left > 0; left--) {
    const name = [...section.take(section.number())];
    const kind = section.byte();
    const index = section.number();
    bytes.push(...sized(name), kind, ...leb(kind === 0 ? index - removed : index));
  }
  return bytes;
}

function rewriteCode(code: Reader, parameters: number, imported: readonly string[]): number[] {
  const groups = code.number();
  const from = code.at;
  let locals = parameters;
  for (let left = groups; left > 0; left--) {
    locals += code.number();
    code.byte();
  }
  const declared = code.bytes.subarray(from, code.at);
  const high = leb(locals);
  const bytes: number[] = [];
  let isUsed = false;
  while (!code.isAtEnd) {
    const from = code.at;
    const instruction = code.byte();
    if (instruction !== CALL) {
      skipOperands(code, instruction);
      bytes.push(...code.bytes.subarray(from, code.at));
      continue;
    }
    const index = code.number();
    const name = imported[index];
    isUsed ||= name !== undefined;
    if (name === undefined) bytes.push(CALL, ...leb(index - imported.length));
    else if (name === "high") bytes.push(LOCAL_GET, ...high);
    else bytes.push(...name === "mulWide" ? MUL_WIDE_U : ADD_128, LOCAL_SET, ...high);
  }
  if (!isUsed) return [...leb(groups), ...declared, ...bytes];
  return [...leb(groups + 1), ...declared, 1, I64, ...bytes];
}

function skipOperands(code: Reader, instruction: number): void {
  const isBlock = instruction >= 0x02 && instruction <= 0x04;
  const isBranch = instruction === 0x0c || instruction === 0x0d;
  const isVariable = instruction >= 0x20 && instruction <= 0x24;
  const isIntegerConstant = instruction === 0x41 || instruction === 0x42;
  if (isBlock || isBranch || isVariable || isIntegerConstant) code.number();
  else if (instruction >= 0x28 && instruction <= 0x3e) skipMemory(code);
  else if (instruction === 0xfc) {
    const more = code.number();
    if (more !== 10 && more !== 11) throw new Error(`an instruction 0xfc ${more}`);
    for (let left = more === 10 ? 2 : 1; left > 0; left--) code.number(); // copy, fill
  } else if (instruction === 0xfd) {
    const more = code.number();
    if (more <= 11 || more === 92 || more === 93) skipMemory(code);
    else if (more === 12 || more === 13) code.take(16); // a constant, a shuffle
    else if (more >= 21 && more <= 34) code.byte(); // a lane
    else if (more >= 84 && more <= 91) throw new Error(`an instruction 0xfd ${more}`);
  } else if (
    !(instruction <= 0x01 || instruction === 0x05 || instruction === 0x0b ||
      instruction === 0x0f || instruction === 0x1a || instruction === 0x1b ||
      instruction >= 0x45 && instruction <= 0xc4)
  ) throw new Error(`an instruction 0x${instruction.toString(16)}`);
}

/** Alignment and offset. */
function skipMemory(code: Reader): void {
  code.number();
  code.number();
}

function sized(bytes: readonly number[]): number[] {
  return [...leb(bytes.length), ...bytes];
}

function leb(value: number): number[] {
  const bytes: number[] = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push(value % 128 + 128);
  return [...bytes, value];
}
