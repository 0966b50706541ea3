/** `GET /fhir/metadata` (FHIR R4 §3.1.0.12): what the hub does, and nothing that it does not. */
import type { JsonObject } from '../view/json.js';
import { parametersOf, SEARCHED_TYPES, type ParameterType } from './parameters.js';

/** Code of a parameter's type (FHIR R4 value set search-param-type). */
const TYPE_CODES: Readonly<Record<ParameterType, string>> = {
  string: 'string',
  token: 'token',
  date: 'date',
  reference: 'reference',
  quantity: 'quantity',
  patient: 'reference',
  id: 'token',
  updated: 'date',
};

const READS = ['read', 'vread', 'history-instance', 'history-type', 'search-type', 'create', 'update'] as const;

/**
 * @param base of the FHIR endpoint
 * @param date when this version of the hub was started
 */
export function capabilityStatement(base: string, date: string): JsonObject {
  return {
    resourceType: 'CapabilityStatement',
    status: 'active',
    date,
    kind: 'instance',
    software: { name: 'Anamnesis' },
    implementation: { description: 'Anamnesis, a clinical data hub', url: base },
    fhirVersion: '4.0.1',
    format: ['application/fhir+json', 'json'],
    rest: [
      {
        mode: 'server',
        documentation:
          "Every resource is rendered from what messages said, as of any moment: `_at` with a time on read, search, $everything and history. Ids in what is created are the sender's and become identifiers; the hub gives its own (docs/fhir.md).",
        resource: SEARCHED_TYPES.map((type): JsonObject => ({
          type,
          interaction: READS.map((code) => ({ code })),
          versioning: 'versioned-update',
          readHistory: true,
          updateCreate: true,
          conditionalCreate: true,
          conditionalRead: 'full-support',
          conditionalUpdate: true,
          conditionalDelete: 'not-supported',
          ...(type === 'Patient'
            ? {}
            : {
                searchInclude: [
                  `${type}:patient`,
                  ...(parametersOf(type)?.has('subject') === true ? [`${type}:subject`] : []),
                ],
              }),
          searchParam: [...(parametersOf(type)?.values() ?? [])].map((parameter) => ({
            name: parameter.name,
            type: TYPE_CODES[parameter.type],
          })),
          ...(type === 'Patient'
            ? {
                operation: [
                  {
                    name: 'everything',
                    definition: 'http://hl7.org/fhir/OperationDefinition/Patient-everything',
                  },
                ],
              }
            : {}),
        })),
        interaction: [{ code: 'transaction' }, { code: 'batch' }, { code: 'history-system' }],
      },
    ],
  };
}
