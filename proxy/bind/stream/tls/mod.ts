/**
 * Carriers in TLS.
 *
 * @module
 */

export { CONNECT_PROBLEMS, secure, TlsDialer, type TlsDialerOptions } from "./client.ts";
export { checkClientFiles, checkServerFiles, type FileWarning } from "./check_files.ts";
export { ClientFilesReader } from "./client_files.ts";
export type { Gate } from "./gate.ts";
export {
  CertificateFileError,
  type ClientIdentity,
  type FileSetting,
  type ServerFiles,
} from "./files.ts";
export type { Guest } from "./guest.ts";
export { TlsListener } from "./listener.ts";
export { PendingConnections } from "./pending.ts";
export { PROTOCOL, type Secured } from "./secured.ts";
export { SecuredListener } from "./secured_listener.ts";
export { TlsServer, type TlsServerOptions } from "./server.ts";
export type { AllowedClients } from "./server_trust.ts";
