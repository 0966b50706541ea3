/** Receipts (API.md §3), and what a parked event means to the one who sent it. */
import type { ServerResponse } from 'node:http';
import type { IntakeOutcome } from '../received.js';
import type { Problem } from './problem.js';

export interface Receipt {
  readonly id: string;
  readonly eventId?: string;
  readonly status: IntakeOutcome['status'];
  /** Decimal. */
  readonly position: string;
  readonly patientId?: string;
  /** What is wrong with a parked one. */
  readonly problem?: { readonly code: string; readonly pointer?: string; readonly byteOffset?: number };
}

export function receiptOf(outcome: IntakeOutcome): Receipt {
  const { problem } = outcome;
  return {
    id: outcome.messageId,
    ...(outcome.controlId === undefined ? {} : { eventId: outcome.controlId }),
    status: outcome.status,
    position: String(outcome.position),
    ...(outcome.patientId === undefined ? {} : { patientId: outcome.patientId }),
    ...(problem === undefined ? {} : { problem: { code: problem.code, ...placeOf(problem) } }),
  };
}

/** 202 with the receipt; in one piece, so that head and body leave in one packet. */
export function sendReceipt(response: ServerResponse, receipt: Receipt): void {
  const body = JSON.stringify(receipt);
  response
    .writeHead(202, {
      'Content-Type': 'application/json; charset=utf-8',
      'Content-Length': Buffer.byteLength(body),
    })
    .end(body);
}

function placeOf(problem: NonNullable<IntakeOutcome['problem']>): { pointer?: string; byteOffset?: number } {
  return {
    ...(problem.path === undefined ? {} : { pointer: problem.path }),
    ...(problem.byteOffset === undefined ? {} : { byteOffset: problem.byteOffset }),
  };
}

const TITLES: Readonly<Record<string, string>> = {
  MALFORMED_JSON: 'The body is not JSON in UTF-8; it was kept and parked',
  NOT_AN_OBJECT: 'The body is not a JSON object; it was kept and parked',
  REQUIRED: 'A member that must be there is missing; the event was kept and parked',
  WRONG_TYPE: 'A member has the wrong type; the event was kept and parked',
  WRONG_FORMAT: 'A member is not in the documented form; the event was kept and parked',
  TOO_LONG: 'A member is longer than allowed; the event was kept and parked',
  TOO_DEEP: 'The body is nested deeper than allowed; it was kept and parked',
  FORBIDDEN_CHARACTER: 'A text holds a character that cannot be kept; the event was kept and parked',
  PATIENT_REQUIRED: 'An event of this type must name a patient; it was kept and parked',
};

/** 400 for what is no JSON at all, 422 for JSON that is no event; undefined where there is nothing to complain of. */
export function parkedProblem(outcome: IntakeOutcome): Problem | undefined {
  const { problem } = outcome;
  if (problem === undefined || outcome.answer === 'AA') return undefined;
  return {
    status: problem.code === 'MALFORMED_JSON' ? 400 : 422,
    code: problem.code,
    title: TITLES[problem.code] ?? 'The message could not be applied; it was kept and parked',
    ...placeOf(problem),
    receipt: receiptOf(outcome),
  };
}
