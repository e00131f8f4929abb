/**
 * Files and their folders, as Landlock wants to be told of them.
 *
 * @module
 */

import { MAX_CONFIG_BYTES } from "../../config/limits.ts";

export function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

export function readText(file: string): string {
  try {
    if (Deno.statSync(file).size > MAX_CONFIG_BYTES) return ""; // which is refused later
    return Deno.readTextFileSync(file);
  } catch {
    return "";
  }
}

/**
 * A file and the folder it is in: editors and `add-peer` put another file in its place. A link's
 * own folder too. What has come as a descriptor has no folder.
 */
export function withFolders(path: string): string[] {
  if (/^\/(?:dev|proc)\//.test(path)) return [path];
  const folders = [path, realPath(path)].map(folderOf);
  return [path, ...folders.filter((folder) => folder !== "/")];
}

export function realPath(path: string): string {
  try {
    return Deno.realPathSync(path);
  } catch {
    return path;
  }
}

export function folderOf(path: string): string {
  return path.replace(/[^/]*$/, "") || ".";
}
