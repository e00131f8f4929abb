/**
 * Packet filter rules of this host, in the language of nft(8), by the library that nft itself is made
 * of: in this process, with the capabilities of the calling thread. Needs CAP_NET_ADMIN.
 *
 * @module
 */

import { LowDescriptor } from "./low_descriptor.ts";
import { AF_NETLINK } from "./sockaddr.ts";

// <nftables/libnftables.h>
const LIBRARY = "libnftables.so.1";
const CALLS = {
  nft_ctx_new: { parameters: ["u32"], result: "pointer" },
  nft_ctx_free: { parameters: ["pointer"], result: "void" },
  nft_ctx_buffer_output: { parameters: ["pointer"], result: "i32" },
  nft_ctx_buffer_error: { parameters: ["pointer"], result: "i32" },
  nft_ctx_get_output_buffer: { parameters: ["pointer"], result: "pointer" },
  nft_ctx_get_error_buffer: { parameters: ["pointer"], result: "pointer" },
  nft_ctx_output_set_flags: { parameters: ["pointer", "u32"], result: "void" },
  nft_ctx_set_dry_run: { parameters: ["pointer", "bool"], result: "void" },
  nft_run_cmd_from_buffer: { parameters: ["pointer", "buffer"], result: "i32" },
} as const;
const NFT_CTX_OUTPUT_HANDLE = 1 << 3;
const NFT_CTX_OUTPUT_JSON = 1 << 4;
const NFT_CTX_OUTPUT_ECHO = 1 << 5;

/** nft did not do what a script says; the message is nft's own. */
export class NftablesError extends Error {
  override readonly name = "NftablesError";
}

export interface RunOptions {
  /** The output is JSON, libnftables-json(5), with handles. The script may be JSON in any case. */
  readonly json?: boolean;
  /** What is added is printed, with the handle it got. */
  readonly echo?: boolean;
  /** Only look whether it could be done. */
  readonly check?: boolean;
}

export class Nftables implements Disposable {
  readonly #library: Deno.DynamicLibrary<typeof CALLS>;
  /** A context's socket is waited for with select(2). */
  readonly #descriptor: LowDescriptor;
  #isClosed = false;

  /** @throws {NftablesError} if the library is not installed. */
  constructor() {
    try {
      this.#library = Deno.dlopen(LIBRARY, CALLS);
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) throw error;
      throw new NftablesError(
        `${LIBRARY} is not installed: in Debian and Ubuntu it is in the package libnftables1`,
        { cause: error },
      );
    }
    this.#descriptor = new LowDescriptor();
  }

  /**
   * Runs a script, all of it or nothing, in the network namespace of the calling thread.
   *
   * @returns its output.
   * @throws {NftablesError} with nft's own message.
   */
  run(script: string, { json = false, echo = false, check = false }: RunOptions = {}): string {
    if (this.#isClosed) throw new Error("nftables is closed");
    const { symbols } = this.#library;
    // A context for each: it keeps what it has read of the rules, and others change them too.
    const context = this.#descriptor.lend(
      AF_NETLINK,
      () => symbols.nft_ctx_new(0),
      (context) => symbols.nft_ctx_free(context),
    );
    if (context === undefined) {
      throw new NftablesError("nftables needs a file descriptor below 1024, and none is free");
    }
    if (context === null) throw new NftablesError("nftables gives no context");
    try {
      symbols.nft_ctx_buffer_output(context);
      symbols.nft_ctx_buffer_error(context);
      symbols.nft_ctx_output_set_flags(
        context,
        (json ? NFT_CTX_OUTPUT_JSON | NFT_CTX_OUTPUT_HANDLE : 0) | (echo ? NFT_CTX_OUTPUT_ECHO : 0),
      );
      symbols.nft_ctx_set_dry_run(context, check);
      const failed = symbols.nft_run_cmd_from_buffer(
        context,
        new TextEncoder().encode(`${script}\0`),
      );
      if (failed !== 0) {
        const said = textAt(symbols.nft_ctx_get_error_buffer(context)).trim();
        throw new NftablesError(said === "" ? "nftables refused, and does not say why" : said);
      }
      return textAt(symbols.nft_ctx_get_output_buffer(context));
    } finally {
      symbols.nft_ctx_free(context);
      this.#descriptor.keep();
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#descriptor.close();
    this.#library.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function textAt(pointer: Deno.PointerValue): string {
  return pointer === null ? "" : new Deno.UnsafePointerView(pointer).getCString();
}
