/**
 * What Prometheus is told of enrolment.
 *
 * @module
 */

import type { Family } from "./family.ts";

export const ENROLMENT_FAMILIES: readonly Family[] = [
  {
    name: "wirestack_enrolment_write_failures_total",
    type: "counter",
    help: "Tries to write down who was invited, has enrolled or was revoked that have failed.",
    collect(out, { gateway }) {
      const { enrolment } = gateway;
      if (enrolment !== undefined) out.sample(enrolment.writes.failures);
    },
  },
  {
    name: "wirestack_enrolment_unwritten_revocations",
    type: "gauge",
    help: "Revocations that are not written down yet: a restart would undo them.",
    collect(out, { gateway }) {
      const { enrolment } = gateway;
      if (enrolment !== undefined) out.sample(enrolment.writes.unsaved);
    },
  },
];
