/** What a FHIR request is answered where it cannot be done: an OperationOutcome with a stable code, without a word of what was asked. */
import { problemOutcome } from '../../inbound/http/fhir-answer.js';
import { GraphError } from '../errors.js';
import type { JsonObject } from '../view/json.js';

export class FhirProblem extends Error {
  /**
   * @param issue FHIR R4 value set issue-type
   * @param code stable; documented in docs/fhir.md
   * @param parameter name of the parameter at fault
   */
  constructor(
    readonly status: number,
    readonly issue: string,
    readonly code: string,
    readonly parameter?: string,
  ) {
    super(code);
  }

  outcome(): JsonObject {
    return outcomeOf('error', this.issue, this.code, this.parameter);
  }
}

export function outcomeOf(severity: string, issue: string, code: string, parameter?: string): JsonObject {
  return {
    resourceType: 'OperationOutcome',
    issue: [
      {
        severity,
        code: issue,
        details: { coding: [{ system: 'urn:anamnesis:problem', code }] },
        // FHIR R4 §2.37: for a parameter, its name behind `http.`.
        ...(parameter === undefined ? {} : { expression: [`http.${parameter.replaceAll(/[^\w:.-]/g, '')}`] }),
      },
    ],
  };
}

/** What a failure means to a client; undefined for what is the hub's own fault. */
export function problemOf(error: unknown): FhirProblem | undefined {
  if (error instanceof FhirProblem) return error;
  if (!(error instanceof GraphError)) return undefined;
  const code = String(error.extensions['code']);
  switch (code) {
    case 'BEYOND_WATERMARK':
    case 'UNAVAILABLE':
      return new FhirProblem(503, 'transient', code);
    case 'BEFORE_LOG':
      return new FhirProblem(404, 'not-found', code);
    case 'UNKNOWN_BASIS':
      return new FhirProblem(410, 'expired', code);
    case 'ERASED':
      return new FhirProblem(410, 'deleted', code);
    default:
      return new FhirProblem(400, 'invalid', code);
  }
}

/** For what only says its status: 404, 405, 500. */
export function plainOutcome(status: number, code: string): object {
  return problemOutcome({ status, code, title: '' });
}
