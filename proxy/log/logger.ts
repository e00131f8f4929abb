/** Where everything in this folder gets its logger: `getLogger(["wirestack", …])`. */
export { getLogger } from "npm:@logtape/logtape@2.4.2";
