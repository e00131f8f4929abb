/** Machines that join a hub with a device of the system, by UDP and where that does not get through. */

import assert from "node:assert/strict";
import { allAnswered } from "./all_answered.ts";
import { EnrolmentSite } from "./enrolment_site.ts";
import { block } from "./fallback_site.ts";
import { Lab, labTest } from "./lab.ts";

labTest(
  "machines join a hub that has a device and is somebody else by then; it is killed",
  async () => {
    await using lab = await Lab.create();
    const enrolment = await EnrolmentSite.create(lab, "tls:0.0.0.0:8443");
    const { hub, machine, site } = enrolment;
    let process = await enrolment.start();
    const token = await enrolment.invite("paris");
    const joined = await enrolment.join(token, "paris");
    assert.equal(joined.code, 0, joined.stderr);
    assert.match(joined.stderr + joined.stdout, /paris has joined: 10\.9\.0\.2/);
    const text = await Deno.readTextFile(enrolment.configuration("paris"));
    assert.match(text, /^Fallback = tls:\/\/203\.0\.113\.2:8443$/m, "its certificate is signed");
    const waiting = await enrolment.invite("rome");

    // What the token has left on the host, and whether the state is root's.
    assert.equal(Deno.statSync(enrolment.state).uid, 0);
    await hub.kill(process);
    process = await enrolment.start();
    assert.match(await enrolment.ask("invites"), /paris +client +joined/);
    const late = await enrolment.join(waiting, "rome");
    assert.equal(late.code, 0, late.stderr);

    // In a folder of root's, who is nobody by the time when it is renewed.
    await enrolment.age("paris");
    await Deno.copyFile(enrolment.configuration("paris"), machine.file);
    const client = await machine.up();
    await client.line(/peer hub: handshake complete/);
    const ping = await site.run(["ping", "-n", "-c", "3", "-W", "30", "10.9.0.1"]);
    assert.equal(ping.code, 0, `the kernel of the hub answers at its own address: ${ping.stdout}`);
    await client.line(/paris\.cert\.pem is renewed, until .*, and cannot be written: /, {
      timeoutMs: 60_000,
    });
    await process.line(/paris: its certificate is renewed, until/, { timeoutMs: 60_000 });
    const revoked = await enrolment.ask("revoke", "paris");
    assert.match(revoked, /^paris: revoked, its sessions have ended$/m);
    await hub.kill(process);
    process = await enrolment.start();
    assert.match(await enrolment.ask("invites"), /paris +client +revoked/);
    process.signal("SIGTERM");
    assert.equal((await process.exit()).code, 0, `${process}`);
    client.signal("SIGTERM");
    await client.exit();
  },
  ["ping", "bash"],
);

labTest(
  "join itself ends as a client's tunnel: the next ping is answered, and all is as before when it ends",
  async () => {
    await using lab = await Lab.create();
    const enrolment = await EnrolmentSite.create(lab, "tls:0.0.0.0:8443");
    const { machine, site } = enrolment;
    const process = await enrolment.start();
    const token = await enrolment.invite("paris");
    const before = await machine.state("src_valid_mark");
    const client = await machine.start([
      ...["join", token, "--out", enrolment.configuration("paris")],
    ]);
    await client.line(/paris has joined: 10\.9\.0\.2/);
    await client.line(/CAP_NET_ADMIN alone/);
    await allAnswered(site, "10.9.0.1", 3, "-i", "0.2");
    assert.match(await site.output(["ip", "route", "get", "10.9.0.1"]), / dev paris /);
    assert.match(await enrolment.ask("invites"), /paris +client +enrolled/);
    client.signal("SIGTERM");
    assert.equal((await client.exit()).code, 0, `${client}`);
    assert.deepEqual(await machine.state("src_valid_mark"), before);
    process.signal("SIGTERM");
    assert.equal((await process.exit()).code, 0, `${process}`);
  },
  ["ping"],
);

for (const transport of ["tls", "grpc"]) {
  labTest(
    `UDP is dropped from the beginning: a machine joins by ${transport}, and comes by it`,
    async () => {
      await using lab = await Lab.create();
      const enrolment = await EnrolmentSite.create(lab, `${transport}:0.0.0.0:8443`);
      const { hub, machine, site } = enrolment;
      await block(hub.host, true, "input");
      const process = await enrolment.start();
      const token = await enrolment.invite("paris");
      assert.match(token, /^wsk2/);
      const joined = await enrolment.join(token, "paris");
      assert.equal(joined.code, 0, joined.stderr);
      assert.match(joined.stderr + joined.stdout, /paris has joined: 10\.9\.0\.2/);
      assert.match(await enrolment.ask("invites"), /paris +client +joined/);

      await Deno.rename(enrolment.configuration("paris"), machine.file);
      const client = await machine.up();
      await client.line(new RegExp(`by ${transport} now`));
      const ping = await site.run(["ping", "-n", "-c", "3", "-W", "30", "10.9.0.1"]);
      assert.equal(ping.code, 0, `${ping.stdout}\n${client}`);
      assert.match(await enrolment.ask("invites"), /paris +client +enrolled/);
      const again = await enrolment.join(token, "again");
      assert.equal(again.code, 1);
      assert.match(again.stderr, /^wirestack: paris: this token was used, expected a new one/m);
      for (const log of [process, client]) {
        assert.ok(!`${log}`.includes(token.slice(8)), "no log has the token");
        log.signal("SIGTERM");
        assert.equal((await log.exit()).code, 0, `${log}`);
      }
    },
    ["ping", "bash"],
  );
}
