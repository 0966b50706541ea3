/** `/openapi.json`: what comes in over HTTP, in OpenAPI 3.1, from the same tables that the server works by. */
import { rolesFor } from '../../auth/endpoint-rules.js';
import { PROBLEMS } from './problem.js';

interface Operation {
  readonly method: 'post' | 'put' | 'get';
  readonly path: string;
  readonly summary: string;
  /** Media types of the body. */
  readonly body?: readonly string[];
  /** Answers but for problems: status → media type. */
  readonly answers: Readonly<Record<string, string>>;
  readonly parameters?: readonly string[];
}

const HL7 = 'x-application/hl7-v2+er7';
const FHIR = 'application/fhir+json';
const LINES = 'application/x-ndjson';
const JSON_TYPE = 'application/json';

export const OPERATIONS: readonly Operation[] = [
  {
    method: 'post',
    path: '/hl7',
    summary: 'One HL7 v2 message or a batch',
    body: [HL7],
    answers: { 200: HL7, 202: LINES, 204: '' },
  },
  { method: 'post', path: '/events', summary: 'A clinical event', body: [JSON_TYPE], answers: { 202: JSON_TYPE } },
  {
    method: 'post',
    path: '/events/batch',
    summary: 'Clinical events, one per line',
    body: [LINES],
    answers: { 202: LINES },
  },
  { method: 'post', path: '/messages', summary: 'Content of any type', body: ['*/*'], answers: { 202: JSON_TYPE } },
  {
    method: 'post',
    path: '/messages/batch',
    summary: 'Packed messages, one per line',
    body: [LINES],
    answers: { 202: LINES },
  },
  { method: 'post', path: '/fhir', summary: 'A bundle or a resource', body: [FHIR], answers: { 200: FHIR } },
  {
    method: 'post',
    path: '/fhir/{type}',
    summary: 'Create',
    body: [FHIR],
    answers: { 200: FHIR, 201: FHIR },
    parameters: ['type'],
  },
  {
    method: 'put',
    path: '/fhir/{type}',
    summary: 'Conditional update',
    body: [FHIR],
    answers: { 200: FHIR, 201: FHIR },
    parameters: ['type'],
  },
  {
    method: 'put',
    path: '/fhir/{type}/{id}',
    summary: 'Update',
    body: [FHIR],
    answers: { 200: FHIR, 201: FHIR },
    parameters: ['type', 'id'],
  },
  {
    method: 'get',
    path: '/receipts/{id}',
    summary: 'Where a message stands',
    answers: { 200: JSON_TYPE },
    parameters: ['id'],
  },
  { method: 'post', path: '/graphql', summary: 'The clinical graph', body: [JSON_TYPE], answers: { 200: JSON_TYPE } },
  {
    method: 'post',
    path: '/graphql/analytics',
    summary: 'The anonymized graph',
    body: [JSON_TYPE],
    answers: { 200: JSON_TYPE },
  },
  { method: 'get', path: '/health/live', summary: 'Whether the hub runs', answers: { 200: JSON_TYPE } },
  {
    method: 'get',
    path: '/health/ready',
    summary: 'Whether nothing is missing',
    answers: { 200: JSON_TYPE, 503: JSON_TYPE },
  },
  { method: 'get', path: '/metrics', summary: 'Prometheus', answers: { 200: 'text/plain' } },
];

export function openApiDocument(): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const operation of OPERATIONS) (paths[operation.path] ??= {})[operation.method] = described(operation);
  return {
    openapi: '3.1.0',
    info: { title: 'Anamnesis', version: '1' },
    paths,
    components: {
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } },
      schemas: {
        Problem: {
          type: 'object',
          required: ['type', 'title', 'status', 'code'],
          properties: {
            type: { type: 'string' },
            title: { type: 'string' },
            status: { type: 'integer' },
            code: { type: 'string', examples: Object.values(PROBLEMS).map(({ code }) => code) },
            pointer: { type: 'string' },
            byteOffset: { type: 'integer' },
          },
        },
      },
    },
  };
}

function described({ method, path, summary, body, answers, parameters }: Operation): object {
  const roles = rolesFor(method.toUpperCase(), path.replaceAll(/[{}]/g, ''));
  const content = (type: string): object => (type === '' ? {} : { content: { [type]: {} } });
  return {
    summary,
    ...(roles === 'open' ? { security: [] } : { security: [{ bearer: roles }] }),
    ...(parameters === undefined
      ? {}
      : { parameters: parameters.map((name) => ({ name, in: 'path', required: true, schema: { type: 'string' } })) }),
    ...(body === undefined
      ? {}
      : { requestBody: { required: true, content: Object.fromEntries(body.map((type) => [type, {}])) } }),
    responses: {
      ...Object.fromEntries(
        Object.entries(answers).map(([status, type]) => [status, { description: summary, ...content(type) }]),
      ),
      default: {
        description: 'A problem document (RFC 9457); under /fhir an OperationOutcome',
        content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
      },
    },
  };
}
