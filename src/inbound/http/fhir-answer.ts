/** Answers to FHIR interactions: OperationOutcome (FHIR R4 §2.37) and response bundles (§3.1.0.11.2), in the hub's ids. */
import { entryPath } from '../fhir/conditions.js';
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
    const entry = problem.path?.startsWith('Bundle.entry[') === true ? (REFUSED[problem.code] ?? INVALID) : undefined;
    if (entry !== undefined) {
      const body = operationOutcome('error', entry.issue, problem.code, problem.path);
      return { status: Number.parseInt(entry.status, 10), headers, body };
    }
    const malformed = problem.code === 'MALFORMED_JSON' || problem.code === 'NOT_A_RESOURCE';
    const body = operationOutcome('error', malformed ? 'structure' : 'invalid', problem.code, problem.path);
    return { status: malformed ? 400 : 422, headers, body };
  }
  const version = String(outcome.position);
  if (fhir?.bundleType === 'transaction' || fhir?.bundleType === 'batch') {
    const entry = fhir.entries.map((one) => ({ response: entryResponse(one, outcome, version) }));
    return { status: 200, headers, body: { resourceType: 'Bundle', type: `${fhir.bundleType}-response`, entry } };
  }
  if (fhir?.bundleType !== undefined) {
    const refused = fhir.entries.flatMap((entry, index) => refusal(entry, index));
    const body = operationOutcome('information', 'informational', outcome.status.toUpperCase(), undefined);
    return { status: 200, headers, body: { ...body, issue: [...body.issue, ...refused] } };
  }
  const only = fhir?.entries[0];
  // FHIR R4 §3.1.0.8: a create is 201, sent again too; §3.1.0.4: an update is 201 where it made the resource.
  const created = outcome.created ?? interaction === 'create';
  return {
    status: created && only !== undefined ? 201 : 200,
    headers: {
      ...headers,
      ...(only?.location === undefined ? {} : { Location: `${base}/${only.location}/_history/${version}` }),
      ...(only === undefined
        ? {}
        : { ETag: `W/"${version}"`, 'Last-Modified': new Date(outcome.recordedAt).toUTCString() }),
    },
    body: operationOutcome('information', 'informational', outcome.status.toUpperCase(), undefined),
  };
}

/** Status lines of entries that are refused (FHIR R4 §3.1.0.11.2). */
const REFUSED: Readonly<Record<string, { readonly status: string; readonly issue: string }>> = {
  METHOD_NOT_SUPPORTED: { status: '501 Not Implemented', issue: 'not-supported' },
  CONDITION_NOT_SUPPORTED: { status: '400 Bad Request', issue: 'not-supported' },
  MULTIPLE_MATCHES: { status: '412 Precondition Failed', issue: 'multiple-matches' },
  MATCH_HAS_AN_ID: { status: '412 Precondition Failed', issue: 'conflict' },
  UNKNOWN_RESOURCE_TYPE: { status: '404 Not Found', issue: 'not-supported' },
};
const INVALID = { status: '422 Unprocessable Entity', issue: 'invalid' };

function entryResponse(entry: FhirEntryOutcome, outcome: IntakeOutcome, version: string): object {
  const { problem } = entry;
  if (problem !== undefined) {
    const { status, issue } = REFUSED[problem.code] ?? INVALID;
    return { status, outcome: operationOutcome('error', issue, problem.code, problem.path) };
  }
  const location = entry.location === undefined ? undefined : `${entry.location}/_history/${version}`;
  return {
    status: entry.method === 'POST' && entry.matched !== true ? '201 Created' : '200 OK',
    ...(location === undefined ? {} : { location }),
    etag: `W/"${version}"`,
    lastModified: outcome.recordedAt,
  };
}

/** Of a bundle that is only kept: the entries that say nothing, as further issues. */
function refusal({ problem }: FhirEntryOutcome, index: number): object[] {
  if (problem === undefined) return [];
  const { issue } = REFUSED[problem.code] ?? INVALID;
  return operationOutcome('warning', issue, problem.code, entryPath({ index, ...problem })).issue;
}

/** A failure of the transport or the log, as FHIR clients expect it (FHIR R4 value set issue-type). */
export function problemOutcome(problem: Problem): object {
  const types: Readonly<Record<number, string>> = {
    401: 'login',
    403: 'forbidden',
    404: 'not-found',
    412: 'conflict',
    413: 'too-long',
    429: 'throttled',
    503: 'transient',
  };
  return operationOutcome('error', types[problem.status] ?? 'processing', problem.code, problem.path);
}

function operationOutcome(
  severity: string,
  code: string,
  own: string,
  expression: string | undefined,
): { readonly resourceType: 'OperationOutcome'; readonly issue: object[] } {
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
