/**
 * Carriers in TLS.
 *
 * @module
 */

export { secure, type SecureOptions, TlsDialer, type TlsDialerOptions } from "./client.ts";
export { ClientFilesReader } from "./client_files.ts";
export {
  CertificateFileError,
  type ClientIdentity,
  type FileSetting,
  type ServerFiles,
} from "./files.ts";
export { TlsListener } from "./listener.ts";
export { PROTOCOL, type Secured } from "./secured.ts";
export { type AllowedClients, TlsServer, type TlsServerOptions } from "./server.ts";
