/**
 * What Prometheus is told of enrolment.
 *
 * @module
 */

import { type Family, single } from "./family.ts";

export const ENROLMENT_FAMILIES: readonly Family[] = [
  single(
    {
      name: "wirestack_enrolment_write_failures_total",
      type: "counter",
      help: "Tries to write down who was invited, has enrolled or was revoked that have failed.",
    },
    ({ gateway }) => gateway.enrolment?.writes.failures,
  ),
  single(
    {
      name: "wirestack_enrolment_unwritten_revocations",
      type: "gauge",
      help: "Revocations that are not written down yet: a restart would undo them.",
    },
    ({ gateway }) => gateway.enrolment?.writes.unsaved,
  ),
];
