/**
 * The logger of everything in `proxy/`: `getLogger(["wirestack", …])`.
 *
 * @module
 */
export { getLogger } from "npm:@logtape/logtape@2.4.2";
