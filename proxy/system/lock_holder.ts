/**
 * Who holds a state file locked, by the kernel's word.
 *
 * @module
 */

/**
 * What a state file says of its process is written by the unprivileged gateway, and root ends that
 * process: it must be the one whose lock says that the tunnel runs.
 *
 * @param locks /proc/locks.
 * @param inode Of the file. Its device is not looked at: what stat has may be another than locks have.
 */
export function holdsLock(locks: string, pid: number, inode: number): boolean {
  return locks.split("\n").some((line) => {
    // `19: FLOCK  ADVISORY  WRITE 27635 fe:00:10430318 0 EOF`; `->` is one that waits.
    const [, kind, , access, holder, file] = line.trim().split(/\s+/);
    return kind === "FLOCK" && access === "WRITE" && Number(holder) === pid &&
      file?.split(":")[2] === `${inode}`;
  });
}
