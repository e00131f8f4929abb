/**
 * WebAssembly SIMD kernels for the data path: ChaCha20-Poly1305 (RFC 8439) in the form WireGuard
 * uses it, and the Internet checksum (RFC 1071). The source is AssemblyScript, in `assembly/`; the
 * compiled modules are in `module.ts`, which `deno task build:kernels` makes.
 *
 * There are two of them, which differ in the AEAD: one for any V8, and a faster one for a V8 that was
 * told to know instructions for products of 128 bits and to make use of vectors of 256 ({@link isWide}).
 *
 * They work on one memory of fixed size, which is the packet arena too. So a packet that is received
 * into the arena is opened, walked and sealed again without a copy; bytes elsewhere are copied in and
 * out. A memory that grew would detach every view of it, those under pending reads and those whose
 * address the kernel has included: this one cannot grow.
 *
 * Below the arena:
 *
 * | bytes  | what                                                                           |
 * | ------ | ------------------------------------------------------------------------------ |
 * | 1,024  | state of the kernels and constants; zero between calls where it holds a secret |
 * | 65,552 | data of another buffer and its tag, during the call                            |
 *
 * @example A buffer in the arena, encrypted and decrypted in place
 * ```ts
 * import { Kernels } from "./ffi/mod.ts";
 *
 * const kernels = new Kernels(1 << 20);
 * const key = kernels.aead.importKey(crypto.getRandomValues(new Uint8Array(32)));
 * const offset = kernels.allocate(1500 + 16, 64);
 * key.seal(0, 1, kernels.bytes, offset, 1500);
 * console.log(key.open(0, 1, kernels.bytes, offset, 1500 + 16)); // true
 * key.destroy();
 * ```
 *
 * @module
 */

import { MODULE, WIDE_MODULE } from "./module.ts";

const KEY_SIZE = 32;
const TAG_SIZE = 16;
const PAGE = 65_536;
const MAX_PAGES = 65_536;

/** Where data of other buffers is copied to, and how long it may be. */
const TEXT = 1024;
const MAX_TEXT = 65_536;
const ARENA = TEXT + MAX_TEXT + TAG_SIZE;

/** The functions of `assembly/aead.ts` and `assembly/checksum.ts`. Addresses are offsets. */
export interface KernelExports {
  readonly seal: (...parameters: AeadParameters) => void;
  /** @returns 1 if the tag is right */
  readonly open: (...parameters: AeadParameters) => number;
  readonly sum: (offset: number, length: number) => number;
}

/** Words are little-endian and may be signed or unsigned. The length is without the tag. */
export type AeadParameters = [
  ...key: [number, number, number, number, number, number, number, number],
  ...nonce: [number, number, number],
  additional: number,
  additionalLength: number,
  data: number,
  length: number,
];

let compiled: WebAssembly.Module | undefined;

/**
 * Whether products of 128 bits are used, and vectors of 256 where the processor has them (AVX2): where
 * V8 has been started with `--experimental-wasm-wide-arithmetic,--experimental-wasm-revectorize`. Not on
 * ARM, where V8 makes no such vectors and nobody has tried its products.
 */
export function isWide(): boolean {
  return Deno.build.arch === "x86_64" &&
    WebAssembly.validate(Uint8Array.fromBase64(WIDE_MODULE));
}

/** The kernels over a memory of at least one page. Throws where the processor has no SIMD. */
export function instantiate(memory: WebAssembly.Memory): KernelExports {
  compiled ??= new WebAssembly.Module(
    Uint8Array.fromBase64(isWide() ? WIDE_MODULE : MODULE),
  );
  const { exports } = new WebAssembly.Instance(compiled, { env: { memory } });
  return exports as unknown as KernelExports;
}

/** The kernels and their memory. */
export class Kernels {
  /** Of fixed size: pointers and views of it stay valid. */
  readonly memory: WebAssembly.Memory;
  /** The whole memory. Offsets in it are what {@link allocate} gives. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Has the form of `Aead` in `wireguard/crypto.ts`. */
  readonly aead: { readonly importKey: (key: Uint8Array) => KernelAeadKey };

  readonly #sum: KernelExports["sum"];
  /** Where the arena's free part begins. */
  #free = ARENA;

  /**
   * @param arenaBytes What {@link allocate} has to give, alignment included.
   * @throws {RangeError} unless it is a size below 4 GiB.
   */
  constructor(arenaBytes: number) {
    const pages = Math.ceil((ARENA + arenaBytes) / PAGE);
    if (!(arenaBytes >= 0 && pages <= MAX_PAGES)) {
      throw new RangeError(
        `an arena has 0 to ${MAX_PAGES * PAGE - ARENA} bytes, got ${arenaBytes}`,
      );
    }
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    this.bytes = new Uint8Array(this.memory.buffer as ArrayBuffer);
    const exports = instantiate(this.memory);
    this.#sum = exports.sum;
    this.aead = { importKey: (key) => new KernelAeadKey(exports, this.bytes, key) };
  }

  /** Bytes that {@link allocate} has left, alignment included. */
  get free(): number {
    return this.bytes.length - this.#free;
  }

  /**
   * Sets a region of the arena apart, for good: this is for set-up, there is no way to give one back.
   *
   * @param alignment A power of two.
   * @returns The offset of the first of `size` bytes, all zero.
   * @throws {RangeError} when the arena has no such region left.
   */
  allocate(size: number, alignment: number): number {
    if (!(Number.isSafeInteger(size) && size >= 0)) {
      throw new RangeError(`a region has a whole number of bytes, got ${size}`);
    }
    if (!(alignment >= 1 && Number.isInteger(Math.log2(alignment)))) {
      throw new RangeError(`an alignment is a power of two, got ${alignment}`);
    }
    const offset = Math.ceil(this.#free / alignment) * alignment;
    if (offset + size > this.bytes.length) {
      throw new RangeError(
        `the arena is full: ${this.free} bytes left, asked for ${size}`,
      );
    }
    this.#free = offset + size;
    return offset;
  }

  /**
   * Adds 16-bit words to a checksum, as `sum` in `netstack/checksum.ts` does. The result may be
   * another number than that one's, but one that folds to the same 16 bits.
   *
   * @param initial Unfolded sum so far, below 2^29.
   * @returns The unfolded sum, below 2^31.
   */
  sum(buffer: Uint8Array, offset: number, length: number, initial: number): number {
    checkRange(buffer, offset, length, 0);
    if (buffer === this.bytes) return initial + this.#sum(offset, length);
    // Parts of even length add up; each comes back folded.
    for (; length > MAX_TEXT; offset += MAX_TEXT, length -= MAX_TEXT) {
      initial += this.#sumCopied(buffer, offset, MAX_TEXT);
    }
    return initial + this.#sumCopied(buffer, offset, length);
  }

  #sumCopied(buffer: Uint8Array, offset: number, length: number): number {
    this.bytes.set(buffer.subarray(offset, offset + length), TEXT);
    return this.#sum(TEXT, length);
  }
}

/**
 * Has the form of `AeadKey` in `wireguard/crypto.ts`: no associated data, the nonce is 32 zero bits
 * and the 64-bit little-endian counter.
 *
 * The key is kept here and given to the kernels with each call: between calls it is not in their
 * memory, where packets are.
 */
export class KernelAeadKey {
  readonly #seal: KernelExports["seal"];
  readonly #open: KernelExports["open"];
  readonly #bytes: Uint8Array;
  // V8 moves small typed arrays, and leaves copies, unless they are views of an ArrayBuffer.
  readonly #key = new Int32Array(new ArrayBuffer(KEY_SIZE));

  /** See {@link Kernels.aead}. @throws {RangeError} unless the key has 32 bytes. */
  constructor(exports: KernelExports, bytes: Uint8Array, key: Uint8Array) {
    if (key.length !== KEY_SIZE) {
      throw new RangeError(`a key has ${KEY_SIZE} bytes, got ${key.length}`);
    }
    this.#seal = exports.seal;
    this.#open = exports.open;
    this.#bytes = bytes;
    // Little-endian words, as the key's are; so are all machines that run V8 with WebAssembly SIMD.
    new Uint8Array(this.#key.buffer).set(key);
  }

  /**
   * Encrypts `length` bytes at `offset` in place and writes the 16-byte tag behind them.
   *
   * @param counterHigh Upper 32 bits of the counter.
   * @param counterLow Lower 32 bits, unsigned.
   * @throws {RangeError} if that is outside of the buffer or of the arena, or if the buffer is
   * another one and `length` above 65,536.
   */
  seal(
    counterHigh: number,
    counterLow: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
  ): void {
    const bytes = this.#bytes;
    checkRange(buffer, offset, length, TAG_SIZE);
    let data = offset;
    if (buffer === bytes) checkArena(offset);
    else data = copyIn(bytes, buffer, offset, length, 0);
    const k = this.#key;
    // deno-fmt-ignore
    this.#seal(
      k[0]!, k[1]!, k[2]!, k[3]!, k[4]!, k[5]!, k[6]!, k[7]!, 0, counterLow, counterHigh,
      0, 0, data, length,
    );
    if (buffer !== bytes) buffer.set(bytes.subarray(TEXT, TEXT + length + TAG_SIZE), offset);
  }

  /**
   * Checks the tag and decrypts in place.
   *
   * @param length Bytes of ciphertext and tag.
   * @returns false if the tag is wrong: all `length` bytes are then zero. Or if there is no room for
   * a tag: the bytes are then as they were.
   * @throws {RangeError} as {@link seal}.
   */
  open(
    counterHigh: number,
    counterLow: number,
    buffer: Uint8Array,
    offset: number,
    length: number,
  ): boolean {
    const bytes = this.#bytes;
    checkRange(buffer, offset, length, 0);
    length -= TAG_SIZE;
    if (length < 0) return false;
    let data = offset;
    if (buffer === bytes) checkArena(offset);
    else data = copyIn(bytes, buffer, offset, length, TAG_SIZE);
    const k = this.#key;
    // deno-fmt-ignore
    const right = this.#open(
      k[0]!, k[1]!, k[2]!, k[3]!, k[4]!, k[5]!, k[6]!, k[7]!, 0, counterLow, counterHigh,
      0, 0, data, length,
    ) !== 0;
    if (buffer !== bytes) {
      // What is copied back when the tag is wrong is zero, the tag included.
      const end = right ? TEXT + length : TEXT + length + TAG_SIZE;
      buffer.set(bytes.subarray(TEXT, end), offset);
    }
    return right;
  }

  /** Wipes the key. It must not be used again. */
  destroy(): void {
    this.#key.fill(0);
  }
}

/** WebAssembly checks nothing: it would truncate a fraction, and work on other data. */
function checkRange(buffer: Uint8Array, offset: number, length: number, tail: number): void {
  if (!(offset >= 0 && length >= 0 && offset + length + tail <= buffer.length)) {
    throw new RangeError(
      `${length} + ${tail} bytes at ${offset} are outside of a buffer of ${buffer.length} bytes`,
    );
  }
}

/** Nothing may be encrypted over the kernels' own state. */
function checkArena(offset: number): void {
  if (offset < ARENA) throw new RangeError(`the arena begins at ${ARENA}, not at ${offset}`);
}

/** Copies data, and a tag behind it if there is one, to where there is room for both. */
function copyIn(
  bytes: Uint8Array,
  buffer: Uint8Array,
  offset: number,
  length: number,
  tag: number,
): number {
  if (length > MAX_TEXT) {
    throw new RangeError(
      `outside of the arena a text has at most ${MAX_TEXT} bytes, got ${length}`,
    );
  }
  bytes.set(buffer.subarray(offset, offset + length + tag), TEXT);
  return TEXT;
}
