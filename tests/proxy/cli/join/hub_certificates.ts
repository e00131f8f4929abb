/**
 * Certificates of a hub with a relay, in a folder that goes with them.
 *
 * @module
 */

import { TempFolder } from "../../../temp_folder.ts";
import { runHere } from "../run_here.ts";

export class HubCertificates implements Disposable {
  readonly #folder = new TempFolder();
  readonly path = `${this.#folder.path}/certs`;

  private constructor() {}

  /** @param name Of the server's certificate. */
  static async make(name = "127.0.0.1"): Promise<HubCertificates> {
    const made = new HubCertificates();
    await runHere(["gencerts", "--out", made.path, "--name", name]);
    return made;
  }

  /**
   * A section of a configuration.
   *
   * @param lines Beside those that name files.
   * @param authorityKey The file with the key that signs machines' certificates.
   */
  relay({ lines = "Listen = tls:127.0.0.1:0", authorityKey = `${this.path}/ca/key.pem` } = {}) {
    const { path } = this;
    return `[Relay]\n${lines}\nCert = ${path}/server/cert.pem\nKey = ${path}/server/key.pem\n` +
      `ClientCa = ${path}/ca/cert.pem\nClientCaKey = ${authorityKey}\n`;
  }

  [Symbol.dispose](): void {
    this.#folder[Symbol.dispose]();
  }
}
