/**
 * The user that a tunnel's process becomes.
 *
 * @module
 */

import { ConfigError } from "../config/error.ts";

export interface UserIds {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** Has next to nothing on any system. */
export const DEFAULT_USER = "nobody";

const PASSWD = "/etc/passwd";

/**
 * @param user A name, or a number: its group is then that of the user with that number, or the same number.
 * @throws {ConfigError} if there is none, or it is root.
 */
export function findUser(user: string, passwd: string = Deno.readTextFileSync(PASSWD)): UserIds {
  const entries = passwd.split("\n").map((line) => line.split(":"));
  const isNumber = /^\d{1,9}$/.test(user);
  const found = entries.find(([name, , uid]) => isNumber ? uid === user : name === user);
  if (found === undefined && !isNumber) {
    throw new ConfigError([`--user ${user}: there is no such user, expected one of ${PASSWD}`]);
  }
  const ids = {
    name: found?.[0] ?? user,
    uid: Number(found?.[2] ?? user),
    gid: Number(found?.[3] ?? user),
  };
  if (ids.uid === 0) {
    throw new ConfigError(["--user root: keeps all that is to be given up, expected another"]);
  }
  return ids;
}

export function describeUser({ name, uid }: UserIds): string {
  return name === `${uid}` ? name : `${name} (${uid})`;
}
