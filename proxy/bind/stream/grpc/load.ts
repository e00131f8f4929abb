/**
 * When grpc-js is loaded.
 *
 * @module
 */

export type Library = typeof import("./library.ts");

/**
 * Loads grpc-js, if it is not there. To be called while this process may still read where packages are:
 * one that has become another user may not.
 *
 * @throws {Error} with one clear line.
 */
export async function loadLibrary(): Promise<Library> {
  try {
    return await import("./library.ts");
  } catch (error) {
    throw new Error(
      "gRPC cannot be loaded: its package is not there, or may not be read any more, and a start of the " +
        "gateway with this configuration is needed",
      { cause: error },
    );
  }
}
