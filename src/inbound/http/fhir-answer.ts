/** Answers to FHIR interactions: OperationOutcome (FHIR R4 §2.37) and response bundles (§3.1.0.11.2), in the hub's ids. */
import type { FhirEntryOutcome, IntakeOutcome } from '../received.js';
import type { Problem } from './problem.js';

export interface FhirAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: object;
}

/** What the codes in `issue.details` belong to. */
const CODE_SYSTEM = 'urn:anamnesis:problem';

/** @param base URL of the FHIR endpoint, without a slash at its end */
export function fhirAnswer(
  outcome: IntakeOutcome,
  interaction: 'batch' | 'create' | 'update',
  base: string,
): FhirAnswer {
  const headers = { 'X-Anamnesis-Receipt': outcome.messageId, 'X-Anamnesis-Status': outcome.status };
  const { problem, fhir } = outcome;
  if (problem !== undefined && outcome.answer !== 'AA') {
    const malformed = problem.code === 'MALFORMED_JSON' || problem.code === 'NOT_A_RESOURCE';
    const body = operationOutcome('error', malformed ? 'structure' : 'invalid', problem.code, problem.path);
    return { status: malformed ? 400 : 422, headers, body };
  }
  const version = String(outcome.position);
  if (fhir?.bundleType === 'transaction' || fhir?.bundleType === 'batch') {
    const entry = fhir.entries.map((one) => ({ response: entryResponse(one, outcome, version) }));
    return { status: 200, headers, body: { resourceType: 'Bundle', type: `${fhir.bundleType}-response`, entry } };
  }
  const only = fhir !== undefined && fhir.bundleType === undefined ? fhir.entries[0] : undefined;
  const location = only === undefined ? undefined : locationOf(only, version);
  const created = interaction === 'create' && only !== undefined && outcome.status !== 'duplicate';
  return {
    status: created ? 201 : 200,
    headers: {
      ...headers,
      ...(location === undefined ? {} : { Location: `${base}/${location}` }),
      ...(only === undefined
        ? {}
        : { ETag: `W/"${version}"`, 'Last-Modified': new Date(outcome.recordedAt).toUTCString() }),
    },
    body: operationOutcome('information', 'informational', outcome.status.toUpperCase(), undefined),
  };
}

function entryResponse(entry: FhirEntryOutcome, outcome: IntakeOutcome, version: string): object {
  if (entry.method !== undefined && entry.method !== 'POST' && entry.method !== 'PUT') {
    return {
      status: '501 Not Implemented',
      outcome: operationOutcome('warning', 'not-supported', 'METHOD_NOT_SUPPORTED', undefined),
    };
  }
  const location = locationOf(entry, version);
  return {
    status: entry.method === 'POST' && outcome.status !== 'duplicate' ? '201 Created' : '200 OK',
    ...(location === undefined ? {} : { location }),
    etag: `W/"${version}"`,
    lastModified: outcome.recordedAt,
  };
}

/** The hub's id of a Patient is the patient's; other resources are found through the patient and the receipt. */
function locationOf(entry: FhirEntryOutcome, version: string): string | undefined {
  if (entry.resourceType !== 'Patient' || entry.patientId === undefined) return undefined;
  return `Patient/${entry.patientId}/_history/${version}`;
}

/** A failure of the transport or the log, as FHIR clients expect it (FHIR R4 value set issue-type). */
export function problemOutcome(problem: Problem): object {
  const types: Readonly<Record<number, string>> = {
    403: 'forbidden',
    404: 'not-found',
    413: 'too-long',
    503: 'transient',
  };
  return operationOutcome('error', types[problem.status] ?? 'processing', problem.code, undefined);
}

function operationOutcome(severity: string, code: string, own: string, expression: string | undefined): object {
  return {
    resourceType: 'OperationOutcome',
    issue: [
      {
        severity,
        code,
        details: { coding: [{ system: CODE_SYSTEM, code: own }] },
        ...(expression === undefined ? {} : { expression: [expression] }),
      },
    ],
  };
}
