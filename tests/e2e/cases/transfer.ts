/** Bytes through TCP connections, and how connections end. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { SUBJECTS } from "../gateway.ts";
import { labTest } from "../lab.ts";
import { PORTS } from "../ports.ts";
import { endpoint, type Family, Site, TARGET } from "../site.ts";

const FILE_BYTES = 200_000_000;
const PARALLEL = 50;

for (const subject of SUBJECTS) {
  // Each inner version meets each outer one; the binary runs the same code, so the diagonal will do.
  const versions: [Family, Family][] = subject === "deno task start:sandbox"
    ? [[4, 4], [6, 4], [4, 6], [6, 6]]
    : [[4, 4], [6, 6]];
  for (const [inner, outer] of versions) {
    labTest(`${subject}: curl moves 200 MB down and up, IPv${inner} in IPv${outer}`, async () => {
      await using site = await Site.start({ subject, outer, fileBytes: FILE_BYTES });
      const url = `http://${endpoint(TARGET[inner], PORTS.http)}/file`;
      const down = await site.client.output(
        ["sh", "-c", `curl -sSf --max-time 280 '${url}' | sha256sum`],
        { timeoutMs: 300_000 },
      );
      assert.equal(down.slice(0, 64), site.file.sha256);
      const up = await site.client.output(
        ["curl", "-sSf", "--max-time", "280", "-T", site.file.path, url],
        { timeoutMs: 300_000 },
      );
      assert.equal(up, site.file.sha256);
    }, ["curl"]);
  }

  labTest(`${subject}: ${PARALLEL} parallel downloads`, async () => {
    await using site = await Site.start({ subject, fileBytes: PARALLEL * 1_000_000 });
    const url = `http://${TARGET[4]}/file/[0-${PARALLEL - 1}]/${PARALLEL}`;
    await site.client.output(
      ["curl", "-sSf", "-Z", "--parallel-immediate", "--parallel-max", `${PARALLEL}`, url]
        .concat(["-o", "part_#1"]),
      { cwd: site.lab.directory, timeoutMs: 300_000 },
    );
    const hash = createHash("sha256");
    for (let index = 0; index < PARALLEL; index++) {
      hash.update(await Deno.readFile(`${site.lab.directory}/part_${index}`));
    }
    assert.equal(hash.digest("hex"), site.file.sha256);
  }, ["curl"]);

  labTest(`${subject}: a download while an upload runs on the same connection`, async () => {
    await using site = await Site.start({ subject, fileBytes: 20_000_000 });
    for (const target of Object.values(TARGET)) {
      assert.deepEqual(await site.ask("duplex", target, PORTS.duplex, site.file.path), {
        downloaded: site.file.sha256,
        uploaded: site.file.sha256,
      });
    }
  });

  labTest(`${subject}: half-close: a server answers after the end of the upload`, async () => {
    await using site = await Site.start({ subject, fileBytes: 5_000_000 });
    for (const target of Object.values(TARGET)) {
      const { answer } = await site.ask("digest", target, PORTS.digest, site.file.path);
      assert.equal(answer, site.file.sha256);
    }
  });

  labTest(`${subject}: the target sees a client's reset as a reset`, async () => {
    await using site = await Site.start({ subject });
    for (const target of Object.values(TARGET)) {
      const from = site.services.lines.length;
      await site.ask("reset", target, PORTS.observe);
      const { input } = await site.services.line(/"observe"/, { from });
      const { how, bytes } = JSON.parse(input!);
      assert.deepEqual({ how, bytes }, { how: "ECONNRESET", bytes: "payload".length });
    }
  });

  labTest(`${subject}: a client sees the target's reset as a reset`, async () => {
    await using site = await Site.start({ subject });
    for (const target of Object.values(TARGET)) {
      assert.equal((await site.ask("read-reset", target, PORTS.reset)).end, "ECONNRESET");
    }
  });
}
